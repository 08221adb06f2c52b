"""What is to be watched in an attempt, as its spec.json says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from specs.files import read_json
from specs.trainer_command import CommandTrainer
from specs.watch import Action, AnyRule, Certify, Rule

_RULES: TypeAdapter[tuple[AnyRule, ...]] = TypeAdapter(tuple[AnyRule, ...])
_ROLLBACK_ONLY: Mapping[str, object] = {"set": {}, "tries": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``undeclared``: nobody knows what metrics the trainer writes, so a slip in a rule went unseen."""

    rules: tuple[Rule, ...]
    certify: Certify
    undeclared: bool = False


def read_settings(spec: Path) -> Settings:
    """The rules, the certificate settings, and whether the trainer's metrics are known beforehand.

    Raises OSError and ValueError, whose messages name the file, where they cannot be read.
    """
    content = read_json(spec)
    if content is None:
        raise FileNotFoundError(f"{spec} is missing: nothing says what to watch")
    run = content.get("spec")
    if not isinstance(run, dict):
        raise ValueError(f"{spec} has no `spec`: nothing says what to watch")
    try:
        rules = [_without_defaults(rule) for rule in run.get("watch") or ()]
        certify = Certify.model_validate_json(json.dumps(run.get("certify") or {}))
        return Settings(
            rules=_RULES.validate_json(json.dumps(rules)),
            certify=certify,
            undeclared=_undeclared(run.get("trainer")),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{spec} does not say what to watch: {error}") from error


def _undeclared(trainer: object) -> bool:
    if not isinstance(trainer, dict) or trainer.get("kind") != "command":
        return False
    return not CommandTrainer.model_validate_json(json.dumps(trainer)).declared_metrics()


def _without_defaults(rule: Any) -> Any:
    """A dumped model names every default, but a rule may name `set` and `tries` for a rollback only."""
    if not isinstance(rule, dict) or rule.get("action") == Action.ROLLBACK.value:
        return rule
    return {
        key: value
        for key, value in rule.items()
        if key not in _ROLLBACK_ONLY or value != _ROLLBACK_ONLY[key]
    }
