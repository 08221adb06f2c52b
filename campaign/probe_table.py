"""Which probes there are, what may be asked of each, and what is refused before torch is loaded.

The trainers say it for real; a test holds this table against theirs. Values within a list of numbers are
left to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.errors import CampaignError, ExitCode, WrongState
from specs.errors import did_you_mean

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "spectrum": ("method", "modes"),
    "lyapunov": ("tangents",),
    "anderson": ("evaluations",),
    "knockout": ("scales", "time"),
    "eps-sweep": ("eps", "time"),
    "adaptive-eps": ("steps", "eps_min", "points"),
    "relax": ("steps",),
    "gradient": ("t2", "hr"),
    "compile": ("repeats",),
    "nan": ("interval",),
    "memory": (),
    "jump": (),
}
HOPE = ("nan", "memory", "jump")
"""Probes of HOPE checkpoints; the others are of EP."""
FORMATS = ("png", "svg", "pdf")
MODELS = ("parameters", "average", "both")
METHODS = ("blocks", "rightmost", "arnoldi")


class BadProbe(CampaignError):
    """The probe, or one of its options, is not what there is."""

    exit_code = ExitCode.USAGE


def check(
    name: str,
    options: Mapping[str, Any],
    *,
    of: str | None = None,
    plot: Path | None = None,
    replace: bool = False,
) -> None:
    """Raises BadProbe with what there is; WrongState for a picture that cannot be written."""
    _one_of("probe", name, OPTIONS)
    if of is not None:
        _one_of("--of", of, MODELS)
        if name in HOPE and of == "average":
            raise BadProbe("--of average: a HOPE checkpoint has no average; leave --of out")
    for option in options:
        if option not in OPTIONS[name]:
            raise BadProbe(_not_of(name, option))
    if "method" in options:
        _one_of("--method", str(options["method"]), METHODS)
    if plot is not None:
        _check_plot(plot, replace=replace)


def _one_of(what: str, word: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    if word not in known:
        meant = did_you_mean(word, known)
        lines = [f"{what} {word!r} is not known; there are: {', '.join(known)}"]
        raise BadProbe("\n  ".join([*lines, meant] if meant else lines))


def _not_of(name: str, option: str) -> str:
    others = [probe for probe, options in OPTIONS.items() if option in options]
    whose = f"it is one of {', '.join(others)}" if others else "no probe has it"
    own = ", ".join(OPTIONS[name]) or "none of its own"
    return f"the probe {name} has no option {option}; {whose}\n  {name} has: {own}"


def _check_plot(plot: Path, *, replace: bool) -> None:
    if plot.suffix.lower().removeprefix(".") not in FORMATS:
        raise BadProbe(f"--plot {plot}: the name must end in .{', .'.join(FORMATS)}")
    if not plot.absolute().parent.is_dir():
        raise WrongState(f"--plot {plot}: {plot.absolute().parent} is no directory")
    if plot.exists() and not replace:
        raise WrongState(f"{plot} is there already; --force replaces it")
