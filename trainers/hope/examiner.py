"""What is measured of a predictor between training steps: on validation clips, and on those that are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from specs.trainer_hope import HopeTrainer
from trainers.hope import gradients, judge
from trainers.hope.compute.step import autocast
from trainers.hope.continual.course import Row
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.feed import Feed
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor
from trainers.hope.observed import memory_metrics
from trainers.host import to_host

EVIDENCE = ("grad/block_ratio", "grad/non_finite")
"""What a certificate is judged by, of the gradient on validation clips."""


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """Leaves no trace in ``model``, and draws nothing."""

    model: Predictor
    feed: Feed
    settings: HopeTrainer
    device: torch.device

    def validation(self, tasks: Sequence[str]) -> Mapping[str, float]:
        """``val/...``: errors on the validation clips of ``tasks``."""
        errors = judge.mean_over(self.feed.validation(tasks), self._validated)
        return to_host({f"val/{name}": value for name, value in errors.items()})

    def held_out(self) -> Row:
        """Errors on the held-out clips of every task of the run, by mode and measure."""
        rows: dict[str, dict[str, list[float]]] = {}
        for task in tasks_of(self.settings):
            errors = judge.mean_over(self.feed.held_out(task), self._held_out)
            for name, value in to_host(errors).items():
                mode, measure = name.split("/")
                rows.setdefault(mode, {}).setdefault(measure, []).append(value)
        return rows

    def gradient(self, tasks: Sequence[str]) -> Mapping[str, float]:
        """Of one batch of validation clips, without a branch left out; and what its memories did."""
        batch = self.feed.validation(tasks)[0]
        named = dict(self.model.named_parameters())
        tau = judge.targets(batch, self.settings.losses)[-1]
        with self._precision():
            result = lost(self.model, batch, self.settings.losses, tau)
        found = torch.autograd.grad(result.total, list(named.values()), allow_unused=True)
        present = {n: g for n, g in zip(named, found, strict=True) if g is not None}
        norms = gradients.norms(present, len(self.model.blocks)).metrics()
        wanted = {name: norms[name] for name in EVIDENCE}
        return to_host({**wanted, **memory_metrics(self.model.blocks, result.records)})

    def _validated(self, batch: Batch) -> judge.Errors:
        with self._precision():
            return judge.validation(self.model, batch, self.settings.losses)

    def _held_out(self, batch: Batch) -> judge.Errors:
        assert self.settings.continual is not None  # only a protocol judges
        modes = self.settings.continual.eval_writes
        with self._precision():
            found = judge.held_out(self.model, batch, self.settings.losses, modes)
        return {f"{mode}/{name}": e for mode, of in found.items() for name, e in of.items()}

    def _precision(self) -> torch.autocast:
        return autocast(self.settings, self.device)
