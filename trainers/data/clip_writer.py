"""Writes clips of one task into a folder: each whole or not at all, those that are there are kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specs.files import fsync_dir, read_json, write_json
from trainers.data.child import Refused
from trainers.data.clip_layout import ACTIONS, FEATURES, MADE_WITH, clip_name

_PART = ".part"


class TaskFolder:
    """``OUT/<task>``, open for one writer."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._path = path
        self._shape = shape

    def has(self, number: int) -> bool:
        """Whether the clip is there as it was written."""
        clip = self._path / clip_name(number)
        try:
            features = np.load(clip / FEATURES, mmap_mode="r", allow_pickle=False)
            actions = np.load(clip / ACTIONS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return bool(features.shape == self._shape and actions.ndim == 2)

    def write(
        self,
        number: int,
        features: NDArray[Any],
        actions: NDArray[Any],
        about: tuple[str, Mapping[str, Any]],
    ) -> None:
        """``features`` as stored, ``actions`` (steps, 2); ``about`` is a file name and what stands in it."""
        clip = self._path / clip_name(number)
        part = clip.with_name(f".{clip.name}{_PART}")
        if part.exists():
            shutil.rmtree(part)
        for name, values in ((FEATURES, features), (ACTIONS, actions)):
            (part / name).parent.mkdir(parents=True)
            np.save(part / name, values, allow_pickle=False)
        write_json(part / about[0], dict(about[1]), mode=0o644)
        if clip.exists():  # broken: else `has` had found it
            shutil.rmtree(clip)
        part.rename(clip)

    def close(self) -> None:
        """All names are on the disk."""
        fsync_dir(self._path)


@contextmanager
def opened(
    out: Path, task: str, shape: tuple[int, int], made_with: Mapping[str, Any]
) -> Iterator[TaskFolder]:
    """The folder of a task for clips of flat ``shape`` (T P, F), made if it is not there.

    Raises Refused where its clips were made with something else, where it has clips of unknown make, or where another
    process writes.
    """
    path = out / task
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Refused("bad", f"{path} cannot be written: {error.strerror} (--out)") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("exists", f"another process writes clips into {path}") from None
        _same_make(path, json.loads(json.dumps(dict(made_with))))
        folder = TaskFolder(path, shape)
        yield folder
        folder.close()
    finally:
        os.close(handle)


def _same_make(path: Path, made_with: dict[str, Any]) -> None:
    """Clips of one folder are of one make."""
    file = path / MADE_WITH
    if not file.exists():
        if any(not child.name.startswith(".") for child in path.iterdir()):
            raise Refused(
                "exists", f"{path} holds files that this did not make; give another --out"
            )
        write_json(file, made_with, mode=0o644)
        return
    there = read_json(file)
    if there is None:
        raise Refused("exists", f"{file} cannot be read; give another --out")
    differ = [
        f"{name} {there.get(name)!r}, asked for {made_with.get(name)!r}"
        for name in sorted({*there, *made_with})
        if there.get(name) != made_with.get(name)
    ]
    if differ:
        raise Refused(
            "exists", f"the clips in {path} were made with {'; '.join(differ)}; give another --out"
        )
