"""Clips of video features with actions: what the HOPE trainer learns from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from specs.base import Listed, Model, Number
from specs.errors import WrongField

TASKS = (
    "base", "scaling", "dissipation", "discretization", "kinematics", "compositional_ood",
)  # fmt: skip
"""The base physics of the puck, and its five shifts."""


Side = Annotated[int, Field(ge=1, le=256)]
Grid = Annotated[tuple[Side, Side], Listed]


def _least_first(given: tuple[float, float]) -> tuple[float, float]:
    if given[0] > given[1]:
        raise ValueError("the least comes first, then the greatest")
    return given


LeastFirst = AfterValidator(_least_first)
Length = Annotated[Number, Field(ge=0.02, le=0.2)]
Positive = Annotated[Number, Field(gt=0, le=10)]
Share = Annotated[Number, Field(ge=0, le=1)]
Turning = Annotated[Number, Field(ge=0, le=50)]


class PuckRanges(Model):
    """Least and greatest of what is drawn evenly for each clip of the base task, in place of the usual."""

    radius: Annotated[tuple[Length, Length], Listed, LeastFirst] | None = Field(
        default=None, description="in the table's shorter side; usually .06 to .08"
    )
    density: Annotated[tuple[Positive, Positive], Listed, LeastFirst] | None = Field(
        default=None, description="1 gives mass 1 at radius .07; usually .85 to 1.15"
    )
    strike: Annotated[tuple[Positive, Positive], Listed, LeastFirst] | None = Field(
        default=None, description="mass times table a second; usually .5 to 1.1"
    )
    friction: Annotated[tuple[Share, Share], Listed, LeastFirst] | None = Field(
        default=None, description="coefficient of sliding; usually .02 to .10"
    )
    spin: Annotated[tuple[Turning, Turning], Listed, LeastFirst] | None = Field(
        default=None, description="radians a second, either way; usually 0 to 3"
    )
    curve: Annotated[tuple[Share, Share], Listed, LeastFirst] | None = Field(
        default=None, description="radians of the path for each of spin; usually 0"
    )

    def given(self) -> dict[str, tuple[float, float]]:
        """Those that are not the usual ones."""
        return {name: both for name in type(self).model_fields if (both := getattr(self, name))}


class PuckData(Model):
    """A puck on a table, made by us: rendered, then encoded by a fixed random patch encoder."""

    kind: Literal["puck"] = "puck"
    path: str | None = Field(
        default=None,
        description="clips made by `campaign data make`; without it they are made here",
    )
    clips: int = Field(default=1000, ge=2, le=1_000_000, description="of the base task")
    task_clips: int = Field(default=200, ge=2, le=1_000_000, description="of each other task")
    grid: Grid = Field(default=(16, 16), description="patches of a frame, down and across")
    feature_width: int = Field(default=1024, ge=4, le=65536)
    frames: int = Field(
        default=8, ge=2, le=64, description="encoded frames; two are rendered for each"
    )
    feature_std: Number = Field(default=3.2, gt=0)
    ranges: PuckRanges = Field(
        default=PuckRanges(), description="of clips made here, in place of the base task's"
    )
    stills: bool = Field(
        default=False,
        description="both pictures of an encoded frame are one: no motion shows within a frame",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    validation_fraction: Number = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _a_range_of_clips_made_here(self) -> PuckData:
        if self.path is not None and (self.ranges.given() or self.stills):
            raise WrongField(
                ("path", "ranges", "stills"),
                "ranges and stills are of clips made here: those in path are made already",
            )
        return self


class ClipData(Model):
    """A folder of the documented layout, one folder ``clip_XXXXX`` a clip, tasks in folders of their own."""

    kind: Literal["clips"]
    path: str
    grid: Grid = (16, 16)
    feature_width: int = Field(default=1024, ge=4, le=65536)
    frames: int = Field(default=8, ge=2, le=64)
    clips: int | None = Field(default=None, ge=2, description="first so many of the base task")
    task_clips: int | None = Field(default=None, ge=2)
    validation_fraction: Number = Field(default=0.1, gt=0, lt=0.9)


def _puck_unless_told(value: object) -> object:
    """``kind`` may be left out for the puck."""
    return {"kind": "puck", **value} if isinstance(value, dict) else value


AnyClips = Annotated[
    PuckData | ClipData, Field(discriminator="kind"), BeforeValidator(_puck_unless_told)
]


def training_clips(settings: AnyClips, task: str, held_out: int) -> int | None:
    """How many clips of a task are learnt from, of those that are neither held out nor for validation.

    None where only the folder itself knows how many there are.
    """
    clips = settings.clips if task == TASKS[0] else settings.task_clips
    if clips is None or isinstance(settings, ClipData):
        return None
    rest = clips - held_out
    return rest - min(max(1, round(rest * settings.validation_fraction)), rest - 1)
