from __future__ import annotations

import sys

import pytest

from trainers.ep.probes import gradient, relax, spectrum
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


def test_what_has_no_picture_says_what_has(rows):
    with pytest.raises(CannotPlot, match=", ".join(PICTURES)):
        draw("knockout", rows, "png")


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
