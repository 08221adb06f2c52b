"""Videos with their actions, ``VIDEOS/<task>/<name>.mp4`` beside ``<name>.actions.npy``, and their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.child import Refused

FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
ARRAY = ".npy"
"""Pictures as they are, (M, H, W, 3) uint8: for those who have no decoder."""

ACTIONS = ".actions.npy"


@dataclass(frozen=True, kw_only=True)
class Video:
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def actions(self, steps: int) -> NDArray[np.float32]:
        """(M, 2), M at least ``steps``. Raises Refused."""
        path = self.path.with_name(self.name + ACTIONS)
        actions = _load(path, "its actions")
        if actions.ndim != 2 or actions.shape[1] != 2 or len(actions) < steps:
            raise Refused(
                "bad", f"{path} has the shape {actions.shape}, allowed: ({steps} or more, 2)"
            )
        if actions.dtype.kind != "f" or not np.isfinite(actions).all():
            raise Refused("bad", f"{path} must hold finite floats ({actions.dtype.name})")
        return actions.astype(np.float32)

    def pictures(self, count: int) -> NDArray[np.uint8]:
        """(count, H, W, 3), evenly spaced from the first to the last. Raises Refused where there are fewer."""
        all_of_it = self._array() if self.path.suffix == ARRAY else self._film()
        if len(all_of_it) < count:
            raise Refused("bad", f"{self.path} has {len(all_of_it)} pictures, fewer than {count}")
        return all_of_it[np.linspace(0, len(all_of_it) - 1, count).round().astype(np.int64)]

    def _array(self) -> NDArray[np.uint8]:
        found = _load(self.path, "the video")
        if found.ndim != 4 or found.shape[-1] != 3 or found.dtype != np.uint8:
            raise Refused(
                "bad",
                f"{self.path} is {found.dtype.name} of the shape {found.shape}, allowed: uint8 (M, H, W, 3)",
            )
        return found

    def _film(self) -> NDArray[np.uint8]:
        if find_spec("av") is None:
            raise Refused(
                "extra",
                f"{self.path.name}: films need PyAV, which is not installed: pip install 'campaign[vjepa]'; "
                f"or give their pictures as {self.name}{ARRAY}",
            )
        import av

        try:
            with av.open(str(self.path)) as film:
                return np.stack([p.to_ndarray(format="rgb24") for p in film.decode(video=0)])
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            raise Refused("bad", f"{self.path} cannot be decoded: {error}") from error


def videos_in(root: Path) -> dict[str, list[Video]]:
    """Tasks by name with their videos by name. Raises Refused where there is none."""
    if not root.is_dir():
        raise Refused("missing", f"there is no folder {root}")
    tasks: dict[str, list[Video]] = {}
    for path in sorted(root.glob("*/*")):
        if path.suffix in (*FILMS, ARRAY) and not path.name.endswith(ACTIONS):
            tasks.setdefault(path.parent.name, []).append(Video(path=path))
    if not tasks:
        raise Refused(
            "missing",
            f"{root} has no video: TASK/NAME with {', '.join((*FILMS, ARRAY))} is looked for",
        )
    return tasks


def _load(path: Path, what: str) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise Refused("missing", f"{what} {path} is not there") from None
    except (OSError, ValueError, EOFError) as error:
        raise Refused("bad", f"{path} is no whole .npy file: {error}") from None
