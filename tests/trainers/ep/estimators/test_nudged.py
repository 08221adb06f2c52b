"""What holds for nudged phases of any number: anchors, error law, symmetry, order of the bias, fall-back."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch

from tests.trainers.ep.linear import dense_adjoint, relative, solver
from trainers.ep.estimators.circle import Circle, contract
from trainers.ep.estimators.ep import ep
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.holomorphic import holomorphic
from trainers.ep.estimators.nudged import nudged
from trainers.ep.estimators.rbp import rbp
from trainers.ep.norms import per_sequence_norm
from trainers.ep.relax import euler


def test_before_convergence_the_error_is_that_of_the_iteration_at_every_radius(
    toy, jacobian, cosine
):
    """Sweep of T2 and radius: the error tracks ||(I + eps J^T)^T2 e_0||, the radius plays no part in it."""
    t, eps = toy(width=16, heads=2), 0.1
    z = t.fixed_point()
    J = jacobian(t.force, z)
    a = dense_adjoint(J, t.system.ell(z))
    M_T = torch.eye(len(J), dtype=J.dtype) + eps * J.T
    e_0 = (t.system.ell(z) / t.block.stiffness - a).flatten()
    for steps in (2, 6, 12):
        # the last of `steps` applications of J^T measures the residual of the last-but-one update
        law = float((torch.linalg.matrix_power(M_T, steps - 1) @ e_0).norm() / a.norm())
        assert law > 0.03
        errors = []
        for radius in (0.02, 0.01, 0.005):
            out = ep(t.system, z, solver(max_steps=steps, check_every=steps, radius=radius), eps)
            errors.append(relative(out.a, a))
            assert not out.record.converged
        assert errors == pytest.approx([law] * 3, rel=0.05)
        assert max(errors) < 1.01 * min(errors)


@pytest.mark.parametrize(("estimator", "points"), [(ep, 2), (holomorphic, 4)])
def test_converged_means_that_the_residual_is_within_the_tolerance_and_the_direction_right(
    toy, jacobian, cosine, estimator, points
):
    t = toy(width=16, heads=2)
    z = t.fixed_point()
    a = dense_adjoint(jacobian(t.force, z), t.system.ell(z))
    for steps in (5, 10, 20, 40, 80, 160):
        settings = solver(
            max_steps=steps, check_every=5, tolerance=1e-2, points=points, radius=0.005
        )
        out = estimator(t.system, z, settings, 0.1)
        assert out.record.converged == (float(out.record.r_adj.max()) <= 1e-2)
        if out.record.converged:
            assert cosine([out.a], [a]) > 0.9999
    assert out.record.converged


@pytest.mark.parametrize(
    ("points", "factor", "radii"),
    [(2, 4, (0.02, 0.01, 0.005)), (4, 16, (0.02, 0.01, 0.005)), (8, 256, (0.04, 0.02, 0.01))],
)
def test_the_bias_has_the_order_of_the_number_of_points(toy, points, factor, radii):
    t = toy()
    z = t.fixed_point()
    a = exact(t.system, z, solver(tolerance=1e-14), 0.3).a
    errors = [
        relative(
            holomorphic(
                t.system, z, solver(max_steps=120, points=points, radius=r, tolerance=1e-15), 0.3
            ).a,
            a,
        )
        for r in radii
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(factor, rel=0.1)


def all_phases(system, z, ell, *, points, beta, steps, eps):
    """The same algorithm with every phase computed, complex throughout, and nothing shared."""
    nudges = [cmath.rect(1.0, 2 * cmath.pi * k / points) * beta for k in range(points)]
    phases = [z - nudge * (ell / system.stiffness) for nudge in nudges]
    for _ in range(steps):
        mean = (sum(phases) / points).real
        J = system.linearise(mean)
        moved = []
        for nudge, u in zip(nudges, phases, strict=True):
            d = u - mean
            skew = [J.jvp(part) - J.vjp(part) for part in (d.real, d.imag)]
            moved.append(u + eps * (system.force(u) - nudge * ell - torch.complex(*skew)))
        phases = moved
    turned = [u * cmath.rect(1.0, -2 * cmath.pi * k / points) for k, u in enumerate(phases)]
    return -(sum(turned) / points).real / beta


@pytest.mark.parametrize("points", [2, 4, 8])
def test_half_the_phases_and_their_conjugates_are_all_the_phases(toy, points):
    t = toy()
    z, steps, radius = t.fixed_point(), 12, 0.05
    ell = t.system.ell(z)
    beta = radius * per_sequence_norm(z) / per_sequence_norm(ell / t.block.stiffness)
    settings = solver(
        max_steps=steps + 1, check_every=steps + 1, refresh_nudge=99, points=points, radius=radius
    )
    found = holomorphic(t.system, z, settings, 0.1).a
    expected = all_phases(
        t.system, z, ell, points=points, beta=beta[:, None, None], steps=steps, eps=0.1
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("points", [2, 4, 8])
def test_the_weights_of_a_circle_are_those_of_its_phases(points):
    source = torch.Generator().manual_seed(0)
    real = torch.randn(2, 1, 2, 3, generator=source, dtype=torch.float64)
    others = torch.randn(2, points // 2 - 1, 1, 2, 3, generator=source, dtype=torch.float64)
    circle = Circle.of(points, real)
    rows = torch.cat((real, *others))
    upper = list(torch.complex(*others))
    phases = [real[0] + 0j, *upper, real[1] + 0j, *(u.conj() for u in reversed(upper))]
    turned = [u * cmath.rect(1.0, -2 * cmath.pi * k / points) for k, u in enumerate(phases)]
    torch.testing.assert_close(contract(circle.mean, rows), (sum(phases) / points).real)
    torch.testing.assert_close(contract(circle.harmonic, rows), (sum(turned) / points).real)
    square = circle.force(lambda u: u * u, rows)
    torch.testing.assert_close(square[0], real[0] ** 2)
    if upper:
        torch.testing.assert_close(square[2], (upper[0] ** 2).real)
        torch.testing.assert_close(square[2 + len(upper)], (upper[0] ** 2).imag)


@pytest.mark.parametrize("points", [2, 4])
def test_a_tracked_anchor_is_right_where_a_frozen_one_is_not(toy, cosine, points):
    """From a free state that has not settled: the frozen J is that of another state, and its phases drift."""
    t = toy(width=16, heads=2, init_scale=0.6)
    a = rbp(t.system, t.fixed_point(), solver(), 0.3).a
    rough = euler(t.force, t.x / t.block.stiffness, 0.1, 3)
    found = {
        anchor: nudged(
            t.system, rough, solver(max_steps=150, radius=1e-3, anchor=anchor), 0.1, points
        )[0].a
        for anchor in ("track", "frozen")
    }
    assert cosine([found["track"]], [a]) > 0.9999
    assert cosine([found["frozen"]], [a]) < 0.99


@pytest.mark.parametrize("points", [2, 4])
def test_at_the_equilibrium_both_anchors_agree(toy, points):
    t = toy()
    z = t.fixed_point()
    tracked, frozen = (
        nudged(t.system, z, solver(max_steps=300, radius=1e-3, anchor=anchor), 0.3, points)[0].a
        for anchor in ("track", "frozen")
    )
    assert relative(frozen, tracked) < 1e-4


@pytest.mark.parametrize("points", [2, 4, 8])
def test_ep_with_a_vanishing_nudge_is_rbp(toy, points):
    t = toy()
    z = t.fixed_point()
    settings = solver(max_steps=30, check_every=30, radius=1e-4, points=points)
    assert (
        relative(holomorphic(t.system, z, settings, 0.1).a, rbp(t.system, z, settings, 0.1).a)
        < 1e-6
    )


def test_a_phase_that_leaves_its_circle_makes_it_two_points_and_is_reported(toy):
    """A nudge of the size of the state: the complex phases run into the poles of tanh."""
    t = toy(seed=2, init_scale=1.0)
    z = t.fixed_point()
    wide = solver(max_steps=60, check_every=5, points=4, radius=0.5, tolerance=1e-6)
    out = holomorphic(t.system, z, wide, 0.1)
    real = ep(t.system, z, wide, 0.1)
    assert out.record.fell_back is True
    assert out.a.isfinite().all()
    torch.testing.assert_close(out.a, real.a)
    torch.testing.assert_close(out.record.r_adj, real.record.r_adj)
    assert out.record.steps > real.record.steps


def test_phases_that_stay_are_reported_to_have_stayed(toy):
    t = toy()
    out = holomorphic(t.system, t.fixed_point(), solver(points=4, tolerance=1e-2), 0.1)
    assert out.record.fell_back is False
    assert ep(t.system, t.fixed_point(), solver(tolerance=1e-2), 0.1).record.fell_back is None


def test_a_phase_that_is_no_number_is_off_its_circle():
    rows = four_phases(1, 1j, -1, -1j)
    rows[2, 0] = torch.nan
    assert Circle.of(4, rows).on_circle(rows).tolist() == [False, True]


@pytest.mark.parametrize(
    ("phases", "on"),
    [
        ((1, 1j, -1, -1j), True),
        ((7 + 1e-3, 7 + 1e-3j, 7 - 1e-3, 7 - 1e-3j), True),
        ((0, 0, 0, 0), True),
        ((1, 3j, -1, -3j), False),
        ((1, 0.3j, -1, -0.3j), False),
        ((4, 0.1j, 0, -0.1j), False),
        ((2, -1.5 + 0.5j, 1, -1.5 - 0.5j), False),
        ((math.inf, 1j, -1, -1j), False),
    ],
)
def test_phases_are_on_a_circle_where_all_are_equally_far_from_their_mean(phases, on):
    """(4, .1j, 0, -.1j): one real phase in another basin, the others together. The next: the pair shares a shift."""
    rows = four_phases(*phases)
    assert Circle.of(4, rows).on_circle(rows).tolist() == [on, on]


def four_phases(z0: complex, z1: complex, z2: complex, z3: complex) -> torch.Tensor:
    """Rows of two sequences in which all numbers are the same."""
    assert z3 == z1.conjugate()
    rows = torch.tensor([z0, z2, z1.real, z1.imag], dtype=torch.float64)
    return rows[:, None, None, None].repeat(1, 2, 3, 4)


@pytest.mark.parametrize("points", [2, 4])
@pytest.mark.parametrize("radius", [1e-2, 5e-3, 1e-3])
def test_single_precision_is_enough_for_the_nudge(toy, points, radius):
    t = toy()
    z = t.fixed_point()
    a = exact(t.system, z, solver(), 0.3).a
    single = t.system.to(torch.float32)
    settings = solver(max_steps=100, check_every=10, radius=radius, points=points, tolerance=1e-3)
    out = holomorphic(single, z.float(), settings, 0.3)
    assert out.record.converged
    assert out.a.dtype is torch.float32
    assert relative(out.a.double(), a) < 5e-3
