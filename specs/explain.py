"""What pydantic found, said with the line of the file, the name of the field and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specs.errors import (
    Place,
    SpecError,
    UnknownWord,
    WrongField,
    at,
    closest,
    did_you_mean,
    one_of,
    show,
)
from specs.tree import Entry, Leaf, Node, Table, plain


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``of_model``: not one value is wrong, but what is there together, or what is not there."""

    error: SpecError
    of_model: bool = False


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where an error's location leads: the deepest node on the way, and the models that fit it.

    ``path``: the keys and indices of the tree that lead there.
    """

    key: Place
    node: Node
    models: tuple[type[BaseModel], ...]
    path: tuple[int | str, ...]

    @property
    def fields(self) -> list[str]:
        """The names that the models know."""
        return [name for model in self.models for name in model.model_fields]


def explain(error: ValidationError, model: type[BaseModel], entry: Entry) -> list[Finding]:
    """The findings of one validation of ``entry.value`` by ``model``."""
    return explain_details(error.errors(include_url=False), model, entry)


def explain_details(
    details: Iterable[ErrorDetails], model: type[BaseModel], entry: Entry
) -> list[Finding]:
    """Likewise of some of its errors."""
    findings: dict[SpecError, Finding] = {}
    for detail in details:
        new = _finding(detail, spot_of(detail["loc"], model, entry))
        same_but_allowed = replace(new.error, allowed="", hint="")
        old = findings.get(same_but_allowed)
        # every branch of a union such as `int | str` complains: one sentence for all of them
        if old is not None:
            sentence = _either(old.error.allowed, new.error.allowed)
            new = replace(old, error=replace(old.error, allowed=sentence))
        findings[same_but_allowed] = new
    return list(findings.values())


def models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The models that an annotation mentions, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in models_in(part))


def spot_of(loc: tuple[int | str, ...], model: type[BaseModel], entry: Entry) -> Spot:
    """Follow a location of pydantic, which also names the members of unions, through the tree."""
    node, key = entry.value, entry.key
    models: tuple[type[BaseModel], ...] = (model,)
    path: list[int | str] = []
    for step in loc:
        if len(models) > 1 and isinstance(step, str):
            chosen = tuple(m for m in models if step in _tags(m))
            if chosen:
                models = chosen
                continue
        below = _child(node, step)
        if below is None:
            break
        key, node = below.key, below.value
        models = _models_below(models, step)
        path.append(step)
    return Spot(key=key, node=node, models=models, path=tuple(path))


def _child(node: Node, step: int | str) -> Entry | None:
    if isinstance(node, Table):
        return node.entries.get(str(step))
    if isinstance(node, Leaf) or not isinstance(step, int) or step >= len(node.items):
        return None
    item = node.items[step]
    return Entry(key=item.place, value=item)


def _models_below(
    models: tuple[type[BaseModel], ...], step: int | str
) -> tuple[type[BaseModel], ...]:
    """Through a field to its models; the key of a map or the index of a list changes nothing."""
    fields = [
        m.model_fields[step] for m in models if isinstance(step, str) and step in m.model_fields
    ]
    if not fields:
        return models
    return tuple(model for info in fields for model in models_in(info.annotation))


def _tags(model: type[BaseModel]) -> set[object]:
    """The words by which a union tells its members apart."""
    tags: set[object] = {model.__name__}
    for info in model.model_fields.values():
        if get_origin(info.annotation) is Literal:
            tags |= set(get_args(info.annotation))
    return tags


def _finding(detail: ErrorDetails, spot: Spot) -> Finding:
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "missing":
        return _missing(last, spot)
    if detail["type"] == "extra_forbidden":
        return _found(
            spot.key,
            got=f"the unknown field `{last}`",
            allowed=one_of(spot.fields, last),
            hint=did_you_mean(last, spot.fields),
        )
    if last == "[key]":
        return _found(spot.key, got=show(spot.key.path[-1]), allowed=_sentence(detail))
    if field := discriminator(detail):
        return _tag_finding(field, spot)
    if detail["type"] == "value_error" and isinstance(spot.node, Table):
        return _model_finding(detail, spot.key, spot.node)
    allowed = _sentence(detail)
    return _found(
        spot.node.place if isinstance(spot.node, Leaf) else spot.key,
        got=show(plain(spot.node)),
        allowed=allowed,
        hint=_hint(detail, spot.node),
    )


def _missing(field: str, spot: Spot) -> Finding:
    hint = ""
    if isinstance(spot.node, Table) and (slip := slip_of(field, spot.node, spot.fields)):
        hint = f"is `{slip}` meant to be `{field}`?"
    return _found(
        spot.key, got=f"no `{field}`", allowed=f"`{field}` is required", hint=hint, of_model=True
    )


def slip_of(field: str, table: Table, known: Sequence[str]) -> str | None:
    """The unknown field of a section that is perhaps meant to be ``field``."""
    return closest(field, [key for key in table.entries if key not in known])


def discriminator(detail: ErrorDetails) -> str | None:
    """The field by which the models of a union are told apart, where that is what is wrong."""
    if detail["type"] not in ("union_tag_invalid", "union_tag_not_found"):
        return None
    return str(detail["ctx"]["discriminator"]).strip("'")


def _tag_finding(field: str, spot: Spot) -> Finding:
    """The field that tells the members of a union apart has an unknown value, or is missing."""
    known = [kind for model in spot.models for kind in kinds(model, field)]
    written = spot.node.entries.get(field) if isinstance(spot.node, Table) else None
    if written is None:
        missing = _missing(field, spot)
        allowed = f"{missing.error.allowed}; it {one_of(known)}"
        return replace(missing, error=replace(missing.error, allowed=allowed))
    value = plain(written.value)
    return _found(
        written.value.place,
        got=show(value),
        allowed=one_of(known, value),
        hint=did_you_mean(value, known),
    )


def kinds(model: type[BaseModel], field: str) -> tuple[str, ...]:
    """The values of ``field`` by which a union knows the model."""
    info = model.model_fields.get(field)
    return get_args(info.annotation) if info is not None else ()


def _model_finding(detail: ErrorDetails, key: Place, table: Table) -> Finding:
    """Fields that do not go together: the line is that of the field to blame, if it was written."""
    error = detail.get("ctx", {}).get("error")
    fields = error.fields if isinstance(error, WrongField) else ()
    for field in fields:
        if (entry := _written(field, table)) is not None:
            value = entry.value
            place = value.place if isinstance(value, Leaf) else entry.key
            return _found(place, got=show(plain(value)), allowed=_sentence(detail), of_model=True)
    return _found(key, got="a map", allowed=_sentence(detail), of_model=True)


def _written(field: str, table: Table) -> Entry | None:
    """The entry of a field, which may be one of a section: ``relaxation.t1max``."""
    *sections, last = field.split(".")
    return table.table(*sections).entries.get(last)


def _found(
    place: Place, *, got: str, allowed: str, hint: str = "", of_model: bool = False
) -> Finding:
    error = at(place, got=got, allowed=allowed, hint=hint)
    return Finding(error=error, of_model=of_model)


_SENTENCES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "mapping_type": "must be a map",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
    "none_required": "must be null",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "string_too_short": "must be text of at least {min_length} character(s)",
    "string_too_long": "must be text of at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
}


def _sentence(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    known = _SENTENCES.get(detail["type"])
    return known.format(**context) if known else detail["msg"]


def _hint(detail: ErrorDetails, node: Node) -> str:
    """What to change, where a common slip of YAML is behind a wrong type."""
    value = node.value if isinstance(node, Leaf) else None
    kind = detail["type"]
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, UnknownWord):
        return did_you_mean(cause.word, cause.known)
    if kind == "literal_error":
        return did_you_mean(value, re.findall(r"'([^']*)'", str(detail.get("ctx", {})["expected"])))
    if kind == "string_type" and value is not None:
        return "write it in quotes"
    if not isinstance(value, str):
        return ""
    if kind == "bool_type" and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f"write {'true' if value.lower() in ('yes', 'on', 'y') else 'false'}"
    if kind in ("int_type", "float_type") and _NUMBER.fullmatch(value):
        return f"write {value.replace('_', '').replace(',', '')}, without quotes or separators"
    return ""


_NUMBER = re.compile(r"[-+]?\d[\d_,]*(\.\d*)?([eE][-+]?\d+)?")


def _either(first: str, second: str) -> str:
    if second in first.split(" or "):
        return first
    return first if first == second else f"{first} or {second.removeprefix('must be ')}"
