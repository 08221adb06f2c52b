"""Which home this command line means, and how a command is written that means the same one."""

from __future__ import annotations

import re
import shlex

from campaign.home import BadHome

_COMMAND = re.compile(r"^(next: |  +)campaign (?=[a-z])", re.MULTILINE)


class _Given:
    """The home given before or after the verb; None where there was none."""

    home: str | None = None


def note_home(value: str | None) -> str | None:
    """Called for the option, wherever it stands."""
    if value is not None and not value.strip():
        raise BadHome("--home names no directory; leave it out for $CAMPAIGN_HOME, else ./runs")
    if value is not None:
        _Given.home = value
    return value


def forget_home() -> None:
    """Before a new command line is read."""
    _Given.home = None


def given_home() -> str | None:
    return _Given.home


def in_this_home(command: str) -> str:
    """``campaign ls`` as it must be typed to mean this home: $CAMPAIGN_HOME and ./runs mean themselves."""
    if _Given.home is None or not command.startswith("campaign "):
        return command
    rest = command.removeprefix("campaign ")
    return f"campaign --home {shlex.quote(_Given.home)} {rest}"


def advice(text: str) -> str:
    """A message in which every line that is a command means this home."""
    if _Given.home is None:
        return text
    home = shlex.quote(_Given.home).replace("\\", r"\\")
    return _COMMAND.sub(rf"\1campaign --home {home} ", text)
