"""The tables of docs/hope.md that come from `tests.bench.hope_science`: plain text, a line a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

Result = Mapping[str, Any]

LATE = 0.9
"""Memories and jumps are judged by the mean of validations from this share of a run on: one of them is noisy."""


def text(results: Sequence[Result]) -> str:
    parts = (_memory(results), _jump(results), _finite(results))
    return "\n\n".join("\n".join(part) for part in parts if part)


def by_seed(results: Sequence[Result], run: str) -> Mapping[int, Result]:
    """The finished ones, or those that ended early."""
    return {r["seed"]: r for r in results if r["run"] == run and r["ended"]}


def late(result: Result, metric: str) -> float:
    points = {int(step): found[metric] for step, found in result["validation"].items()}
    return mean(value for step, value in points.items() if step >= LATE * max(points))


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """mean +- deviation, (each)."""
    deviation = f" +- {form(stdev(values))}" if len(values) > 1 else ""
    return f"{form(mean(values))}{deviation}  ({', '.join(form(v) for v in values)})"


def _memory(results: Sequence[Result]) -> list[str]:
    lines = []
    runs = sorted({r["run"] for r in results if r["run"].startswith("memory")})
    for run in (r for r in runs if not r.endswith("_off")):
        on, off = by_seed(results, run), by_seed(results, f"{run}_off")
        if not on:
            continue
        last = {seed: late(r, "val/last") for seed, r in on.items()}
        frozen = {seed: late(r, "val/last_frozen") for seed, r in on.items()}
        lines += [
            f"{run}: error at the last frame, by seed {', '.join(map(str, on))}",
            f"  with writes                    {spread(list(last.values()), _error)}",
            f"  the same nets, frozen writes   {spread(list(frozen.values()), _error)}",
            f"    gain by writes               {spread([1 - last[s] / frozen[s] for s in on], _percent)}",
        ]
        both = [seed for seed in on if seed in off]
        if both:
            without = {seed: late(off[seed], "val/last") for seed in both}
            lines += [
                f"  trained without writes         {spread(list(without.values()), _error)}",
                f"    gain over those              {spread([1 - last[s] / without[s] for s in both], _percent)}",
            ]
    return lines


def _jump(results: Sequence[Result]) -> list[str]:
    return [line for run in ("jump", "jump_known", "jump_few") for line in _jump_of(results, run)]


def _jump_of(results: Sequence[Result], run: str) -> list[str]:
    told, blind = by_seed(results, run), by_seed(results, f"{run}_blind")
    if not told:
        return []
    lines = [
        f"{run}: {how}: {spread([own_error(r) for r in of.values()], _error)}"
        for how, of in (("told the target", told), ("blind", blind))
        if of
    ]
    both = [seed for seed in told if seed in blind]
    if both:
        gains = [1 - own_error(told[s]) / own_error(blind[s]) for s in both]
        lines.append(f"  gain by the target embedding   {spread(gains, _percent)}")
    copies = [mean(r["copy_errors"]) for r in told.values()]
    lines.append(f"  frame 0 as it is               {spread(copies, _error)}")
    for seed, result in told.items():
        lines.append(f"  seed {seed}: prediction (row) by target (column); {_diagonal(result)}")
        lines += ["    " + " ".join(_error(e) for e in row) for row in result["jump_errors"]]
        lines.append("    " + " ".join(_error(e) for e in result["copy_errors"]) + "   frame 0")
    return lines


def own_error(result: Result) -> float:
    """Of each jump against the frame that it was asked for, mean over targets."""
    return mean(row[at] for at, row in enumerate(result["jump_errors"]))


def _diagonal(result: Result) -> str:
    matrix = result["jump_errors"]
    columns = sum(
        min(range(len(matrix)), key=lambda a, b=b: matrix[a][b]) == b for b in range(len(matrix))
    )
    rows = sum(min(range(len(row)), key=row.__getitem__) == at for at, row in enumerate(matrix))
    return f"smallest on the diagonal in {columns} of {len(matrix)} columns, {rows} rows"


def _finite(results: Sequence[Result]) -> list[str]:
    lines = []
    for r in results:
        if not r["run"].startswith(("finite", "documents")) or not r["steps"]:
            continue
        norms = sorted(s["train/grad_norm"] for s in r["steps"])
        ratios = [s["grad/block_ratio"] for s in r["steps"]]
        bad = sum(s["grad/non_finite"] > 0 for s in r["steps"])
        lines.append(
            f"{r['run']}, seed {r['seed']}: {len(r['steps'])} steps taken, {bad} with a gradient not finite; block ratio "
            f"at most {max(ratios):.3g}, at the end {ratios[-1]:.3g}; gradient norm median {norms[len(norms) // 2]:.3g}, "
            f"99 % below {norms[int(0.99 * (len(norms) - 1))]:.3g}; loss {r['steps'][0]['loss/total']:.3g} -> "
            f"{mean(s['loss/total'] for s in r['steps'][-20:]):.3g}; {r['ended'] or 'goes on'}"
        )
    return lines + [
        f"{r['run']}, seed {r['seed']}: {r['ended']}"
        for r in results
        if r["run"].startswith(("finite", "documents")) and not r["steps"]
    ]


def _error(value: float) -> str:
    return f"{value:.4f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
