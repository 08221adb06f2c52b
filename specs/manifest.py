"""The manifest of a checkpoint: sizes and hashes of its files, made and compared. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SCHEMA = 1


class BadCheckpoint(Exception):
    """A checkpoint that may not be read: a file is missing, too long, too short or of another hash."""


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """sha256 of the canonical JSON of a value: the hash of a spec."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def make_manifest(directory: Path, *, step: int, extra: Mapping[str, object]) -> dict[str, Any]:
    """Sizes and hashes of every file below ``directory``, and the hash of the manifest itself."""
    manifest = {
        "schema": SCHEMA,
        "step": step,
        **extra,
        "files": {
            name: {"bytes": path.stat().st_size, "sha256": digest(path)}
            for name, path in _files_below(directory)
        },
    }
    return {**manifest, "sha256": digest_json(manifest)}


def verify_manifest(directory: Path, *, manifest_sha256: str | None = None) -> dict[str, Any]:
    """The manifest of a checkpoint whose every byte was just compared with it.

    ``manifest_sha256``: of the manifest file that was recorded; no other checkpoint can then stand in.
    Raises BadCheckpoint naming the first file that differs.
    """
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
    except FileNotFoundError:
        raise BadCheckpoint(f"{directory} has no {MANIFEST}: it was never completed") from None
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} is not readable: {error}") from error
    if manifest_sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise BadCheckpoint(f"{path} is not the manifest that was recorded ({manifest_sha256})")
    if not isinstance(manifest, dict) or not _as_written(manifest, content):
        raise BadCheckpoint(f"{path} is not as it was written")
    expected = manifest.get("files")
    if not isinstance(expected, dict) or not expected:
        raise BadCheckpoint(f"{path} lists no files")
    present = dict(_files_below(directory))
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            raise BadCheckpoint(f"{directory / name} is missing")
        if name not in expected:
            raise BadCheckpoint(f"{directory / name} is not in the manifest")
        size = present[name].stat().st_size
        if size != expected[name]["bytes"]:
            raise BadCheckpoint(
                f"{directory / name} has {size} bytes, its manifest says {expected[name]['bytes']}"
            )
        if digest(present[name]) != expected[name]["sha256"]:
            raise BadCheckpoint(f"{directory / name} has another sha256 than its manifest says")
    return manifest


def _as_written(manifest: dict[str, Any], content: bytes) -> bool:
    """Is it as `write_json` wrote it, byte by byte, and does its own hash fit?"""
    own = {key: value for key, value in manifest.items() if key != "sha256"}
    try:
        same = content == json.dumps(manifest, allow_nan=False).encode() + b"\n"
        return same and manifest.get("sha256") == digest_json(own)
    except ValueError:  # a NaN, which is no JSON
        return False


def _files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            yield path.relative_to(directory).as_posix(), path
