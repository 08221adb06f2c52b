"""The settings of the equilibrium-propagation (EP) trainer.

Symbols follow docs/ep.md: C width, H heads, T context, B batch, c extra damping, T1 relaxation steps,
r_adj adjoint residual. A force residual is ``||F|| / ||z||``; a step residual is eps times that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.base import Listed, Model, Number, word
from specs.data import AnyData, TextData
from specs.errors import WrongField


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


class Anchor(StrEnum):
    """Where the AsymEP correction of `ep` and `holomorphic` takes J."""

    TRACK = "track"  # the mean of the phases, at every step
    FROZEN = "frozen"  # the free state


class Solver(StrEnum):
    """How the free phase reaches the equilibrium."""

    EULER = "euler"
    ANDERSON = "anderson"


class Precision(StrEnum):
    FLOAT32 = "float32"
    FLOAT64 = "float64"


class Products(StrEnum):
    """How float32 matrix products of the free phase and the adjoint are computed on a GPU."""

    FLOAT32 = "float32"
    TF32X3 = "3xtf32"  # three TF32 products; about float32's accuracy


class JacobianScope(StrEnum):
    FULL = "full"  # the whole dF/dz of a sequence
    SELF = "self"  # only the blocks dF_t/dz_t, which decide the spectrum


class Relaxation(Model):
    """Euler steps z <- z + eps F(z); after T1 steps on to ``t1max`` or the tolerance."""

    eps: Number = Field(default=0.1, gt=0, le=1)
    T1: int = Field(default=150, ge=1, le=100_000)
    t1max: int = Field(default=300, ge=1, le=100_000)
    tolerance: Number = Field(default=1e-4, gt=0, description="step residual to refine to")
    check_every: int = Field(default=10, ge=1)
    solver: Annotated[Solver, word(Solver)] = Solver.EULER
    memory: int = Field(default=6, ge=1, le=50, description="states that Anderson mixes")
    regularisation: Number = Field(
        default=1e-8,
        ge=0,
        lt=1,
        description="Anderson's, relative to the trace of its normal matrix",
    )
    adaptive: bool = Field(
        default=False, description="refine with eps x1.05 where F fell, x0.5 where it did not"
    )
    eps_min: Number = Field(default=1e-3, gt=0, le=1, description="floor of the adaptive eps")
    random_T1: Annotated[tuple[int, ...], Listed] = Field(
        default=(), description="[low, high]: T1 of each training step, drawn uniformly (STARS)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Relaxation:
        if self.t1max < self.T1:
            raise WrongField(("t1max", "T1"), f"t1max ({self.t1max}) is below T1 ({self.T1})")
        if self.random_T1:
            self._check_random_T1()
        if self.adaptive and self.eps_min > self.eps:
            raise WrongField(
                ("eps_min", "eps"), f"eps_min ({self.eps_min:g}) is above eps ({self.eps:g})"
            )
        return self

    def _check_random_T1(self) -> None:
        if len(self.random_T1) != 2 or not 1 <= self.random_T1[0] <= self.random_T1[1]:
            raise WrongField(
                "random_T1",
                f"random_T1 is {list(self.random_T1)}, allowed: [low, high] with 1 <= low <= high",
            )
        if self.random_T1[1] > self.t1max:
            raise WrongField(
                ("random_T1", "t1max"),
                f"random_T1 reaches to {self.random_T1[1]}, above t1max ({self.t1max})",
            )


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
    refresh_nudge: int = Field(
        default=10, ge=1, description="steps between new ell in `ep` and `holomorphic`"
    )
    anchor: Annotated[Anchor, word(Anchor)] = Anchor.TRACK
    points: Literal[2, 4, 8] = Field(
        default=2, description="phases N of `holomorphic`; the documents' holo"
    )
    average: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="estimates averaged, each with force noise of its own; the documents' navg",
    )
    precision: Annotated[Precision, word(Precision)] = Field(
        default=Precision.FLOAT32, description="arithmetic of `exact`"
    )
    restart: int = Field(default=40, ge=1, le=1000, description="Krylov dimension of `exact`")


class Jacreg(Model):
    """Penalty on the Jacobian: mean of (J_nc^T v)^2; weight frozen unless floor < max."""

    weight: Number = Field(default=0.0, ge=0, le=1e3)
    scope: Annotated[JacobianScope, word(JacobianScope)] = JacobianScope.FULL
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


class Compute(Model):
    """What makes a step faster without changing what it computes, within the stated accuracy."""

    cuda_graphs: bool = Field(
        default=True,
        description="replay free phase and adjoint as CUDA graphs, where there is CUDA",
    )
    compile: bool = Field(default=False, description="torch.compile of the force")
    products: Annotated[Products, word(Products)] = Products.FLOAT32
    tf32_steps: int = Field(
        default=0,
        ge=0,
        description="early relaxation steps in TF32; the refined state must agree to 1e-5",
    )


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
    def _finite_T_is_exact(self) -> EpTrainer:
        """What only promises to reach the same equilibrium cannot serve a state after T1 steps."""
        if self.objective is not Objective.FINITE_T:
            return self
        for field, on in (
            ("relaxation.solver", self.relaxation.solver is not Solver.EULER),
            ("compute.tf32_steps", self.compute.tf32_steps > 0),
            ("relaxation.random_T1", bool(self.relaxation.random_T1)),
        ):
            if on:
                raise WrongField(
                    (field.split(".")[0], "objective"),
                    f"{field} needs objective fixed_point: finite_T takes its loss after "
                    f"exactly T1 Euler steps",
                )
        return self

    @model_validator(mode="after")
    def _average_needs_noise(self) -> EpTrainer:
        if self.adjoint.average > 1 and self.fnoise == 0:
            raise WrongField(
                ("adjoint", "fnoise"),
                f"adjoint.average is {self.adjoint.average}, but fnoise is 0: without noise every "
                "estimate is the same",
            )
        return self
