"""metrics.jsonl as the publisher reads it: so much as one request takes, after a durable position."""

from __future__ import annotations

from pathlib import Path

from watchers.mlflow_port import LARGEST_BATCH
from watchers.tail import CHUNK, Position, Read, follows, read_after


def read_points(path: Path, at: Position, *, chunk: int = CHUNK) -> Read:
    """The next lines, with as many points as one request takes: so much is sent again after a kill."""
    return read_after(path, at, chunk=chunk, points=LARGEST_BATCH)


def unread_lines(path: Path, at: Position) -> int:
    """Complete lines after a position."""
    try:
        with path.open("rb") as file:
            file.seek(at.offset if follows(file.fileno(), at) else 0)
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0
