"""Laws of trying again: budgets are kept, a loss is no crash, and what would happen again is not tried."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign import retry
from campaign.records import Ending, FailureClass, Queued, Result, Run
from tests.campaign.worlds import spec

HOPELESS = (FailureClass.NON_FINITE, FailureClass.CUDA_OOM, FailureClass.TIMEOUT)
LONGEST_WAIT = 300.0

endings = st.one_of(
    st.builds(
        Ending,
        result=st.just(Result.FAILED),
        failure_class=st.sampled_from([None, *FailureClass]),
        reason=st.just("x"),
    ),
    st.just(Ending(result=Result.LOST, reason="x")),
)


def run_of(policy: Mapping[str, object], *, crashes: int = 0, losses: int = 0) -> Run:
    """A run with this policy that was tried again so often."""
    return Run(
        campaign="c",
        name="a",
        order=0,
        spec=spec(retry=policy),
        status=Queued(since=0.0),
        crashes=crashes,
        losses=losses,
    )


def lived(run: Run, ending: Ending) -> Run | None:
    """The run after one more ending of this kind; None where it is given up."""
    outcome = retry.after(run, ending)
    if isinstance(outcome, retry.GiveUp):
        return None
    return run.model_copy(update={outcome.counts_as: getattr(run, outcome.counts_as) + 1})


@given(st.lists(endings, max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_no_row_of_endings_is_survived_beyond_both_budgets(
    row: list[Ending], crashes: int, losses: int
) -> None:
    run = run_of({"crashes": crashes, "losses": losses})
    for ending in row:
        after = lived(run, ending)
        if after is None:
            break
        run = after
        assert run.crashes <= crashes
        assert run.losses <= losses


@given(st.permutations([FailureClass.BAD_EXIT] * 2 + [FailureClass.PREEMPTED] * 3))
def test_in_whatever_order_crashes_and_losses_come_both_budgets_are_whole(
    row: list[FailureClass],
) -> None:
    run: Run | None = run_of({"crashes": 2, "losses": 3})
    for kind in row:
        assert run is not None
        run = lived(run, Ending(result=Result.FAILED, failure_class=kind, reason="x"))
    assert run is not None
    assert (run.crashes, run.losses) == (2, 3)


@given(endings, st.integers(0, 100), st.integers(0, 1000))
def test_the_waits_grow_and_none_is_longer_than_five_minutes(
    ending: Ending, crashes: int, losses: int
) -> None:
    policy = {"crashes": 100, "losses": 1000, "wait": 366 * 86400.0}
    now = retry.after(run_of(policy, crashes=crashes, losses=losses), ending)
    later = retry.after(run_of(policy, crashes=crashes + 1, losses=losses + 1), ending)
    if isinstance(now, retry.Retry):
        assert 0 <= now.wait <= LONGEST_WAIT
    if isinstance(now, retry.Retry) and isinstance(later, retry.Retry):
        assert now.wait <= later.wait


@pytest.mark.parametrize("kind", HOPELESS)
def test_what_would_happen_again_is_never_tried(kind: FailureClass) -> None:
    ending = Ending(result=Result.FAILED, failure_class=kind, reason="x")
    assert isinstance(retry.after(run_of({}), ending), retry.GiveUp)


@given(endings)
def test_a_run_that_gave_up_gives_up_again(ending: Ending) -> None:
    spent = run_of({"crashes": 0, "losses": 0})
    first = retry.after(spent, ending)
    assert isinstance(first, retry.GiveUp)
    assert retry.after(spent, ending) == first
