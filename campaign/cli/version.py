"""campaign version."""

from __future__ import annotations

from campaign.cli.output import put


def version() -> None:
    """The version of campaign."""
    put(version_text())


def version_text() -> str:
    from importlib.metadata import version as installed

    return f"campaign {installed('campaign')}"
