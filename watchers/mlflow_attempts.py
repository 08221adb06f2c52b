"""Attempts on the disk: where they lie, what they left, and how far behind MLflow is.

No mlflow here: `lag` is for the command line.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specs.files import AttemptFiles, complete_lines, parse_metric_line, read_json
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_lineage import AttemptId, Described, Left, described
from watchers.mlflow_source import unread_lines
from watchers.mlflow_uri import default_uri
from watchers.tail import CHUNK, START

LEDGER = "publisher.db"

_ATTEMPT = re.compile(r"attempt-\d{1,9}")
_DEPTH = 3
"""From a home to an attempt: campaign, run, attempt."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An attempt that lies in ``files``."""

    files: AttemptFiles
    described: Described


def directories(root: Path) -> Iterator[Path]:
    """Attempt directories in a home, a campaign, a run, or ``root`` itself, in no order."""
    yield from _below(root, _DEPTH)


def siblings(directory: Path) -> list[Path]:
    """The attempt directories that lie beside one, itself among them."""
    return [
        path
        for path in sorted(directory.parent.iterdir())
        if _ATTEMPT.fullmatch(path.name) and (path / "spec.json").is_file()
    ]


def _below(path: Path, depth: int) -> Iterator[Path]:
    if _ATTEMPT.fullmatch(path.name):
        if (path / "spec.json").is_file():
            yield path
        return
    if depth == 0:
        return
    try:
        with os.scandir(path) as entries:
            below = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, PermissionError):  # just removed; or another user's, so not ours
        return
    for child in below:
        yield from _below(child, depth - 1)


def load(directory: Path) -> Found:
    """The attempt in a directory. Raises ValueError (with the path) if its spec.json is not readable."""
    files = AttemptFiles(root=directory)
    try:
        content = read_json(files.spec)
        if content is None:
            raise ValueError("it is gone")
        return Found(files=files, described=described(content))
    except ValueError as error:
        raise ValueError(f"{files.spec}: {error}") from error


def left_by(attempt: Found, succeeded_by: int | None) -> Left:
    """What the attempt left behind so far. A record that cannot be read yet is as one not there yet."""
    files = attempt.files
    exit_record = _record(files.exit)
    return Left(
        exit=exit_record,
        unstarted=_record(files.unstarted),
        failed=None if exit_record is None else _last_failure(files.events),
        succeeded_by=succeeded_by,
    )


def start_time(attempt: Found) -> int:
    """When its trainer started, else when spec.json was written: unix milliseconds."""
    for record in (_record(attempt.files.exit), _record(attempt.files.pid)):
        started = None if record is None else record.get("started_at")
        if isinstance(started, (int, float)):
            return max(1, round(started * 1000))
    return max(1, attempt.files.spec.stat().st_mtime_ns // 1_000_000)


def last_time(attempt: Found) -> int | None:
    """The newest time in its metrics: unix milliseconds."""
    try:
        with attempt.files.metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - CHUNK))
            lines = complete_lines(file.read())
    except FileNotFoundError:
        return None
    parsed = (parse_metric_line(line) for line in reversed(list(lines)))
    return next((round(line.t * 1000) for line in parsed if line and math.isfinite(line.t)), None)


def _record(path: Path) -> Mapping[str, Any] | None:
    try:
        return read_json(path)
    except ValueError:
        return None


def started_facts(attempt: Found) -> Mapping[str, Any]:
    """What the trainer said of itself when it started; empty where it did not get so far."""
    event = _last_event(attempt.files.events, "started") or {}
    facts = event.get("facts")
    return facts if isinstance(facts, dict) else {}


def _last_failure(path: Path) -> Mapping[str, Any] | None:
    return _last_event(path, "failed")


def _last_event(path: Path, name: str) -> Mapping[str, Any] | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    likely = [line for line in complete_lines(data) if b'"%s"' % name.encode() in line]
    for line in reversed(likely):
        try:
            event = json.loads(line)
        except ValueError:  # torn by a crash
            continue
        if isinstance(event, dict) and event.get("event") == name:
            return event
    return None


def lag(home: Path, tracking_uri: str | None = None) -> dict[AttemptId, int]:
    """Complete lines of each attempt's metrics.jsonl that are not in MLflow yet; 0 where all are."""
    ledger = Ledger.open_to_read(home / LEDGER)
    target = tracking_uri or default_uri(home)
    behind: dict[AttemptId, int] = {}
    try:
        for directory in directories(home):
            try:
                attempt = load(directory)
            except (ValueError, OSError):
                continue  # the publisher says so in its log
            one = attempt.described
            at = START if ledger is None else ledger.position(target, one.key, one.attempt)
            behind[one.id] = unread_lines(attempt.files.metrics, at)
    finally:
        if ledger is not None:
            ledger.close()
    return behind
