"""Which settings of a HOPE trainer change nothing, given the others. docs/hope.md, section 7.

Most belong to some letters of the pattern: a setting of blocks that it has not got is read by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from specs.trainer_hope import HopeTrainer

REMEMBERING, ATTENDING = "HU", "TU"

OF_LETTERS = {
    REMEMBERING: (
        "model.memories",
        "model.cms",
        "losses.isolate_state",
        "optimizer.titan_scale",
        "optimizer.titan_weight_decay",
        "optimizer.cms_scale",
    ),
    ATTENDING: ("model.heads", "model.rope", "optimizer.attention_scale"),
    "T": ("model.mlp_ratio",),
}
"""Letters -> what is read by blocks of one of them alone."""

OF_OPTIMIZERS = {
    "m3": (
        "optimizer.m3_form",
        "optimizer.m3_slow_every",
        "optimizer.m3_beta_slow",
        "optimizer.m3_alpha",
    ),
    "muon": ("optimizer.momentum",),
}


def idle(trainer: HopeTrainer) -> Iterator[tuple[str, str]]:
    """Dotted paths of settings, or of sections, that change nothing, and why."""
    pattern = trainer.model.pattern
    for letters, fields in OF_LETTERS.items():
        if not set(letters) & set(pattern):
            yield from ((field, _no_block(letters, pattern)) for field in fields)
    if trainer.model.spatial_mixing and "H" not in pattern:
        yield "model.spatial_mixing", _no_block("H", pattern)
    if trainer.losses.auxiliary > 0 and not set(REMEMBERING) & set(pattern):
        yield "losses.auxiliary", _no_block(REMEMBERING, pattern)
    for kind, fields in OF_OPTIMIZERS.items():
        if trainer.optimizer.kind != kind:
            why = f"optimizer.kind is {trainer.optimizer.kind}, not {kind}"
            yield from ((field, why) for field in fields)
    yield from _of_losses(trainer)
    if not trainer.model.temporal_embeddings:
        yield "model.embedding_std", "model.temporal_embeddings is false"


def _of_losses(trainer: HopeTrainer) -> Iterator[tuple[str, str]]:
    if trainer.losses.rollout == 0:
        for field in ("losses.context_frames", "losses.rollout_frames"):
            yield field, "losses.rollout is 0"
    if trainer.losses.jump == 0:
        yield "losses.jump_last", "losses.jump is 0"
    if trainer.continual is not None and trainer.continual.order == "joint":
        for field in ("task_epochs", "task_lr", "replay"):
            yield (
                f"continual.{field}",
                "continual.order is joint: all clips are learnt in one phase",
            )


def _no_block(letters: str, pattern: str) -> str:
    return f"pattern {pattern} has no {' or '.join(letters)} block"
