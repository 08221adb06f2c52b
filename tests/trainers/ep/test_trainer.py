from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from specs.files import BadCheckpoint
from specs.trainer_ep import EpTrainer
from trainers.data.load import load
from trainers.ep.trainer import build
from trainers.failure import CouldNotStart
from trainers.protocol import NonFinite, Snapshot

ALL_PENALTIES = {
    "resreg": 0.2,
    "jacreg": {"weight": 0.1, "floor": 0.01, "max": 1.0, "every": 2},
    "hinge": {"ratio": 0.3, "margin": 1.0},
    "homeostasis": 0.1,
}
EVERYTHING = {
    **ALL_PENALTIES,
    "hinge": {"ratio": 0.3, "margin": 1.0, "every": 3},
    "spectrum": {"estimate_every": 2},
    "weight_cap": 1.01,
    "fnoise": 0.05,
    "relaxation": {"T1": 20, "t1max": 40, "random_T1": [5, 20]},
    "optimizer": {"lr": 2e-2, "warmup": 0, "weight_decay": 0.1},
}


def through_json(snapshot: Snapshot) -> Snapshot:
    """What a checkpoint on disk keeps of a snapshot."""
    return Snapshot(tensors=snapshot.tensors, scalars=json.loads(json.dumps(snapshot.scalars)))


def advance(trainer, steps: int) -> list[Mapping[str, float]]:
    return [trainer.advance() for _ in range(steps)]


def assert_same(a: Snapshot, b: Snapshot) -> None:
    assert a.scalars == b.scalars
    assert a.tensors.keys() == b.tensors.keys()
    for stem, tensors in a.tensors.items():
        assert tensors.keys() == b.tensors[stem].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, b.tensors[stem][name]), f"{stem}/{name}"


@pytest.mark.parametrize("penalties", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("estimator", ["rbp", "ep", "bptt"])
def test_a_resumed_run_is_bit_equal_to_a_straight_one(settings, text, estimator, penalties):
    chosen = settings(estimator=estimator, ema=0.9, **penalties)
    straight, first, second = (build(chosen, text()) for _ in range(3))
    expected = advance(straight, 8)
    found = advance(first, 4)
    second.restore(through_json(first.snapshot()))
    found += advance(second, 4)
    assert found == expected
    assert_same(second.snapshot(), straight.snapshot())
    assert second.evaluate() == straight.evaluate()


def test_evaluation_and_evidence_do_not_change_what_follows(settings, text):
    chosen = settings(**ALL_PENALTIES)
    quiet, asked = build(chosen, text()), build(chosen, text())
    advance(quiet, 6)
    for _ in range(6):
        asked.evaluate()
        asked.evidence()
        asked.snapshot()
        asked.advance()
    assert_same(asked.snapshot(), quiet.snapshot())


def test_a_snapshot_does_not_follow_the_run(settings, text):
    trainer = build(settings(), text())
    advance(trainer, 2)
    snapshot = trainer.snapshot()
    kept = {name: t.clone() for name, t in snapshot.tensors["model"].items()}
    advance(trainer, 2)
    assert all(torch.equal(t, kept[name]) for name, t in snapshot.tensors["model"].items())
    assert snapshot.scalars["step"] == 2


@pytest.mark.parametrize("estimator", ["rbp", "ep", "bptt"])
def test_every_estimator_learns_the_toy_text(settings, text, estimator):
    trainer = build(
        settings(
            estimator=estimator, width=16, batch=8, steps=60, optimizer={"lr": 2e-2, "warmup": 5}
        ),
        text(),
    )
    before = trainer.evaluate()["val/ce"]
    advance(trainer, 60)
    after = trainer.evaluate()["val/ce"]
    assert after < before - 0.3


def test_metrics_are_those_that_the_settings_declare(settings, text):
    for estimator in ("rbp", "bptt"):
        trainer = build(settings(estimator=estimator, **EVERYTHING), text())
        advance(trainer, 5)
        names = set(trainer.advance()) | set(trainer.evaluate()) | set(trainer.evidence().metrics)
        assert names <= set(EpTrainer.METRICS)


@pytest.mark.parametrize(
    ("objective", "at"), [("fixed_point", "val/ce_refined"), ("finite_T", "val/ce_T1")]
)
def test_validation_reports_the_loss_at_T1_and_refined_whatever_the_objective(
    settings, text, objective, at
):
    early = {"T1": 2, "t1max": 80, "tolerance": 1e-7}
    m = build(settings(relaxation=early, objective=objective), text()).evaluate()
    assert m["val/ce"] == m[at]
    assert m["val/ce_T1"] != m["val/ce_refined"]
    assert m["val/bits_per_byte"] == pytest.approx(m["val/ce"] / math.log(2) / 4.0)


def test_the_losses_at_both_states_are_the_same_under_both_objectives(settings, text):
    early = {"T1": 2, "t1max": 80, "tolerance": 1e-7}
    fixed, finite = (
        build(settings(relaxation=early, objective=objective), text()).evaluate()
        for objective in ("fixed_point", "finite_T")
    )
    for metric in ("val/ce_T1", "val/ce_refined"):
        assert fixed[metric] == finite[metric]


def test_the_average_follows_the_parameters(settings, text):
    trainer = build(settings(ema=0.5), text())
    before = trainer.ema.W_Q.clone()
    trainer.advance()
    expected = 0.5 * before + 0.5 * trainer.params.W_Q.detach()
    torch.testing.assert_close(trainer.ema.W_Q, expected)


def test_evidence_holds_what_certificates_are_judged_by(settings, text):
    trainer = build(settings(checkpoints={"every": 2}, spectrum={"every": 2}), text())
    needed = {"residual/T1", "residual/refined", "residual/adjoint", "val/ce"}
    spectra = {"spectrum/max_re_mu", "spectrum/max_re_mu_ema"}
    advance(trainer, 2)
    skipped = trainer.evidence()
    advance(trainer, 2)
    full = trainer.evidence()
    assert skipped.finite and full.finite
    assert set(skipped.metrics) == needed
    assert set(full.metrics) == needed | spectra
    assert all(math.isfinite(v) for v in full.metrics.values())
    assert full.metrics["spectrum/max_re_mu"] < 0


@pytest.mark.parametrize("where", ["params", "ema"])
def test_evidence_says_when_a_tensor_is_no_number(settings, text, where):
    trainer = build(settings(), text())
    with torch.no_grad():
        getattr(trainer, where).W_1[0, 0] = math.nan
    evidence = trainer.evidence()
    assert not evidence.finite
    assert evidence.metrics == {}


def test_a_step_with_nothing_finite_left_is_refused(settings, text):
    trainer = build(settings(), text())
    with torch.no_grad():
        trainer.params.W_h[0, 0] = math.inf
    with pytest.raises(NonFinite, match=r"train/ce is nan in training step 1"):
        trainer.advance()


def test_the_total_gradient_is_clipped_and_logged(settings, text):
    loose = build(settings(optimizer={"clip": 1e9}), text()).advance()
    tight = build(settings(optimizer={"clip": 1e-3}), text()).advance()
    assert loose["train/clip_factor"] == 1
    assert tight["train/clip_factor"] == pytest.approx(1e-3 / tight["train/grad_norm"])
    assert tight["train/grad_norm"] == loose["train/grad_norm"]


def test_only_matrices_decay(settings, text):
    """Two runs that differ in nothing but decay, after one step from equal gradients."""
    plain, decayed = (
        build(settings(optimizer={"lr": 1e-2, "warmup": 0, "weight_decay": w}), text())
        for w in (0.0, 0.5)
    )
    start = plain.params.W_Q.detach().clone()
    plain.advance(), decayed.advance()
    moved = {
        name
        for name, a in plain.params._asdict().items()
        if not torch.equal(a, getattr(decayed.params, name))
    }
    assert moved == {"W_Q", "W_K", "W_V", "W_O", "W_1", "W_2", "W_h"}
    torch.testing.assert_close(
        (plain.params.W_Q - decayed.params.W_Q).detach(), 1e-2 * 0.5 * start, rtol=1e-3, atol=1e-7
    )


def test_a_gated_run_without_penalties_stands_still(settings, text):
    trainer = build(settings(res_gate=1e-12), text())
    before = trainer.params.W_Q.detach().clone()
    metrics = trainer.advance()
    assert metrics["train/task_used"] == 0
    assert torch.equal(trainer.params.W_Q, before)
    assert trainer.step == 1


def test_a_warm_start_takes_the_parameters_only(settings, text):
    donor = build(settings(**ALL_PENALTIES), text())
    advance(donor, 5)
    taker = build(settings(seed=3), text())
    taker.warm_start(through_json(donor.snapshot()))
    assert taker.step == 0
    for a, b, average in zip(donor.params, taker.params, taker.ema, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(average, b)
    assert not taker.snapshot().tensors["optimizer"]
    assert taker.advance()["train/lr"] == pytest.approx(1e-2 / 3)


@pytest.mark.parametrize("verb", ["warm_start", "restore"])
@pytest.mark.parametrize(
    ("fields", "text_fields", "message"),
    [
        ({"width": 16}, {}, r"width: the checkpoint has 8, this run has 16"),
        ({"heads": 4}, {}, r"heads: the checkpoint has 2, this run has 4"),
        ({"ffn_factor": 3}, {}, r"ffn_factor: the checkpoint has 2, this run has 3"),
        ({"context": 4}, {}, r"context: the checkpoint has 5, this run has 4"),
        ({}, {"vocabulary": 13}, r"vocabulary: the checkpoint has 11, this run has 13"),
        ({}, {"tokenizer_hash": "other"}, r"tokenizer_hash: .*'toy'.*'other'"),
        ({"width": 16, "heads": 4}, {}, r"width: .*; heads: "),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    settings, text, verb, fields, text_fields, message
):
    snapshot = build(settings(), text()).snapshot()
    other = build(settings(**fields), text(**text_fields))
    with pytest.raises(BadCheckpoint, match=message):
        getattr(other, verb)(snapshot)


def test_a_checkpoint_with_missing_or_misshapen_tensors_is_refused(settings, text):
    trainer = build(settings(), text())
    trainer.advance()
    good = trainer.snapshot()

    def spoiled(stem, tensors):
        return Snapshot(tensors={**good.tensors, stem: tensors}, scalars=good.scalars)

    model = good.tensors["model"]
    without = {k: v for k, v in model.items() if k != "W_Q"}
    misshapen = {**model, "W_Q": torch.zeros(3, 3)}
    for tensors, message in ((without, "W_Q"), (misshapen, r"model/W_Q has shape \(3, 3\)")):
        with pytest.raises(BadCheckpoint, match=message):
            build(settings(), text()).warm_start(spoiled("model", tensors))
    with pytest.raises(BadCheckpoint, match="optimizer"):
        build(settings(), text()).restore(spoiled("optimizer", {}))
    with pytest.raises(BadCheckpoint, match="no ema tensors"):
        only = {k: v for k, v in good.tensors.items() if k != "ema"}
        build(settings(), text()).restore(Snapshot(tensors=only, scalars=good.scalars))
    with pytest.raises(BadCheckpoint, match="identity"):
        build(settings(), text()).restore(Snapshot(tensors=good.tensors, scalars={}))


def test_a_rollback_may_change_the_penalties(settings, text):
    donor = build(settings(), text())
    advance(donor, 3)
    other = build(settings(resreg=0.2, jacreg={"weight": 0.1}), text())
    other.restore(donor.snapshot())
    metrics = other.advance()
    assert other.step == 4
    assert metrics["train/jr"] == 0.1
    assert metrics["train/resreg"] > 0


def test_runs_that_differ_in_the_estimator_see_the_same_data(settings, text):
    ce = {
        estimator: build(settings(estimator=estimator), text()).advance()["train/ce"]
        for estimator in ("rbp", "ep", "bptt")
    }
    assert ce["rbp"] == ce["ep"] == pytest.approx(ce["bptt"], rel=1e-6)


def test_the_description_names_what_runs(settings, text):
    facts = build(settings(), text()).describe()
    assert facts["parameters"] == 11 * 8 + 5 * 8 + 4 * 8 + 4 * 64 + 2 * 8 * 16 + 16 + 8 + 8 * 11
    assert facts["device"] == "cpu"
    assert json.dumps(dict(facts))


def test_a_text_too_short_for_one_window_is_refused_before_the_first_step(settings, tmp_path):
    """Either part: training needs context + 1 tokens, validation one more for each further sequence."""
    path = tmp_path / "text.txt"
    path.write_text("t" * 5 + "v" * 40)
    chosen = settings(data={"path": str(path), "validation_fraction": 8 / 9})
    with pytest.raises(CouldNotStart, match=r"train part has 5 tokens.*context 5 need 6"):
        build(chosen, load(chosen.data, 0, tmp_path))
    path.write_text("t" * 40 + "v" * 5)
    chosen = settings(data={"path": str(path), "validation_fraction": 1 / 9})
    with pytest.raises(CouldNotStart, match=r"validation part has 5 tokens"):
        build(chosen, load(chosen.data, 0, tmp_path))


@pytest.mark.parametrize(
    ("verb", "stem", "name"),
    [
        ("restore", "model", "W_1"),
        ("warm_start", "model", "E"),
        ("restore", "ema", "ln1_gain"),
        ("restore", "optimizer", "W_h.exp_avg_sq"),
    ],
)
def test_a_checkpoint_with_a_number_that_is_none_is_refused_by_the_tensors_name(
    settings, text, verb, stem, name
):
    donor = build(settings(), text())
    donor.advance()
    snapshot = donor.snapshot()
    snapshot.tensors[stem][name].view(-1)[1] = math.nan
    taker = build(settings(), text())
    before = taker.snapshot()
    with pytest.raises(BadCheckpoint, match=rf"{stem}/{name} .* not finite"):
        getattr(taker, verb)(snapshot)
    assert_same(taker.snapshot(), before)


def test_a_run_on_token_ids_trains_and_reports_bits_only_where_they_are_known(settings, tmp_path):
    path = tmp_path / "ids.bin"
    (np.arange(4000) * 7 % 11).astype("<u2").tofile(path)
    for width in (None, 4.0):
        data = {"kind": "tokens", "path": str(path), "vocabulary": 11, "bytes_per_token": width}
        chosen = settings(data=data)
        trainer = build(chosen, load(chosen.data, 0, tmp_path))
        trainer.advance()
        m = trainer.evaluate()
        assert ("val/bits_per_byte" in m) == (width is not None)
        assert trainer.describe()["vocabulary"] == 11


def test_residual_and_spectrum_are_measured_on_parameters_and_average(settings, text):
    """Set apart by hand, each figure follows its own parameters."""
    trainer = build(settings(checkpoints={"every": 1}), text())
    trainer.advance()
    m = {**trainer.evaluate(), **trainer.evidence().metrics}
    with torch.no_grad():
        for name in ("W_O", "W_2"):
            getattr(trainer.ema, name).zero_()
    n = {**trainer.evaluate(), **trainer.evidence().metrics}
    assert n["spectrum/max_re_mu_ema"] == pytest.approx(-2.0)
    assert n["spectrum/max_re_mu"] == m["spectrum/max_re_mu"] > -2.0
    assert n["residual/T1"] == m["residual/T1"]
    assert n["residual/T1_ema"] < 1e-6 < m["residual/T1_ema"]
    assert n["val/ce"] == m["val/ce"]
    assert n["val/ce_ema"] != m["val/ce_ema"]
