from __future__ import annotations

import pytest
import torch

from trainers.ep.probes import compile as compiling
from trainers.ep.probes.compile import Options, probe

SHORT = {"T1": 5, "t1max": 5}


def rounded(m, variant):
    """A walk that differs from the eager one by a known part."""

    def walk(z, steps):
        out = z
        for _ in range(steps):
            out = out + m.eps * m.system.force(out)
        return out * (1 + 1e-3) if variant == "off" else out

    return walk


@pytest.fixture
def variants(monkeypatch):
    """Stand-ins for the compilers: one is right, one is off, one does not run."""

    def fails():
        raise RuntimeError("no compiler\nmore words")

    monkeypatch.setattr(
        compiling,
        "_variants",
        lambda m: {
            "eager": lambda: rounded(m, "eager"),
            "same": lambda: rounded(m, "same"),
            "off": lambda: rounded(m, "off"),
            "broken": fails,
        },
    )


@pytest.mark.usefixtures("variants")
def test_each_variant_is_compared_with_the_eager_one(model, said):
    rows = {row.variant: row for row in probe(model(relaxation=SHORT), Options(), said.append)}
    assert rows["eager"].difference == 0
    assert rows["same"].difference == 0
    assert rows["off"].difference == pytest.approx(1e-3, rel=1e-2)
    assert rows["same"].speed_up == pytest.approx(
        rows["eager"].ms_per_step / rows["same"].ms_per_step
    )


@pytest.mark.usefixtures("variants")
def test_a_variant_that_does_not_run_has_a_row_that_says_why(model, said):
    rows = {row.variant: row for row in probe(model(relaxation=SHORT), Options(), said.append)}
    assert rows["broken"].difference is None
    assert rows["broken"].finding == "does not run here: RuntimeError: no compiler"


@pytest.mark.usefixtures("variants")
def test_the_comparison_is_made_in_the_precision_of_training(model, monkeypatch, said):
    seen = []
    real = compiling._timed
    monkeypatch.setattr(
        compiling, "_timed", lambda walk, z, *more: seen.append(z.dtype) or real(walk, z, *more)
    )
    probe(model(relaxation=SHORT), Options(repeats=1), said.append)
    assert set(seen) == {torch.float32}


def test_no_repeat_is_refused():
    with pytest.raises(ValueError, match="repeats is 0"):
        Options(repeats=0)


@pytest.mark.heavy
def test_the_compiled_force_is_the_eager_one(model, said):
    rows = {row.variant: row for row in probe(model(relaxation=SHORT), Options(), said.append)}
    compiled = rows["compiled"]
    if compiled.difference is None:
        pytest.skip(compiled.finding)
    assert compiled.difference < 1e-5
