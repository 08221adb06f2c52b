"""Pictures of what a probe found, as PNG, SVG or PDF. They are drawn from the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainers.probe_pictures import CannotPlot, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(name: str, rows: Sequence[Any], kind: str) -> bytes:
    """The picture of the rows of probe ``name`` in format ``kind``. Raises CannotPlot."""
    if name not in PICTURES:
        raise CannotPlot(f"there is no picture of {name}; there are of: {', '.join(PICTURES)}")
    return picture(lambda figure: PICTURES[name](figure.subplots(), rows), kind)


def _spectrum(axes: Axes, rows: Sequence[Any]) -> None:
    """Eigenvalues in the complex plane; Euler is stable inside |1 + eps mu| = 1."""
    from matplotlib.patches import Circle

    if not any(row.eigenvalues for row in rows):
        raise CannotPlot("only --method blocks has the eigenvalues to draw")
    for row in rows:
        re, im = zip(*row.eigenvalues, strict=True)
        axes.scatter(re, im, s=3, alpha=0.4, label=f"{row.model} (max Re mu {row.max_re_mu:.3g})")
    limits = axes.axis()
    eps = rows[0].eps
    axes.add_patch(Circle((-1 / eps, 0), 1 / eps, fill=False, color="grey", linestyle="--"))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axis((limits[0], max(limits[1], 0.1), limits[2], limits[3]))
    axes.set_aspect("equal", adjustable="box")
    axes.set(xlabel="Re mu", ylabel="Im mu", title=f"spectrum of J; dashed: |1 + {eps:g} mu| = 1")
    axes.legend(markerscale=3)


def _residuals(axes: Axes, rows: Sequence[Any], along: str) -> None:
    for row in rows:
        at, g = zip(*row.residuals, strict=True)
        axes.semilogy(at, g, label=f"{row.model}, sequence {row.sequence}")
    axes.set(xlabel=along, ylabel="||F|| / ||z||", title="residual of the free phase")
    axes.legend()


def _relax(axes: Axes, rows: Sequence[Any]) -> None:
    _residuals(axes, rows, "eps x steps")


def _adaptive(axes: Axes, rows: Sequence[Any]) -> None:
    _residuals(axes, rows, "steps")


def _gradient(axes: Axes, rows: Sequence[Any]) -> None:
    """1 - cosine against T2, a line a radius; hollow where the adjoint has not converged."""
    swept = [row for row in rows if row.part == "sweep"]
    if not swept:
        raise CannotPlot("nothing was swept: give --t2 and --hr")
    for model, hr in dict.fromkeys((row.model, row.hr) for row in swept):
        line = [row for row in swept if (row.model, row.hr) == (model, hr)]
        gaps = [max(1 - row.cosine, 1e-16) for row in line]
        (drawn,) = axes.loglog([row.t2 for row in line], gaps, label=f"{model}, hr = {hr:g}")
        for row, gap in zip(line, gaps, strict=True):
            face = drawn.get_color() if row.converged else "none"
            axes.plot(row.t2, gap, "o", color=drawn.get_color(), markerfacecolor=face)
    axes.set_xticks(sorted({row.t2 for row in swept}), minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.minorticks_off()
    axes.set(
        xlabel="T2",
        ylabel="1 - cosine with the exact gradient",
        title="gradient of ep; hollow: adjoint not converged",
    )
    axes.legend()


PICTURES: dict[str, Callable[[Axes, Sequence[Any]], None]] = {
    "spectrum": _spectrum,
    "relax": _relax,
    "adaptive-eps": _adaptive,
    "gradient": _gradient,
}
