"""What the EP trainer adds to the task gradient to keep the equilibrium stable (docs/ep.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from specs.base import Model, Number, word
from specs.errors import WrongField


class JacobianScope(StrEnum):
    FULL = "full"  # the whole dF/dz of a sequence
    SELF = "self"  # only the blocks dF_t/dz_t, which decide the spectrum


class Jacreg(Model):
    """Penalty on the Jacobian: mean of (J_nc^T v)^2, with a loss weight (frozen unless floor < max) or a ratio."""

    weight: Number = Field(default=0.0, ge=0, le=1e3, description="loss weight")
    ratio: Number = Field(
        default=0.0,
        ge=0,
        le=10,
        description="instead: norm of its gradient over that of the task gradient",
    )
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

    @model_validator(mode="after")
    def _weight_or_ratio(self) -> Jacreg:
        if self.ratio > 0 and (self.weight > 0 or (self.max or 0) > 0):
            raise WrongField(
                ("ratio", "weight", "max"),
                f"ratio ({self.ratio:g}) takes the place of a loss weight: leave out weight, floor and max",
            )
        return self


class Hinge(Model):
    """Spectral hinge on the self-blocks: only modes with Re mu > -margin are penalised. On unless ratio is 0."""

    ratio: Number = Field(
        default=0.3,
        ge=0,
        le=10,
        description="norm of its gradient over that of the task gradient; 0: off",
    )
    margin: Number = Field(default=0.5, ge=0, le=1)
    power_steps: int = Field(default=12, ge=1, le=1000)
    eps: Number = Field(default=0.3, gt=0, le=1)
    every: int = Field(default=2, ge=1, description="training steps between two")
    sequences: int = Field(
        default=0, ge=0, description="of a batch, so many are looked at; 0: all of them"
    )
