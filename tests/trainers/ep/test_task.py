"""The estimators inside training: all wired, all gated, all repeatable."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specs.trainer_ep import EpTrainer, Estimator, Solver
from trainers.ep.draws import drawn_T1
from trainers.ep.relax import RelaxPolicy
from trainers.ep.step import step_gradient
from trainers.ep.task import ADJOINT, UNROLLED, equilibrium, task_gradient
from trainers.ep.trainer import build

EVERY = [
    {"estimator": "rbp"},
    {"estimator": "ep", "adjoint": {"anchor": "frozen"}},
    {"estimator": "holomorphic", "adjoint": {"points": 4}},
    {"estimator": "holomorphic", "adjoint": {"points": 8, "radius": 0.01}},
    {"estimator": "exact"},
    {"estimator": "exact", "adjoint": {"precision": "float64", "tolerance": 1e-6}},
    {"estimator": "bptt_tail", "tail": 10},
    {"estimator": "rbp", "relaxation": {"T1": 20, "t1max": 40, "solver": "anderson"}},
    {
        "estimator": "rbp",
        "relaxation": {"T1": 20, "t1max": 40, "adaptive": True, "tolerance": 1e-6},
    },
    {"estimator": "bptt", "relaxation": {"T1": 10, "t1max": 30, "random_T1": [5, 20]}},
    {"estimator": "ep", "fnoise": 0.1, "adjoint": {"average": 2}},
]


def described(fields):
    return " ".join(str(v) for v in fields.values())


def step_of(t, step=0):
    return step_gradient(t.leaves, t.settings, t.idx, t.y, step=step, jr=0.0, accepted_norm=0.0)


def test_every_estimator_that_can_be_asked_for_is_there():
    assert ADJOINT.keys() | UNROLLED == set(Estimator)
    assert not ADJOINT.keys() & UNROLLED


@pytest.mark.parametrize("fields", EVERY, ids=described)
def test_every_estimator_trains_and_reports_what_is_declared(settings, text, fields):
    trainer = build(settings(**fields, optimizer={"lr": 3e-2, "warmup": 2}), text())
    before = trainer.evaluate()["val/ce"]
    for _ in range(10):
        metrics = trainer.advance()
    assert metrics["train/task_used"] == 1
    assert trainer.evaluate()["val/ce"] < before - 0.05
    assert set(metrics) <= set(EpTrainer.METRICS)
    assert ("adjoint/fell_back" in metrics) == (fields["estimator"] == "holomorphic")
    assert ("relax/eps_min" in metrics) == bool(fields.get("relaxation", {}).get("adaptive"))


@pytest.mark.parametrize("fields", EVERY, ids=described)
def test_every_parameter_gets_a_gradient(toy, fields):
    t = toy(**fields)
    out = task_gradient(t.leaves, t.settings, t.idx, t.y, step=0)
    for name, g, p in zip(t.params._fields, out.gradient, t.params, strict=True):
        assert g.shape == p.shape
        assert g.isfinite().all()
        assert g.norm() > 0, name


@pytest.mark.parametrize("estimator", ["rbp", "ep", "holomorphic", "exact"])
def test_a_gradient_from_an_unconverged_adjoint_is_taken_only_where_the_gate_allows(toy, estimator):
    few = {"max_steps": 4, "tolerance": 1e-9}
    for gate, used in ((1e-9, 0), (1e9, 1)):
        metrics = step_of(toy(estimator=estimator, adjoint=few | {"gate": gate})).metrics
        assert metrics["adjoint/converged"] == 0
        assert metrics["train/task_used"] == used


def test_a_random_T1_belongs_to_its_step_and_to_training_only(toy):
    t = toy(relaxation={"T1": 9, "t1max": 40, "random_T1": [3, 6], "tolerance": 1e9})
    lengths = [step_of(t, step).metrics["relax/steps"] for step in range(40)]
    assert lengths == [step_of(t, step).metrics["relax/steps"] for step in range(40)]
    assert set(lengths) == {3, 4, 5, 6}
    assert task_gradient(t.leaves, t.settings, t.idx, t.y).relaxed.steps == 9
    assert drawn_T1(t.settings, None) == 9


def test_without_random_T1_every_step_has_the_same(toy):
    assert {drawn_T1(toy().settings, step) for step in (None, 0, 7)} == {20}


@pytest.mark.parametrize("fields", [EVERY[9], EVERY[10]], ids=described)
def test_what_a_step_draws_does_not_depend_on_what_was_before(settings, text, fields):
    straight, first, second = (build(settings(**fields), text()) for _ in range(3))
    expected = [straight.advance() for _ in range(6)]
    found = [first.advance() for _ in range(3)]
    second.restore(first.snapshot())
    assert found + [second.advance() for _ in range(3)] == expected


@pytest.mark.parametrize("fields", [EVERY[7], EVERY[8]], ids=described)
def test_training_and_validation_relax_by_one_policy(toy, fields):
    t = toy(**fields)
    trained = task_gradient(t.leaves, t.settings, t.idx, t.y, step=0).relaxed
    evaluated = equilibrium(t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)[1]
    assert trained.steps == evaluated.steps
    torch.testing.assert_close(trained.z, evaluated.z)


def test_penalties_see_the_noise_of_their_step(toy):
    """The residual penalty of a noisy root is zero for its own realisation, and for no other force."""
    t = toy(fnoise=0.3, resreg=0.2, relaxation={"T1": 300, "t1max": 400, "eps": 0.3})
    assert step_of(t).metrics["train/resreg"] < 1e-12


def test_an_adaptive_step_of_another_solver_is_refused(toy):
    policy = RelaxPolicy.of(toy().settings)
    with pytest.raises(ValueError, match="solver anderson would ignore it"):
        replace(policy, solver=Solver.ANDERSON, adaptive=True)
