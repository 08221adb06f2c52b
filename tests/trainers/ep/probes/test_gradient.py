from __future__ import annotations

import pytest
import torch

from specs.trainer_ep import Estimator
from trainers.ep.block import Params
from trainers.ep.probes import gradient
from trainers.ep.probes.gradient import Options, conclusion, probe
from trainers.ep.probes.likeness import GROUPS, by_group, likeness

TIGHT = {"T1": 400, "t1max": 800, "tolerance": 1e-13}
"""A free phase that ends at the root itself, where exact and BPTT are the same gradient."""


@pytest.fixture
def settled(model):
    return model(init_scale=0.5, batch=2, relaxation=TIGHT)


def of(rows, estimator, part="estimator"):
    return [row for row in rows if row.estimator == estimator and row.part == part]


def test_at_the_root_bptt_is_the_exact_gradient(settled, said):
    (row,) = of(probe(settled, Options(t2=(), hr=()), said.append), "bptt")
    assert row.g < 1e-12
    assert row.cosine == pytest.approx(1.0, abs=1e-9)
    assert row.error < 1e-6


def test_the_reference_is_the_gradient_of_the_loss_at_the_root(settled):
    """A finite difference of the loss at the relaxed state along a random direction of the parameters."""
    reference = gradient.make_reference(settled)
    source = torch.Generator().manual_seed(0)
    along = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in settled.params[:-1]]

    def loss(h):
        moved = [p + h * d for p, d in zip(settled.params[:-1], along, strict=True)]
        m = settled.with_params(Params(*moved, settled.params.W_h))
        logits = m.relaxed.z @ m.params.W_h
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), m.y.flatten())

    h = 1e-5
    slope = float(loss(h) - loss(-h)) / (2 * h)
    product = sum(float((g * d).sum()) for g, d in zip(reference.exact, along, strict=True))
    assert slope == pytest.approx(product, rel=1e-5)


def test_the_error_falls_with_T2_until_the_radius_limits_it(settled, said):
    rows = probe(settled, Options(t2=(5, 20, 80, 160), hr=(0.002, 0.1)), said.append)
    small = [row.error for row in of(rows, "ep", "sweep") if row.hr == 0.002]
    large = [row.error for row in of(rows, "ep", "sweep") if row.hr == 0.1]
    assert small[0] > small[1] > small[2]
    assert small[-1] < 1e-4 < large[-1]


def test_nothing_is_concluded_about_the_radius_from_unconverged_adjoints(settled, said):
    rows = probe(settled, Options(t2=(1,), hr=(0.01, 0.05)), said.append)
    assert not any(row.converged for row in of(rows, "ep", "sweep"))
    assert all("unconverged" in row.finding for row in of(rows, "ep", "sweep"))
    last = rows[-1]
    assert last.part == "conclusion"
    assert last.converged is False
    assert last.finding.startswith("no conclusion about hr: 2 of 2 adjoints are unconverged")


def test_one_unconverged_radius_is_enough_to_refuse(settled, said):
    rows = of(probe(settled, Options(t2=(80,), hr=(0.005, 0.02)), said.append), "ep", "sweep")
    assert "relative error" in conclusion("parameters", rows).finding
    one_lost = [rows[0], type(rows[1])(**{**vars(rows[1]), "converged": False})]
    assert "no conclusion" in conclusion("parameters", one_lost).finding


def test_one_radius_says_nothing_about_the_radius(settled, said):
    rows = probe(settled, Options(t2=(80,), hr=(0.01,)), said.append)
    assert rows[-1].finding == "no conclusion about hr: there is one radius only"


def test_every_estimator_is_measured_in_every_group(settled, said):
    rows = probe(settled, Options(t2=(), hr=()), said.append)
    assert {row.estimator for row in rows} == {estimator.value for estimator in Estimator}
    for row in rows:
        assert set(row.groups) == {"QKVO", "FFN", "LN", "E", "pos"}
        assert all(group.cosine > 0.9 for group in row.groups.values())


@pytest.mark.parametrize(("given", "measured"), [(2, 4), (4, 4), (8, 8)])
def test_holomorphic_is_measured_with_four_points_at_least(model, said, given, measured):
    of_run = {"points": given, "radius": 0.01, "max_steps": 80}
    estimator = "ep" if given == 2 else "holomorphic"
    block = model(init_scale=0.5, batch=2, relaxation=TIGHT, adjoint=of_run, estimator=estimator)
    rows = probe(block, Options(t2=(), hr=()), said.append)
    (two,), (circle,) = of(rows, "ep"), of(rows, "holomorphic")
    assert (two.points, circle.points) == (2, measured)
    assert circle.error < two.error


def test_a_circle_that_was_left_is_told(model, said):
    wide = {"points": 4, "radius": 0.5, "max_steps": 80}
    block = model(init_scale=1.0, batch=2, relaxation=TIGHT, adjoint=wide, estimator="holomorphic")
    (circle,) = of(probe(block, Options(t2=(), hr=()), said.append), "holomorphic")
    assert "a phase left its circle" in circle.finding


def test_a_tail_of_all_steps_is_bptt_itself(model, said):
    block = model(
        init_scale=0.5, batch=2, relaxation={"T1": 20, "t1max": 20}, tail=20, estimator="bptt_tail"
    )
    (tail,) = of(probe(block, Options(t2=(), hr=()), said.append), "bptt_tail")
    assert tail.t2 == 20
    assert tail.error_bptt == pytest.approx(0.0, abs=1e-12)


def test_the_groups_hold_every_parameter_of_the_force_once():
    members = [name for names in GROUPS.values() for name in names]
    assert sorted(members) == sorted(Params._fields[:-1])


def test_a_group_that_is_wrong_is_named(settled):
    exact = gradient.make_reference(settled).exact
    wrong = tuple(
        -g if name == "W_1" else g for name, g in zip(Params._fields, exact, strict=False)
    )
    groups = by_group(wrong, exact)
    assert groups["FFN"].cosine < 0.99
    assert groups["QKVO"].error == 0.0


def test_likeness_of_a_scaled_gradient_has_cosine_one_and_its_error():
    a = [torch.tensor([3.0, 4.0]), torch.tensor([[1.0]])]
    found = likeness([1.1 * t for t in a], a)
    assert (found.cosine, found.error) == pytest.approx((1.0, 0.1))


def test_without_a_converged_reference_there_is_no_row(settled, monkeypatch):
    monkeypatch.setattr(gradient, "_MOST_APPLICATIONS", 3)
    with pytest.raises(ValueError, match=r"no reference: GMRES leaves r_adj .* wanted"):
        gradient.make_reference(settled)


@pytest.mark.parametrize(
    ("fields", "says"), [({"t2": (10, 0)}, "t2 are"), ({"hr": (0.0,)}, "hr are"), ({"hr": (1.5,)}, "hr are")]
)  # fmt: skip
def test_a_sweep_out_of_bounds_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        Options(**fields)
