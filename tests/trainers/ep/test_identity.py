"""Law: a checkpoint is refused for exactly what the spec declares as the shape of the model."""

from __future__ import annotations

import pytest

from specs.files import BadCheckpoint
from specs.structure import STRUCTURES
from specs.trainer_ep import EpTrainer
from trainers.ep import snapshots
from trainers.protocol import Snapshot

HERE = EpTrainer(kind="ep", width=64, heads=4)
OTHER = {"width": 32, "heads": 2, "ffn_factor": 2, "context": 8}


def held(settings: EpTrainer) -> Snapshot:
    return Snapshot(tensors={}, scalars={"identity": snapshots.identity(settings, 97, "t")})


def test_every_declared_field_is_tried_here() -> None:
    assert OTHER.keys() == set(STRUCTURES["ep"].shape)


@pytest.mark.parametrize("field", OTHER)
def test_a_checkpoint_of_another_shape_is_refused_and_names_the_field(field: str) -> None:
    other = HERE.model_copy(update={field: OTHER[field]})
    with pytest.raises(BadCheckpoint, match=f"{field}: the checkpoint has {OTHER[field]}"):
        snapshots.check(held(other), snapshots.identity(HERE, 97, "t"))


def test_a_setting_that_is_not_declared_refuses_no_checkpoint() -> None:
    other = HERE.model_copy(update={"resreg": 0.5, "batch": 1})
    snapshots.check(held(other), snapshots.identity(HERE, 97, "t"))
