"""Laws of the probe jump: whose prediction is nearest to which frame."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.hope.small import CONTEXT
from trainers.hope import judge
from trainers.hope.probes import jump
from trainers.hope.probes.jump import Options, Seen, rows_of


def found(E: torch.Tensor) -> Seen:
    ones = torch.ones(len(E), dtype=torch.float64)
    return Seen(E=E, copy=4 * ones, blind=2 * ones, own=ones, clips=3)


def test_a_matrix_smallest_on_its_diagonal_is_said_to_be_so():
    E = 2.0 - torch.eye(4, dtype=torch.float64)
    *rows, whole = rows_of(found(E), 4)
    assert [(r.best_target, r.best_prediction) for r in rows] == [(t, t) for t in (1, 2, 3, 4)]
    assert "4 rows and 4 columns are smallest on the diagonal" in whole.finding
    assert "0.25 x that of copying frame 0 and 0.50 x that of the mean" in whole.finding


def test_predictions_in_the_wrong_order_are_named_row_by_row():
    E = 2.0 - torch.eye(3, dtype=torch.float64)[[1, 0, 2]]
    first, second, third, whole = rows_of(found(E), 3)
    assert "nearer to frame 2" in first.finding
    assert "the prediction for 1 is nearer" in second.finding
    assert third.finding == "smallest on its diagonal"
    assert "1 rows and 1 columns" in whole.finding


def test_only_taus_that_training_draws_count():
    E = torch.ones(3, 3, dtype=torch.float64) - 0.5 * torch.diag(torch.tensor([0.0, 1, 1]).double())
    *rows, whole = rows_of(found(E), 2)
    assert [row.trained for row in rows] == [False, True, True]
    assert whole.error == pytest.approx(0.5)


def test_a_model_without_a_target_embedding_makes_one_prediction_for_all(probed, said):
    _, opened = probed()
    *rows, whole = jump.probe(opened, Options(), None, said.append)
    assert len({row.errors for row in rows}) == 1
    assert "the target time is not used" in whole.finding


@pytest.mark.parametrize("isolated", [True, False])
def test_the_error_of_trained_taus_is_the_jump_of_the_validation(isolated, probed, said):
    _, opened = probed(
        2, model={"temporal_embeddings": True}, losses={"isolate_state": isolated}, batch=8
    )
    (batch,) = opened.unlearnt(None)
    there = judge.validation(opened.model, batch, opened.settings.losses)["jump"]
    *rows, whole = jump.probe(opened, Options(), None, said.append)
    assert whole.error == pytest.approx(float(there), rel=1e-6)
    assert len(rows) == CONTEXT


def test_the_mean_of_the_targets_and_the_copy_are_what_they_are_called(probed, said):
    _, opened = probed(batch=8)
    (batch,) = opened.unlearnt(None)
    frames = opened.model.normalise(batch.features).double()
    row = jump.probe(opened, Options(), None, said.append)[1]
    assert row.copy == pytest.approx(float((frames[:, 0] - frames[:, 2]).abs().mean()))
    mean = frames[:, 1:].mean(1)
    assert row.blind == pytest.approx(float((mean - frames[:, 2]).abs().mean()))


def test_every_task_of_a_protocol_gives_clips_that_nothing_learns_from(probed, said):
    _, opened = probed(
        continual={"tasks": ["scaling"], "base_epochs": 1, "task_epochs": 1, "held_out": 4}
    )
    assert jump.probe(opened, Options(), None, said.append)[-1].clips == 8
    assert jump.probe(opened, Options(), 2, said.append)[-1].clips == 2
