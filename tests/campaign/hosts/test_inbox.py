from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from campaign.hosts import inbox
from specs.files import AttemptFiles


def content(key: str, **fields: Any) -> dict[str, Any]:
    return {"key": key, "action": "stop", "by": "user", "reason": "r", **fields}


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(root=tmp_path)


def test_orders_are_numbered_as_they_come_and_a_known_key_keeps_its_number(
    files: AttemptFiles,
) -> None:
    assert [inbox.write_order(files, content(key)) for key in "abab"] == [1, 2, 1, 2]
    assert [mail.key for mail in inbox.read_orders(files)] == ["a", "b"]
    assert [mail.key for mail in inbox.read_orders(files, after=1)] == ["b"]


def test_many_writers_at_once_lose_no_order_and_leave_nothing_else(files: AttemptFiles) -> None:
    threads = [
        threading.Thread(target=inbox.write_order, args=(files, content(f"k{n}")))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mails = inbox.read_orders(files)
    assert [mail.number for mail in mails] == list(range(1, 17))
    assert {mail.key for mail in mails} == {f"k{n}" for n in range(16)}
    assert len(list(files.root.iterdir())) == 16


@pytest.mark.parametrize(
    ("value", "stored"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_the_evidence_of_a_divergence_can_be_written(
    files: AttemptFiles, value: float, stored: str
) -> None:
    """A kill must not fail because the value that it is for is no JSON number."""
    inbox.write_order(files, content("a", evidence={"v": [value, {"w": value}], "n": 1.5}))
    evidence = json.loads(files.order(1).read_text())["evidence"]
    assert evidence == {"v": [stored, {"w": stored}], "n": 1.5}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"key": "a"}', '{"key":1,"grace":"soon"}', "\xff"]
)
def test_an_order_that_cannot_be_read_is_a_problem_and_no_crash(
    files: AttemptFiles, text: str
) -> None:
    files.order(1).write_text(text, encoding="latin-1")
    inbox.write_order(files, content("b"))
    broken, sound = inbox.read_orders(files)
    assert broken.problem is not None
    assert (sound.number, sound.key, sound.problem) == (2, "b", None)


@pytest.mark.parametrize(
    ("asked", "grace"),
    [([], 30.0), ([None], 30.0), ([5.0], 5.0), ([60.0], 60.0), ([None, 0.0], 0.0), ([-1.0], 0.0)],
)
def test_of_several_orders_the_most_impatient_holds(
    asked: list[float | None], grace: float
) -> None:
    mails = [inbox.Mail(number=n, grace=g) for n, g in enumerate(asked)]
    assert inbox.shortest_grace(mails, 30.0) == grace
