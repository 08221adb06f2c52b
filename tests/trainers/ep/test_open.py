"""A checkpoint says by itself which model it holds. (The eighth of the documented bugs.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.files import BadCheckpoint
from trainers.checkpoint import save
from trainers.data.load import load
from trainers.ep.block import embed, fold, force
from trainers.ep.open import open_checkpoint
from trainers.ep.text import text_of
from trainers.ep.trainer import build
from trainers.failure import CouldNotStart
from trainers.protocol import Evidence, Snapshot

SENTENCES = "".join(f"{n} dogs and {n * n} foxes.\n" for n in range(60))


@pytest.fixture
def write(settings: Any, tmp_path: Path) -> Any:
    """Trains some steps on a text file; returns the trainer and its checkpoint."""

    def make(steps: int = 2, content: str = SENTENCES, scalars: Any = None, **fields: Any) -> Any:
        path = tmp_path / "text.txt"
        path.write_text(content)
        chosen = settings(data={"path": str(path)}, **fields)
        trainer = build(chosen, load(chosen.data, chosen.seed, tmp_path / "cache"))
        for _ in range(steps):
            trainer.advance()
        snapshot = trainer.snapshot()
        if scalars is not None:
            changed = scalars(json.loads(json.dumps(snapshot.scalars)))
            snapshot = Snapshot(tensors=snapshot.tensors, scalars=changed)
        saved = save(
            tmp_path / "checkpoints",
            step=trainer.step,
            snapshot=snapshot,
            evidence=Evidence(finite=True, metrics={}),
            facts={"kind": "ep"},
        )
        return trainer, saved.path

    return make


UNUSUAL = {
    "damping": 0.25,
    "qk_norm": False,
    "relaxation": {"T1": 9, "t1max": 31, "random_T1": [5, 9]},
}


@pytest.mark.parametrize("fields", [{}, UNUSUAL], ids=["plain", "unusual"])
def test_the_force_of_an_opened_checkpoint_is_bitwise_that_of_the_trainer(write, fields):
    trainer, path = write(**fields)
    opened = open_checkpoint(path)
    z = torch.randn((3, 5, 8), generator=torch.Generator().manual_seed(1))
    idx = torch.arange(15).view(3, 5)
    for ours, theirs in ((opened.params, trainer.params), (opened.ema, trainer.ema)):
        with torch.no_grad():
            at = [force(fold(p, opened.settings), z, embed(p, idx)) for p in (ours, theirs)]
        assert torch.equal(*at)


def test_an_opened_checkpoint_knows_everything_it_was_trained_with(write):
    trainer, path = write(steps=3, **UNUSUAL)
    opened = open_checkpoint(path)
    scalars = trainer.snapshot().scalars
    assert opened.settings.model_dump(mode="json") == scalars["settings"]
    assert opened.settings.relaxation.random_T1 == (5, 9)
    assert opened.step == 3
    assert opened.vocabulary == 97
    assert opened.identity == scalars["identity"]
    assert opened.tokenizer_hash == scalars["identity"]["tokenizer_hash"]
    assert opened.text_hash == scalars["text_sha256"]


def changed(*path: str, to: object) -> Any:
    def change(scalars: dict[str, Any]) -> dict[str, Any]:
        at = scalars
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = to
        return scalars

    return change


def without(name: str) -> Any:
    return lambda scalars: {k: v for k, v in scalars.items() if k != name}


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (changed("settings", "colour", to=1), "settings are not .*colour: Extra inputs"),
        (changed("settings", "hinge", "depth", to=1), "hinge.depth: Extra inputs"),
        (changed("settings", "width", to="wide"), "width: .*integer"),
        (changed("settings", "width", to=16), "width: the checkpoint has 8, this run has 16"),
        (changed("settings", to=None), "settings are not those of this version"),
        (changed("extra", to=1), "has the unknown: extra"),
        (without("settings"), "lacks: settings"),
        (without("identity"), "lacks: identity"),
        (changed("identity", "vocabulary", to=98), r"model/E has shape \(97, 8\)"),
        (changed("step", to=7), "stood at step 7, its name says 2"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_itself_is_refused_by_name(write, scalars, message):
    _, path = write(scalars=scalars)
    with pytest.raises(BadCheckpoint, match=message) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_changed_byte_is_refused(write, name):
    _, path = write()
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(BadCheckpoint, match=name.split(".")[0]):
        open_checkpoint(path)


def test_a_checkpoint_of_another_trainer_is_refused(write, tmp_path):
    trainer, _ = write()
    saved = save(
        tmp_path / "other",
        step=trainer.step,
        snapshot=trainer.snapshot(),
        evidence=Evidence(finite=True, metrics={}),
        facts={"kind": "hope"},
    )
    with pytest.raises(BadCheckpoint, match="of a hope trainer"):
        open_checkpoint(saved.path)


def test_a_parameter_that_is_no_number_is_refused_by_its_name(write, tmp_path):
    trainer, _ = write()
    snapshot = trainer.snapshot()
    snapshot.tensors["ema"]["W_2"][3, 4] = float("nan")
    saved = save(
        tmp_path / "bad",
        step=trainer.step,
        snapshot=snapshot,
        evidence=Evidence(finite=False, metrics={}),
        facts={"kind": "ep"},
    )
    with pytest.raises(BadCheckpoint, match=r"ema/W_2 .* not finite"):
        open_checkpoint(saved.path)


def test_the_text_of_a_checkpoint_is_the_one_it_was_trained_on(write, tmp_path):
    trainer, path = write()
    text = text_of(open_checkpoint(path), tmp_path / "cache")
    assert text.text_hash == trainer.snapshot().scalars["text_sha256"]
    for ours, theirs in zip(text.batch(5, 2, 5), trainer._data.batch(5, 2, 5), strict=True):
        assert torch.equal(ours, theirs)


def test_a_text_that_has_changed_since_is_refused(write, tmp_path):
    _, path = write()
    (tmp_path / "text.txt").write_text(SENTENCES.replace("fox", "cat"))
    with pytest.raises(BadCheckpoint, match=r"trained on another text.*text: the checkpoint has"):
        text_of(open_checkpoint(path), tmp_path / "cache")


def test_a_text_that_is_gone_is_named(write, tmp_path):
    _, path = write()
    (tmp_path / "text.txt").unlink()
    with pytest.raises(CouldNotStart, match=r"text\.txt cannot be read: No such file"):
        text_of(open_checkpoint(path), tmp_path / "cache")


def test_another_tokenizer_of_the_same_text_is_refused(write, tmp_path):
    def bytes_instead(scalars: dict[str, Any]) -> dict[str, Any]:
        scalars["settings"]["data"]["tokenizer"] = "byte"
        return scalars

    _, path = write(scalars=bytes_instead)
    message = "vocabulary: the checkpoint has 97, .* has 256; tokenizer: the checkpoint has"
    with pytest.raises(BadCheckpoint, match=message):
        text_of(open_checkpoint(path), tmp_path / "cache")
