"""Laws of the proved search: the same answer as all eigenvalues, bounds that hold, few decompositions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.ep import abscissa
from trainers.ep.linearise import linearise
from trainers.ep.spectrum import eigenvalues, rightmost_of, self_blocks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("init_scale", [0.1, 1.0, 3.0])
def test_the_search_finds_what_all_eigenvalues_show(toy, seed, init_scale):
    t = toy(seed, init_scale=init_scale, batch=2, context=9, width=16)
    J = linearise(t.block, t.fixed_point())
    found, all_of_them = abscissa.rightmost(J), rightmost_of(eigenvalues(J))
    assert found.re_mu == pytest.approx(all_of_them.re_mu, abs=1e-10)
    assert found.im_mu == pytest.approx(all_of_them.im_mu, abs=1e-10)
    assert (found.sequence, found.token) == (all_of_them.sequence, all_of_them.token)


def test_the_search_decomposes_few_of_many_tokens(toy):
    t = toy(init_scale=1.0, batch=4, context=24, width=32)
    seen = abscissa.extent(linearise(t.block, t.fixed_point()))
    assert seen.blocks == 96
    assert seen.decomposed <= 10


def test_equal_blocks_are_all_looked_at_and_agree(toy):
    t = toy(damping=0.5)
    silent = replace(t.block, W_out=torch.zeros_like(t.block.W_out))
    seen = abscissa.extent(linearise(silent, t.x))
    assert seen.rightmost.re_mu == -1.5


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.floats(0.01, 50),
    st.floats(-100, 100),
    st.integers(0, 2**32 - 1),
)
def test_a_bound_is_never_left_of_an_eigenvalue(n, size, centre, seed):
    source = torch.Generator().manual_seed(seed)
    A = size * torch.randn(3, n, n, generator=source, dtype=torch.float64)
    A = A + centre * torch.eye(n, dtype=torch.float64)
    bounds = abscissa.upper_bounds(A, -torch.inf)
    true = torch.linalg.eigvals(A).real.amax(-1)
    assert bool((bounds >= true - 1e-9 * size).all())


def test_a_strongly_non_normal_block_is_bounded_sharply_where_its_numerical_abscissa_is_useless():
    A = torch.full((1, 6, 6), 50.0, dtype=torch.float64).triu(1) - torch.eye(6, dtype=torch.float64)
    numerical = torch.linalg.eigvalsh((A + A.mT) / 2).max()
    assert numerical > 50
    assert -1 <= float(abscissa.upper_bounds(A, -torch.inf)) < -0.9


def test_a_block_that_is_no_number_is_not_left_out():
    A = torch.zeros(2, 3, 3, dtype=torch.float64)
    A[1, 0, 0] = torch.nan
    assert not bool((abscissa.upper_bounds(A, 1.0) <= 1.0)[1])


def test_self_blocks_in_single_precision_are_judged_in_double(toy):
    t = toy(init_scale=1.0)
    J = linearise(t.block, t.fixed_point())
    exact = rightmost_of(eigenvalues(J)).re_mu
    rounded = abscissa.upper_bounds(self_blocks(J).flatten(0, 1).float(), -torch.inf)
    assert rounded.dtype == torch.float64
    assert float(rounded.max()) >= exact - 1e-5
