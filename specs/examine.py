"""Every run of a file under one profile: merged, changed by the command line, checked.

The order is defaults, the profile, the run, and last what the profile says of that run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from specs.changes import check_rollbacks, read_mended
from specs.check import Measured, check_metrics, check_shapes, check_starts
from specs.errors import SpecError, at, did_you_mean, gather, one_of, show
from specs.explain import Finding
from specs.idle import check_idle
from specs.merge import merge_run
from specs.overrides import DEFAULTS, Override, apply_overrides
from specs.run import RunSpec
from specs.selection import ONLY, choose, select
from specs.trainer_command import CommandTrainer
from specs.trainer_ep import EpTrainer
from specs.trainer_hope import HopeTrainer
from specs.tree import Entry, Items, Leaf, Table, plain

PATHS = (
    ("trainer", "data", "path"),
    ("trainer", "data", "validation_path"),
    ("trainer", "cwd"),
)
"""Settings that name a file or a directory; relative ones are meant from where submit was called."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """``of_values`` are errors of single values, ``errors`` are all; ``doubts`` stop nobody.

    ``runs`` are the merged trees, ``specs`` those of them that are right.
    """

    specs: Mapping[str, RunSpec]
    runs: Mapping[str, Table]
    of_values: tuple[SpecError, ...]
    errors: tuple[SpecError, ...]
    doubts: tuple[SpecError, ...]


def examine(
    tree: Table,
    profile: str | None,
    overrides: Sequence[Override],
    base: Path,
    *,
    only: Sequence[str] = (),
) -> Examined:
    """Merge and check the runs of a file, or those that ``only`` names; relative paths become absolute,
    from ``base``.
    """
    layer, taken, strangers = _under(tree, profile)
    chosen, unknown = choose(only, list(taken), tree.table("runs"))
    unchosen = {name: run for name, run in taken.items() if name not in chosen}
    merged = {name: run for name, run in taken.items() if name in chosen}
    merged, misplaced = apply_overrides(merged, layer, overrides, unchosen=unchosen)
    merged = {name: absolute(run, base) for name, run in merged.items()}
    written = tree.table("runs").entries
    entries = {name: Entry(key=written[name].key, value=run) for name, run in merged.items()}
    specs, found, mended = _read_runs(entries)
    unmeasured, doubts = check_metrics(mended, _measured(mended))
    values = [(run, finding.error) for run, finding in found if not finding.of_model]
    whole = [(run, finding.error) for run, finding in found if finding.of_model]
    campaign = tree.text("campaign")
    parts = {DEFAULTS: written.keys(), "profiles": taken.keys()}
    beyond = [section for section, meant in parts.items() if meant != merged.keys()]
    starts = [*check_starts(campaign, mended, unchosen), *check_shapes(campaign, merged, specs)]
    return Examined(
        specs=specs,
        runs=merged,
        of_values=(*strangers, *gather([*values, *unmeasured], merged)),
        errors=(
            *(*strangers, *unknown, *misplaced, *starts),
            *gather([*values, *whole, *unmeasured], merged),
        ),
        doubts=gather([*doubts, *check_idle(merged, specs, beyond=beyond)], merged),
    )


def _under(
    tree: Table, profile: str | None
) -> tuple[Table, dict[str, Table], tuple[SpecError, ...]]:
    """What all runs are merged over, the merged runs that the profile takes, and what is wrong with it."""
    layer, last, runs = tree.table(DEFAULTS), Table(place=tree.place), tree.table("runs")
    strangers: tuple[SpecError, ...] = ()
    if profile is not None:
        own = tree.table("profiles", profile)
        layer, last = merge_run(layer, own.without("runs").without(ONLY)), own.table("runs")
        runs, unknown = select(own, runs)
        strangers = (*unknown, *_strangers(own, runs))
    taken = {
        name: merge_run(merge_run(layer, entry.value), last.table(name))
        for name, entry in runs.entries.items()
        if isinstance(entry.value, Table)
    }
    return layer, taken, strangers


def _strangers(profile: Table, runs: Table) -> tuple[SpecError, ...]:
    """Settings that a profile has for runs which the campaign has not, or which it leaves out."""
    section = profile.entries.get("runs")
    if section is None:
        return ()
    if not isinstance(section.value, Table):
        return (
            at(
                section.key,
                got=show(plain(section.value)),
                allowed="must be a map: run to its settings",
            ),
        )
    return tuple(
        at(
            entry.key,
            got=f"the run `{name}`",
            allowed=one_of(list(runs.entries), name),
            hint=did_you_mean(name, list(runs.entries)),
        )
        for name, entry in section.value.entries.items()
        if name not in runs.entries
    )


def absolute(run: Table, base: Path) -> Table:
    """The run with its relative paths, and those that its rollbacks would set, made absolute."""
    run = _with_directory(run, base)
    for path in PATHS:
        run = _absolute_at(run, path, base)
    watch = run.entries.get("watch")
    if watch is None or not isinstance(watch.value, Items):
        return run
    rules = []
    for rule in watch.value.items:
        changes = rule.entries.get("set") if isinstance(rule, Table) else None
        if isinstance(rule, Table) and changes and isinstance(changes.value, Table):
            table = changes.value
            for path in PATHS:
                table = _absolute_at(table, (".".join(path),), base)
            rule = rule.having("set", replace(changes, value=table))
        rules.append(rule)
    return run.having("watch", replace(watch, value=replace(watch.value, items=tuple(rules))))


def _with_directory(run: Table, base: Path) -> Table:
    """A command without ``cwd`` runs where submit was called."""
    trainer = run.entries.get("trainer")
    if trainer is None or run.text("trainer", "kind") != "command":
        return run
    table, cwd = run.table("trainer"), run.get("trainer", "cwd")
    if cwd is not None and not (isinstance(cwd, Leaf) and cwd.value is None):
        return run
    here = Leaf(value=str(base), place=trainer.key)
    table = table.having("cwd", Entry(key=trainer.key, value=here))
    return run.having("trainer", replace(trainer, value=table))


def _absolute_at(table: Table, path: tuple[str, ...], base: Path) -> Table:
    entry = table.entries.get(path[0])
    if entry is None:
        return table
    if len(path) > 1:
        if not isinstance(entry.value, Table):
            return table
        below = _absolute_at(entry.value, path[1:], base)
        return table.having(path[0], replace(entry, value=below))
    if not isinstance(entry.value, Leaf) or not isinstance(entry.value.value, str):
        return table
    whole = base / _expanded(Path(entry.value.value))
    return table.having(path[0], replace(entry, value=replace(entry.value, value=str(whole))))


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        return path  # ~ of nobody: it stays as written, and is reported as missing


def _read_runs(
    entries: Mapping[str, Entry],
) -> tuple[dict[str, RunSpec], list[tuple[str, Finding]], dict[str, Table]]:
    """The runs that are right, what is wrong with the others, and all as they are meant."""
    specs: dict[str, RunSpec] = {}
    found: list[tuple[str, Finding]] = []
    meant: dict[str, Table] = {}
    for name, entry in entries.items():
        spec, findings, mended = read_mended(entry)
        if spec is not None:
            specs[name] = spec
        if isinstance(mended.value, Table):
            meant[name] = mended.value
        found += [(name, finding) for finding in (*findings, *check_rollbacks(mended))]
    return specs, found, meant


def _measured(runs: Mapping[str, Table]) -> dict[str, Measured]:
    """What each run measures, as far as its trainer settings can be read."""
    measured = {}
    for name, run in runs.items():
        if run.text("trainer", "kind") == "command":
            known = _measured_by_program(run.table("trainer"))
        else:
            known = _MEASURED.get(run.text("trainer", "kind") or "")
        if known is not None:
            measured[name] = known
    return measured


def _measured_by_program(trainer: Table) -> Measured | None:
    try:
        program = CommandTrainer.model_validate(plain(trainer))
    except ValidationError:
        return None  # reported with the other fields of the run
    declared = program.declared_metrics()
    return Measured(kind="command", metrics=(*program.METRICS, *declared), complete=bool(declared))


_MEASURED = {
    "ep": Measured(kind="ep", metrics=EpTrainer.METRICS, complete=True),
    "hope": Measured(kind="hope", metrics=HopeTrainer.METRICS, complete=True),
}
