"""The pictures of docs/ep.md: learning curves over seeds, and how an undefended run loses contraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.ep_curves import CE, Band, Curve, band, by_run, time_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN: Mapping[str, tuple[str, str]] = {
    "ep_hinge": ("EP + hinge", "tab:blue"),
    "bptt_twin": ("BPTT", "tab:orange"),
    "bptt_hinge": ("BPTT + hinge", "tab:green"),
    "ep_recipe": ("EP, resreg + jacreg", "tab:red"),
    "ep_selfblock": ("EP, resreg + self-block jacreg", "tab:purple"),
}
"""Runs of the learning curves: label and colour."""

WALL = "ep_plain"
BLOWN_UP = 3.5  # nats: what is above has no place among curves that learn


def draw(curves: Sequence[Curve], out: Path) -> tuple[Path, ...]:
    """Write ep_ce_step.png, ep_ce_time.png and ep_wall.png, as far as there are curves for them."""
    out.mkdir(parents=True, exist_ok=True)
    runs = by_run(curves)
    known = {name: runs[name] for name in SHOWN if name in runs}
    written = []
    if known:
        written.append(_save(out / "ep_ce_step.png", lambda figure: _by_step(figure, known)))
        written.append(_save(out / "ep_ce_time.png", lambda figure: _by_time(figure, known)))
    if WALL in runs:
        written.append(_save(out / "ep_wall.png", lambda figure: _wall(figure, runs[WALL])))
    return tuple(written)


def _save(path: Path, paint: Callable[[Figure], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    paint(figure)
    figure.savefig(path, dpi=120)
    return path


def _by_step(figure: Figure, runs: Mapping[str, Sequence[Curve]]) -> None:
    axes = figure.subplots()
    for name, seeds in runs.items():
        found = band(seeds, CE)
        _shade(axes, name, len(seeds), found.steps, found)
    _finish(axes, "training step")


def _by_time(figure: Figure, runs: Mapping[str, Sequence[Curve]]) -> None:
    axes = figure.subplots()
    for name, seeds in runs.items():
        found, at = band(seeds, CE), time_band(seeds)
        when = dict(zip(at.steps, at.mean, strict=True))
        kept = [i for i, step in enumerate(found.steps) if step in when]
        _shade(axes, name, len(seeds), [when[found.steps[i]] for i in kept], _only(found, kept))
    _finish(axes, "seconds of training (mean over seeds)")


def _only(found: Band, kept: Sequence[int]) -> Band:
    return Band(
        steps=tuple(found.steps[i] for i in kept),
        mean=tuple(found.mean[i] for i in kept),
        low=tuple(found.low[i] for i in kept),
        high=tuple(found.high[i] for i in kept),
    )


def _shade(axes: Axes, name: str, seeds: int, x: Sequence[float], found: Band) -> None:
    label, colour = SHOWN[name]
    axes.plot(x, found.mean, color=colour, label=f"{label} ({seeds} seeds)")
    axes.fill_between(x, found.low, found.high, color=colour, alpha=0.2, linewidth=0)


def _finish(axes: Axes, x: str) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, BLOWN_UP))
    axes.set(xlabel=x, ylabel="val/ce (nats)")
    axes.grid(alpha=0.3)
    axes.legend()


def _wall(figure: Figure, seeds: Sequence[Curve]) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True)
    for curve in seeds:
        mu, residual = curve.of("spectrum/estimate"), curve.of("residual/T1")
        upper.plot(list(mu), list(mu.values()), label=f"seed {curve.seed}")
        lower.semilogy(list(residual), list(residual.values()))
    upper.axhline(0, color="black", linewidth=0.8)
    upper.set_ylim(-2, 3)
    upper.set(ylabel="estimate of max Re mu", title="EP without a defence")
    lower.axhline(1e-2, color="black", linewidth=0.8)
    lower.set(xlabel="training step", ylabel="residual at T1")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.legend()
