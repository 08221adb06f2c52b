from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.utils import get_total_norm

from trainers.ep.penalise import modes, penalty_gradient
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


@pytest.mark.parametrize("homeostasis", [0.0, 0.05])
@pytest.mark.parametrize("scope", ["full", "self"])
def test_what_jacreg_adds_has_its_ratio_likewise_where_it_has_one(toy, scope, homeostasis):
    without = toy(homeostasis=homeostasis)
    with_it = toy(homeostasis=homeostasis, jacreg={"ratio": 0.1, "scope": scope})
    base, more = gradient(without), gradient(with_it)
    ratio = get_total_norm(minus(more.gradient, base.gradient)) / base.accepted_norm
    assert float(ratio) == pytest.approx(0.1, rel=1e-5)


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
    power = modes(t.params, t.settings, relaxed.z, 0).power
    alone = penalty_gradient(
        t.leaves, t.settings, t.idx, relaxed, step=0, jr=0.1, scale=2.0, hinged=power
    )
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


def test_a_gated_step_before_any_accepted_one_scales_penalties_by_the_clip(toy):
    t = toy(resreg=0.2, res_gate=1e-12, optimizer={"clip": 0.7})
    out = gradient(t)
    assert out.metrics["train/task_used"] == 0
    assert out.accepted_norm == 0
    assert out.norm == pytest.approx(0.2 * 0.7, rel=1e-5)


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


EVERYTHING = {
    "resreg": 0.2,
    "jacreg": {"weight": 0.1},
    "homeostasis": 0.05,
    "hinge": {"ratio": 0.3, "margin": 1.0},
}


@pytest.mark.parametrize("left_out", ["resreg", "hinge"])
@pytest.mark.parametrize("estimator", ["rbp", "bptt"])
def test_with_all_penalties_on_each_ratio_is_to_the_pure_task_gradient(toy, estimator, left_out):
    """The fifth of the documented bugs: the ratio was to a norm that held other penalties already."""
    common = {"estimator": estimator, "relaxation": ROUGH, "init_scale": 1.0}
    whole = toy(**common, **EVERYTHING)
    less = toy(**common, **{k: v for k, v in EVERYTHING.items() if k != left_out})
    pure = task_gradient(whole.leaves, whole.settings, whole.idx, whole.y).gradient
    added = minus(gradient(whole, jr=0.1).gradient, gradient(less, jr=0.1).gradient)
    expected = 0.2 if left_out == "resreg" else 0.3
    ratio = get_total_norm(added) / get_total_norm(pure[:-1])
    assert float(ratio) == pytest.approx(expected, rel=1e-5)


def test_with_all_penalties_on_the_total_is_the_sum_of_each_alone(toy):
    common = {"relaxation": ROUGH, "init_scale": 1.0}
    none = gradient(toy(**common)).gradient
    whole = minus(gradient(toy(**common, **EVERYTHING), jr=0.1).gradient, none)
    total = [torch.zeros_like(g) for g in none]
    for name, value in EVERYTHING.items():
        jr = 0.1 if name == "jacreg" else 0.0
        part = minus(gradient(toy(**common, **{name: value}), jr=jr).gradient, none)
        assert get_total_norm(part) > 0
        total = [a + b for a, b in zip(total, part, strict=True)]
    for ours, expected in zip(whole, total, strict=True):
        torch.testing.assert_close(ours, expected)


def test_homeostasis_adds_its_weight_times_the_gradient_of_the_asymmetry(toy):
    once, twice = (gradient(toy(homeostasis=w)) for w in (0.1, 0.2))
    none = gradient(toy()).gradient
    for a, b in zip(minus(once.gradient, none), minus(twice.gradient, none), strict=True):
        torch.testing.assert_close(2 * a, b)
    assert once.metrics["train/homeostasis"] == twice.metrics["train/homeostasis"] > 0


HINGE = {"ratio": 0.3, "margin": 1.0}


def counted(monkeypatch, name):
    """Counts the calls of a function of the penalties."""
    from trainers.ep import penalise

    calls = []
    function = getattr(penalise, name)
    monkeypatch.setattr(penalise, name, lambda *a, **k: calls.append(1) or function(*a, **k))
    return calls


@pytest.mark.parametrize("every", [1, 3])
def test_a_hinge_that_is_not_due_costs_nothing(toy, monkeypatch, every):
    t = toy(init_scale=1.0, hinge={**HINGE, "every": every})
    powers = counted(monkeypatch, "hinge_power")
    due = []
    for step in range(6):
        m = gradient(t, step=step).metrics
        due.append("train/hinge_active" in m)
    assert due == [(step + 1) % every == 0 for step in range(6)]
    assert len(powers) == sum(due)


def test_a_hinge_on_some_sequences_is_that_of_the_batch_of_these_alone(toy):
    t = toy(init_scale=1.0, hinge={**HINGE, "margin": 1.0, "sequences": 2})
    alone = toy(init_scale=1.0, hinge={**HINGE, "margin": 1.0})
    relaxed = equilibrium(t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)[1]
    some = modes(t.params, t.settings, relaxed.z, 0)
    same = modes(alone.params, alone.settings, relaxed.z[:2], 0)
    torch.testing.assert_close(some.power.growth, same.power.growth)
    assert some.power.active(t.settings.hinge).sum() > 0
    ours = penalty_gradient(
        t.leaves, t.settings, t.idx, relaxed, step=0, jr=0.0, scale=1.0, hinged=some.power
    )
    two = replace(relaxed, z_T1=relaxed.z_T1[:2], z_ref=relaxed.z_ref[:2])
    theirs = penalty_gradient(
        alone.leaves, alone.settings, t.idx[:2], two, step=0, jr=0.0, scale=1.0, hinged=same.power
    )
    for a, b in zip(ours.gradient, theirs.gradient, strict=True):
        torch.testing.assert_close(a, b)


def test_a_hinge_without_an_active_token_builds_no_graph(toy, monkeypatch):
    t = toy(hinge={**HINGE, "margin": 0.0})
    graphs = counted(monkeypatch, "hinge_penalty")
    m = gradient(t).metrics
    assert m["train/hinge_active"] == 0
    assert not graphs


def test_the_spectrum_is_estimated_every_so_often_and_the_hinge_does_it_for_free(toy, monkeypatch):
    t = toy(init_scale=1.0, spectrum={"estimate_every": 2}, hinge={**HINGE, "every": 4})
    powers = counted(monkeypatch, "hinge_power")
    seen = [gradient(t, step=step).metrics for step in range(4)]
    assert ["spectrum/estimate" in m for m in seen] == [False, True, False, True]
    assert len(powers) == 2
    assert seen[3]["spectrum/estimate"] == seen[3]["train/hinge_re_mu"]
    assert "train/hinge_active" not in seen[1]


def test_the_estimate_changes_nothing_that_is_trained(toy):
    with_it, without = toy(spectrum={"estimate_every": 1}), toy()
    a, b = gradient(with_it), gradient(without)
    assert all(torch.equal(x, y) for x, y in zip(a.gradient, b.gradient, strict=True))


def test_the_estimate_is_from_below_where_the_dominant_mode_is_real(toy):
    """||v + eps J v|| of a unit vector is at most ||I + eps J||, and near 1 + eps Re mu for a real mode."""
    from trainers.ep.abscissa import rightmost

    t = toy(init_scale=1.5, spectrum={"estimate_every": 1}, hinge={"power_steps": 400, "eps": 0.1})
    estimate = gradient(t).metrics["spectrum/estimate"]
    system, relaxed = equilibrium(t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)
    found = rightmost(system.linearise(relaxed.z))
    assert abs(found.im_mu) < 1e-9
    assert estimate == pytest.approx(found.re_mu, abs=1e-3)


def test_draws_for_different_purposes_differ():
    from trainers.ep.draws import Purpose, normal_like

    like = torch.empty(4)
    drawn = [normal_like(like, 0, 3, purpose) for purpose in Purpose]
    assert len({tuple(d.tolist()) for d in drawn}) == len(Purpose) >= 7
    again = [normal_like(like, 0, 3, purpose) for purpose in Purpose]
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_penalties_see_the_noise_of_the_force_that_relaxed(toy):
    """One realisation a step: the residual penalty at z_T1 is the residual that this noisy force left."""
    t = toy(resreg=0.2, fnoise=0.2, relaxation=ROUGH)
    m = gradient(t, step=3).metrics
    task = task_gradient(t.leaves, t.settings, t.idx, t.y, step=3)
    left = task.relaxed.r_T1 * task.relaxed.z_T1.flatten(1).norm(dim=1)
    assert m["train/resreg"] == pytest.approx(float(left.square().sum()), rel=1e-9)
