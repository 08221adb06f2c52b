"""Law: an unknown field hides nothing else that is wrong, and makes nothing wrong that is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.errors import SpecError

Refused = Callable[..., tuple[SpecError, ...]]


def _of(refused: Refused, run: str) -> list[tuple[str, str]]:
    """Where and what, of a campaign with one run."""
    errors = refused(f"campaign: c\nruns: {{r: {run}}}\n")
    return [(error.where.removeprefix("runs.r."), error.got) for error in errors]


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (
            "{trainer: {kind: ep, jacreg: {weigth: .1, floor: .5, max: .2}}}",
            [
                ("trainer.jacreg.weigth", "the unknown field `weigth`"),
                ("trainer.jacreg.floor", "0.5"),
            ],
        ),
        (
            "{trainer: {kind: ep, zzz: 1, width: 64, heads: 5}}",
            [("trainer.zzz", "the unknown field `zzz`"), ("trainer.heads", "5")],
        ),
        (
            "{trainer: {kind: ep, jacregg: {weigth: -1}}}",
            [
                ("trainer.jacregg", "the unknown field `jacregg`"),
                ("trainer.jacregg.weigth", "the unknown field `weigth`"),
                ("trainer.jacregg.weigth", "-1"),
            ],
        ),
    ],
    ids=["close to a field", "close to none", "one within the other"],
)
def test_what_does_not_go_together_is_told_beside_an_unknown_field(
    refused: Refused, run: str, found: list[tuple[str, str]]
) -> None:
    assert _of(refused, run) == found


@pytest.mark.parametrize(
    "run",
    [
        "{trainer: {kind: command, argvv: ['true']}}",
        "{trainer: {kind: ep, heads: 32, widht: 96}}",
        "{trainer: {kind: ep}, watch: [{rule: divergence, metric: val/ce, above_best_b: .5, action: alert}]}",
    ],
    ids=["required", "right together", "in a list"],
)
def test_a_misspelt_field_is_not_said_to_be_missing_or_at_its_default(
    refused: Refused, run: str
) -> None:
    ((_, got),) = _of(refused, run)
    assert got.startswith("the unknown field")


def test_a_misspelt_field_beside_the_right_one_does_not_take_its_place(refused: Refused) -> None:
    errors = _of(refused, "{trainer: {kind: ep, width: 64, widht: 7, heads: 4}}")
    assert errors == [("trainer.widht", "the unknown field `widht`")]


def test_runs_are_not_said_to_lack_what_a_misspelt_section_says(refused: Refused) -> None:
    errors = refused(
        "campaign: c\ndefault: {trainer: {kind: ep, width: 64, heads: 5}}\nruns: {r: {}}\n"
    )
    assert [(error.line, error.got) for error in errors] == [
        (2, "the unknown field `default`"),
        (2, "5"),
    ]
