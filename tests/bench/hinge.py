"""What the spectral hinge adds to a training step, on one CPU thread: power steps, and the gradient of its penalty.

The gradient over the active tokens alone stands beside that over all tokens, which is what it replaces and equals.
The parts take turns, so that a machine that slowly becomes slower favours none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from tests.bench.report import Result, Row
from tests.bench.stage import Stage
from trainers.ep.block import Params, embed, fold, force, init
from trainers.ep.draws import Purpose, generator
from trainers.ep.linearise import linearise
from trainers.ep.penalties import HingePower, hinge_penalty, hinge_power
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import equilibrium, task_gradient

ROUNDS = 40
VOCABULARY = 97
ACTIVE = (1, 4, 16, 256)

SETTINGS = EpTrainer.model_validate(
    {
        "kind": "ep",
        "width": 64,
        "heads": 4,
        "context": 32,
        "batch": 8,
        "device": "cpu",
        "relaxation": {"T1": 40, "t1max": 40},
        "adjoint": {"max_steps": 40, "tolerance": 1e-12},
        "hinge": {"ratio": 0.3, "margin": 0.5, "power_steps": 12},
    }
)

Part = Callable[[], object]


def measure(stage: Stage) -> Result:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        samples = _in_turns(_parts(), ROUNDS * stage.more)
    finally:
        torch.set_num_threads(before)
    rows = tuple(
        Row(what=what, samples=tuple(seconds), against=None if what == _FORCE else _FORCE)
        for what, seconds in samples.items()
    )
    size = f"C={SETTINGS.width} T={SETTINGS.context} B={SETTINGS.batch}"
    return Result(name="hinge", title=f"the spectral hinge, one CPU thread, {size}", rows=rows)


_FORCE = "one force"


def _parts() -> Mapping[str, Part]:
    source = generator(0, 0, Purpose.INIT)
    params = Params(*(t.requires_grad_() for t in init(SETTINGS, VOCABULARY, source)))
    shape = (SETTINGS.batch, SETTINGS.context)
    idx, y = (torch.randint(VOCABULARY, shape, generator=source) for _ in range(2))
    _, relaxed = equilibrium(params, SETTINGS, RelaxPolicy.of(SETTINGS), idx, y)
    z, v = relaxed.z, torch.randn(relaxed.z.shape, generator=source)
    with torch.no_grad():
        block, x = fold(params, SETTINGS), embed(params, idx)
        power = hinge_power(linearise(block, z), v, SETTINGS.hinge)
    parts: dict[str, Part] = {
        _FORCE: torch.no_grad()(partial(force, block, z, x)),
        "linearisation and 12 power steps": torch.no_grad()(
            lambda: hinge_power(linearise(block, z), v, SETTINGS.hinge)
        ),
    }
    for count in ACTIVE:
        some = _with_active(power, count)
        parts[f"gradient, {count} of {idx.numel()} tokens active"] = partial(_ours, params, z, some)
        parts[f"the same over all tokens, {count} active"] = partial(_over_all, params, z, some)
    parts["a task gradient, 40 + 40 steps"] = partial(task_gradient, params, SETTINGS, idx, y)
    return parts


def _with_active(power: HingePower, count: int) -> HingePower:
    """The same directions, of which the ``count`` fastest growing tokens are above the margin."""
    growth = torch.zeros_like(power.growth).flatten()
    growth[power.growth.flatten().topk(count).indices] = 1.0
    return HingePower(v=power.v, growth=growth.view_as(power.growth))


def _ours(params: Params, z: Tensor, power: HingePower) -> tuple[Tensor, ...]:
    penalty = hinge_penalty(fold(params, SETTINGS), z, power, SETTINGS.hinge)
    return torch.autograd.grad(penalty, params.of_force, allow_unused=True)


def _over_all(params: Params, z: Tensor, power: HingePower) -> tuple[Tensor, ...]:
    J, eps = linearise(fold(params, SETTINGS), z), SETTINGS.hinge.eps
    growth = torch.linalg.vector_norm(torch.add(power.v, J.self_jvp(power.v), alpha=eps), dim=-1)
    excess = torch.relu(growth - (1 - eps * SETTINGS.hinge.margin)) * power.active(SETTINGS.hinge)
    return torch.autograd.grad(excess.square().mean(), params.of_force, allow_unused=True)


def _in_turns(parts: Mapping[str, Part], rounds: int) -> Mapping[str, list[float]]:
    samples: dict[str, list[float]] = {what: [] for what in parts}
    for part in parts.values():
        part()
    for _ in range(rounds):
        for what, part in parts.items():
            began = time.perf_counter()
            part()
            samples[what].append(time.perf_counter() - began)
    return samples
