"""Laws of the probe memory: what is kept and written, and whether it helps."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainers.hope.small import CONTEXT
from trainers.hope.losses import lost
from trainers.hope.observed import retention
from trainers.hope.probes import memory
from trainers.hope.probes.memory import Options, compared

EACH = [
    {},
    {"memories": {"scope": "per_sample"}},
    {"pattern": "TUH"},
    {"memories": {"preconditioner": "rank1"}},
]


def of(part, rows):
    return [row for row in rows if row.part == part]


@pytest.mark.parametrize("model", EACH, ids=["shared", "per_sample", "TUH", "rank1"])
def test_there_is_a_row_a_memory_and_a_curve_point_a_write(model, probed, said):
    _, opened = probed(model=model)
    rows = memory.probe(opened, Options(), None, said.append)
    pattern = opened.settings.model.pattern
    assert len(of("memory", rows)) == 5 * pattern.count("H") + pattern.count("U")
    for row in of("memory", rows):
        assert row.retention[0] == row.kept_by_write[0] == 1.0
        assert len(row.retention) == CONTEXT + 1
        assert len(row.writes) == len(row.p_mean) == len(row.gate) == CONTEXT
    assert [row.frame for row in of("frame", rows)] == list(range(1, CONTEXT + 1))


@pytest.mark.parametrize("model", EACH[:3], ids=["shared", "per_sample", "TUH"])
def test_what_is_kept_is_what_the_metric_retention_measures(model, probed, said):
    """The metric is of a block, over its memories: their kept norms, weighted by how large each began."""
    _, opened = probed(model=model)
    (batch, *_) = opened.unlearnt(None)
    rows = of("memory", memory.probe(opened, Options(), None, said.append))
    passed = opened.model(batch.inputs(), keep_state=True)
    for number, block in enumerate(opened.model.blocks):
        own = [row for row in rows if row.block == number]
        if not own:
            continue
        begun = [
            float(m.W1.square().sum() + m.W2.square().sum()) for m in block.titan.memories.values()
        ]
        weighted = sum(row.kept**2 * size for row, size in zip(own, begun, strict=True))
        expected = float(retention(block, passed.records[number]))
        assert math.sqrt(weighted / sum(begun)) == pytest.approx(expected, rel=1e-5)


def test_the_documents_retention_is_halved_at_every_write_and_ours_is_not(probed, said):
    for offset, low, high in ((0.0, 0.4**CONTEXT, 0.6**CONTEXT), (4.0, 0.85, 1.0)):
        _, opened = probed(model={"memories": {"alpha_offset": offset}})
        rows = of("memory", memory.probe(opened, Options(), None, said.append))
        assert all(low < row.kept < high for row in rows)


def test_a_gate_that_nobody_passes_writes_nothing_and_changes_no_error(probed, said):
    _, opened = probed(model={"memories": {"surprise_threshold": 1e6}})
    *rows, whole = memory.probe(opened, Options(), None, said.append)
    for row in of("memory", rows):
        assert set(row.gate) == {0.0}
        assert set(row.writes) == {0.0}
        assert set(row.retention) == {1.0}
    assert whole.gain == 0.0
    assert "writes change nothing" in whole.finding


def test_the_first_frame_is_read_before_anything_is_written(probed, said):
    _, opened = probed()
    first, second, *_ = of("frame", memory.probe(opened, Options(), None, said.append))
    assert first.gain == 0.0
    assert second.gain != 0.0


def test_the_error_with_writes_is_the_teacher_loss(probed, said):
    _, opened = probed(batch=8)
    *_, whole = memory.probe(opened, Options(), None, said.append)
    (batch,) = opened.unlearnt(None)
    tau = torch.full((len(batch.features),), CONTEXT)
    teacher = lost(opened.model, batch, opened.settings.losses, tau).parts["loss/teacher"]
    assert whole.error == pytest.approx(float(teacher), rel=1e-6)


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ([0.2, 0.21, 0.19, 0.2], "writes lower the error by 20.00%"),
        ([-0.2, -0.21, -0.19, -0.2], "writes raise the error by 20.00%"),
        ([0.2, -0.2, 0.1, -0.1], "no difference beyond 2 standard errors"),
        ([0.2], "of one clip nobody knows the spread"),
    ],
)
def test_a_difference_is_one_beyond_two_standard_errors_over_clips(gains, says):
    off = torch.ones(len(gains), dtype=torch.float64)
    row = compared(off - torch.tensor(gains, dtype=torch.float64), off, 1)
    assert says in row.finding
    if len(gains) > 1:
        spread = torch.tensor(gains, dtype=torch.float64).std() / math.sqrt(len(gains))
        assert row.gain_se == pytest.approx(float(spread))


def test_without_memories_it_says_so(probed, said):
    _, opened = probed(model={"pattern": "TT"})
    with pytest.raises(ValueError, match="have no memories"):
        memory.probe(opened, Options(), None, said.append)
