"""The least-squares line through points of a curve, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from watchers.window import Point


@dataclass(frozen=True, kw_only=True)
class Line:
    """value = ``mean`` + ``slope`` (step - ``centre``).

    ``scatter``: standard deviation of the points about the line, with n - 2 degrees of freedom;
    ``spread``: sum of (step - centre)^2.
    """

    centre: float
    mean: float
    slope: float
    scatter: float
    spread: float
    points: int

    def at(self, step: float) -> float:
        return self.mean + self.slope * (step - self.centre)

    def error(self, step: float) -> float:
        """Standard error of the line's height at ``step``: it grows with the distance from the points.

        scatter sqrt(1/n + (step - centre)^2 / spread): Draper and Smith, Applied Regression
        Analysis, section 1.4.
        """
        away = step - self.centre
        return self.scatter * math.sqrt(1 / self.points + away * away / self.spread)


def fit(points: Sequence[Point]) -> Line:
    """The line through at least three finite points with increasing steps."""
    n = len(points)
    centre = sum(point.step for point in points) / n
    mean = sum(point.value for point in points) / n
    moved = [(point.step - centre, point.value - mean) for point in points]
    spread = sum(x * x for x, _ in moved)
    slope = sum(x * y for x, y in moved) / spread
    left = [y - slope * x for x, y in moved]
    # products, not powers: those of huge values are infinite instead of raising OverflowError
    scatter = math.sqrt(sum(y * y for y in left) / (n - 2))
    return Line(centre=centre, mean=mean, slope=slope, scatter=scatter, spread=spread, points=n)
