"""The L1 losses of a batch of clips, and the state that each pass begins with.

    teacher   frames 0 .. T-1 in one pass, against 1 .. T
    rollout   true frames 0 .. C-1, then its own predictions, against C .. R
    jump      frame 0 alone and a target time tau, against frame tau

With ``isolate_state`` every pass begins with memories that nothing was written to. Without it the jump reads what
the teacher pass has written, as the source trainer had it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_hope import Losses
from trainers.hope.model import Clips, Predictor, States
from trainers.hope.writing import WriteRecord


@dataclass(frozen=True, kw_only=True)
class Batch:
    """``features`` (B, T + 1, P, F); ``actions`` and ``states`` (B, T, 2)."""

    features: Tensor
    actions: Tensor
    states: Tensor

    @property
    def context(self) -> int:
        return self.features.shape[1] - 1

    def inputs(self) -> Clips:
        """The frames that a prediction may see."""
        return Clips(
            features=self.features[:, : self.context], actions=self.actions, states=self.states
        )


@dataclass(frozen=True, kw_only=True)
class Drops:
    """For each pass the numbers that decide which branches are left out, (blocks, BRANCHES, B); None: no branch.

    All passes of a rollout share theirs: it is the rollout of one model.
    """

    teacher: Tensor | None = None
    rollout: Tensor | None = None
    jump: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """``total`` () carries the graph; ``parts`` are detached scalars by the names of the metrics.

    ``records``: by block, of the writes of the teacher pass that its own later frames read. So they are as many
    whatever becomes of the last state.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    records: tuple[tuple[WriteRecord, ...], ...]


def lost(
    model: Predictor, batch: Batch, settings: Losses, tau: Tensor, drops: Drops | None = None
) -> Lost:
    """The weighted sum of the losses. ``tau`` (B,) long: the target of each sample's jump."""
    parts: dict[str, Tensor] = {}
    drops = drops or Drops()
    total = batch.features.new_zeros(())
    states: States | None = None
    records: tuple[tuple[WriteRecord, ...], ...] = ()
    auxiliary = settings.auxiliary > 0
    aux = total
    if settings.teacher > 0:
        passed = model(
            batch.inputs(),
            keep_state=not settings.isolate_state,
            auxiliary=auxiliary,
            drop=drops.teacher,
        )
        parts["loss/teacher"] = distance(model, passed.features, batch.features[:, 1:])
        total = total + settings.teacher * parts["loss/teacher"]
        aux, records = aux + passed.aux, _before_the_last(passed.records, settings)
        states = None if settings.isolate_state else passed.states
    if settings.rollout > 0:
        parts["loss/rollout"] = rollout_loss(model, batch, settings, drops.rollout)
        total = total + settings.rollout * parts["loss/rollout"]
    if settings.jump > 0:
        jumped = model(
            batch.inputs().first(1), states, target=tau, auxiliary=auxiliary, drop=drops.jump
        )
        parts["loss/jump"] = distance(model, jumped.features[:, 0], at(batch.features, tau))
        total = total + settings.jump * parts["loss/jump"]
        aux = aux + jumped.aux
    if auxiliary:
        parts["loss/auxiliary"] = aux
        total = total + settings.auxiliary * aux
    parts["loss/total"] = total
    detached = {name: value.detach() for name, value in parts.items()}
    return Lost(total=total, parts=detached, records=records)


def _before_the_last(
    records: tuple[tuple[WriteRecord, ...], ...], settings: Losses
) -> tuple[tuple[WriteRecord, ...], ...]:
    """Without the write of the last chunk, which there is only where the state is handed on."""
    return records if settings.isolate_state else tuple(of_block[:-1] for of_block in records)


def at(features: Tensor, tau: Tensor) -> Tensor:
    """Frame tau of each sample: (B, P, F)."""
    return features[torch.arange(len(tau), device=tau.device), tau]


def draw_tau(samples: int, context: int, last: int, generator: torch.Generator) -> Tensor:
    """Targets drawn uniformly from the last ``last`` frames, (B,) long in context + 1 - last .. context.

    Raises ValueError where these are not frames 1 .. context.
    """
    if not 1 <= last <= context:
        raise ValueError(
            f"targets from the last {last} frames of {context}: allowed: 1 .. {context}"
        )
    return torch.randint(context + 1 - last, context + 1, (samples,), generator=generator)


def distance(model: Predictor, predicted: Tensor, target: Tensor) -> Tensor:
    """L1, mean over everything, of predictions and the true features, normalised as the model's are."""
    return (predicted - model.normalise(target)).abs().mean()


def rollout_loss(
    model: Predictor, batch: Batch, settings: Losses, drop: Tensor | None = None
) -> Tensor:
    """L1 of the predictions of frames C .. R, each made from true frames 0 .. C-1 and predictions after them."""
    predicted = roll(model, batch, settings.context_frames, settings.rollout_frames, drop)
    targets = batch.features[:, settings.context_frames : settings.rollout_frames + 1]
    return distance(model, predicted, targets)


def roll(
    model: Predictor, batch: Batch, context: int, frames: int, drop: Tensor | None = None
) -> Tensor:
    """Predictions of frames ``context`` .. ``frames``, (B, frames - context + 1, P, F).

    The last prediction writes nothing: no frame reads it.

    Without attention the model is recurrent: its memories carry all that it knows of earlier frames, so each
    frame is passed once. With attention every prediction passes all frames again.
    """
    recurrent = set(model.settings.pattern) == {"H"} and model.settings.memories.chunk_frames == 1
    return (_recurrent if recurrent else _repeated)(model, batch, context, frames, drop)


def _recurrent(
    model: Predictor, batch: Batch, context: int, frames: int, drop: Tensor | None
) -> Tensor:
    passed = model(batch.inputs().first(context), keep_state=context < frames, drop=drop)
    predicted = [passed.features[:, -1:]]
    for frame in range(context, frames):
        one = Clips(
            features=predicted[-1],
            actions=batch.actions[:, frame : frame + 1],
            states=batch.states[:, frame : frame + 1],
        )
        goes_on = frame + 1 < frames
        passed = model(one, passed.states, first_frame=frame, keep_state=goes_on, drop=drop)
        predicted.append(passed.features)
    return torch.cat(predicted, dim=1)


def _repeated(
    model: Predictor, batch: Batch, context: int, frames: int, drop: Tensor | None
) -> Tensor:
    seen = batch.features[:, :context]
    for frame in range(context, frames + 1):
        clips = Clips(
            features=seen, actions=batch.actions[:, :frame], states=batch.states[:, :frame]
        )
        seen = torch.cat((seen, model(clips, drop=drop).features[:, -1:]), dim=1)
    return seen[:, context:]
