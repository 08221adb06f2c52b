"""Laws of what is said of a line that is no metric line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.files import metric_line, parse_metric_line
from watchers.bad_line import FORM, line_number, why_not

GOOD = {"t": 1.0, "step": 1, "m": {"loss": 2.5}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("loss 2.5", "is no JSON"),
        ("[1, 2]", "is JSON, but no object"),
        ("{}", "has nothing, but no t and no step and no m"),
        ('{"step": 1, "loss": 2.5}', "has step, loss, but no t and no m"),
        (json.dumps({**GOOD, "t": "now"}), 'has t "now", which is no time'),
        (json.dumps({**GOOD, "t": "NaN"}), 'has t "NaN", which is no time'),
        (json.dumps({**GOOD, "step": 1.5}), "has step 1.5, which is no whole number"),
        (json.dumps({**GOOD, "step": -1}), "has step -1, which is no whole number from 0 on"),
        (json.dumps({**GOOD, "m": [1]}), "has m [1], which is no map of names to numbers"),
        (json.dumps({**GOOD, "m": {"a": None, "b": 1}}), "has in m a null, which is no number"),
        (json.dumps({**GOOD, "t": None, "step": True}), "no time; has step true"),
        (json.dumps({**GOOD, "phase": [1]}), "has phase [1]: [1] is no phase"),
    ],
)
def test_it_is_told_what_a_line_has_and_what_it_lacks(line: str, says: str) -> None:
    told = why_not(line.encode())
    assert says in told
    assert told.endswith(f"; needed: {FORM}")


def test_a_line_of_the_form_that_is_asked_for_is_a_metric_line() -> None:
    words = {"unix seconds": "1.5", "whole number": "3", "number": "2.5"}
    line = FORM
    for word, value in words.items():
        line = line.replace(word, value)
    assert parse_metric_line(line.encode()) is not None


def test_a_long_line_is_not_repeated_whole() -> None:
    assert len(why_not(json.dumps({f"key{i}": "x" * 99 for i in range(99)}).encode())) < 500


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), min_size=1), st.data())
def test_the_number_of_a_line_is_its_place_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("file") / "metrics.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    which = data.draw(st.integers(0, len(lines) - 1))
    offset = sum(len(line) + 1 for line in lines[:which])
    assert line_number(path, offset) == which + 1


def test_a_written_metric_line_is_no_bad_one() -> None:
    assert parse_metric_line(metric_line(1.0, 1, {"loss": float("nan")}).strip()) is not None
