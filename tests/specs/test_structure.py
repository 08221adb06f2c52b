"""Laws of what a run that goes on from a checkpoint cannot change."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import BaseModel

from specs.explain import models_in
from specs.run import AnyTrainer, RunSpec
from specs.structure import STRUCTURES, differing, shape_of


def kind_of(model: type[BaseModel]) -> str:
    (kind,) = get_args(model.model_fields["kind"].annotation)
    return str(kind)


TRAINERS = {kind_of(model): model for model in models_in(AnyTrainer)}


def has(model: type[BaseModel], path: list[str]) -> bool:
    """Whether a field, or a field within it, is there in the model or in each of those it may be."""
    field = model.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field is not None
    return all(has(below, path[1:]) for below in direct(field.annotation))


def direct(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in direct(part)]


def test_every_trainer_has_its_structure_and_names_fields_that_it_has() -> None:
    assert TRAINERS.keys() <= STRUCTURES.keys()
    for kind, model in TRAINERS.items():
        for field in STRUCTURES[kind].fixed:
            assert has(model, field.split(".")), field


def ep(**fields: object) -> BaseModel:
    return RunSpec.model_validate({"trainer": {"kind": "ep", **fields}}).trainer


def hope(**fields: object) -> BaseModel:
    return RunSpec.model_validate({"trainer": {"kind": "hope", "steps": 1, **fields}}).trainer


PROGRAM = RunSpec.model_validate({"trainer": {"kind": "command", "argv": ["true"]}}).trainer


@pytest.mark.parametrize(
    ("source", "trainer", "found"),
    [
        (ep(), ep(), []),
        (ep(), ep(resreg=0.1, batch=2), []),
        (ep(width=64), ep(width=32), [("width", 64, 32)]),
        (ep(context=8, heads=2), ep(context=9, heads=4), [("heads", 2, 4), ("context", 8, 9)]),
        (hope(), hope(losses={"jump": 0.5}, model={"memories": {"alpha_offset": 4}}), []),
        (
            hope(),
            hope(model={"pattern": "T"}, data={"grid": [4, 4]}),
            [("model.pattern", "HHHHHH", "T"), ("data.grid", (16, 16), (4, 4))],
        ),
        (PROGRAM, ep(), [("kind", "command", "ep")]),
        (ep(), PROGRAM, []),
    ],
)
def test_what_differs_is_what_a_checkpoint_of_the_one_would_be_refused_for_by_the_other(
    source: BaseModel, trainer: BaseModel, found: list[tuple[str, object, object]]
) -> None:
    assert differing(source, trainer) == found


def test_the_shape_is_the_kind_and_the_fields_that_checkpoints_hold() -> None:
    assert shape_of(ep(width=64, heads=4)) == {
        "kind": "ep",
        "width": 64,
        "heads": 4,
        "ffn_factor": 4,
        "context": 256,
    }
