"""The task gradient of one batch: the free phase, the adjoint, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Estimator
from trainers.ep.block import Params, embed, fold, start
from trainers.ep.compute.plain import PLAIN, Plain
from trainers.ep.draws import drawn_T1, force_noise
from trainers.ep.estimators.bptt_tail import bptt_tail
from trainers.ep.estimators.ep import ep
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.holomorphic import holomorphic
from trainers.ep.estimators.implicit import Gradient
from trainers.ep.estimators.rbp import rbp
from trainers.ep.estimators.record import Adjoint, AdjointRecord, worst_of
from trainers.ep.estimators.system import BlockSystem, System
from trainers.ep.relax import Relaxed, RelaxPolicy, relax

ADJOINT: Mapping[Estimator, Callable[..., Adjoint]] = {
    Estimator.RBP: rbp,
    Estimator.EP: ep,
    Estimator.HOLOMORPHIC: holomorphic,
    Estimator.EXACT: exact,
}
UNROLLED = frozenset({Estimator.BPTT, Estimator.BPTT_TAIL})


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task gradient in the order of Params, and how it was come by.

    Of several averaged estimates ``relaxed`` is the first one's, whose noise the penalties share, and ``adjoint``
    the worst's.
    """

    gradient: Gradient
    ce: Tensor
    relaxed: Relaxed
    adjoint: AdjointRecord | None  # None for bptt and bptt_tail


def task_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    y: Tensor,
    engine: Plain = PLAIN,
    *,
    step: int | None = None,
) -> Task:
    """The gradient of the mean cross-entropy at the objective's state, by the estimator of the settings.

    ``step`` is the training step that T1 and the noise of the force are drawn for; None: as in validation. Each
    of `adjoint.average` estimates has a noise, an equilibrium and an adjoint of its own.
    """
    policy = RelaxPolicy.of(settings, T1=drawn_T1(settings, step))
    like = params.E.detach().new_empty(*idx.shape, settings.width)
    first = force_noise(settings, like, step)
    estimate = _unrolled if settings.estimator in UNROLLED else _implicit
    tasks = [estimate(params, settings, policy, idx, y, engine, first)]
    if first is not None:
        for index in range(1, settings.adjoint.average):
            noise = force_noise(settings, like, step, index)
            tasks.append(estimate(params, settings, policy, idx, y, engine, noise))
    return _mean(tasks)


def _unrolled(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    engine: Plain,
    noise: Tensor | None,
) -> Task:
    if settings.estimator is Estimator.BPTT:
        out = engine.bptt(params, settings, policy, idx, y, noise)
    else:
        out = bptt_tail(params, settings, policy, idx, y, noise, engine.force)
    return Task(gradient=out.gradient, ce=out.ce, relaxed=out.relaxed, adjoint=None)


def _implicit(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    engine: Plain,
    noise: Tensor | None,
) -> Task:
    system, relaxed = equilibrium(params, settings, policy, idx, y, engine, noise)
    adjoint = solve_adjoint(system, relaxed.z, settings)
    *gradient, ce = engine.loss_gradient(params, settings, idx, y, relaxed.z, adjoint.a, noise)
    return Task(gradient=tuple(gradient), ce=ce, relaxed=relaxed, adjoint=adjoint.record)


def _mean(tasks: Sequence[Task]) -> Task:
    if len(tasks) == 1:
        return tasks[0]
    records = [task.adjoint for task in tasks if task.adjoint is not None]
    sums = tuple(
        sum(parts[1:], parts[0]) for parts in zip(*(t.gradient for t in tasks), strict=True)
    )
    return Task(
        gradient=tuple(torch._foreach_div(sums, len(tasks))),
        ce=torch.stack([t.ce for t in tasks]).mean(),
        relaxed=tasks[0].relaxed,
        adjoint=worst_of(records) if records else None,
    )


@torch.no_grad()
def equilibrium(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    engine: Plain = PLAIN,
    noise: Tensor | None = None,
) -> tuple[BlockSystem, Relaxed]:
    """The block at these parameters, relaxed on a batch. ``noise`` needs a plain engine."""
    block, x = fold(params, settings), embed(params, idx)
    system = engine.system(block, params.W_h, x, y)
    if noise is not None:
        system = replace(system, noise=noise)
    return system, relax(system.force, start(block, x), policy, system.walk)


def solve_adjoint(system: System, z: Tensor, settings: EpTrainer) -> Adjoint:
    """J^T a = -ell at ``z`` by the estimator of the settings; by `rbp` for the BPTT twin, which has none."""
    eps = settings.adjoint.eps or settings.relaxation.eps
    return ADJOINT.get(settings.estimator, rbp)(system, z, settings.adjoint, eps)
