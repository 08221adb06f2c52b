from __future__ import annotations

import pytest
import torch
from torch.nn.utils import get_total_norm

from trainers.ep.penalise import penalty_gradient
from trainers.ep.relax import RelaxPolicy
from trainers.ep.step import step_gradient
from trainers.ep.task import equilibrium, task_gradient

ROUGH = {"T1": 4, "t1max": 12, "tolerance": 1e-9}


def gradient(t, *, jr=0.0, accepted_norm=0.0, step=0):
    return step_gradient(
        t.leaves, t.settings, t.idx, t.y, step=step, jr=jr, accepted_norm=accepted_norm
    )


def minus(a, b):
    return tuple(x - y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("jacreg", [0.0, 0.1])
@pytest.mark.parametrize("estimator", ["rbp", "ep", "bptt"])
def test_what_resreg_adds_has_its_ratio_to_the_pure_task_gradient(toy, estimator, jacreg):
    common = {"estimator": estimator, "relaxation": ROUGH}
    without = toy(**common, jacreg={"weight": jacreg})
    with_it = toy(**common, jacreg={"weight": jacreg}, resreg=0.2)
    pure = task_gradient(without.leaves, without.settings, without.idx, without.y).gradient
    added = minus(gradient(with_it, jr=jacreg).gradient, gradient(without, jr=jacreg).gradient)
    ratio = get_total_norm(added) / get_total_norm(pure[:-1])
    assert float(ratio) == pytest.approx(0.2, rel=1e-5)


def test_what_the_hinge_adds_has_its_ratio_likewise(toy):
    without = toy(init_scale=1.0)
    with_it = toy(init_scale=1.0, hinge={"ratio": 0.3, "margin": 1.0})
    base, more = gradient(without), gradient(with_it)
    assert more.metrics["train/hinge_active"] > 0
    ratio = get_total_norm(minus(more.gradient, base.gradient)) / base.accepted_norm
    assert float(ratio) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("gate", [{"res_gate": 1e-9}, {"adjoint": {"gate": 1e-9, "max_steps": 3}}])
def test_a_gate_drops_the_task_part_only(toy, gate):
    penalties = {"resreg": 0.2, "jacreg": {"weight": 0.1}, "hinge": {"ratio": 0.3, "margin": 1.0}}
    t = toy(relaxation=ROUGH, init_scale=1.0, **penalties, **gate)
    out = gradient(t, jr=0.1, accepted_norm=2.0)
    relaxed = equilibrium(t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)[1]
    alone = penalty_gradient(t.leaves, t.settings, t.idx, relaxed, step=0, jr=0.1, scale=2.0)
    assert out.metrics["train/task_used"] == 0
    assert out.accepted_norm == 2.0
    assert get_total_norm(alone.gradient) > 0
    for ours, expected in zip(out.gradient, alone.gradient, strict=False):
        torch.testing.assert_close(ours, expected)
    assert not out.gradient[-1].any()


def test_a_step_within_its_gates_uses_the_task_and_remembers_its_norm(toy):
    t = toy(res_gate=1e9, adjoint={"gate": 1e9})
    out = gradient(t, accepted_norm=2.0)
    pure = task_gradient(t.leaves, t.settings, t.idx, t.y).gradient
    assert out.metrics["train/task_used"] == 1
    assert out.accepted_norm == pytest.approx(float(get_total_norm(pure[:-1])))
    assert out.metrics["train/task_grad_norm"] == out.accepted_norm


def test_a_gated_step_before_any_accepted_one_scales_penalties_to_nothing(toy):
    t = toy(resreg=0.2, res_gate=1e-12)
    assert get_total_norm(gradient(t).gradient) == 0


@pytest.mark.parametrize("estimator", ["rbp", "ep", "bptt"])
def test_every_parameter_gets_a_gradient(toy, estimator):
    t = toy(estimator=estimator)
    out = task_gradient(t.leaves, t.settings, t.idx, t.y)
    for name, g, p in zip(t.params._fields, out.gradient, t.params, strict=True):
        assert g.shape == p.shape
        assert g.isfinite().all()
        assert g.norm() > 0, name
    unused = set(range(11)) - set(t.idx.flatten().tolist())
    assert not out.gradient[0][sorted(unused)].any()


def test_named_metrics_show_their_own_residual(toy):
    t = toy(relaxation={"T1": 3, "t1max": 400, "tolerance": 1e-8}, adjoint={"tolerance": 1e-3})
    m = gradient(t).metrics
    task = task_gradient(t.leaves, t.settings, t.idx, t.y)
    assert m["residual/T1"] == pytest.approx(float(task.relaxed.r_T1.mean()))
    assert m["residual/refined"] == pytest.approx(float(task.relaxed.r_ref.mean()))
    assert m["residual/adjoint"] == pytest.approx(float(task.adjoint.r_adj.mean()))
    assert m["residual/T1"] > 1e3 * m["residual/refined"]
    assert m["relax/steps"] == task.relaxed.steps
    assert m["relax/hit_cap"] == 0
    assert m["adjoint/steps"] == task.adjoint.steps
    assert m["adjoint/converged"] == 1


def test_what_does_not_exist_is_not_reported(toy):
    finite = gradient(toy(objective="finite_T")).metrics
    assert "residual/refined" not in finite
    twin = gradient(toy(estimator="bptt")).metrics
    assert not [k for k in twin if k.startswith("adjoint/") or k == "residual/adjoint"]
    assert not [k for k in twin if k in ("train/jr", "train/resreg", "train/hinge_active")]


def test_penalties_act_on_the_twin_too(toy):
    t = toy(estimator="bptt", resreg=0.2, jacreg={"weight": 0.1})
    m = gradient(t, jr=0.1).metrics
    assert m["train/jr"] == 0.1
    assert m["train/resreg"] > 0


def test_draws_depend_on_seed_and_step_alone(toy):
    t = toy(jacreg={"weight": 0.1})
    first, again, later = (gradient(t, jr=0.1, step=s).gradient for s in (4, 4, 5))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[6], later[6])


def test_bptt_in_recomputed_segments_gives_the_same_gradient(toy, monkeypatch):
    from trainers.ep.estimators import bptt as module

    t = toy(estimator="bptt", relaxation=ROUGH)
    whole = gradient(t).gradient
    per_step = module.graph_bytes_per_step(t.settings)
    monkeypatch.setattr(module, "GRAPH_BYTES", 3 * per_step)
    for a, b in zip(gradient(t).gradient, whole, strict=True):
        torch.testing.assert_close(a, b)
