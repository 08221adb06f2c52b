from __future__ import annotations

import torch

from trainers.ep.readout import cross_entropy, nudge, read


def test_the_nudge_is_the_gradient_of_the_summed_loss(toy):
    t = toy()
    z = torch.randn_like(t.x).requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        (z @ t.params.W_h).flatten(0, 1), t.y.flatten(), reduction="sum"
    )
    (expected,) = torch.autograd.grad(loss, z)
    out = read(t.params.W_h, z.detach(), t.y)
    torch.testing.assert_close(out.ell, expected)
    torch.testing.assert_close(nudge(t.params.W_h, z.detach(), t.y), expected)
    torch.testing.assert_close(out.ce * t.y.numel(), loss.detach())
    torch.testing.assert_close(cross_entropy(t.params.W_h, z.detach(), t.y), out.ce)


def test_an_indifferent_head_costs_the_logarithm_of_the_vocabulary(toy):
    t = toy()
    ce = cross_entropy(torch.zeros_like(t.params.W_h), t.x, t.y)
    torch.testing.assert_close(ce.exp(), torch.tensor(11.0, dtype=ce.dtype))
