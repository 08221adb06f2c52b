"""What a matrix of errors says of learning and forgetting. Lower is better; all functions are pure.

R[i][j] is the error on task j after phase i, i and j from 0 (the base task) to N - 1. Gains in accuracy become
drops in error, so that the sign of `backward_transfer` is that of GEM (arXiv 1706.08840) turned round: here a
positive one is forgetting.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

Matrix = Sequence[Sequence[float]]
"""Square: as many phases as tasks."""


def average_error(R: Matrix) -> float:
    """Mean over all tasks, after the last phase."""
    return fmean(R[-1])


def plasticity(R: Matrix) -> float:
    """Mean error on each task right after it was learnt."""
    return fmean(R[i][i] for i in range(len(R)))


def forgetting(R: Matrix) -> float:
    """Last error less the lowest ever seen before it, mean over all tasks but the last.

    Chaudhry et al. 2018 with the minimum for the maximum; phases before a task was learnt count as well.
    """
    last = len(R) - 1
    return fmean(R[last][j] - min(R[i][j] for i in range(last)) for j in range(last))


def forgetting_since_learnt(R: Matrix) -> float:
    """Last error less that right after learning, mean over all tasks but the last: Avalanche's form.

    The same as `forgetting` if and only if no task gets better in a phase other than its own.
    """
    last = len(R) - 1
    return fmean(R[last][j] - R[j][j] for j in range(last))


def backward_transfer(R: Matrix) -> float:
    """GEM's mean of R[N-1][j] - R[j][j]: of errors, and so positive where tasks were forgotten."""
    return forgetting_since_learnt(R)


def zero_shot_future(R: Matrix) -> float:
    """Mean error on tasks that are still to come. (Not GEM's forward transfer, which knows an untrained model.)"""
    return fmean(R[i][j] for i in range(len(R)) for j in range(i + 1, len(R)))


def gap_closed(lower: float, error: float, upper: float) -> float:
    """Percent of the way from the lower bound (naive) to the upper (joint), by average errors over the same tasks."""
    if lower == upper:
        raise ValueError(f"lower and upper bound are both {lower:g}: there is no gap to close")
    return 100 * (lower - error) / (lower - upper)


def summary(R: Matrix) -> dict[str, float]:
    """All of them that one matrix gives; of a joint run, with its single row, the average error alone."""
    if len(R) == 1 or len(R) != len(R[0]):
        return {"avg_error": average_error(R)}
    return {
        "avg_error": average_error(R),
        "plasticity": plasticity(R),
        "forgetting": forgetting(R),
        "forgetting_since_learnt": forgetting_since_learnt(R),
        "backward_transfer": backward_transfer(R),
        "zero_shot_future": zero_shot_future(R),
    }
