"""Whether two resolved campaigns are the same, and in what they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specs.errors import show
from specs.files import digest_json
from specs.run import CampaignSpec, RunSpec
from specs.watch import rule_name


def resolved_hash(spec: CampaignSpec | RunSpec) -> str:
    """sha256 of a resolved campaign or run: equal for equal content, however it was written.

    Two campaigns have the same hash exactly where `difference` finds none.
    """
    return digest_json(_campaign(spec) if isinstance(spec, CampaignSpec) else _run(spec))


def difference(old: CampaignSpec, new: CampaignSpec) -> tuple[str, ...]:
    """One line for each setting that differs: ``runs.redx.trainer.resreg: 0.2 -> 0.1``."""
    return tuple(_lines("", _campaign(old), _campaign(new)))


def _campaign(spec: CampaignSpec) -> dict[str, Any]:
    content = spec.model_dump(mode="json", exclude={"runs"})
    return {**content, "runs": {name: _run(run) for name, run in spec.runs.items()}}


def _run(run: RunSpec) -> dict[str, Any]:
    """The run as nested maps; rules go by their names, as in a dotted path."""
    content = run.model_dump(mode="json")
    names = [rule_name(rule) for rule in run.watch]
    return {**content, "watch": dict(zip(names, content["watch"], strict=True))}


def _lines(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = []
    for key in (*old, *(key for key in new if key not in old)):
        here = f"{path}.{key}" if path else key
        if key not in new:
            lines.append(f"{here}: {_short(old[key])} -> absent")
        elif key not in old:
            lines.append(f"{here}: absent -> {_short(new[key])}")
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            lines += _lines(here, old[key], new[key])
        elif digest_json(old[key]) != digest_json(new[key]):
            lines.append(f"{here}: {_short(old[key])} -> {_short(new[key])}")
    return lines


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "present"
    return (
        f"[{', '.join(show(item) for item in value)}]" if isinstance(value, list) else show(value)
    )
