"""EP settings that are wrong, alone or together: each is told with its line and what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from specs.errors import SpecError
from specs.load import load_text
from specs.trainer_ep import OLDER_BLOCKS, Block, EpTrainer, Estimator

One = Callable[..., SpecError]


def campaign(trainer: str) -> str:
    """A campaign of one run; ``trainer`` begins at line 5, column 7."""
    lines = "\n".join(f"      {line}" for line in trainer.splitlines())
    return f"campaign: a\nruns:\n  r:\n    trainer:\n{lines}\n"


def read(trainer: str) -> EpTrainer:
    found = load_text(campaign(f"kind: ep\n{trainer}")).spec.runs["r"].trainer
    assert isinstance(found, EpTrainer)
    return found


@pytest.mark.parametrize(
    ("trainer", "line", "column", "where", "got", "allowed"),
    [
        ("adjoint: {max_steps: 0}", 6, 28, "adjoint.max_steps", "0", "must be at least 1"),
        ("adjoint: {radius: 0}", 6, 25, "adjoint.radius", "0", "must be greater than 0"),
        ("adjoint: {radius: -0.02}", 6, 25, "adjoint.radius", "-0.02", "must be greater than 0"),
        ("relaxation: {T1: 400}", 6, 24, "relaxation.T1", "400", "t1max (300) is below T1 (400)"),
        ("estimator: holomorphic\nadjoint:\n  points: 3", 8, 17, "adjoint.points", "3",
         "must be 2, 4 or 8"),
        ("estimator: holomorphic\nadjoint: {points: 0}", 7, 25, "adjoint.points", "0",
         "must be 2, 4 or 8"),
        ("estimator: ep\nadjoint: {points: 4}", 7, 25, "adjoint.points", "4",
         "adjoint.points 4 belongs to estimator holomorphic; ep would ignore it"),
        ("adjoint: {points: 8}", 6, 25, "adjoint.points", "8", "rbp would ignore it"),
        ("adjoint: {precision: float64}", 6, 28, "adjoint.precision", "'float64'",
         "belongs to estimator exact; rbp would ignore it: leave it at float32"),
        ("estimator: exact\nadjoint: {anchor: frozen}", 7, 25, "adjoint.anchor", "'frozen'",
         "belongs to estimator ep or holomorphic; exact would ignore it: leave it at track"),
        ("estimator: bptt_tail\ntail: 301", 7, 13, "tail", "301",
         "tail (301) is above t1max (300), the most steps that there are"),
        ("estimator: bptt_tail\nobjective: finite_T\ntail: 151", 8, 13, "tail", "151",
         "tail (151) is above T1 (150)"),
        ("estimator: bptt_tail\ntail: 0", 7, 13, "tail", "0", "must be at least 1"),
        ("relaxation: {solver: anderson}\nobjective: finite_T", 6, 28, "relaxation.solver",
         "'anderson'", "relaxation.solver needs objective fixed_point"),
        ("compute: {tf32_steps: 20}\nobjective: finite_T", 6, 29, "compute.tf32_steps", "20",
         "compute.tf32_steps needs objective fixed_point"),
        ("compute: {tf32_steps: 150}", 6, 29, "compute.tf32_steps", "150",
         "compute.tf32_steps (150) must be below T1 (150)"),
        ("relaxation: {adaptive: true, solver: anderson}", 6, 30, "relaxation.adaptive", "true",
         "adaptive chooses the size of Euler steps: solver anderson has none"),
        ("estimator: bptt\nrelaxation: {solver: anderson}", 7, 28, "relaxation.solver", "'anderson'",
         "bptt differentiates the Euler steps that it takes"),
        ("relaxation: {adaptive: true}\nobjective: finite_T", 6, 30, "relaxation.adaptive", "true",
         "relaxation.adaptive needs objective fixed_point"),
        ("relaxation: {adaptive: true, eps_min: 0.5}", 6, 45, "relaxation.eps_min", "0.5",
         "eps_min (0.5) is above eps (0.1)"),
        ("adjoint: {average: 4}", 6, 26, "adjoint.average", "4", "fnoise is 0"),
        ("relaxation: {random_T1: [90, 301]}", 6, 20, "relaxation.random_T1", "[90, 301]",
         "random_T1 reaches to 301, above t1max (300)"),
        ("relaxation: {random_T1: [90, 60]}", 6, 20, "relaxation.random_T1", "[90, 60]",
         "[low, high] with 1 <= low <= high"),
        ("jacreg: {weight: 0.1, floor: 0.2, max: 0.1}", 6, 36, "jacreg.floor", "0.2",
         "floor (0.2) is above max (0.1)"),
        ("jacreg: {weight: 0.1, ratio: 0.2}", 6, 36, "jacreg.ratio", "0.2",
         "ratio (0.2) takes the place of a loss weight"),
        ("block: thin", 6, 14, "block", "'thin'", "must be one of: thick"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_told_with_its_line(
    one: One, trainer: str, line: int, column: int, where: str, got: str, allowed: str
) -> None:
    error = one(campaign(f"kind: ep\n{trainer}"))
    assert (error.file, error.line, error.column) == ("c.yaml", line, column)
    assert (error.where, error.got) == (f"runs.r.trainer.{where}", got)
    assert allowed in error.allowed


@pytest.mark.parametrize("block", OLDER_BLOCKS)
def test_an_older_block_of_the_documented_trainer_is_refused_by_name(one: One, block: str) -> None:
    error = one(campaign(f"kind: ep\nestimator: holomorphic\nblock: {block}"))
    assert (error.line, error.column, error.where) == (7, 14, "runs.r.trainer.block")
    for part in (f"`{block}`", "no complex extension", "not built", "Use thick"):
        assert part in error.allowed


@pytest.mark.parametrize("word", ["tf32", "TF32"])
def test_tf32_is_refused_with_the_reason_and_what_to_take_instead(one: One, word: str) -> None:
    error = one(campaign(f"kind: ep\ncompute: {{products: {word}}}"))
    assert error.where == "runs.r.trainer.compute.products"
    for part in ("too coarse", "0.33 nats", "3xtf32", "tf32_steps"):
        assert part in error.allowed
    assert not error.allowed.endswith("...")


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ("block: thick", {"block": Block.THICK}),
        ("estimator: holomorphic\nadjoint: {points: 4}", {"estimator": Estimator.HOLOMORPHIC}),
        ("estimator: exact\nadjoint: {precision: float64}", {"estimator": Estimator.EXACT}),
        ("estimator: ep\nadjoint: {anchor: frozen}", {"estimator": Estimator.EP}),
        ("estimator: bptt_tail\ntail: 300", {"tail": 300}),
        ("estimator: bptt\ntail: 1000", {"tail": 1000}),
    ],
)
def test_what_belongs_together_is_taken(trainer: str, expected: dict[str, Any]) -> None:
    found = read(trainer)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("twin", ["bptt", "bptt_tail"])
def test_a_twin_may_share_the_whole_adjoint_section_with_the_run_it_is_compared_with(
    twin: str,
) -> None:
    shared = "adjoint: {points: 4, anchor: frozen, radius: 0.01}"
    assert read(f"estimator: {twin}\n{shared}").adjoint.points == 4


def test_a_rollback_may_not_order_what_makes_no_sense(one: One) -> None:
    text = campaign("kind: ep\nestimator: holomorphic\nadjoint: {points: 4}") + (
        "    watch:\n      - {rule: non_finite, action: rollback, set: {trainer.estimator: rbp}}\n"
    )
    assert "rbp would ignore it" in one(text).allowed
