"""Laws of the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from specs.data_clips import TASKS
from trainers.data.puck.clips import pictures
from trainers.data.puck.parameters import Pucks, draw
from trainers.data.puck.render import FELT, MARGIN, PUCK, WALL, Scene, render, table_of

CPU = torch.device("cpu")
TABLE = table_of((4, 4))
SIZE = (64, 64)
PIXEL = (1 + 2 * MARGIN) / 64


def shot(x: float = 0.5, y: float = 0.5, *, angle: float = 0.0, ice: float = 0.0) -> Tensor:
    """(3, 64, 64) of one puck."""
    of = Scene(
        position=torch.tensor([[[x, y]]]),
        angle=torch.tensor([[angle]]),
        radius=torch.tensor([0.08]),
        ice=torch.tensor([ice]),
        bars=torch.zeros(1, 2, 4),
    )
    return render(of, TABLE, SIZE)[0, 0]


def middle_of_puck(picture: Tensor) -> tuple[float, float]:
    """Where the picture differs from the table without a puck, in lengths of the table."""
    differs = (picture - shot(x=-9.0)).abs().sum(0)
    at = (torch.arange(64) + 0.5) * PIXEL - MARGIN
    return float((differs.sum(0) @ at) / differs.sum()), float(
        (differs.sum(1) @ at) / differs.sum()
    )


@pytest.mark.parametrize(("x", "y"), [(0.2, 0.7), (0.2137, 0.7), (0.5, 0.5), (0.91, 0.09)])
def test_the_puck_is_seen_where_it_is_to_a_fraction_of_a_pixel(x: float, y: float) -> None:
    # averaged over opposite angles, so that the bright half pulls to no side
    seen = [middle_of_puck(shot(x, y, angle=a)) for a in (0.0, np.pi, np.pi / 2, -np.pi / 2)]
    np.testing.assert_allclose(np.mean(seen, 0), (x, y), atol=0.15 * PIXEL)


def test_a_small_move_changes_the_picture_a_little() -> None:
    here, near, far = shot(0.5), shot(0.5 + 0.1 * PIXEL), shot(0.5 + 1.0 * PIXEL)
    small, large = (float((other - here).abs().sum()) for other in (near, far))
    assert small > 0
    assert small == pytest.approx(large / 10, rel=0.35)


def test_turning_is_seen_and_a_whole_turn_is_none() -> None:
    assert float((shot(angle=0.5) - shot()).abs().max()) > 0.1
    assert float((shot(angle=np.pi) - shot()).abs().max()) > 0.3
    torch.testing.assert_close(shot(angle=2 * np.pi), shot(), atol=1e-5, rtol=0)


def test_ice_and_walls_are_seen() -> None:
    assert float((shot(ice=1.0) - shot())[:, 5, 5].abs().max()) > 0.02
    torch.testing.assert_close(shot()[:, 0, 30], torch.tensor(WALL))


def test_colours_are_in_range_and_apart() -> None:
    pucks: Pucks = draw(0, "compositional_ood", range(8), TABLE)
    seen = pictures(pucks, TABLE, 8, SIZE, CPU)
    assert seen.shape == (8, 16, 3, 64, 64)
    assert 0 <= float(seen.min()) < float(seen.max()) <= 1
    assert np.abs(np.subtract(PUCK, FELT)).max() > 0.5


@pytest.mark.parametrize("grid", [(4, 4), (2, 6), (8, 4)])
def test_the_table_fills_a_picture_of_the_grids_shape(grid: tuple[int, int]) -> None:
    table = table_of(grid)
    assert min(table.width, table.height) == pytest.approx(1)
    assert (table.height + 2 * MARGIN) / (table.width + 2 * MARGIN) == pytest.approx(
        grid[0] / grid[1]
    )


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_the_same_each_time(task: str) -> None:
    pucks = draw(2, task, range(3), TABLE)
    first, second = (pictures(pucks, TABLE, 4, SIZE, CPU) for _ in range(2))
    assert torch.equal(first, second)


def test_of_stills_a_frame_is_one_picture_twice_and_the_first_of_them_the_same() -> None:
    pucks = draw(2, "base", range(3), TABLE)
    moving = pictures(pucks, TABLE, 4, SIZE, CPU)
    stills = pictures(pucks, TABLE, 4, SIZE, CPU, stills=True)
    assert torch.equal(stills[:, ::2], stills[:, 1::2])
    assert torch.equal(stills[:, ::2], moving[:, ::2])
    assert not torch.equal(moving[:, ::2], moving[:, 1::2])
