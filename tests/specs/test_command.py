"""Wrong commands, and metrics that a command does not declare. (Bad inputs 43-47, 59.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from specs.errors import SpecError
from specs.load import load_text
from specs.trainer_command import CommandTrainer

One = Callable[..., SpecError]
RUN = "campaign: a\nruns:\n  r:\n    trainer:\n      kind: command\n"
ARGV = f"{RUN}      argv: [sh]\n"
RULE = "    watch: [{rule: threshold, metric: loss, above: 1}]\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "where", "got", "allowed"),
    [
        # 18
        (RUN, 4, 5, "trainer", "no `argv`", "`argv` is required"),
        # 43
        (f"{RUN}      argv: []\n", 6, 7, "trainer.argv", "[]", "must name a program"),
        (f"{RUN}      argv: ['']\n", 6, 7, "trainer.argv", "['']", "it is empty"),
        # 44
        (f"{RUN}      argv: python train.py\n", 6, 13, "trainer.argv", "'python train.py'",
         "[python, train.py]"),
        (f"{RUN}      argv: ['python train.py']\n", 6, 7, "trainer.argv", "['python train.py']",
         "[python, train.py]"),
        (f"{RUN}      argv: a | b\n", 6, 13, "trainer.argv", "'a | b'", '[bash, -c, "a | b"]'),
        # 46
        (f"{ARGV}      env: {{2X: a}}\n", 7, 13, "trainer.env.2X", "'2X'", "letters, digits and _"),
        (f"{ARGV}      env: {{A=B: a}}\n", 7, 13, "trainer.env.A=B", "'A=B'", "letters, digits and _"),
        (f"{ARGV}      env: {{A: 1}}\n", 7, 16, "trainer.env.A", "1", "must be text"),
        # 47
        (f"{ARGV}      env: {{CUDA_VISIBLE_DEVICES: '0'}}\n", 7, 13,
         "trainer.env.CUDA_VISIBLE_DEVICES", "'CUDA_VISIBLE_DEVICES'", "cannot be given"),
        (f"{ARGV}      env: {{CUDA_DEVICE_ORDER: x}}\n", 7, 13,
         "trainer.env.CUDA_DEVICE_ORDER", "'CUDA_DEVICE_ORDER'", "cannot be given"),
        (f"{ARGV}      env: {{X: a, CAMPAIGN_METRICS: x}}\n", 7, 19,
         "trainer.env.CAMPAIGN_METRICS", "'CAMPAIGN_METRICS'", "cannot be given"),
        (f"{ARGV}      env: {{RAY_ADDRESS: x}}\n", 7, 13,
         "trainer.env.RAY_ADDRESS", "'RAY_ADDRESS'", "cannot be given"),
        # 59
        (f"{ARGV}      metrics: {{declared: [Loss]}}\n{RULE}", 8, 39, "watch[0].metric",
         "the metric 'loss', which the command trainer does not declare", "system/*, Loss"),
        (f"{ARGV}      metrics: {{pattern: 'ce (?P<val__ce>.*)'}}\n{RULE}", 8, 39, "watch[0].metric",
         "the metric 'loss', which the command trainer does not declare", "system/*, val/ce"),
        (f"{ARGV}      metrics: {{declared: [x]}}\n    certify: {{metric: loss}}\n", 8, 23,
         "certify.metric", "the metric 'loss', which the command trainer does not declare", "x"),
        (f"{ARGV}      metrics: {{declared: [x]}}\n    certify: {{metric: x, bands: {{y: {{below: 1}}}}}}\n", 8, 34,
         "certify.bands.y", "the metric 'y', which the command trainer does not declare", "x"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_named_with_its_line(
    one: One, text: str, line: int, column: int, where: str, got: str, allowed: str
) -> None:
    error = one(text)
    assert (error.line, error.column, error.where) == (line, column, f"runs.r.{where}")
    assert error.got == got
    assert allowed in error.allowed


def test_a_rule_on_a_metric_that_ep_never_measures_is_refused_with_the_closest_name(
    one: One,
) -> None:
    error = one(
        "campaign: a\nruns:\n  r:\n    trainer: {kind: ep}\n"
        "    watch: [{rule: divergence, metric: val/se, above_best_by: 1}]\n"
    )
    assert (error.line, error.column) == (5, 40)
    assert error.hint == "did you mean `val/ce`?"


def test_patterns_of_declared_metrics_admit_what_they_match() -> None:
    loaded = load_text(
        "campaign: a\nruns: {r: {trainer: {kind: ep},"
        " watch: [{rule: threshold, metric: system/rss_bytes, above: 1}]}}\n"
    )
    assert loaded.warnings == ()


def test_a_command_that_declares_nothing_gets_a_warning_with_the_line() -> None:
    """59."""
    loaded = load_text(ARGV + RULE, name="c.yaml")
    (warning,) = loaded.warnings
    assert warning.startswith("c.yaml:7:39: got the metric 'loss'")
    assert "trainer.metrics.declared" in warning


DECLARED = f"{ARGV}      metrics: {{declared: [loss]}}\n"
ROLLBACK = "{rule: divergence, metric: loss, above_best_by: 1, action: rollback}"
CERTIFICATES = {
    "a misspelt metric": ("certify: {metric: los}", (8, 23), "'los'"),
    "a misspelt band": ("certify: {metric: loss, bands: {los: {below: 1}}}", (8, 37), "'los'"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "metric"), CERTIFICATES.values(), ids=CERTIFICATES.keys()
)
def test_a_certificate_on_what_is_not_declared_is_refused_with_its_line(
    one: One, text: str, place: tuple[int, int], metric: str
) -> None:
    error = one(f"{DECLARED}    {text}\n")
    assert (error.line, error.column) == place
    assert error.got == f"the metric {metric}, which the command trainer does not declare"
    assert error.allowed == "must be one of: system/*, loss"
    assert error.hint == "did you mean `loss`?"


@pytest.mark.parametrize(
    ("text", "place"),
    [("certify: {evaluations: 3}", "8:5"), (f"watch: [{ROLLBACK}]", "8:72")],
    ids=["a section without a metric means the usual one", "a rollback needs certificates"],
)
def test_a_usual_metric_that_is_not_declared_is_a_doubt_where_certificates_are_asked_for(
    text: str, place: str
) -> None:
    (warning,) = load_text(f"{DECLARED}    {text}\n", name="c.yaml").warnings
    assert warning.startswith(
        f"c.yaml:{place}: got the metric 'val/ce', which the command trainer does not declare; "
    )
    assert "`certify.metric`" in warning


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("certify: {metric: los}", "7:23"),
        ("certify: {bands: {los: {below: 1}}, metric: system/x}", "7:23"),
        ("certify: {evaluations: 3}", "7:5"),
        (f"watch: [{ROLLBACK.replace('metric: loss', 'metric: system/x')}]", "7:76"),
    ],
)
def test_a_certificate_on_what_a_silent_program_may_write_is_a_doubt_with_its_line(
    text: str, place: str
) -> None:
    (warning,) = load_text(f"{ARGV}    {text}\n", name="c.yaml").warnings
    assert warning.startswith(f"c.yaml:{place}: got the metric ")
    assert "no checkpoint is certified unless" in warning
    assert "trainer.metrics.declared" in warning


@pytest.mark.parametrize(
    "text",
    [
        "certify: {metric: loss, bands: {loss: {below: 1}}}",
        "certify: {}",
        "watch: [{rule: divergence, metric: loss, above_best_by: 1}]",
        f"certify: {{metric: loss}}\n    watch: [{ROLLBACK}]",
    ],
)
def test_a_certificate_on_what_is_declared_or_that_nobody_asks_for_is_no_matter(text: str) -> None:
    assert load_text(f"{DECLARED}    {text}\n").warnings == ()


@pytest.mark.parametrize(
    "metrics", ["{declared: [loss]}", "{pattern: 'loss (?P<loss>.*)'}", "{declared: ['l*']}"]
)
def test_a_declared_metric_is_watched_without_a_word(metrics: str) -> None:
    assert load_text(f"{ARGV}      metrics: {metrics}\n{RULE}").warnings == ()


def test_a_rule_that_names_no_metric_is_held_to_the_one_that_it_means(one: One) -> None:
    error = one(f"{ARGV}      metrics: {{declared: [loss]}}\n    watch: [{{rule: spectrum}}]\n")
    assert error.where.startswith("runs.r.watch")
    assert "the metric 'spectrum/max_re_mu'" in error.got


def test_an_unknown_rule_names_the_rules_that_there_are(one: One) -> None:
    """59."""
    error = one(f"{ARGV}    watch: [{{rule: treshold, metric: loss, above: 1}}]\n")
    assert (error.line, error.column, error.got) == (7, 20, "'treshold'")
    kinds = ("threshold", "non_finite", "divergence", "silence", "spectrum", "gradient", "plateau")
    assert error.allowed == f"must be one of: {', '.join(kinds)}"
    assert error.hint == "did you mean `threshold`?"


@pytest.mark.parametrize("bound", [".nan", ".inf", "'1'"])
def test_a_threshold_is_a_finite_number(one: One, bound: str) -> None:
    """59."""
    error = one(
        f"{ARGV}      metrics: {{declared: [loss]}}\n"
        f"    watch: [{{rule: threshold, metric: loss, above: {bound}}}]\n"
    )
    assert (error.line, error.column) == (8, 52)


def test_a_command_runs_where_submit_was_called_unless_it_says_otherwise(tmp_path: Path) -> None:
    for cwd, expected in [("", tmp_path), ("      cwd: sub\n", tmp_path / "sub"),
                          ("      cwd: /abs\n", Path("/abs")), ("      cwd:\n", tmp_path)]:  # fmt: skip
        trainer = load_text(ARGV + cwd, base=tmp_path).spec.runs["r"].trainer
        assert isinstance(trainer, CommandTrainer)
        assert trainer.cwd == str(expected)


def test_the_smallest_file_is_a_campaign_and_a_run() -> None:
    spec = load_text(
        "campaign: tiny\nruns: {one: {trainer: {kind: command, argv: [true_]}}}\n"
    ).spec
    assert list(spec.runs) == ["one"]
