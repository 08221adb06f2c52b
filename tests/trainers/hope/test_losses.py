"""The losses: their definitions, which targets are drawn, and which writes are made and counted."""

from __future__ import annotations

import pytest
import torch

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope import writing
from trainers.hope.losses import draw_tau, lost, roll
from trainers.hope.model import Clips, Predictor

TAU = torch.tensor([3, 4])


def predictor(**fields: object) -> Predictor:
    return small.trained(small.predictor(small.settings(**fields)))


def test_each_loss_is_the_mean_distance_to_the_normalised_features() -> None:
    model, batch = predictor(temporal_embeddings=True), small.batch()
    losses = Losses(auxiliary=0.0, rollout=1.0, context_frames=2, rollout_frames=3)
    parts = lost(model, batch, losses, TAU).parts
    true = torch.nn.functional.layer_norm(batch.features, (small.FEATURES,), eps=1e-6)
    teacher = (model(batch.inputs()).features - true[:, 1:]).abs().mean()
    first = batch.inputs().first(1)
    jumped = model(first, target=TAU).features[:, 0]
    jump = torch.stack([(jumped[i] - true[i, t]).abs().mean() for i, t in enumerate(TAU)]).mean()
    second = model(batch.inputs().first(2)).features[:, -1:]
    seen = Clips(
        features=torch.cat((batch.features[:, :2], second), dim=1),
        actions=batch.actions[:, :3],
        states=batch.states[:, :3],
    )
    third = model(seen).features[:, -1:]
    rollout = (torch.cat((second, third), dim=1) - true[:, 2:4]).abs().mean()
    for name, value in (("teacher", teacher), ("jump", jump), ("rollout", rollout)):
        torch.testing.assert_close(parts[f"loss/{name}"], value.detach())


@pytest.mark.parametrize("last", [0, -1, small.CONTEXT + 1])
def test_targets_outside_of_the_clip_are_refused(last: int) -> None:
    with pytest.raises(
        ValueError, match=rf"last {last} frames of {small.CONTEXT}: allowed: 1 \.\. 4"
    ):
        draw_tau(2, small.CONTEXT, last, torch.Generator())


def test_a_run_that_never_jumps_may_have_a_context_below_the_default_targets() -> None:
    trainer = small.training(context=2, losses={"jump": 0.0, "jump_last": 3})
    assert trainer.advance()["loss/teacher"] > 0


@pytest.mark.parametrize("pattern", ["H", "U", "HH"])
@pytest.mark.parametrize("auxiliary", [0.0, 0.1])
@pytest.mark.parametrize("isolate", [True, False])
def test_writes_are_counted_that_the_pass_itself_reads_whatever_becomes_of_the_last(
    pattern: str, auxiliary: float, isolate: bool
) -> None:
    losses = Losses(auxiliary=auxiliary, isolate_state=isolate)
    records = lost(predictor(pattern=pattern), small.batch(), losses, TAU).records
    assert [len(of_block) for of_block in records] == [small.CONTEXT - 1] * len(pattern)


@pytest.mark.parametrize(("context", "writes"), [(1, 3), (2, 3), (4, 3)])
def test_the_last_prediction_of_a_rollout_writes_nothing(
    context: int, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    written = writing.written

    def counted(*given: object, **more: object) -> object:
        made.append(1)
        return written(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "written", counted)
    roll(predictor(pattern="H"), small.batch(), context, small.CONTEXT)
    assert len(made) == writes


def test_the_auxiliary_loss_of_a_first_chunk_is_the_same_at_every_interval() -> None:
    """Its value, and its gradients to all that it reaches: it reads memories as constants."""
    of = {}
    for interval in (0, 1, 2, 4):
        model = predictor(pattern="H", memories={"detach_interval": interval})
        aux = model(small.batch().inputs().first(1), auxiliary=True).aux
        aux.backward()
        reached = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        of[interval] = aux.detach(), {n: g for n, g in reached.items() if g.any()}
    value, expected = of.pop(1)
    assert {n.split(".")[4] for n in expected if ".memories." in n} == {"M_k", "M_v", "M_memory"}
    for other, found in of.values():
        assert torch.equal(other, value)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[n], expected[n]) for n in expected)
