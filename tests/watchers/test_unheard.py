from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from specs.files import MetricLine
from specs.watch import AnyRule, Certify, Rule
from watchers.findings import Finding, Kind
from watchers.judgement import Judgement, begin, finish, take_line
from watchers.unheard import MANY_LINES, listens_to

RULES: TypeAdapter[Rule] = TypeAdapter(AnyRule)
SLIP: dict[str, Any] = {"name": "goal", "rule": "threshold", "metric": "val/los", "below": 1.0}
ANY: dict[str, Any] = {"rule": "non_finite"}
QUIET: dict[str, Any] = {"rule": "silence"}


def start(
    *rules: dict[str, Any], impatient: bool = True, certify: Certify | None = None
) -> Judgement:
    parsed = tuple(RULES.validate_python(rule) for rule in rules)
    return begin(parsed, certify or Certify(), impatient=impatient)


def line(step: int, *names: str) -> MetricLine:
    return MetricLine(t=float(step), step=step, metrics=dict.fromkeys(names, 2.0))


def told(judgement: Judgement, *lines: MetricLine) -> tuple[Judgement, list[tuple[int, str]]]:
    """What the judgement says of rules that watch nothing, with the number of the line."""
    said = []
    for number, one in enumerate(lines, start=1):
        judgement, found = take_line(judgement, one)
        said += [(number, finding.key) for finding in found if finding.key.startswith("unheard")]
    return judgement, said


def at_end(judgement: Judgement, *, succeeded: bool = True) -> list[Finding]:
    return [f for f in finish(judgement, succeeded=succeeded)[1] if f.key.startswith("unheard")]


def test_a_metric_that_nobody_declares_and_many_lines_lack_is_missed_while_the_attempt_runs() -> (
    None
):
    _, said = told(start(SLIP), *(line(step, "val/loss") for step in range(3 * MANY_LINES)))
    assert said == [(MANY_LINES, "unheard:goal")]


def test_a_metric_that_a_trainer_declares_is_missed_at_the_end_alone() -> None:
    judgement, said = told(
        start(SLIP, impatient=False), *(line(step, "val/loss") for step in range(3 * MANY_LINES))
    )
    assert said == []
    assert [finding.key for finding in at_end(judgement)] == ["unheard:goal"]


def test_the_alert_names_the_rule_what_is_written_and_what_was_perhaps_meant() -> None:
    judgement, _ = told(start(SLIP), line(1, "val/loss", "lr"))
    (finding,) = at_end(judgement)
    assert (finding.kind, finding.rule, finding.metric) == (Kind.ALERT, "goal", "val/los")
    assert finding.reason == (
        "rule goal watched nothing: 1 line has been written, none with val/los; "
        "written: lr, val/loss; did you mean `val/loss`?"
    )


def test_where_no_name_is_near_none_is_proposed() -> None:
    judgement, _ = told(start({**SLIP, "metric": "accuracy"}), line(1, "lr"))
    assert "did you mean" not in at_end(judgement)[0].reason


def test_of_very_many_names_some_are_listed_and_the_others_counted() -> None:
    judgement, _ = told(start(SLIP), line(1, *(f"m{number:03}" for number in range(500))))
    reason = at_end(judgement)[0].reason
    assert "m000, m001" in reason
    assert "and 488 more" in reason


def test_what_was_told_early_is_not_told_again_at_the_end() -> None:
    judgement, said = told(start(SLIP), *(line(step, "x") for step in range(MANY_LINES)))
    assert len(said) == 1
    assert at_end(judgement) == []


def test_a_rule_whose_metric_came_once_is_never_missed() -> None:
    lines = [line(0, "val/los"), *(line(step, "x") for step in range(1, 3 * MANY_LINES))]
    judgement, said = told(start(SLIP), *lines)
    assert said == []
    assert at_end(judgement) == []


def test_a_rule_that_judges_late_steps_only_is_not_missed_before_them() -> None:
    late = {"rule": "divergence", "metric": "y", "above_best_by": 1, "after_step": 50}
    judgement, said = told(start(late), *(line(step, "x") for step in range(51)))
    assert said == []
    assert told(judgement, line(51, "x"))[1] == [(1, "unheard:divergence.y")]


@pytest.mark.parametrize("rule", [ANY, QUIET], ids=["any metric will do", "it needs no metric"])
def test_a_rule_without_a_metric_of_its_own_is_never_missed(rule: dict[str, Any]) -> None:
    judgement, said = told(start(rule), *(line(step, "x") for step in range(2 * MANY_LINES)))
    assert said == []
    assert at_end(judgement) == []


def test_a_rule_with_a_usual_metric_is_missed_by_it() -> None:
    assert listens_to(RULES.validate_python({"rule": "gradient"})) == "grad/block_ratio"
    judgement, _ = told(start({"rule": "gradient"}), line(1, "grad/non_finite"))
    assert [finding.metric for finding in at_end(judgement)] == ["grad/block_ratio"]


def test_an_attempt_that_failed_before_it_wrote_much_says_nothing_of_its_rules() -> None:
    judgement, _ = told(start(SLIP, impatient=False), line(1, "x"))
    assert at_end(judgement, succeeded=False) == []


def test_an_attempt_that_was_stopped_late_says_which_rule_watched_nothing() -> None:
    judgement, _ = told(
        start(SLIP, impatient=False), *(line(step, "x") for step in range(MANY_LINES))
    )
    assert [finding.key for finding in at_end(judgement, succeeded=False)] == ["unheard:goal"]


def test_what_is_sampled_of_the_machine_by_a_clock_is_no_line_of_the_training() -> None:
    samples = [line(step, "system/rss_mib") for step in range(3 * MANY_LINES)]
    judgement, said = told(start(SLIP), *samples)
    assert said == []
    assert "no metric of the training" in at_end(judgement)[0].reason
    judgement, said = told(judgement, *(line(step, "x", "system/rss_mib") for step in range(5)))
    assert said == []
    assert "5 lines have been written, none with val/los; written: x" in at_end(judgement)[0].reason


def test_a_success_without_any_line_is_one_alert_that_names_the_rules_that_needed_one() -> None:
    (finding,) = at_end(start(SLIP, ANY, QUIET))
    assert "no metric of the training was written" in finding.reason
    assert finding.reason.endswith(": goal, non_finite")
    assert at_end(start(QUIET)) == []
    assert at_end(start()) == []


ROLLBACK: dict[str, Any] = {**SLIP, "metric": "x", "action": "rollback"}


@pytest.mark.parametrize(
    ("rules", "certify"),
    [
        ([], Certify(metric="val/los")),
        ([], Certify(bands={"x": {"below": 1.0}})),
        ([], Certify(evaluations=3)),
        ([ROLLBACK], Certify()),
    ],
    ids=["a metric is named", "a band is", "a number is", "a rule rolls back"],
)
def test_a_certificate_that_somebody_asked_for_is_missed_like_a_rule(
    rules: list[dict[str, Any]], certify: Certify
) -> None:
    lines = [line(step, "x") for step in range(3 * MANY_LINES)]
    _, early = told(start(*rules, certify=certify), *lines)
    assert early == [(MANY_LINES, "unheard certificate")]
    judgement, early = told(start(*rules, certify=certify, impatient=False), *lines)
    assert early == []
    assert [finding.key for finding in at_end(judgement)] == ["unheard certificate"]


def test_the_alert_of_a_certificate_names_its_metric_and_what_was_perhaps_meant() -> None:
    judgement, _ = told(start(certify=Certify(metric="val/los")), line(1, "val/loss", "lr"))
    (finding,) = at_end(judgement)
    assert (finding.kind, finding.rule, finding.metric) == (Kind.ALERT, "certify", "val/los")
    assert finding.reason == (
        "no checkpoint was certified: 1 line has been written, none with val/los; "
        "written: lr, val/loss; did you mean `val/loss`?"
    )


def test_a_certificate_that_nobody_asked_for_is_not_missed() -> None:
    judgement, said = told(start(), *(line(step, "x") for step in range(3 * MANY_LINES)))
    assert said == []
    assert at_end(judgement) == []


def test_a_rule_may_have_the_name_of_the_certificate() -> None:
    rule = {**SLIP, "name": "certify"}
    judgement, _ = told(start(rule, certify=Certify(metric="val/los")), line(1, "x"))
    assert len({finding.key for finding in at_end(judgement)}) == 2


@given(
    st.lists(st.sampled_from(["val/los", "x", "y"]), min_size=1, max_size=2 * MANY_LINES),
    st.booleans(),
)
def test_a_rule_is_told_of_at_most_once_and_in_a_success_exactly_where_it_was_silent(
    names: list[str], impatient: bool
) -> None:
    lines = [line(step, name) for step, name in enumerate(names)]
    judgement, early = told(start(SLIP, impatient=impatient), *lines)
    count = len(early) + len(at_end(judgement))
    silent = "val/los" not in (names[:MANY_LINES] if impatient and early else names)
    assert count == int(silent)


COMMAND = {"kind": "command", "argv": ["true"]}
TRAINERS = {
    "nothing is declared": ({**COMMAND}, True),
    "a list declares": ({**COMMAND, "metrics": {"declared": ["val/los"]}}, False),
    "a pattern with names declares": ({**COMMAND, "metrics": {"pattern": r"(?P<step>\d+) (?P<x>\S+)"}}, False),
    "a trainer of ours declares": ({"kind": "ep"}, False),
}  # fmt: skip


@pytest.mark.parametrize(("trainer", "early"), TRAINERS.values(), ids=TRAINERS.keys())
def test_the_watcher_is_early_only_where_no_metric_is_declared(
    build: Any, killer: Any, clock: Any, tmp_path: Any, trainer: dict[str, Any], early: bool
) -> None:
    attempt = build.Attempt(root=tmp_path / "a", watch=(SLIP,), trainer=trainer)
    watcher = build.watcher(killer, clock, attempt)
    attempt.curve("val/loss", dict.fromkeys(range(MANY_LINES), 2.0))
    build.drain(watcher)
    assert [alert["key"] for alert in attempt.of("alert")] == (["unheard:goal"] if early else [])
    attempt.leave()
    build.drain(watcher)
    assert [alert["key"] for alert in attempt.of("alert")] == ["unheard:goal"]


def test_a_watcher_that_starts_again_does_not_say_it_again(
    build: Any, killer: Any, clock: Any, tmp_path: Any
) -> None:
    attempt = build.Attempt(root=tmp_path / "a", watch=(SLIP,), trainer=COMMAND)
    attempt.curve("val/loss", dict.fromkeys(range(MANY_LINES), 2.0))
    build.drain(build.watcher(killer, clock, attempt))
    attempt.curve("val/loss", dict.fromkeys(range(MANY_LINES, 2 * MANY_LINES), 2.0))
    attempt.leave()
    build.drain(build.watcher(killer, clock, attempt))
    assert [alert["key"] for alert in attempt.of("alert")] == ["unheard:goal"]


@pytest.mark.parametrize(("code", "order"), [(1, None), (0, {"rule": "blow_up"})])
def test_only_an_attempt_that_ended_well_by_itself_is_asked_for_its_missing_lines(
    build: Any, killer: Any, clock: Any, tmp_path: Any, code: int, order: Any
) -> None:
    attempt = build.Attempt(root=tmp_path / "a", watch=(SLIP,))
    attempt.leave(code, order)
    build.drain(build.watcher(killer, clock, attempt))
    assert attempt.of("alert") == []
