"""The words of YAML 1.2.2's core schema."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.scalars import BadScalar, bad_character, resolve


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("6E+2", 600.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("-12", -12),
        ("+7", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("0700", 700),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("1e", "1e"),
        ("NaN", "NaN"),
    ],
)
def test_a_plain_word_means_what_the_core_schema_says(word: str, value: object) -> None:
    resolved = resolve(word)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "word", [".nan", ".NaN", ".inf", "-.Inf", "1e999", "9223372036854775808", "9" * 5000]
)
def test_a_number_that_json_or_the_store_could_not_keep_is_refused(word: str) -> None:
    with pytest.raises(BadScalar):
        resolve(word)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_integer_is_read_as_itself(number: int) -> None:
    assert resolve(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_is_read_as_itself(number: float) -> None:
    value = resolve(repr(number))
    assert isinstance(value, (int, float))
    assert math.isclose(value, number, rel_tol=0, abs_tol=0)


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\x7f", "\x85", "\ud800", "￾"])
def test_control_characters_and_surrogates_are_bad(character: str) -> None:
    assert bad_character(f"ab{character}") is not None
    assert bad_character(f"ab{character}", kept=character) is None


def test_tabs_newlines_and_every_script_are_good_text() -> None:
    assert bad_character("a\tb\nzażółć 漢字 🙂") is None
