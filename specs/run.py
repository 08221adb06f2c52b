"""A campaign as written in YAML, once defaults, profile and run are merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from specs.base import Listed, Model, Name
from specs.errors import WrongField
from specs.resources import Limits, Resources, Retry, Start
from specs.trainer_command import CommandTrainer
from specs.trainer_ep import EpTrainer
from specs.trainer_hope import HopeTrainer
from specs.watch import AnyRule, Certify, rule_name

SCHEMA_VERSION = 1

AnyTrainer = Annotated[EpTrainer | HopeTrainer | CommandTrainer, Field(discriminator="kind")]


class RunSpec(Model):
    """One run, complete."""

    trainer: AnyTrainer
    resources: Resources = Resources()
    start: Start = Start()
    watch: Annotated[tuple[AnyRule, ...], Listed] = ()
    certify: Certify = Certify()
    retry: Retry = Retry()
    limits: Limits = Limits()
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher starts first")

    @model_validator(mode="after")
    def _rule_names_differ(self) -> RunSpec:
        names = [rule_name(rule) for rule in self.watch]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise WrongField(
                "watch", f"two rules have the name {', '.join(twice)}: give each a `name`"
            )
        return self


class CampaignSpec(Model):
    """A campaign, resolved: every run complete, nothing left to merge."""

    schema_version: Literal[1] = 1
    campaign: Name
    profile: Name | None = None
    runs: Mapping[Name, RunSpec] = Field(min_length=1)


class CampaignFile(Model):
    """The file as written: partial runs, merged as defaults < profile < run < profile.runs[run].

    A profile takes all runs, or those that its ``only`` names.
    """

    schema_version: Literal[1] = 1
    campaign: Name
    description: str | None = None
    profile: Name | None = None
    profiles: Mapping[Name, Mapping[str, Any]] = Field(default_factory=dict)
    defaults: Mapping[str, Any] = Field(default_factory=dict)
    runs: Mapping[Name, Mapping[str, Any]] = Field(min_length=1)
