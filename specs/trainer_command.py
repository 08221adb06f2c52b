"""The settings of a command: any program as a trainer, its metrics by file or by a pattern."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from specs.base import Listed, Model
from specs.pattern import compile_pattern

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
_RESERVED_PREFIXES = ("CAMPAIGN_", "RAY_")
_SHELL = frozenset("|&;<>()$`*?[]{}\"'\\\n")
_REDIRECTS = frozenset("|&;<>$`*?\n")


def _one_string(value: Any) -> Any:
    """A whole command line in one text is refused, with the list that was meant."""
    lone = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if not isinstance(lone, str):
        return value
    if isinstance(value, str) or any(c.isspace() or c in _SHELL for c in lone):
        raise ValueError(f"must be a list with one entry for each word: {_suggested(lone)}")
    return value


def _suggested(line: str) -> str:
    if not line.strip():
        return "[python, train.py]"
    if any(c in _REDIRECTS for c in line):
        return f"no shell reads it; if one should, write {_listed(['bash', '-c', line])}"
    try:
        return _listed(shlex.split(line))
    except ValueError:  # a quote that is never closed
        return _listed(line.split())


def _listed(words: list[str]) -> str:
    """A YAML flow list; JSON strings are YAML strings, and plain words need no quotes."""
    return f"[{', '.join(_quoted(word) for word in words)}]"


def _quoted(word: str) -> str:
    if re.fullmatch(r"[A-Za-z_./-][A-Za-z0-9_./=-]*", word) and word not in ("-", "."):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _program_first(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv:
        raise ValueError("must name a program: [python, train.py]")
    if not argv[0]:
        raise ValueError("the first entry is the program; it is empty")
    return argv


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _env_name(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise ValueError(
            "the name of a variable is letters, digits and _, and starts with no digit"
        )
    if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        raise ValueError(
            f"{', '.join(_RESERVED)}, CAMPAIGN_* and RAY_* are set for the run and cannot be given; "
            "devices are chosen by resources.pin and resources.exclude"
        )
    return name


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


def _no_twins(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice")
    return names


_Word = Annotated[str, AfterValidator(_no_nul)]


class CommandMetrics(Model):
    """What the program measures, and how it is read from its log if it only prints.

    Without ``pattern`` the program appends metric lines to ``$CAMPAIGN_METRICS`` itself; it may do
    that in any case.
    """

    declared: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Listed, AfterValidator(_no_twins)
    ] = Field(default=(), description="metric names; a rule on another name is then refused")
    pattern: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None,
        description="regular expression for lines of the log; named groups are metrics, `__` is `/`",
    )


class CommandTrainer(Model):
    """Any program. It runs in ``cwd``, with ``env`` added to what campaign sets; no shell reads ``argv``."""

    METRICS: ClassVar[tuple[str, ...]] = ("system/*",)

    kind: Literal["command"]
    argv: Annotated[
        tuple[_Word, ...], AfterValidator(_program_first), Listed, BeforeValidator(_one_string)
    ]
    cwd: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="working directory; where submit was called if absent"
    )
    env: Mapping[Annotated[str, AfterValidator(_env_name)], _Word] = Field(default_factory=dict)
    metrics: CommandMetrics = CommandMetrics()

    def declared_metrics(self) -> tuple[str, ...]:
        """The names that the program is known to write; empty where they cannot be known.

        A pattern without ``key`` declares its own groups.
        """
        declared = self.metrics.declared
        if self.metrics.pattern is None:
            return declared
        pattern = compile_pattern(self.metrics.pattern)
        if pattern.open and not declared:
            return ()
        return (*declared, *(m for m in pattern.named.values() if m not in declared))
