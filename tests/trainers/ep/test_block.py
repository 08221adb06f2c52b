from __future__ import annotations

import pytest
import torch

from trainers.ep.block import embed, fold, force, init, start
from trainers.ep.draws import Purpose, generator


def textbook_force(params, settings, z, x):
    """The force as it is usually written: layer norms with gains, separate matrices, explicit softmax."""
    C, H = settings.width, settings.heads
    D = C // H

    def norm(gain, bias):
        centred = z - z.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias

    def heads(t):
        return t.unflatten(-1, (H, D)).transpose(1, 2)

    h = norm(params.ln1_gain, params.ln1_bias)
    q, k, v = heads(h @ params.W_Q), heads(h @ params.W_K), heads(h @ params.W_V)
    if settings.qk_norm:
        q = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        k = k / (k.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    scores = q @ k.mT / D**0.5
    future = torch.ones(z.shape[1], z.shape[1], dtype=torch.bool).triu(1)
    attended = torch.softmax(scores.masked_fill(future, -torch.inf), -1) @ v
    A = attended.transpose(1, 2).flatten(-2) @ params.W_O
    u = norm(params.ln2_gain, params.ln2_bias) @ params.W_1 + params.b_1
    gelu = 0.5 * u * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (u + 0.044715 * u**3)))
    return -(z - x) + A + gelu @ params.W_2 + params.b_2 - settings.damping * z


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("damping", [0.0, 1.0])
def test_the_folded_force_is_the_force_as_the_textbook_writes_it(toy, qk_norm, damping):
    t = toy(qk_norm=qk_norm, damping=damping)
    z = torch.randn_like(t.x)
    expected = textbook_force(t.params, t.settings, z, t.x)
    torch.testing.assert_close(force(t.block, z, t.x), expected, rtol=1e-11, atol=1e-12)


def test_no_token_feels_a_later_one(toy, jacobian):
    t = toy()
    B, T, C = t.x.shape
    J = jacobian(t.force, torch.randn_like(t.x)).reshape(B, T, C, B, T, C)
    for position in range(T):
        later = J[:, position, :, :, position + 1 :]
        assert not later.any()


def test_sequences_do_not_feel_one_another(toy, jacobian):
    t = toy()
    B, T, C = t.x.shape
    J = jacobian(t.force, torch.randn_like(t.x)).reshape(B, T, C, B, T, C)
    for b in range(B):
        others = [o for o in range(B) if o != b]
        assert not J[b][:, :, others].any()


def test_phases_may_lead_and_share_one_input(toy):
    t = toy()
    z = torch.randn(2, *t.x.shape, dtype=t.x.dtype)
    together = force(t.block, z, t.x)
    for phase in range(2):
        torch.testing.assert_close(together[phase], force(t.block, z[phase], t.x))


def test_the_start_is_the_equilibrium_of_a_silent_block(toy):
    t = toy()
    silent = t.params._replace(
        W_O=torch.zeros_like(t.params.W_O),
        W_2=torch.zeros_like(t.params.W_2),
        b_2=torch.zeros_like(t.params.b_2),
    )
    block, x = fold(silent, t.settings), embed(silent, t.idx)
    assert force(block, start(block, x), x).abs().max() < 1e-14


def test_the_same_seed_draws_the_same_parameters(settings):
    first, second, other = (
        init(settings(), 11, generator(seed, 0, Purpose.INIT)) for seed in (5, 5, 6)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.W_Q, other.W_Q)


def test_init_scale_shrinks_only_what_leads_back_into_the_state(settings):
    small, large = (
        init(settings(init_scale=s), 11, generator(0, 0, Purpose.INIT)) for s in (0.1, 1.0)
    )
    for name, value in small._asdict().items():
        factor = 0.1 if name in ("W_O", "W_2") else 1.0
        torch.testing.assert_close(value, factor * getattr(large, name))
