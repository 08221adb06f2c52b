"""Hosts whose configuration cannot be read: nothing starts there, and whoever waits is told why."""

from __future__ import annotations

from campaign.home import Home
from campaign.views import Reader

_UNTIL = "nothing starts until this is mended"


def here(home: Home) -> list[str]:
    """Of this host as it is now, with file and line: for a home that no controller looks after."""
    from campaign.config import ConfigError, load

    try:
        load(home.root)
    except ConfigError as error:
        return [f"{_UNTIL}: {problem}" for problem in error.problems]
    return []


def everywhere(reader: Reader) -> list[str]:
    """Of every host that is up, as it told the controller."""
    return [
        f"host {record['name']}: {_UNTIL}: {problem}"
        for record in reader.hosts()
        if record["up"]
        for problem in record["facts"].get("misconfigured", ())
    ]
