"""Clips for the HOPE trainer: the process that writes them, and what it says on its way.

Writing them needs torch, so it happens in a child with the environment of a trainer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from campaign.errors import CampaignError, ExitCode, NotFound, WrongState
from campaign.launching import allowed_env
from campaign.probing import Place

DATA_SET = "friction"
"""The whole data set: base and every shift."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PATIENCE = 5.0


class BadClipOrder(CampaignError):
    """What was asked for is not what there is."""

    exit_code = ExitCode.USAGE


class ClipsFailed(CampaignError):
    """The writing process ended without an answer."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A task: clips in its folder, how many of them are new, and the picture of the first ones."""

    task: str
    clips: int
    made: int
    kept: int
    folder: str
    contact_sheet: str


@dataclass(frozen=True, kw_only=True)
class MakeClips:
    """Clips of a puck; ``clips`` of every task."""

    tasks: tuple[str, ...]
    out: str
    clips: int = 200
    grid: tuple[int, int] = (16, 16)
    feature_width: int = 1024
    frames: int = 8
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EncodeClips:
    """Features of the videos below a folder, by a V-JEPA 2 checkpoint."""

    videos: str
    checkpoint: str
    out: str
    frames: int = 8


Progress = Callable[[str, int, int], None]
"""Told of a task how many of its clips are there, and how many there will be."""

_WORK: Mapping[type, Literal["make", "encode"]] = {MakeClips: "make", EncodeClips: "encode"}
_ERRORS: Mapping[str, type[CampaignError]] = {"usage": BadClipOrder, "missing": NotFound}


def known_tasks(words: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks by their names; `friction` is all of them. Raises BadClipOrder."""
    from specs.data_clips import TASKS

    unknown = [word for word in words if word not in (*TASKS, DATA_SET)]
    if unknown or not words:
        raise BadClipOrder(
            f"no task {', '.join(map(repr, unknown)) or 'given'}; there are {', '.join(TASKS)}, and "
            f"{DATA_SET} for all of them"
        )
    return TASKS if DATA_SET in words else tuple(dict.fromkeys(words))


def write(
    ask: MakeClips | EncodeClips, at: Place, *, threads: int, progress: Progress
) -> tuple[Made, ...]:
    """Write clips in a child; what it warns of goes to this process's stderr.

    Ctrl-C, or the end of this process however it comes, ends the child; clips that are whole stay. Raises
    BadClipOrder, NotFound, WrongState, ClipsFailed.
    """
    order = {**asdict(ask), "device": at.device, "threads": threads}
    environment = {
        **allowed_env(dict(os.environ)),
        **dict.fromkeys(_THREADS, str(threads)),
        **at.environment,
    }
    argv = [
        sys.executable,
        "-P",
        "-E",
        "-m",
        f"trainers.data.{_WORK[type(ask)]}",
        json.dumps(order),
    ]
    code, answer = _run(argv, environment, progress)
    if answer is None:
        said = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ClipsFailed(f"clips could not be written ({said}); the last words are above")
    if "error" in answer:
        raise _ERRORS.get(answer["error"], WrongState)(answer["message"])
    return tuple(Made(**row) for row in answer["data"])


def _run(
    argv: list[str], environment: Mapping[str, str], progress: Progress
) -> tuple[int, dict[str, Any] | None]:
    """Exit code and answer. The child's stdin is a pipe that ends with this process."""
    answer: dict[str, Any] | None = None
    with subprocess.Popen(
        argv, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                said = json.loads(line)
                if "at" in said:
                    progress(said["task"], said["at"], said["of"])
                else:
                    answer = said
            return child.wait(), answer
        except BaseException:  # Ctrl-C above all: whatever it is, the child goes first
            child.terminate()
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
