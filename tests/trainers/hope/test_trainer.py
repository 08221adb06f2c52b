"""The HOPE trainer: exact resumption, honest metrics, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch

from specs.files import BadCheckpoint
from specs.trainer_hope import HopeTrainer
from tests.trainers.hope import small
from trainers.hope.compute.step import autocast
from trainers.hope.trainer import HopeTraining
from trainers.protocol import NonFinite, Snapshot

EVERYTHING: dict[str, Any] = {
    "model": {
        "pattern": "THU",
        "drop_path": 0.2,
        "spatial_mixing": True,
        "temporal_embeddings": True,
        "cms": {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True, "update_every": [1, 3]},
        "memories": {"detach_interval": 2, "scope": "per_sample"},
    },
    "losses": {"rollout": 0.5},
    "accumulate": 2,
}
CONTINUAL: dict[str, Any] = {
    "continual": {
        "tasks": ["a", "b"],
        "base_epochs": 2,
        "task_epochs": 1,
        "task_lr": 1e-3,
        "held_out": 4,
        "replay": {"buffer": 6, "fraction": 0.5},
    }
}


def through_json(snapshot: Snapshot) -> Snapshot:
    """What a checkpoint on disk keeps of a snapshot."""
    return Snapshot(tensors=snapshot.tensors, scalars=json.loads(json.dumps(snapshot.scalars)))


def advance(trainer: HopeTraining, steps: int) -> list[Mapping[str, float]]:
    return [trainer.advance() for _ in range(steps)]


def assert_same(a: Snapshot, b: Snapshot) -> None:
    assert json.dumps(a.scalars, sort_keys=True) == json.dumps(b.scalars, sort_keys=True)
    assert a.tensors.keys() == b.tensors.keys()
    for stem, tensors in a.tensors.items():
        assert tensors.keys() == b.tensors[stem].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, b.tensors[stem][name]), f"{stem}/{name}"


@pytest.mark.parametrize("kind", ["adamw", "muon", "m3"])
@pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_resumed_run_is_bit_equal_to_a_straight_one(kind: str, fields: dict[str, Any]) -> None:
    chosen = {**fields, "optimizer": {"kind": kind, "m3_slow_every": 2}}
    straight, first, second = (small.training(**chosen) for _ in range(3))
    expected = advance(straight, 8)
    found = advance(first, 4)
    second.restore(through_json(first.snapshot()))
    torch.manual_seed(12345)  # no state of torch's own generator may matter
    found += advance(second, 4)
    assert found == expected
    assert_same(second.snapshot(), straight.snapshot())
    assert second.evaluate() == straight.evaluate()


@pytest.mark.parametrize("cut", [3, 9, 11, 18, 20])
def test_a_protocol_resumed_at_any_step_is_bit_equal_to_a_straight_one(cut: int) -> None:
    """At a step within a phase, and at the edges of phases."""
    straight, first, second = (small.training(**CONTINUAL) for _ in range(3))
    assert [p.steps for p in straight.phases] == [9, 9, 9]
    expected = advance(straight, 27)
    found = advance(first, cut)
    second.restore(through_json(first.snapshot()))
    found += advance(second, 27 - cut)
    assert found == expected
    assert second.evaluate() == straight.evaluate()
    assert_same(second.snapshot(), straight.snapshot())


def test_evaluation_and_evidence_do_not_change_what_follows() -> None:
    quiet, asked = small.training(**EVERYTHING), small.training(**EVERYTHING)
    advance(quiet, 6)
    for _ in range(6):
        asked.evaluate()
        asked.evidence()
        asked.snapshot()
        asked.advance()
    assert_same(asked.snapshot(), quiet.snapshot())


def test_a_snapshot_does_not_follow_the_run() -> None:
    trainer = small.training()
    advance(trainer, 2)
    snapshot = trainer.snapshot()
    kept = {n: t.clone() for stem in snapshot.tensors.values() for n, t in stem.items()}
    advance(trainer, 2)
    for stem in snapshot.tensors.values():
        assert all(torch.equal(t, kept[n]) for n, t in stem.items())
    assert snapshot.scalars["step"] == 2


@pytest.mark.parametrize("pattern", ["HH", "TT", "UU"])
def test_it_learns_the_toy_clips(pattern: str) -> None:
    trainer = small.training(model={"pattern": pattern, "temporal_embeddings": True}, steps=80)
    before = trainer.evaluate()
    advance(trainer, 80)
    after = trainer.evaluate()
    assert after["val/teacher"] < before["val/teacher"] - 0.2
    assert after["val/jump"] < before["val/jump"] - 0.1


@pytest.mark.parametrize("fields", [{}, EVERYTHING, CONTINUAL], ids=["plain", "everything", "CL"])
def test_metrics_are_those_that_the_settings_declare(fields: dict[str, Any]) -> None:
    trainer = small.training(**fields)
    names = set(trainer.advance()) | set(trainer.evidence().metrics) | set(trainer.evaluate())
    while trainer.step < trainer.total_steps:
        names |= set(trainer.advance())
    names |= set(trainer.evaluate())
    undeclared = {
        n for n in names if not any(fnmatchcase(n, pattern) for pattern in HopeTrainer.METRICS)
    }
    assert not undeclared
    assert {"grad/block0", "grad/non_finite", "memory/retention", "memory/gate"} <= names


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    weights = {"teacher": 0.7, "rollout": 0.3, "jump": 0.9, "auxiliary": 0.2}
    metrics = small.training(losses=weights).advance()
    total = sum(weight * metrics[f"loss/{name}"] for name, weight in weights.items())
    assert metrics["loss/total"] == pytest.approx(total, rel=1e-5)


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    """With a state a sample; a shared state is another one in a larger batch. Targets differ: no jump."""
    fields: dict[str, Any] = {
        "model": {"memories": {"scope": "per_sample"}},
        "losses": {"jump": 0.0, "auxiliary": 0.0},
    }
    large = small.training(batch=8, **fields).advance()
    parts = small.training(batch=4, accumulate=2, **fields).advance()
    assert parts["loss/teacher"] == pytest.approx(large["loss/teacher"], rel=1e-5)
    assert parts["train/grad_norm"] == pytest.approx(large["train/grad_norm"], rel=1e-4)


def test_the_total_gradient_is_clipped_and_logged_as_it_was() -> None:
    loose = small.training(optimizer={"clip": 1e9}).advance()
    tight = small.training(optimizer={"clip": 1e-3}).advance()
    assert loose["train/clip_factor"] == 1
    assert tight["train/clip_factor"] == pytest.approx(1e-3 / tight["train/grad_norm"])
    assert tight["train/grad_norm"] == loose["train/grad_norm"]


def test_norms_of_blocks_and_the_rest_make_up_the_total() -> None:
    metrics = small.training(model={"pattern": "THU"}).advance()
    squares = sum(metrics[f"grad/block{i}"] ** 2 for i in range(3))
    assert 0 < squares < metrics["train/grad_norm"] ** 2
    blocks = [metrics[f"grad/block{i}"] for i in range(3)]
    assert metrics["grad/block_ratio"] == pytest.approx(max(blocks[0] / blocks[1], blocks[1] / blocks[2]))  # fmt: skip


# ---------------------------------------------------------------- what is no number


@pytest.mark.parametrize("name", ["embed.weight", "blocks.1.titan.memories.M_k.W1"])
def test_a_parameter_that_is_no_number_ends_the_run_by_its_name(name: str) -> None:
    trainer = small.training()
    advance(trainer, 2)
    with torch.no_grad():
        dict(trainer.model.named_parameters())[name].view(-1)[3] = math.nan
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    with pytest.raises(NonFinite, match=rf"loss/teacher is nan in training step 3: {name}") as told:
        trainer.advance()
    assert told.value.metrics["grad/non_finite"] > 0
    assert trainer.step == 2
    for n, p in trainer.model.named_parameters():
        torch.testing.assert_close(p.detach(), before[n], equal_nan=True, rtol=0, atol=0)


def test_a_gradient_that_is_no_number_is_counted_and_named_though_the_losses_are_finite() -> None:
    """The documents' initialisation: tokens of zeros, linked writes, six blocks."""
    trainer = small.training(
        model={
            "pattern": "HHHHHHHH",
            "width": 48,
            "conditioning_bias_std": 0.0,
            "memories": {"detach_interval": 0},
        },
        data={"frames": 9},
        context=8,
        source=small.Clips(frames=9),
    )
    _ground(trainer)
    with pytest.raises(NonFinite, match="the gradient of") as told:
        trainer.advance()
    assert math.isfinite(told.value.metrics["loss/total"])
    assert told.value.metrics["grad/non_finite"] > 0


def _ground(trainer: HopeTraining) -> None:
    """Actions of exact zeros too, as after the first frame of the documents' clips."""
    trainer._source._all["base"].actions.zero_()  # type: ignore[attr-defined]  # the toy's own


@pytest.mark.parametrize("where", ["parameter", "moment"])
def test_evidence_says_when_a_tensor_is_no_number(where: str) -> None:
    trainer = small.training()
    advance(trainer, 1)
    parameter = trainer.model.project.weight
    state = trainer._optimisers.parts[0].state[parameter]
    with torch.no_grad():
        (parameter if where == "parameter" else state["exp_avg"])[0, 0] = math.inf
    evidence = trainer.evidence()
    assert not evidence.finite
    assert evidence.metrics == {}


def test_evidence_holds_what_certificates_are_judged_by() -> None:
    trainer = small.training()
    advance(trainer, 2)
    evidence = trainer.evidence()
    assert evidence.finite
    assert {"grad/block_ratio", "grad/non_finite", "val/teacher", "val/jump"} <= set(
        evidence.metrics
    )
    assert evidence.metrics["grad/non_finite"] == 0
    assert all(math.isfinite(v) for v in evidence.metrics.values())


# ---------------------------------------------------------------- bfloat16


def test_bfloat16_products_leave_parameters_and_fast_weights_in_float32() -> None:
    chosen = {"precision": "bfloat16", "model": {"pattern": "THU"}}
    half, full = small.training(**chosen), small.training(**{**chosen, "precision": "float32"})
    first, exact = half.advance(), full.advance()
    assert first["loss/total"] != exact["loss/total"]
    assert first["loss/total"] == pytest.approx(exact["loss/total"], rel=0.03)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    batch = half._feed.validation(("base",))[0]
    with torch.no_grad(), autocast(half._settings, torch.device("cpu")):
        states = half.model(batch.inputs(), keep_state=True).states
    assert {s.W1.dtype for s in states if s is not None} == {torch.float32}


# ---------------------------------------------------------------- starting from a checkpoint


def test_a_warm_start_takes_the_parameters_only() -> None:
    donor, taker = small.training(), small.training(seed=3)
    advance(donor, 3)
    taker.warm_start(through_json(donor.snapshot()))
    assert taker.step == 0
    for (name, a), (_, b) in zip(
        donor.model.named_parameters(), taker.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert not taker.snapshot().tensors["optimizer"]


def test_a_run_may_start_warm_from_a_protocol_and_go_on_with_other_weights_of_losses() -> None:
    donor = small.training(**CONTINUAL)
    advance(donor, 3)
    small.training().warm_start(through_json(donor.snapshot()))
    other = small.training(**CONTINUAL, losses={"jump": 0.1})
    other.restore(through_json(donor.snapshot()))
    other.advance()
    assert other.step == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": {"pattern": "HT"}}, "model.pattern: the checkpoint has 'HH', this run has 'HT'"),
        ({"model": {"width": 24}}, "model.width"),
        ({"optimizer": {"kind": "muon"}}, "optimizer.kind"),
        (CONTINUAL, "phases"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(
    fields: dict[str, Any], said: str
) -> None:
    donor = small.training()
    advance(donor, 1)
    with pytest.raises(BadCheckpoint, match=said):
        small.training(**fields).restore(through_json(donor.snapshot()))


def _without(snapshot: Snapshot, stem: str, name: str) -> Snapshot:
    left = {k: v for k, v in snapshot.tensors[stem].items() if k != name}
    return replace(snapshot, tensors={**snapshot.tensors, stem: left})


def _with(snapshot: Snapshot, stem: str, name: str, value: torch.Tensor) -> Snapshot:
    held = {**snapshot.tensors[stem], name: value}
    return replace(snapshot, tensors={**snapshot.tensors, stem: held})


def _said(snapshot: Snapshot, **scalars: object) -> Snapshot:
    return replace(snapshot, scalars={**snapshot.scalars, **scalars})


NAN = torch.full((12,), math.nan)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: _without(s, "model", "norm.bias"), "differ from this run's in: norm.bias"),
        (lambda s: _with(s, "model", "norm.bias", torch.zeros(3)), "model/norm.bias has shape"),
        (lambda s: _with(s, "model", "norm.bias", NAN), "model/norm.bias.*not finite"),
        (lambda s: _without(s, "optimizer", "norm.bias/exp_avg"), "norm.bias, this run's needs"),
        (lambda s: _with(s, "optimizer", "norm.bias/exp_avg", NAN), "exp_avg.*not finite"),
        (lambda s: _with(s, "optimizer", "x/step", torch.zeros(())), "knows 'x'"),
        (lambda s: _with(s, "held", "norm.bias", torch.zeros(12)), "holds a gradient of norm.bias"),
        (lambda s: _said(s, matrix={"on": {}}), "matrix"),
        (lambda s: _said(s, surprise=1), "has the unknown: surprise"),
    ],
)
def test_a_snapshot_that_is_not_whole_is_refused_and_changes_nothing(spoil: Any, said: str) -> None:
    donor, trainer = small.training(), small.training(seed=5)
    advance(donor, 2)
    before = trainer.snapshot()
    with pytest.raises(BadCheckpoint, match=said):
        trainer.restore(through_json(spoil(donor.snapshot())))
    assert_same(trainer.snapshot(), before)


# ---------------------------------------------------------------- a protocol


def test_after_each_phase_every_task_is_judged_and_all_is_due_at_once() -> None:
    trainer = small.training(**CONTINUAL, log_every=100)
    rows = []
    while trainer.step < trainer.total_steps:
        trainer.advance()
        due = (trainer.log_every, trainer.evaluate_every, trainer.checkpoint_every)
        ended = trainer.step in (9, 18, 27)
        assert due == ((1, 1, 1) if ended else (100, 200, 200))
        if ended:
            rows.append(trainer.evaluate())
    for row in rows:
        assert {f"continual/{m}/error/{t}" for m in ("on", "off") for t in ("base", "a", "b")} <= set(row)  # fmt: skip
    assert "continual/on/forgetting" not in rows[1]
    assert rows[2]["continual/on/avg_error"] == pytest.approx(
        sum(rows[2][f"continual/on/error/{t}"] for t in ("base", "a", "b")) / 3
    )


def test_a_row_is_judged_by_the_parameters_of_its_phase_though_nobody_asked_at_its_end() -> None:
    asked, unasked = small.training(**CONTINUAL), small.training(**CONTINUAL)
    for _ in range(27):
        asked.advance()
        asked.evaluate()
        unasked.advance()
    unasked.evaluate()
    assert asked.course.as_json() == unasked.course.as_json()
    assert asked.course.rows == 3


def test_no_phase_learns_from_a_clip_that_is_held_out_or_of_a_task_to_come() -> None:
    source = small.Clips(("base", "a", "b"))
    trainer = small.training(source, **CONTINUAL)
    seen: list[tuple[str, int]] = []
    original = source.batch
    source.batch = lambda task, indices: (  # type: ignore[method-assign]
        seen.extend((task, int(i)) for i in indices) or original(task, indices)
    )
    by_phase = []
    for _ in range(3):
        seen.clear()
        for _ in range(9):
            before = len(seen)
            trainer.advance()
            if trainer.step in (10, 19):  # the first step of a phase judges the one before
                held = [s for s in seen[before:] if s[1] >= 20]
                assert held
                seen[before:] = [s for s in seen[before:] if s[1] < 20]
        by_phase.append(set(seen))
    assert all(2 <= clip < 20 for phase in by_phase for _, clip in phase)
    assert [{task for task, _ in phase} for phase in by_phase] == [
        {"base"}, {"base", "a"}, {"base", "a", "b"},
    ]  # fmt: skip
    kept = {(task, clip) for task, clips in trainer.kept.items() for clip in clips}
    assert {s for s in by_phase[2] if s[0] != "b"} <= kept
