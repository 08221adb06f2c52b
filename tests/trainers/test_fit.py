from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from specs.files import complete_lines, parse_metric_line, read_json
from trainers.checkpoint import load
from trainers.failure import classify
from trainers.fit import Outcome, fit
from trainers.protocol import Evidence, NonFinite, Snapshot
from trainers.retention import Retention

KEEP_ALL = Retention(keep_complete=1000, keep_certified=1000)


def on_edge(step: int, number: signal.Signals) -> Callable[[], None]:
    """The signal comes while the step is being done."""
    return lambda: os.kill(os.getpid(), number)


def same(a: Snapshot, b: Snapshot) -> bool:
    return a.scalars == b.scalars and all(
        torch.equal(tensor, b.tensors[stem][name])
        for stem, tensors in a.tensors.items()
        for name, tensor in tensors.items()
    )


# ---------------------------------------------------------------- exact resumption


@pytest.mark.parametrize("half", [1, 4, 6, 11])
def test_half_and_resume_and_half_is_bit_equal_to_straight(
    toy: Any, attempt: Any, half: int
) -> None:
    straight, first, second = toy(), toy(), toy(seed=9)
    fit(straight, attempt(1, keep=KEEP_ALL).session)
    left = attempt(2, keep=KEEP_ALL)
    first.hooks[half] = on_edge(half, signal.SIGTERM)
    with left.session.flags:
        assert fit(first, left.session) is Outcome.STOPPED
    assert first.step == half
    second.restore(load(left.files.checkpoint(half)).snapshot)
    resumed = attempt(3, keep=KEEP_ALL)
    assert fit(second, resumed.session) is Outcome.FINISHED
    assert first.losses + second.losses == straight.losses
    assert same(second.snapshot(), straight.snapshot())


def test_what_is_measured_on_the_way_does_not_change_what_is_learnt(toy: Any, attempt: Any) -> None:
    often, seldom = toy(evaluate=1, checkpoint=1, log=1), toy(evaluate=100, checkpoint=100, log=100)
    fit(often, attempt(1).session)
    fit(seldom, attempt(2).session)
    assert same(often.snapshot(), seldom.snapshot())


# ---------------------------------------------------------------- cadence


@pytest.mark.parametrize(
    ("steps", "every", "logged", "evaluated", "checkpointed"),
    [
        (12, {"log": 2, "evaluate": 3, "checkpoint": 4}, [2, 4, 6, 8, 10, 12], [3, 6, 9, 12], [4, 8, 12]),
        (7, {"log": 5, "evaluate": 5, "checkpoint": 5}, [5, 7], [5, 7], [5, 7]),
        (3, {"log": 9, "evaluate": 9, "checkpoint": 9}, [3], [3], [3]),
        (1, {"log": 1, "evaluate": 1, "checkpoint": 1}, [1], [1], [1]),
    ],
)  # fmt: skip
def test_the_last_step_is_logged_evaluated_and_kept_whatever_the_cadence(
    toy: Any, attempt: Any, steps: int, every: Any, logged: Any, evaluated: Any, checkpointed: Any
) -> None:
    made = attempt(keep=KEEP_ALL)
    assert fit(toy(steps=steps, **every), made.session) is Outcome.FINISHED
    assert [step for step, _ in made.curve("train/loss")] == logged
    assert [step for step, _ in made.curve("val/loss")] == evaluated
    assert made.files.complete_checkpoints() == checkpointed
    assert [e["step"] for e in made.events("checkpoint")] == checkpointed
    assert made.events()[-1]["event"] == "finished"


def test_a_training_that_is_done_already_does_nothing_more(toy: Any, attempt: Any) -> None:
    done, made = toy(), attempt()
    done.step = done.total_steps
    assert fit(done, made.session) is Outcome.FINISHED
    assert made.files.complete_checkpoints() == []
    assert done.losses == []


def test_the_evidence_of_a_checkpoint_holds_what_was_just_evaluated(toy: Any, attempt: Any) -> None:
    made = attempt(keep=KEEP_ALL)
    fit(toy(), made.session)
    val = dict(made.curve("val/loss"))
    for step, expected in (
        (4, {"residual": 0.25}),
        (12, {"residual": 1 / 12, "val/loss": val[12]}),
    ):
        evidence = read_json(made.files.checkpoint(step) / "evidence.json")
        assert evidence == {"schema": 1, "step": step, "finite": True, "metrics": expected}


def test_time_counts_the_steps_alone(toy: Any, attempt: Any) -> None:
    """Each look at the test's clock is 1/8 s: one look before a step and one after it."""
    made = attempt(tokens_per_step=80)
    fit(toy(), made.session)
    assert {value for _, value in made.curve("time/step_s")} == {0.125}
    assert {value for _, value in made.curve("time/steps_per_s")} == {8.0}
    assert {value for _, value in made.curve("time/tokens_per_s")} == {640.0}


def test_people_get_one_line_for_each_evaluation(toy: Any, attempt: Any) -> None:
    made = attempt()
    fit(toy(), made.session)
    *lines, last = made.said
    assert len(lines) == 4
    assert lines[0].startswith("step  3/12  25.0%  val/loss ")
    assert lines[0].endswith(" left")
    assert "left" not in lines[-1]
    assert last == "finished at step 12"


def test_retention_follows_the_settings(toy: Any, attempt: Any) -> None:
    made = attempt()
    made.files.watch.write_text('{"kind": "certified", "checkpoint_step": 8}\n')
    fit(toy(checkpoint=2), made.session)
    assert made.files.complete_checkpoints() == [8, 10, 12]


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_is_obeyed_at_the_step_edge_with_a_checkpoint(
    toy: Any, attempt: Any, number: signal.Signals
) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[5] = on_edge(5, number)
    with made.session.flags:
        assert fit(trainer, made.session) is Outcome.STOPPED
    assert trainer.step == 5
    assert made.files.complete_checkpoints() == [4, 5]
    (stopped,) = made.events("stopped")
    assert (stopped["step"], stopped["signal"]) == (5, number.name)
    assert made.session.flags.stop == number


def test_a_process_that_is_told_to_leave_measures_nothing_more(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[5] = on_edge(5, signal.SIGTERM)
    asked: list[int] = []
    trainer.evidence = lambda: asked.append(trainer.step) or Evidence(finite=True, metrics={})
    with made.session.flags:
        fit(trainer, made.session)
    assert asked == [4]
    evidence = read_json(made.files.checkpoint(5) / "evidence.json")
    assert evidence == {"schema": 1, "step": 5, "finite": True, "metrics": {}}


def test_a_state_that_is_not_finite_is_not_kept_in_haste_either(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[5] = on_edge(5, signal.SIGTERM)
    trainer.hooks[4] = lambda: trainer.ema["bias"].fill_(float("inf"))
    with made.session.flags:
        assert fit(trainer, made.session) is Outcome.STOPPED
    assert made.files.complete_checkpoints() == [4]  # of which its own evidence knew no better


def test_a_stop_signal_between_two_steps_is_not_lost(toy: Any, attempt: Any) -> None:
    """It comes while the checkpoint of step 4 is being written: that one is enough."""
    made, trainer = attempt(), toy()
    evidence = trainer.evidence

    def interrupted() -> Any:
        made.session.flags.stop = signal.SIGTERM
        return evidence()

    trainer.evidence = interrupted
    assert fit(trainer, made.session) is Outcome.STOPPED
    assert trainer.step == 4
    assert made.files.complete_checkpoints() == [4]


def test_a_stop_signal_before_the_first_step_leaves_no_checkpoint(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    made.session.flags.stop = signal.SIGTERM
    assert fit(trainer, made.session) is Outcome.STOPPED
    assert made.files.complete_checkpoints() == []
    assert trainer.losses == []


def test_a_stop_signal_in_the_last_step_is_a_finished_training(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[12] = on_edge(12, signal.SIGTERM)
    with made.session.flags:
        assert fit(trainer, made.session) is Outcome.FINISHED
    assert made.files.complete_checkpoints()[-1] == 12


def test_sigusr1_is_a_checkpoint_and_on(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(keep=KEEP_ALL), toy()
    for step in (5, 6, 8):
        trainer.hooks[step] = on_edge(step, signal.SIGUSR1)
    with made.session.flags:
        assert fit(trainer, made.session) is Outcome.FINISHED
    assert made.files.complete_checkpoints() == [4, 5, 6, 8, 12]


def test_the_handlers_from_before_are_back_afterwards(attempt: Any) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(n) for n in numbers]
    with attempt().session.flags:
        assert [signal.getsignal(n) for n in numbers] != before
    assert [signal.getsignal(n) for n in numbers] == before


# ---------------------------------------------------------------- what goes wrong


def test_a_step_that_is_not_finite_is_written_down_and_not_kept(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    trainer.explode_at(6)
    with pytest.raises(NonFinite):
        fit(trainer, made.session)
    step, metrics = made.metrics()[-1]
    assert step == 6
    assert repr(metrics) == "{'train/loss': nan}"
    assert made.files.complete_checkpoints() == [4]
    assert made.events("finished", "stopped") == []


def test_the_reason_of_a_failure_is_on_the_disk_before_the_metric_that_a_rule_kills_for(
    toy: Any, attempt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, trainer = attempt(), toy(log=100)
    trainer.explode_at(2)
    known: list[Any] = []
    monkeypatch.setattr(
        made.session.metrics, "emit", lambda step, metrics: known.append(made.events("failed"))
    )
    with pytest.raises(NonFinite) as raised:
        fit(trainer, made.session)
    ((failure,),) = known
    assert (failure["class"], failure["message"]) == ("non_finite", str(raised.value))


def test_a_failure_that_is_stated_again_is_one_failure(attempt: Any) -> None:
    made = attempt()
    for message in ("a is nan", "a is nan", "b is nan"):
        made.session.events.failed("non_finite", message)
    assert [event["message"] for event in made.events("failed")] == ["a is nan", "b is nan"]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("anything")],
    ids=repr,
)
def test_whatever_a_step_raises_the_metrics_before_it_are_on_the_disk(
    toy: Any, attempt: Any, error: Exception
) -> None:
    made, trainer = attempt(), toy()
    trainer.fail_at(5, error)
    with pytest.raises(type(error)):
        fit(trainer, made.session)
    data = made.files.metrics.read_bytes()
    # steps 2 and 4, the evaluation of step 3, and what only the evidence of step 4 measured
    assert len(list(complete_lines(data))) == 4
    assert made.files.complete_checkpoints() == [4]


def test_a_state_that_is_not_finite_is_not_kept_and_training_goes_on(
    toy: Any, attempt: Any
) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[4] = lambda: setattr(trainer, "finite", False)
    trainer.hooks[5] = lambda: setattr(trainer, "finite", True)
    assert fit(trainer, made.session) is Outcome.FINISHED
    assert made.files.complete_checkpoints() == [8, 12]
    (note,) = made.events("note")
    assert note["message"] == "no checkpoint of step 4: its state is not finite"


def test_a_last_state_that_is_not_finite_is_no_success(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy()
    trainer.hooks[12] = lambda: setattr(trainer, "finite", False)
    with pytest.raises(NonFinite, match="last step, 12"):
        fit(trainer, made.session)
    assert made.files.complete_checkpoints() == [4, 8]


def test_without_room_for_a_checkpoint_training_goes_on_and_says_so(
    toy: Any, attempt: Any, monkeypatch: Any
) -> None:
    made, trainer = attempt(), toy()
    usage = shutil.disk_usage(made.files.root)
    room = iter([10**9, 10, 10**9])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(room)))
    assert fit(trainer, made.session) is Outcome.FINISHED
    assert made.files.complete_checkpoints() == [4, 12]
    (note,) = made.events("note")
    assert note["message"].startswith("no checkpoint of step 8: ")
    assert "MiB free" in note["message"]


@pytest.mark.parametrize(("refused", "ends"), [(4, False), (12, True)])
def test_a_disk_that_refuses_a_checkpoint_ends_only_a_training_that_leaves(
    toy: Any, attempt: Any, monkeypatch: Any, refused: int, ends: bool
) -> None:
    made, trainer = attempt(), toy()

    def save(*given: Any, step: int, **named: Any) -> Any:
        if step == refused:
            raise OSError(errno.ENOSPC, "No space left on device")
        return keep(*given, step=step, **named)

    from trainers import fit as module

    keep = module.save
    monkeypatch.setattr(module, "save", save)
    if ends:
        with pytest.raises(OSError, match="No space"):
            fit(trainer, made.session)
    else:
        fit(trainer, made.session)
        assert "No space left" in made.events("note")[0]["message"]
    assert refused not in made.files.complete_checkpoints()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NonFinite("train/ce is nan"), ("non_finite", 1)),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), ("cuda_oom", 1)),
        (MemoryError(), ("host_oom", 1)),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), ("host_oom", 1)),
        (RuntimeError("CUDA error: an illegal memory access"), ("gpu_fault", 1)),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ("bad_exit", 1)),
        (ValueError("CUDA error in a name"), ("bad_exit", 1)),
    ],
)  # fmt: skip
def test_a_failure_has_its_class(error: Exception, expected: tuple[str, int]) -> None:
    failure = classify(error)
    assert (failure.failure_class, failure.exit_code) == expected
    assert failure.message


def test_what_only_the_evidence_measures_becomes_a_metric_of_its_step(
    toy: Any, attempt: Any
) -> None:
    made = attempt()
    fit(toy(), made.session)
    lines = [parse_metric_line(line) for line in complete_lines(made.files.metrics.read_bytes())]
    said = {line.step for line in lines if line is not None and "residual" in line.metrics}
    assert said == set(made.files.complete_checkpoints())


def test_every_line_names_the_phase_that_its_step_belongs_to(toy: Any, attempt: Any) -> None:
    made, trainer = attempt(), toy(log=1)
    trainer.phase = "first"

    def go_on() -> None:
        trainer.phase = "second"

    trainer.hooks[7] = go_on
    fit(trainer, made.session)
    lines = [parse_metric_line(line) for line in complete_lines(made.files.metrics.read_bytes())]
    named = {(line.step < 7, line.phase) for line in lines if line is not None}
    assert named == {(True, "first"), (False, "second")}


def test_lines_of_a_training_without_phases_name_none(toy: Any, attempt: Any) -> None:
    made = attempt()
    fit(toy(), made.session)
    assert b"phase" not in made.files.metrics.read_bytes()
