"""Laws of errors on clips that nothing is learnt from, and of what is said of gradients and memories."""

from __future__ import annotations

import math

import pytest
import torch

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope import gradients, judge
from trainers.hope.losses import distance, lost
from trainers.hope.model import Predictor
from trainers.hope.observed import memory_metrics

LOSSES = Losses(jump_last=2, rollout=1.0, rollout_frames=small.CONTEXT)


def predictor(**fields: object) -> Predictor:
    return small.trained(small.predictor(small.settings(**fields)))


def test_errors_are_the_losses_of_training_without_their_weights() -> None:
    model, batch = predictor(), small.batch()
    found = judge.validation(model, batch, LOSSES)
    jumps = []
    for tau in (3, 4):
        parts = lost(model, batch, LOSSES, torch.tensor([tau, tau])).parts
        jumps.append(parts["loss/jump"])
        torch.testing.assert_close(found["teacher"], parts["loss/teacher"])
        torch.testing.assert_close(found["rollout"], parts["loss/rollout"])
    torch.testing.assert_close(found["jump"], torch.stack(jumps).mean())


def test_the_last_error_is_that_of_the_last_frame_of_the_teacher_pass() -> None:
    model, batch = predictor(), small.batch()
    predicted = model(batch.inputs()).features[:, -1]
    expected = distance(model, predicted, batch.features[:, -1]).detach()
    torch.testing.assert_close(judge.validation(model, batch, LOSSES)["last"], expected)


@pytest.mark.parametrize("isolate", [True, False])
def test_frozen_memories_change_a_jump_only_if_it_begins_with_what_was_written(
    isolate: bool,
) -> None:
    losses = LOSSES.model_copy(update={"isolate_state": isolate})
    found = judge.validation(predictor(), small.batch(), losses)
    assert torch.equal(found["jump"], found["jump_frozen"]) is isolate
    assert not torch.equal(found["last"], found["last_frozen"])


@pytest.mark.parametrize(
    ("pattern", "isolate", "jumps"), [("HH", True, 2), ("HH", False, 4), ("TT", True, 2)]
)
def test_a_jump_that_writes_cannot_change_is_made_once(
    pattern: str, isolate: bool, jumps: int
) -> None:
    model, losses = predictor(pattern=pattern), LOSSES.model_copy(update={"isolate_state": isolate})
    made: list[object] = []
    handle = model.register_forward_pre_hook(
        lambda _module, _given, named: made.append(named.get("target")), with_kwargs=True
    )
    found = judge.held_out(model, small.batch(), losses, ["on", "off"])
    handle.remove()
    assert sum(target is not None for target in made) == jumps
    assert torch.equal(found["on"]["error"], found["off"]["error"]) is isolate


def test_only_the_modes_that_are_asked_for_are_judged() -> None:
    for modes in (["on"], ["off"], ["on", "off"]):
        assert list(judge.held_out(predictor(), small.batch(), LOSSES, modes)) == modes


def test_nothing_judged_leaves_a_gradient() -> None:
    model = predictor()
    found = judge.validation(model, small.batch(), LOSSES)
    held = judge.held_out(model, small.batch(), LOSSES, ["on", "off"])
    values = [*found.values(), *held["on"].values(), *held["off"].values()]
    assert not any(value.requires_grad for value in values)


def test_every_clip_counts_the_same_whatever_its_batch() -> None:
    model = predictor(memories={"scope": "per_sample"})
    whole, cut = small.batch(5), [small.batch(5), small.batch(5)]
    cut[0] = type(whole)(features=whole.features[:3], actions=whole.actions[:3], states=whole.states[:3])  # fmt: skip
    cut[1] = type(whole)(features=whole.features[3:], actions=whole.actions[3:], states=whole.states[3:])  # fmt: skip

    def worth(batch: object) -> judge.Errors:
        return judge.validation(model, batch, LOSSES)  # type: ignore[arg-type]

    one, parts = judge.mean_over([whole], worth), judge.mean_over(cut, worth)
    for name, value in one.items():
        torch.testing.assert_close(parts[name], value)


def test_where_nothing_jumps_the_teacher_pass_is_the_error() -> None:
    losses = Losses(jump=0.0)
    model, batch = predictor(), small.batch()
    found = judge.held_out(model, batch, losses, ["on"])["on"]
    torch.testing.assert_close(found["error"], judge.validation(model, batch, losses)["teacher"])


# ---------------------------------------------------------------- gradients


def norms(values: dict[str, list[float]], blocks: int) -> gradients.Norms:
    return gradients.norms({n: torch.tensor(v) for n, v in values.items()}, blocks)


def test_norms_are_of_each_block_and_of_everything() -> None:
    found = norms({"embed": [2.0], "blocks.0.a": [3.0], "blocks.0.b": [4.0], "blocks.1.a": [1.0]}, 2)  # fmt: skip
    assert found.blocks.tolist() == [5.0, 1.0]
    assert float(found.total) == pytest.approx(math.sqrt(30))
    assert float(gradients.block_ratio(found.blocks)) == 5.0


def test_the_ratio_is_that_of_what_goes_down_to_what_came_from_above() -> None:
    """A block that shrinks its gradient is no instability."""
    assert float(gradients.block_ratio(torch.tensor([1.0, 10.0, 5.0]))) == 2.0
    assert float(gradients.block_ratio(torch.tensor([3.0]))) == 1.0


def test_tensors_that_are_no_numbers_are_counted() -> None:
    found = norms({"a": [1.0, math.nan], "blocks.0.a": [math.inf], "blocks.1.a": [1.0]}, 2)
    assert int(found.bad) == 2
    assert not math.isfinite(float(gradients.block_ratio(found.blocks)))


def test_a_norm_whose_square_float32_does_not_hold_is_finite() -> None:
    found = norms({"blocks.0.a": [1.5e19], "blocks.0.b": [1.5e19]}, 1)
    assert int(found.bad) == 0
    assert math.isfinite(float(found.total))


# ---------------------------------------------------------------- memories


@pytest.mark.parametrize("scope", ["shared", "per_sample"])
@pytest.mark.parametrize("pattern", ["H", "U"])
def test_retention_is_what_is_left_of_the_first_weights_if_writes_add_nothing(
    scope: str, pattern: str
) -> None:
    """With gradients clipped to nothing a write only scales, so the state itself shows it."""
    model = predictor(pattern=pattern, memories={"scope": scope, "write_clip": 1e-30, "mult": 2})
    with torch.no_grad():
        passed = model(small.batch().inputs(), keep_state=True)
        found = memory_metrics(model.blocks, passed.records)["memory/retention"]
    state, start = passed.states[0], model.begin(2)[0]
    assert state is not None and start is not None
    left = state.W1.square().sum() + state.W2.square().sum()
    before = start.W1.square().sum() + start.W2.square().sum()
    torch.testing.assert_close(found, (left / before).sqrt().detach())


def test_memories_that_never_write_keep_everything_and_say_so() -> None:
    model = predictor(memories={"surprise_threshold": 1e9})
    found = memory_metrics(model.blocks, model(small.batch().inputs()).records)
    assert float(found["memory/gate"]) == 0.0
    assert float(found["memory/retention"]) == 1.0


def test_without_memories_nothing_is_said_of_them() -> None:
    model = predictor(pattern="TT")
    assert memory_metrics(model.blocks, model(small.batch().inputs()).records) == {}
