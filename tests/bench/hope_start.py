"""``python -m tests.bench.hope_start``: what the documented model does before it has learnt anything. No times.

Six H blocks of width 384 on the clips of the tests, whose states are zero, and whose actions are after the first; at the
end, the first steps of a small run on clips of the puck. Depends on nothing but the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from specs.load import load
from specs.trainer_hope import HopeModel, HopeTrainer, Losses
from tests.trainers.hope import small
from trainers.data import clips
from trainers.hope import gradients
from trainers.hope.blocks import Pass
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor
from trainers.hope.observed import memory_metrics
from trainers.hope.trainer import build
from trainers.protocol import NonFinite

SPECS = Path(__file__).parents[2] / "specs"
WIDTH, DEPTH, CONTEXT = 384, 6, 7
SAMPLES = 2
INTERVALS = (1, 2, 4, 0)
STARTS: Mapping[str, Mapping[str, Any]] = {
    "as documented": {},
    "conditioning_bias_std .02": {"conditioning_bias_std": 0.02},
    "temporal_embeddings": {"temporal_embeddings": True},
    "skip_conditioning": {"memories": {"skip_conditioning": True}},
}


def main() -> None:
    torch.set_num_threads(1)
    print("size of a token's components, by how much one H block amplifies its gradient")
    for size in (0.0, 1e-4, 1e-2, 0.6):
        print(f"{size:8}  {_amplification(size):.1e}")
    print("start, interval: tensors without a finite gradient; norm by block, 5 .. 0")
    for what, fields in STARTS.items():
        for interval in INTERVALS:
            found = _gradient(interval, fields)
            by_block = ", ".join(f"{norm:.1e}" for norm in found.blocks.flip(0).tolist())
            print(f"{what}, {interval}: {int(found.bad)}; {by_block}")
    print("alpha_offset  retention  change of a jump's output by what a teacher pass wrote")
    for offset in (0.0, 2.0, 4.0):
        model, batch = _predictor(memories={"alpha_offset": offset}), _batch()
        print(f"{offset:12}  {_retention(model, batch):9.3f}  {_leak(model, batch):.1e}")
    print(
        "p2_as_documented, profile laptop, with fewer blocks: norm of the gradient in its first steps"
    )
    for blocks in range(2, DEPTH + 1):
        print(f"{blocks}  {_first_norms('p2_as_documented', 'H' * blocks)}")


def _settings(pattern: str, **fields: object) -> HopeModel:
    return HopeModel.model_validate(
        {"pattern": pattern, "width": WIDTH, "drop_path": 0.0, **fields}
    )


def _predictor(**fields: object) -> Predictor:
    return small.predictor(_settings("H" * DEPTH, **fields), context=CONTEXT, dtype=torch.float32)


def _batch() -> Batch:
    return small.batch(SAMPLES, context=CONTEXT, dtype=torch.float32)


def _amplification(size: float) -> float:
    """|| J^T v || / || v || for the action token of a frame whose other tokens are N(0, .6^2), v ~ N(0, I)."""
    block = small.predictor(_settings("H")).blocks[0]
    source = torch.Generator().manual_seed(5)
    how = Pass(grid=small.GRID)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    x = 0.6 * normal(1, how.frame_tokens, WIDTH)
    x[:, 0] = size * normal(WIDTH)
    v = normal(WIDTH)
    (found,) = torch.autograd.grad(block(x.requires_grad_(), None, how).x[0, 0] @ v, x)
    return float(found[0, 0].norm() / v.norm())


def _gradient(interval: int, fields: Mapping[str, Any]) -> gradients.Norms:
    """Of teacher and jump together, in float32, without the auxiliary loss."""
    memories = {"detach_interval": interval, **fields.get("memories", {})}
    model = _predictor(**{**fields, "memories": memories})
    tau = torch.tensor([5, CONTEXT])
    lost(model, _batch(), Losses(auxiliary=0.0), tau).total.backward()
    return gradients.norms(gradients.present(model), DEPTH)


@torch.no_grad()
def _retention(model: Predictor, batch: Batch) -> float:
    passed = model(batch.inputs())
    return float(memory_metrics(model.blocks, passed.records)["memory/retention"])


@torch.no_grad()
def _leak(model: Predictor, batch: Batch) -> float:
    """Norm of the change over that of the output."""
    states = model(batch.inputs(), keep_state=True).states
    first, tau = batch.inputs().first(1), torch.tensor([5, CONTEXT])
    fresh = model(first, target=tau).features
    return float((model(first, states, target=tau).features - fresh).norm() / fresh.norm())


def _first_norms(run: str, pattern: str) -> str:
    """Before the clip, of three training steps; or what was not finite."""
    changed = (f"{run}.trainer.model.pattern={pattern}",)
    settings = (
        load(SPECS / "hope_fixed.yaml", profile="laptop", sets=changed).spec.runs[run].trainer
    )
    assert isinstance(settings, HopeTrainer) and settings.continual is not None
    with TemporaryDirectory() as cache:
        source = clips.load(
            settings.data,
            settings.seed,
            Path(cache),
            tasks=tasks_of(settings),
            held_out=settings.continual.held_out,
        )
        trainer = build(settings, source, device=torch.device("cpu"))
        try:
            return ", ".join(f"{trainer.advance()['train/grad_norm']:.1e}" for _ in range(3))
        except NonFinite as error:
            return f"{error}"


if __name__ == "__main__":
    main()
