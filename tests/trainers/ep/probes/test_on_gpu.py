"""Laws on a real GPU: the same findings as on the CPU, and graphs that compute what eager computes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainers.ep.block import Params
from trainers.ep.probes import anderson, compile, gradient, lyapunov, relax, spectrum
from trainers.ep.probes.model import Model

pytestmark = pytest.mark.gpu


def on_gpu(m: Model) -> Model:
    params = Params(*(p.cuda() for p in m.params))
    return replace(m, params=params, idx=m.idx.cuda(), y=m.y.cuda())


@pytest.mark.parametrize("method", list(spectrum.Method))
def test_the_spectrum_is_that_of_the_cpu(model, said, method):
    m, options = model(init_scale=1.0, batch=2, width=16), spectrum.Options(method=method)
    (here,), (there,) = (spectrum.probe(x, options, said.append) for x in (m, on_gpu(m)))
    assert there.max_re_mu == pytest.approx(here.max_re_mu, abs=1e-8)
    assert (there.sequence, there.token) == (here.sequence, here.token)


def test_free_phases_end_where_they_end_on_the_cpu(unstable, said):
    followed = relax.probe(on_gpu(unstable), relax.Options(steps=1500), said.append)
    assert followed[0].fate == relax.probe(unstable, relax.Options(steps=1500), said.append)[0].fate
    (root,) = anderson.probe(on_gpu(unstable), anderson.Options(), said.append)
    assert root.verdict is anderson.Verdict.UNSTABLE


def test_the_lyapunov_exponent_is_that_of_the_cpu(model, said):
    m = model(init_scale=1.0)
    here, there = (lyapunov.probe(x, lyapunov.Options(), said.append) for x in (m, on_gpu(m)))
    assert [r.exponent for r in there] == pytest.approx([r.exponent for r in here], abs=1e-8)


def test_gradients_are_as_good_as_on_the_cpu(model, said):
    m, options = model(), gradient.Options(t2=(40,), hr=(0.02,))
    here, there = (gradient.probe(x, options, said.append) for x in (m, on_gpu(m)))
    for ours, theirs in zip(here, there, strict=True):
        assert (ours.part, ours.estimator, ours.steps) == (
            theirs.part,
            theirs.estimator,
            theirs.steps,
        )
        assert theirs.cosine == pytest.approx(ours.cosine, abs=1e-6)


def test_graphs_compute_what_eager_computes(model, said):
    m = on_gpu(model(width=32, batch=4, context=16))
    rows = {row.variant: row for row in compile.probe(m, compile.Options(), said.append)}
    assert rows["graphs"].difference < 1e-6
    assert rows["graphs, 3xtf32"].difference < 1e-5
