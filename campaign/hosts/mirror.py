"""The home's copy of an attempt that lies on a host which does not share the home.

Nothing is remembered: what is missing follows from what lies in the home. So it may be cut off at any
moment and begun again, and doing it twice changes nothing. Publisher, CLI and readers find the files
where they always are; spec.json, env.json and code/ are written here at the start and not copied back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from campaign.home import Home
from campaign.hosts import locks, mirror_source
from campaign.hosts.mirror_source import EXIT, GROWING, anchor, is_mirrored
from campaign.hosts.port import Asked, Files, Grown, Kept, Part
from specs.files import SCHEMA, AttemptFiles, read_json, write_atomic, write_json

ID_PATIENCE = 30.0
"""Seconds that a home's first naming may take; it is one small file."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an attempt lies: ``root`` is the host's own root for this home."""

    host: str
    root: Path

    def there(self, home: Path, path: str) -> str:
        """A path of the home, as it is on the host."""
        return str(self.root / Path(path).relative_to(home))

    def here(self, home: Path, path: str) -> str:
        """A path of the host, as it is in the home."""
        return str(home / Path(path).relative_to(self.root))


def place_of(files: AttemptFiles) -> Place | None:
    """Where the attempt lies; None: in the home itself."""
    record = read_json(files.mirror)
    return None if record is None else Place(host=record["host"], root=Path(record["root"]))


def record_place(files: AttemptFiles, place: Place) -> None:
    """Before anything of the attempt is on the host: from then on it is looked for there alone."""
    write_json(files.mirror, {"schema": SCHEMA, "host": place.host, "root": str(place.root)})


def home_id(home: Home) -> str:
    """The random name of a home; given once, however many ask at the same time. Raises locks.Held."""
    if not home.id_file.exists():
        with locks.holding(home.id_lock, patience=ID_PATIENCE):
            if not home.id_file.exists():
                write_atomic(home.id_file, secrets.token_hex(16).encode())
    return home.id_file.read_text().strip()


def shares_home(home: Home, files: Files) -> bool:
    """Whether the host sees this very home at the same path: a file that is new is looked for."""
    nonce = secrets.token_hex(16)
    path = home.root / f".seen-{nonce}"
    write_atomic(path, nonce.encode())
    try:
        return files.glimpse(str(path)) == nonce
    finally:
        path.unlink()


# ---------------------------------------------------------------- copying


def pull(files: Files, attempts: Iterable[tuple[AttemptFiles, str]]) -> frozenset[Path]:
    """One bounded round for attempts and their directories on the host.

    Returns the attempts of which the home now has all that was there when the host looked.
    """
    wanted = {there: own for own, there in attempts}
    asked = [Asked(directory=there, kept=kept_of(own)) for there, own in wanted.items()]
    complete = set()
    for grown in files.grown(asked) if asked else ():
        if take(wanted[grown.directory], grown):
            complete.add(wanted[grown.directory].root)
    return frozenset(complete)


def kept_of(files: AttemptFiles) -> tuple[Kept, ...]:
    """What the home has of an attempt."""
    names = [entry.name for entry in files.root.iterdir() if is_mirrored(entry.name)]
    return tuple(_kept(files.root / name) for name in sorted(names))


def _kept(path: Path) -> Kept:
    if path.name not in GROWING:
        data = path.read_bytes()
        return Kept(name=path.name, size=len(data), mark=hashlib.sha256(data).hexdigest())
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return Kept(name=path.name, size=size, mark=anchor(file.fileno(), size))


def take(files: AttemptFiles, grown: Grown) -> bool:
    """Write what came, in its order; whether the copy is complete. A part that does not fit is left out."""
    fits = True
    for part in grown.parts:
        if not is_mirrored(part.name):
            raise ValueError(f"{part.name!r} is no file of an attempt that is copied")
        if part.name == EXIT:
            if not fits:
                break
            _sync(files)
        fits = _write(files.root / part.name, part) and fits
    return fits and grown.complete


def _write(path: Path, part: Part) -> bool:
    if part.offset is None or (part.offset == 0 and path.exists()):
        write_atomic(path, part.data)
        return True
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "ab") as file:
        if (
            os.fstat(fd).st_size != part.offset
        ):  # another process of ours wrote: asked again, it fits
            return False
        file.write(part.data)
    return True


def _sync(files: AttemptFiles) -> None:
    """What grew is on the disk before exit.json says that it is all."""
    for name in mirror_source.GROWING:
        path = files.root / name
        if path.exists():
            with path.open("rb") as file:
                os.fsync(file.fileno())
