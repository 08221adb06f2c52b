"""Laws of the probes of the free phase: knockout, eps sweep, adaptive eps, long relaxation, Anderson."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trainers.ep.probes import adaptive_eps, anderson, eps_sweep, knockout, relax, root
from trainers.ep.probes.anderson import Verdict
from trainers.ep.probes.model import ROOT
from trainers.ep.probes.motion import Fate
from trainers.ep.relax import euler


def test_without_attention_and_with_a_small_mlp_the_residual_is_at_rounding(model, said):
    m = model(init_scale=0.1)
    rows = knockout.probe(m, knockout.Options(scales=(1.0, 0.0)), said.append)
    assert [row.scale for row in rows] == [1.0, 0.0]
    assert rows[-1].fate is Fate.ROOT
    assert rows[-1].g < 1e-13
    assert rows[-1].settled == rows[-1].sequences == 3


def test_knockout_scales_the_output_of_attention_alone(model, said):
    m = model(init_scale=1.0, batch=1)
    (half,) = knockout.probe(m, knockout.Options(scales=(0.5,), time=1.0), said.append)
    by_hand = m.with_params(m.params._replace(W_O=0.5 * m.params.W_O))
    z = euler(by_hand.system.force, by_hand.start, m.eps, half.steps)
    g = by_hand.system.force(z).norm() / z.norm()
    assert half.g == pytest.approx(float(g), rel=1e-9)
    assert bool((m.params.W_O != 0).any())


@pytest.mark.parametrize(
    ("time", "fate", "says"),
    [(2.0, Fate.FALLING, "more steps would tell"), (60.0, Fate.ROOT, "it settles")],
)
def test_a_knockout_that_was_cut_short_is_no_verdict(model, said, time, fate, says):
    options = knockout.Options(scales=(1.0,), time=time)
    (row,) = knockout.probe(model(init_scale=0.5), options, said.append)
    assert row.fate is fate
    assert says in row.finding


def test_the_eps_sweep_compares_equal_times(model, said):
    m = model(init_scale=1.0)
    rows = eps_sweep.probe(m, eps_sweep.Options(eps=(0.2, 0.1, 0.05), time=2.0), said.append)
    assert [row.steps for row in rows] == [10, 20, 40]
    assert {row.time for row in rows} == {2.0}
    z = euler(m.system.force, m.start, 0.05, 40)
    g = torch.linalg.vector_norm(m.system.force(z), dim=(1, 2)) / torch.linalg.vector_norm(
        z, dim=(1, 2)
    )
    assert rows[-1].g_max == pytest.approx(float(g.max()))


def test_the_force_residual_does_not_fall_with_eps_all_by_itself(model, said):
    """At equal time every eps is near the same state; eps ||F|| / ||z|| would differ by the factor of eps."""
    m = model(init_scale=1.0)
    rows = eps_sweep.probe(m, eps_sweep.Options(eps=(0.02, 0.01), time=2.0), said.append)
    assert rows[0].g_mean == pytest.approx(rows[1].g_mean, rel=0.1)


def test_adaptive_eps_reaches_a_root_that_is_stable(model, said):
    rows = adaptive_eps.probe(model(init_scale=0.5), adaptive_eps.Options(), said.append)
    assert all(row.finding == "a root" and not row.pinned for row in rows)


def test_adaptive_eps_finds_no_eps_for_an_unstable_root(unstable, said):
    (row,) = adaptive_eps.probe(unstable, adaptive_eps.Options(steps=800), said.append)
    assert row.finding != "a root"
    assert row.g_end > 1e-3


def test_eps_is_pinned_where_it_ends_near_its_floor_and_the_residual_stays(said):
    stays = [
        adaptive_eps.Point(step=10 * i, g=0.1, eps=0.1 * 0.5**i, lowest=0.1 * 0.5**i)
        for i in range(1, 8)
    ]
    assert adaptive_eps.row("parameters", 0, stays, 1e-3).pinned
    assert not adaptive_eps.row("parameters", 0, stays, 1e-5).pinned
    falls = [replace(point, g=0.1 * 0.3**i) for i, point in enumerate(stays)]
    assert not adaptive_eps.row("parameters", 0, falls, 1e-3).pinned


def test_eps_is_read_at_the_root_and_not_from_the_rounding_beyond():
    curve = [
        adaptive_eps.Point(step=i, g=g, eps=eps, lowest=eps)
        for i, (g, eps) in enumerate([(1e-3, 0.1), (1e-7, 0.2), (1e-15, 1e-3)])
    ]
    assert adaptive_eps.until_root(curve) == curve[:2]
    assert adaptive_eps.until_root(curve[:1]) == curve[:1]


def test_a_long_relaxation_of_a_contracting_block_ends_at_a_root(model, said):
    rows = relax.probe(model(init_scale=0.5), relax.Options(steps=400), said.append)
    assert {row.fate for row in rows} == {Fate.ROOT}
    assert all(row.g_end <= ROOT for row in rows)
    times = [time for time, _ in rows[0].residuals]
    assert times == sorted(times)
    assert times[0] == 0.0


def test_a_long_relaxation_goes_round_an_unstable_root(unstable, said):
    (row,) = relax.probe(unstable, relax.Options(steps=1500), said.append)
    assert row.fate is Fate.CYCLE
    assert row.amplitude > 1e-2
    assert row.period > 1


def test_a_stable_root_is_called_so(model, said):
    rows = anderson.probe(model(init_scale=0.5), anderson.Options(), said.append)
    assert {row.verdict for row in rows} == {Verdict.STABLE}
    assert all(row.max_re_mu < 0 for row in rows)


def test_a_root_that_the_dynamics_leave_is_found_and_called_unstable(unstable, said):
    (row,) = anderson.probe(unstable, anderson.Options(), said.append)
    assert row.verdict is Verdict.UNSTABLE
    assert row.g_euler > anderson.ROOT
    assert row.max_re_mu > 0


def test_no_root_is_claimed_where_none_was_found(unstable, said, monkeypatch):
    real = root.newton
    monkeypatch.setattr(
        root, "newton", lambda system, z, **how: real(system, z, **{**how, "max_iterations": 0})
    )
    (row,) = anderson.probe(unstable, anderson.Options(evaluations=1), said.append)
    assert row.verdict is Verdict.NO_ROOT
    assert row.max_re_mu is None


@pytest.mark.parametrize(
    ("options", "fields", "says"),
    [
        (knockout.Options, {"scales": ()}, "scales are"),
        (knockout.Options, {"scales": (-0.1,)}, "scales are"),
        (knockout.Options, {"time": 0.0}, "time is 0"),
        (eps_sweep.Options, {"eps": (0.1, 0.0)}, "eps are"),
        (eps_sweep.Options, {"time": -1.0}, "time is -1"),
        (adaptive_eps.Options, {"steps": 1}, "steps is 1"),
        (adaptive_eps.Options, {"eps_min": 0.0}, "eps_min is 0"),
        (relax.Options, {"steps": 3}, "steps is 3"),
        (relax.Options, {"steps": 10**7}, "allowed: 4 to 1000000"),
        (anderson.Options, {"evaluations": 0}, "evaluations is 0"),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(options, fields, says):
    with pytest.raises(ValueError, match=says):
        options(**fields)
