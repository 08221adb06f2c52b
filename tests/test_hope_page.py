"""docs/hope.md keeps its word: its settings, runs and metrics are those that there are, its tests exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from specs.data_clips import PuckData, training_clips
from specs.load import load
from specs.trainer_hope import HopeTrainer
from trainers.hope.continual.protocol import plan, tasks_of
from trainers.params import hope_groups

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "hope.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
MODULES = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)))
BUGS = re.findall(r"^\| ([BF]\d) .*\|(.*)\|$", PAGE, flags=re.MULTILINE)
PROFILES = ("laptop", "h200", "paper")


def defaults() -> dict[str, str]:
    """Every setting of the trainer by its dotted path, with its default as YAML has it; — where it has none."""
    return dict(_leaves(HopeTrainer, ""))


def _leaves(model: type[BaseModel], within: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None or field.default is None:
            yield within + name, _shown(field.default if not field.is_required() else None)
        if inner is not None:
            yield from _leaves(inner, f"{within}{name}.")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds; of the two kinds of clips, the default."""
    found = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type)]
    models = [a for a in found if issubclass(a, BaseModel)]
    return PuckData if PuckData in models else next(iter(models), None)


def _shown(value: object) -> str:
    match value:
        case None | ():
            return "—"
        case bool():
            return f"{value}".lower()
        case StrEnum():
            return value.value
        case tuple():
            return f"[{', '.join(map(_shown, value))}]"
        case float():
            return f"{value:g}"
    return f"{value}"


def run_rows(campaign: str) -> dict[str, str]:
    """Of each run: parameters at the documents' size, steps in each profile, as cells of a table."""
    path = ROOT / "specs" / f"{campaign}.yaml"
    runs = {profile: load(path, profile=profile).spec.runs for profile in PROFILES}
    found = {}
    for name, run in runs["paper"].items():
        trainer = run.trainer
        assert isinstance(trainer, HopeTrainer)
        cells = [f"{sum(hope_groups(trainer).values()):,}"]
        cells += [
            _steps(runs[profile][name].trainer) if name in runs[profile] else "—"
            for profile in PROFILES
        ]
        found[name] = " | ".join(cells)
    return found


def _steps(trainer: object) -> str:
    assert isinstance(trainer, HopeTrainer)
    held_out = trainer.continual.held_out if trainer.continual else 0
    clips = {task: training_clips(trainer.data, task, held_out) or 0 for task in tasks_of(trainer)}
    return f"{sum(phase.steps for phase in plan(trainer, clips)):,}"


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    """Where this fails, the right rows are what was expected here: put them into docs/hope.md."""
    _, _, after = PAGE.partition("\n## 7. ")
    here, _, _ = after.partition("\n## ")
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \| [^|]* \| [^|]* \|$", here, flags=re.MULTILINE)
    assert rows == list(defaults().items())


@pytest.mark.parametrize("campaign", ["hope_phases", "hope_fixed"])
def test_the_tables_of_runs_have_their_parameters_and_steps(campaign: str) -> None:
    for name, cells in run_rows(campaign).items():
        row = rf"^\| `{name}` \| [^|]* \| {re.escape(cells)} \|$"
        assert re.search(row, PAGE, flags=re.MULTILINE), f"| `{name}` | ... | {cells} |"


def test_the_table_of_the_science_runs_has_every_run_with_its_steps() -> None:
    """A row may stand for several runs."""
    rows = re.findall(
        r"^\| (`[\w`, ]+`) \| [^|]* \| ([\d,]+) \| ([\d,]+) \|$", PAGE, flags=re.MULTILINE
    )
    written = {name: steps for names, *steps in rows for name in re.findall(r"`(\w+)`", names)}
    found: dict[str, list[str]] = {}
    for profile in ("laptop", "h200"):
        for name, run in load(
            ROOT / "specs" / "hope_science.yaml", profile=profile
        ).spec.runs.items():
            found.setdefault(name, []).append(_steps(run.trainer))
    assert written == found


@pytest.mark.parametrize("metric", HopeTrainer.METRICS)
def test_a_metric_that_the_trainer_declares_is_explained(metric: str) -> None:
    assert f"`{metric.removesuffix('*')}" in PAGE


def test_each_bug_and_each_finding_has_its_tests() -> None:
    bugs = {number for number, cell in BUGS if "::" in cell}
    assert bugs == {"B1", "B2", "B3", "B4", "F1", "F2", "F3", "F4", "F5"}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", MODULES)
def test_a_file_of_tests_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / path).is_file()
