"""The motion of a puck on a table.

    v' = -mu g v/|v| + curve w (v turned by 90 degrees)      sliding, and a path bent by spin
    w' = -SPIN_FRICTION mu g / r sign(w)                     spin
    at a wall: v <- v - (1 + e) (v.n) n where v.n < 0        restitution e, no friction along the wall

The puck lies still, spinning, until it is struck at frame 1: dv = impulse / mass. Between walls friction and bending
are integrated exactly for a step, so that energy falls by friction alone and no step size adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.data.puck.parameters import Array, Pucks, Table

GRAVITY = 9.81
FRAME_SECONDS = 0.125
FINE_STEPS = 16
"""Of a frame."""

STRUCK_AT = 1
"""The frame at which the impulse acts; frames 0 and 1 show the puck where it lies."""

SPIN_FRICTION = 0.1
"""Of 4/3, what a flat disc would have: the puck rests near its middle."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Positions (N, 2), velocities (N, 2), angles (N,) and spins (N,)."""

    position: Array
    velocity: Array
    angle: Array
    spin: Array


@dataclass(frozen=True, kw_only=True)
class Path:
    """At the times of frames: ``position``, ``velocity`` (N, frames, 2); ``angle``, ``spin`` (N, frames)."""

    position: Array
    velocity: Array
    angle: Array
    spin: Array

    def held(self, frames: int) -> Path:
        """Every so many frames, the first of them that often."""
        seen = np.arange(self.spin.shape[1]) // frames * frames
        return Path(
            position=self.position[:, seen],
            velocity=self.velocity[:, seen],
            angle=self.angle[:, seen],
            spin=self.spin[:, seen],
        )


def simulate(pucks: Pucks, table: Table, frames: int) -> Path:
    """The motion of N pucks over ``frames`` frames; a pure function."""
    now = start(pucks)
    seen = [now]
    for frame in range(1, frames):
        now = advance(now, pucks, table) if frame > STRUCK_AT else turned(now, pucks)
        if frame == STRUCK_AT:
            now = struck(now, pucks)
        seen.append(now)
    return Path(
        position=np.stack([motion.position for motion in seen], 1),
        velocity=np.stack([motion.velocity for motion in seen], 1),
        angle=np.stack([motion.angle for motion in seen], 1),
        spin=np.stack([motion.spin for motion in seen], 1),
    )


def start(pucks: Pucks) -> Motion:
    """At rest, spinning."""
    still = np.zeros_like(pucks.position)
    return Motion(position=pucks.position, velocity=still, angle=pucks.angle, spin=pucks.spin)


def struck(motion: Motion, pucks: Pucks) -> Motion:
    """The impulse acts at once."""
    velocity = motion.velocity + pucks.impulse / pucks.mass[:, None]
    return Motion(position=motion.position, velocity=velocity, angle=motion.angle, spin=motion.spin)


def turned(motion: Motion, pucks: Pucks) -> Motion:
    """One frame of spinning on the spot."""
    slowed, angle = _spun(motion, pucks, np.full(len(pucks), FRAME_SECONDS))
    return Motion(position=motion.position, velocity=motion.velocity, angle=angle, spin=slowed)


def advance(motion: Motion, pucks: Pucks, table: Table) -> Motion:
    """One frame. A clip with coarse time goes on by ``coarse`` fine steps at once, at every such step."""
    fine = FRAME_SECONDS / FINE_STEPS
    for number in range(FINE_STEPS):
        seconds = np.where(number % pucks.coarse == 0, fine * pucks.coarse, 0.0)
        motion = off_walls(slide(motion, pucks, seconds), pucks, table)
    return motion


def slide(motion: Motion, pucks: Pucks, seconds: Array) -> Motion:
    """Friction and bending for (N,) seconds, as if there were no walls."""
    speed = np.hypot(motion.velocity[:, 0], motion.velocity[:, 1])
    deceleration = pucks.friction * GRAVITY
    after = np.maximum(speed - deceleration * seconds, 0.0)
    lasts = _lasts(speed, deceleration, seconds)
    spin, angle = _spun(motion, pucks, seconds)
    direction = motion.velocity / np.maximum(speed, np.finfo(float).tiny)[:, None]
    # half of the bend, then the way, then the other half: a chord of the arc
    half = 0.5 * pucks.curve * (angle - motion.angle)
    way = (0.5 * (speed + after) * lasts)[:, None] * _rotated(direction, half)
    return Motion(
        position=motion.position + way,
        velocity=after[:, None] * _rotated(direction, 2 * half),
        angle=angle,
        spin=spin,
    )


def off_walls(motion: Motion, pucks: Pucks, table: Table) -> Motion:
    """Pucks that touch a wall are set beside it, and leave it if they were going into it."""
    position, velocity = motion.position, motion.velocity
    for bar in range(pucks.bars.shape[1]):
        position, velocity = _off_bar(position, velocity, pucks, pucks.bars[:, bar])
    low = np.broadcast_to(pucks.radius[:, None], position.shape)
    high = np.array((table.width, table.height)) - low
    within = np.clip(position, low, high)
    for axis in range(2):
        normal = np.zeros_like(position)
        normal[:, axis] = np.sign(within - position)[:, axis]
        velocity = _bounced(velocity, normal, pucks.restitution)
    return Motion(position=within, velocity=velocity, angle=motion.angle, spin=motion.spin)


def energy(motion: Motion | Path, pucks: Pucks) -> Array:
    """Kinetic energy of sliding and of a disc's spin, (N,) or (N, frames)."""
    mass = pucks.mass.reshape(-1, *(1,) * (motion.spin.ndim - 1))
    inertia = 0.5 * mass * pucks.radius.reshape(mass.shape) ** 2
    sliding = 0.5 * mass * np.square(motion.velocity).sum(-1)
    return np.asarray(sliding + 0.5 * inertia * motion.spin**2)


def _off_bar(position: Array, velocity: Array, pucks: Pucks, bar: Array) -> tuple[Array, Array]:
    """Against boxes (N, 4): the normal points from the nearest point of the box to the puck's centre."""
    there = (bar[:, 2:] > bar[:, :2]).all(-1)
    nearest = np.clip(position, bar[:, :2], bar[:, 2:])
    apart = position - nearest
    distance = np.hypot(apart[:, 0], apart[:, 1])
    touches = there & (distance < pucks.radius) & (distance > 0)
    normal = np.where(touches, 1 / np.where(touches, distance, 1), 0.0)[:, None] * apart
    moved = np.where(touches[:, None], nearest + pucks.radius[:, None] * normal, position)
    return moved, _bounced(velocity, normal, pucks.restitution)


def _bounced(velocity: Array, normal: Array, restitution: Array) -> Array:
    """Reflected where it goes against the normal; a normal of zero changes nothing."""
    into = np.minimum((velocity * normal).sum(-1), 0.0)
    return np.asarray(velocity - ((1 + restitution) * into)[:, None] * normal)


def _spun(motion: Motion, pucks: Pucks, seconds: Array) -> tuple[Array, Array]:
    """Spin and angle after (N,) seconds of constant deceleration of the spin."""
    slowing = SPIN_FRICTION * 4 / 3 * pucks.friction * GRAVITY / pucks.radius
    speed = np.abs(motion.spin)
    after = np.maximum(speed - slowing * seconds, 0.0)
    turn = np.sign(motion.spin) * 0.5 * (speed + after) * _lasts(speed, slowing, seconds)
    return np.sign(motion.spin) * after, motion.angle + turn


def _lasts(speed: Array, deceleration: Array, seconds: Array) -> Array:
    """How long it moves: until it stops, ``seconds`` at most."""
    stops = deceleration * seconds > speed
    return np.asarray(np.divide(speed, deceleration, out=seconds.astype(float), where=stops))


def _rotated(vector: Array, by: Array) -> Array:
    cos, sin = np.cos(by), np.sin(by)
    x, y = vector[:, 0], vector[:, 1]
    return np.stack((cos * x - sin * y, sin * x + cos * y), 1)
