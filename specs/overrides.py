"""``--set RUN.path=value``: settings from the command line, over everything that is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from specs.errors import Place, SpecError, SpecErrors, at, did_you_mean, one_of
from specs.merge import other_trainer
from specs.paths import BadPath, longest, put, split_path
from specs.source import read_option
from specs.tree import Entry, Table

DEFAULTS = "defaults"


@dataclass(frozen=True, kw_only=True)
class Override:
    """One ``--set``; ``target`` is a run, or ``defaults`` for all of them."""

    target: str
    parts: tuple[str, ...]
    new: Entry


def read_override(text: str, runs: Collection[str]) -> Override:
    """Read ``RUN.path=value``; the value is YAML. Raises SpecErrors."""
    source = f"--set {text}"
    path, equals, value = text.partition("=")
    try:
        parts = split_path(path)
    except BadPath as error:
        raise SpecErrors([_said(Place(source=source), error)]) from error
    target, rest = longest({*runs, DEFAULTS}, parts)
    if not equals or not rest:
        wrong = SpecError(
            file=source,
            got=repr(text),
            allowed="must be RUN.path=value, or defaults.path=value for all runs",
        )
        raise SpecErrors([wrong])
    where = (target,) if target == DEFAULTS else ("runs", target)
    place = Place(source=source, path=(*where, *rest))
    if target != DEFAULTS and target not in runs:
        wrong = at(
            Place(source=source),
            got=f"the run `{target}`",
            allowed=one_of([*runs, DEFAULTS], target),
            hint=did_you_mean(target, [*runs, DEFAULTS]),
        )
        raise SpecErrors([wrong])
    new = Entry(key=place, value=read_option(value, source, place.path))
    return Override(target=target, parts=rest, new=new)


def read_overrides(
    texts: Iterable[str], runs: Collection[str]
) -> tuple[list[Override], list[SpecError]]:
    """All that can be read, and what is wrong with the others."""
    overrides: list[Override] = []
    errors: list[SpecError] = []
    for text in texts:
        try:
            overrides.append(read_override(text, runs))
        except SpecErrors as wrong:
            errors += wrong.errors
    return overrides, errors


def apply_overrides(
    runs: Mapping[str, Table],
    base: Table,
    overrides: Iterable[Override],
    *,
    unchosen: Collection[str] = (),
) -> tuple[dict[str, Table], list[SpecError]]:
    """The runs with the settings for all put over them, then those for one run.

    ``base`` is what the runs were merged over: as in the file, a run of another trainer kind takes
    no trainer settings meant for all. A setting that no run takes is an error; ``unchosen`` are the runs
    that ``--only`` leaves out.
    """
    changed = dict(runs)
    errors: list[SpecError] = []
    for override in sorted(overrides, key=lambda item: item.target != DEFAULTS):
        wrong: list[SpecError] = []
        taken = 0
        if override.target != DEFAULTS and override.target not in runs:
            errors.append(_left_out(override, runs, unchosen))
            continue
        for name in runs if override.target == DEFAULTS else [override.target]:
            if override.target == DEFAULTS and _alien(override, base, runs[name]):
                continue
            try:
                changed[name] = put(changed[name], override.parts, override.new)
                taken += 1
            except BadPath as error:
                wrong.append(_said(override.new.key, error))
        if not taken:
            errors += wrong[:1] or [_no_run(override)]
    return changed, errors


def _alien(override: Override, base: Table, run: Table) -> bool:
    return override.parts[0] == "trainer" and other_trainer(base, run)


def _left_out(override: Override, runs: Collection[str], unchosen: Collection[str]) -> SpecError:
    by_option = override.target in unchosen
    return at(
        override.new.key,
        got=f"the run `{override.target}`, which {'--only' if by_option else 'the profile'} leaves out",
        allowed=one_of([*runs, DEFAULTS], override.target),
        hint=f"add --only {override.target}, or leave this out" if by_option else "",
    )


def _no_run(override: Override) -> SpecError:
    return at(
        override.new.key,
        got="a trainer setting that no run takes",
        allowed="every run has another trainer.kind than the defaults",
        hint="name the run: --set RUN.path=value",
    )


def _said(place: Place, error: BadPath) -> SpecError:
    return at(place, got=error.got, allowed=error.allowed, hint=error.hint)
