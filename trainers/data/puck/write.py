"""Clips of a puck as files of the documented layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from specs.data_clips import TASKS, PuckData
from trainers.data.child import MakeOrder, Refused, Say
from trainers.data.clip_layout import CONTACT_SHEET, IMPULSE_ROW, PARAMETERS
from trainers.data.clip_writer import TaskFolder, opened
from trainers.data.puck.clips import RECIPE, Studio, studio
from trainers.data.puck.encoder import TUBELET
from trainers.data.puck.parameters import Pucks, draw
from trainers.data.puck.portrait import portrait


def write(order: MakeOrder, say: Say) -> Sequence[Mapping[str, Any]]:
    """One row a task: what was made, and what was there. Raises Refused."""
    unknown = [task for task in order.tasks if task not in TASKS]
    if unknown or not order.tasks:
        raise Refused(
            "usage", f"no task {', '.join(unknown) or 'given'}; there are {', '.join(TASKS)}"
        )
    torch.set_num_threads(order.threads)
    made_by = studio(_settings(order), torch.device(order.device))
    return [_task(made_by, task, order, say) for task in dict.fromkeys(order.tasks)]


def parameters(pucks: Pucks) -> list[Mapping[str, Any]]:
    """Of each clip, by name, as JSON has them; lengths in table sides, times in seconds, angles in radians."""
    return [
        {
            "radius": float(pucks.radius[i]),
            "mass": float(pucks.mass[i]),
            "friction": float(pucks.friction[i]),
            "ice": bool(pucks.ice[i]),
            "restitution": float(pucks.restitution[i]),
            "spin": float(pucks.spin[i]),
            "curve": float(pucks.curve[i]),
            "angle": float(pucks.angle[i]),
            "position": pucks.position[i].tolist(),
            "impulse": pucks.impulse[i].tolist(),
            "bars": [bar.tolist() for bar in pucks.bars[i] if bar.any()],
            "coarse": int(pucks.coarse[i]),
        }
        for i in range(len(pucks))
    ]


def _settings(order: MakeOrder) -> PuckData:
    try:
        return PuckData(
            grid=(order.grid[0], order.grid[1]),
            feature_width=order.feature_width,
            frames=order.frames,
            seed=order.seed,
        )
    except ValidationError as error:
        said = "; ".join(f"{e['loc'][0]}: {e['msg']}, got {e['input']}" for e in error.errors())
        raise Refused("usage", said) from None


def _task(by: Studio, task: str, order: MakeOrder, say: Say) -> Mapping[str, Any]:
    of = by.settings
    made_with = {
        "maker": "puck",
        "recipe": RECIPE,
        "task": task,
        **of.model_dump(include={"grid", "feature_width", "frames", "feature_std", "seed"}),
    }
    shape = (of.frames * of.grid[0] * of.grid[1], of.feature_width)
    with opened(Path(order.out), task, shape, made_with) as folder:
        todo = [number for number in range(order.clips) if not folder.has(number)]
        there = order.clips - len(todo)
        say(task, there, order.clips)
        for begin in range(0, len(todo), by.at_once):
            some = todo[begin : begin + by.at_once]
            _write(folder, by, task, some)
            say(task, there + begin + len(some), order.clips)
        picture = Path(order.out) / task / CONTACT_SHEET
        portrait(by, task, order.clips).save(picture)
    return {
        "task": task,
        "clips": order.clips,
        "made": len(todo),
        "kept": there,
        "folder": str(Path(order.out) / task),
        "contact_sheet": str(picture),
    }


def _write(folder: TaskFolder, by: Studio, task: str, numbers: Sequence[int]) -> None:
    clips = np.array(numbers, np.int64)
    features = by.features(task, clips).flatten(1, 2).cpu().numpy()
    physics = parameters(draw(by.settings.seed, task, clips, by.table))
    for row, number in enumerate(numbers):
        actions = np.zeros((TUBELET * by.settings.frames, 2), np.float32)
        actions[IMPULSE_ROW] = physics[row]["impulse"]
        folder.write(number, features[row], actions, (PARAMETERS, physics[row]))
