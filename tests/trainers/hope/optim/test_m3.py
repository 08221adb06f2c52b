"""Laws of M3 and of the iteration under it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainers.hope.optim.m3 import EPS, M3, RMS, M3Settings
from trainers.hope.optim.newton_schulz import orthogonal

PAPER = M3Settings(form="paper", fast=0.9, variance=0.999, slow=0.8, every=3, alpha=0.5)
MEAN = replace(PAPER, form="rms")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    g = drawn(*shape)
    found = orthogonal(g)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    U, _, Vh = torch.linalg.svd(g, full_matrices=False)
    inside = U.mT @ found @ Vh.mT
    torch.testing.assert_close(inside, torch.diag(inside.diag()), atol=1e-9, rtol=0)


def test_a_gradient_of_any_size_has_one_direction_and_none_has_none() -> None:
    g = drawn(4, 7)
    torch.testing.assert_close(orthogonal(1e-4 * g), orthogonal(g))
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def moves(
    settings: M3Settings, gradients: list[Tensor], lr: float = 0.1, wd: float = 0.0
) -> Tensor:
    parameter = nn.Parameter(drawn(*gradients[0].shape, seed=99))
    optimiser = M3([{"params": [parameter], "lr": lr, "weight_decay": wd}], settings)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


def test_the_paper_form_is_the_algorithm_to_the_letter() -> None:
    gradients = [drawn(4, 5, seed=s) for s in range(8)]
    theta = drawn(4, 5, seed=99)
    M1 = M2 = V = O2 = chunk = torch.zeros(4, 5, dtype=torch.float64)
    for step, g in enumerate(gradients):
        if step and step % 3 == 0:
            M2 = M2 + 0.8 * chunk
            O2, chunk = orthogonal(M2), torch.zeros_like(g)
        chunk = chunk + g
        M1, V = M1 + 0.9 * g, V + 0.999 * g.square()
        theta = theta - 0.1 * (orthogonal(M1) + 0.5 * O2) / (V.sqrt() + EPS)
    torch.testing.assert_close(moves(PAPER, gradients), theta)


@pytest.mark.parametrize("settings", [PAPER, MEAN], ids=["paper", "rms"])
def test_the_slow_direction_acts_from_the_next_chunk_on(settings: M3Settings) -> None:
    gradients = [drawn(4, 5, seed=s) for s in range(4)]
    without = replace(settings, alpha=0.0)
    first = len(gradients) - 1
    assert torch.equal(moves(settings, gradients[:first]), moves(without, gradients[:first]))
    assert not torch.allclose(moves(settings, gradients), moves(without, gradients))


def test_a_step_of_the_rms_form_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    start = drawn(6, 9, seed=99)
    for scale in (1e-6, 1.0, 1e6):
        moved = moves(MEAN, [scale * drawn(6, 9)]) - start
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.1 * RMS, rel=1e-6)


def test_steps_of_the_paper_form_explode_where_gradients_are_small() -> None:
    def size(scale: float) -> float:
        return float((moves(PAPER, [scale * drawn(6, 9)]) - drawn(6, 9, seed=99)).norm())

    assert size(1e-4) == pytest.approx(1e4 * size(1.0), rel=0.05)


def test_only_the_rms_form_decays_weights() -> None:
    zero, start = [torch.zeros(3, 4, dtype=torch.float64)], drawn(3, 4, seed=99)
    torch.testing.assert_close(moves(MEAN, zero, wd=0.5), 0.95 * start)
    assert torch.equal(moves(PAPER, zero, wd=0.5), start)


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="takes matrices"):
        M3([{"params": [nn.Parameter(torch.zeros(3))]}], MEAN)


def test_it_descends() -> None:
    target = drawn(5, 6)
    parameter = nn.Parameter(torch.zeros_like(target))
    optimiser = M3([{"params": [parameter], "lr": 0.3}], MEAN)
    before = math.inf
    for _ in range(60):
        loss = (parameter - target).square().mean()
        before = min(before, loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0.05 * float(target.square().mean())
