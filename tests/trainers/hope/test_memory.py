"""Reads and writes of the memories: closed form, bounds, gates, and what a gradient reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from specs.trainer_hope import Memories, WriteScope
from trainers.hope import memory, writing
from trainers.hope.memory import MemoryState
from trainers.hope.titan import SelfModifying
from trainers.hope.writing import Write

M, H, D, B, N = 5, 12, 6, 3, 4
SCOPES = [WriteScope.SHARED, WriteScope.PER_SAMPLE]


def normal(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=source, dtype=torch.float64)


def begun(scope: WriteScope, scale: float = 0.3) -> MemoryState:
    return memory.begin(normal(1, M, H, D, scale=scale), normal(2, M, D, H, scale=scale), B, scope)


def drive(state: MemoryState, **more: Tensor) -> Write:
    S = len(state.W1)
    given = Write(
        k=normal(3, B, N, D),
        target=normal(4, S, M, B * N // S, D),
        surprise=normal(5, B).abs() + 0.5,
        eta=0.01 * normal(6, B, N, D).abs(),
        alpha=torch.sigmoid(normal(7, B, N, D)),
        mask=torch.ones(B, dtype=torch.float64),
    )
    return replace(given, **more)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_inner_gradient_is_that_of_autograd(scope: WriteScope) -> None:
    state = begun(scope)
    S = len(state.W1)
    k, target = memory.rows(normal(3, B, N, D), S), normal(4, S, M, B * N // S, D)
    weight = normal(5, S, B * N // S).abs()
    leaves = state.W1.clone().requires_grad_(), state.W2.clone().requires_grad_()
    loss = (
        weight[:, None, :, None]
        * (memory.fit(MemoryState(W1=leaves[0], W2=leaves[1]), k) - target) ** 2
    ).sum()
    for ours, theirs in zip(
        writing.inner_gradient(state, k, target, weight),
        torch.autograd.grad(loss, leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("preconditioner", ["diagonal", "rank1"])
def test_the_meta_gradient_through_two_writes_is_right(
    scope: WriteScope, preconditioner: str
) -> None:
    """The inner gradients are constants of the outer one, so both are taken with them held fixed."""
    settings = Memories(
        preconditioner=preconditioner, detach_interval=0, scope=scope, write_clip=1e9
    )
    W1, W2 = normal(1, M, H, D, scale=0.3), normal(2, M, D, H, scale=0.3)
    k = torch.nn.functional.normalize(normal(3, B, N, D), dim=-1)

    def after(W1: Tensor, W2: Tensor, eta: Tensor, alpha: Tensor) -> Tensor:
        state = memory.begin(W1, W2, B, scope)
        for _ in range(2):
            held = MemoryState(W1=state.W1.detach() * 0, W2=state.W2.detach() * 0)
            target = memory.fit(held, memory.rows(k, len(state.W1)))
            given = drive(state, k=k, target=target, eta=eta, alpha=alpha)
            given = replace(given, surprise=torch.zeros(B, dtype=torch.float64))
            state, _ = writing.write(state, given, settings)
        return torch.cat((state.W1.flatten(), state.W2.flatten())).square().sum()

    inputs = (W1, W2, 0.1 * normal(6, B, N, D).abs(), torch.sigmoid(normal(7, B, N, D)))
    assert torch.autograd.gradcheck(after, [t.requires_grad_() for t in inputs])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("preconditioner", ["diagonal", "rank1"])
def test_the_meta_gradient_with_inner_gradients_held_fixed_is_that_of_finite_differences(
    scope: WriteScope, preconditioner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of where the weights begin, of eta and of alpha, through two writes whose inner gradients are not zero."""
    settings = Memories(preconditioner=preconditioner, detach_interval=0, scope=scope)
    W1, W2 = normal(1, M, H, D, scale=0.3), normal(2, M, D, H, scale=0.3)
    k = torch.nn.functional.normalize(normal(3, B, N, D), dim=-1)
    S = B if scope is WriteScope.PER_SAMPLE else 1
    fixed = normal(8, S, M, H, D), normal(9, S, M, D, H)
    monkeypatch.setattr(writing, "inner_gradient", lambda *_: fixed)
    ends = normal(12, S, M, H, D), normal(13, S, M, D, H)

    def after(W1: Tensor, W2: Tensor, eta: Tensor, alpha: Tensor) -> Tensor:
        state = memory.begin(W1, W2, B, scope)
        for _ in range(2):
            given = drive(state, k=k, eta=eta, alpha=alpha)
            state, _ = writing.write(state, given, settings)
        return (state.W1 * ends[0]).sum() + (state.W2 * ends[1]).sum()

    inputs = (W1, W2, 0.1 * normal(6, B, N, D).abs(), torch.sigmoid(normal(7, B, N, D)))
    assert torch.autograd.gradcheck(after, [t.requires_grad_() for t in inputs])


@given(st.integers(0, 10_000), st.floats(0.1, 1e3), st.floats(-50, 50))
def test_what_is_retained_lies_between_nothing_and_everything_whatever_is_read(
    seed: int, size: float, alpha_at: float
) -> None:
    """Over four writes; and so no memory grows beyond where it began and the sum of what was added."""
    state, added = begun(WriteScope.PER_SAMPLE), 0.0
    start = state
    settings = Memories(eta_max=0.5, scope="per_sample")
    for write in range(4):
        given = drive(
            state,
            k=normal(seed + write, B, N, D, scale=size),
            eta=normal(seed + 10 + write, B, N, D).abs() * size,
            alpha=torch.sigmoid(normal(seed + 20 + write, B, N, D) + alpha_at),
            target=normal(seed + 30 + write, B, M, N, D, scale=size),
        )
        state, record = writing.write(state, given, settings)
        assert ((record.p >= 0) & (record.p <= 1)).all()
        added += settings.eta_max * settings.write_clip
        for after, before in ((state.W1, start.W1), (state.W2, start.W2)):
            grown = torch.linalg.matrix_norm(after) - torch.linalg.matrix_norm(before)
            assert (grown <= added + 1e-9).all()


@given(st.integers(0, 10_000), st.floats(0.1, 1e3), st.floats(0, 50))
def test_a_write_never_grows_a_memory_beyond_its_rate_times_the_clip(
    seed: int, size: float, alpha_at: float
) -> None:
    state = begun(WriteScope.SHARED)
    settings = Memories(eta_max=0.5)
    given = drive(
        state,
        k=normal(seed, B, N, D, scale=size),
        eta=normal(seed + 1, B, N, D).abs() * size,
        alpha=torch.sigmoid(normal(seed + 2, B, N, D) + alpha_at),
        target=normal(seed + 3, 1, M, B * N, D, scale=size),
    )
    written, record = writing.write(state, given, settings)
    assert 0 <= float(record.p_mean) <= 1
    for after, before in ((written.W1, state.W1), (written.W2, state.W2)):
        grown = torch.linalg.matrix_norm(after) - torch.linalg.matrix_norm(before)
        assert (grown <= settings.eta_max * settings.write_clip + 1e-9).all()


@given(st.integers(0, 10_000))
def test_the_rank_one_preconditioner_shrinks_without_a_clamp(seed: int) -> None:
    """With unit keys and a rate below the retention the eigenvalues lie between alpha - eta and alpha."""
    state = begun(WriteScope.PER_SAMPLE)
    k = torch.nn.functional.normalize(normal(seed, B, N, D), dim=-1)
    alpha = torch.full((B, N, D), 0.9, dtype=torch.float64)
    eta = torch.full((B, N, D), 0.4, dtype=torch.float64)
    nothing = torch.zeros(B, dtype=torch.float64)
    given = drive(state, k=k, alpha=alpha, eta=eta, surprise=nothing)
    written, _ = writing.write(state, given, Memories(preconditioner="rank1", scope="per_sample"))
    ratio = torch.linalg.matrix_norm(written.W1) / torch.linalg.matrix_norm(state.W1)
    assert ((ratio <= 0.9 + 1e-9) & (ratio >= 0.5 - 1e-9)).all()


def test_a_sample_below_the_threshold_keeps_its_weights_and_counts_in_no_mean() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    own = begun(WriteScope.PER_SAMPLE)
    written, record = writing.write(own, drive(own, mask=mask), Memories(scope="per_sample"))
    assert torch.equal(written.W1[1], own.W1[1])
    assert not torch.equal(written.W1[0], own.W1[0])
    assert float(record.gate) == pytest.approx(2 / 3)
    shared = begun(WriteScope.SHARED)
    given = drive(shared, mask=mask)
    with_it, _ = writing.write(shared, given, Memories())
    chosen = [0, 2]
    rows_of = given.target.view(1, M, B, N, D)[:, :, chosen].reshape(1, M, 2 * N, D)
    without = Write(
        k=given.k[chosen], target=rows_of, surprise=given.surprise[chosen],
        eta=given.eta[chosen], alpha=given.alpha[chosen], mask=mask[chosen],
    )  # fmt: skip
    left_out, _ = writing.write(shared, without, Memories())
    torch.testing.assert_close(with_it.W1, left_out.W1)
    torch.testing.assert_close(with_it.W2, left_out.W2)


def test_nobody_writes_and_nothing_changes() -> None:
    state = begun(WriteScope.SHARED)
    written, _ = writing.write(
        state, drive(state, mask=torch.zeros(B, dtype=torch.float64)), Memories()
    )
    assert torch.equal(written.W1, state.W1)
    assert torch.isfinite(written.W2).all()


@pytest.mark.parametrize(("interval", "cut"), [(1, True), (2, False), (0, False)])
def test_the_meta_gradient_is_cut_at_the_interval(interval: int, cut: bool) -> None:
    layer = SelfModifying(D, Memories(detach_interval=interval)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(11, *parameter.shape, scale=0.5))
    state = layer.begin(B)
    given = drive(state, target=normal(4, 1, 5, B * N, D))
    state = MemoryState(W1=layer.begin(B).W1, W2=layer.begin(B).W2)
    written, _ = writing.write(state, replace(given), layer.settings)
    assert written.W1.requires_grad is not cut


@pytest.mark.parametrize("scope", SCOPES)
def test_conditioning_tokens_can_be_left_out_of_the_rank_one_term(scope: WriteScope) -> None:
    """Nothing else of them counts: their keys at a surprise of nothing change no weight."""
    state = begun(scope)
    counted = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    nothing = torch.zeros(B, dtype=torch.float64)
    k = torch.nn.functional.normalize(normal(3, B, N, D), dim=-1)
    of = Memories(preconditioner="rank1", scope=scope)
    given = drive(state, k=k, counted=counted, surprise=nothing)
    one, _ = writing.write(state, given, of)
    turned = torch.cat((-k[:, :2].roll(1, -1), k[:, 2:]), dim=1)
    other, _ = writing.write(state, replace(given, k=turned), of)
    assert torch.equal(one.W1, other.W1)
    alone = drive(state, surprise=nothing)
    alone = replace(
        alone, k=k[:, 2:], eta=alone.eta[:, 2:], alpha=alone.alpha[:, 2:],
        target=alone.target.view(len(state.W1), M, -1, N, D)[..., 2:, :].flatten(2, 3),
    )  # fmt: skip
    patches, _ = writing.write(state, alone, of)
    torch.testing.assert_close(one.W1, patches.W1)
    torch.testing.assert_close(one.W2, patches.W2)


def test_conditioning_tokens_can_be_left_out_of_the_means() -> None:
    state = begun(WriteScope.SHARED)
    counted = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    given = drive(state, counted=counted)
    changed = replace(given, alpha=torch.cat((given.alpha[:, :2] * 0, given.alpha[:, 2:]), dim=1))
    one, _ = writing.write(state, given, Memories())
    other, _ = writing.write(state, changed, Memories())
    assert torch.equal(one.W1, other.W1)
