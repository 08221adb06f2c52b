"""The predictor: features, action and state of the frames so far -> the features of the next.

    tokens of a frame = action, state, patches;  x <- interleave + embeddings;  blocks;  y = E_out LN(patches).

Shapes: B samples, T frames, P patches of a frame, F feature width, D width. States of memories go in and come out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.utils.checkpoint import checkpoint

from specs.trainer_hope import HopeModel
from trainers.hope.attention import LN_EPS, Sight, sight
from trainers.hope.autocast import product_dtype
from trainers.hope.blocks import BLOCKS, BlockOut, Pass, kept
from trainers.hope.memory import MemoryState
from trainers.hope.titan import CONDITIONING
from trainers.hope.writing import WriteRecord

CONDITION_WIDTH = 2
"""Components of an action, and of a state."""

EXTRA_TIMES = 2
"""Rows of the temporal embeddings beyond the context: the target frame, and one for counting from 1."""

ATTENDING = "TU"
"""Letters of blocks with attention."""

REMEMBERING = "HU"
"""Letters of blocks with memories."""

States = tuple[MemoryState | None, ...]


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Inputs of a pass: ``features`` (B, T, P, F), ``actions`` and ``states`` (B, T, 2)."""

    features: Tensor
    actions: Tensor
    states: Tensor

    def first(self, frames: int) -> Clips:
        return Clips(
            features=self.features[:, :frames],
            actions=self.actions[:, :frames],
            states=self.states[:, :frames],
        )


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """``features`` (B, T, P, F); ``aux`` (), summed over blocks; one tuple of records a block."""

    features: Tensor
    states: States
    aux: Tensor
    records: tuple[tuple[WriteRecord, ...], ...]


class Predictor(nn.Module):
    """Blocks by the letters of a pattern. Holds slow parameters only."""

    def __init__(
        self, settings: HopeModel, *, grid: tuple[int, int], feature_width: int, context: int
    ) -> None:
        super().__init__()
        width, depth = settings.width, len(settings.pattern)
        self.settings = settings
        self.grid = grid
        self.embed = nn.Linear(feature_width, width)
        self.action_encoder = nn.Linear(CONDITION_WIDTH, width)
        self.state_encoder = nn.Linear(CONDITION_WIDTH, width)
        # the source model carries an encoder of camera extrinsics that nothing feeds; its parameters count
        self.extrinsics_encoder = nn.Linear(1, width)
        rows = context + EXTRA_TIMES
        self.frame_embedding = nn.Embedding(rows, width) if settings.temporal_embeddings else None
        self.target_embedding = nn.Embedding(rows, width) if settings.temporal_embeddings else None
        self.drops = [settings.drop_path * layer / max(1, depth - 1) for layer in range(depth)]
        self.blocks = nn.ModuleList(BLOCKS[letter](settings, grid) for letter in settings.pattern)
        self.norm = nn.LayerNorm(width, eps=LN_EPS)
        self.project = nn.Linear(width, feature_width)

    def begin(self, samples: int) -> States:
        """Memories of every block that nothing was written to."""
        return tuple(block.begin(samples) for block in self.blocks)

    def forward(
        self,
        clips: Clips,
        states: States | None = None,
        *,
        target: Tensor | None = None,
        first_frame: int = 0,
        writes: bool = True,
        keep_state: bool = False,
        auxiliary: bool = False,
        drop: Tensor | None = None,
    ) -> Predicted:
        """Predict the frame after each frame; with ``target`` (B,) long, 1 .. T, that frame from the first alone.

        ``first_frame``: the number in its clip of the first frame given, for a pass that goes on from ``states``.
        ``drop`` (blocks, BRANCHES, B): uniform numbers by which branches are left out; None leaves out none.
        """
        B, T = clips.features.shape[:2]
        frames = torch.arange(first_frame, first_frame + T, device=clips.features.device)
        how = Pass(
            sight=self._sight(
                frames[None] if target is None else (target - 1)[:, None].expand(-1, T)
            ),
            grid=self.grid,
            first_frame=first_frame,
            writes=writes,
            keep_state=keep_state,
            auxiliary=auxiliary,
        )
        x = self._tokens(clips, frames, target)
        outs: list[BlockOut] = []
        for at, (block, state) in enumerate(zip(self.blocks, states or self.begin(B), strict=True)):
            own = how if drop is None else replace(how, kept=kept(drop[at], self.drops[at]))
            outs.append(self._run(block, x, state, own))
            x = outs[-1].x
        x = x.unflatten(1, (T, how.frame_tokens))[:, :, CONDITIONING:]
        return Predicted(
            features=self.normalise(self.project(self.norm(x))),
            states=tuple(out.state for out in outs),
            aux=torch.stack([out.aux for out in outs]).sum(),
            records=tuple(out.records for out in outs),
        )

    def normalise(self, features: Tensor) -> Tensor:
        """Layer norm without affine, of targets and predictions alike, where the settings ask for it."""
        if not self.settings.normalise_features:
            return features
        return nnf.layer_norm(features, features.shape[-1:], eps=LN_EPS)

    def _sight(self, times: Tensor) -> Sight | None:
        """Of frames at ``times`` (B or 1, T), where any block attends."""
        if not set(self.settings.pattern) & set(ATTENDING):
            return None
        dtype = product_dtype(times.device.type, otherwise=self.embed.weight.dtype)
        return sight(self.settings, times, self.grid, dtype)

    def _tokens(self, clips: Clips, frames: Tensor, target: Tensor | None) -> Tensor:
        patches = self.embed(self.normalise(clips.features))
        actions = self.action_encoder(clips.actions)[:, :, None]
        states = self.state_encoder(clips.states)[:, :, None]
        x = torch.cat((actions, states, patches), dim=2)
        if self.frame_embedding is not None and self.target_embedding is not None:
            x = x + self.frame_embedding(frames)[None, :, None]
            if target is not None:
                x = x + self.target_embedding(target)[:, None, None]
        # under autocast the products above are bfloat16: the residual stream is not
        return x.flatten(1, 2).to(self.embed.weight.dtype)

    def _run(self, block: nn.Module, x: Tensor, state: MemoryState | None, how: Pass) -> BlockOut:
        if not (self.settings.checkpoint_blocks and torch.is_grad_enabled()):
            out: BlockOut = block(x, state, how)
            return out
        # blocks draw nothing; and the generator of a GPU cannot be read while a graph is captured
        again: BlockOut = checkpoint(
            block, x, state, how, use_reentrant=False, preserve_rng_state=False
        )
        return again
