"""The settings of the equilibrium-propagation (EP) trainer.

Symbols follow docs/ep.md: C width, H heads, T context, B batch, c extra damping, T1 relaxation steps,
r_adj adjoint residual. A force residual is ``||F|| / ||z||``; a step residual is eps times that.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Model, Number, word
from specs.data import AnyData, TextData
from specs.ep_penalties import Hinge, JacobianScope, Jacreg
from specs.ep_solving import (
    Adjoint,
    Anchor,
    Compute,
    Precision,
    Relaxation,
    Solver,
)
from specs.errors import UnknownWord, WrongField
from specs.products import Products

__all__ = [
    "OLDER_BLOCKS",
    "Adjoint",
    "Anchor",
    "Block",
    "Checkpoints",
    "Compute",
    "EpTrainer",
    "Estimator",
    "Hinge",
    "JacobianScope",
    "Jacreg",
    "Objective",
    "Optimizer",
    "Precision",
    "Products",
    "Relaxation",
    "Solver",
    "Spectrum",
    "Validation",
    "older_block",
]

OLDER_BLOCKS = ("real", "energy", "mono")
"""Modes of the documented trainer that are known by name and not built."""


class Block(StrEnum):
    """The force of the block."""

    THICK = "thick"  # F = -(z - x) + A(LN1 z) + M(LN2 z) - c z


def older_block(name: str) -> str:
    """Why the older block ``name`` is refused, and what to do."""
    return (
        f"`{name}` is an older block of the documented trainer, the gradient of an energy with a tied "
        "squared-ReLU memory beside the attention: no documented result uses it, it has no complex "
        "extension, and it is not built. Use thick"
    )


def _block(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value in OLDER_BLOCKS:
        raise ValueError(older_block(value))
    try:
        return Block(value)
    except ValueError:
        raise UnknownWord(value, Block) from None


class Objective(StrEnum):
    """Which state the loss is taken at."""

    FIXED_POINT = "fixed_point"  # the refined state
    FINITE_T = "finite_T"  # the state after exactly T1 steps


class Estimator(StrEnum):
    """How the gradient of the loss is obtained."""

    RBP = "rbp"  # a <- a + eps (J^T a + ell): the limit of vanishing nudge
    EP = "ep"  # two real nudged phases with the AsymEP correction
    HOLOMORPHIC = "holomorphic"  # N nudged phases on a circle of complex nudges
    EXACT = "exact"  # GMRES on J^T a = -ell
    BPTT = "bptt"  # autograd through the relaxation: the twin
    BPTT_TAIL = "bptt_tail"  # the same through the last `tail` steps only


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
    estimate_every: int = Field(
        default=0,
        ge=0,
        description="training steps between power estimates of max Re mu; 0: none",
    )


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
        "train/homeostasis",
        "train/capped",
        "train/task_used",
        "val/ce",
        "val/ce_T1",
        "val/ce_refined",
        "val/ce_ema",
        "val/bits_per_byte",
        "residual/T1",
        "residual/refined",
        "residual/adjoint",
        "residual/T1_ema",
        "relax/steps",
        "relax/hit_cap",
        "relax/eps_min",
        "relax/tf32_gap",
        "adjoint/steps",
        "adjoint/converged",
        "adjoint/fell_back",
        "spectrum/max_re_mu",
        "spectrum/max_re_mu_ema",
        "spectrum/estimate",
        "time/step_s",
        "time/steps_per_s",
        "time/tokens_per_s",
        "system/*",
    )

    kind: Literal["ep"]
    block: Annotated[Block, BeforeValidator(_block)] = Block.THICK
    objective: Annotated[Objective, word(Objective)] = Objective.FIXED_POINT
    estimator: Annotated[Estimator, word(Estimator)] = Estimator.RBP
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
    homeostasis: Number = Field(
        default=0.0, ge=0, le=1e3, description="loss weight of mean ((J - J^T) v)^2"
    )
    weight_cap: Number = Field(
        default=0.0, ge=0, description="0: off. Most that a matrix may grow in Frobenius norm"
    )
    fnoise: Number = Field(
        default=0.0, ge=0, lt=1, description="sd of the multiplicative noise of the force"
    )
    res_gate: Number = Field(default=0.0, ge=0, description="0: off. It gates the task part only")
    relaxation: Relaxation = Relaxation()
    adjoint: Adjoint = Adjoint()
    tail: int = Field(default=30, ge=1, description="steps that `bptt_tail` differentiates")
    optimizer: Optimizer = Optimizer()
    compute: Compute = Compute()
    data: AnyData = TextData()
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

    @model_validator(mode="after")
    def _makes_sense(self) -> EpTrainer:
        for contradiction in self._contradictions():
            raise contradiction
        return self

    def _contradictions(self) -> Iterator[WrongField]:
        """Settings that are right alone and mean nothing together."""
        if self.objective is Objective.FINITE_T:
            yield from self._only_at_a_fixed_point()
        if self.estimator not in (Estimator.BPTT, Estimator.BPTT_TAIL):
            yield from self._of_another_estimator()
        elif self.relaxation.solver is Solver.ANDERSON:
            yield WrongField(
                ("relaxation.solver", "estimator"),
                f"relaxation.solver is anderson, but {self.estimator} differentiates the Euler steps "
                "that it takes: use solver euler",
            )
        yield from self._empty_tail()
        if self.compute.tf32_steps >= self.relaxation.T1:
            yield WrongField(
                ("compute.tf32_steps", "relaxation.T1"),
                f"compute.tf32_steps ({self.compute.tf32_steps}) must be below T1 "
                f"({self.relaxation.T1}): TF32 is for early steps only",
            )
        if self.adjoint.average > 1 and self.fnoise == 0:
            yield WrongField(
                ("adjoint.average", "fnoise"),
                f"adjoint.average is {self.adjoint.average}, but fnoise is 0: without noise every "
                "estimate is the same",
            )

    def _only_at_a_fixed_point(self) -> Iterator[WrongField]:
        """What only promises to reach the same equilibrium cannot serve a state after T1 steps."""
        for field, on in (
            ("relaxation.solver", self.relaxation.solver is not Solver.EULER),
            ("compute.tf32_steps", self.compute.tf32_steps > 0),
            ("relaxation.random_T1", bool(self.relaxation.random_T1)),
            ("relaxation.adaptive", self.relaxation.adaptive),
        ):
            if on:
                yield WrongField(
                    (field, "objective"),
                    f"{field} needs objective fixed_point: finite_T takes its loss after "
                    f"exactly T1 Euler steps",
                )

    def _of_another_estimator(self) -> Iterator[WrongField]:
        """What would be believed to hold, and does not. The bptt twins solve no adjoint: they may
        share the whole section with the runs that they are compared with."""
        adjoint, estimator = self.adjoint, self.estimator
        two_phases = (Estimator.EP, Estimator.HOLOMORPHIC)
        for field, value, default, of in (
            ("adjoint.points", adjoint.points, 2, (Estimator.HOLOMORPHIC,)),
            ("adjoint.precision", adjoint.precision, Precision.FLOAT32, (Estimator.EXACT,)),
            ("adjoint.anchor", adjoint.anchor, Anchor.TRACK, two_phases),
        ):
            if value != default and estimator not in of:
                yield WrongField(
                    (field, "estimator"),
                    f"{field} {value} belongs to estimator {' or '.join(of)}; "
                    f"{estimator} would ignore it: leave it at {default}, or change the estimator",
                )

    def _empty_tail(self) -> Iterator[WrongField]:
        """A tail as long as the relaxation is `bptt`."""
        fixed = self.objective is Objective.FIXED_POINT
        limit, most = ("t1max", self.relaxation.t1max) if fixed else ("T1", self.relaxation.T1)
        if self.estimator is Estimator.BPTT_TAIL and self.tail > most:
            yield WrongField(
                ("tail", "estimator"),
                f"tail ({self.tail}) is above {limit} ({most}), the most steps that there are: "
                "the whole relaxation is estimator bptt",
            )
