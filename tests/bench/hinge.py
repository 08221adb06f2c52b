"""What the spectral hinge adds to a training step, on one CPU thread: power steps, and the gradient of its penalty.

The gradient over the active tokens alone stands beside that over all tokens, which is what it replaces and equals.
Whole steps are those of a block of which few tokens are active, as in training; two steps are one sample, so that a
hinge in every second one is seen in full.
The parts take turns, so that a machine that slowly becomes slower favours none, and CPU time is counted, which other
users of the machine change least.
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
from trainers.ep.step import step_gradient
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
        "hinge": {"ratio": 0.3, "margin": 0.5, "power_steps": 12, "every": 1},
    }
)

NO_HINGE = "two steps without the hinge"
STEPS: Mapping[str, Mapping[str, object]] = {
    NO_HINGE: {"ratio": 0.0},
    "two steps with the hinge": {},
    "every: 2": {"every": 2},
    "every: 4": {"every": 4},
    "sequences: 2 of 8": {"sequences": 2},
    "power_steps: 4": {"power_steps": 4},
}
"""Settings of the hinge of whole steps; ``every: 4`` is due in one of two samples."""

Part = Callable[[], object]


def measure(stage: Stage) -> Result:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parts = _in_turns(_parts(), ROUNDS * stage.more)
        steps = _in_turns(_steps(), ROUNDS * stage.more)
    finally:
        torch.set_num_threads(before)
    rows = tuple(
        Row(what=what, samples=tuple(seconds), against=None if what == first else first)
        for first, samples in ((_FORCE, parts), (NO_HINGE, steps))
        for what, seconds in samples.items()
    )
    size = f"C={SETTINGS.width} T={SETTINGS.context} B={SETTINGS.batch}"
    return Result(
        name="hinge", title=f"the spectral hinge, CPU time of one thread, {size}", rows=rows
    )


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


def _steps() -> Mapping[str, Part]:
    """Whole gradients of two training steps, of a block with an active token or two."""
    rough = SETTINGS.model_copy(update={"init_scale": 0.5, "damping": 0.0})
    source = generator(0, 0, Purpose.INIT)
    params = Params(*(t.requires_grad_() for t in init(rough, VOCABULARY, source)))
    shape = (rough.batch, rough.context)
    idx, y = (torch.randint(VOCABULARY, shape, generator=source) for _ in range(2))
    return {
        what: _TwoSteps(
            partial(step_gradient, params, _hinged(rough, more), idx, y, jr=0.0, accepted_norm=1.0)
        )
        for what, more in STEPS.items()
    }


def _hinged(settings: EpTrainer, more: Mapping[str, object]) -> EpTrainer:
    return settings.model_copy(update={"hinge": settings.hinge.model_copy(update=dict(more))})


class _TwoSteps:
    """The next two training steps at each call."""

    def __init__(self, gradient: Callable[..., object]) -> None:
        self._gradient, self._step = gradient, 0

    def __call__(self) -> None:
        for _ in range(2):
            self._gradient(step=self._step)
            self._step += 1


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
            began = time.process_time()
            part()
            samples[what].append(time.process_time() - began)
    return samples
