"""Laws of a HOPE probe from the checkpoint's directory on: the right model and clips, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.trainer_hope import HopeTrainer
from trainers import checkpoint
from trainers.data import clips
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.probes import MODULES
from trainers.hope.probes.plots import PICTURES, draw
from trainers.hope.probes.run import measure
from trainers.hope.trainer import HopeTraining, build
from trainers.probe import PROBES, main
from trainers.probe_order import Order, Refused
from trainers.probe_pictures import FORMATS

SETTINGS: dict[str, Any] = {
    "kind": "hope",
    "model": {
        "pattern": "TH", "width": 12, "heads": 2, "temporal_embeddings": True,
        "conditioning_bias_std": 0.02,
    },
    "data": {"clips": 16, "grid": [2, 2], "feature_width": 12},
    "batch": 4,
    "steps": 4,
    "validation": {"clips": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Any:
    """A probe sets torch for its process; tests share one."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def trained(cache: Path) -> HopeTraining:
    settings = HopeTrainer.model_validate_json(json.dumps(SETTINGS))
    source = clips.load(
        settings.data, settings.seed, clips.default_cache(), "cpu", tasks=tasks_of(settings)
    )
    trainer = build(settings, source, device=torch.device("cpu"))
    trainer.advance()
    return trainer


def saved(trainer: HopeTraining, directory: Path, **facts: object) -> Path:
    return checkpoint.save(
        directory,
        step=trainer.step,
        snapshot=trainer.snapshot(),
        evidence=trainer.evidence(),
        facts={"kind": "hope", **facts},
    ).path


@pytest.fixture
def kept(trained: HopeTraining, tmp_path: Path) -> Path:
    return saved(trained, tmp_path / "checkpoints")


def quiet(_: str) -> None:
    """Progress that nobody reads."""


@pytest.mark.parametrize("name", MODULES)
def test_every_probe_answers_in_json_and_draws_its_picture(name, kept, tmp_path):
    order = Order(plot=str(tmp_path / "p.png"))
    answer = json.loads(json.dumps(measure(name, kept, order, say=quiet), allow_nan=False))
    assert all(set(answer["columns"]) <= set(row) for row in answer["data"])
    assert answer["data"][-1]["finding"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_every_probe_has_a_picture_in_every_format(probed, said):
    from importlib import import_module

    _, opened = probed()
    for name, where in MODULES.items():
        module = import_module(where)
        rows = module.probe(opened, module.Options(), None, said.append)
        assert all(draw(name, rows, kind) for kind in FORMATS)
    assert set(PICTURES) == set(MODULES)


def test_the_probe_measures_the_model_that_was_trained(kept):
    there = json.loads((kept / "evidence.json").read_text())["metrics"]
    whole = measure("nan", kept, Order(), say=quiet)["data"][-1]
    assert whole["ratio"] == pytest.approx(there["grad/block_ratio"], rel=1e-5)
    assert whole["bad"] == there["grad/non_finite"]
    jump = measure("jump", kept, Order(), say=quiet)["data"][-1]
    assert jump["error"] == pytest.approx(there["val/jump"], rel=1e-5)


def test_other_clips_than_those_trained_on_are_refused(trained, tmp_path):
    snapshot = trained.snapshot()
    snapshot.scalars["clips_sha256"] = "0" * 64
    path = checkpoint.save(
        tmp_path / "o",
        step=1,
        snapshot=snapshot,
        evidence=trained.evidence(),
        facts={"kind": "hope"},
    ).path
    with pytest.raises(Refused, match="trained on other clips"):
        measure("jump", path, Order(), say=quiet)


def test_a_hope_checkpoint_has_no_average(kept):
    with pytest.raises(Refused, match="no average") as caught:
        measure("jump", kept, Order(of="average"), say=quiet)
    assert caught.value.kind == "usage"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("relax", "hope", "relax is a probe of ep. Probes of hope: nan, memory, jump"),
        ("nan", "ep", "nan is a probe of hope. Probes of ep: spectrum"),
        ("nan", "command", "Probes of command: there are none"),
    ],
)
def test_a_probe_of_another_kind_is_refused_before_torch_is_needed(
    name, kind, says, tmp_path, monkeypatch
):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": kind}))
    monkeypatch.setattr("trainers.probe.import_module", None)  # that is how torch would come in
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr("trainers.probe._keep_stdout_for_answers", lambda: None)
    monkeypatch.setattr("trainers.probe._write", lambda _, value: answers.append(value))
    assert main(["probe", name, str(tmp_path), "{}"]) == 5
    assert answers[0]["error"] == "checkpoint"
    assert says in answers[0]["message"]


def test_no_two_kinds_have_a_probe_of_the_same_name():
    names = [name for modules in PROBES.values() for name in modules]
    assert len(names) == len(set(names))
