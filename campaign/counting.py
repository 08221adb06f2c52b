"""The parameters of a campaign's runs, by group, counted by the trainers' own code.

That code needs torch, so it runs in a child; models are built without memory for their weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign import children
from campaign.errors import CampaignError, NotFound, WrongState
from specs.run import CampaignSpec

COUNTED = ("ep", "hope")
"""Kinds of trainers whose parameters are known; a command's are its own affair."""


class NotCounted(CampaignError):
    """The counting process ended without an answer."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One run: parameters of each group, and of all."""

    run: str
    kind: str
    groups: Mapping[str, int]
    total: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """In the order of the file. ``skipped``: runs whose parameters nobody here can know."""

    runs: tuple[Counted, ...]
    skipped: tuple[str, ...]


def count(spec: CampaignSpec) -> Counts:
    """Raises NotFound for a text that is not there, WrongState, NotCounted."""
    kinds = {name: run.trainer.kind for name, run in spec.runs.items()}
    trainers = {
        name: run.trainer.model_dump(mode="json")
        for name, run in spec.runs.items()
        if kinds[name] in COUNTED
    }
    rows = _asked(trainers) if trainers else []
    return Counts(
        runs=tuple(Counted(**row) for row in rows),
        skipped=tuple(name for name, kind in kinds.items() if kind not in COUNTED),
    )


def _asked(trainers: Mapping[str, object]) -> list[dict[str, Any]]:
    """A campaign may be longer than a command line, so the child reads its question from a file."""
    with tempfile.TemporaryDirectory(prefix="campaign-params-") as folder:
        question = Path(folder) / "trainers.json"
        question.write_text(json.dumps(trainers), encoding="utf-8")
        order = json.dumps({"trainers": str(question), "scratch": folder})
        argv = [sys.executable, "-P", "-E", "-m", "trainers.params", order]
        return _rows(*children.run(argv, children.environment(1)))


def _rows(code: int, out: bytes) -> list[dict[str, Any]]:
    try:
        answer = json.loads(out)
    except ValueError:
        said = children.ending(code)
        raise NotCounted(
            f"parameters could not be counted ({said}); the last words are above"
        ) from None
    if "error" in answer:
        kind = NotFound if answer["error"] == "missing" else WrongState
        raise kind(answer["message"])
    rows: list[dict[str, Any]] = answer["data"]
    return rows
