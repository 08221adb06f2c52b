"""CUDA graphs, compilation and TF32 products against the plain system. Needs an NVIDIA GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, fold, init, start
from trainers.ep.compute.engine import engine_for
from trainers.ep.compute.plain import PLAIN
from trainers.ep.relax import RelaxPolicy, euler
from trainers.ep.task import equilibrium, solve_adjoint, task_gradient

pytestmark = pytest.mark.gpu

WAYS = {
    "graphs": ({"cuda_graphs": True}, 1e-5),
    "compiled": ({"compile": True}, 1e-5),
    "3xtf32": ({"products": "3xtf32"}, 1e-5),
    "early TF32": ({"tf32_steps": 20}, 1e-4),
}


def settings(compute: dict[str, Any], **more: Any) -> EpTrainer:
    given = {
        "width": 64, "heads": 4, "context": 32, "batch": 8, "init_scale": 0.3, "resreg": 0.2,
        "relaxation": {"T1": 65, "t1max": 120, "tolerance": 1e-7},
        "adjoint": {"max_steps": 60, "tolerance": 1e-6},
    }  # fmt: skip
    return EpTrainer(kind="ep", compute=compute, **given | more)


def drawn(of: EpTrainer, seed: int = 0) -> tuple[Params, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    params = Params(*(t.cuda().requires_grad_() for t in init(of, 97, source)))
    words = torch.randint(97, (of.batch, of.context + 1), generator=source).cuda()
    return params, words[:, :-1].contiguous(), words[:, 1:].contiguous()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("way", WAYS)
def test_every_way_reaches_the_plain_state_and_the_plain_adjoint(way: str) -> None:
    compute, near = WAYS[way]
    of = settings(compute)
    params, idx, y = drawn(of)
    policy = RelaxPolicy.of(of)
    plain, expected = equilibrium(params, of, policy, idx, y, PLAIN)
    engine = engine_for(of, torch.device("cuda"))
    assert engine is not PLAIN
    for _ in range(2):  # captured, then replayed
        system, found = equilibrium(params, of, policy, idx, y, engine)
        assert found.steps == expected.steps
        assert relative(found.z_ref, expected.z_ref) <= near
        a = solve_adjoint(system, found.z, of)
        assert relative(a.a, solve_adjoint(plain, expected.z, of).a) <= 10 * near


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("restart", [60, 13])
def test_krylov_bases_grown_in_graphs_solve_the_plain_adjoint(way: str, restart: int) -> None:
    compute, near = WAYS[way]
    of = settings(
        compute,
        estimator="exact",
        adjoint={"max_steps": 200, "tolerance": 10 * near, "restart": restart, "check_every": 5},
    )
    params, idx, y = drawn(of)
    engine = engine_for(of, torch.device("cuda"))
    for _ in range(3):  # captured, replayed, and on other weights
        plain, state = equilibrium(params, of, RelaxPolicy.of(of), idx, y, PLAIN)
        system, found = equilibrium(params, of, RelaxPolicy.of(of), idx, y, engine)
        a = solve_adjoint(system, found.z, of)
        assert a.record.converged
        assert relative(a.a, solve_adjoint(plain, state.z, of).a) <= 100 * near
        with torch.no_grad():
            for tensor in params:
                tensor *= 0.9


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_power_steps_in_one_graph_are_those_of_the_plain_self_blocks(way: str) -> None:
    compute, near = WAYS[way]
    of = settings(compute)
    params, idx, y = drawn(of)
    engine = engine_for(of, torch.device("cuda"))
    _, state = equilibrium(params, of, RelaxPolicy.of(of), idx, y, PLAIN)
    block, v = fold(params, of), torch.randn_like(state.z)
    for count in (8, 3, 8):
        found = engine.jacobian(block, state.z[:count]).self_power(v[:count], 0.3, 12)
        expected = PLAIN.jacobian(block, state.z[:count]).self_power(v[:count], 0.3, 12)
        assert relative(found.growth, expected.growth) <= 10 * near
        along = (found.v * expected.v).sum(-1)  # where two modes grow alike v is determined badly
        assert float(along.quantile(0.1)) >= 1 - 1e-3


def test_a_replay_follows_new_weights_inputs_and_shapes() -> None:
    of = settings({})
    engine = engine_for(of, torch.device("cuda"))
    for seed, batch in ((0, 8), (1, 8), (2, 3), (3, 8)):
        params, idx, y = drawn(of.model_copy(update={"batch": batch}), seed)
        policy = RelaxPolicy.of(of)
        _, expected = equilibrium(params, of, policy, idx, y, PLAIN)
        _, found = equilibrium(params, of, policy, idx, y, engine)
        assert relative(found.z_T1, expected.z_T1) <= 1e-5


def test_what_a_replay_returned_is_not_overwritten_by_the_next() -> None:
    of = settings({})
    params, idx, y = drawn(of)
    with torch.no_grad():
        system, _ = equilibrium(
            params, of, RelaxPolicy.of(of), idx, y, engine_for(of, torch.device("cuda"))
        )
        z = start(system.block, system.x)
        kept = system.force(z)
        before = kept.clone()
        system.force(2 * z)
        assert torch.equal(kept, before)


def test_early_steps_are_taken_in_tf32() -> None:

    of = settings({"tf32_steps": 40})
    params, idx, y = drawn(of)
    with torch.no_grad():
        system, _ = equilibrium(
            params, of, RelaxPolicy.of(of), idx, y, engine_for(of, torch.device("cuda"))
        )
        z = start(system.block, system.x)
        in_tf32 = system.walk(system.force, z, 0.1, 40)
        in_float32 = euler(system.force, z, 0.1, 40)
    assert 1e-7 < relative(in_tf32, in_float32) < 1e-2, "TF32 was used, and only TF32"


@torch.no_grad()
def test_self_blocks_of_some_sequences_are_the_plain_ones_and_spoil_no_graph_of_the_batch() -> None:
    of = settings({"compile": True})
    params, idx, y = drawn(of)
    engine = engine_for(of, torch.device("cuda"))
    plain, state = equilibrium(params, of, RelaxPolicy.of(of), idx, y, PLAIN)
    block, w = fold(params, of), torch.randn_like(state.z)
    for count in (8, 3, 8, 3):
        some = engine.jacobian(block, state.z[:count]).self_jvp(w[:count])
        expected = PLAIN.jacobian(block, state.z[:count]).self_jvp(w[:count])
        assert relative(some, expected) <= 1e-5
        system, found = equilibrium(params, of, RelaxPolicy.of(of), idx, y, engine)
        a = solve_adjoint(system, found.z, of).a
        assert relative(a, solve_adjoint(plain, state.z, of).a) <= 1e-4


@pytest.mark.parametrize("estimator", ["rbp", "ep", "exact"])
def test_the_gradient_of_a_step_is_the_plain_one(estimator: str) -> None:
    of = settings({}, estimator=estimator)
    params, idx, y = drawn(of)
    plain = task_gradient(params, of, idx, y)
    graphed = task_gradient(params, of, idx, y, engine_for(of, torch.device("cuda")))
    for ours, theirs in zip(graphed.gradient, plain.gradient, strict=True):
        assert relative(ours, theirs) <= 1e-3 or float(theirs.norm()) < 1e-6


@pytest.mark.parametrize("compute", [{}, {"compile": True}])
def test_backpropagation_as_one_graph_is_the_plain_one_and_follows_weights_and_batch(
    compute: dict[str, Any],
) -> None:
    of = settings(compute, estimator="bptt", relaxation={"T1": 65, "t1max": 65})
    engine = engine_for(of, torch.device("cuda"))
    params, idx, y = drawn(of)
    kept = []
    for _ in range(3):
        plain = task_gradient(params, of, idx, y)
        graphed = task_gradient(params, of, idx, y, engine)
        kept.append((plain, graphed))
        with torch.no_grad():
            for tensor, gradient in zip(params, plain.gradient, strict=True):
                tensor -= 0.1 * gradient
        idx, y = idx.roll(1, 0), y.roll(1, 0)
    for plain, graphed in kept:  # looked at last: no replay spoils what an earlier one returned
        assert relative(graphed.relaxed.z, plain.relaxed.z) <= 1e-5
        assert graphed.relaxed.hit_cap == plain.relaxed.hit_cap
        for ours, theirs in zip(graphed.gradient, plain.gradient, strict=True):
            assert relative(ours, theirs) <= 1e-3 or float(theirs.norm()) < 1e-6
