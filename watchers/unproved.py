"""Bands on what no checkpoint's evidence holds: such a checkpoint can never be certified.

Pure. Told of once in an attempt: early, where a program may put anything into its evidence; else at the
end, since evidence may hold some metrics at every so many checkpoints only.
"""

from __future__ import annotations

from collections.abc import Iterable

from specs.errors import did_you_mean
from specs.watch import Certify
from watchers.certify import Checkpoint
from watchers.findings import Finding, Kind
from watchers.verdict import Decision

MANY_CHECKPOINTS = 3
"""Checkpoints without a banded metric after which it is missed while the attempt still runs."""

_NAMES = 12


def readable(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Those whose evidence could be read and says that the state is finite, by step.

    Of a state that is not finite a trainer may measure nothing: its evidence proves no slip.
    """
    told = [c for c in checkpoints if c.finite and c.problem is None]
    return sorted(told, key=lambda checkpoint: checkpoint.step)


def missing_evidence(certify: Certify, checkpoints: Iterable[Checkpoint]) -> list[Finding]:
    """An alert for each banded metric that none of the checkpoints has; none where there is none."""
    seen = readable(checkpoints)
    held = sorted({metric for checkpoint in seen for metric in checkpoint.metrics})
    if not seen:
        return []
    return [_missing(metric, held, len(seen)) for metric in certify.bands if metric not in held]


def _missing(metric: str, held: list[str], count: int) -> Finding:
    many = "of the one checkpoint has not" if count == 1 else f"of none of {count} checkpoints has"
    more = f" and {len(held) - _NAMES} more" if len(held) > _NAMES else ""
    names = f"{', '.join(held[:_NAMES])}{more}" if held else "nothing"
    hint = did_you_mean(metric, held)
    return Finding(
        kind=Kind.ALERT,
        key=f"unproved:{metric}",
        reason=f"no checkpoint can be certified so far: certify.bands names {metric}, which the "
        f"evidence {many}; it has: {names}{f'; {hint}' if hint else ''}",
        rule="certify",
        action=Decision.ALERT,
        metric=metric,
        evidence={"checkpoints": count, "held": held[:_NAMES]},
    )
