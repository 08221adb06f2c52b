"""How long a kill took, from the metric line that caused it to the signal. Reads an attempt's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specs.files import AttemptFiles, complete_lines, read_json


@dataclass(frozen=True, kw_only=True)
class KillLatency:
    """Seconds since the trainer wrote the line that the rule judged; ``gone`` until nothing was left."""

    verdict: float
    signal: float | None
    gone: float | None


def kill_latency(directory: Path) -> KillLatency | None:
    """Of the rule's kill of this attempt; None if there was none, or its files lie on another host."""
    files = AttemptFiles(root=directory)
    verdict = next((line for line in _lines(files.watch) if _stops(line)), None)
    if verdict is None or verdict.get("latency_s") is None:
        return None
    written = float(verdict["t"]) - float(verdict["latency_s"])
    kill = read_json(files.kill) or {}
    return KillLatency(
        verdict=float(verdict["latency_s"]),
        signal=_since(written, _signalled_at(kill)),
        gone=_since(written, kill.get("ended_at")),
    )


def _stops(line: dict[str, Any]) -> bool:
    return line.get("kind") == "verdict" and line.get("action") in ("kill", "rollback")


def _signalled_at(kill: dict[str, Any]) -> float | None:
    """The first signal that was delivered: SIGTERM, or SIGKILL where no grace was given."""
    sent = [r["at"] for r in kill.get("rungs", ()) if r.get("result") == "delivered"]
    return min(sent, default=None)


def _since(start: float, at: float | None) -> float | None:
    return None if at is None else at - start


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in complete_lines(path.read_bytes())]
