"""The blocks of a pattern: pure functions of tokens and memories, with their slow parameters.

T: attention, MLP.    H: five memories, continuum memory system, mixing where it is on.
U: attention, one memory, continuum memory system.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from specs.trainer_hope import HopeModel
from trainers.hope.attention import LN_EPS, FrameAttention, Mlp, Sight
from trainers.hope.cms import Cms
from trainers.hope.memory import MemoryState
from trainers.hope.mixing import SpatialMixing
from trainers.hope.titan import CONDITIONING, SelfModifying
from trainers.hope.united import OneMemory
from trainers.hope.writing import WriteRecord


@dataclass(frozen=True, kw_only=True)
class Pass:
    """How a sequence is gone through. ``sight`` where a block attends; ``first_frame`` counts from the clip's start."""

    grid: tuple[int, int]
    first_frame: int = 0
    writes: bool = True
    keep_state: bool = False
    auxiliary: bool = False
    sight: Sight | None = None
    kept: Tensor | None = None  # (BRANCHES, B): what each branch of each sample is multiplied by

    @property
    def frame_tokens(self) -> int:
        return CONDITIONING + self.grid[0] * self.grid[1]


@dataclass(frozen=True, kw_only=True)
class BlockOut:
    """``state`` and ``records`` only of blocks with memories; ``aux`` () zero without."""

    x: Tensor
    state: MemoryState | None
    aux: Tensor
    records: tuple[WriteRecord, ...] = ()


BRANCHES = 3
"""The most residual branches that a block has."""


def kept(drop: Tensor, rate: float) -> Tensor:
    """What branches are multiplied by: 0 where a number of ``drop`` is below the ``rate``, else 1 / (1 - rate)."""
    return (drop >= rate).to(drop.dtype) / (1 - rate)


def _branch(x: Tensor, how: Pass, branch: int) -> Tensor:
    """A residual branch (B, N, D); the whole of it is left out of some samples."""
    return x if how.kept is None else x * how.kept[branch].to(x.dtype)[:, None, None]


def _sight(how: Pass) -> Sight:
    assert how.sight is not None  # the model makes it where its pattern has attention
    return how.sight


class TBlock(nn.Module):
    """A transformer block, as in the V-JEPA 2 predictor."""

    def __init__(self, settings: HopeModel, grid: tuple[int, int]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(settings.width, eps=LN_EPS)
        self.attention = FrameAttention(settings)
        self.norm2 = nn.LayerNorm(settings.width, eps=LN_EPS)
        self.mlp = Mlp(settings.width, settings.mlp_ratio)

    def begin(self, samples: int) -> None:
        return None

    def forward(self, x: Tensor, state: MemoryState | None, how: Pass) -> BlockOut:
        x = x + _branch(self.attention(self.norm1(x), _sight(how)), how, 0)
        x = x + _branch(self.mlp(self.norm2(x)), how, 1)
        return BlockOut(x=x, state=None, aux=x.new_zeros(()))


class HBlock(nn.Module):
    """Self-modifying memories, then the continuum memory system, then mixing over a frame."""

    def __init__(self, settings: HopeModel, grid: tuple[int, int]) -> None:
        super().__init__()
        width = settings.width
        self.norm1 = nn.LayerNorm(width)
        self.titan = SelfModifying(width, settings.memories)
        self.norm2 = nn.LayerNorm(width)
        self.cms = Cms(width, settings.cms)
        if settings.spatial_mixing:
            self.norm3: nn.Module | None = nn.LayerNorm(width)
            self.mixing: nn.Module | None = SpatialMixing(CONDITIONING + grid[0] * grid[1])
        else:
            self.norm3 = self.mixing = None

    def begin(self, samples: int) -> MemoryState:
        return self.titan.begin(samples)

    def forward(self, x: Tensor, state: MemoryState | None, how: Pass) -> BlockOut:
        passed = self.titan(
            self.norm1(x),
            state,
            frame_tokens=how.frame_tokens,
            writes=how.writes,
            keep_state=how.keep_state,
            auxiliary=how.auxiliary,
        )
        x = x + _branch(passed.out, how, 0)
        added = self.cms(self.norm2(x), frame_tokens=how.frame_tokens, first_frame=how.first_frame)
        x = x + _branch(added, how, 1)
        if self.mixing is not None and self.norm3 is not None:
            x = x + _branch(self.mixing(self.norm3(x)), how, 2)
        return BlockOut(x=x, state=passed.state, aux=passed.aux, records=passed.records)


class UBlock(nn.Module):
    """Attention, then one memory of linear keys and values, then the continuum memory system."""

    def __init__(self, settings: HopeModel, grid: tuple[int, int]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(settings.width)
        self.attention = FrameAttention(settings)
        self.norm2 = nn.LayerNorm(settings.width)
        self.titan = OneMemory(settings.width, settings.memories)
        self.norm3 = nn.LayerNorm(settings.width)
        self.cms = Cms(settings.width, settings.cms)

    def begin(self, samples: int) -> MemoryState:
        return self.titan.begin(samples)

    def forward(self, x: Tensor, state: MemoryState | None, how: Pass) -> BlockOut:
        x = x + _branch(self.attention(self.norm1(x), _sight(how)), how, 0)
        passed = self.titan(
            self.norm2(x),
            state,
            frame_tokens=how.frame_tokens,
            writes=how.writes,
            keep_state=how.keep_state,
            auxiliary=how.auxiliary,
        )
        x = x + _branch(passed.out, how, 1)
        added = self.cms(self.norm3(x), frame_tokens=how.frame_tokens, first_frame=how.first_frame)
        x = x + _branch(added, how, 2)
        return BlockOut(x=x, state=passed.state, aux=passed.aux, records=passed.records)


BLOCKS = {"T": TBlock, "H": HBlock, "U": UBlock}
