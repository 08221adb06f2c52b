"""Pictures of what a probe found, as PNG, SVG or PDF. They are drawn from the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainers.ep.probes.anderson import ROOT as FOUND
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


def _residuals(axes: Axes, rows: Sequence[Any], along: str, steps: str) -> None:
    for row in rows:
        at, g = zip(*row.residuals, strict=True)
        axes.semilogy(at, g, label=f"{row.model}, sequence {row.sequence}")
    axes.set(xlabel=along, ylabel="||F|| / ||z||", title=f"residual of the free phase, {steps}")
    axes.legend()


def _relax(axes: Axes, rows: Sequence[Any]) -> None:
    _residuals(axes, rows, "eps x steps", "eps fixed")


def _adaptive(axes: Axes, rows: Sequence[Any]) -> None:
    _residuals(axes, rows, "steps", "eps adaptive")


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


def _lyapunov(axes: Axes, rows: Sequence[Any]) -> None:
    """A point a sequence, a colour a model."""
    for model, line in _by_model(rows):
        exponents = [row.per_time for row in line]
        axes.plot([row.sequence for row in line], exponents, "o", label=model)
    _whole_numbers(axes, rows)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlabel="sequence",
        ylabel="exponent per unit of eps x steps",
        title=f"largest growth of a tangent over T1 = {rows[0].T1} steps; above 0 it grows",
    )
    axes.legend()


def _anderson(axes: Axes, rows: Sequence[Any]) -> None:
    """What each search leaves of the residual, sequence by sequence."""
    searches = {"g_euler": "Euler", "g_anderson": "Anderson", "g_newton": "Newton-GMRES"}
    for model, line in _by_model(rows):
        for (name, label), shape in zip(searches.items(), "osD", strict=True):
            found = [(row.sequence, getattr(row, name)) for row in line]
            points = [(at, g) for at, g in found if g is not None]
            if points:
                axes.semilogy(*zip(*points, strict=True), shape, label=f"{model}, {label}")
    _whole_numbers(axes, rows)
    axes.axhline(FOUND, color="grey", linestyle="--", label=f"a root from {FOUND:g} on")
    axes.set(xlabel="sequence", ylabel="||F|| / ||z||", title="is there an equilibrium?")
    axes.legend()


def _knockout(axes: Axes, rows: Sequence[Any]) -> None:
    """The residual's floor against the scale of W_O; hollow where the state does not settle."""
    for model, line in _by_model(rows):
        (drawn,) = axes.semilogy([row.scale for row in line], [row.g for row in line], label=model)
        colour = drawn.get_color()
        for row in line:
            face = colour if row.settled == row.sequences else "none"
            axes.plot(row.scale, row.g, "o", color=colour, markerfacecolor=face)
    axes.set(
        xlabel="factor of W_O",
        ylabel="||F|| / ||z||, the worst sequence",
        title="attention knocked out; hollow: no root within the time",
    )
    axes.legend()


def _eps_sweep(axes: Axes, rows: Sequence[Any]) -> None:
    for model, line in _by_model(rows):
        eps = [row.eps for row in line]
        axes.loglog(eps, [row.g_max for row in line], "o-", label=f"{model}, worst sequence")
        axes.loglog(eps, [row.g_mean for row in line], "o--", label=f"{model}, mean")
    axes.set_xticks([row.eps for row in rows], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.minorticks_off()
    axes.set(
        xlabel="eps",
        ylabel="||F|| / ||z||",
        title=f"residual of the free phase after eps x steps = {rows[0].time:g}",
    )
    axes.legend()


def _compile(axes: Axes, rows: Sequence[Any]) -> None:
    """Time of a step by variant; what does not run here has no bar."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    models = _by_model(rows)
    width = 0.8 / len(models)
    for i, (model, line) in enumerate(models):
        at = [variants.index(row.variant) + i * width for row in line]
        axes.bar(at, [row.ms_per_step or 0.0 for row in line], width, align="edge", label=model)
    axes.set_xticks([j + 0.4 for j in range(len(variants))], variants)
    axes.set(xlabel="variant", ylabel="ms per Euler step", title="speed of the free phase")
    axes.legend()


def _by_model(rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    names = dict.fromkeys(row.model for row in rows)
    return [(name, [row for row in rows if row.model == name]) for name in names]


def _whole_numbers(axes: Axes, rows: Sequence[Any]) -> None:
    axes.set_xticks(sorted({row.sequence for row in rows}))


PICTURES: dict[str, Callable[[Axes, Sequence[Any]], None]] = {
    "spectrum": _spectrum,
    "lyapunov": _lyapunov,
    "anderson": _anderson,
    "knockout": _knockout,
    "eps-sweep": _eps_sweep,
    "adaptive-eps": _adaptive,
    "relax": _relax,
    "gradient": _gradient,
    "compile": _compile,
}
