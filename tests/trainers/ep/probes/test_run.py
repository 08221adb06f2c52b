"""Laws of a probe from the checkpoint's directory on: the right model and text, or a refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from specs.trainer_ep import EpTrainer
from trainers import checkpoint
from trainers.data import load
from trainers.ep.probes import MODULES
from trainers.ep.probes.plots import PICTURES
from trainers.ep.probes.run import measure
from trainers.ep.trainer import EpTraining, build
from trainers.probe_answer import as_json, check_plot, read_options
from trainers.probe_order import CODES, Order, Refused

TEXT = "".join(f"line {n} of a text that is long enough\n" for n in range(300))
Say = Callable[[str], None]


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Any:
    """A probe sets torch for its process; tests share one."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def trained(settings: Callable[..., EpTrainer], text_file: Path, tmp_path: Path) -> EpTraining:
    """A trainer that has taken two steps on a text of its own."""
    chosen = settings(
        data={"path": str(text_file)}, relaxation={"T1": 60, "t1max": 400, "tolerance": 1e-7}
    )
    data = load.load(chosen.data, chosen.seed, tmp_path / "cache")
    trainer = build(chosen, data, device=torch.device("cpu"), threads=1)
    trainer.advance()
    trainer.advance()
    return trainer


def saved(trainer: EpTraining, directory: Path, **facts: object) -> Path:
    kept = checkpoint.save(
        directory,
        step=trainer.step,
        snapshot=trainer.snapshot(),
        evidence=trainer.evidence(),
        facts={"kind": "ep", **facts},
    )
    return kept.path


@pytest.fixture
def kept(trained: EpTraining, tmp_path: Path) -> Path:
    return saved(trained, tmp_path / "checkpoints")


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def refusal(name: str, path: Path, order: Order) -> Refused:
    with pytest.raises(Refused) as caught:
        measure(name, path, order, say=quiet)
    return caught.value


ROWS = {
    "type": "object",
    "required": ["columns", "data"],
    "additionalProperties": False,
    "properties": {
        "columns": {"type": "array", "minItems": 2, "items": {"type": "string"}},
        "data": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["model", "finding"],
                "properties": {"model": {"enum": ["parameters", "average"]}},
            },
        },
    },
}
SHORT = {
    "gradient": {"t2": [2, 4], "hr": [0.01]},
    "relax": {"steps": 20},
    "knockout": {"time": 2.0},
    "adaptive-eps": {"steps": 20},
}


@pytest.mark.parametrize("name", [n for n in MODULES if n != "compile"])
def test_every_probe_answers_in_json_with_the_columns_of_its_table(name, kept):
    order = Order(options=SHORT.get(name, {}), sequences=2)
    answer = json.loads(json.dumps(measure(name, kept, order, say=quiet), allow_nan=False))
    jsonschema.validate(answer, ROWS)
    assert {row["model"] for row in answer["data"]} == {"parameters", "average"}
    assert all(set(answer["columns"]) <= set(row) for row in answer["data"])


def test_the_probe_measures_the_model_that_was_trained(trained, kept):
    """The evidence that the trainer stored, at the refined state in float32, against the probe's root in float64."""
    there = json.loads((kept / "evidence.json").read_text())["metrics"]
    order = Order(options={"method": "rightmost"})
    for row in measure("spectrum", kept, order, say=quiet)["data"]:
        name = "spectrum/max_re_mu" + ("" if row["model"] == "parameters" else "_ema")
        assert row["max_re_mu"] == pytest.approx(there[name], abs=1e-3)


@pytest.mark.parametrize("of", ["parameters", "average"])
def test_of_chooses_one_of_the_models(of, kept):
    order = Order(of=of, options={"method": "rightmost"})
    assert [row["model"] for row in measure("spectrum", kept, order, say=quiet)["data"]] == [of]


def test_a_checkpoint_whose_hash_fails_is_refused(kept):
    path = kept / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused = refusal("relax", kept, Order())
    assert refused.kind == "checkpoint"
    assert "model.safetensors has another sha256" in str(refused)


def test_a_checkpoint_of_another_trainer_is_refused(trained, tmp_path):
    path = saved(trained, tmp_path / "other", kind="command")
    refused = refusal("relax", path, Order())
    assert refused.kind == "checkpoint"
    assert "of a command trainer" in str(refused)


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    assert refusal("relax", tmp_path, Order()).kind == "checkpoint"
    assert refusal("relax", tmp_path / "nowhere", Order()).kind == "checkpoint"


def test_a_text_that_is_gone_is_refused(kept, text_file):
    text_file.unlink()
    refused = refusal("relax", kept, Order())
    assert refused.kind == "text"
    assert str(text_file) in str(refused)


def test_a_text_that_has_changed_is_refused(kept, text_file):
    text_file.write_text(TEXT.replace("long", "Long"))
    refused = refusal("relax", kept, Order())
    assert refused.kind == "checkpoint"
    assert "another text" in str(refused)


def test_more_sequences_than_the_text_has_are_refused(kept):
    assert refusal("relax", kept, Order(sequences=10**6)).kind == "text"


def test_parameters_that_are_no_numbers_are_refused(trained, tmp_path):
    with torch.no_grad():
        trained.params.W_Q[0, 0] = torch.nan
    path = checkpoint.save(
        tmp_path / "broken",
        step=trained.step,
        snapshot=trained.snapshot(),
        evidence=replace(trained.evidence(), finite=False, metrics={}),
        facts={"kind": "ep"},
    ).path
    refused = refusal("relax", path, Order())
    assert refused.kind == "checkpoint"
    assert "W_Q" in str(refused)


@pytest.mark.parametrize(
    ("name", "order", "says"),
    [
        ("nonsense", Order(), "there is no probe nonsense; there are: spectrum"),
        ("relax", Order(of="all"), "allowed: parameters, average, both"),
        ("relax", Order(options={"t2": [10]}), "no such option: t2; there are: steps"),
        ("relax", Order(options={"steps": 1}), "steps is 1"),
        ("gradient", Order(options={"t2": [0]}), "t2 are"),
        ("gradient", Order(options={"hr": [0.0]}), "hr are"),
        ("spectrum", Order(options={"method": "magic"}), "'magic' is not a valid Method"),
        ("relax", Order(plot="a.gif"), "must end in .png"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_read(name, order, says, tmp_path):
    refused = refusal(name, tmp_path / "nowhere", order)
    assert refused.kind == "usage"
    assert says in str(refused)


def test_every_probe_has_a_picture():
    assert set(PICTURES) == set(MODULES)


def test_a_probe_without_a_picture_says_which_have_one():
    with pytest.raises(Refused, match=r"no picture of weight; there are of: relax, spectrum"):
        check_plot("weight", Order(plot="a.png"), ("relax", "spectrum"))


@pytest.mark.parametrize("fields", [{"sequences": 0}, {"threads": 0}])
def test_an_order_for_nothing_cannot_be_made(fields):
    with pytest.raises(ValueError, match="allowed: 1 or more"):
        Order(**fields)


def test_a_picture_never_replaces_a_file_unless_told(kept, tmp_path):
    plot = tmp_path / "relax.png"
    plot.write_text("mine")
    order = Order(of="average", plot=str(plot), options={"steps": 8})
    assert refusal("relax", kept, order).kind == "exists"
    assert plot.read_text() == "mine"
    measure("relax", kept, replace(order, replace=True), say=quiet)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_file_that_appears_while_it_is_measured_stays(kept, tmp_path):
    plot = tmp_path / "relax.png"
    order = Order(of="average", plot=str(plot), options={"steps": 8})

    def meanwhile(_: str) -> None:
        plot.write_text("mine")

    with pytest.raises(Refused) as caught:
        measure("relax", kept, order, say=meanwhile)
    assert caught.value.kind == "exists"
    assert plot.read_text() == "mine"


def test_a_picture_into_no_directory_is_refused_before_measuring(tmp_path):
    order = Order(plot=str(tmp_path / "nowhere" / "a.png"))
    assert refusal("relax", tmp_path, order).kind == "plot"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(kept):
    assert refusal("relax", kept, Order(device="cuda")).kind == "device"


def test_every_refusal_has_an_exit_code():
    kinds = {"usage", "checkpoint", "text", "clips", "plot", "exists", "device", "memory"}
    assert set(CODES) == kinds
    assert all(code in (2, 5) for code in CODES.values())


def test_numbers_that_json_lacks_are_strings():
    values = {"a": (1.0, math.nan), "b": [math.inf, -math.inf], "c": {1: None}}
    expected = {"a": [1.0, "NaN"], "b": ["Infinity", "-Infinity"], "c": {"1": None}}
    assert as_json(values) == expected


def test_options_are_read_with_their_types():
    from trainers.ep.probes.gradient import Options as Sweep
    from trainers.ep.probes.spectrum import Method, Options

    assert read_options(Options, {"method": "arnoldi"}).method is Method.ARNOLDI
    assert read_options(Sweep, {"t2": [3, 4]}).t2 == (3, 4)
