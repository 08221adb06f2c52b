from __future__ import annotations

import math

import hypothesis
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from specs.files import BadCheckpoint
from specs.trainer_ep import EpTrainer
from trainers.ep.block import init
from trainers.ep.caps import CAPPED, cap_, matrix_norms, read_norms
from trainers.ep.trainer import build


def scaled(params, factors):
    return params._replace(**{name: factors[name] * getattr(params, name) for name in factors})


@hypothesis.settings(deadline=None)
@given(factors=st.lists(st.floats(0.1, 10), min_size=6, max_size=6), cap=st.floats(0.5, 4))
def test_no_matrix_stays_above_its_cap_and_none_below_is_touched(toy_params, factors, cap):
    initial = matrix_norms(toy_params)
    grown = scaled(toy_params, dict(zip(CAPPED, factors, strict=True)))
    before = {name: getattr(grown, name).clone() for name in grown._fields}
    assume(not any(math.isclose(f, cap) for f in factors))
    fraction = float(cap_(grown, initial, cap))
    over = {name for name, f in zip(CAPPED, factors, strict=True) if f > cap}
    for name, t in grown._asdict().items():
        if name in over:
            assert float(t.norm()) == pytest.approx(cap * initial[name], rel=1e-9)
            direction = before[name] / before[name].norm()
            torch.testing.assert_close(t / t.norm(), direction)
        else:
            assert torch.equal(t, before[name])
    assert fraction == pytest.approx(len(over) / 6)


@pytest.fixture(scope="module")
def toy_params():
    settings = EpTrainer(kind="ep", width=8, heads=2, context=5)
    return init(settings, 11, torch.Generator().manual_seed(0), torch.float64)


def test_a_capped_run_never_outgrows_its_start_and_says_how_much_was_cut(settings, text):
    trainer = build(settings(weight_cap=1.001, optimizer={"lr": 5e-2, "warmup": 0}), text())
    start = matrix_norms(trainer.params)
    for _ in range(5):
        metrics = trainer.advance()
        for name, norm in matrix_norms(trainer.params).items():
            assert norm <= 1.001 * start[name] * (1 + 1e-6)
    assert 0 < metrics["train/capped"] <= 1
    assert "train/capped" not in build(settings(), text()).advance()


def test_the_norms_of_the_start_survive_a_resume(settings, text):
    """A resumed run is capped by the norms of step 0, not by those that it found."""
    first = build(settings(optimizer={"lr": 5e-2, "warmup": 0}), text())
    start = matrix_norms(first.params)
    for _ in range(4):
        first.advance()
    assert matrix_norms(first.params)["W_O"] > 1.01 * start["W_O"]
    second = build(settings(weight_cap=1.0), text())
    second.restore(first.snapshot())
    second.advance()
    for name, norm in matrix_norms(second.params).items():
        assert norm <= start[name] * (1 + 1e-6), name


def test_a_warm_start_is_a_new_start_for_the_caps(settings, text):
    donor = build(settings(optimizer={"lr": 5e-2, "warmup": 0}), text())
    for _ in range(4):
        donor.advance()
    taker = build(settings(weight_cap=1.0), text())
    taker.warm_start(donor.snapshot())
    assert taker.snapshot().scalars["initial_norms"] == matrix_norms(donor.params)


@pytest.mark.parametrize("stored", [None, {}, {"W_Q": 1.0}, dict.fromkeys((*CAPPED, "E"), 1.0)])
def test_initial_norms_of_other_matrices_are_refused(stored):
    with pytest.raises(BadCheckpoint, match="initial_norms"):
        read_norms(stored)
