"""Unknown fields taken out of the way, so that what else is wrong is found in the same reading.

pydantic does not ask whether the fields of a section go together while one of them is unknown.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specs.errors import closest
from specs.explain import Finding, Spot, explain, explain_details, spot_of
from specs.tree import Entry, Items, Node, Table, plain


def findings_of(error: ValidationError, model: type[BaseModel], entry: Entry) -> list[Finding]:
    """Everything that is wrong with ``entry.value``, of which ``error`` is the first reading by ``model``.

    An unknown field is told, and then read as the field that it is close to, or left out: so a section
    whose field is misspelt is not said to lack it.
    """
    return mended(error, model, entry)[0]


def mended(
    error: ValidationError, model: type[BaseModel], entry: Entry
) -> tuple[list[Finding], Entry]:
    """Likewise, and the tree without the unknown fields."""
    told: list[Finding] = []
    while slips := _slips(error):
        told += explain_details(slips, model, entry)
        for slip in slips:
            entry = _mended(entry, spot_of(slip["loc"], model, entry))
        try:
            model.model_validate(plain(entry.value))
        except ValidationError as rest:
            error = rest
        else:
            return told, entry
    return [*told, *explain(error, model, entry)], entry


def _slips(error: ValidationError) -> list[ErrorDetails]:
    return [
        detail for detail in error.errors(include_url=False) if detail["type"] == "extra_forbidden"
    ]


def _mended(entry: Entry, slip: Spot) -> Entry:
    """The tree with one unknown field under the name that is meant, or without it."""
    return replace(entry, value=_in(entry.value, slip.path, slip))


def _in(node: Node, path: tuple[int | str, ...], slip: Spot) -> Node:
    step, *rest = path
    if isinstance(node, Items) and isinstance(step, int):
        items = list(node.items)
        items[step] = _in(items[step], tuple(rest), slip)
        return replace(node, items=tuple(items))
    if not isinstance(node, Table):
        return node
    key = str(step)
    old = node.entries[key]
    if rest:
        return node.having(key, replace(old, value=_in(old.value, tuple(rest), slip)))
    meant = closest(key, slip.fields)
    without = node.without(key)
    return without if meant is None or meant in node.entries else without.having(meant, old)
