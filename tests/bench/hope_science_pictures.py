"""The pictures of docs/hope.md: memories with and without writes, the matrix of jumps, gradients over training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.hope_science_tables import by_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = Mapping[str, Any]

CURVES = (
    ("memory", "val/last", "trained and judged with writes", "tab:blue"),
    ("memory", "val/last_frozen", "the same nets, frozen writes", "tab:red"),
    ("memory_off", "val/last", "trained without writes", "tab:gray"),
)


def draw(results: Sequence[Result], out: Path) -> tuple[Path, ...]:
    """hope_memory.png, hope_jump.png and hope_gradients.png, as far as there are results for them."""
    out.mkdir(parents=True, exist_ok=True)
    painted: list[tuple[str, Callable[[Figure], None]]] = []
    if by_seed(results, "memory"):
        painted.append(("memory", lambda figure: _memory(figure, results)))
    if by_seed(results, "jump_known"):
        painted.append(("jump", lambda figure: _jump(figure, by_seed(results, "jump_known"))))
    finite = [r for r in results if r["run"].startswith("finite") and r["steps"]]
    if finite:
        painted.append(("gradients", lambda figure: _gradients(figure, finite)))
    return tuple(_save(out / f"hope_{name}.png", paint) for name, paint in painted)


def _save(path: Path, paint: Callable[[Figure], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    paint(figure)
    figure.savefig(path, dpi=100)
    return path


def _memory(figure: Figure, results: Sequence[Result]) -> None:
    """A line a seed."""
    axes = figure.subplots()
    for run, metric, label, colour in CURVES:
        for number, result in enumerate(by_seed(results, run).values()):
            points = {int(step): found[metric] for step, found in result["validation"].items()}
            steps = sorted(step for step in points if step > 1)
            axes.plot(
                steps,
                [points[step] for step in steps],
                color=colour,
                label=label if number == 0 else None,
            )
    axes.set(xlabel="training step", ylabel="error at the last frame", ylim=(0.07, 0.17))
    axes.legend()


def _jump(figure: Figure, seeds: Mapping[int, Result]) -> None:
    """Mean over seeds; each column over its smallest, so that the diagonal stands out."""
    count, T = len(seeds), len(next(iter(seeds.values()))["jump_errors"])
    mean = [
        [sum(r["jump_errors"][a][b] for r in seeds.values()) / count for b in range(T)]
        for a in range(T)
    ]
    best = [min(mean[a][b] for a in range(T)) for b in range(T)]
    middle = (1 + max(mean[a][b] / best[b] for a in range(T) for b in range(T))) / 2
    axes = figure.subplots()
    image = axes.imshow(
        [[mean[a][b] / best[b] for b in range(T)] for a in range(T)],
        cmap="viridis_r",
        extent=(0.5, T + 0.5, T + 0.5, 0.5),
    )
    for a in range(T):
        for b in range(T):
            ink = "white" if mean[a][b] / best[b] > middle else "black"
            axes.text(b + 1, a + 1, f"{mean[a][b]:.3f}", ha="center", va="center", color=ink)
    frames = range(1, T + 1)
    axes.set(xticks=frames, yticks=frames, xlabel="true frame", ylabel="frame that was asked for")
    figure.colorbar(image, label="error over the smallest of its column")


def _gradients(figure: Figure, results: Sequence[Result]) -> None:
    left, right = figure.subplots(1, 2)
    for result in results:
        steps = range(1, len(result["steps"]) + 1)
        label = f"interval {result['run'].removeprefix('finite_')}"
        left.plot(steps, [s["train/grad_norm"] for s in result["steps"]], label=label, lw=0.7)
        right.plot(steps, [s["grad/block_ratio"] for s in result["steps"]], label=label, lw=0.7)
    left.set(xlabel="training step", ylabel="gradient norm", yscale="log")
    right.set(xlabel="training step", ylabel="largest ratio of neighbouring blocks", yscale="log")
    left.legend()
