"""Changes to a run that is already resolved: what a rollback's ``set`` orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from specs.errors import Place, SpecError, SpecErrors, at
from specs.explain import Finding, models_in
from specs.paths import BadPath, put, split_path
from specs.run import AnyTrainer, RunSpec
from specs.slips import mended
from specs.structure import STRUCTURES
from specs.tree import Entry, Items, Table, plain, table_of, tree_of


def apply_changes(run: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The run with a value put at each dotted path. Raises SpecErrors naming the paths."""
    origin = Place(source="the resolved spec")
    tree = table_of(run.model_dump(mode="json"), origin)
    errors: list[SpecError] = []
    entries: dict[str, Entry] = {}
    for path, value in changes.items():
        place = Place(source=f"set {path}", path=tuple(path.split(".")))
        try:
            entries[path] = Entry(key=place, value=tree_of(value, place))
        except TypeError as error:
            errors.append(at(place, got=repr(value), allowed=str(error)))
    tree, wrong = changed(tree, entries)
    changed_run, findings = read_run(Entry(key=origin, value=tree))
    errors += wrong
    errors += [finding.error for finding in findings]
    if errors or changed_run is None:
        raise SpecErrors(errors)
    return changed_run


def changed(run: Table, changes: Mapping[str, Entry]) -> tuple[Table, list[SpecError]]:
    """The tree of a run with an entry put at each dotted path, and the paths that lead nowhere, or to
    what a run that goes on from a checkpoint cannot change."""
    errors = []
    kind = run.text("trainer", "kind") or ""
    for path, entry in changes.items():
        try:
            parts = split_path(path)
            if wrong := _structural(kind, parts, entry.key):
                errors.append(wrong)
            else:
                run = put(run, parts, entry)
        except BadPath as error:
            errors.append(at(entry.key, got=error.got, allowed=error.allowed, hint=error.hint))
    return run, errors


def _structural(kind: str, parts: tuple[str, ...], place: Place) -> SpecError | None:
    """A change of what the run's checkpoints hold: the trainer would refuse to restore them."""
    structure = STRUCTURES.get(kind)
    field = None if structure is None else structure.fixing(parts[1:])
    if structure is None or field is None or parts[0] != "trainer":
        return None
    named = parts[: 1 + len(field.split("."))]
    decided = [f"{field} decides {what}" for field, what in structure.decides.items()]
    model = f"{', '.join(structure.fixed)} cannot change" + "".join(f" ({why})" for why in decided)
    return at(
        place,
        got=f"a change of {'.'.join(named) if len(parts) > 1 else 'the whole trainer'}",
        allowed=f"the run goes on from a checkpoint of this model: {model}",
        hint=f"may be changed: all but trainer, and of it {_free(kind)}",
    )


def _free(kind: str) -> str:
    """The fields of a trainer that a change may name."""
    fixed = STRUCTURES[kind].fixed
    fields = next(m.model_fields for m in models_in(AnyTrainer) if _is_of(m, kind))
    return ", ".join(name for name in fields if name not in fixed)


def _is_of(model: type[BaseModel], kind: str) -> bool:
    return kind in get_args(model.model_fields["kind"].annotation)


def read_run(entry: Entry) -> tuple[RunSpec | None, list[Finding]]:
    """A merged run as its model, or what is wrong with it."""
    spec, findings, _ = read_mended(entry)
    return spec, findings


def read_mended(entry: Entry) -> tuple[RunSpec | None, list[Finding], Entry]:
    """Likewise, and the run with its misspelt fields and kinds put right."""
    try:
        return RunSpec.model_validate(plain(entry.value)), [], entry
    except ValidationError as error:
        return None, *mended(error, RunSpec, entry)


def check_rollbacks(entry: Entry) -> list[Finding]:
    """What is wrong with the changes that the run's rollbacks would order."""
    run = entry.value
    rules = run.get("watch") if isinstance(run, Table) else None
    if not isinstance(run, Table) or not isinstance(rules, Items):
        return []
    _, before = read_run(entry)
    findings = []
    for changes in _sets(rules):
        tree, wrong = changed(run, changes.entries)
        _, after = read_run(Entry(key=entry.key, value=tree))
        findings += [Finding(error=error) for error in wrong]
        findings += [finding for finding in after if finding not in before]
    return findings


def _sets(rules: Items) -> Iterable[Table]:
    for rule in rules.items:
        if isinstance(rule, Table) and isinstance(changes := rule.get("set"), Table):
            yield changes
