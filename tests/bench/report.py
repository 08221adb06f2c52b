"""The figures of a benchmark, as a table for people and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.bench.figures import percentile, summary

_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was measured, in seconds. ``against``: the row, by its ``what``, to compare with.

    ``paired``: sample i was taken beside sample i of that row.
    """

    what: str
    samples: tuple[float, ...]
    against: str | None = None
    paired: bool = False
    show_p99: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """One benchmark. ``notes`` say what was left out, and verdicts."""

    name: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def row(self, what: str) -> Row:
        return next(row for row in self.rows if row.what == what)

    def ratio(self, row: Row) -> float | None:
        """To the row that it is compared with: of the medians, or the median of the pairs' ratios."""
        if row.against is None:
            return None
        other = self.row(row.against)
        if row.paired:
            return summary(ratios(row, other)).median
        return summary(row.samples).median / summary(other.samples).median


def ratios(row: Row, other: Row) -> tuple[float, ...]:
    """Of each pair."""
    return tuple(x / y for x, y in zip(row.samples, other.samples, strict=True))


def as_text(result: Result) -> str:
    head = ("", "n", "median", "quartiles", "p99", "ratio", "to")
    with_p99 = any(row.show_p99 for row in result.rows)
    lines = [head, *(_cells(result, row) for row in result.rows)]
    kept = [i for i in range(len(head)) if i != 4 or with_p99]
    widths = {i: max(len(line[i]) for line in lines) for i in kept}
    table = [
        "  ".join(
            line[i].ljust(widths[i]) if i in (0, 6) else line[i].rjust(widths[i]) for i in kept
        )
        for line in lines
    ]
    notes = [f"  - {note}" for note in result.notes]
    body = [f"  {line.rstrip()}" for line in table]
    return "\n".join([f"{result.name}: {result.title}", *body, *notes])


def as_data(result: Result) -> list[dict[str, Any]]:
    """One object a row; times in seconds."""
    return [
        {
            "benchmark": result.name,
            "what": row.what,
            **vars(summary(row.samples)),
            "p99": percentile(row.samples, 99),
            "against": row.against,
            "ratio": result.ratio(row),
            "samples": list(row.samples),
            "notes": list(result.notes),
        }
        for row in result.rows
    ]


def shown(seconds: float) -> str:
    """``0.0123`` as ``12.3 ms``; three digits that count."""
    scale, name = next((s for s in _SCALES if abs(seconds) >= s[0]), _SCALES[-1])
    value = seconds / scale
    return f"{value:.3g} {name}" if abs(value) < 1000 else f"{value:.0f} {name}"


def _cells(result: Result, row: Row) -> tuple[str, ...]:
    found, ratio = summary(row.samples), result.ratio(row)
    return (
        row.what,
        str(found.n),
        shown(found.median),
        f"{shown(found.low)} .. {shown(found.high)}" if found.n > 1 else "",
        shown(percentile(row.samples, 99)) if row.show_p99 else "",
        "" if ratio is None else f"{ratio:.3g}",
        row.against or "",
    )
