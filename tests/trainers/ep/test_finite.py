from __future__ import annotations

import math

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.ep.trainer import build
from trainers.finite import blame, culprits
from trainers.host import to_host
from trainers.protocol import NonFinite


def test_the_culprit_is_named_with_its_count_and_its_first_place():
    bad = torch.zeros(3, 4)
    bad[1, 2] = math.nan
    bad[2, 0] = math.inf
    assert culprits([("W_Q", bad), ("W_K", torch.ones(2))]) == [
        "W_Q holds 2 NaN of 12, the first at [1, 2]"
    ]
    infinite = torch.tensor([0.0, -math.inf])
    assert culprits([("b_1", infinite)]) == ["b_1 holds 1 infinite values of 2, the first at [1]"]
    assert "finite" in blame([("W_K", torch.ones(2))])


@hypothesis.settings(deadline=None)
@given(values=st.dictionaries(st.text(max_size=3), st.floats(width=32), max_size=6), split=st.integers(0, 6))  # fmt: skip
def test_numbers_reach_the_host_as_they_are(values, split):
    names = list(values)
    mixed = {n: v if i < split else torch.tensor(v) for i, (n, v) in enumerate(values.items())}
    found = to_host(mixed)
    assert list(found) == names
    assert all(found[n] == v or (math.isnan(found[n]) and math.isnan(v)) for n, v in values.items())


@pytest.mark.parametrize("name", ["E", "pos", "ln1_gain", "W_Q", "b_1", "W_h"])
def test_a_parameter_that_is_no_number_ends_the_run_by_its_name(settings, text, name):
    trainer = build(settings(), text())
    trainer.advance()
    with torch.no_grad():
        getattr(trainer.params, name).view(-1)[-1] = math.nan
    before = {n: t.detach().clone() for n, t in trainer.ema._asdict().items()}
    with pytest.raises(NonFinite, match=rf"in training step 2: .*the parameter {name} holds 1 NaN"):
        trainer.advance()
    assert all(torch.equal(t, before[n]) for n, t in trainer.ema._asdict().items())
    assert trainer.step == 1


def test_a_row_that_no_token_reads_is_noticed_all_the_same(settings, text):
    """Loss and gradient are finite then: only a look at the parameters themselves can tell."""
    trainer = build(settings(), text(vocabulary=12))
    trainer._data = text(vocabulary=11)
    with torch.no_grad():
        trainer.params.E[11] = math.inf
    with pytest.raises(NonFinite, match=r"norm of the parameters is inf .* E holds 8 infinite"):
        trainer.advance()


def test_a_blown_up_state_is_named_when_the_parameters_are_not_to_blame(settings, text):
    trainer = build(settings(relaxation={"eps": 1.0, "T1": 400, "t1max": 400}), text())
    with torch.no_grad():
        trainer.params.W_2.mul_(1e30)
        trainer.params.W_O.mul_(1e30)
    with pytest.raises(NonFinite, match=r"the (refined )?state"):
        for _ in range(3):
            trainer.advance()


def test_what_a_failed_step_measured_is_under_the_metrics_own_name(settings, text):
    trainer = build(settings(), text())
    with torch.no_grad():
        trainer.params.W_h[0, 0] = math.nan
    with pytest.raises(NonFinite) as caught:
        trainer.advance()
    assert list(caught.value.metrics) == ["train/ce"]
