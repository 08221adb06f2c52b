from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import pytest

from watchers.mlflow_cursor import Entry, Ledger
from watchers.mlflow_port import Point
from watchers.mlflow_send import Rejected
from watchers.tail import START, Position

HERE, THERE = "sqlite:////here", "https://there"
AT = Position(offset=70, anchor=b"\x00\xff}\n", passing=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "publisher.db"


def test_what_was_written_is_there_for_the_next_publisher(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.remember(HERE, "k", "run-1")
    ledger.mark_described(HERE, "k")
    ledger.advance(HERE, "k", 1, AT)
    ledger.close()
    ledger = Ledger.open(path)
    assert ledger.entry(HERE, "k") == Entry(run_id="run-1", described=True, settled=False)
    assert ledger.position(HERE, "k", 1) == AT


def test_stores_attempts_and_ancestors_have_cursors_of_their_own(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.advance(HERE, "k", 1, AT)
    for target, key, source in [(THERE, "k", 1), (HERE, "l", 1), (HERE, "k", 2)]:
        assert ledger.position(target, key, source) == START


def test_forgetting_one_attempt_leaves_the_others(path: Path) -> None:
    ledger = Ledger.open(path)
    for target, key in [(HERE, "k"), (HERE, "l"), (THERE, "k")]:
        ledger.remember(target, key, "run")
        ledger.advance(target, key, 1, AT)
    ledger.forget(HERE, "k")
    assert ledger.entry(HERE, "k") is None
    assert ledger.position(HERE, "k", 1) == START
    assert ledger.entry(HERE, "l") and ledger.entry(THERE, "k")


def test_another_store_at_the_same_address_is_published_to_anew(path: Path) -> None:
    ledger = Ledger.open(path)
    assert not ledger.bind(HERE, 7)
    ledger.remember(HERE, "k", "run")
    assert not ledger.bind(HERE, 7)
    assert ledger.entry(HERE, "k")
    assert ledger.bind(HERE, 8)
    assert ledger.entry(HERE, "k") is None


def test_a_refused_point_is_recorded_once_with_its_value(path: Path) -> None:
    ledger = Ledger.open(path)
    points = [
        Point(key="a", step=2, timestamp=10**400, value=math.inf),
        Point(key="a", step=1, timestamp=5, value=0.1),
    ]
    rejected = [Rejected(point=point, why="no") for point in points]
    assert ledger.refuse(HERE, "k", rejected) == rejected
    assert ledger.refuse(HERE, "k", rejected) == []
    assert ledger.refused(HERE, "k") == [
        ("a", 1, 5, 0.1, "no"),
        ("a", 2, 10**400, math.inf, "no"),
    ]


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_broken_ledger_is_put_aside_and_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    ledger = Ledger.open(path)
    assert ledger.position(HERE, "k", 1) == START
    assert [p.read_bytes() for p in path.parent.glob("*.broken")] == [content]


def test_a_ledger_of_another_version_is_put_aside(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    Ledger.open(path).remember(HERE, "k", "run")
    assert len(list(path.parent.glob("*.broken"))) == 1


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_ledger_that_is_not_ready_is_none_to_a_reader(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert Ledger.open_to_read(path) is None
    assert path.read_bytes() == content


def test_a_reader_makes_no_ledger_and_sees_what_a_writer_just_wrote(path: Path) -> None:
    assert Ledger.open_to_read(path) is None
    assert not path.exists()
    writer = Ledger.open(path)
    reader = Ledger.open_to_read(path)
    assert reader is not None
    writer.advance(HERE, "k", 1, AT)
    assert reader.position(HERE, "k", 1) == AT
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.advance(HERE, "k", 1, AT)
