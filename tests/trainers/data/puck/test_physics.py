"""Laws of motion: energy, momentum, walls, spin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.data_clips import TASKS
from trainers.data.puck.parameters import BARS, Pucks, Table, distance_to_bars, draw
from trainers.data.puck.physics import (
    FINE_STEPS,
    FRAME_SECONDS,
    GRAVITY,
    STRUCK_AT,
    Path,
    energy,
    simulate,
)

TABLE = Table()
FRAMES = 16
MOVING = (FRAMES - 1 - STRUCK_AT) * FRAME_SECONDS


def puck(**changes: Any) -> Pucks:
    """One puck in the middle of the table, struck to the right, without friction, spin or inner walls."""
    given = {
        "radius": 0.05, "mass": 2.0, "friction": 0.0, "ice": False, "restitution": 1.0, "spin": 0.0, "curve": 0.0,
        "angle": 0.0, "position": (0.3, 0.5), "impulse": (0.4, 0.0), "bars": np.zeros((BARS, 4)), "coarse": 1,
        **changes,
    }  # fmt: skip
    return Pucks(**{name: np.array([value]) for name, value in given.items()})


def run(pucks: Pucks, table: Table = TABLE) -> Path:
    return simulate(pucks, table, FRAMES)


@given(seed=st.integers(0, 10_000), task=st.sampled_from(TASKS))
@settings(max_examples=30, deadline=None)
def test_energy_never_grows_without_an_impulse(seed: int, task: str) -> None:
    pucks = draw(seed, task, range(20), TABLE)
    after = energy(run(pucks), pucks)[:, STRUCK_AT:]
    assert (np.diff(after, axis=1) <= 1e-12 * after[:, :1]).all()


@given(seed=st.integers(0, 10_000), task=st.sampled_from(TASKS))
@settings(max_examples=30, deadline=None)
def test_a_puck_stays_on_the_table_and_outside_walls(seed: int, task: str) -> None:
    pucks = draw(seed, task, range(20), TABLE)
    path = run(pucks)
    r = pucks.radius[:, None, None]
    assert (path.position >= r - 1e-12).all()
    assert (path.position <= 1 - r + 1e-12).all()
    # where a wall leaves too little room beside it a puck may overlap it, but its middle never gets inside
    assert (distance_to_bars(path.position[:, :, None], pucks.bars[:, None]) > 0).all()


def test_it_rests_until_it_is_struck_and_the_strike_gives_it_impulse_over_mass() -> None:
    path = run(puck(impulse=(0.3, -0.2)))
    assert np.array_equal(path.position[:, 0], path.position[:, STRUCK_AT])
    assert not path.velocity[:, 0].any()
    np.testing.assert_allclose(path.velocity[0, STRUCK_AT], (0.15, -0.1), rtol=1e-12)


def test_momentum_stays_without_friction_and_walls() -> None:
    pucks = puck(impulse=(0.3, -0.2))
    path = run(pucks)
    momentum = pucks.mass[:, None, None] * path.velocity[:, STRUCK_AT:]
    np.testing.assert_allclose(momentum, np.broadcast_to((0.3, -0.2), momentum.shape), rtol=1e-12)
    np.testing.assert_allclose(path.position[0, -1] - (0.3, 0.5), np.array((0.15, -0.1)) * MOVING)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_table_without_loss_keeps_the_energy_through_walls_and_bends(seed: int) -> None:
    drawn = draw(seed, "compositional_ood", range(20), TABLE)
    pucks = replace(drawn, friction=0 * drawn.friction, restitution=np.ones(20))
    after = energy(run(pucks), pucks)[:, STRUCK_AT:]
    np.testing.assert_allclose(after, np.broadcast_to(after[:, :1], after.shape), rtol=1e-9)


@pytest.mark.parametrize("coarse", [1, 4, FINE_STEPS])
def test_friction_stops_it_after_v_squared_over_two_mu_g(coarse: int) -> None:
    v, mu = 0.5, 0.05
    path = run(puck(impulse=(2.0 * v, 0.0), friction=mu, coarse=coarse))
    assert v / (mu * GRAVITY) < MOVING
    np.testing.assert_allclose(path.position[0, -1, 0], 0.3 + v**2 / (2 * mu * GRAVITY), rtol=1e-9)
    assert not path.velocity[0, -1].any()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("restitution", [1.0, 0.5])
def test_a_wall_reflects_what_goes_into_it_and_keeps_what_goes_along(
    axis: int, restitution: float
) -> None:
    impulse = np.array((0.3, 0.3))
    impulse[axis] = -1.4
    path = run(puck(impulse=impulse, restitution=restitution, position=(0.3, 0.3)))
    before, after = path.velocity[0, STRUCK_AT], path.velocity[0, STRUCK_AT + 5]
    np.testing.assert_allclose(after[axis], -restitution * before[axis], rtol=1e-12)
    np.testing.assert_allclose(after[1 - axis], before[1 - axis], rtol=1e-12)


def test_an_inner_wall_turns_a_puck_back() -> None:
    bars = np.zeros((BARS, 4))
    bars[0] = (0.6, 0.2, 0.64, 0.8)
    path = run(puck(impulse=(1.6, 0.0), bars=bars))
    assert path.position[0, :, 0].max() <= 0.6 - 0.05 + 1e-12
    np.testing.assert_allclose(path.velocity[0, -1, 0] ** 2, 0.8**2)


@pytest.mark.parametrize("spin", [-6.0, 6.0])
def test_spin_bends_the_path_to_its_own_side_and_not_without_a_curve(spin: float) -> None:
    straight = run(puck(spin=spin))
    bent = run(puck(spin=spin, curve=0.1))
    np.testing.assert_allclose(straight.position[0, :, 1], 0.5)
    assert np.sign(bent.position[0, -1, 1] - 0.5) == np.sign(spin)
    np.testing.assert_allclose(bent.angle[0, -1], spin * (FRAMES - 1) * FRAME_SECONDS)


def test_a_coarse_table_differs_from_a_fine_one_where_a_wall_is_met() -> None:
    ways = [run(puck(impulse=(2.2, 0.1), coarse=coarse)).position for coarse in (1, 4)]
    assert 1e-4 < np.abs(ways[0] - ways[1]).max() < 0.2


@pytest.mark.parametrize("task", TASKS)
def test_a_path_does_not_depend_on_the_pucks_around_it(task: str) -> None:
    pucks = draw(1, task, range(8), TABLE)
    alone = run(pucks.where(slice(3, 4)))
    np.testing.assert_array_equal(run(pucks).position[3:4], alone.position)
