"""Reading a tail to its end."""

from __future__ import annotations

from specs.files import MetricLine
from watchers.tail import Tail


def read_tail(tail: Tail) -> list[MetricLine]:
    """All lines that are there now, in whatever portions they come."""
    lines: list[MetricLine] = []
    more = True
    while more:
        batch = tail.read()
        lines += batch.lines
        more = batch.more
    return lines
