"""A forward pass never waits for a number: on a GPU each would stop the queue of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from specs.trainer_hope import Losses
from tests.support.naive_hope import naive
from tests.trainers.hope import small
from trainers.hope.losses import lost

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense,  # item(), float(), bool(), int()
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
}
SETTINGS = [
    {"scope": scope, "surprise_threshold": threshold, "detach_interval": interval}
    for scope in ("shared", "per_sample")
    for threshold in (0.0, 3.0)
    for interval in (0, 2)
]


class WaitedForANumber(AssertionError):
    pass


def _picks_by_booleans(func: Any, args: Any) -> bool:
    """Their number decides the shape, so a GPU has to be asked for it."""
    if func.overloadpacket not in (aten.index, aten.index_put, aten.index_put_):
        return False
    return any(t is not None and t.dtype is torch.bool for t in args[1])


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in WAITS or _picks_by_booleans(func, args):
            raise WaitedForANumber(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memories", SETTINGS, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("pattern", ["HH", "UU", "TT", "HTU"])
def test_a_forward_pass_waits_for_no_number(pattern: str, memories: dict[str, Any]) -> None:
    """Teacher, rollout, jump and auxiliary loss, with everything that a model may have."""
    cms = {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True}
    of = small.settings(
        pattern=pattern, memories=memories, cms=cms, spatial_mixing=True, temporal_embeddings=True
    )
    model, batch = small.predictor(of), small.batch()
    tau = torch.tensor([3, 4])
    with NoWaiting():
        lost(model, batch, Losses(rollout=1.0, rollout_frames=3), tau)
        with torch.no_grad():
            model(batch.inputs(), keep_state=True)


def test_the_rank_one_preconditioner_waits_for_none_either() -> None:
    model = small.predictor(small.settings(memories={"preconditioner": "rank1"}))
    with NoWaiting():
        model(small.batch().inputs(), keep_state=True)


@pytest.mark.parametrize(
    "wait", [lambda t: t.sum().item(), lambda t: bool(t.any()), lambda t: t[t > 0]]
)
def test_waiting_would_be_seen(wait: Callable[[torch.Tensor], object]) -> None:
    t = torch.ones(3)
    with pytest.raises(WaitedForANumber), NoWaiting():
        wait(t)


def test_the_documented_layer_waits() -> None:
    model = naive(small.predictor(small.settings()))
    with pytest.raises(WaitedForANumber), NoWaiting():
        model(small.batch().inputs())
