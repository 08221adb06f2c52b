"""Pictures of what a probe of HOPE found. They are drawn from the rows alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainers.probe_pictures import CannotPlot, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def draw(name: str, rows: Sequence[Any], kind: str) -> bytes:
    """The picture of the rows of probe ``name`` in format ``kind``. Raises CannotPlot."""
    if name not in PICTURES:
        raise CannotPlot(f"there is no picture of {name}; there are of: {', '.join(PICTURES)}")
    paint, size = PICTURES[name]
    return picture(lambda figure: paint(figure, rows), kind, size)


def _nan(figure: Figure, rows: Sequence[Any]) -> None:
    """Norms of the gradient by block; a cross at the top where it is not finite."""
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    blocks = [row for row in rows if row.block is not None]
    lines = {
        "parameters": "gradient", "action tokens": "action", "state tokens": "state", "patch tokens": "patch",
    }  # fmt: skip
    drawn = {label: [getattr(row, name) for row in blocks] for label, name in lines.items()}
    finite = [v for values in drawn.values() for v in values if v and math.isfinite(v)]
    top = 10 * max(finite, default=1.0)
    for (label, values), colour in zip(drawn.items(), COLOURS, strict=False):
        numbers = [v if v and math.isfinite(v) else math.nan for v in values]
        left.semilogy(range(len(blocks)), numbers, "o-", color=colour, label=label, alpha=0.8)
        lost = [i for i, v in enumerate(values) if v is not None and not math.isfinite(v)]
        left.semilogy(lost, [top] * len(lost), "x", color=colour, markersize=10)
    left.set(
        xlabel="block", ylabel="norm of the gradient", title="gradient by block (x: not finite)"
    )
    left.set_xticks(range(len(blocks)))
    left.legend()
    right.bar(range(len(blocks)), [row.ln_gain or 0.0 for row in blocks], color="tab:grey")
    right.set(
        xlabel="block", ylabel="1 / sqrt(var + eps), largest", title="layer norms", yscale="log"
    )
    right.set_xticks(range(len(blocks)))


def _memory(figure: Figure, rows: Sequence[Any]) -> None:
    """Retention over the writes, sizes of writes, and errors by frame."""
    kept, sizes, errors = figure.subplots(1, 3)
    memories = [row for row in rows if row.part == "memory"]
    names = list(dict.fromkeys(row.memory for row in memories))
    for row in memories:
        colour = COLOURS[names.index(row.memory) % len(COLOURS)]
        label = row.memory if row is next(r for r in memories if r.memory == row.memory) else None
        kept.plot(row.retention, color=colour, alpha=0.6, label=label)
        kept.plot(row.kept_by_write, color=colour, alpha=0.4, linestyle=":")
        sizes.semilogy(range(1, len(row.writes) + 1), row.writes, "o-", color=colour, alpha=0.6)
    kept.set(xlabel="writes", ylabel="||W_t|| / ||W_0||", title="retention (dotted: of W_0 itself)")
    kept.set_ylim(bottom=0)
    kept.legend()
    sizes.set(
        xlabel="write", ylabel="size over ||W_0||", title="writes (colours as left, a line a block)"
    )
    _frames(errors, [row for row in rows if row.part == "frame"])


def _frames(axes: Axes, frames: Sequence[Any]) -> None:
    gains = [100 * row.gain / row.frozen for row in frames]
    bars = [200 * (row.gain_se or 0.0) / row.frozen for row in frames]
    axes.errorbar([row.frame for row in frames], gains, yerr=bars, fmt="o-", capsize=3)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlabel="frame",
        ylabel="error lower by, %",
        title="with writes against frozen (bars: 2 s.e.)",
    )


def _jump(figure: Figure, rows: Sequence[Any]) -> None:
    """E as a heat map, its diagonal outlined, under it what needs no model."""
    from matplotlib.patches import Rectangle

    found = [row for row in rows if row.tau is not None]
    T = len(found)
    table = [list(row.errors) for row in found]
    table += [[row.blind for row in found], [row.copy for row in found]]
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    middle = (min(map(min, table)) + max(map(max, table))) / 2
    for i, line in enumerate(table):
        for j, value in enumerate(line):
            colour = "white" if value < middle else "black"
            axes.text(j, i, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=8)
    for i in range(T):
        axes.add_patch(
            Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2)
        )
    axes.axhline(T - 0.5, color="white", linewidth=3)
    marks = [f"{row.tau}" if row.trained else f"{row.tau} (not trained)" for row in found]
    axes.set_xticks(range(T), [str(row.tau) for row in found])
    axes.set_yticks(range(T + 2), [*marks, "mean of targets", "copy of frame 0"])
    axes.set(xlabel="target frame", ylabel="prediction for tau", title="L1 error of jumps")
    figure.colorbar(image, ax=axes)


PICTURES: dict[str, tuple[Callable[[Figure, Sequence[Any]], None], tuple[float, float]]] = {
    "nan": (_nan, (10, 4.5)),
    "memory": (_memory, (14, 4.5)),
    "jump": (_jump, (8, 6)),
}
