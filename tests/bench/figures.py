"""What many measurements amount to: median, quartiles, worst, ratios and when they decide. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


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
    if len(samples) == 1:
        return Summary(n=1, median=samples[0], low=samples[0], high=samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Summary(n=len(samples), median=median, low=low, high=high)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that ``percent`` % of all do not exceed; of fewer than 100 the p99 is the largest."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Verdict(StrEnum):
    WITHIN = "within the goal"
    SLOWER = "slower than the goal"
    UNDECIDED = "undecided"


def verdict(ratios: Sequence[float], *, goal: float) -> Verdict:
    """Whether the true ratio is at most 1 + ``goal``, as far as paired ratios can say.

    From the smallest to the largest of n independent ratios is an interval that misses the true median
    with probability 2^(1-n) (the sign test), whatever their distribution; n = 6 gives 97 %. The verdict
    is UNDECIDED while the goal lies within it.
    """
    if min(ratios) > 1 + goal:
        return Verdict.SLOWER
    return Verdict.WITHIN if max(ratios) <= 1 + goal else Verdict.UNDECIDED


def confidence(n: int) -> float:
    """The probability with which the interval of `verdict` holds the true median."""
    return 1.0 - 2.0 ** (1 - n)
