"""What a run needs, and which devices it may and may not have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from specs.base import Duration, Listed, Model, Name
from specs.errors import WrongField

DeviceRef = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)],
    Field(description="index, UUID, UUID prefix, or host:index"),
]


class Resources(Model):
    """``gpus: 0`` runs on ``cpus`` CPU slots; otherwise on whole GPUs with ``cpus`` threads each."""

    gpus: int = Field(default=0, ge=0, le=1024)
    cpus: int = Field(default=1, ge=1, le=4096)
    pin: Annotated[tuple[DeviceRef, ...], Listed] = Field(
        default=(), description="only these devices"
    )
    exclude: Annotated[tuple[DeviceRef, ...], Listed] = Field(
        default=(), description="never these devices; the site's exclusions come on top"
    )
    hosts: Annotated[tuple[str, ...], Listed] = Field(default=(), description="only these hosts")

    @model_validator(mode="after")
    def _no_contradiction(self) -> Resources:
        for field in ("pin", "exclude"):
            values = getattr(self, field)
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise WrongField(field, f"{field} names {', '.join(twice)} twice")
        both = [str(v) for v in self.pin if v in self.exclude]
        if both:
            raise WrongField(
                "exclude", f"{', '.join(both)} is pinned and excluded: it can be only one"
            )
        if self.gpus == 0 and self.pin:
            raise WrongField("pin", "pin names GPUs, but gpus is 0")
        if self.pin and len(self.pin) < self.gpus:
            raise WrongField("pin", f"gpus is {self.gpus}, but pin names only {len(self.pin)}")
        return self


class Retry(Model):
    """What happens after a run ends badly by itself. A kill by a rule is not a crash."""

    crashes: int = Field(default=2, ge=0, le=100, description="restarts after a crash")
    losses: int = Field(default=10, ge=0, le=1000, description="restarts after a reboot or a loss")
    wait: Duration = 1.0
    from_scratch: bool = Field(
        default=False,
        description="where no checkpoint may be resumed, start again from nothing",
    )


class Limits(Model):
    """Deadlines that the shim keeps."""

    timeout: Duration | None = None
    grace: Duration = Field(default=30.0, description="from SIGTERM to SIGKILL")


class WarmFrom(Model):
    """Start from the parameters of another run's newest certified checkpoint, once it is done.

    With ``step``: from the checkpoint of that step, as soon as it is certified.
    """

    run: Name
    campaign: Name | None = None
    checkpoint: Annotated[str, Field(pattern="^certified$")] = "certified"
    step: int | None = Field(default=None, ge=1)


class Start(Model):
    """Where a run begins."""

    warm_from: WarmFrom | None = None
