"""What the check of a campaign calls useless is so: changing it changes no number of a training."""

from __future__ import annotations

from typing import Any

import pytest

from specs.hope_idle import idle
from tests.trainers.hope import small

OTHER: dict[str, Any] = {
    "model.memories": {"mult": 3, "eta_max": 0.5, "alpha_offset": 2.0, "chunk_frames": 2},
    "model.cms": {"mults": (2.0,), "periods": (1,)},
    "model.heads": 4,
    "model.rope": "upstream",
    "model.mlp_ratio": 2.0,
    "model.embedding_std": 1.0,
    "model.spatial_mixing": True,
    "losses.isolate_state": False,
    "losses.auxiliary": 0.5,
    "losses.context_frames": 2,
    "losses.rollout_frames": 2,
    "losses.jump_last": 1,
    "optimizer.titan_scale": 0.9,
    "optimizer.titan_weight_decay": 0.5,
    "optimizer.cms_scale": 0.5,
    "optimizer.attention_scale": 0.5,
    "optimizer.m3_form": "paper",
    "optimizer.m3_slow_every": 1,
    "optimizer.m3_beta_slow": 0.1,
    "optimizer.m3_alpha": 2.0,
    "optimizer.momentum": 0.5,
}
"""Another value of every setting that may be idle."""

CASES = [
    ({"pattern": "T"}, {}),
    ({"pattern": "H"}, {}),
    ({"pattern": "U"}, {"jump": 0.0}),
]


def told(model: dict[str, Any], losses: dict[str, Any]) -> set[str]:
    """Paths that are called idle; mixing is off in `small`, and would be one where there is no H block."""
    found = {path for path, _ in idle(small.trainer(model=model, losses=losses))}
    return found | ({"model.spatial_mixing"} if model["pattern"] == "T" else set())


def numbers(model: dict[str, Any], losses: dict[str, Any], path: str = "") -> list[Any]:
    """What a short training measures, with another value at ``path``."""
    changed: Any = OTHER[path] if path else {}
    for name in reversed(path.split(".") if path else ()):
        changed = {name: changed}
    given = small.merged({"model": model, "losses": losses}, changed)
    trainer = small.training(**given)
    return [*(dict(trainer.advance()) for _ in range(3)), dict(trainer.evaluate())]


@pytest.mark.parametrize(("model", "losses"), CASES)
def test_changing_a_setting_that_is_called_idle_changes_no_number(
    model: dict[str, Any], losses: dict[str, Any]
) -> None:
    expected = numbers(model, losses)
    for path in sorted(told(model, losses)):
        assert numbers(model, losses, path) == expected, path


def test_of_every_setting_that_may_be_idle_another_value_is_tried() -> None:
    assert set().union(*(told(*case) for case in CASES)) == set(OTHER)
