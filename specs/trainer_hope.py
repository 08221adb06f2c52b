"""The settings of the HOPE trainer: an action-conditioned predictor of video features.

Symbols follow docs/hope.md: D width, N tokens, T context frames, M one of the five memories (k, v, eta, alpha,
memory), eta a write's rate, alpha its retention. A frame is an action token, a state token and the patch tokens.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from specs.base import Listed, Model, Number, word
from specs.data_clips import TASKS, AnyClips, PuckData
from specs.errors import WrongField
from specs.hope_compute import HopeCompute
from specs.products import Products

LETTERS = {
    "T": "attention with a frame-causal mask, then an MLP",
    "H": "five self-modifying memories, then a continuum memory system",
    "U": "attention, one memory, then a continuum memory system",
}

ETA_SCALES = {"H": 0.01, "U": 1.0}
"""What the documents multiply softplus by, in the blocks with memories."""


class WriteScope(StrEnum):
    """Whose weights a write changes."""

    SHARED = "shared"  # one state for the whole batch, written with means over it
    PER_SAMPLE = "per_sample"  # a state a sample: an output does not depend on its batch


class Preconditioner(StrEnum):
    """What stands for alpha I - eta k k^T in a write."""

    DIAGONAL = "diagonal"  # clamp(alpha - eta k^2, 0, 1), input by input
    RANK1 = "rank1"  # the matrix itself on L2-normalised q and k


class Rope(StrEnum):
    CORRECT = "correct"  # each frequency twice in a row, one for each of a rotated pair
    UPSTREAM = "upstream"  # the frequencies one after the other, as released checkpoints have it
    OFF = "off"


class Memories(Model):
    """The self-modifying memories of an H block (and the one of a U block)."""

    mult: int = Field(default=2, ge=1, le=64, description="hidden width over D")
    scope: Annotated[WriteScope, word(WriteScope)] = WriteScope.SHARED
    preconditioner: Annotated[Preconditioner, word(Preconditioner)] = Preconditioner.DIAGONAL
    chunk_frames: int = Field(
        default=1, ge=0, description="frames between writes; 0: the whole sequence is one chunk"
    )
    detach_interval: int = Field(
        default=1, ge=0, description="writes between cuts of the meta-gradient; 0: never cut"
    )
    write_clip: Number = Field(default=1.0, gt=0, description="Frobenius norm of an inner gradient")
    eta_scale: Number | None = Field(
        default=None,
        gt=0,
        le=1,
        description="eta = scale softplus(.); not given: .01 in H blocks, 1 in U blocks, as documented",
    )
    eta_max: Number = Field(default=1.0, gt=0, le=1)
    alpha_offset: Number = Field(
        default=0.0, ge=-10, le=10, description="alpha = sigmoid(. + offset); 4 retains .98 a write"
    )
    surprise_threshold: Number = Field(
        default=0.0,
        ge=0,
        description="a sample writes only above it; v and o differ by about sqrt(2 D)",
    )
    target_norm: bool = Field(
        default=True,
        description="the target passes the layer norm of the memory, what is fitted does not",
    )
    skip_conditioning: bool = Field(
        default=False,
        description="leave action and state token out of the means of eta, alpha and k k^T",
    )

    def eta_scale_of(self, letter: str) -> float:
        """``eta_scale`` in blocks of that letter."""
        return ETA_SCALES[letter] if self.eta_scale is None else self.eta_scale


class ContinuumMemory(Model):
    """A cascade of MLPs. ``periods`` run level l on frames t with t % period == 0, if scheduled."""

    mults: Annotated[tuple[Number, ...], Listed] = (4.0, 4.0, 4.0)
    periods: Annotated[tuple[int, ...], Listed] = (1, 4, 16)
    scheduled: bool = False
    update_every: Annotated[tuple[int, ...], Listed] = Field(
        default=(), description="optimiser steps between updates of each level, gradients summed"
    )

    @model_validator(mode="after")
    def _same_length(self) -> ContinuumMemory:
        levels = len(self.mults)
        if not levels or any(m <= 0 for m in self.mults):
            raise WrongField(
                "mults", "mults needs one number above 0 for each level, for instance [4, 4, 4]"
            )
        for field, values in (("periods", self.periods), ("update_every", self.update_every)):
            if (values or field == "periods") and len(values) != levels:
                raise WrongField(
                    (field, "mults"), f"{field} has {len(values)} entries, mults {levels}"
                )
            if any(v < 1 for v in values):
                raise WrongField(field, f"{field} holds {min(values)}, allowed: 1 or more")
        return self


class HopeModel(Model):
    """The predictor: one block a letter of ``pattern``, between an embedding and a projection."""

    pattern: str = Field(default="HHHHHH", min_length=1, max_length=128)
    width: int = Field(default=384, ge=8, le=16384)
    heads: int = Field(default=16, ge=1, le=1024, description="of T and U blocks")
    mlp_ratio: Number = Field(default=4.0, gt=0, le=16, description="of T blocks")
    rope: Annotated[Rope, word(Rope)] = Rope.CORRECT
    memories: Memories = Memories()
    cms: ContinuumMemory = ContinuumMemory()
    spatial_mixing: bool = Field(default=False, description="mixing over the tokens of a frame")
    temporal_embeddings: bool = Field(
        default=False, description="of the frame, and of the jump's target"
    )
    embedding_std: Number = Field(default=0.02, ge=0, le=10)
    conditioning_bias_std: Number = Field(
        default=0.0,
        ge=0,
        le=10,
        description="of action and state encoder at the start; 0 leaves tokens of zeros exactly zero",
    )
    special_init_last: bool = Field(
        default=True,
        description="zero the mixing's output after the general initialisation, not before",
    )
    normalise_features: bool = True
    drop_path: Number = Field(default=0.1, ge=0, lt=1)
    checkpoint_blocks: bool = Field(
        default=False, description="recompute each block in the backward pass"
    )

    @field_validator("pattern")
    @classmethod
    def _known_letters(cls, pattern: str) -> str:
        unknown = sorted(set(pattern) - set(LETTERS))
        if unknown:
            known = ", ".join(f"{letter} ({what})" for letter, what in LETTERS.items())
            raise ValueError(f"unknown block {', '.join(map(repr, unknown))}, allowed: {known}")
        return pattern

    @model_validator(mode="after")
    def _whole_heads(self) -> HopeModel:
        if set(self.pattern) & {"T", "U"} and self.width % self.heads:
            raise WrongField(
                ("heads", "width"),
                f"width ({self.width}) must be a whole multiple of heads ({self.heads})",
            )
        return self


class Losses(Model):
    """Weights of the L1 losses; ``auxiliary`` is the memories' own."""

    teacher: Number = Field(default=1.0, ge=0)
    rollout: Number = Field(default=0.0, ge=0)
    jump: Number = Field(default=1.0, ge=0)
    auxiliary: Number = Field(default=0.1, ge=0)
    context_frames: int = Field(
        default=1, ge=1, description="true frames that a rollout starts from"
    )
    rollout_frames: int = Field(default=7, ge=1)
    jump_last: int = Field(default=3, ge=1, description="tau is drawn from the last so many frames")
    isolate_state: bool = Field(
        default=True,
        description="each pass begins with fresh memories; off: passes share them in order",
    )


class HopeOptimizer(Model):
    """Groups: titan (memories), cms, attention, projections (all else)."""

    kind: Literal["adamw", "m3", "muon"] = "adamw"
    lr: Number = Field(default=1.5e-4, gt=0, le=10)
    start_lr: Number = Field(default=3e-5, ge=0, le=10)
    titan_scale: Number = Field(default=0.2, ge=0, le=100)
    cms_scale: Number = Field(default=1.0, ge=0, le=100)
    attention_scale: Number = Field(default=1.0, ge=0, le=100)
    weight_decay: Number = Field(default=0.04, ge=0, le=1)
    titan_weight_decay: Number = Field(default=0.005, ge=0, le=1)
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    beta2: Number = Field(default=0.999, ge=0, lt=1)
    clip: Number = Field(default=3.0, gt=0)
    warmup: Number = Field(default=0.15, ge=0, le=1, description="fraction of the steps of a phase")
    decay: Number = Field(default=0.10, ge=0, le=1)
    decay_shape: Literal["cosine", "linear"] = "cosine"
    momentum: Number = Field(default=0.95, ge=0, lt=1, description="of muon")
    m3_form: Literal["paper", "rms"] = "rms"
    m3_slow_every: int = Field(default=8, ge=1)
    m3_beta_slow: Number = Field(default=0.9, ge=0, lt=1)
    m3_alpha: Number = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _room_for_both(self) -> HopeOptimizer:
        if self.warmup + self.decay > 1:
            raise WrongField(
                ("decay", "warmup"),
                f"warmup ({self.warmup:g}) and decay ({self.decay:g}) take more than all steps",
            )
        return self


class Replay(Model):
    """Clips of earlier tasks among those of a later one."""

    buffer: int = Field(default=0, ge=0, description="clips kept; 0: none")
    fraction: Number = Field(
        default=0.3, gt=0, lt=1, description="of each batch, once there are any"
    )


class Continual(Model):
    """Base training, then task after task; every held-out set is judged after each phase."""

    tasks: Annotated[tuple[str, ...], Listed] = (
        "scaling",
        "dissipation",
        "discretization",
        "kinematics",
        "compositional_ood",
    )
    order: Literal["sequence", "joint"] = Field(
        default="sequence", description="joint: all clips at once, the upper bound"
    )
    base_epochs: int = Field(default=40, ge=1)
    task_epochs: int = Field(default=10, ge=1)
    task_lr: Number = Field(default=5e-5, gt=0, le=10)
    replay: Replay = Replay()
    held_out: int = Field(default=100, ge=1, description="clips a task, never trained on")
    eval_writes: Annotated[tuple[Literal["on", "off"], ...], Listed] = Field(
        default=("on", "off"), min_length=1
    )

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({task for task in tasks if tasks.count(task) > 1})
        if twice or "base" in tasks or not tasks:
            raise ValueError(
                f"names {', '.join(twice)} twice"
                if twice
                else "base comes first by itself: name one or more other tasks"
            )
        return tasks


class HopeValidation(Model):
    every: int = Field(default=200, ge=1, description="steps")
    clips: int = Field(default=64, ge=1)


class HopeCheckpoints(Model):
    every: int = Field(default=200, ge=1)
    keep_complete: int = Field(default=2, ge=1)
    keep_certified: int = Field(default=3, ge=1)
    keep_phases: bool = Field(
        default=True, description="those of the ends of a protocol's phases stay besides"
    )


class HopeTrainer(Model):
    """HOPE, the ViT baseline and their hybrids; ``continual`` makes the run a whole protocol."""

    METRICS: ClassVar[tuple[str, ...]] = (
        "loss/total",
        "loss/teacher",
        "loss/rollout",
        "loss/jump",
        "loss/auxiliary",
        "val/teacher",
        "val/rollout",
        "val/jump",
        "val/jump_frozen",
        "val/last",
        "val/last_frozen",
        "train/lr",
        "train/grad_norm",
        "train/clip_factor",
        "grad/*",
        "grad/non_finite",
        "grad/block_ratio",
        "memory/*",
        "continual/*",
        "time/step_s",
        "time/steps_per_s",
        "time/tokens_per_s",
        "system/*",
    )

    kind: Literal["hope"]
    model: HopeModel = HopeModel()
    losses: Losses = Losses()
    optimizer: HopeOptimizer = HopeOptimizer()
    data: AnyClips = PuckData()
    continual: Continual | None = None
    context: int = Field(default=7, ge=1, le=1024, description="frames T that a prediction may see")
    batch: int = Field(default=16, ge=1, le=65536)
    accumulate: int = Field(
        default=1, ge=1, le=1024, description="batches in one step; their mean counts"
    )
    steps: int | None = Field(
        default=None, ge=1, description="of a run without `continual`, whose epochs decide there"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of matrix products; the memories' weights stay float32"
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    compute: HopeCompute = HopeCompute()
    validation: HopeValidation = HopeValidation()
    checkpoints: HopeCheckpoints = HopeCheckpoints()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _one_kind_of_products(self) -> HopeTrainer:
        products = self.compute.products
        if products is not Products.FLOAT32 and self.precision != "float32":
            raise WrongField(
                ("compute.products", "precision"),
                f"compute.products {products.value} are float32 ones: precision {self.precision} leaves none "
                "of them. Choose one of the two",
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> HopeTrainer:
        if (self.steps is None) == (self.continual is None):
            raise WrongField(
                ("steps", "continual"),
                "give one of `steps` and `continual`: its epochs count the steps",
            )
        if self.losses.jump > 0 and self.losses.jump_last > self.context:
            raise WrongField(
                ("losses.jump_last", "context"),
                f"losses.jump_last ({self.losses.jump_last}) is above context ({self.context})",
            )
        if self.losses.rollout > 0 and self.losses.rollout_frames > self.context:
            raise WrongField(
                ("losses.rollout_frames", "context"),
                f"losses.rollout_frames ({self.losses.rollout_frames}) is above context ({self.context})",
            )
        if self.losses.rollout > 0 and self.losses.context_frames > self.losses.rollout_frames:
            raise WrongField(
                ("losses.context_frames", "losses.rollout_frames"),
                f"losses.context_frames ({self.losses.context_frames}) is above "
                f"losses.rollout_frames ({self.losses.rollout_frames})",
            )
        if self.context >= self.data.frames:
            raise WrongField(
                ("context", "data.frames"),
                f"context ({self.context}) and the frame after it need data.frames of at least "
                f"{self.context + 1}, not {self.data.frames}",
            )
        return self

    @model_validator(mode="after")
    def _clips_of_every_task(self) -> HopeTrainer:
        """What a folder holds is only known where it lies; the puck's tasks and numbers of clips are known here."""
        if self.continual is None:
            return self
        data, made_here = self.data, isinstance(self.data, PuckData) and self.data.path is None
        unknown = [task for task in self.continual.tasks if made_here and task not in TASKS]
        if unknown:
            raise WrongField(
                "continual.tasks",
                f"the puck has no task {', '.join(map(repr, unknown))}, allowed: {', '.join(TASKS[1:])}",
            )
        for field, clips in (("clips", data.clips), ("task_clips", data.task_clips)):
            if clips is not None and clips - self.continual.held_out < 2:
                raise WrongField(
                    ("continual.held_out", f"data.{field}"),
                    f"continual.held_out ({self.continual.held_out}) of data.{field} ({clips}) leaves less than "
                    "two clips, one to learn from and one to validate with",
                )
        return self

    @model_validator(mode="after")
    def _room_for_replay(self) -> HopeTrainer:
        if self.continual is None or self.continual.replay.buffer == 0:
            return self
        replay, tasks = self.continual.replay, len(self.continual.tasks)
        if not 0 < round(replay.fraction * self.batch) < self.batch:
            raise WrongField(
                ("continual.replay.fraction", "batch"),
                f"continual.replay.fraction ({replay.fraction:g}) of a batch of {self.batch} leaves no clip "
                "to replay, or none to learn",
            )
        if replay.buffer < tasks:
            raise WrongField(
                ("continual.replay.buffer", "continual.tasks"),
                f"continual.replay.buffer ({replay.buffer}) must have room for a clip of each of "
                f"{tasks} tasks",
            )
        return self
