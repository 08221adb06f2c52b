"""Which points an SQLite store holds already, asked of its database by MLflow's own primary key.

MLflow sorts out repeated points too, but a thousand of them cost it a second or more: a home whose
publisher.db was lost would be mirrored again at the pace of a few hundred points a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from watchers.mlflow_port import Point, kept

_BUSY_TIMEOUT = 30.0
_IS_THERE = (
    "SELECT 1 FROM metrics WHERE run_uuid = ? AND key = ? AND step = ? AND timestamp = ?"
    " AND value = ? AND is_nan = ?"
)


class KnownPoints:
    """Reads only. ``path``: the database of a store that MLflow has made."""

    def __init__(self, path: Path) -> None:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        self._db = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)

    def without(self, run_id: str, points: Sequence[Point]) -> list[Point]:
        """The points that the run does not hold yet. Raises sqlite3.OperationalError."""
        return [point for point in points if not self._holds(run_id, point)]

    def _holds(self, run_id: str, point: Point) -> bool:
        # fetchall, so that no statement stays open and keeps the write-ahead log from being folded in
        return bool(self._db.execute(_IS_THERE, (run_id, *kept(point))).fetchall())
