"""A process that writes clips, and what it is told: ``python -P -E -m trainers.data.make ORDER``, or ``.encode``.

On stdout it writes one JSON object a line: ``{"task", "at", "of"}`` as it goes on; at the end ``{"data": [...]}`` or
``{"error": kind, "message": ...}``. Standard library only: a wrong order is answered without torch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

CODES = {"usage": 2, "missing": 4, "bad": 5, "exists": 5, "extra": 5}
"""Exit code of each kind of refusal."""


class Refused(Exception):
    """What was asked cannot be done; ``kind`` is one of `CODES`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


Say = Callable[[str, int, int], None]
"""Told of a task how many of its clips are there, and how many there will be."""


@dataclass(frozen=True, kw_only=True)
class MakeOrder:
    """Clips of a puck. Fields as in `specs.data_clips.PuckData`; ``clips`` of every task."""

    tasks: Sequence[str]
    out: str
    clips: int
    grid: Sequence[int]
    feature_width: int
    frames: int
    seed: int
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class EncodeOrder:
    """Features of the videos below a folder, by the V-JEPA 2 checkpoint in another."""

    videos: str
    checkpoint: str
    out: str
    frames: int
    device: str = "cpu"
    threads: int = 1


O = TypeVar("O")  # noqa: E741 - an order


def run(
    argv: Sequence[str], kind: type[O], work: Callable[[O, Say], Sequence[Mapping[str, Any]]]
) -> int:
    """Do what the order says, and end with this process's parent; returns the exit code."""
    answers = _keep_stdout_for_answers()

    def write(value: Mapping[str, Any]) -> None:
        print(json.dumps(value, allow_nan=False), file=answers, flush=True)

    try:
        order = _read(argv, kind)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        data = work(order, lambda task, at, of: write({"task": task, "at": at, "of": of}))
    except Refused as refusal:
        write({"error": refusal.kind, "message": str(refusal)})
        return CODES[refusal.kind]
    except KeyboardInterrupt:
        return 130
    write({"data": list(data)})
    return 0


def _read(argv: Sequence[str], kind: type[O]) -> O:
    if len(argv) != 2:
        raise Refused("usage", f"usage: python -P -E -m {argv[0]} ORDER")
    try:
        return kind(**json.loads(argv[1]))
    except (ValueError, TypeError) as error:
        raise Refused("usage", f"the order is not understood: {error}") from error


def _keep_stdout_for_answers() -> Any:
    """The real stdout; whatever a library prints goes to stderr from here on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _end_with_parent() -> None:
    """stdin ends when whoever holds its other end is gone, however that came."""
    while os.read(0, 4096):
        pass
    os._exit(130)
