"""Changes to a run that is already resolved: what a rollback's ``set`` orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from specs.errors import Place, SpecError, SpecErrors, at
from specs.explain import Finding, explain
from specs.paths import BadPath, put, split_path
from specs.run import RunSpec
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
    """The tree of a run with an entry put at each dotted path, and the paths that lead nowhere."""
    errors = []
    for path, entry in changes.items():
        try:
            run = put(run, split_path(path), entry)
        except BadPath as error:
            errors.append(at(entry.key, got=error.got, allowed=error.allowed, hint=error.hint))
    return run, errors


def read_run(entry: Entry) -> tuple[RunSpec | None, list[Finding]]:
    """A merged run as its model, or what is wrong with it."""
    try:
        return RunSpec.model_validate(plain(entry.value)), []
    except ValidationError as error:
        return None, explain(error, RunSpec, entry)


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
