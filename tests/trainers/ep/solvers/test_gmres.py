from __future__ import annotations

import pytest
import torch

from trainers.ep.norms import per_sequence_norm
from trainers.ep.solvers.arnoldi import PlainArnoldi
from trainers.ep.solvers.gmres import gmres

B, T, C = 3, 4, 5
N = T * C


def matrices(spread=3.0, seed=0, dtype=torch.float64):
    """Non-normal, well away from singular."""
    source = torch.Generator().manual_seed(seed)
    raw = torch.randn(B, N, N, generator=source, dtype=torch.float64) / N**0.5
    return (-spread * torch.eye(N, dtype=torch.float64) + raw).to(dtype)


def operator(A):
    return lambda v: (A @ v.flatten(1)[..., None]).view(v.shape)


def rhs(seed=1, dtype=torch.float64):
    return torch.randn(B, T, C, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def solve(A, b, **fields):
    options = {"tolerance": 1e-10, "max_applications": 400, "restart": 40, "check_every": 5}
    return gmres(operator(A), b, **{**options, **fields})


@pytest.mark.parametrize("restart", [3, 7, 40])
def test_gmres_solves_every_system_of_the_batch(restart):
    A, b = matrices(), rhs()
    out = solve(A, b, restart=restart)
    assert out.converged
    torch.testing.assert_close(
        out.x.flatten(1), torch.linalg.solve(A, b.flatten(1)), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-14])
@pytest.mark.parametrize("spread", [3.0, 1.0])
def test_the_residual_that_is_reported_is_that_of_the_solution(dtype, tolerance, spread):
    A, b = matrices(spread, dtype=dtype), rhs(dtype=dtype)
    out = solve(A, b, tolerance=tolerance, max_applications=60, restart=7)
    truth = per_sequence_norm(b - operator(A)(out.x)) / per_sequence_norm(b)
    torch.testing.assert_close(out.residual, truth, rtol=1e-2, atol=1e-7)
    assert out.converged == (float(out.residual.max()) <= tolerance)


@pytest.mark.parametrize("cap", [1, 2, 3, 17, 50])
def test_applications_are_counted_and_capped(cap):
    A, calls = matrices(0.5), 0

    def counted(v):
        nonlocal calls
        calls += 1
        return operator(A)(v)

    out = gmres(counted, rhs(), tolerance=1e-14, max_applications=cap, restart=8, check_every=4)
    assert out.applications == calls <= cap
    assert not out.converged


def test_the_space_of_a_small_system_is_exhausted_without_harm():
    """After n applications the basis is complete; further ones must not bring noise in."""
    A = matrices()[:, :3, :3]
    b = torch.randn(B, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = solve(A, b, restart=30, check_every=30)
    assert out.converged
    torch.testing.assert_close(out.x[:, 0], torch.linalg.solve(A, b[:, 0]))


def test_a_right_side_of_zero_is_solved_by_zero():
    b = rhs()
    b[1] = 0
    out = solve(matrices(), b)
    assert out.converged
    assert not out.x[1].any()
    assert out.residual[1] == 0


def test_a_singular_system_ends_and_says_so():
    A = torch.diag_embed(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64).expand(B, 3))
    b = torch.ones(B, 1, 3, dtype=torch.float64)
    out = solve(A, b)
    assert not out.converged
    torch.testing.assert_close(out.residual, torch.full((B,), 3**-0.5, dtype=torch.float64))
    assert out.applications < 100


def test_what_is_no_number_is_not_converged_and_spoils_no_other():
    b = rhs()
    b[1] = torch.nan
    out = solve(matrices(), b)
    assert not out.converged
    assert out.residual[1].isnan()
    assert out.residual[[0, 2]].max() <= 1e-10


class Ahead(PlainArnoldi):
    """Grows while the host looks at what there is."""

    ahead = True

    def __init__(self, operator):
        super().__init__(operator)
        self.grown = []

    def grow(self, space, at, steps):
        self.grown.append((at, steps))
        super().grow(space, at, steps)


@pytest.mark.parametrize("check_every", [1, 4, 7, 100])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-4, 1e-9])
def test_bases_that_grow_ahead_give_the_same_solution_for_a_few_applications_more(
    check_every, tolerance
):
    A, b = matrices(), rhs()
    ahead = Ahead(operator(A))
    options = {"tolerance": tolerance, "check_every": check_every, "restart": 30}
    expected = solve(A, b, **options)
    out = solve(A, b, arnoldi=ahead, **options)
    assert torch.equal(out.x, expected.x)
    assert out.converged
    assert 0 <= out.applications - expected.applications <= check_every
    assert sum(steps for _, steps in ahead.grown) + 1 == out.applications
    ends = [at + steps for at, steps in ahead.grown]
    assert [at for at, _ in ahead.grown] == [0, *ends[:-1]], "each step is grown once, in order"


@pytest.mark.parametrize("cap", [2, 3, 9, 10, 17, 31])
def test_bases_that_grow_ahead_keep_to_the_cap(cap):
    A = matrices(0.5)
    ahead = Ahead(operator(A))
    options = {"tolerance": 1e-14, "max_applications": cap, "restart": 8, "check_every": 4}
    out = solve(A, rhs(), arnoldi=ahead, **options)
    assert torch.equal(out.x, solve(A, rhs(), **options).x)
    assert out.applications <= cap
