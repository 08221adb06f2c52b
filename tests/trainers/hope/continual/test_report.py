"""Laws of what a protocol has measured, and of the files that say so."""

from __future__ import annotations

import json
import sys

import pytest

from specs.files import BadCheckpoint
from tests.trainers.hope import small
from trainers.hope.continual.course import Course
from trainers.hope.continual.report import artifacts, heat_maps

PROTOCOL = {"tasks": ["a", "b"], "base_epochs": 1, "task_epochs": 1, "held_out": 4}


def course(rows: int) -> Course:
    of = Course(small.trainer(continual=PROTOCOL))
    for number in range(rows):
        errors = [float(10 * number + task) for task in range(3)]
        of.add({mode: {"error": errors, "last": errors} for mode in ("on", "off")})
    return of


def test_a_row_is_named_by_mode_measure_and_task() -> None:
    found = course(2).metrics(whole=False)
    assert found["continual/on/error/b"] == 12.0
    assert len(found) == 2 * 2 * 3


def test_what_the_whole_matrix_says_is_said_at_the_end_only() -> None:
    assert "continual/off/plasticity" not in course(2).metrics(whole=False)
    assert course(3).metrics(whole=True)["continual/off/plasticity"] == 11.0


def test_a_course_comes_back_from_json() -> None:
    of, settings = course(2), small.trainer(continual=PROTOCOL)
    again = Course.of_json(settings, json.loads(json.dumps(of.as_json())))
    assert again.as_json() == of.as_json()
    assert again.rows == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["on"].pop("last"),
        lambda c: c["on"]["error"].pop(),
        lambda c: c["on"]["error"][0].pop(),
        lambda c: c.update(third=c["on"]),
        lambda c: c["on"]["error"][0].append("x"),
    ],
)
def test_a_course_that_is_not_whole_is_refused(spoil: object) -> None:
    content = json.loads(json.dumps(course(2).as_json()))
    spoil(content)  # type: ignore[operator]
    with pytest.raises(BadCheckpoint, match="matrix of errors"):
        Course.of_json(small.trainer(continual=PROTOCOL), content)


def test_before_the_first_phase_is_judged_there_is_nothing_to_report() -> None:
    assert artifacts(small.training(continual=PROTOCOL), "c/r").files == {}
    assert artifacts(small.training(), "c/r").files == {}


def test_a_report_holds_the_matrix_so_far_and_the_metrics_once_it_is_whole() -> None:
    trainer = small.training(continual=PROTOCOL)
    while trainer.step < trainer.total_steps:
        trainer.advance()
        if trainer.evaluate_every != 1:
            continue
        trainer.evaluate()
        report = artifacts(trainer, "c/r")
        content = json.loads(report.files["continual.json"])
        on = content["modes"]["on"]
        assert len(on["matrix"]) == len(content["phases"]) == trainer.course.rows
        assert (on["metrics"] is not None) is (trainer.step == trainer.total_steps)
        assert report.files["continual.png"].startswith(b"\x89PNG")
    assert content["phases"] == ["base", "a", "b"]


def test_without_matplotlib_the_numbers_are_there_and_the_missing_picture_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = small.training(continual={**PROTOCOL, "order": "joint"})
    while trainer.step < trainer.total_steps:
        trainer.advance()
    trainer.evaluate()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = artifacts(trainer, "c/r")
    assert set(report.files) == {"continual.json"}
    assert "matplotlib" in report.notes[0]
    assert set(json.loads(report.files["continual.json"])["modes"]["on"]["metrics"]) == {
        "avg_error"
    }


# ---------------------------------------------------------------- the picture

WRITTEN = {"error": [1.0, 2.0, 3.0], "last": [1.0, 2.0, 4.0]}
FROZEN = {"error": [1.0, 2.0, 3.0], "last": [1.5, 2.5, 9.0]}


def judged(on: dict[str, list[float]], off: dict[str, list[float]] | None) -> Course:
    modes = ["on"] if off is None else ["on", "off"]
    of = Course(small.trainer(continual={**PROTOCOL, "eval_writes": modes}))
    of.add({"on": on} if off is None else {"on": on, "off": off})
    return of


@pytest.mark.parametrize(
    ("on", "off", "titles"),
    [
        (WRITTEN, WRITTEN, ["error", "error at the last frame of a teacher pass"]),
        (
            WRITTEN,
            FROZEN,
            [
                "error, writes on and off",
                "error at the last frame of a teacher pass, writes on",
                "error at the last frame of a teacher pass, writes off",
            ],
        ),
        (
            WRITTEN,
            None,
            ["error, writes on", "error at the last frame of a teacher pass, writes on"],
        ),
    ],
    ids=["a net without memories", "jumps that writes cannot change", "judged in one mode"],
)
def test_what_does_not_differ_is_drawn_once(
    on: dict[str, list[float]], off: dict[str, list[float]] | None, titles: list[str]
) -> None:
    figure = heat_maps(judged(on, off), ["base", "a", "b"], "c/r")
    assert [axes.get_title() for axes in figure.axes if axes.images] == titles


def test_the_picture_names_the_run_and_has_one_scale_for_all_its_maps() -> None:
    figure = heat_maps(judged(WRITTEN, FROZEN), ["base", "a", "b"], "hope_fixed/p5 (HH)")
    assert figure.get_suptitle() == "hope_fixed/p5 (HH)"
    assert {image.get_clim() for axes in figure.axes for image in axes.images} == {(1.0, 9.0)}
    (bar,) = [axes for axes in figure.axes if not axes.images]
    assert "lower is better" in bar.get_ylabel()


def test_an_error_that_is_no_number_spoils_neither_picture_nor_scale() -> None:
    spoilt = {**FROZEN, "last": [1.5, float("inf"), float("nan")]}
    figure = heat_maps(judged(WRITTEN, spoilt), ["base", "a", "b"], "c/r")
    assert {image.get_clim() for axes in figure.axes for image in axes.images} == {(1.0, 4.0)}
