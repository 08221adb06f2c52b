"""Whatever the text: a campaign, or errors for people. Never another exception."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.errors import SpecErrors
from specs.load import Loaded, load_text
from specs.source import decode

SPECS = Path(__file__).parents[2] / "specs"
SOURCES = sorted(SPECS.glob("*.yaml"))
LINES = [path.read_text().splitlines() for path in SOURCES]
FRAGMENTS = [
    "", " ", "  ", "\t", "-", "- ", ":", ": ", "{", "}", "[", "]", ",", "&x ", "*x", "!!int ", "!t ",
    "|", ">", "'", '"', "#", "%", "@", "? ", "<<: ", "---", "...", "~", "null", "true", "no", ".nan",
    "-.inf", "1e-4", "1e999", "-1", "0", "9" * 30, "0o7", "\\", '"\\0"', '"\\UFFFFFFFF"', "é", "￾",
    "rule", "kind: command", "kind: ep", "argv: sh -c x", "set: {a: 1}", "set: {watch: 3}",
    "set: {trainer.kind: command}", "runs:", "defaults:", "profile: x", "watch: 3", "watch: [3]",
    "name: 3", "start: {warm_from: redx}", "start: {warm_from: {run: [1]}}", "trainer: []",
    "metrics: {pattern: '('}", "bands: {x: }", "certify: {bands: [1]}",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    lines = list(draw(st.sampled_from(LINES)))
    for _ in range(draw(st.integers(1, 4))):
        index = draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        kind = draw(st.sampled_from(["drop", "double", "swap", "indent", "cut", "insert", "line"]))
        at = draw(st.integers(0, len(line)))
        if kind == "drop" and len(lines) > 1:
            del lines[index]
        elif kind == "double":
            lines.insert(index, line)
        elif kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[index], lines[other] = lines[other], lines[index]
        elif kind == "indent":
            lines[index] = " " * draw(st.integers(0, 9)) + line.lstrip()
        elif kind == "cut":
            lines[index] = line[:at]
        elif kind == "insert":
            lines[index] = line[:at] + draw(st.sampled_from(FRAGMENTS)) + line[at:]
        else:
            indent = " " * (len(line) - len(line.lstrip()))
            lines.insert(index, indent + draw(st.sampled_from(FRAGMENTS)))
    return "\n".join(lines)


def said(text: str, **options: object) -> Loaded | SpecErrors:
    try:
        return load_text(text, **options)  # type: ignore[arg-type]
    except SpecErrors as errors:
        return errors


def check(outcome: Loaded | SpecErrors, text: str) -> None:
    if isinstance(outcome, Loaded):
        assert outcome.spec.runs
        return
    assert outcome.errors
    for error in outcome.errors:
        assert 1 <= len(error.render().splitlines()) <= 3
        assert error.line is None or 1 <= error.line <= text.count("\n") + 2
        assert error.got
        assert error.allowed
    assert len(set(outcome.errors)) == len(outcome.errors)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), st.sampled_from([None, "laptop", "paper"]))
def test_a_mutated_campaign_loads_or_is_explained(text: str, profile: str | None) -> None:
    check(said(text, profile=profile), text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{},&*!|>'\"#%@? \n\t01."), max_size=60))
def test_random_yaml_is_explained(text: str) -> None:
    check(said(text), text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_explained(data: bytes) -> None:
    try:
        text = decode(data, "c.yaml")
    except SpecErrors as errors:
        check(errors, data.decode("utf-8", errors="replace"))
    else:
        check(said(text), text)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.builds(
                "{}.{}={}".format,
                st.sampled_from(["redx", "defaults", "ep_plain_warm", "x"]),
                st.sampled_from(
                    ["trainer", "trainer.steps", "watch", "watch.blow_up", "watch.0", "start",
                     "watch.blow_up.set", "trainer.kind", "a.b.c", "certify.bands.val/ce.below"]
                ),
                st.sampled_from(FRAGMENTS),
            ),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_any_set_is_taken_or_explained(sets: list[str]) -> None:
    text = "\n".join(LINES[[path.name for path in SOURCES].index("ep_resreg.yaml")])
    check(said(text, sets=sets), text)
