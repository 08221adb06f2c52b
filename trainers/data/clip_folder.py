"""Reader of clips in folders: checked as a whole when they are opened, mapped from the disk when they are used.

    PATH/<task>/clip_XXXXX/feature_maps/vjepa2_vitl16.npy   (T P, F), (T, P, F) or (T, rows, columns, F)
    PATH/<task>/clip_XXXXX/actions_states/actions.npy       (steps, 2), steps at least T; the impulse is row 1

Every feature is read once, for its hash and for what is not finite; the cache remembers files by size and time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specs.data_clips import TASKS, ClipData
from specs.files import write_atomic
from trainers.data.clip_layout import ACTIONS, FEATURES, IMPULSE_ROW, clips_in
from trainers.data.clip_store import BadClips, ManyFiles, TaskClips

DTYPES = ("float16", "float32")
_READERS = 4
_MOST_SAID = 5


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """What was found in one: the impulse, and the sha256 of both files."""

    impulse: NDArray[np.float32]
    sha256: str


def load(settings: ClipData, tasks: Sequence[str] | None, cache: Path) -> Mapping[str, TaskClips]:
    """Clips of ``tasks``, of every folder that has some if None.

    Raises BadClips naming the tasks without clips, or the first clips that are not as they should be.
    """
    root = Path(settings.path)
    folders = _folders(root)
    wanted = tuple(folders) if tasks is None else tasks
    missing = [task for task in wanted if task not in folders]
    if missing or not wanted:
        there = ", ".join(folders) or "none"
        raise BadClips(
            f"no clips of the task {', '.join(map(repr, missing)) or 'base'}: there is no folder "
            f"{root / (missing or ['base'])[0]} with clip_XXXXX in it; tasks with clips: {there} "
            "(trainer.data.path, trainer.continual.tasks)"
        )
    known = _Known(cache)
    found = {task: _task(task, folders[task], settings, known) for task in wanted}
    known.keep()
    return found


def expected(settings: ClipData) -> tuple[tuple[int, int, int], tuple[int, int], tuple[int, ...]]:
    """The shapes that a clip's features may have: by frame, flat, by frame and place."""
    rows, columns = settings.grid
    T, P, F = settings.frames, rows * columns, settings.feature_width
    return (T, P, F), (T * P, F), (T, rows, columns, F)


def _folders(root: Path) -> dict[str, list[Path]]:
    """Tasks with their clips: ours in their order, then others by name."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir()]
    except OSError as error:
        raise BadClips(f"{root} cannot be read: {error.strerror} (trainer.data.path)") from None
    clips = {path.name: clips_in(path) for path in folders}
    order = {task: place for place, task in enumerate(TASKS)}
    names = sorted(
        (name for name in clips if clips[name]), key=lambda n: (order.get(n, len(order)), n)
    )
    if not names and clips_in(root):
        raise BadClips(
            f"{root} holds clips, not tasks: move them to a folder {root / 'base'} (trainer.data.path)"
        )
    return {name: clips[name] for name in names}


def _task(task: str, clips: Sequence[Path], settings: ClipData, known: _Known) -> TaskClips:
    most = settings.clips if task == "base" else settings.task_clips
    chosen = list(clips[:most])

    def look(clip: Path) -> _Clip | BadClips:
        try:
            return _checked(clip, settings, known)
        except BadClips as error:
            return error

    with ThreadPoolExecutor(_READERS) as readers:
        found = list(readers.map(look, chosen))
    bad = [str(clip) for clip in found if isinstance(clip, BadClips)]
    if bad:
        known.keep()
        more = f"\n  and {len(bad) - _MOST_SAID} more clips" if len(bad) > _MOST_SAID else ""
        raise BadClips("\n  ".join(bad[:_MOST_SAID]) + more)
    good = [clip for clip in found if isinstance(clip, _Clip)]
    text = "".join(f"{p.name} {clip.sha256}\n" for p, clip in zip(chosen, good, strict=True))
    shape = f"{settings.frames} {settings.grid} {settings.feature_width}\n"
    return TaskClips(
        features=ManyFiles(
            files=tuple(clip / FEATURES for clip in chosen), clip=expected(settings)[0]
        ),
        impulses=np.stack([clip.impulse for clip in good]),
        sha256=hashlib.sha256((shape + text).encode()).hexdigest(),
        origin=str(clips[0].parent),
    )


def _checked(clip: Path, settings: ClipData, known: _Known) -> _Clip:
    actions = _actions(clip, settings)
    path = clip / FEATURES
    features = _array(clip, FEATURES, "features")
    allowed = expected(settings)
    if features.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        raise BadClips(
            f"{clip}: features ({FEATURES.name}) have the shape {features.shape}, allowed: {shapes} "
            "(trainer.data.frames, grid, feature_width)"
        )
    if features.dtype.name not in DTYPES:
        raise BadClips(
            f"{clip}: features ({FEATURES.name}) are {features.dtype.name}, allowed: {', '.join(DTYPES)}"
        )
    digest = known.digest(path, lambda: _read_through(clip, features))
    both = hashlib.sha256(digest.encode() + actions.tobytes()).hexdigest()
    return _Clip(impulse=actions[IMPULSE_ROW].astype(np.float32), sha256=both)


def _actions(clip: Path, settings: ClipData) -> NDArray[Any]:
    actions = _array(clip, ACTIONS, "actions")
    if actions.ndim != 2 or actions.shape[1] != 2 or actions.dtype.kind != "f":
        raise BadClips(
            f"{clip}: actions ({ACTIONS.name}) are {actions.dtype.name} of the shape {actions.shape}, "
            "allowed: a float of (steps, 2)"
        )
    if len(actions) < settings.frames:
        raise BadClips(
            f"{clip}: actions ({ACTIONS.name}) have {len(actions)} steps, fewer than the clip's "
            f"{settings.frames} frames (trainer.data.frames)"
        )
    if not np.isfinite(actions).all():
        step, column = np.argwhere(~np.isfinite(actions))[0]
        raise BadClips(
            f"{clip}: actions ({ACTIONS.name}) hold {actions[step, column]} at step {step}, component {column}"
        )
    return actions


def _array(clip: Path, name: Path, what: str) -> NDArray[Any]:
    """Mapped, its header checked."""
    try:
        return np.asarray(np.load(clip / name, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise BadClips(f"{clip}: {what} are missing: there is no {name}") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadClips(f"{clip}: {what} ({name}) are no whole .npy file: {error}") from None


def _read_through(clip: Path, features: NDArray[Any]) -> str:
    """sha256 of the values; raises BadClips where one is not finite."""
    finite = np.isfinite(features)
    if not finite.all():
        at = np.argwhere(~finite)
        raise BadClips(
            f"{clip}: features ({FEATURES.name}) hold {len(at)} values that are not finite, the first "
            f"{features[tuple(at[0])]} at {tuple(map(int, at[0]))}"
        )
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()


class _Known:
    """Digests of files that were read through before, by path, size and time of change."""

    def __init__(self, cache: Path) -> None:
        self._path = cache / "read-through.json"
        self._digests: dict[str, str] = _json(self._path)
        self._new: dict[str, str] = {}

    def digest(self, path: Path, make: Callable[[], str]) -> str:
        facts = path.stat()
        key = f"{path.absolute()} {facts.st_size} {facts.st_mtime_ns}"
        found = self._digests.get(key)
        if found is None:
            found = self._new[key] = make()
        return found

    def keep(self) -> None:
        """Adds to what other processes may have kept meanwhile; what one of them loses is read through again."""
        if not self._new:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._path, json.dumps({**_json(self._path), **self._new}).encode())


def _json(path: Path) -> dict[str, str]:
    """Empty where there is none, or none that can be read: then all is read through again."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
