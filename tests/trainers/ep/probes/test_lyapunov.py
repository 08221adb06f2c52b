from __future__ import annotations

import math

import pytest
import torch

from tests.trainers.ep.probes.conftest import Linear
from trainers.ep.probes.lyapunov import Options, finite_time_exponents, probe


@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.0), (-0.2, 1.5), (0.1, 0.7)])
def test_a_linear_system_has_the_exponent_of_its_eigenvalue(a, b):
    """d <- (1 + eps mu) d: ln |1 + eps mu| a step, whatever the tangent."""
    eps = 0.1
    A = torch.tensor([[a, -b], [b, a]], dtype=torch.float64)
    system, z = Linear(A), torch.ones(2, 1, 2, dtype=torch.float64)
    end, exponents = finite_time_exponents(
        system.force, system.linearise, z, eps=eps, steps=50, tangents=3
    )
    assert exponents.tolist() == pytest.approx([math.log(abs(1 + eps * complex(a, b)))] * 2)
    M = torch.linalg.matrix_power(torch.eye(2, dtype=torch.float64) + eps * A, 50)
    torch.testing.assert_close(end, z @ M.mT)


def test_the_slowest_mode_is_found_among_many():
    eps = 0.1
    A = torch.diag(-torch.linspace(0.2, 3, 12, dtype=torch.float64))
    system, z = Linear(A), torch.ones(1, 3, 4, dtype=torch.float64)
    _, exponents = finite_time_exponents(
        system.force, system.linearise, z, eps=eps, steps=2000, tangents=8
    )
    assert float(exponents) == pytest.approx(math.log(1 - 0.2 * eps), rel=2e-2)


def test_tangents_predict_how_two_neighbours_part(model, said):
    m = model(init_scale=1.0, batch=1, relaxation={"T1": 30, "t1max": 30})
    (row,) = probe(m, Options(tangents=4), said.append)
    h = 1e-6
    source = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, *m.start.shape, generator=source, dtype=torch.float64)
    growth = []
    for d in drawn:
        d = d / d.norm()
        a, b = m.start, m.start + h * d
        for _ in range(30):
            a, b = a + m.eps * m.system.force(a), b + m.eps * m.system.force(b)
        growth.append(math.log(float((b - a).norm()) / h) / 30)
    assert row.exponent == pytest.approx(max(growth), abs=1e-4)
    assert row.left_after_T1 == pytest.approx(math.exp(30 * row.exponent))


def test_every_sequence_has_a_row_of_its_own(model, said):
    m = model(init_scale=1.0)
    rows = probe(m, Options(), said.append)
    assert [row.sequence for row in rows] == [0, 1, 2]
    alone = probe(m.only(1), Options(), said.append)[0]
    assert rows[1].g_T1 == pytest.approx(alone.g_T1)


def test_no_tangent_is_refused():
    with pytest.raises(ValueError, match="tangents is 0, allowed"):
        Options(tangents=0)
