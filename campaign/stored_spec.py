"""A run's spec as it lies in the store: readable, or kept as it was written with what is wrong with it.

The models change from version to version and the store outlives them. A spec that they refuse ends its
run with the reason, never the controller. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    WrapSerializer,
    WrapValidator,
)

from specs.changes import apply_changes
from specs.errors import SpecErrors, dotted
from specs.run import RunSpec

_MOST = 3


class UnreadableSpec(BaseModel):
    """A stored spec that the models of this version refuse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    written: Any
    problem: str


def _read(value: Any, _: object) -> RunSpec | UnreadableSpec:
    if isinstance(value, (RunSpec, UnreadableSpec)):
        return value
    try:
        return RunSpec.model_validate(value)
    except ValidationError as error:
        return UnreadableSpec(written=value, problem=problems(error))


def _write(spec: RunSpec | UnreadableSpec, handler: SerializerFunctionWrapHandler) -> Any:
    """A spec that was not understood goes back as it came: another version may understand it."""
    return spec.written if isinstance(spec, UnreadableSpec) else handler(spec)


StoredSpec = Annotated[RunSpec | UnreadableSpec, WrapValidator(_read), WrapSerializer(_write)]


class Unusable(Exception):
    """No attempt can be made of what the store has; the message says why."""


def effective(stored: RunSpec | UnreadableSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The spec as submitted with what rollbacks changed since. Raises Unusable."""
    if isinstance(stored, UnreadableSpec):
        raise Unusable(f"this version of campaign cannot read its stored spec: {stored.problem}")
    try:
        return apply_changes(stored, changes) if changes else stored
    except SpecErrors as errors:
        said = "; ".join(
            f"{error.where}: got {error.got}, {error.allowed}" for error in errors.errors
        )
        raise Unusable(f"the changes that its rollback ordered are refused: {said}") from errors


def problems(error: ValidationError) -> str:
    """What a model refuses, on one line, with the paths."""
    found = [
        f"{dotted(detail['loc']) or 'it'}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False)
    ]
    more = [f"{len(found) - _MOST} more"] if len(found) > _MOST else []
    return "; ".join([*found[:_MOST], *more])
