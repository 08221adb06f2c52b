"""What a check gets, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from campaign.gpus.probe import GpuProbe


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"  # runs must not be started here


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence on one thing, and what to do about it where something is to be done."""

    check: str
    level: Level
    sentence: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The machine as the checks see it. ``host``: its name in device references. ``runtime`` is None
    where there is no directory that can be trusted, and ``runtime_problem`` says why.
    """

    home: Path
    runtime: Path | None
    runtime_problem: str = ""
    host: str
    environ: Mapping[str, str]
    probe: GpuProbe


Check = Callable[[Context], Iterable[Finding]]


def ok(check: str, sentence: str) -> Finding:
    return Finding(check=check, level=Level.OK, sentence=sentence)


def warn(check: str, sentence: str, advice: str) -> Finding:
    return Finding(check=check, level=Level.WARN, sentence=sentence, advice=advice)


def fail(check: str, sentence: str, advice: str) -> Finding:
    return Finding(check=check, level=Level.FAIL, sentence=sentence, advice=advice)


def nearest_existing(path: Path) -> Path:
    """The path itself, or its nearest ancestor that is there."""
    return next(p for p in (path, *path.parents) if p.exists())
