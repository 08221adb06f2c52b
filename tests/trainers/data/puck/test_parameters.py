"""Laws of what is drawn for a clip."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from specs.data_clips import TASKS
from trainers.data.puck.parameters import (
    RANGES,
    SHIFTS,
    Pucks,
    Table,
    combination,
    distance_to_bars,
    draw,
    from_units,
    ranges_with,
    units,
)

TABLE = Table()
BELONGS = {
    "scaling": {"radius", "mass", "impulse", "position"},
    "dissipation": {"friction", "ice"},
    "discretization": {"bars", "coarse", "position"},
    "kinematics": {"spin", "curve"},
}
"""What a shift may change. The place is drawn where the puck has room, so it goes with its size and with walls."""


def differing(a: Pucks, b: Pucks) -> set[str]:
    return {
        f.name for f in fields(Pucks) if not np.array_equal(getattr(a, f.name), getattr(b, f.name))
    }


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_differs_from_base_in_what_belongs_to_it_alone(shift: str) -> None:
    u = units(0, "base", range(64))
    base = from_units(u, combination("base", u[:, 0]), TABLE)
    shifted = from_units(u, combination(shift, u[:, 0]), TABLE)
    changed = differing(base, shifted)
    assert changed <= BELONGS[shift]
    assert changed >= BELONGS[shift] - {"position"}


@pytest.mark.parametrize("name", [name for name in RANGES if name not in ("density", "strike")])
def test_a_shifted_range_does_not_meet_the_base_range(name: str) -> None:
    u = units(0, "base", range(200))
    base = getattr(from_units(u, combination("base", u[:, 0]), TABLE), name)
    shifted = getattr(from_units(u, combination(RANGES[name].shift, u[:, 0]), TABLE), name)
    assert np.abs(base).max() < np.abs(shifted).min() or np.abs(base).min() > np.abs(shifted).max()


def test_the_composed_task_pairs_shifts_and_every_pair_comes() -> None:
    applies = combination("compositional_ood", units(3, "compositional_ood", range(300))[:, 0])
    assert (applies.sum(1) == 2).all()
    assert len(np.unique(applies, axis=0)) == 6


@pytest.mark.parametrize("task", TASKS)
def test_a_clip_does_not_depend_on_the_clips_around_it(task: str) -> None:
    together = draw(5, task, range(20), TABLE)
    alone = draw(5, task, [7], TABLE)
    assert not differing(together.where(np.array([7])), alone)


@pytest.mark.parametrize(("other", "task"), [(1, "base"), (0, "scaling"), (0, "compositional_ood")])
def test_seed_task_and_clip_each_give_other_numbers(other: int, task: str) -> None:
    here, there = units(0, "base", range(50)), units(other, task, range(50))
    assert len(np.unique(here[:, 0])) == 50
    assert not np.isin(here, there).any()


@pytest.mark.parametrize("task", TASKS)
def test_a_puck_begins_on_the_table_and_beside_the_walls(task: str) -> None:
    table = Table(width=2.0, height=1.0)
    pucks = draw(0, task, range(300), table)
    r = pucks.radius[:, None]
    assert (pucks.position >= r).all()
    assert (pucks.position <= np.array((2.0, 1.0)) - r).all()
    assert (distance_to_bars(pucks.position[:, None], pucks.bars) > r).all()


def test_numbers_are_spread_evenly_over_the_unit_interval() -> None:
    u = units(0, "base", range(400))
    assert u.min() >= 0
    assert u.max() < 1
    # the mean of n such numbers has the deviation sqrt(1 / 12 n)
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * u.size)


@pytest.mark.parametrize(
    ("name", "given", "changes"),
    [
        ("friction", (0.3, 0.5), {"friction"}),
        ("density", (2.0, 3.0), {"mass"}),
        ("spin", (9.0, 9.5), {"spin"}),
        ("strike", (0.1, 0.2), {"impulse"}),
        ("curve", (0.2, 0.3), {"curve"}),
    ],
)
def test_a_given_range_is_that_of_base_and_changes_nothing_else(
    name: str, given: tuple[float, float], changes: set[str]
) -> None:
    theirs, usual = (
        draw(0, "base", range(200), TABLE, ranges_with(r)) for r in ({name: given}, {})
    )
    assert differing(theirs, usual) == changes
    shift = RANGES[name].shift
    shifted = [draw(0, shift, range(20), TABLE, ranges_with(r)) for r in ({name: given}, {})]
    assert differing(*shifted) == set()


def test_what_is_drawn_lies_in_the_given_range() -> None:
    friction = draw(0, "base", range(200), TABLE, ranges_with({"friction": (0.3, 0.5)})).friction
    assert 0.3 <= friction.min() < 0.35 < 0.45 < friction.max() <= 0.5


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(KeyError):
        draw(0, "gravity", [0], TABLE)
