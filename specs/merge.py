"""Layers of a campaign laid over each other: defaults, then the profile, then the run.

Maps merge deeply, lists and values are replaced. Two exceptions: rules of ``watch`` are added, one
with the name of an earlier rule taking its place; and a run of another trainer kind takes none of
the trainer settings below it.
"""

from __future__ import annotations

from specs.tree import Entry, Items, Node, Table
from specs.watch import derived_name


def merge_run(lower: Table, upper: Table) -> Table:
    """The settings of a run, ``upper`` over ``lower``; every value keeps its place."""
    merged = dict(lower.entries)
    for key, entry in upper.entries.items():
        below = lower.entries.get(key)
        merged[key] = entry if below is None else _over(key, below, entry)
    return Table(place=upper.place, entries=merged)


def merge_maps(lower: Table, upper: Table) -> Table:
    """Maps merged deeply; lists and values of ``upper`` replace those of ``lower``."""
    merged = dict(lower.entries)
    for key, entry in upper.entries.items():
        below = lower.entries.get(key)
        if below and isinstance(below.value, Table) and isinstance(entry.value, Table):
            merged[key] = Entry(key=entry.key, value=merge_maps(below.value, entry.value))
        else:
            merged[key] = entry
    return Table(place=upper.place, entries=merged)


def merge_rules(lower: Items, upper: Items) -> Items:
    """The rules of ``lower``, then those of ``upper``; of equal names, the upper one in its place."""
    rules = list(lower.items)
    waiting = {name: i for i, rule in enumerate(rules) if (name := rule_name_of(rule))}
    for rule in upper.items:
        index = waiting.pop(rule_name_of(rule) or "", None)
        if index is None:
            rules.append(rule)
        else:
            rules[index] = rule
    return Items(place=upper.place, items=tuple(rules))


def rule_name_of(node: Node) -> str | None:
    """The name that a written rule goes by; None if it is not complete enough to have one."""
    if not isinstance(node, Table):
        return None
    if "name" in node.entries:
        return node.text("name")
    kind = node.text("rule")
    return None if kind is None else derived_name(kind, node.text("metric"))


def other_trainer(lower: Table, upper: Table) -> bool:
    """Whether ``upper`` names another trainer kind than ``lower`` does."""
    return _kinds_differ(lower.table("trainer"), upper.table("trainer"))


def _over(key: str, lower: Entry, upper: Entry) -> Entry:
    below, above = lower.value, upper.value
    value: Node = above
    if key == "watch" and isinstance(below, Items) and isinstance(above, Items):
        value = merge_rules(below, above)
    elif isinstance(below, Table) and isinstance(above, Table):
        alien = key == "trainer" and _kinds_differ(below, above)
        value = above if alien else merge_maps(below, above)
    return Entry(key=upper.key, value=value)


def _kinds_differ(below: Table, above: Table) -> bool:
    old, new = below.text("kind"), above.text("kind")
    return old is not None and new is not None and old != new
