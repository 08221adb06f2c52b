"""A picture of what a probe found, as PNG, SVG or PDF."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


class CannotPlot(Exception):
    """There is no picture of that, or nothing to draw it with."""


def picture(
    paint: Callable[[Figure], None], kind: str, size: tuple[float, float] = (7, 5)
) -> bytes:
    """What ``paint`` draws on a figure of ``size`` inches, in format ``kind``. Raises CannotPlot."""
    if kind not in FORMATS:
        raise CannotPlot(f"a picture is of type {', '.join(FORMATS)}; got {kind or 'no suffix'}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CannotPlot(
            f"matplotlib cannot be imported ({error}): pip install matplotlib"
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    paint(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150)
    return buffer.getvalue()
