"""The whole predictor: what an output may depend on, what may be skipped, and the instability that is excluded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import HopeModel, Losses
from tests.trainers.hope import small
from trainers.hope.blocks import HBlock
from trainers.hope.losses import Batch, draw_tau, lost, roll
from trainers.hope.model import Clips, Predictor

PATTERNS = ["HH", "TT", "UU", "THU"]
NEVER = {"memories": {"detach_interval": 0}}


def predictor(**fields: Any) -> Predictor:
    return small.trained(small.predictor(small.settings(**fields)))


def changed(clips: Clips, frame: int) -> Clips:
    """The same clips with everything from ``frame`` on replaced."""
    features, actions = clips.features.clone(), clips.actions.clone()
    features[:, frame:] += 1.0
    actions[:, frame:] += 1.0
    return Clips(features=features, actions=actions, states=clips.states)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("scope", ["shared", "per_sample"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 0])
def test_a_prediction_depends_on_no_later_frame_or_action(
    pattern: str, scope: str, chunk: int
) -> None:
    """Nor does it where a later frame lies in the same chunk: a chunk is read before it is written."""
    memories = {"scope": scope, "chunk_frames": chunk}
    model = predictor(pattern=pattern, memories=memories, spatial_mixing=True)
    clips = small.batch().inputs()
    seen = model(clips).features
    for frame in range(1, small.CONTEXT):
        other = model(changed(clips, frame)).features
        assert torch.equal(other[:, :frame], seen[:, :frame])
        assert not torch.allclose(other[:, frame:], seen[:, frame:])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_with_a_state_a_sample_an_output_does_not_depend_on_its_batch(pattern: str) -> None:
    model = predictor(pattern=pattern, memories={"scope": "per_sample"})
    clips = small.batch(4).inputs()
    together = model(clips).features
    for i in range(4):
        alone = Clips(
            features=clips.features[i : i + 1],
            actions=clips.actions[i : i + 1],
            states=clips.states[i : i + 1],
        )
        torch.testing.assert_close(model(alone).features[0], together[i], rtol=1e-9, atol=1e-9)


def test_with_a_shared_state_it_does() -> None:
    model = predictor(memories={"scope": "shared"})
    clips = small.batch(2).inputs()
    alone = Clips(features=clips.features[:1], actions=clips.actions[:1], states=clips.states[:1])
    assert not torch.allclose(model(alone).features[0], model(clips).features[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("pattern", ["HH", "UU"])
def test_writes_happen_without_autograd_too(pattern: str, mode: Any) -> None:
    model = predictor(pattern=pattern)
    clips = small.batch().inputs()
    with mode():
        passed = model(clips, keep_state=True)
    torch.testing.assert_close(
        passed.features, model(clips).features.detach(), rtol=1e-9, atol=1e-9
    )
    for state, start in zip(passed.states, model.begin(2), strict=True):
        assert not torch.allclose(state.W1, start.W1)
    frozen = model(clips, writes=False).features
    assert not torch.allclose(frozen[:, 1:], passed.features[:, 1:])
    torch.testing.assert_close(frozen[:, :1], passed.features[:, :1])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pass_leaves_no_trace_in_the_module(pattern: str) -> None:
    model = predictor(pattern=pattern, spatial_mixing=True, temporal_embeddings=True)
    clips = small.batch().inputs()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    attributes = {name: sorted(vars(m)) for name, m in model.named_modules()}
    first = model(clips).features
    assert torch.equal(model(clips).features, first)
    assert attributes == {name: sorted(vars(m)) for name, m in model.named_modules()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert sum(t.numel() for t in before.values()) == sum(p.numel() for p in model.parameters())


def gradients(model: Predictor, batch: Batch, losses: Losses) -> tuple[Tensor, list[Tensor]]:
    total = lost(model, batch, losses, torch.tensor([3, 4])).total
    found = torch.autograd.grad(
        total, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return total.detach(), list(found)


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_recomputing_blocks_changes_nothing(interval: int) -> None:
    fields = {"pattern": "HUH", "memories": {"detach_interval": interval}}
    batch, losses = small.batch(), Losses(auxiliary=0.1)
    total, kept = gradients(predictor(**fields), batch, losses)
    again, recomputed = gradients(predictor(**fields, checkpoint_blocks=True), batch, losses)
    assert torch.equal(total, again)
    for ours, theirs in zip(recomputed, kept, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("isolate", [True, False])
def test_a_jump_reads_what_the_teacher_pass_wrote_only_if_they_share_a_state(isolate: bool) -> None:
    model = predictor()
    batch, tau = small.batch(), torch.tensor([3, 4])
    losses = Losses(auxiliary=0.0, isolate_state=isolate)
    both = lost(model, batch, losses, tau).parts["loss/jump"]
    alone = lost(model, batch, losses.model_copy(update={"teacher": 0.0}), tau).parts["loss/jump"]
    assert torch.equal(both, alone) is isolate


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_jump_depends_on_its_first_frame_alone(pattern: str) -> None:
    model = predictor(pattern=pattern, temporal_embeddings=True)
    clips, tau = small.batch().inputs(), torch.tensor([3, 4])
    seen = model(clips.first(1), target=tau).features
    later = model(changed(clips, 1).first(1), target=tau).features
    assert torch.equal(later, seen)


@pytest.mark.parametrize("pattern", ["TT", "HH", "UU"])
def test_every_target_time_gives_another_jump(pattern: str) -> None:
    model = predictor(pattern=pattern, temporal_embeddings=True)
    clips = small.batch(1).inputs().first(1)
    found = [
        model(clips, target=torch.tensor([tau])).features for tau in range(1, small.CONTEXT + 1)
    ]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("pattern", "recurrent"), [("HH", True), ("H", True), ("THH", False), ("U", False)]
)
def test_a_recurrent_rollout_is_the_rollout_that_passes_all_frames_again(
    pattern: str, recurrent: bool
) -> None:
    cms = {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True}
    model = predictor(pattern=pattern, cms=cms, temporal_embeddings=True, **NEVER)
    batch = small.batch()
    rolled = roll(model, batch, 1, small.CONTEXT)
    seen = batch.features[:, :1]
    for frame in range(1, small.CONTEXT + 1):
        clips = Clips(
            features=seen, actions=batch.actions[:, :frame], states=batch.states[:, :frame]
        )
        seen = torch.cat((seen, model(clips).features[:, -1:]), dim=1)
    torch.testing.assert_close(rolled, seen[:, 1:], rtol=1e-9, atol=1e-9)
    passes = len(calls(model, lambda: roll(model, batch, 1, small.CONTEXT)))
    frames = small.CONTEXT if recurrent else small.CONTEXT * (small.CONTEXT + 1) // 2
    assert passes == frames


def calls(model: Predictor, run: Any) -> list[int]:
    """One entry for each frame that goes through the embedding while ``run`` runs."""
    seen: list[int] = []
    handle = model.embed.register_forward_hook(
        lambda _module, inputs, _out: seen.extend([1] * inputs[0].shape[1])
    )
    try:
        run()
    finally:
        handle.remove()
    return seen


def test_a_chunk_of_all_frames_is_the_whole_sequence() -> None:
    whole = predictor(memories={"chunk_frames": 0})
    by_number = predictor(memories={"chunk_frames": small.CONTEXT})
    clips = small.batch().inputs()
    assert torch.equal(whole(clips).features, by_number(clips).features)


def test_mixing_adds_nothing_at_the_start_of_the_whole_model() -> None:
    without = small.predictor(small.settings())
    mixing = small.predictor(small.settings(spatial_mixing=True))
    weights = without.state_dict()
    mixing.load_state_dict(weights, strict=False)
    clips = small.batch().inputs()
    assert torch.equal(mixing(clips).features, without(clips).features)
    overwritten = small.predictor(
        small.settings(spatial_mixing=True, special_init_last=False)
    ).blocks[0]
    assert isinstance(overwritten, HBlock) and overwritten.mixing is not None
    assert overwritten.mixing.out.weight.abs().max() > 0.01


@pytest.mark.parametrize("last", [True, False])
def test_no_order_of_the_initialisation_takes_the_conditioning_bias_away(last: bool) -> None:
    of = small.settings(conditioning_bias_std=0.5, special_init_last=last)
    model = small.predictor(of)
    for encoder in (model.action_encoder, model.state_encoder):
        assert 0.1 < encoder.bias.std() < 1.5


def blown_up(interval: int, bias: float) -> tuple[int, float]:
    """(tensors without a finite gradient, largest ratio of neighbouring blocks) at the documents' depth."""
    of = HopeModel.model_validate({
        "pattern": "HHHHHH", "width": 48, "heads": 4, "drop_path": 0.0,
        "conditioning_bias_std": bias, "memories": {"detach_interval": interval},
    })  # fmt: skip
    model = small.predictor(of, context=7, dtype=torch.float32)
    batch = small.batch(2, context=7, dtype=torch.float32)
    lost(model, batch, Losses(auxiliary=0.1), torch.tensor([5, 7])).total.backward()
    norms = [
        torch.linalg.vector_norm(
            torch.stack([p.grad.norm() for p in block.parameters() if p.grad is not None])
        )
        for block in model.blocks
    ]
    bad = sum(not torch.isfinite(n).item() for n in norms)
    ratios = [float(a / b) for a, b in pairwise(norms)]
    return bad, max(ratios)


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_gradients_stay_finite_where_conditioning_tokens_are_not_zero(interval: int) -> None:
    bad, ratio = blown_up(interval, 0.02)
    assert bad == 0
    assert ratio < 100


@pytest.mark.parametrize("interval", [2, 4])
def test_tokens_of_exact_zeros_blow_them_up_where_writes_are_linked(interval: int) -> None:
    bad, ratio = blown_up(interval, 0.0)
    assert bad > 0 or ratio > 1e4


def test_the_auxiliary_loss_never_reaches_the_weights_that_it_reads() -> None:
    model = predictor(pattern="H", memories={"detach_interval": 4})
    passed = model(small.batch().inputs().first(1), auxiliary=True)
    passed.aux.backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    for name in ("M_k.W1", "M_k.W2", "M_v.W1", "M_v.W2", "M_memory.norm.weight"):
        assert f"blocks.0.titan.memories.{name}" in reached
    for name in ("M_memory.W1", "M_memory.W2", "M_eta.W1", "M_alpha.W1"):
        assert f"blocks.0.titan.memories.{name}" not in reached


@pytest.mark.parametrize(("offset", "low", "high"), [(0.0, 0.0, 0.2), (4.0, 0.5, 1.0)])
def test_what_a_memory_keeps_over_seven_writes_is_set_by_the_offset(
    offset: float, low: float, high: float
) -> None:
    of = small.settings(pattern="H", memories={"alpha_offset": offset})
    model = small.predictor(of, context=7)
    start = model.begin(2)[0]
    state = model(small.batch(context=7).inputs(), keep_state=True).states[0]
    kept = float(((state.W1 * start.W1).sum() / start.W1.square().sum()).detach())
    assert low <= kept <= high


def test_targets_are_drawn_from_the_last_frames_alone() -> None:
    tau = draw_tau(1000, 7, 3, torch.Generator().manual_seed(0))
    assert set(tau.tolist()) == {5, 6, 7}
