"""What the shell completes: names from the store."""

from __future__ import annotations

import typer

from campaign.naming import RunName


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Runs, as ``campaign/run`` and, where that is clear, as ``run``."""
    names = _names(context)
    lone = [run for _, run in names]
    found = [f"{campaign}/{run}" for campaign, run in names]
    found += [run for run in lone if lone.count(run) == 1]
    return [text for text in found if text.startswith(incomplete)]


ORIGINS = ("latest", "certified", "scratch")


def origins(incomplete: str) -> list[str]:
    """What ``resume --from`` takes beside a step."""
    return [word for word in ORIGINS if word.startswith(incomplete)]


def checkpoints(context: typer.Context, incomplete: str) -> list[str]:
    """Runs whose newest checkpoint is meant, and once a run stands there, which of its checkpoints."""
    run, at, which = incomplete.partition("@")
    if not at:
        return runs(context, incomplete)
    return [f"{run}@{word}" for word in ("certified", "latest") if word.startswith(which)]


def campaigns(context: typer.Context, incomplete: str) -> list[str]:
    found = dict.fromkeys(campaign for campaign, _ in _names(context))
    return [name for name in found if name.startswith(incomplete)]


def both(context: typer.Context, incomplete: str) -> list[str]:
    return campaigns(context, incomplete) + runs(context, incomplete)


def _names(context: typer.Context) -> list[RunName]:
    """Nothing where the store cannot be read: a shell that completes must not print errors."""
    from campaign.errors import CampaignError
    from campaign.home import Home
    from campaign.views import Reader

    given = context.params.get("home")
    if given is None and context.parent is not None:
        given = context.parent.params.get("home")
    try:
        with Reader(Home.locate(given).store) as reader:
            return reader.names()
    except (CampaignError, OSError):
        return []
