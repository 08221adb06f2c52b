"""campaign version."""

from __future__ import annotations

from campaign.cli.options import JsonOption
from campaign.cli.output import put, put_json


def version(as_json: JsonOption = False) -> None:
    """The version of campaign."""
    if as_json:
        put_json([{"version": version_text().removeprefix("campaign ")}])
    else:
        put(version_text())


def version_text() -> str:
    from importlib.metadata import version as installed

    return f"campaign {installed('campaign')}"
