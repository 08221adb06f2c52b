"""Rotary positions: what a score depends on, and what turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import Rope
from tests.trainers.hope import small
from trainers.hope import rope

GRID, HEAD = (2, 3), 24
PATCHES = GRID[0] * GRID[1]
FRAME = rope.CONDITIONING + PATCHES


def tables(times: list[int], form: Rope = Rope.CORRECT) -> tuple[Tensor, Tensor]:
    cos, sin = rope.table(torch.tensor([times]), GRID, HEAD, form)
    return cos.double(), sin.double()


def scores(times: list[int], form: Rope = Rope.CORRECT) -> Tensor:
    """(N, N): products of one query with one key, both put at every token."""
    source = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, HEAD, generator=source, dtype=torch.float64)
    cos, sin = tables(times, form)
    tokens = len(times) * FRAME
    return (
        rope.rotate(q.expand(1, 1, tokens, HEAD), cos, sin)
        @ rope.rotate(k.expand(1, 1, tokens, HEAD), cos, sin).mT
    )[0, 0]


def test_a_score_depends_on_the_difference_of_times_alone() -> None:
    torch.testing.assert_close(scores([0, 1, 3]), scores([5, 6, 8]), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(scores([0, 1, 3]), scores([0, 2, 3]))


def test_the_frequencies_of_released_checkpoints_are_no_rotation() -> None:
    """The two of a pair turn by different angles there, so a score does not keep to differences."""
    upstream = [scores(times, Rope.UPSTREAM) for times in ([0, 1, 3], [5, 6, 8])]
    assert not torch.allclose(*upstream, rtol=1e-3, atol=1e-3)


def test_a_score_of_patches_depends_on_the_difference_of_places_alone() -> None:
    found = scores([0])[rope.CONDITIONING :, rope.CONDITIONING :].view(*GRID, *GRID)
    torch.testing.assert_close(found[0, 0, 0, 1], found[1, 1, 1, 2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0, 0, 1, 0], found[0, 2, 1, 2], rtol=1e-5, atol=1e-5)
    assert not torch.isclose(found[0, 0, 0, 1], found[0, 0, 1, 0])


@pytest.mark.parametrize("form", [Rope.CORRECT, Rope.UPSTREAM])
def test_action_and_state_have_a_time_and_no_place(form: Rope) -> None:
    width = rope.part_width(HEAD)
    cos, sin = tables([3], form)
    conditioning = slice(0, rope.CONDITIONING)
    assert (sin[0, 0, conditioning, :width] != 0).all()
    assert not sin[0, 0, conditioning, width:].any()
    assert (cos[0, 0, conditioning, width:] == 1).all()


@pytest.mark.parametrize(("head", "width"), [(24, 8), (64, 20), (6, 2)])
def test_each_axis_has_an_even_third_of_a_head_and_the_rest_is_not_turned(
    head: int, width: int
) -> None:
    assert rope.part_width(head) == width
    _, sin = rope.table(torch.tensor([[1]]), GRID, head, Rope.CORRECT)
    assert not sin[..., 3 * width :].any()


@pytest.mark.parametrize(
    ("form", "embeddings", "knows"),
    [("correct", False, False), ("correct", True, True), ("upstream", False, True), ("off", False, False)],
)  # fmt: skip
def test_a_jump_of_attention_knows_its_target_by_embeddings_or_by_what_is_no_rotation(
    form: str, embeddings: bool, knows: bool
) -> None:
    """All tokens of its one frame stand at the same time: a score that keeps to differences cannot tell which."""
    of = small.settings(pattern="TT", width=48, heads=2, rope=form, temporal_embeddings=embeddings)
    model = small.trained(small.predictor(of))
    first = small.batch().inputs().first(1)
    found = [
        model(first, target=torch.tensor([tau, tau])).features.detach()
        for tau in range(1, small.CONTEXT + 1)
    ]
    same = [torch.allclose(other, found[0], rtol=1e-5, atol=1e-6) for other in found[1:]]
    assert same == [not knows] * len(same)
