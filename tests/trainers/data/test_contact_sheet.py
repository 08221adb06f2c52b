"""Laws of the contact sheet."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.data.contact_sheet import FRAME_SIDE, Row, sheet

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def row(side: tuple[int, int] = (8, 8), **fields: object) -> Row:
    frames = np.stack([np.full((*side, 3), colour, np.uint8) for colour in COLOURS])
    return Row(**{"title": "clip 0", "facts": ("friction .1",), "frames": frames, **fields})


def found(page: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (page == colour).all(-1)


@pytest.mark.parametrize("side", [(8, 8), (64, 64), (128, 128), (8, 16), (480, 640)])
def test_every_frame_of_every_row_is_there_in_its_order_and_shape(side: tuple[int, int]) -> None:
    page = np.asarray(sheet("t", "s", ["a", "b", "c"], [row(side), row(side)]))
    lefts = []
    for colour in COLOURS:
        ys, xs = found(page, colour).nonzero()
        height, width = int(found(page, colour).any(1).sum()) / 2, np.ptp(xs) + 1
        assert FRAME_SIDE / 2 < height < 2 * FRAME_SIDE
        assert width / height == pytest.approx(side[1] / side[0], rel=0.02)
        lefts.append(xs.min())
        assert len(ys) == pytest.approx(2 * width * height)
    assert lefts == sorted(lefts)


def test_title_and_facts_leave_ink() -> None:
    blank = np.asarray(sheet("", "", ["", "", ""], [row(title="", facts=())]))
    for change in ({"title": "clip 7"}, {"facts": ("spin 3",)}):
        page = np.asarray(
            sheet("", "", ["", "", ""], [row(**{"title": "", "facts": (), **change})])
        )
        assert 10 < (page != blank).any(-1).sum() < 3000


def test_the_arrow_lies_on_the_first_frame_even_where_it_points_out_of_it() -> None:
    plain = np.asarray(sheet("", "", ["", "", ""], [row()]))
    page = np.asarray(sheet("", "", ["", "", ""], [row(arrow=(0.5, 0.5, 5.0, -3.0))]))
    changed = (page != plain).any(-1)
    assert changed.sum() > 20
    assert found(plain, COLOURS[0])[changed].all()
