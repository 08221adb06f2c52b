from __future__ import annotations

from pathlib import Path

import pytest
import torch

from specs.trainer_ep import EpTrainer
from tests.bench.ep_pace import changed, measure, paces
from trainers import checkpoint
from trainers.data.load import load as load_data
from trainers.ep.trainer import build
from trainers.protocol import Evidence

SMALL = EpTrainer.model_validate(
    {
        "kind": "ep", "estimator": "exact", "width": 16, "heads": 2, "context": 8, "batch": 2,
        "steps": 100, "relaxation": {"T1": 10, "t1max": 10}, "adjoint": {"max_steps": 8},
        "hinge": {"every": 2}, "data": {"tokenizer": "char"}, "device": "cpu",
    }
)  # fmt: skip


def test_a_change_is_that_setting_and_no_other() -> None:
    new = changed(SMALL, "hinge.every=4,adjoint.max_steps=5,estimator=bptt")
    assert (new.hinge.every, new.adjoint.max_steps, new.estimator) == (4, 5, "bptt")
    back = changed(new, "hinge.every=2,adjoint.max_steps=8,estimator=exact")
    assert back.model_dump() == SMALL.model_dump()
    assert changed(SMALL, "").model_dump() == SMALL.model_dump()


@pytest.mark.parametrize("wrong", ["hinge.evry=4", "hing.every=4", "hinge.every", "hinge.every=-1"])
def test_a_change_of_nothing_that_there_is_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"hing|every"):
        changed(SMALL, wrong)


def test_every_variant_goes_on_from_the_checkpoint_and_is_compared_with_the_first(
    tmp_path: Path,
) -> None:
    trainer = build(SMALL, load_data(SMALL.data, 0, tmp_path), device=torch.device("cpu"))
    for _ in range(3):
        trainer.advance()
    folder = tmp_path / "a_run" / "attempt-1" / "checkpoints"
    folder.mkdir(parents=True)
    checkpoint.save(
        folder,
        step=3,
        snapshot=trainer.snapshot(),
        evidence=Evidence(finite=True, metrics={}),
        facts={"kind": "ep"},
    )
    found = paces([folder / "step-3"], ["", "adjoint.max_steps=5"], torch.device("cpu"))
    result = measure(found, rounds=2, steps=2)
    assert [row.what for row in result.rows] == ["a_run@3", "a_run@3, adjoint.max_steps=5"]
    assert [len(row.samples) for row in result.rows] == [2, 2]
    assert result.ratio(result.rows[1]) is not None
    assert result.ratio(result.rows[0]) is None
    assert max(found[1].applications) <= 5 < max(found[0].applications)
