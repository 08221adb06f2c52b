"""Checkpoints of a program that knows nothing of ours: found, synced, and given a manifest.

The program makes a directory of another name inside ``$CAMPAIGN_CHECKPOINT_DIR``, fills it, and renames
it to ``step-<n>``. Standard library only.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from specs.files import MANIFEST, fsync_dir, make_manifest, write_json

_STEP_DIR = re.compile(r"step-(\d{1,18})")

Shape = tuple[tuple[str, int, int], ...]
"""Name, size and modification time of every file of a directory."""


class Sealer:
    """Seals each new ``step-<n>`` once it looked the same twice in a row.

    So a program that fills the directory in place, against the rule, mostly gets away with it.
    """

    def __init__(
        self,
        checkpoints: Path,
        facts: Mapping[str, object],
        *,
        sealed: Callable[[int], None],
        note: Callable[[str], None],
        every: float = 0.5,
    ) -> None:
        self._checkpoints = checkpoints
        self._facts = facts
        self._sealed = sealed
        self._note = note
        self._every = every
        self._seen: dict[int, Shape] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="checkpoints")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Seal what is left: the program has ended, so that nothing changes any more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.look(ended=True)

    def look(self, *, ended: bool = False) -> None:
        """Seal what has not changed since the last look, or everything if the program has ended."""
        for step, directory in self._unsealed():
            try:
                shape = _shape(directory)
                if shape and (ended or self._seen.get(step) == shape):
                    seal(directory, step, self._facts)
                    self._sealed(step)
                self._seen[step] = shape
            except OSError as error:  # the program may delete it again at any time
                self._note(f"checkpoint {directory.name} is not sealed: {error}")

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.look()

    def _unsealed(self) -> list[tuple[int, Path]]:
        if not self._checkpoints.is_dir():
            return []
        return sorted(
            (int(match[1]), entry)
            for entry in self._checkpoints.iterdir()
            if (match := _STEP_DIR.fullmatch(entry.name))
            and entry.is_dir()
            and not (entry / MANIFEST).exists()
        )


def seal(directory: Path, step: int, facts: Mapping[str, object]) -> None:
    """Bring every file to the disk, then write the manifest that makes the checkpoint complete."""
    for path in directory.rglob("*"):
        if path.is_file():
            _sync(path)
        elif path.is_dir():
            fsync_dir(path)
    write_json(directory / MANIFEST, make_manifest(directory, step=step, extra=facts))
    fsync_dir(directory.parent)


def _shape(directory: Path) -> Shape:
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
