"""One force for real and complex states."""

from __future__ import annotations

import pytest
import torch

from trainers.ep.block import force
from trainers.ep.ops import attend, causal_softmax, gelu, standardise

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_the_complex_force_is_the_real_one_on_the_real_axis(toy, qk_norm, noisy):
    t = toy(qk_norm=qk_norm)
    z = drawn(*t.x.shape)
    noise = 0.1 * drawn(*t.x.shape, seed=1) if noisy else None
    found = force(t.block, torch.complex(z, torch.zeros_like(z)), t.x, noise)
    torch.testing.assert_close(found.real, force(t.block, z, t.x, noise), rtol=1e-12, atol=1e-13)
    assert found.imag.abs().max() < 1e-14


@pytest.mark.parametrize("dtype", list(COMPLEX))
def test_a_phase_keeps_its_precision(toy, dtype):
    t = toy()
    block, x = t.block.to(dtype), t.x.to(dtype)
    z = torch.complex(drawn(*x.shape), 0.01 * drawn(*x.shape, seed=1)).to(COMPLEX[dtype])
    found = force(block, z, x)
    assert found.dtype is COMPLEX[dtype]
    exact = force(t.block, z.to(torch.complex128), t.x)
    torch.testing.assert_close(found.to(exact.dtype), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_the_complex_force_obeys_cauchy_and_riemann(toy, qk_norm):
    """dF/d(Re z) along w equals -i dF/d(Im z) along w: the derivative has no direction."""
    t = toy(qk_norm=qk_norm)
    z = torch.complex(drawn(*t.x.shape), 0.05 * drawn(*t.x.shape, seed=1))
    w, h = drawn(*t.x.shape, seed=2), 1e-6

    def slope(direction):
        ahead, behind = (force(t.block, z + s * h * direction, t.x) for s in (1, -1))
        return (ahead - behind) / (2 * h)

    along, across = slope(w + 0j), slope(1j * w) / 1j
    assert along.imag.abs().max() > 1e-3
    torch.testing.assert_close(along, across, rtol=1e-7, atol=1e-8)


def test_conjugate_states_have_conjugate_forces(toy):
    t = toy()
    z = torch.complex(drawn(*t.x.shape), 0.05 * drawn(*t.x.shape, seed=1))
    there, mirrored = force(t.block, z, t.x), force(t.block, z.conj().resolve_conj(), t.x)
    torch.testing.assert_close(mirrored, there.conj().resolve_conj())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("masked", [2000.0, -2000.0, 0.0])
def test_a_masked_score_of_any_size_changes_nothing(dtype, masked):
    """A shift taken over masked scores too would bring every valid weight to zero."""
    scores = drawn(2, 4, 4).to(dtype)
    future = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected = torch.softmax(drawn(2, 4, 4).masked_fill(future, -torch.inf), -1)
    found = causal_softmax(scores.masked_fill(future, masked))
    assert found.dtype is dtype
    assert not found[..., future].any()
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 4, dtype=dtype))
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-5, atol=1e-6)


def test_valid_scores_of_any_size_give_weights_that_are_numbers():
    scores = 1e4 * torch.complex(drawn(2, 4, 4), drawn(2, 4, 4, seed=1))
    weights = causal_softmax(scores)
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, dtype=weights.dtype))


def test_no_row_is_without_a_key():
    only_itself = causal_softmax(torch.complex(drawn(1, 3, 3), drawn(1, 3, 3, seed=1)))[0, 0]
    torch.testing.assert_close(only_itself.real, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assert only_itself.imag.abs().max() < 1e-15


@pytest.mark.parametrize("operation", [standardise, gelu, lambda u: attend(u, u, u)])
def test_the_fused_operation_is_the_continued_one(operation):
    """What the library fuses for real numbers equals what we write out for complex ones."""
    u = drawn(2, 3, 5, 4)
    found = operation(u.to(torch.complex128))
    torch.testing.assert_close(found.real, operation(u), rtol=1e-12, atol=1e-13)
