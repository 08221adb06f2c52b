"""Which runs are taken: those of the profile (all, or what its ``only`` names), and of these what ``--only`` names."""

from __future__ import annotations

from collections.abc import Sequence

from specs.errors import Place, SpecError, at, did_you_mean, one_of, show
from specs.tree import Items, Leaf, Node, Table, plain

ONLY = "only"


def select(profile: Table, runs: Table) -> tuple[Table, tuple[SpecError, ...]]:
    """The runs that hold under a profile, in the order of the file, and what is wrong with its ``only``.

    What is wrong leaves nothing out.
    """
    entry = profile.entries.get(ONLY)
    if entry is None:
        return runs, ()
    known = list(runs.entries)
    if not isinstance(entry.value, Items) or not entry.value.items:
        got = "an empty list" if isinstance(entry.value, Items) else show(plain(entry.value))
        return runs, (at(entry.key, got=got, allowed="must be a list of runs, at least one"),)
    errors = tuple(_unknown(item, known) for item in entry.value.items if _name(item) not in known)
    if errors:
        return runs, errors
    named = {_name(item) for item in entry.value.items}
    left = {name: run for name, run in runs.entries.items() if name in named}
    return Table(place=runs.place, entries=left), ()


def choose(
    only: Sequence[str], taken: Sequence[str], runs: Table
) -> tuple[frozenset[str], tuple[SpecError, ...]]:
    """The names that each ``--only`` gives, all that are ``taken`` without any, and which of them are wrong.

    ``runs`` are those of the file, ``taken`` those of the profile as far as they can be read (what cannot is
    said elsewhere). What is wrong leaves nothing out.
    """
    every, named = frozenset(taken), frozenset(only)
    broken = {name for name, run in runs.entries.items() if not isinstance(run.value, Table)}
    errors = tuple(_not_taken(name, taken, runs) for name in only if name not in every | broken)
    return (every if errors or not named else named), errors


def _not_taken(name: str, taken: Sequence[str], runs: Table) -> SpecError:
    left_out = ", which the profile leaves out" if name in runs.entries else ""
    return at(
        Place(source=f"--only {name}"),
        got=f"the run `{name}`{left_out}",
        allowed=one_of(taken, name),
        hint="" if left_out else did_you_mean(name, taken),
    )


def _name(item: Node) -> str | None:
    return item.value if isinstance(item, Leaf) and isinstance(item.value, str) else None


def _unknown(item: Node, known: list[str]) -> SpecError:
    name = _name(item)
    return at(
        item.place,
        got=show(plain(item)) if name is None else f"the run `{name}`",
        allowed=one_of(known, name or ""),
        hint=did_you_mean(name or "", known),
    )
