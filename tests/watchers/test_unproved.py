"""Law: a band on what no evidence holds is told of, once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.watch import Certify
from watchers.certify import Checkpoint
from watchers.findings import Finding, Kind
from watchers.judgement import Judgement, begin, finish, take_checkpoints
from watchers.unproved import MANY_CHECKPOINTS

SLIP = Certify.model_validate({"bands": {"residual/T": {"below": 1.0}}})


def proof(step: int, *metrics: str) -> Checkpoint:
    return Checkpoint(step=step, finite=True, metrics=dict.fromkeys(metrics, 0.5))


def taken(
    *checkpoints: Checkpoint, certify: Certify = SLIP, impatient: bool = True
) -> tuple[Judgement, list[tuple[int, str]]]:
    """What is said of bands while checkpoints come one by one, with the number of the checkpoint."""
    judgement, said = begin((), certify, impatient=impatient), []
    for number, one in enumerate(checkpoints, start=1):
        judgement, found = take_checkpoints(judgement, [one])
        said += [(number, finding.key) for finding in of_bands(found)]
    return judgement, said


def of_bands(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.key.startswith("unproved")]


def at_end(judgement: Judgement, *, succeeded: bool = True) -> list[Finding]:
    return of_bands(finish(judgement, succeeded=succeeded)[1])


def test_a_band_that_nobody_could_check_is_missed_after_some_checkpoints() -> None:
    _, said = taken(*(proof(step, "residual/T1") for step in range(3 * MANY_CHECKPOINTS)))
    assert said == [(MANY_CHECKPOINTS, "unproved:residual/T")]


def test_a_band_on_a_declared_metric_is_missed_at_the_end_alone() -> None:
    proofs = [proof(step, "residual/T1") for step in range(3 * MANY_CHECKPOINTS)]
    judgement, said = taken(*proofs, impatient=False)
    assert said == []
    assert [finding.key for finding in at_end(judgement)] == ["unproved:residual/T"]


def test_the_alert_names_the_band_what_is_there_and_what_was_perhaps_meant() -> None:
    judgement, _ = taken(proof(1, "residual/T1", "val/ce"))
    (finding,) = at_end(judgement)
    assert (finding.kind, finding.rule, finding.metric) == (Kind.ALERT, "certify", "residual/T")
    assert finding.reason == (
        "no checkpoint can be certified so far: certify.bands names residual/T, which the evidence "
        "of the one checkpoint has not; it has: residual/T1, val/ce; did you mean `residual/T1`?"
    )


def test_a_metric_that_one_checkpoint_has_is_not_missed() -> None:
    proofs = [proof(1, "residual/T"), *(proof(step) for step in range(2, 9))]
    judgement, said = taken(*proofs)
    assert (said, at_end(judgement)) == ([], [])


@pytest.mark.parametrize(
    "unusable",
    [
        Checkpoint(step=1),
        Checkpoint(step=1, finite=False),
        Checkpoint(step=1, finite=True, problem="not readable"),
    ],
    ids=["no evidence", "not finite", "not readable"],
)
def test_evidence_that_could_not_have_held_it_proves_no_slip(unusable: Checkpoint) -> None:
    judgement, said = taken(unusable)
    assert (said, at_end(judgement)) == ([], [])


def test_an_attempt_that_failed_early_says_nothing_of_its_bands() -> None:
    judgement, _ = taken(proof(1), impatient=False)
    assert at_end(judgement, succeeded=False) == []
    assert at_end(judgement, succeeded=True)


@given(
    st.lists(st.sets(st.sampled_from(["residual/T", "a", "b"])), max_size=2 * MANY_CHECKPOINTS),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_checkpoints_are_noticed_changes_nothing(
    held: list[set[str]], random: Any
) -> None:
    proofs = [proof(step, *metrics) for step, metrics in enumerate(held)]
    shuffled = proofs.copy()
    random.shuffle(shuffled)
    ends = [at_end(taken(*order, impatient=False)[0]) for order in (proofs, shuffled)]
    assert ends[0] == ends[1]
    missed = bool(held) and not any("residual/T" in metrics for metrics in held)
    assert bool(ends[0]) == missed


def test_the_watcher_writes_it_once(build: Any, killer: Any, clock: Any, tmp_path: Any) -> None:
    attempt = build.Attempt(
        root=tmp_path / "a",
        watch=(),
        certify={"metric": "x", "bands": {"residual/T": {"below": 1.0}}},
        trainer={"kind": "command", "argv": ["true"]},
    )
    watcher = build.watcher(killer, clock, attempt)
    for step in range(2 * MANY_CHECKPOINTS):
        attempt.checkpoint(step, {"residual/T1": 0.5})
        attempt.log(step, {"x": 1.0})
        clock.forward(2.0)
        build.drain(watcher)
    attempt.leave()
    build.drain(watcher)
    assert [alert["key"] for alert in attempt.of("alert")] == ["unproved:residual/T"]
