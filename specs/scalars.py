"""What a plain YAML word means: the core schema of YAML 1.2.2, section 10.3.2, and nothing more.

So ``1e-4`` is a number, while ``no``, ``on``, ``12:30`` and ``2026-01-01`` are text.
"""

from __future__ import annotations

import math
import re

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o([0-7]+)")
_HEXADECIMAL = re.compile(r"0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS = 100
_WIDEST = 2**63


class BadScalar(ValueError):
    """A word that means a value which no field takes."""


def resolve(word: str) -> str | int | float | bool | None:
    """The value of an unquoted word.

    Raises BadScalar for NaN, infinities, and whole numbers beyond 64 bits, which JSON and the
    store could not keep.
    """
    if word in _NULL:
        return None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if _INFINITE.fullmatch(word):
        raise BadScalar("must be a finite number")
    if (whole := _whole(word)) is not None:
        return whole
    if _FLOAT.fullmatch(word):
        number = float(word)
        if not math.isfinite(number):
            raise BadScalar("must be a finite number; this one is too large")
        return number
    return word


def _whole(word: str) -> int | None:
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if match := pattern.fullmatch(word):
            if len(word) > _DIGITS:
                raise BadScalar("must fit in 64 bits")
            number = int(match[match.lastindex or 0], base)
            if not -_WIDEST <= number < _WIDEST:
                raise BadScalar("must fit in 64 bits")
            return number
    return None


def bad_character(text: str, *, kept: str = "\t\n") -> tuple[int, str] | None:
    """Index and name of the first character that no text of a spec may hold; None if all is well."""
    for index, character in enumerate(text):
        code = ord(character)
        if character in kept:
            continue
        if code == 0:
            return index, "a NUL character"
        if code < 0x20 or 0x7F <= code < 0xA0:
            return index, f"the control character U+{code:04X}"
        if 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE:
            return index, f"U+{code:04X}, which is no character"
    return None
