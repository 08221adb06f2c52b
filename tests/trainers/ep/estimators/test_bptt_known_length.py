from __future__ import annotations

import pytest
import torch

from trainers.ep.estimators.bptt import assembled, bptt, known_length, of_known_length
from trainers.ep.relax import RelaxPolicy

KNOWN = [
    {"objective": "finite_T", "relaxation": {"T1": 7, "t1max": 30}},
    {"relaxation": {"T1": 9, "t1max": 9, "tolerance": 1e-12}},
    {"relaxation": {"T1": 200, "t1max": 200, "tolerance": 1e-2}},
    {"relaxation": {"T1": 9, "t1max": 9, "adaptive": True}},
]
OPEN = [
    {"relaxation": {"T1": 5, "t1max": 23}},
    {"relaxation": {"T1": 9, "t1max": 9, "solver": "anderson"}},
]


@pytest.mark.parametrize("fields", KNOWN)
def test_of_known_length_it_is_bptt(toy, fields):
    t = toy(estimator="bptt", **fields)
    policy = RelaxPolicy.of(t.settings)
    whole = bptt(t.leaves, t.settings, policy, t.idx, t.y)
    found = assembled(of_known_length(t.leaves, t.settings, policy, t.idx, t.y), policy)
    assert known_length(policy)
    assert (found.relaxed.steps, found.relaxed.hit_cap) == (
        whole.relaxed.steps,
        whole.relaxed.hit_cap,
    )
    for name in ("z_T1", "z_ref", "r_T1", "r_ref"):
        torch.testing.assert_close(getattr(found.relaxed, name), getattr(whole.relaxed, name))
    torch.testing.assert_close(found.ce, whole.ce)
    for a, b in zip(found.gradient, whole.gradient, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fields", OPEN)
def test_where_the_residual_decides_the_length_is_not_known(toy, fields):
    assert not known_length(RelaxPolicy.of(toy(estimator="rbp", **fields).settings))
