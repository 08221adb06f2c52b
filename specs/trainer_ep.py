"""The settings of the equilibrium-propagation (EP) trainer.

Symbols follow docs/ep.md: C width, H heads, T context, B batch, c extra damping, T1 relaxation steps,
r_adj adjoint residual. A force residual is ``||F|| / ||z||``; a step residual is eps times that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Model, Number
from specs.errors import UnknownWord, WrongField


def _enum(kind: type[StrEnum]) -> BeforeValidator:
    def parse(value: object) -> object:
        if isinstance(value, str):
            try:
                return kind(value)
            except ValueError:
                raise UnknownWord(value, kind) from None
        return value

    return BeforeValidator(parse)


class Objective(StrEnum):
    """Which state the loss is taken at."""

    FIXED_POINT = "fixed_point"  # the refined state
    FINITE_T = "finite_T"  # the state after exactly T1 steps


class Estimator(StrEnum):
    """How the gradient of the loss is obtained."""

    RBP = "rbp"  # a <- a + eps (J^T a + ell): the limit of vanishing nudge
    EP = "ep"  # two real nudged phases, AsymEP correction, common-mode anchor
    BPTT = "bptt"  # autograd through the relaxation: the twin


class JacobianScope(StrEnum):
    FULL = "full"  # the whole dF/dz of a sequence
    SELF = "self"  # only the blocks dF_t/dz_t, which decide the spectrum


class Tokenizer(StrEnum):
    CHAR = "char"  # fixed vocabulary: printable ASCII, newline, unknown
    BPE = "bpe"  # trained on the training part of the text with `tokenizers`


class TextData(Model):
    """A UTF-8 text. Without ``path``: Python's own documentation (``pydoc_data.topics``)."""

    kind: Literal["text"] = "text"
    path: str | None = None
    tokenizer: Annotated[Tokenizer, _enum(Tokenizer)] = Tokenizer.CHAR
    vocabulary: int | None = Field(default=None, ge=257, le=65535)
    validation_fraction: Number = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _bpe_needs_a_text(self) -> TextData:
        if self.tokenizer is Tokenizer.BPE:
            if self.path is None:
                raise WrongField(
                    "tokenizer",
                    "the bpe tokenizer needs a text of yours: give it in data.path, for instance "
                    "with --set defaults.trainer.data.path=FILE (any UTF-8 file)",
                )
            if self.vocabulary is None:
                raise WrongField(
                    "tokenizer", "the bpe tokenizer needs data.vocabulary, for instance 4096"
                )
        elif self.vocabulary is not None:
            raise WrongField(
                "vocabulary",
                "the char tokenizer has a fixed vocabulary: leave data.vocabulary out",
            )
        return self


class Relaxation(Model):
    """Euler steps z <- z + eps F(z); after T1 steps on to ``t1max`` or the tolerance."""

    eps: Number = Field(default=0.1, gt=0, le=1)
    T1: int = Field(default=150, ge=1, le=100_000)
    t1max: int = Field(default=300, ge=1, le=100_000)
    tolerance: Number = Field(default=1e-4, gt=0, description="step residual to refine to")
    check_every: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _cap_above_start(self) -> Relaxation:
        if self.t1max < self.T1:
            raise WrongField(("t1max", "T1"), f"t1max ({self.t1max}) is below T1 ({self.T1})")
        return self


class Adjoint(Model):
    """How J^T a = -ell is solved, and when the answer counts as converged."""

    eps: Number | None = Field(
        default=None, gt=0, le=1, description="step; the relaxation's if absent"
    )
    max_steps: int = Field(default=40, ge=1, le=100_000, description="the documents' t2sel")
    tolerance: Number = Field(default=1e-2, gt=0, description="r_adj to stop at, per sequence")
    check_every: int = Field(default=10, ge=1)
    gate: Number = Field(
        default=1.0, gt=0, description="the task gradient is left out while r_adj is above this"
    )
    radius: Number = Field(
        default=0.02, gt=0, le=1, description="nudge radius hr of `ep`, relative to the state"
    )
    refresh_nudge: int = Field(default=10, ge=1, description="steps between new ell in `ep`")


class Jacreg(Model):
    """Penalty on the Jacobian: mean of (J_nc^T v)^2; weight frozen unless floor < max."""

    weight: Number = Field(default=0.0, ge=0, le=1e3)
    scope: Annotated[JacobianScope, _enum(JacobianScope)] = JacobianScope.FULL
    floor: Number | None = Field(default=None, ge=0)
    max: Number | None = Field(default=None, ge=0)
    target: Number = Field(default=1.5e-3, gt=0, description="step residual the controller aims at")
    every: int = Field(default=10, ge=1, description="training steps between controller updates")

    @model_validator(mode="after")
    def _floor_below_max(self) -> Jacreg:
        low = self.weight if self.floor is None else self.floor
        high = self.weight if self.max is None else self.max
        if low > high:
            raise WrongField(("floor", "max", "weight"), f"floor ({low:g}) is above max ({high:g})")
        return self


class Hinge(Model):
    """Spectral hinge on the self-blocks: only modes with Re mu > -margin are penalised."""

    ratio: Number = Field(
        default=0.0, ge=0, le=10, description="norm of its gradient over that of the task gradient"
    )
    margin: Number = Field(default=0.5, ge=0, le=1)
    power_steps: int = Field(default=12, ge=1, le=1000)
    eps: Number = Field(default=0.3, gt=0, le=1)
    every: int = Field(default=1, ge=1)


class Optimizer(Model):
    """AdamW with decoupled decay on matrices; linear warm-up, constant, linear decay at the end (WSD)."""

    lr: Number = Field(default=6e-4, gt=0, le=10)
    warmup: int = Field(default=800, ge=0)
    decay_fraction: Number = Field(default=0.25, ge=0, le=1, description="the documents' wsd")
    weight_decay: Number = Field(default=0.0, ge=0, le=1)
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    beta2: Number = Field(default=0.999, ge=0, lt=1)
    clip: Number = Field(default=1.0, gt=0, description="global norm of the total gradient")


class Validation(Model):
    every: int = Field(default=200, ge=1)
    sequences: int = Field(default=64, ge=1)


class Checkpoints(Model):
    every: int = Field(default=200, ge=1)
    keep_complete: int = Field(default=2, ge=1)
    keep_certified: int = Field(default=3, ge=1)


class Spectrum(Model):
    """The exact block spectrum that goes into a checkpoint's evidence."""

    sequences: int = Field(default=1, ge=1)
    every: int = Field(default=1, ge=1, description="every k-th checkpoint")


class EpTrainer(Model):
    """One non-conservative attention block, trained at its equilibrium."""

    METRICS: ClassVar[tuple[str, ...]] = (
        "train/ce",
        "train/lr",
        "train/grad_norm",
        "train/task_grad_norm",
        "train/clip_factor",
        "train/jr",
        "train/resreg",
        "train/hinge_active",
        "train/hinge_re_mu",
        "train/task_used",
        "val/ce",
        "val/ce_T1",
        "val/ce_ema",
        "val/bits_per_byte",
        "residual/T1",
        "residual/refined",
        "residual/adjoint",
        "residual/T1_ema",
        "relax/steps",
        "relax/hit_cap",
        "adjoint/steps",
        "adjoint/converged",
        "spectrum/max_re_mu",
        "spectrum/max_re_mu_ema",
        "time/step_s",
        "time/steps_per_s",
        "time/tokens_per_s",
        "system/*",
    )

    kind: Literal["ep"]
    objective: Annotated[Objective, _enum(Objective)] = Objective.FIXED_POINT
    estimator: Annotated[Estimator, _enum(Estimator)] = Estimator.RBP
    width: int = Field(default=512, ge=2, le=65536)
    heads: int = Field(default=16, ge=1, le=1024)
    context: int = Field(default=256, ge=1, le=65536)
    batch: int = Field(default=24, ge=1, le=65536)
    ffn_factor: int = Field(default=4, ge=1, le=64)
    damping: Number = Field(default=1.0, ge=0, le=100, description="c: the total damping is 1 + c")
    qk_norm: bool = True
    init_scale: Number = Field(default=0.1, gt=0, le=10, description="the documents' resinit")
    steps: int = Field(default=32_000, ge=1, le=100_000_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    ema: Number = Field(default=0.999, ge=0, lt=1, description="the documents' pema")
    resreg: Number = Field(
        default=0.0, ge=0, le=10, description="norm of its gradient over that of the task gradient"
    )
    jacreg: Jacreg = Jacreg()
    hinge: Hinge = Hinge()
    res_gate: Number = Field(default=0.0, ge=0, description="0: off. It gates the task part only")
    relaxation: Relaxation = Relaxation()
    adjoint: Adjoint = Adjoint()
    optimizer: Optimizer = Optimizer()
    data: TextData = TextData()
    validation: Validation = Validation()
    checkpoints: Checkpoints = Checkpoints()
    spectrum: Spectrum = Spectrum()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _whole_heads(self) -> EpTrainer:
        if self.width % self.heads:
            raise WrongField(
                ("heads", "width"),
                f"width ({self.width}) must be a whole multiple of heads ({self.heads})",
            )
        return self
