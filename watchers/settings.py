"""What is to be watched in an attempt, as its spec.json says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from specs.files import read_json
from specs.watch import Action, AnyRule, Certify, Rule

_RULES: TypeAdapter[tuple[AnyRule, ...]] = TypeAdapter(tuple[AnyRule, ...])
_ROLLBACK_ONLY: Mapping[str, object] = {"set": {}, "tries": 1}


def read_settings(spec: Path) -> tuple[tuple[Rule, ...], Certify]:
    """The rules and the certificate settings.

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
        return _RULES.validate_json(json.dumps(rules)), certify
    except (TypeError, ValueError) as error:
        raise ValueError(f"{spec} does not say what to watch: {error}") from error


def _without_defaults(rule: Any) -> Any:
    """A dumped model names every default, but a rule may name `set` and `tries` for a rollback only."""
    if not isinstance(rule, dict) or rule.get("action") == Action.ROLLBACK.value:
        return rule
    return {
        key: value
        for key, value in rule.items()
        if key not in _ROLLBACK_ONLY or value != _ROLLBACK_ONLY[key]
    }
