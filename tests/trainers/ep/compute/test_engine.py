"""The graphed engine's bookkeeping, its graphs replaced by plain calls: buffers, names, early TF32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, init
from trainers.ep.compute import engine as module
from trainers.ep.compute.engine import Graphed, engine_for
from trainers.ep.compute.plain import PLAIN
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import equilibrium, solve_adjoint, task_gradient


class Called:
    """Stands in for a Replay: the same function, called."""

    def __init__(self, function: Any, *, resident: int, pool: object) -> None:
        self._function = function
        self.resident = resident

    def __call__(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = self._function(*arguments)
        return found


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "Replay", Called)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    return lambda of: Graphed(of.compute)


def settings(**more: Any) -> EpTrainer:
    given = {
        "width": 16, "heads": 2, "context": 8, "batch": 3, "init_scale": 0.3,
        "relaxation": {"T1": 25, "t1max": 60}, "adjoint": {"max_steps": 30},
    }  # fmt: skip
    return EpTrainer.model_validate({"kind": "ep", **given, **more})


def drawn(of: EpTrainer, seed: int = 0) -> tuple[Params, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    params = Params(*(t.requires_grad_() for t in init(of, 11, source, torch.float64)))
    words = torch.randint(11, (of.batch, of.context + 1), generator=source)
    return params, words[:, :-1].contiguous(), words[:, 1:].contiguous()


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("estimator", ["rbp", "ep", "exact", "holomorphic"])
def test_its_gradient_is_the_plain_one(graphed: Any, estimator: str, qk_norm: bool) -> None:
    of = settings(estimator=estimator, qk_norm=qk_norm)
    engine = graphed(of)
    for seed in (0, 1):  # the second time the buffers are filled anew
        params, idx, y = drawn(of, seed)
        plain = task_gradient(params, of, idx, y).gradient
        for ours, theirs in zip(
            task_gradient(params, of, idx, y, engine).gradient, plain, strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_the_tables_of_krylov_bases_stay_and_grow_only_when_they_must(graphed: Any) -> None:
    of = settings()
    engine = graphed(of)
    z = torch.randn(3, 8, 16)
    small = engine.krylov(z, 10)
    assert engine.krylov(z, 7) is engine.krylov(z, 10) is small
    assert engine.krylov(z, 12).longest == 12
    assert engine.krylov(z[:2], 5).shape == (2, 8, 16)
    assert engine.krylov(z, 12).shape == z.shape


@pytest.mark.parametrize("restart", [30, 7])
def test_an_adjoint_solved_in_tables_that_were_used_before_is_the_plain_one(
    graphed: Any, restart: int
) -> None:
    """Three in a row: what an earlier, longer basis left in the tables is not read."""
    of = settings(
        estimator="exact", adjoint={"max_steps": 90, "restart": restart, "check_every": 4}
    )
    engine = graphed(of)
    for seed, tolerance in ((0, 1e-9), (1, 1e-2), (2, 1e-6)):
        chosen = of.model_copy(
            update={"adjoint": of.adjoint.model_copy(update={"tolerance": tolerance})}
        )
        params, idx, y = drawn(of, seed)
        policy = RelaxPolicy.of(of)
        with torch.no_grad():
            plain, state = equilibrium(params, of, policy, idx, y, PLAIN)
            system, found = equilibrium(params, of, policy, idx, y, engine)
            expected = solve_adjoint(plain, state.z, chosen)
            ours = solve_adjoint(system, found.z, chosen)
        assert 0 <= ours.record.steps - expected.record.steps <= 4, "begun before they were needed"
        torch.testing.assert_close(ours.a, expected.a, rtol=1e-7, atol=1e-9)


def test_batches_of_several_shapes_take_turns(graphed: Any) -> None:
    of = settings()
    engine = graphed(of)
    for batch in (3, 1, 3, 2):
        params, idx, y = drawn(of.model_copy(update={"batch": batch}), batch)
        policy = RelaxPolicy.of(of)
        _, expected = equilibrium(params, of, policy, idx, y, PLAIN)
        _, found = equilibrium(params, of, policy, idx, y, engine)
        torch.testing.assert_close(found.z, expected.z)


def test_float64_on_request_leaves_the_buffers(graphed: Any) -> None:
    of = settings(estimator="exact", adjoint={"precision": "float64", "tolerance": 1e-9})
    params, idx, y = drawn(of)
    params = Params(*(t.detach().float().requires_grad_() for t in params))
    with torch.no_grad():
        system, relaxed = equilibrium(params, of, RelaxPolicy.of(of), idx, y, graphed(of))
        adjoint = solve_adjoint(system, relaxed.z, of)
    assert adjoint.a.dtype is torch.float64
    assert adjoint.record.converged


@pytest.mark.parametrize(
    ("tf32_steps", "walks", "early"),
    [(0, (40, 10), [False] * 5), (20, (40, 10), [True] * 2 + [False] * 3),
     (25, (40,), [True] * 2 + [False] * 2), (60, (40, 30), [True] * 6 + [False])],
)  # fmt: skip
def test_tf32_serves_the_first_steps_of_a_relaxation_only(
    graphed: Any, monkeypatch: pytest.MonkeyPatch, tf32_steps: int, walks: Any, early: list[bool]
) -> None:
    of = settings(compute={"tf32_steps": tf32_steps}, relaxation={"T1": 70, "t1max": 70})
    params, idx, y = drawn(of)
    used: list[bool] = []
    monkeypatch.setattr(
        module.GraphedSystem,
        "_unrolled",
        lambda self, z, eps, *, tf32: used.append(tf32) or z,  # type: ignore[func-returns-value]
    )
    with torch.no_grad():
        system, _ = equilibrium(params, of, RelaxPolicy.of(of), idx, y, graphed(of))
        used.clear()
        walk = system.walk
        for steps in walks:
            walk(system.force, system.x, 0.1, steps)
    assert used == early


def test_a_cpu_and_a_noisy_force_are_served_plainly() -> None:
    assert engine_for(settings(), torch.device("cpu")) is PLAIN
    assert engine_for(settings(fnoise=0.1), torch.device("cuda")) is PLAIN
