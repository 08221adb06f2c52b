"""Clips for the HOPE trainer: the process that writes them, and what it says on its way.

Writing them needs torch, so it happens in a child with the environment of a trainer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from campaign import children
from campaign.errors import CampaignError, ExitCode, NotFound, WrongState
from campaign.probing import Place

DATA_SET = "friction"
"""The whole data set: base and every shift."""


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
    module = f"trainers.data.{_WORK[type(ask)]}"
    argv = [sys.executable, "-P", "-E", "-m", module, json.dumps(order)]
    code, answer = _run(argv, children.environment(threads, at.environment), progress)
    if answer is None:
        ended = children.ending(code)
        raise ClipsFailed(f"clips could not be written ({ended}); the last words are above")
    if "error" in answer:
        raise _ERRORS.get(answer["error"], WrongState)(answer["message"])
    return tuple(Made(**row) for row in answer["data"])


def _run(
    argv: list[str], environment: Mapping[str, str], progress: Progress
) -> tuple[int, dict[str, Any] | None]:
    """Exit code and answer."""
    answer: dict[str, Any] | None = None
    with children.answering(argv, environment) as (child, stdout):
        for line in stdout:
            said = json.loads(line)
            if "at" in said:
                progress(said["task"], said["at"], said["of"])
            else:
                answer = said
        return child.wait(), answer
