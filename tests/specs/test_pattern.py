from __future__ import annotations

import pytest

from specs.pattern import compile_pattern
from specs.trainer_command import CommandMetrics, CommandTrainer


@pytest.mark.parametrize(
    ("text", "named", "is_open", "has_step"),
    [
        (r"loss (?P<loss>\S+)", {"loss": "loss"}, False, False),
        (r"(?P<step>\d+) (?P<val__ce>\S+)", {"val__ce": "val/ce"}, False, True),
        (r"(?P<key>\w+)=(?P<value>\S+)", {}, True, False),
        (
            r"(?P<a__b__c>.)(?P<key>.)(?P<value>.)(?P<step>.)(.)",
            {"a__b__c": "a/b/c"},
            True,
            True,
        ),
    ],
)
def test_named_groups_are_metrics(
    text: str, named: dict[str, str], is_open: bool, has_step: bool
) -> None:
    pattern = compile_pattern(text)
    assert (pattern.named, pattern.open, pattern.has_step) == (named, is_open, has_step)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss (", "unterminated subpattern at character 6"),
        ("loss (.*)", "a named group for each metric"),
        (r"(?P<step>\d+)", "a named group for each metric"),
        ("(?P<key>.)", "`key` and `value` go together"),
        ("(?P<value>.)(?P<loss>.)", "`key` and `value` go together"),
    ],
)
def test_a_pattern_that_reads_nothing_is_refused_with_what_is_missing(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("declared", "pattern", "known"),
    [
        ((), None, ()),
        (("loss",), None, ("loss",)),
        ((), "(?P<val__ce>.)", ("val/ce",)),
        (("loss",), "(?P<val__ce>.)(?P<loss>.)", ("loss", "val/ce")),
        # with `key` any name may come: nothing is known unless it was declared
        ((), "(?P<key>.)(?P<value>.)(?P<acc>.)", ()),
        (("loss",), "(?P<key>.)(?P<value>.)(?P<acc>.)", ("loss", "acc")),
    ],
)
def test_what_a_program_is_known_to_measure(
    declared: tuple[str, ...], pattern: str | None, known: tuple[str, ...]
) -> None:
    metrics = CommandMetrics(declared=declared, pattern=pattern)
    trainer = CommandTrainer(kind="command", argv=("a",), metrics=metrics)
    assert trainer.declared_metrics() == known
