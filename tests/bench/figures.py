"""What many measurements amount to: median, quartiles, worst, ratios and when they decide. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

CONFIDENCE = 0.9


@dataclass(frozen=True, kw_only=True)
class Summary:
    """``low`` and ``high`` are the quartiles: half of the samples lie between them."""

    n: int
    median: float
    low: float
    high: float


def summary(samples: Sequence[float]) -> Summary:
    """Raises ValueError where there is no sample."""
    if not samples:
        raise ValueError("nothing was measured")
    return Summary(
        n=len(samples),
        median=statistics.median(samples),
        low=percentile(samples, 25),
        high=percentile(samples, 75),
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that ``percent`` % of all do not exceed; of fewer than 100 the p99 is the largest."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """It holds the true median with probability ``confidence``."""

    low: float
    high: float
    confidence: float


def median_interval(samples: Sequence[float]) -> Interval:
    """The sign test's interval for the median, of at least CONFIDENCE where there are enough samples.

    Each of n independent samples lies below the true median with probability 1/2, whatever their
    distribution; so from the (k+1)-smallest to the (k+1)-largest is an interval that misses it with
    probability 2 sum_{i<=k} C(n, i) / 2^n. The largest such k is taken: a few outliers do not count.
    """
    ordered, k = sorted(samples), 0
    while 2 * (k + 1) < len(ordered) and _confidence(len(ordered), k + 1) >= CONFIDENCE:
        k += 1
    return Interval(
        low=ordered[k], high=ordered[-1 - k], confidence=max(0.0, _confidence(len(ordered), k))
    )


def _confidence(n: int, k: int) -> float:
    return 1.0 - 2.0 * sum(math.comb(n, i) for i in range(k + 1)) / 2.0**n


class Verdict(StrEnum):
    WITHIN = "within the goal"
    SLOWER = "slower than the goal"
    UNDECIDED = "undecided"


def verdict(ratios: Sequence[float], *, goal: float) -> Verdict:
    """Whether the true ratio is at most 1 + ``goal``; UNDECIDED while that lies within the interval."""
    found = median_interval(ratios)
    if found.low > 1 + goal:
        return Verdict.SLOWER
    return Verdict.WITHIN if found.high <= 1 + goal else Verdict.UNDECIDED
