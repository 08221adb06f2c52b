from __future__ import annotations

import sys

import pytest
import torch

from trainers.ep.probes import (
    adaptive_eps,
    anderson,
    compile,
    eps_sweep,
    gradient,
    knockout,
    lyapunov,
    relax,
    spectrum,
)
from trainers.ep.probes.plots import PICTURES, draw
from trainers.probe_pictures import CannotPlot

MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def rows(model, said):
    return spectrum.probe(model(), spectrum.Options(), said.append)


@pytest.mark.parametrize("kind", MAGIC)
def test_a_picture_is_of_the_type_of_its_name(rows, kind):
    assert draw("spectrum", rows, kind).startswith(MAGIC[kind])


def test_residuals_and_cosines_have_pictures(model, said):
    settled = model(init_scale=0.5)
    followed = relax.probe(settled, relax.Options(steps=40), said.append)
    assert draw("relax", followed, "png").startswith(MAGIC["png"])
    swept = gradient.probe(settled, gradient.Options(t2=(2, 4), hr=(0.01, 0.1)), said.append)
    assert draw("gradient", swept, "png").startswith(MAGIC["png"])


def test_every_picture_names_its_axes_its_lines_and_itself(model, said, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(
        torch, "compile", lambda function, **_: function
    )  # the picture needs no compiler
    block = model(init_scale=0.5)
    found = {
        "lyapunov": lyapunov.probe(block, lyapunov.Options(), said.append),
        "anderson": anderson.probe(block, anderson.Options(evaluations=5), said.append),
        "knockout": knockout.probe(block, knockout.Options(time=2.0), said.append),
        "eps-sweep": eps_sweep.probe(block, eps_sweep.Options(), said.append),
        "compile": compile.probe(block, compile.Options(repeats=1), said.append),
        "spectrum": spectrum.probe(block, spectrum.Options(), said.append),
        "relax": relax.probe(block, relax.Options(steps=40), said.append),
        "adaptive-eps": adaptive_eps.probe(block, adaptive_eps.Options(steps=40), said.append),
        "gradient": gradient.probe(block, gradient.Options(t2=(2, 4), hr=(0.01, 0.1)), said.append),
    }
    assert found.keys() == PICTURES.keys()
    for name, rows in found.items():
        axes = Figure().subplots()
        PICTURES[name](axes, rows)
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
        assert axes.get_legend() is not None


def test_what_has_no_picture_says_what_has(rows):
    with pytest.raises(CannotPlot, match=", ".join(PICTURES)):
        draw("weight", rows, "png")


@pytest.mark.parametrize("kind", ["gif", ""])
def test_an_unknown_type_is_refused(rows, kind):
    with pytest.raises(CannotPlot, match="png, svg, pdf"):
        draw("spectrum", rows, kind)


def test_eigenvalues_that_were_not_computed_cannot_be_drawn(model, said):
    options = spectrum.Options(method=spectrum.Method.RIGHTMOST)
    with pytest.raises(CannotPlot, match="--method blocks"):
        draw("spectrum", spectrum.probe(model(), options, said.append), "png")


def test_an_empty_sweep_cannot_be_drawn(model, said):
    found = gradient.probe(model(init_scale=0.5), gradient.Options(t2=(), hr=()), said.append)
    with pytest.raises(CannotPlot, match="nothing was swept"):
        draw("gradient", found, "png")


def test_without_matplotlib_it_says_what_to_install(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(CannotPlot, match="pip install matplotlib"):
        draw("spectrum", rows, "png")
