"""Wrong fields, values and names of a campaign. (Bad inputs 15, 17-24, 31-35, 37, 52, 55.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.errors import SpecError, SpecErrors
from specs.load import load_text

One = Callable[..., SpecError]
Refused = Callable[..., tuple[SpecError, ...]]

RUN = "campaign: a\nruns:\n  r:\n    trainer: {kind: ep}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "where", "got", "allowed", "hint"),
    [
        # 15
        (f"schema_version: 2\n{RUN}", 1, 17, "schema_version", "2", "must be 1", ""),
        (f"schema_version: '1'\n{RUN}", 1, 17, "schema_version", "'1'", "must be 1", ""),
        # 17
        (f"{RUN}    resources: {{gpu: 1}}\n", 5, 17, "runs.r.resources.gpu",
         "the unknown field `gpu`", "gpus", "did you mean `gpus`?"),
        (f"{RUN}    trainr: {{}}\n", 5, 5, "runs.r.trainr", "the unknown field `trainr`",
         "trainer", "did you mean `trainer`?"),
        (f"compaign: b\n{RUN}", 1, 1, "compaign", "the unknown field `compaign`",
         "campaign", "did you mean `campaign`?"),
        (f"{RUN}    start: {{warm_from: {{campaign: b, run: q, ep: 3}}}}\n", 5, 46, "runs.r.start.warm_from.ep",
         "the unknown field `ep`", "step", "did you mean `step`?"),
        (f"{RUN}    certify: {{bands: {{val/ce: {{beneath: 1, below: 2}}}}}}\n", 5, 32,
         "runs.r.certify.bands.val/ce.beneath", "the unknown field `beneath`", "below", ""),
        # 18
        ("campaign: a\n", 1, 1, "", "no `runs`", "`runs` is required", ""),
        ("campaign: a\nruns: {r: {}}\n", 2, 8, "runs.r", "no `trainer`", "`trainer` is required", ""),
        ("campaign: a\nruns: {r: {trainer: {}}}\n", 2, 12, "runs.r.trainer", "no `kind`",
         "must be one of: ep, hope, command", ""),
        ("campaign: a\nruns: {r: {trainer: {knd: ep}}}\n", 2, 12, "runs.r.trainer", "no `kind`",
         "`kind` is required", "is `knd` meant to be `kind`?"),
        (f"{RUN}    watch: [{{rule: threshold, below: 1}}]\n", 5, 13, "runs.r.watch[0]",
         "no `metric`", "`metric` is required", ""),
        ("campaign: a\nruns: {}\n", 2, 1, "runs", "an empty map", "must have at least 1 entry", ""),
        # 19
        (f"{RUN}    priority: true\n", 5, 15, "runs.r.priority", "true", "a whole number", ""),
        (f"{RUN}    priority: '3'\n", 5, 15, "runs.r.priority", "'3'", "a whole number",
         "write 3, without quotes or separators"),
        (f"{RUN}    priority: 1_0\n", 5, 15, "runs.r.priority", "'1_0'", "a whole number",
         "write 10, without quotes or separators"),
        (f"{RUN}    priority: 3.5\n", 5, 15, "runs.r.priority", "3.5", "a whole number", ""),
        (f"{RUN}    priority:\n", 5, 5, "runs.r.priority", "nothing (null)", "whole number", ""),
        (f"{RUN}    retry: {{from_scratch: yes}}\n", 5, 27, "runs.r.retry.from_scratch", "'yes'",
         "must be true or false", "write true"),
        (f"{RUN}    retry: 3\n", 5, 12, "runs.r.retry", "3", "must be a map", ""),
        (f"{RUN}    watch: {{rule: silence}}\n", 5, 5, "runs.r.watch", "a map", "must be a list", ""),
        (f"{RUN}    resources: {{hosts: [1]}}\n", 5, 25, "runs.r.resources.hosts[0]", "1",
         "must be text", "write it in quotes"),
        (f"{RUN}    resources: {{pin: [true], gpus: 1}}\n", 5, 23, "runs.r.resources.pin[0]", "true",
         "must be a whole number or text", ""),
        ("campaign: a\nruns: [r]\n", 2, 1, "runs", "['r']", "must be a map", ""),
        ("campaign: a\nruns: {r: 3}\n", 2, 11, "runs.r", "3", "must be a map", ""),
        ("campaign: a\nruns: {r: {trainer: {kind: zz}}}\n", 2, 28, "runs.r.trainer.kind", "'zz'",
         "must be one of: ep, hope, command", ""),
        ("campaign: a\nruns: {r: {trainer: {kind: ep, estimator: rpb}}}\n", 2, 43,
         "runs.r.trainer.estimator", "'rpb'", "must be one of: rbp, ep, holomorphic, exact, bptt, bptt_tail", "did you mean `rbp`?"),
        ("campaign: a\nruns: {r: {trainer: {kind: ep, device: gpu}}}\n", 2, 40,
         "runs.r.trainer.device", "'gpu'", "must be 'auto', 'cpu' or 'cuda'", "did you mean `cpu`?"),
        (f"{RUN}    watch: [{{rule: silence, action: kil}}]\n", 5, 37, "runs.r.watch[0].action",
         "'kil'", "must be one of: alert", "did you mean `kill`?"),
        # 21
        ("campaign: a\nruns: {r: {trainer: {kind: ep, steps: 0}}}\n", 2, 39,
         "runs.r.trainer.steps", "0", "must be at least 1", ""),
        ("campaign: a\nruns: {r: {trainer: {kind: ep, optimizer: {lr: -1e-3}}}}\n", 2, 48,
         "runs.r.trainer.optimizer.lr", "-0.001", "must be greater than 0", ""),
        (f"{RUN}    resources: {{gpus: -1}}\n", 5, 23, "runs.r.resources.gpus", "-1",
         "must be at least 0", ""),
        (f"{RUN}    limits: {{grace: 0s}}\n", 5, 21, "runs.r.limits.grace", "'0s'",
         "must be greater than 0", ""),
        # 22
        (f"{RUN}    limits: {{timeout: 1e9}}\n", 5, 23, "runs.r.limits.timeout", "1000000000.0",
         "must be at most", ""),
        (f"{RUN}    retry: {{crashes: 1000000}}\n", 5, 22, "runs.r.retry.crashes", "1000000",
         "must be at most 100", ""),
        (f"{RUN}    resources: {{cpus: 9999999999}}\n", 5, 23, "runs.r.resources.cpus", "9999999999",
         "must be at most 4096", ""),
        # 23
        (f"{RUN}    limits: {{timeout: 10 parsecs}}\n", 5, 23, "runs.r.limits.timeout", "'10 parsecs'",
         "must be a duration in ms, s, m, h or d", ""),
        # 24
        ("campaign: a\nruns: {r: {trainer: {kind: ep, relaxation: {T1: 60, t1max: 30}}}}\n", 2, 60,
         "runs.r.trainer.relaxation.t1max", "30", "t1max (30) is below T1 (60)", ""),
        (f"{RUN}    certify: {{bands: {{val/ce: {{above: 3, below: 2}}}}}}\n", 5, 39,
         "runs.r.certify.bands.val/ce.above", "3", "above (3) is greater than below (2)", ""),
        # 25
        (f"{RUN}    watch: [{{rule: threshold, metric: val/ce, above: 3, below: 2}}]\n", 5, 54,
         "runs.r.watch[0].above", "3", "give one of `above` and `below`", ""),
        # 31
        (f"{RUN}    priority: 1001\n", 5, 15, "runs.r.priority", "1001", "must be at most 1000", ""),
        # 52
        (f"{RUN}    resources: {{gpus: 1, pin: [GPU-1f], exclude: [GPU-1f]}}\n", 5, 41,
         "runs.r.resources.exclude", "['GPU-1f']", "GPU-1f is pinned and excluded", ""),
        (f"{RUN}    resources: {{gpus: 1, pin: [0, 1], exclude: [1]}}\n", 5, 39,
         "runs.r.resources.exclude", "[1]", "1 is pinned and excluded", ""),
        (f"{RUN}    resources: {{gpus: 2, pin: [0]}}\n", 5, 26, "runs.r.resources.pin", "[0]",
         "gpus is 2, but pin names only 1", ""),
        # 55
        (f"{RUN}    resources: {{gpus: 1, pin: [1, 0, 1]}}\n", 5, 26, "runs.r.resources.pin", "[1, 0, 1]",
         "pin names 1 twice", ""),
        (f"{RUN}    resources: {{exclude: ['hostb:2', 'hostb:2']}}\n", 5, 17,
         "runs.r.resources.exclude",
         "['hostb:2', 'hostb:2']", "exclude names hostb:2 twice", ""),
        # rules of one name
        (f"{RUN}    watch: [{{rule: silence}}, {{rule: silence}}]\n", 5, 5, "runs.r.watch", "a list",
         "two rules have the name silence", ""),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_line_and_what_is_right(
    one: One, text: str, line: int, column: int, where: str, got: str, allowed: str, hint: str
) -> None:
    error = one(text)
    assert (error.file, error.line, error.column) == ("c.yaml", line, column)
    assert (error.where, error.got) == (where, got)
    assert allowed in error.allowed
    assert error.hint == hint


NAMES = [
    "Redx", "-x", "--help", ".", "..", "../x", "a/b", "/etc", "_x", "a b", "é", "ﬁ", "x" * 64, "a\\b",
    "ａ",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_run_cannot_have_a_name_that_leaves_its_directory_or_hides(one: One, name: str) -> None:
    """32, 33, 35, 37: one spelling only, so no two names fall together on any file system."""
    error = one(f"campaign: a\nruns:\n  '{name}': {{trainer: {{kind: ep}}}}\n")
    assert (error.line, error.column, error.where) == (3, 3, f"runs.{name}")
    assert error.got == repr(name) or name[:57] in error.got
    assert "a-z 0-9 . _ -" in error.allowed


@pytest.mark.parametrize("name", NAMES)
def test_nor_can_a_campaign_be_it_written_or_given_with_as(one: One, name: str) -> None:
    error = one(f"campaign: '{name}'\nruns: {{r: {{trainer: {{kind: ep}}}}}}\n")
    assert (error.line, error.column, error.where) == (1, 11, "campaign")
    error = one(RUN, as_name=name)
    assert (error.file, error.line) == (f"--as {name}", None)
    assert "a-z 0-9 . _ -" in error.allowed


def test_the_same_run_twice_is_a_duplicate_key(one: One) -> None:
    """34."""
    error = one("campaign: a\nruns:\n  r: {trainer: {kind: ep}}\n  r: {trainer: {kind: ep}}\n")
    assert (error.line, error.column, error.got) == (4, 3, "the key 'r' again")


def test_a_run_called_defaults_is_refused_as_set_could_not_name_it(one: One) -> None:
    error = one("campaign: a\nruns: {defaults: {trainer: {kind: ep}}}\n")
    assert (error.line, error.column) == (2, 8)


def test_another_name_is_taken_over_the_one_in_the_file() -> None:
    assert load_text(RUN, as_name="other.name").spec.campaign == "other.name"


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file(refused: Refused) -> None:
    errors = refused(
        "schema_version: 7\n"
        "campaign: A\n"
        "profile: p\n"
        "defaults: {trainer: {kind: ep, widht: 64}}\n"
        "runs:\n"
        "  a: {priority: x, start: {warm_from: {run: b}}}\n"
        "  a: {}\n"
        "  c: {watch: [{rule: threshold, metric: val/se, below: 1}]}\n",
        sets=["c.retry.crashes=x", "d.priority=1"],
    )
    assert [(error.line, error.where or error.file) for error in errors] == [
        (1, "schema_version"),
        (2, "campaign"),
        (3, "profile"),
        (4, "defaults.trainer.widht"),
        (6, "runs.a.priority"),
        (6, "runs.a.start.warm_from.run"),
        (7, "runs"),
        (8, "runs.c.watch[0].metric"),
        (None, "runs.c.retry.crashes"),
        (None, "--set d.priority=1"),
    ]


def test_a_wrong_default_is_said_once_with_the_runs_it_reaches(one: One, refused: Refused) -> None:
    runs = "".join(f"  r{i}: {{}}\n" for i in range(7))
    error = one(f"campaign: a\ndefaults: {{trainer: {{kind: ep, heads: 0}}}}\nruns:\n{runs}")
    assert (error.line, error.where, error.hint) == (
        2,
        "defaults.trainer.heads",
        "it reaches every run",
    )
    error = one(
        f"campaign: a\ndefaults: {{trainer: {{kind: ep, heads: 0}}}}\nruns:\n{runs}"
        "  good: {trainer: {heads: 1}}\n"
    )
    assert error.hint == "it reaches r0, r1, r2, r3, r4 and 2 more"


def test_a_value_that_could_not_be_read_is_not_blamed_a_second_time(one: One) -> None:
    assert one("campaign: a\nruns: {r: {trainer: {kind: ep, steps: .nan}}}\n").line == 2


def test_a_field_spread_over_two_layers_is_blamed_where_the_run_writes_it(one: One) -> None:
    error = one(
        "campaign: a\n"
        "defaults: {trainer: {kind: ep, relaxation: {t1max: 100}}}\n"
        "runs: {r: {trainer: {relaxation: {T1: 200}}}}\n"
    )
    assert error.where in ("defaults.trainer.relaxation.t1max", "runs.r.trainer.relaxation.T1")
    assert error.allowed == "t1max (100) is below T1 (200)"


@pytest.mark.parametrize("text", ["runs: {r: }\n", "runs:\n  r:\n", "runs: {r: {}}\n"])
def test_a_run_without_content_is_all_defaults(text: str) -> None:
    loaded = load_text(
        f"campaign: a\nprofiles:\ndefaults: {{trainer: {{kind: ep, seed: 7}}}}\n{text}"
    )
    assert loaded.spec.runs["r"].trainer.model_dump()["seed"] == 7


def test_the_fields_on_offer_are_those_of_the_rule_that_was_chosen(one: One) -> None:
    error = one(f"{RUN}    watch: [{{rule: silence, metric: val/ce}}]\n")
    assert error.allowed == "must be one of: name, action, set, tries, rule, for_seconds"


def test_the_message_is_the_rendered_errors() -> None:
    with pytest.raises(SpecErrors) as caught:
        load_text("campaign: a\nruns: {r: {trainer: {kind: ep, widht: 64}}}\n", name="dir/c.yaml")
    first, second, third = str(caught.value).splitlines()
    assert first == "dir/c.yaml:2:32: runs.r.trainer.widht: got the unknown field `widht`"
    assert second.startswith("  must be one of: width, ")
    assert third == "  did you mean `width`?"
