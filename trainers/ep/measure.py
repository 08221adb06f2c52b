"""What a set of parameters is worth on fixed sequences: loss, residuals, spectrum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Objective
from trainers.ep.abscissa import rightmost
from trainers.ep.block import Params
from trainers.ep.compute.plain import PLAIN, Plain
from trainers.ep.readout import cross_entropy
from trainers.ep.relax import RelaxPolicy
from trainers.ep.spectrum import Rightmost
from trainers.ep.task import equilibrium, solve_adjoint


@dataclass(frozen=True, kw_only=True)
class Worth:
    """Means over all validation tokens or sequences."""

    ce: float  # at the objective's state, nats per token
    ce_T1: float
    ce_refined: float  # where the policy does not refine, that at T1
    r_T1: float
    r_ref: float | None  # None where the policy does not refine


@torch.no_grad()
def worth(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    engine: Plain = PLAIN,
) -> Worth:
    """Loss and residuals on ``idx``, ``y`` (N, T), in training-sized batches."""
    totals = torch.zeros(5, dtype=torch.float64, device=idx.device)
    for part_idx, part_y in _batches(settings.batch, idx, y):
        system, relaxed = equilibrium(params, settings, policy, part_idx, part_y, engine)
        at_T1 = cross_entropy(system.W_h, relaxed.z_T1, part_y)
        refined = cross_entropy(system.W_h, relaxed.z_ref, part_y)
        found = (
            refined if relaxed.objective is Objective.FIXED_POINT else at_T1,
            at_T1,
            refined,
            relaxed.r_T1.mean(),
            relaxed.r_ref.mean(),
        )
        totals += len(part_idx) * torch.stack(found).double()
    ce, ce_T1, ce_refined, r_T1, r_ref = (totals / len(idx)).tolist()
    return Worth(
        ce=ce,
        ce_T1=ce_T1,
        ce_refined=ce_refined,
        r_T1=r_T1,
        r_ref=r_ref if policy.refine else None,
    )


@torch.no_grad()
def adjoint_residual(params: Params, settings: EpTrainer, idx: Tensor, y: Tensor) -> float:
    """Mean r_adj on one training-sized batch, solved as training solves it, at the refined state."""
    policy = RelaxPolicy.of(settings, measure=True)
    part_idx, part_y = idx[: settings.batch], y[: settings.batch]
    system, relaxed = equilibrium(params, settings, policy, part_idx, part_y)
    return float(solve_adjoint(system, relaxed.z_ref, settings).record.r_adj.mean())


@torch.no_grad()
def spectrum(params: Params, settings: EpTrainer, idx: Tensor, y: Tensor) -> Rightmost:
    """The rightmost eigenvalue at the refined state of the first ``spectrum.sequences`` sequences."""
    policy = RelaxPolicy.of(settings, measure=True)
    count = settings.spectrum.sequences
    system, relaxed = equilibrium(params, settings, policy, idx[:count], y[:count])
    return rightmost(system.linearise(relaxed.z_ref))


def _batches(size: int, idx: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(idx.split(size), y.split(size), strict=True)
