from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.utils import get_total_norm

from trainers.ep.estimators import bptt as bptt_module
from trainers.ep.estimators.bptt import bptt
from trainers.ep.estimators.bptt_tail import bptt_tail
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import task_gradient

POLICIES = [
    {"objective": "finite_T", "relaxation": {"T1": 7, "t1max": 7}},
    {"relaxation": {"T1": 5, "t1max": 23, "tolerance": 1e-12}},
    {"relaxation": {"T1": 5, "t1max": 23, "tolerance": 1e-12, "adaptive": True}},
]


def both(t):
    policy = RelaxPolicy.of(t.settings)
    return tuple(
        estimator(t.leaves, t.settings, policy, t.idx, t.y) for estimator in (bptt, bptt_tail)
    )


def distance(a, b):
    gap = get_total_norm([x - y for x, y in zip(a, b, strict=True)])
    return float(gap / get_total_norm(b))


@pytest.mark.parametrize(
    "fields", [*POLICIES, {"relaxation": {"T1": 5, "t1max": 90, "tolerance": 1e-4}}]
)
def test_a_tail_of_all_steps_is_bptt(toy, fields):
    """Also where the tolerance comes before t1max, so that there are fewer steps than the tail is long."""
    whole, part = both(toy(estimator="bptt_tail", tail=fields["relaxation"]["t1max"], **fields))
    assert whole.relaxed.steps == part.relaxed.steps
    torch.testing.assert_close(whole.ce, part.ce)
    for a, b in zip(whole.gradient, part.gradient, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fields", POLICIES)
@pytest.mark.parametrize("tail", [1, 6])
def test_the_loss_is_taken_at_the_same_state_whatever_the_tail(toy, fields, tail):
    whole, part = both(toy(estimator="bptt_tail", tail=tail, **fields))
    torch.testing.assert_close(whole.ce, part.ce)
    torch.testing.assert_close(whole.relaxed.z, part.relaxed.z)
    assert distance(part.gradient, whole.gradient) > 1e-3


def test_at_a_tight_equilibrium_the_gradient_tends_to_the_exact_one_as_the_tail_grows(toy):
    tight = {"T1": 300, "t1max": 2000, "tolerance": 1e-12, "eps": 0.1}
    t = toy(estimator="exact", relaxation=tight, adjoint={"tolerance": 1e-11, "max_steps": 400})
    exact = task_gradient(t.leaves, t.settings, t.idx, t.y).gradient
    errors = []
    for tail in (5, 20, 80, 200):
        t = toy(estimator="bptt_tail", relaxation=tight, tail=tail)
        errors.append(distance(task_gradient(t.leaves, t.settings, t.idx, t.y).gradient, exact))
    assert all(later < 0.5 * sooner for sooner, later in itertools.pairwise(errors))
    assert errors[-1] < 1e-5


@pytest.mark.parametrize("estimator", ["bptt", "bptt_tail"])
@pytest.mark.parametrize("fields", POLICIES)
def test_recomputed_steps_give_the_same_gradient(toy, monkeypatch, estimator, fields):
    t = toy(estimator=estimator, tail=6, **fields)
    whole = task_gradient(t.leaves, t.settings, t.idx, t.y).gradient
    per_step = bptt_module.graph_bytes_per_step(t.settings)
    monkeypatch.setattr(bptt_module, "GRAPH_BYTES", 2 * per_step)
    for a, b in zip(task_gradient(t.leaves, t.settings, t.idx, t.y).gradient, whole, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("estimator", [bptt, bptt_tail])
def test_what_has_no_graph_is_refused(toy, estimator):
    """Differentiated without a word, Anderson's mixtures would give a gradient of zero."""
    t = toy(relaxation={"solver": "anderson"})
    with pytest.raises(ValueError, match=r"relaxation\.solver is anderson"):
        estimator(t.leaves, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)
