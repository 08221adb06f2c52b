"""How the EP trainer reaches its equilibrium and solves for the gradient there.

Symbols as in docs/ep.md: T1 relaxation steps, J = dF/dz, ell the gradient of the summed loss, r_adj the
adjoint residual. A step residual is eps ``||F|| / ||z||``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Listed, Model, Number, word
from specs.errors import WrongField
from specs.products import Products


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


def _products(value: object) -> object:
    """TF32 is a word that is meant, not a slip: refused with the reason."""
    if isinstance(value, str) and value.lower() == "tf32":
        raise ValueError(
            "the documents dropped TF32: its 10 bits are too coarse for a relaxation whose wall moved by "
            "0.33 nats when eps was halved. Use 3xtf32 (float32's accuracy), or tf32_steps for early steps"
        )
    return value


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
        if self.adaptive and self.solver is not Solver.EULER:
            raise WrongField(
                ("adaptive", "solver"),
                f"adaptive chooses the size of Euler steps: solver {self.solver} has none",
            )
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
        default=0.005, gt=0, le=1, description="nudge radius hr of `ep`, relative to the state"
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


class Compute(Model):
    """What makes a step faster without changing what it computes, within the stated accuracy."""

    cuda_graphs: bool = Field(
        default=True,
        description="replay free phase and adjoint as CUDA graphs, where there is CUDA",
    )
    compile: bool = Field(default=False, description="torch.compile of the force")
    products: Annotated[Products, word(Products), BeforeValidator(_products)] = Field(
        default=Products.FLOAT32, description="of the free phase and the adjoint, on a GPU"
    )
    tf32_steps: int = Field(
        default=0,
        ge=0,
        description="early relaxation steps in TF32; the refined state must agree to 1e-5",
    )
