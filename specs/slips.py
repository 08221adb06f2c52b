"""Unknown fields and kinds put right, so that what else is wrong is found in the same reading.

pydantic does not ask whether the fields of a section go together while one of them is unknown, and does
not look into a section at all whose `kind` or `rule` it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specs.errors import closest
from specs.explain import (
    Finding,
    Spot,
    discriminator,
    explain,
    explain_details,
    kinds,
    slip_of,
    spot_of,
)
from specs.tree import Entry, Items, Leaf, Node, Table, plain


def mended(
    error: ValidationError, model: type[BaseModel], entry: Entry
) -> tuple[list[Finding], Entry]:
    """Everything that is wrong with ``entry.value``, of which ``error`` is the first reading by ``model``,
    and the tree with the slips put right.

    An unknown field is told, and then read as the field that it is close to, or left out: so a section
    whose field is misspelt is not said to lack it. A section of an unknown kind is told, and then read
    as the kind that is close, or as the only one that has all its fields.
    """
    told: list[Finding] = []
    while slips := _slips(error, model, entry):
        told += explain_details([slip.detail for slip in slips], model, entry)
        for slip in slips:
            entry = replace(entry, value=_changed(entry.value, slip.path, slip.mend))
        try:
            model.model_validate(plain(entry.value))
        except ValidationError as rest:
            error = rest
        else:
            return told, entry
    return [*told, *explain(error, model, entry)], entry


@dataclass(frozen=True, kw_only=True)
class _Slip:
    """An error that can be put right: by ``mend``, of the section at ``path``."""

    detail: ErrorDetails
    path: tuple[int | str, ...]
    mend: Callable[[Table], Table]


def _slips(error: ValidationError, model: type[BaseModel], entry: Entry) -> list[_Slip]:
    found = []
    for detail in error.errors(include_url=False):
        spot = spot_of(detail["loc"], model, entry)
        if detail["type"] == "extra_forbidden":
            mend = partial(_without_unknown, field=str(spot.path[-1]), known=spot.fields)
            found.append(_Slip(detail=detail, path=spot.path[:-1], mend=mend))
        elif field := discriminator(detail):
            kind = _meant(spot, field)
            if kind is not None:
                mend = partial(_of_kind, field=field, kind=kind)
                found.append(_Slip(detail=detail, path=spot.path, mend=mend))
    return found


def _changed(node: Node, path: tuple[int | str, ...], mend: Callable[[Table], Table]) -> Node:
    """The tree with the map at ``path`` mended."""
    if not path:
        return mend(node) if isinstance(node, Table) else node
    step, *rest = path
    if isinstance(node, Items) and isinstance(step, int):
        items = list(node.items)
        items[step] = _changed(items[step], tuple(rest), mend)
        return replace(node, items=tuple(items))
    if not isinstance(node, Table):
        return node
    old = node.entries[str(step)]
    return node.having(str(step), replace(old, value=_changed(old.value, tuple(rest), mend)))


def _without_unknown(table: Table, *, field: str, known: Sequence[str]) -> Table:
    """With the unknown field under the name that is meant, or without it."""
    meant = closest(field, known)
    without = table.without(field)
    if meant is None or meant in table.entries:
        return without
    return without.having(meant, table.entries[field])


def _of_kind(table: Table, *, field: str, kind: Entry) -> Table:
    """With the kind that is meant; the field it was misspelt as is gone."""
    rest = {name: entry for name, entry in table.entries.items() if entry is not kind}
    return replace(table, entries={**rest, field: kind})


def _meant(spot: Spot, field: str) -> Entry | None:
    """What was meant to stand in the field by which a section's models are told apart.

    Where it is missing, what stands in an unknown field of a name that is close. Else the kind that is
    close to what is there, or that of the only model that has all fields of the section. None where
    that is not clear.
    """
    if not isinstance(spot.node, Table):
        return None
    table = spot.node
    written = table.entries.get(field)
    if written is None and (slip := slip_of(field, table, spot.fields)):
        return table.entries[slip]
    of_kind = {kind: model for model in spot.models for kind in kinds(model, field)}
    rest = set(table.entries) - {field}
    able = [kind for kind, model in of_kind.items() if rest and rest <= set(model.model_fields)]
    value = written.value.value if written and isinstance(written.value, Leaf) else None
    close = closest(value, of_kind) if isinstance(value, str) else None
    kind = close or (able[0] if len(able) == 1 else None)
    if kind is None:
        return None
    place = written.value.place if written else table.place
    key = written.key if written else table.place
    return Entry(key=key, value=Leaf(value=kind, place=place))
