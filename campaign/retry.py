"""Whether a run that ended badly by itself is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from campaign.records import Ending, FailureClass, Result, Run
from specs.run import RunSpec

_DETERMINISTIC = {
    FailureClass.NON_FINITE: "the same numbers would come out again",
    FailureClass.CUDA_OOM: "the same memory would be asked for again",
    FailureClass.TIMEOUT: "its time was up",
}


@dataclass(frozen=True, kw_only=True)
class Retry:
    """``from_scratch``: where no checkpoint may be resumed, it begins anew."""

    wait: float
    counts_as: str  # crashes, losses
    from_scratch: bool = False


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    why: str


def after(run: Run, ending: Ending, *, said_so: bool = False) -> Retry | GiveUp:
    """What follows an attempt that no rule and no user stopped.

    ``said_so``: the trainer itself stated the failure; that it could not start (a text that is not
    there, a program that is not found) then is no matter of luck.

    A loss (reboot, shim killed) has a budget of its own: it says nothing about the run.
    A checkpoint that failed its hash is set aside and the one before is tried, as a crash.
    """
    if not isinstance(run.spec, RunSpec):
        return GiveUp(
            why=f"this version of campaign cannot read its stored spec: {run.spec.problem}"
        )
    policy = run.spec.retry
    if said_so and ending.failure_class is FailureClass.COULD_NOT_START:
        return GiveUp(why="it would not start the next time either")
    if ending.result is Result.LOST or ending.failure_class in (
        FailureClass.PREEMPTED,
        FailureClass.COULD_NOT_START,
    ):
        limit = policy.losses
        if run.losses >= limit:
            return GiveUp(
                why=f"lost or not startable {_times(run.losses + 1)} (retry.losses {limit})"
            )
        return Retry(
            wait=_back_off(policy.wait, run.losses),
            counts_as="losses",
            from_scratch=policy.from_scratch,
        )
    if ending.failure_class is not None and ending.failure_class in _DETERMINISTIC:
        return GiveUp(why=_DETERMINISTIC[ending.failure_class])
    if run.crashes >= policy.crashes:
        return GiveUp(why=f"crashed {_times(run.crashes + 1)} (retry.crashes {policy.crashes})")
    return Retry(
        wait=_back_off(policy.wait, run.crashes),
        counts_as="crashes",
        from_scratch=policy.from_scratch,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _back_off(first: float, before: int) -> float:
    """Seconds: doubled each time, five minutes at most."""
    return float(min(first * 2.0**before, 300.0))
