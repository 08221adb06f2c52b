"""Who may start from whom. (Bad input 29.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.check import check_starts
from specs.errors import Place, SpecError, SpecErrors
from specs.load import load_text
from specs.tree import Table, table_of

One = Callable[..., SpecError]
Refused = Callable[..., tuple[SpecError, ...]]


def campaign(*starts: str) -> str:
    """A campaign with the runs ``name`` or ``name<source``, one a line from line 4 on."""
    lines = ["campaign: here", "defaults: {trainer: {kind: ep}}", "runs:"]
    for start in starts:
        name, arrow, source = start.partition("<")
        warm = f"start: {{warm_from: {{run: {source}}}}}" if arrow else ""
        lines.append(f"  {name}: {{{warm}}}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("starts", "line", "got", "allowed", "hint"),
    [
        (
            ("redx", "warm<redy"),
            5,
            "the run 'redy'",
            "must be one of: redx",
            "did you mean `redx`?",
        ),
        (("a<b",), 4, "the run 'b'", "there is none", ""),
        (("a", "b<b"), 5, "the run itself", "must be another run", ""),
        (("a<b", "b<a"), 4, "a circle: a -> b -> a", "one of these runs", ""),
        (("z<b", "a<c", "b<a", "c<b"), 6, "a circle: b -> a -> c -> b", "one of these runs", ""),
    ],
)
def test_a_start_that_can_never_come_is_refused_with_its_line(
    one: One, starts: tuple[str, ...], line: int, got: str, allowed: str, hint: str
) -> None:
    error = one(campaign(*starts))
    assert (error.line, error.got, error.hint) == (line, got, hint)
    assert error.where.endswith("start.warm_from.run")
    assert error.allowed.startswith(allowed)


def test_two_circles_are_two_errors(refused: Refused) -> None:
    errors = refused(campaign("a<b", "b<a", "c<d", "d<c", "e<a"))
    assert [error.line for error in errors] == [4, 6]


@pytest.mark.parametrize(
    ("own", "line", "got"),
    [("width: 32", 5, "width 32"), ("context: 8", 5, "context 8"), ("heads: 2, width: 32", 5, "")],
)
def test_a_warm_start_from_another_model_is_refused_where_the_setting_was_written(
    refused: Refused, own: str, line: int, got: str
) -> None:
    warm = f"  b: {{trainer: {{{own}}}, start: {{warm_from: {{run: a}}}}}}\n"
    errors = refused(campaign("a") + warm)
    assert {error.line for error in errors} == {line}
    assert len(errors) == own.count(":")
    assert all("as in a, whose checkpoint it starts from" in error.allowed for error in errors)
    assert errors[-1].got == got or not got


def test_settings_that_no_checkpoint_holds_may_differ_from_the_sources() -> None:
    warm = "  b: {trainer: {resreg: 0.1, batch: 2}, start: {warm_from: {run: a}}}\n"
    assert set(load_text(campaign("a") + warm).spec.runs) == {"a", "b"}


def test_a_start_from_another_campaign_is_not_looked_up() -> None:
    text = campaign("a").replace(
        "a: {}", "a: {start: {warm_from: {campaign: there, run: z, step: 100}}}"
    )
    assert load_text(text).spec.runs["a"].start.warm_from is not None


def test_a_start_that_names_this_campaign_is_looked_up(one: One) -> None:
    text = campaign("a").replace("a: {}", "a: {start: {warm_from: {campaign: here, run: z}}}")
    assert one(text).got == "the run 'z'"
    assert load_text(text, as_name="other").spec.campaign == "other"


def test_a_null_start_takes_back_that_of_the_defaults() -> None:
    text = (
        "campaign: a\ndefaults: {trainer: {kind: ep}, start: {warm_from: {run: s}}}\n"
        "runs: {s: {start: {warm_from: null}}, t: {}}\n"
    )
    spec = load_text(text).spec
    assert spec.runs["s"].start.warm_from is None
    assert spec.runs["t"].start.warm_from is not None


@given(st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("abcdefgz")))
def test_starts_are_right_exactly_where_every_run_reaches_one_from_scratch(
    sources: dict[str, str],
) -> None:
    runs = {name: _run(sources.get(name)) for name in "abcdefg"}
    assert (not check_starts("here", runs)) == all(_ends(name, sources) for name in runs)


def _run(source: str | None) -> Table:
    content = {} if source is None else {"start": {"warm_from": {"run": source}}}
    return table_of(content, Place(source="here", path=("runs", str(source))))


def _ends(name: str, sources: dict[str, str]) -> bool:
    for _ in range(len(sources) + 1):
        if name not in sources:
            return name != "z"
        name = sources[name]
    return False


def test_errors_of_starts_come_with_those_of_fields() -> None:
    with pytest.raises(SpecErrors) as caught:
        load_text(campaign("a<z", "b<y").replace("kind: ep", "kind: ep, heads: 0"))
    assert len(caught.value.errors) == 3
