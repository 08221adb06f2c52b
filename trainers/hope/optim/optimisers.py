"""The optimisers of a model as the settings ask: which tensor goes where, at which rate.

    adamw   all tensors
    muon    matrices outside of the memories; AdamW the rest
    m3      all matrices; AdamW the rest

Embeddings count as tables, not as matrices: their gradients are of few rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from specs.trainer_hope import HopeOptimizer
from trainers.hope.groups import Group, decay_of, grouped, rate_scale
from trainers.hope.optim.m3 import M3, M3Settings

Belongs = Callable[[Group, nn.Parameter], bool]


@dataclass(frozen=True, kw_only=True)
class Optimisers:
    """One or two torch optimisers that together move every tensor once. ``names``: of each tensor."""

    parts: tuple[torch.optim.Optimizer, ...]
    names: Mapping[nn.Parameter, str]

    def step(self, lr: float) -> None:
        """Move all tensors that have a gradient; ``lr`` times its scale is the rate of each group."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr * group["scale"]
            part.step()


def optimisers(model: nn.Module, settings: HopeOptimizer) -> Optimisers:
    """New ones, that have seen no gradient. Every tensor of ``model`` is in exactly one group of one of them."""
    tables = {p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}

    def orthogonalised(group: Group, parameter: nn.Parameter) -> bool:
        return (
            settings.kind != "adamw"
            and parameter.ndim == 2
            and parameter not in tables
            and (settings.kind == "m3" or group is not Group.TITAN)
        )

    rest = _groups(model, settings, lambda group, p: not orthogonalised(group, p))
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=0.0, betas=(settings.beta1, settings.beta2), fused=True)
    ]
    matrices = _groups(model, settings, orthogonalised)
    if matrices:
        parts.append(_of_matrices(matrices, settings))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return Optimisers(parts=tuple(parts), names=names)


def entries_of(part: torch.optim.Optimizer) -> frozenset[str]:
    """What one of them remembers of each tensor that it has moved."""
    if isinstance(part, M3):
        return part.entries
    if isinstance(part, torch.optim.Muon):
        return frozenset({"momentum_buffer"})
    return frozenset({"step", "exp_avg", "exp_avg_sq"})


def _groups(model: nn.Module, settings: HopeOptimizer, belongs: Belongs) -> list[dict[str, Any]]:
    found = []
    for group, members in grouped(model).items():
        chosen = [p for _, p in members if belongs(group, p)]
        if chosen:
            found.append(
                {
                    "params": chosen,
                    "group": group,
                    "scale": rate_scale(group, settings),
                    "weight_decay": decay_of(group, settings),
                }
            )
    return found


def _of_matrices(
    groups: Iterable[dict[str, Any]], settings: HopeOptimizer
) -> torch.optim.Optimizer:
    if settings.kind == "muon":
        # this adjustment gives steps of the size of AdamW's, so that its rates serve both
        return torch.optim.Muon(
            groups, lr=0.0, momentum=settings.momentum, adjust_lr_fn="match_rms_adamw"
        )
    return M3(
        groups,
        M3Settings(
            form=settings.m3_form,
            fast=settings.beta1,
            variance=settings.beta2,
            slow=settings.m3_beta_slow,
            every=settings.m3_slow_every,
            alpha=settings.m3_alpha,
        ),
    )
