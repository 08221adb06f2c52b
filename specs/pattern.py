"""How metrics are read from the lines of a program's log. Standard library only: the wrapper starts fast.

A pattern is a regular expression with named groups. ``step`` is the step of the line; ``key`` and
``value`` name a metric and its value; every other group is itself a metric, ``__`` standing for ``/``,
so ``(?P<val__ce>...)`` is ``val/ce``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STEP, KEY, VALUE = "step", "key", "value"


@dataclass(frozen=True, kw_only=True)
class LinePattern:
    """A compiled pattern. ``named``: group name -> metric name; ``open``: it has ``key``, ``value``."""

    regex: re.Pattern[str]
    named: dict[str, str]
    open: bool
    has_step: bool


def compile_pattern(text: str) -> LinePattern:
    """Raises ValueError with a sentence that says what is wrong and what would be right."""
    try:
        regex = re.compile(text)
    except (OverflowError, RecursionError):
        raise ValueError("must be a regular expression that can be compiled") from None
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValueError(f"must be a regular expression; {error.msg}{where}") from None
    groups = set(regex.groupindex)
    if (KEY in groups) != (VALUE in groups):
        raise ValueError(f"the groups `{KEY}` and `{VALUE}` go together; give both or neither")
    named = {name: metric_of(name) for name in regex.groupindex if name not in (STEP, KEY, VALUE)}
    if not named and KEY not in groups:
        raise ValueError(
            "must have a named group for each metric, as in "
            r"step (?P<step>\d+) loss (?P<loss>\S+), or the groups `key` and `value`"
        )
    return LinePattern(regex=regex, named=named, open=KEY in groups, has_step=STEP in groups)


def metric_of(group: str) -> str:
    """The metric that a named group stands for: group names have no slash."""
    return group.replace("__", "/")
