from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm
from trainers.ep.solvers.arnoldi import Krylov, PlainArnoldi, begin, grow, room

B, T, C = 3, 4, 5
N = T * C


def operator(seed: int = 0, dtype: torch.dtype = torch.float64):
    source = torch.Generator().manual_seed(seed)
    A = torch.randn(B, N, N, generator=source, dtype=torch.float64).to(dtype)
    return lambda v: (A @ v.flatten(1)[..., None]).view(v.shape)


def first(seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, C, generator=source, dtype=torch.float64).to(dtype)


def begun(r: Tensor, longest: int) -> Krylov:
    return begin(room(r, longest), r, per_sequence_norm(r))


def applied(A, space: Krylov, count: int) -> Tensor:
    """A V, (B, n, count)."""
    return torch.stack([A(v.view(B, T, C)).flatten(1) for v in space.V[:count]], dim=-1)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_the_operator_on_a_basis_is_the_longer_basis_times_h(dtype, near):
    A, r = operator(dtype=dtype), first(dtype=dtype)
    space = PlainArnoldi(A).begin(r, per_sequence_norm(r), 9)
    PlainArnoldi(A).grow(space, 0, 9)
    V = space.V.permute(1, 2, 0)
    residual = applied(A, space, 9) - V @ space.H
    assert float(residual.abs().max()) <= near * float(space.H.abs().max())
    gram = V.mT @ V
    assert float((gram - torch.eye(10, dtype=dtype)).abs().max()) <= near
    assert torch.equal(space.H, space.H.triu(-1))


def test_steps_in_pieces_are_the_steps_at_once():
    A, r = operator(), first()
    whole, pieces = begun(r, 12), begun(r, 12)
    grow(A, whole, 0, 12)
    for at, steps in ((0, 5), (5, 1), (6, 6)):
        grow(A, pieces, at, steps)
    assert torch.equal(whole.V, pieces.V)
    assert torch.equal(whole.H, pieces.H)


def test_growing_again_from_the_same_place_changes_nothing():
    """What a graph's warm-up does."""
    A, r = operator(), first()
    space = begun(r, 8)
    for _ in range(4):
        grow(A, space, 0, 5)
    for _ in range(4):
        grow(A, space, 5, 3)
    once = begun(r, 8)
    grow(A, once, 0, 8)
    assert torch.equal(space.V, once.V)
    assert torch.equal(space.H, once.H)


def test_a_sequence_that_begins_with_nothing_stays_nothing_and_spoils_no_other():
    A, r = operator(), first()
    alone = begun(r, 6)
    grow(A, alone, 0, 6)
    r[1] = 0
    space = begun(r, 6)
    grow(A, space, 0, 6)
    assert not space.V[:, 1].any()
    assert not space.H[1].any()
    torch.testing.assert_close(space.V[:, [0, 2]], alone.V[:, [0, 2]])


def test_an_exhausted_basis_is_continued_by_zeros():
    r = first()
    space = begun(r, 4)
    grow(lambda v: 2 * v, space, 0, 4)  # one vector spans the whole space
    assert not space.V[1:].any()
    torch.testing.assert_close(space.H[:, 0, 0], torch.full((B,), 2.0, dtype=torch.float64))
    assert not space.H[:, 1:].any()
