"""Settings that are written and change nothing: a doubt, where that is so in every run they reach.

What shared settings say for some of the runs may be idle in others; what is written for runs that all
make nothing of it was meant to do something.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from specs.errors import Place, SpecError, at, dotted, show
from specs.hope_idle import idle as hope_idle
from specs.run import RunSpec
from specs.tree import Entry, Table, plain

IDLE: Mapping[str, Callable[[Any], Iterator[tuple[str, str]]]] = {"hope": hope_idle}
"""Trainer kind -> dotted paths of its settings that change nothing, and why. A kind without a row says nothing."""

_SHOWN = 4

Written = tuple[Place, str]
"""Where a setting was written, and its dotted path within the run."""


def check_idle(
    runs: Mapping[str, Table], specs: Mapping[str, RunSpec], *, beyond: Collection[str] = ()
) -> list[tuple[str, SpecError]]:
    """Doubts, each with a run that it reaches. One for all settings of a section that stand together.

    ``beyond``: the sections (``defaults``, ``profiles``) whose settings are meant for runs, too, that are left
    out here: those may well use them.
    """
    reached: dict[Written, set[str]] = {}
    for run in specs:
        for path, entry in _settings(runs[run].table("trainer"), "trainer"):
            reached.setdefault((entry.key, path), set()).add(run)
    useless: dict[Written, dict[str, str]] = {}
    entries: dict[Written, Entry] = {}
    for run, spec in specs.items():
        for path, why in IDLE.get(spec.trainer.kind, _nothing)(spec.trainer):
            for name, entry in _at(runs[run].table("trainer"), f"trainer.{path}"):
                written = entry.key, name
                useless.setdefault(written, {})[run] = why
                entries[written] = entry
    idle = {
        written: why
        for written, why in useless.items()
        if set(why) == reached[written] and not _shared(written[0], beyond)
    }
    return [(run, _doubt(together, entries, why)) for together, why, run in _sections(idle)]


def _shared(place: Place, sections: Collection[str]) -> bool:
    """Whether it stands in one of the sections of the file, and there not for a single run."""
    in_file, path = place.line is not None, place.path
    return in_file and path[:1] != () and path[0] in sections and path[2:3] != ("runs",)


def _nothing(trainer: object) -> Iterator[tuple[str, str]]:
    del trainer
    return iter(())


def _settings(table: Table, path: str) -> Iterator[tuple[str, Entry]]:
    """Every setting that is no section, with its dotted path."""
    for name, entry in table.entries.items():
        if isinstance(entry.value, Table):
            yield from _settings(entry.value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", entry


def _at(trainer: Table, path: str) -> Iterator[tuple[str, Entry]]:
    """The setting at ``path``, or all within that section, as far as they are written."""
    *above, last = path.split(".")[1:]
    entry = trainer.table(*above).entries.get(last)
    if entry is None:
        return
    if isinstance(entry.value, Table):
        yield from _settings(entry.value, path)
    else:
        yield path, entry


def _sections(
    idle: Mapping[Written, Mapping[str, str]],
) -> Iterator[tuple[list[Written], str, str]]:
    """What stands in one section for the same reason, that reason, and each run that it reaches."""
    groups: dict[tuple[str, str, str, frozenset[str]], list[Written]] = {}
    for written, whys in idle.items():
        place, path = written
        section = dotted(place.path[:-1]) if place.line is not None else place.source
        why = "; ".join(dict.fromkeys(whys.values()))
        key = (section, path.rpartition(".")[0], why, frozenset(whys))
        groups.setdefault(key, []).append(written)
    for (_, _, why, runs), together in groups.items():
        for run in sorted(runs):
            yield together, why, run


def _doubt(together: list[Written], entries: Mapping[Written, Entry], why: str) -> SpecError:
    first = together[0]
    named = [f"{path} {show(plain(entries[place, path].value))}" for place, path in together]
    more = len(named) - _SHOWN
    listed = ", ".join(named[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return at(
        first[0],
        got=listed,
        allowed=f"it changes nothing: {why}",
        hint="leave it out, or change what it depends on",
    )
