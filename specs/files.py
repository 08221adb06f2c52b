"""What lies in the directory of an attempt: every file name, the metric line, the manifest.

Standard library only, because the shim reads and writes these files without any installed package.
Writers and readers in every language agree on this page; docs/files.md says it in prose.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
_STEP_DIR = re.compile(r"step-(\d{1,18})")
_ORDER = re.compile(r"order-(\d{1,9})\.json")
_NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

# environment that a trainer finds
ENV_COOKIE = "CAMPAIGN_ATTEMPT"
ENV_METRICS = "CAMPAIGN_METRICS"
ENV_CHECKPOINTS = "CAMPAIGN_CHECKPOINT_DIR"
ENV_RESUME = "CAMPAIGN_RESUME_FROM"


class BadCheckpoint(Exception):
    """A checkpoint that may not be read: a file is missing, too long, too short or of another hash."""


@dataclass(frozen=True, kw_only=True)
class AttemptFiles:
    """File names inside ``<home>/<campaign>/<run>/attempt-<n>/``."""

    root: Path

    @property
    def spec(self) -> Path:
        """Resolved spec, its hash, where the attempt starts from, its devices."""
        return self.root / "spec.json"

    @property
    def launch(self) -> Path:
        """What the shim runs: argv, environment, locks, deadlines (0600)."""
        return self.root / "launch.json"

    @property
    def env(self) -> Path:
        """The allow-listed part of the environment, for people."""
        return self.root / "env.json"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def code_git(self) -> Path:
        """Commit, whether the tree was changed, what the difference holds and what not."""
        return self.code / "git.json"

    @property
    def code_patch(self) -> Path:
        """What `git apply` makes of that commit the tree that was submitted."""
        return self.code / "diff.patch"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Facts that the trainer states: started, checkpoint, finished, failed."""
        return self.root / "events.jsonl"

    @property
    def watch(self) -> Path:
        """Facts that the watcher states: alerts, verdicts, certificates."""
        return self.root / "watch.jsonl"

    @property
    def progress(self) -> Path:
        """The watcher's summary: step, latest and best metrics, pace. Replaced, never appended."""
        return self.root / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Files for people that the trainer made: matrices, pictures. They go to MLflow at the end."""
        return self.root / "artifacts"

    @property
    def pid(self) -> Path:
        return self.root / "pid.json"

    @property
    def kill(self) -> Path:
        """The log of the kill ladder."""
        return self.root / "kill.json"

    @property
    def exit(self) -> Path:
        return self.root / "exit.json"

    @property
    def keep(self) -> Path:
        """Steps whose checkpoints other runs start from: retention leaves them alone."""
        return self.root / "keep.json"

    @property
    def kill_lock(self) -> Path:
        """Held by whoever may signal: the shim for its life, else one that acts in its place."""
        return self.root / "kill.lock"

    @property
    def unstarted(self) -> Path:
        """Written where no shim had come up: from then on none of this attempt may."""
        return self.root / "unstarted.json"

    @property
    def mirror(self) -> Path:
        """There where the attempt lies on a host that does not share the home: which, and where."""
        return self.root / "mirror.json"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def order(self, number: int) -> Path:
        return self.root / f"order-{number}.json"

    def orders(self) -> list[tuple[int, Path]]:
        """Orders present, lowest number first."""
        found = []
        if self.root.is_dir():
            for entry in self.root.iterdir():
                if match := _ORDER.fullmatch(entry.name):
                    found.append((int(match[1]), entry))
        return sorted(found)

    def complete_checkpoints(self) -> list[int]:
        """Steps whose checkpoint was renamed into place and has its manifest, ascending."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(
            int(match[1])
            for entry in self.checkpoints.iterdir()
            if (match := _STEP_DIR.fullmatch(entry.name)) and (entry / MANIFEST).is_file()
        )


MANIFEST = "manifest.json"
EVIDENCE = "evidence.json"
STATE = "state.json"


def attempt_dir(home: Path, campaign: str, run: str, attempt: int) -> Path:
    return home / campaign / run / f"attempt-{attempt}"


def attempt_number(directory: Path) -> int:
    """Which attempt a directory belongs to."""
    return int(directory.name.removeprefix("attempt-"))


# ---------------------------------------------------------------- durable writing


def fsync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write ``path`` so that a reader, or a crash at any moment, sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def write_json(path: Path, value: object, *, mode: int = 0o600) -> None:
    write_atomic(path, json.dumps(value, allow_nan=False).encode() + b"\n", mode=mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None where there is no such file. Raises ValueError on other content."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def append_line(path: Path, value: Mapping[str, object]) -> None:
    """Append one JSON line with a single write and flush it to the disk.

    A torn last line (a crash in mid-write) is closed first, so that the new line stands alone.
    """
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(fd, line)
        os.fsync(fd)
    finally:
        os.close(fd)


# ---------------------------------------------------------------- metric lines


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricLine:
    """Metrics of one step: ``t`` in unix seconds."""

    t: float
    step: int
    metrics: Mapping[str, float]


def metric_line(t: float, step: int, metrics: Mapping[str, float]) -> bytes:
    """One line for metrics.jsonl; NaN and infinities become strings, as JSON has none."""
    return (
        json.dumps(
            {"t": t, "step": step, "m": {key: _as_json(float(v)) for key, v in metrics.items()}},
            allow_nan=False,
        ).encode()
        + b"\n"
    )


def parse_metric_line(line: bytes) -> MetricLine | None:
    """The metrics of one complete line; None if the line is torn or no metric line."""
    try:
        value = json.loads(line)
        step = value["step"]
        if isinstance(step, bool) or not isinstance(step, int):
            return None
        return MetricLine(
            t=_as_float(value["t"]),
            step=step,
            metrics={str(key): _as_float(v) for key, v in value["m"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def metric_value(value: object) -> float | None:
    """A value of a metric line as a number; None if it is none."""
    try:
        return _as_float(value)
    except (ValueError, KeyError, OverflowError):
        return None


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _as_float(value: object) -> float:
    if isinstance(value, str):
        return _NONFINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is no number")
    return float(value)


# ---------------------------------------------------------------- manifest


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


def complete_lines(data: bytes) -> Iterable[bytes]:
    """The complete lines in ``data``; what follows the last newline is still being written."""
    return data[: data.rfind(b"\n") + 1].splitlines()
