from __future__ import annotations

import pytest
import torch

from trainers.ep import spectrum
from trainers.ep.linearise import linearise


@pytest.mark.parametrize("qk_norm", [True, False])
def test_the_blocks_hold_all_eigenvalues_of_the_jacobian(toy, jacobian, qk_norm):
    t = toy(init_scale=1.0, qk_norm=qk_norm, batch=2, context=4)
    z = t.fixed_point()
    dense = torch.linalg.eigvals(jacobian(t.force, z))
    blocks = spectrum.eigenvalues(linearise(t.block, z)).flatten()
    distance = (dense[:, None] - blocks[None, :]).abs()
    assert distance.min(1).values.max() < 1e-10
    assert distance.min(0).values.max() < 1e-10
    torch.testing.assert_close(blocks.sum(), dense.sum(), rtol=1e-10, atol=1e-10)


def test_the_rightmost_eigenvalue_names_its_token(toy, jacobian):
    t = toy(init_scale=1.0)
    z = t.fixed_point()
    mu = spectrum.eigenvalues(linearise(t.block, z))
    worst = spectrum.rightmost_of(mu)
    assert worst.re_mu == float(mu.real.max())
    at = mu[worst.sequence, worst.token]
    assert worst.re_mu == float(at.real.max())
    assert worst.im_mu in at.imag.abs().tolist()
    dense = torch.linalg.eigvals(jacobian(t.force, z))
    assert worst.re_mu == pytest.approx(float(dense.real.max()), abs=1e-10)


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_column_j_of_a_block_is_its_action_on_basis_vector_j(toy, qk_norm, noisy):
    t = toy(init_scale=1.0, qk_norm=qk_norm)
    noise = 0.3 * torch.randn(t.x.shape, dtype=t.x.dtype) if noisy else None
    J = linearise(t.block, t.fixed_point(), noise)
    C = t.settings.width
    columns = [J.self_jvp(e.expand(t.x.shape)) for e in torch.eye(C, dtype=t.x.dtype)]
    torch.testing.assert_close(
        spectrum.self_blocks(J), torch.stack(columns, -1), rtol=1e-12, atol=1e-12
    )


def test_chosen_tokens_get_the_blocks_that_they_have_among_all(toy):
    t = toy()
    J = linearise(t.block, t.x)
    chosen = torch.tensor([7, 0, 11])
    whole = spectrum.self_blocks(J).flatten(0, 1)
    torch.testing.assert_close(spectrum.self_blocks(J, chosen), whole[chosen])


def test_threads_do_not_change_eigenvalues_nor_what_torch_may_use(toy):
    blocks = spectrum.self_blocks(linearise(toy().block, toy().x)).flatten(0, 1)
    alone = spectrum.eigenvalues_of(blocks)
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(spectrum.eigenvalues_of(blocks), alone, rtol=0, atol=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_silent_block_has_only_its_damping(toy):
    t = toy(damping=0.5)
    silent = t.block.__class__(**{**t.block.__dict__, "W_out": torch.zeros_like(t.block.W_out)})
    mu = spectrum.eigenvalues(linearise(silent, t.x))
    torch.testing.assert_close(mu, torch.full_like(mu, -1.5))


def test_chunks_do_not_change_the_blocks(toy, monkeypatch):
    t = toy()
    J = linearise(t.block, t.x)
    whole = spectrum.self_blocks(J)
    monkeypatch.setattr(spectrum, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(spectrum.self_blocks(J), whole)
