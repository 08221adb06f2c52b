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


KINDS = {
    "close to a kind": (
        "{trainer: {kind: epp, width: -3, zzz: 1}}",
        [("trainer.kind", "'epp'"), ("trainer.width", "-3"), ("trainer.zzz", "the unknown field `zzz`")],
    ),
    "fields that do not go together": (
        "{trainer: {kind: epp, width: 64, heads: 5}}",
        [("trainer.kind", "'epp'"), ("trainer.heads", "5")],
    ),
    "the field itself is misspelt": (
        "{trainer: {kin: ep, width: -3}}", [("trainer", "no `kind`"), ("trainer.width", "-3")],
    ),
    "both are misspelt": (
        "{trainer: {kin: epp, width: -3}}",
        [("trainer", "no `kind`"), ("trainer.kin", "'epp'"), ("trainer.width", "-3")],
    ),
    "no kind, and one kind alone has these fields": (
        "{trainer: {argv: [], cwd: /}}", [("trainer", "no `kind`"), ("trainer.argv", "[]")],
    ),
    "a kind that is no text, and one kind alone has these fields": (
        "{trainer: {kind: 3, argv: []}}", [("trainer.kind", "3"), ("trainer.argv", "[]")],
    ),
    "a rule": (
        "{trainer: {kind: ep}, watch: [{rule: treshold, metric: val/ce, above: x},"
        " {rule: silence, for_seconds: -1}]}",
        [("watch[0].rule", "'treshold'"), ("watch[0].above", "'x'"), ("watch[1].for_seconds", "-1")],
    ),
    "a rule that lacks a field": (
        "{trainer: {kind: ep}, watch: [{rule: treshold, metric: val/ce}]}",
        [("watch[0]", "a map"), ("watch[0].rule", "'treshold'")],
    ),
    "a rule on an undeclared metric": (
        "{trainer: {kind: epp}, watch: [{rule: treshold, metric: val/se, above: 1}]}",
        [("trainer.kind", "'epp'"), ("watch[0].rule", "'treshold'"),
         ("watch[0].metric", "the metric 'val/se', which the ep trainer does not declare")],
    ),
    "two rules of one name": (
        "{trainer: {kind: epp}, watch: [{rule: non_finite}, {rule: non_finite}]}",
        [("trainer.kind", "'epp'"), ("watch", "a list")],
    ),
    "a rollback that sets what is none": (
        "{trainer: {kind: ep}, watch: [{rule: divergense, metric: val/ce, above_best_by: 1,"
        " action: rollback, set: {trainer.lrr: 1}}]}",
        [("watch[0].rule", "'divergense'"), ("watch[0].set.trainer.lrr", "the unknown field `lrr`")],
    ),
    "the source of a section within": (
        "{trainer: {kind: ep, data: {kind: tokns, path: x, vocabulary: -1}}}",
        [("trainer.data.kind", "'tokns'"), ("trainer.data.vocabulary", "-1")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("run", "found"), KINDS.values(), ids=KINDS.keys())
def test_an_unknown_kind_hides_nothing_else_of_its_section(
    refused: Refused, run: str, found: list[tuple[str, str]]
) -> None:
    assert set(_of(refused, run)) == set(found)


@pytest.mark.parametrize(
    "run",
    ["{trainer: {kind: epp}}", "{trainer: {kin: ep}}", "{trainer: {kind: [ep]}}",
     "{trainer: {kind: {}, seed: 1}}", "{trainer: {zzz: 1}}", "{trainer: ep}"],
)  # fmt: skip
def test_a_wrong_kind_alone_is_one_error(refused: Refused, run: str) -> None:
    assert len(_of(refused, run)) == 1


def test_a_kind_of_the_command_line_is_put_right_too(refused: Refused) -> None:
    errors = refused(
        "campaign: c\nruns: {r: {}}\n", sets=["r.trainer={kin: command, argv: [], env: {A: 1}}"]
    )
    assert {error.got for error in errors} == {"no `kind`", "[]", "1"}


def test_a_misspelt_source_of_a_warm_start_is_found_behind_a_misspelt_kind(
    refused: Refused,
) -> None:
    errors = refused(
        "campaign: c\nruns:\n  a: {trainer: {kind: ep}}\n"
        "  b: {trainer: {kind: epp}, start: {warm_from: {rum: aa}}}\n"
    )
    assert [error.got for error in errors] == ["'epp'", "the unknown field `rum`", "the run 'aa'"]
