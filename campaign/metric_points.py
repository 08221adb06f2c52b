"""How many metric points lie in a directory of attempts, whoever wrote them and whoever has read them."""

from __future__ import annotations

from pathlib import Path

from specs.files import AttemptFiles
from watchers.mlflow_attempts import directories
from watchers.tail import START, read_after


def count_points(directory: Path) -> int:
    """Of every attempt in a home, a campaign, a run or an attempt; each once. Raises OSError."""
    return sum(_of_file(AttemptFiles(root=path).metrics) for path in directories(directory))


def _of_file(metrics: Path) -> int:
    total, at = 0, START
    while (read := read_after(metrics, at)).position != at:
        total += sum(len(line.metrics) for line in read.lines)
        at = read.position
    return total
