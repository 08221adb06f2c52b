"""The one base of every spec model, and the small types that many of them share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from specs.errors import UnknownWord

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_SECONDS = 366 * 86400.0


class Model(BaseModel):
    """Frozen, strict about types, deaf to unknown keys; NaN and infinities are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_enum_values=False,
    )


def _check_name(value: str) -> str:
    if not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            "must be 1 to 63 of a-z 0-9 . _ - and start with a letter or a digit (lower case)"
        )
    return value


def seconds(value: Any) -> Any:
    """``"30s"``, ``"10m"``, ``"1.5h"`` or a number of seconds, as seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number of seconds, or a text such as 30s, 10m, 2h, 1d")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("must be a duration in ms, s, m, h or d, such as 30s, 10m, 2h")
        return float(match[1]) * _UNIT_SECONDS[match[2]]
    return _as_float(value)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("must be a number that a double can hold") from error


Name = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"}),
]
"""Name of a campaign, a run or a rule."""

Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=LONGEST_SECONDS),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_SECONDS},
                {"type": "string", "pattern": rf"^\s*{_DURATION.pattern}\s*$"},
            ]
        }
    ),
]
"""Seconds; written as a number or as ``30s``, ``10m``, ``2h``, ``1d``."""

Listed = BeforeValidator(_as_tuple)
"""Put on a tuple field: a YAML list is welcome there although the models are strict."""

Number = Annotated[float, BeforeValidator(_as_float)]
"""A real number; a whole one is welcome, text and booleans are not."""


def word(kind: type[StrEnum]) -> BeforeValidator:
    """A member of ``kind`` by its word; another word is refused with those that are known."""

    def parse(value: object) -> object:
        if isinstance(value, str):
            try:
                return kind(value)
            except ValueError:
                raise UnknownWord(value, kind) from None
        return value

    return BeforeValidator(parse)
