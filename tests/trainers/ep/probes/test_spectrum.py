from __future__ import annotations

import pytest
import torch

from trainers.ep.probes import spectrum
from trainers.ep.probes.arnoldi import finite_difference_gap, largest
from trainers.ep.probes.model import ROOT
from trainers.ep.probes.root import equilibrium
from trainers.ep.probes.spectrum import Method, Options, probe, smallest_eps_crit


def test_the_row_is_that_of_the_dense_jacobian(model, jacobian, said):
    m = model(init_scale=1.0, batch=2)
    (row,) = probe(m, Options(), said.append)
    mu = torch.linalg.eigvals(jacobian(m.system.force, equilibrium(m).z))
    assert row.is_root
    assert row.max_re_mu == pytest.approx(float(mu.real.max()), abs=1e-10)
    assert row.rho == pytest.approx(float((1 + row.eps * mu).abs().max()), abs=1e-10)
    assert row.eps_crit == pytest.approx(float((-2 * mu.real / mu.abs().square()).min()), abs=1e-9)
    assert max(max(tokens) for tokens in row.re_mu_by_token) == row.max_re_mu
    assert row.re_mu_by_token[row.sequence][row.token] == row.max_re_mu


@pytest.mark.parametrize("method", [Method.RIGHTMOST, Method.ARNOLDI])
def test_every_method_names_the_same_rightmost_eigenvalue(model, said, method):
    m = model(init_scale=1.0, batch=2)
    (all_of_them,) = probe(m, Options(), said.append)
    (row,) = probe(m, Options(method=method), said.append)
    assert row.max_re_mu == pytest.approx(all_of_them.max_re_mu, abs=1e-10)
    assert (row.sequence, row.token) == (all_of_them.sequence, all_of_them.token)


@pytest.mark.parametrize("seed", range(3))
def test_arnoldi_on_J_and_the_finite_difference_agree_with_the_blocks(model, said, seed):
    m = model(seed, init_scale=1.0, batch=2, width=16)
    (row,) = probe(m, Options(method=Method.ARNOLDI), said.append)
    assert row.arnoldi is not None
    assert row.arnoldi.gap <= 1e-3 * abs(row.max_re_mu)
    assert row.arnoldi.fd_difference <= 1e-3
    assert f"Re mu {row.arnoldi.re_mu:.6g} on J, rho {row.arnoldi.rho:.6g} on M" in row.finding


def test_the_dominant_mode_of_M_can_hide_the_rightmost_one():
    """A stiff mode near mu = -2 / eps has the largest |1 + eps mu|, and is the leftmost of all."""
    eps = 0.1
    diagonal = torch.linspace(-1.0, -0.5, 20, dtype=torch.float64)
    diagonal[7] = -19.9
    like = torch.zeros(1, 4, 5, dtype=torch.float64)

    def jvp(v):
        return (v.flatten() * diagonal).view_as(v)

    (dominant,) = largest(lambda v: v + eps * jvp(v), like, count=1, which="LM")
    (right,) = largest(jvp, like, count=1, which="LR")
    assert ((dominant - 1) / eps).real == pytest.approx(-19.9)
    assert right.real == pytest.approx(-0.5, abs=1e-3)


def test_a_wrong_jacobian_is_seen_by_the_finite_difference(model):
    m = model(init_scale=1.0)
    J = m.system.linearise(m.relaxed.z_ref)
    right = finite_difference_gap(m.system.force, J.jvp, m.relaxed.z_ref)
    wrong = finite_difference_gap(m.system.force, J.vjp, m.relaxed.z_ref)
    assert right < 1e-3 < wrong


def test_a_state_that_is_no_root_is_said_to_be_none_and_a_root_is_found(model, said):
    m = model(relaxation={"T1": 2, "t1max": 2, "tolerance": 1e-12}, init_scale=1.0)
    (row,) = probe(m, Options(method=Method.RIGHTMOST), said.append)
    assert row.g_refined > ROOT
    assert row.state == "newton"
    assert row.g <= ROOT
    assert row.is_root


def test_without_a_root_no_stability_is_claimed(model, said, monkeypatch):
    monkeypatch.setattr(
        spectrum,
        "equilibrium",
        lambda m: spectrum_state(m, g=0.3),
    )
    (row,) = probe(model(), Options(method=Method.RIGHTMOST), said.append)
    assert not row.is_root
    assert "not the spectrum of an equilibrium" in row.finding


def spectrum_state(m, *, g):
    found = equilibrium(m)
    return type(found)(
        z=found.z,
        g=torch.full_like(found.g, g),
        g_refined=torch.full_like(found.g, g),
        by_newton=True,
    )


@pytest.mark.parametrize(
    ("mu", "eps_crit"),
    [(-2.0 + 0j, 1.0), (-1.0 + 1j, 1.0), (-1.0 + 3j, 0.2), (0.1 + 1j, 0.0), (0j, 0.0)],
)
def test_eps_crit_is_where_euler_is_marginal(mu, eps_crit):
    values = torch.tensor([mu, -0.01 + 0j], dtype=torch.complex128)
    assert smallest_eps_crit(values) == pytest.approx(eps_crit)
    if eps_crit > 0:
        assert abs(1 + eps_crit * mu) == pytest.approx(1.0)
