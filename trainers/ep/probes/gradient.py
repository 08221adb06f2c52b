"""How good is the gradient? Every estimator against the exact adjoint and against BPTT, in float64.

Three errors are told apart. Truncation: J^T a = -ell is not solved, which r_adj shows. Bias of the nudge: it is solved
for too large a radius, and r_adj stops falling however many steps there are. The objective: BPTT differentiates the
relaxation, not its fixed point. So nothing is concluded about the radius from an adjoint that has not converged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from specs.trainer_ep import Adjoint as AdjointSettings
from specs.trainer_ep import EpTrainer, Estimator, Solver
from trainers.ep.block import Params
from trainers.ep.estimators.bptt import bptt
from trainers.ep.estimators.bptt_tail import bptt_tail
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.implicit import Gradient, implicit_gradient
from trainers.ep.estimators.record import Adjoint
from trainers.ep.probes import Say
from trainers.ep.probes.likeness import Likeness, by_group, likeness
from trainers.ep.probes.model import Model, force_residual
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import ADJOINT

REFERENCE_TOLERANCE = 1e-8
_FEWEST_POINTS = 4  # two phases are `ep`
_NEVER = 1e-300  # a tolerance that no adjoint reaches: it then takes all of its steps
_MOST_APPLICATIONS = 4000


@dataclass(frozen=True, kw_only=True)
class Options:
    t2: tuple[int, ...] = (10, 20, 40, 80)
    hr: tuple[float, ...] = (0.005, 0.02, 0.08)

    def __post_init__(self) -> None:
        if any(steps < 1 for steps in self.t2):
            raise ValueError(f"t2 are {list(self.t2)}, allowed: steps of 1 or more")
        if any(not 0 < radius <= 1 for radius in self.hr):
            raise ValueError(f"hr are {list(self.hr)}, allowed: above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """``part``: estimator (as the settings have it), sweep (of T2 and hr with `ep`), or conclusion."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "part", "estimator", "points", "t2", "hr", "r_adj", "converged", "cosine", "error",
        "cosine_bptt",
    )  # fmt: skip

    model: str
    part: str
    estimator: str
    points: int | None = None  # phases of a nudging estimator
    t2: int | None = None  # applications of J^T, at most; steps differentiated by bptt_tail
    hr: float | None = None
    r_adj: float | None = None
    steps: int | None = None
    converged: bool | None = None
    cosine: float | None = None  # against exact, over all parameters of the force
    error: float | None = None
    cosine_bptt: float | None = None
    error_bptt: float | None = None
    groups: Mapping[str, Likeness] | None = None  # against exact
    g: float | None = None  # force residual of the state
    finding: str = ""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What everything is compared with, at the state ``z`` of the objective."""

    z: Tensor
    g: float
    exact: Gradient
    bptt: Gradient
    r_adj: float


def probe(model: Model, options: Options, say: Say) -> tuple[GradientRow, ...]:
    """The estimators at the checkpoint's settings, the sweep, and what it says."""
    say(f"{model.name}: exact adjoint and BPTT")
    reference = make_reference(model)
    rows = [_bptt_row(model, reference), _tail_row(model, reference)]
    for estimator in ADJOINT:
        say(f"{model.name}: {estimator.value}")
        adjoint = _with_points(model.settings.adjoint, estimator)
        rows.append(_row(model, reference, estimator, adjoint, "estimator"))
    sweep = [
        _swept(model, reference, steps, radius, say)
        for radius in options.hr
        for steps in options.t2
    ]
    concluded = [conclusion(model.name, sweep)] if sweep else []
    return (*rows, *sweep, *concluded)


def make_reference(model: Model) -> Reference:
    """The exact gradient at the objective's state, and BPTT's. Raises ValueError if GMRES does not converge."""
    z = model.relaxed.z
    solved = exact(model.system, z, _to_the_end(model.settings.adjoint), model.eps)
    r_adj = float(solved.record.r_adj.max())
    if not solved.record.converged:
        raise ValueError(
            f"no reference: GMRES leaves r_adj {r_adj:.1e} after {solved.record.steps} applications of J^T, "
            f"{REFERENCE_TOLERANCE:g} is wanted; J is singular or nearly so at this state"
        )
    return Reference(
        z=z,
        g=float(force_residual(model.system.force, z).max()),
        exact=_gradient(model, z, solved.a),
        bptt=_bptt(model),
        r_adj=r_adj,
    )


def _to_the_end(adjoint: AdjointSettings) -> AdjointSettings:
    return adjoint.model_copy(
        update={
            "tolerance": REFERENCE_TOLERANCE,
            "max_steps": _MOST_APPLICATIONS,
            "restart": max(adjoint.restart, 100),
        }
    )


def _gradient(model: Model, z: Tensor, a: Tensor) -> Gradient:
    return implicit_gradient(_leaves(model.params), model.settings, model.idx, z, a)


def _leaves(params: Params) -> Params:
    return Params(*(t.detach().clone().requires_grad_() for t in params))


def _bptt(model: Model) -> Gradient:
    """Over the Euler steps that the objective takes."""
    settings = _by_euler(model)
    policy = RelaxPolicy.of(settings)
    return bptt(_leaves(model.params), settings, policy, model.idx, model.y).gradient[:-1]


def _by_euler(model: Model) -> EpTrainer:
    """The settings as they are to be unrolled in double precision: twice the bytes, as of twice the batch."""
    plain = model.settings.relaxation.model_copy(update={"solver": Solver.EULER})
    changed: dict[str, Any] = {"relaxation": plain, "batch": 2 * model.sequences}
    return model.settings.model_copy(update=changed)


def _with_points(adjoint: AdjointSettings, estimator: Estimator) -> AdjointSettings:
    """`holomorphic` with four phases where the settings have two, which are `ep` once more."""
    if estimator is not Estimator.HOLOMORPHIC:
        return adjoint
    return adjoint.model_copy(update={"points": max(adjoint.points, _FEWEST_POINTS)})


def _row(
    model: Model,
    reference: Reference,
    estimator: Estimator,
    adjoint: AdjointSettings,
    part: str,
    wanted: float | None = None,
) -> GradientRow:
    """``wanted``: r_adj from which on it counts as converged; that of ``adjoint`` where left out."""
    wanted = wanted or adjoint.tolerance
    found: Adjoint = ADJOINT[estimator](
        model.system, reference.z, adjoint, adjoint.eps or model.eps
    )
    gradient = _gradient(model, reference.z, found.a)
    r_adj = float(found.record.r_adj.max())
    converged = r_adj <= wanted
    of_exact = likeness(gradient, reference.exact)
    of_bptt = likeness(gradient, reference.bptt)
    points = {Estimator.EP: 2, Estimator.HOLOMORPHIC: adjoint.points}.get(estimator)
    return GradientRow(
        model=model.name,
        part=part,
        estimator=estimator.value,
        points=points,
        t2=adjoint.max_steps,
        hr=adjoint.radius if points else None,
        r_adj=r_adj,
        steps=found.record.steps,
        converged=converged,
        cosine=of_exact.cosine,
        error=of_exact.error,
        cosine_bptt=of_bptt.cosine,
        error_bptt=of_bptt.error,
        groups=by_group(gradient, reference.exact),
        g=reference.g,
        finding="; ".join(_remarks(found, r_adj, wanted)),
    )


def _remarks(found: Adjoint, r_adj: float, wanted: float) -> Iterator[str]:
    if r_adj > wanted:
        yield f"unconverged: r_adj {r_adj:.1e}, wanted {wanted:g}"
    if found.record.fell_back:
        yield "a phase left its circle: solved anew with two; take a smaller hr"


def _swept(model: Model, reference: Reference, steps: int, radius: float, say: Say) -> GradientRow:
    say(f"{model.name}: ep with T2 = {steps}, hr = {radius:g}")
    settings: EpTrainer = model.settings
    adjoint = settings.adjoint.model_copy(
        update={"max_steps": steps, "radius": radius, "tolerance": _NEVER}
    )
    return _row(model, reference, Estimator.EP, adjoint, "sweep", wanted=settings.adjoint.tolerance)


def _tail_row(model: Model, reference: Reference) -> GradientRow:
    settings = _by_euler(model)
    policy = RelaxPolicy.of(settings)
    found = bptt_tail(_leaves(model.params), settings, policy, model.idx, model.y)
    gradient = found.gradient[:-1]
    of_exact, of_bptt = likeness(gradient, reference.exact), likeness(gradient, reference.bptt)
    return GradientRow(
        model=model.name,
        part="estimator",
        estimator=Estimator.BPTT_TAIL.value,
        t2=min(settings.tail, found.relaxed.steps),
        cosine=of_exact.cosine,
        error=of_exact.error,
        cosine_bptt=of_bptt.cosine,
        error_bptt=of_bptt.error,
        groups=by_group(gradient, reference.exact),
        g=reference.g,
        finding="through the last steps only",
    )


def _bptt_row(model: Model, reference: Reference) -> GradientRow:
    same = likeness(reference.bptt, reference.exact)
    return GradientRow(
        model=model.name,
        part="estimator",
        estimator="bptt",
        cosine=same.cosine,
        error=same.error,
        cosine_bptt=1.0,
        error_bptt=0.0,
        groups=by_group(reference.bptt, reference.exact),
        g=reference.g,
        finding="how far the objectives are apart: finite time and fixed point",
    )


def conclusion(name: str, sweep: Sequence[GradientRow]) -> GradientRow:
    """What the longest T2 says about the radius; nothing unless it converged at every radius."""
    longest = max(row.t2 or 0 for row in sweep)
    last = [row for row in sweep if row.t2 == longest]
    lost = [row for row in last if not row.converged]
    if lost:
        finding = (
            f"no conclusion about hr: {len(lost)} of {len(last)} adjoints are unconverged at T2 = {longest}; "
            "take a longer T2 or a smaller hr"
        )
    elif len(last) < 2:
        finding = "no conclusion about hr: there is one radius only"
    else:
        low, high = (min(last, key=_error), max(last, key=_error))
        finding = (
            f"at T2 = {longest} the relative error is {_error(low):.1e} with hr = {low.hr:g} and "
            f"{_error(high):.1e} with hr = {high.hr:g}"
        )
    return GradientRow(
        model=name,
        part="conclusion",
        estimator="ep",
        t2=longest,
        converged=not lost,
        finding=finding,
    )


def _error(row: GradientRow) -> float:
    return float("nan") if row.error is None else row.error
