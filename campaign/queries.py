"""The parts of the records that rows are made of, as SQL."""

from __future__ import annotations

CAMPAIGN_FIELDS = ("name", "profile", "submitted_at", "git_commit", "git_dirty")
CAMPAIGN = f"json_extract(data, {', '.join(repr('$.' + field) for field in CAMPAIGN_FIELDS)})"

RUN = (
    "campaign, name, json_extract(data, '$.status', '$.attempts', '$.spec.trainer.steps', "
    "'$.spec.certify.metric', '$.changes')"
)
ATTEMPT = (
    "campaign, run, number, status, json_extract(data, '$.status', '$.host', '$.devices', "
    "'$.start', '$.parent', '$.created_at', '$.verdict', '$.identity', '$.directory', '$.leased')"
)
OF_CAMPAIGN = "CASE WHEN json_valid(payload) THEN json_extract(payload, '$.campaign.name') END"
"""The campaign that a submit in ``requests`` names; NULL where it cannot be read."""


def brief_attempts(runs: str) -> str:
    """Attempts of ``runs`` (a table or a subquery), their progress cut down to the metric of the run's
    certificate where it has one of that name."""
    latest, best = (f"'$.{table}.\"' || metric || '\"'" for table in ("latest", "best"))
    return f"""
    SELECT {ATTEMPT},
        CASE WHEN instr(metric, '"') OR json_type(progress, {latest}) IS NULL THEN progress
        ELSE json_object(
            't', json_extract(progress, '$.t'),
            'step', json_extract(progress, '$.step'),
            'phase', json_extract(progress, '$.phase'),
            'steps_per_s', json_extract(progress, '$.steps_per_s'),
            'latest', json_object(metric, json_extract(progress, {latest})),
            'best', json_object(metric, json_extract(progress, {best})))
        END
    FROM attempts JOIN (
        SELECT campaign AS of_campaign, name AS of_run,
            json_extract(data, '$.spec.certify.metric') AS metric
        FROM {runs}
    ) ON of_campaign = campaign AND of_run = run
    ORDER BY campaign, run, number"""
