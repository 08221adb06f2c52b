"""Checkpoints between hosts of which not all share the home: always by way of the home, in pieces.

A checkpoint is copied under a name that nobody reads, every hash is compared, and only then is it
renamed into its place: what stands under its name is whole. A copy that was cut off goes on where it
ended. The trainer compares every hash once more before it reads.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from campaign.errors import CampaignError
from campaign.hosts import mirror
from campaign.hosts.mirror_source import settle
from campaign.hosts.port import Files
from specs.files import MANIFEST, AttemptFiles, BadCheckpoint

CHUNK = 8 * 2**20
"""Bytes in one call."""


class NotShipped(CampaignError):
    """A checkpoint could not be brought to where an attempt is to start from it."""


class Shipper:
    """Brings checkpoints to where they are needed. May be used by several threads.

    ``peers``: the files of each host that is here, by its name; whoever owns the hosts keeps it up to date.
    """

    def __init__(self, home: Path, peers: Mapping[str, Files]) -> None:
        self._home = home
        self._peers = peers
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def lies_on(self, checkpoint: str, host: str) -> bool:
        """Whether the attempt that wrote it lies on this host, so that it need not be copied."""
        place = mirror.place_of(_attempt_of(Path(checkpoint)))
        return place is not None and place.host == host

    def into_home(self, checkpoint: str, manifest_sha256: str) -> None:
        """Copy it into the home, if it lies elsewhere. Raises NotShipped.

        Of one that should lie in the home and does not, the trainer says so: it looks at every file.
        """
        target = Path(checkpoint)
        with self._one_at_a_time("", checkpoint):
            place = mirror.place_of(_attempt_of(target))
            if place is None or (target / MANIFEST).is_file():
                return
            if (files := self._peers.get(place.host)) is None:
                raise NotShipped(f"{checkpoint} lies on {place.host}, which is not here")
            try:
                _fetch(files, place.there(self._home, checkpoint), target, manifest_sha256)
            except (OSError, ValueError, BadCheckpoint) as error:
                raise NotShipped(
                    f"{checkpoint} could not be fetched from {place.host}: {error}"
                ) from error

    def to_host(self, checkpoint: str, manifest_sha256: str, place: mirror.Place) -> None:
        """Make sure that a host which does not share the home has it. Raises NotShipped."""
        if self.lies_on(checkpoint, place.host):
            return
        self.into_home(checkpoint, manifest_sha256)
        there = place.there(self._home, checkpoint)
        with self._one_at_a_time(place.host, checkpoint):
            try:
                _push(self._peers[place.host], Path(checkpoint), there, manifest_sha256)
            except (OSError, ValueError, BadCheckpoint) as error:
                raise NotShipped(
                    f"{checkpoint} could not be brought to {place.host}: {error}"
                ) from error

    def _one_at_a_time(self, host: str, checkpoint: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault((host, checkpoint), threading.Lock())


def _attempt_of(checkpoint: Path) -> AttemptFiles:
    """``<attempt>/checkpoints/step-<n>``"""
    return AttemptFiles(root=checkpoint.parents[1])


def _incoming(checkpoint: Path, manifest_sha256: str) -> Path:
    """Where a copy is written; a name that is no checkpoint's."""
    return checkpoint.with_name(f".incoming-{checkpoint.name}-{manifest_sha256[:16]}")


def _fetch(files: Files, there: str, target: Path, manifest_sha256: str) -> None:
    manifest = _whole(lambda at: files.read(f"{there}/{MANIFEST}", at, CHUNK))
    incoming = _incoming(target, manifest_sha256)
    for name, size in _files_in(manifest):
        path = incoming / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("ab") as file:
            while (at := file.tell()) < size:
                if not (data := files.read(f"{there}/{name}", at, min(CHUNK, size - at))):
                    raise ValueError(f"{name} ends at {at} bytes, its manifest says {size}")
                file.write(data)
    (incoming / MANIFEST).write_bytes(manifest)
    try:
        settle(incoming, target, manifest_sha256)
    except BadCheckpoint:
        shutil.rmtree(incoming)  # else these bytes would be taken for a beginning the next time
        raise


def _push(files: Files, source: Path, there: str, manifest_sha256: str) -> None:
    if _reads(files, f"{there}/{MANIFEST}"):
        return
    manifest = (source / MANIFEST).read_bytes()
    incoming = str(_incoming(Path(there), manifest_sha256))
    for name, size in _files_in(manifest):
        with (source / name).open("rb") as file:
            files.write(f"{incoming}/{name}", 0, b"")
            while (at := file.tell()) < size and (data := file.read(CHUNK)):
                files.write(f"{incoming}/{name}", at, data)
    files.write(f"{incoming}/{MANIFEST}", 0, manifest)
    files.settle(incoming, there, manifest_sha256)


def _reads(files: Files, path: str) -> bool:
    try:
        return bool(files.read(path, 0, 1))
    except FileNotFoundError:
        return False


def _whole(read: Callable[[int], bytes]) -> bytes:
    found = b""
    while data := read(len(found)):
        found += data
    return found


def _files_in(manifest: bytes) -> list[tuple[str, int]]:
    """Names and sizes in bytes. Raises ValueError where a name leads out of the checkpoint."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(manifest)["files"]
    for name in found:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name!r} is no name of a file in a checkpoint")
    return [(name, int(facts["bytes"])) for name, facts in found.items()]
