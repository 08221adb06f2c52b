"""What a host that does not share the home gives to it: port.Files over its own disk.

Its attempts lie in ``<state directory of the user>/campaign/<home id>``. A file that grows is given
from where the home's copy ends, a small one whole when it is another one, and exit.json only in an
answer after which the home has everything else: who sees it has the whole attempt.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from campaign.errors import CampaignError
from campaign.hosts.port import Asked, Grown, Kept, Part
from specs.files import AttemptFiles, fsync_dir, verify_manifest

ENV_LOCAL_ROOT = "CAMPAIGN_LOCAL_ROOT"
"""Set for a node: attempts lie below this directory, even where the node could see the home."""

ANCHOR = 64
"""Bytes before the end of a copy that must be the same at its source: else the file began anew."""

LARGEST_ANSWER = 2**20
SMALLEST_SHARE = 2**16
"""Bytes in one answer, and of it for one attempt at least, so that none waits for another's log. A file
that is replaced is given whole even if it is larger.
"""

GROWING = ("events.jsonl", "metrics.jsonl", "watch.jsonl", "log.txt")
"""Appended, never replaced; the log last, as it may be large."""

_ORDER = re.compile(r"order-\d{1,9}\.json")
_REPLACED = frozenset({"launch.json", "pid.json", "kill.json", "progress.json", "unstarted.json"})
EXIT = "exit.json"


class OutsideRoot(CampaignError):
    """A path that is not below the host's own root: nothing is read or written there."""


def is_mirrored(name: str) -> bool:
    """Whether a file of an attempt is copied into the home."""
    return name in GROWING or name == EXIT or is_replaced(name)


def is_replaced(name: str) -> bool:
    return name in _REPLACED or _ORDER.fullmatch(name) is not None


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where programs of this user keep state on this host (XDG base directory specification)."""
    given = environment.get("XDG_STATE_HOME", "")
    return Path(given) if given.startswith("/") else Path.home() / ".local" / "state"


class OwnFiles:
    """port.Files. ``base``: below it all roots lie; ``apart``: the home is not even looked for."""

    def __init__(self, base: Path, *, apart: bool = False) -> None:
        self._base = base
        self._apart = apart

    @staticmethod
    def of_this_host() -> OwnFiles:
        if given := os.environ.get(ENV_LOCAL_ROOT):
            return OwnFiles(Path(given), apart=True)
        return OwnFiles(state_directory(os.environ) / "campaign")

    def glimpse(self, path: str) -> str | None:
        if self._apart:
            return None
        try:
            return Path(path).read_text()
        except OSError:  # not there, not readable, another directory of that name: all the same
            return None

    def root(self, home_id: str) -> str:
        root = self._base / home_id
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(root)

    def grown(self, asked: Sequence[Asked]) -> Sequence[Grown]:
        room = max(SMALLEST_SHARE, LARGEST_ANSWER // max(1, len(asked)))
        return [_grown(self._inside(attempt.directory), attempt, room) for attempt in asked]

    def read(self, path: str, offset: int, size: int) -> bytes:
        with self._inside(path).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def write(self, path: str, offset: int, data: bytes) -> None:
        target = self._inside(path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)

    def settle(self, incoming: str, checkpoint: str, manifest_sha256: str) -> None:
        settle(self._inside(incoming), self._inside(checkpoint), manifest_sha256)

    def _inside(self, path: str) -> Path:
        """Raises OutsideRoot."""
        found = Path(path)
        if ".." in found.parts or not found.is_relative_to(self._base):
            raise OutsideRoot(f"{path} is not below {self._base}")
        return found


def settle(incoming: Path, checkpoint: Path, manifest_sha256: str) -> None:
    """Rename a copy into its place, synced and with every hash compared. Raises BadCheckpoint."""
    verify_manifest(incoming, manifest_sha256=manifest_sha256)
    for path in incoming.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            fsync_dir(path)
    fsync_dir(incoming)
    incoming.rename(checkpoint)
    fsync_dir(checkpoint.parent)


# ---------------------------------------------------------------- what is new


def _grown(directory: Path, asked: Asked, room: int) -> Grown:
    kept = {file.name: file for file in asked.kept}
    exited = AttemptFiles(
        root=directory
    ).exit.exists()  # first: what was written before is then there
    parts: list[Part] = []
    complete = True
    for name in (*_replaced_in(directory), *GROWING):
        left = room - sum(len(part.data) for part in parts)
        if name in GROWING:
            part, whole = _growth(directory / name, kept.get(name), left)
        else:
            part, whole = _replacement(directory / name, kept.get(name), left if parts else None)
        parts += [part] if part is not None else []
        complete = complete and whole
    if exited and complete:
        part, _ = _replacement(directory / EXIT, kept.get(EXIT), None)
        parts += [part] if part is not None else []
    return Grown(directory=asked.directory, parts=tuple(parts), complete=complete)


def _replaced_in(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return sorted(entry.name for entry in directory.iterdir() if is_replaced(entry.name))


def _growth(path: Path, kept: Kept | None, room: int) -> tuple[Part | None, bool]:
    """The next part of a file that grows, and whether it goes to the end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, True
    with os.fdopen(fd, "rb") as file:
        size = os.fstat(fd).st_size
        same = kept is not None and anchor(fd, kept.size) == kept.mark
        begin = kept.size if kept is not None and same else 0
        if same and size == begin:
            return None, True
        file.seek(begin)
        data = file.read(max(0, min(room, size - begin)))
    if size > begin and not data:
        return None, False
    return Part(name=path.name, offset=begin, data=data), begin + len(data) == size


def anchor(fd: int, end: int) -> str:
    """The mark of the bytes just before ``end``; of a file that is shorter it is another one."""
    begin = max(0, end - ANCHOR)
    found = os.pread(fd, end - begin, begin)
    return hashlib.sha256(found).hexdigest()


def _replacement(path: Path, kept: Kept | None, room: int | None) -> tuple[Part | None, bool]:
    """The whole file if the home has another one, and whether the home then has it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # replaced or removed while we looked: the next look finds it
        return None, True
    if kept is not None and kept.mark == hashlib.sha256(data).hexdigest():
        return None, True
    if room is not None and room < len(data):
        return None, False
    return Part(name=path.name, offset=None, data=data), True
