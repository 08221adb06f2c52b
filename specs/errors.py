"""What is wrong with a campaign file: where, what was got, what would be right; all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

_LINE = 240
_NAMES = 12
_LONGEST = 60
_RUNS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a value was written.

    ``source`` is the file as it was named, or the command-line option that gave the value; ``line``
    and ``column`` count from 1 and are absent there. ``path`` is the path inside the file.
    """

    source: str
    line: int | None = None
    column: int | None = None
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecError:
    """One wrong thing.

    ``where`` is the dotted path as written (empty for the file itself), ``got`` the value as a
    person would quote it, ``allowed`` a sentence on what would be right, ``hint`` what to do.
    """

    file: str
    line: int | None = None
    column: int | None = None
    where: str = ""
    got: str
    allowed: str
    hint: str = ""

    @property
    def location(self) -> str:
        """``file:line:column``, as editors and terminals make it a link."""
        if self.line is None:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"

    def render(self) -> str:
        """Two or three lines: what and where, what would be right, what to do."""
        # an option names its path itself
        named = self.line is None and self.where.removeprefix("runs.") in self.file
        where = f"{self.where}: " if self.where and not named else ""
        lines = [f"{self.location}: {where}got {self.got}", f"  {self.allowed}"]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(_clipped(line) for line in lines)


class SpecErrors(Exception):
    """The campaign cannot be read; every reason is listed, in the order of the file."""

    exit_code: ClassVar[int] = 3

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors: tuple[SpecError, ...] = tuple(sorted(dict.fromkeys(errors), key=_position))
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(error.render() for error in self.errors)


class WrongField(ValueError):
    """Raised by a validator of a whole model, to say which of its fields is to blame.

    The first of ``fields`` that was written is the one whose line is shown; a dot leads into a
    section.
    """

    def __init__(self, fields: str | tuple[str, ...], message: str) -> None:
        self.fields = (fields,) if isinstance(fields, str) else fields
        super().__init__(message)


class UnknownWord(ValueError):
    """Raised by a validator where one of a few words is expected."""

    def __init__(self, word: str, known: Iterable[str]) -> None:
        self.word = word
        self.known = tuple(known)
        super().__init__(one_of(self.known, word))


def at(place: Place, *, got: str, allowed: str, hint: str = "") -> SpecError:
    return SpecError(
        file=place.source,
        line=place.line,
        column=place.column,
        where=dotted(place.path),
        got=got,
        allowed=allowed,
        hint=hint,
    )


def gather(found: Iterable[tuple[str, SpecError]], runs: Collection[str]) -> tuple[SpecError, ...]:
    """Errors found run by run, each of them once; one in shared settings says whom it reaches."""
    reached: dict[SpecError, list[str]] = {}
    for run, error in found:
        names = reached.setdefault(error, [])
        if run not in names:
            names.append(run)
    return tuple(_reaching(error, names, len(runs)) for error, names in reached.items())


def _reaching(error: SpecError, names: list[str], of: int) -> SpecError:
    if len(names) == 1 and error.where.startswith("runs."):
        return error
    more = f" and {len(names) - _RUNS} more" if len(names) > _RUNS else ""
    which = "every run" if len(names) == of else f"{', '.join(names[:_RUNS])}{more}"
    note = f"it reaches {which}"
    return replace(error, hint=f"{error.hint} ({note})" if error.hint else note)


def dotted(path: Iterable[str | int]) -> str:
    """``("runs", "a", "watch", 0)`` as ``runs.a.watch[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def closest(word: object, known: Iterable[str]) -> str | None:
    """The name that was most likely meant; None where none is close."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(word)[:100].casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A question naming the closest of ``known``, or nothing where none is close."""
    name = closest(word, known)
    return f"did you mean `{name}`?" if name is not None else ""


def one_of(known: Iterable[str], closest_to: object = "") -> str:
    """The names as a sentence; of many, those closest to what was written, and how many more."""
    names = list(known)
    if len(names) > _NAMES:
        word = str(closest_to)[:100]
        likeness = difflib.SequenceMatcher(b=word, autojunk=False)

        def score(name: str) -> float:
            likeness.set_seq1(name)
            return -likeness.ratio()

        near = sorted(names, key=score)[:_NAMES]
        return f"must be one of: {', '.join(near)} ({len(names) - _NAMES} more)"
    return f"must be one of: {', '.join(names)}" if names else "there is none"


def show(value: object) -> str:
    """A value as a person would quote it, on one line."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]!r}..."
    if isinstance(value, dict):
        return "a map" if value else "an empty map"
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (dict, list, tuple)) for item in value):
            return "a list"
        shown = f"[{', '.join(show(item) for item in value)}]"
        return shown if len(shown) <= _LONGEST else "a list"
    return repr(value)


def _clipped(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= _LINE else f"{line[: _LINE - 3]}..."


def _position(error: SpecError) -> tuple[bool, str, int, int, str]:
    return (error.line is None, error.file, error.line or 0, error.column or 0, error.where)
