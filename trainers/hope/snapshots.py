"""The state of the HOPE trainer as named tensors and JSON, and the check that it fits a trainer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from specs.files import BadCheckpoint
from specs.structure import shape_of
from specs.trainer_hope import HopeTrainer
from trainers.hope.continual.protocol import Phase, as_json
from trainers.hope.optim.optimisers import Optimisers, entries_of
from trainers.protocol import Snapshot
from trainers.snapshots import check_tensor, tensors_of

MODEL, OPTIMIZER, HELD = "model", "optimizer", "held"
SCALARS = frozenset(
    {"identity", "settings", "clips_sha256", "step", "phase", "phase_step", "replay", "matrix"}
)
"""Every entry of a snapshot's ``scalars``."""

STEP = "step"
"""The one entry of an optimiser's state that is no tensor of its parameter's shape."""


def shape(settings: HopeTrainer) -> dict[str, Any]:
    """What must be equal for parameters to mean the same in another run."""
    return {name: _plain(value) for name, value in shape_of(settings).items()}


def training(settings: HopeTrainer, phases: Sequence[Phase]) -> dict[str, Any]:
    """What must be equal besides, for a run to go on: where it stands, and what it remembers of gradients."""
    return {
        "optimizer.kind": settings.optimizer.kind,
        "optimizer.m3_form": settings.optimizer.m3_form,
        "model.cms.update_every": _plain(settings.model.cms.update_every),
        "phases": as_json(phases) if settings.continual else None,
    }


def _plain(value: object) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))


def named(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in parameters}


def optimiser_state(optimisers: Optimisers) -> dict[str, Tensor]:
    """``<parameter>/<entry>`` of every parameter that was moved already."""
    return named(
        (f"{optimisers.names[parameter]}/{entry}", value)
        for part in optimisers.parts
        for parameter, state in part.state.items()
        for entry, value in state.items()
    )


def parameters_of(snapshot: Snapshot, model: nn.Module) -> Mapping[str, Tensor]:
    """The parameters for ``model``. Raises BadCheckpoint unless they are exactly its own, and finite."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    return tensors_of(snapshot, MODEL, shapes)


def optimiser_state_of(
    snapshot: Snapshot, optimisers: Optimisers
) -> dict[nn.Parameter, dict[str, Tensor]]:
    """The state of each parameter that has one. Raises BadCheckpoint where it fits none, or not wholly."""
    parameters = {name: parameter for parameter, name in optimisers.names.items()}
    found: dict[nn.Parameter, dict[str, Tensor]] = {}
    for key, value in snapshot.tensors.get(OPTIMIZER, {}).items():
        name, _, entry = key.rpartition("/")
        if name not in parameters:
            raise BadCheckpoint(
                f"the optimiser of the checkpoint knows {name!r}, this model has none"
            )
        shape = torch.Size() if entry == STEP else parameters[name].shape
        check_tensor(f"{OPTIMIZER}/{key}", value, shape)
        found.setdefault(parameters[name], {})[entry] = value
    for part in optimisers.parts:
        _check_whole(part, found, optimisers.names)
    return found


def _check_whole(
    part: torch.optim.Optimizer,
    state: Mapping[nn.Parameter, Mapping[str, Tensor]],
    names: Mapping[nn.Parameter, str],
) -> None:
    expected = entries_of(part)
    for group in part.param_groups:
        for parameter in group["params"]:
            if parameter in state and state[parameter].keys() != expected:
                raise BadCheckpoint(
                    f"the optimiser of the checkpoint has {', '.join(sorted(state[parameter]))} of "
                    f"{names[parameter]}, this run's needs {', '.join(sorted(expected))}"
                )


def take_optimiser_state(
    optimisers: Optimisers, state: Mapping[nn.Parameter, Mapping[str, Tensor]]
) -> None:
    """Put what `optimiser_state_of` found into new optimisers."""
    for part in optimisers.parts:
        fused = bool(part.defaults.get("fused"))
        for group in part.param_groups:
            for parameter in group["params"]:
                if parameter in state:
                    part.state[parameter] = {
                        entry: _placed(entry, value, parameter, fused)
                        for entry, value in state[parameter].items()
                    }


def held_of(snapshot: Snapshot, model: nn.Module, allowed: frozenset[str]) -> dict[str, Tensor]:
    """Gradients that were held back. Raises BadCheckpoint for one that this model does not hold back."""
    parameters = dict(model.named_parameters())
    found = {}
    for name, value in snapshot.tensors.get(HELD, {}).items():
        if name not in allowed:
            raise BadCheckpoint(
                f"the checkpoint holds a gradient of {name} back, this run does not"
            )
        check_tensor(f"{HELD}/{name}", value, parameters[name].shape)
        found[name] = value.to(parameters[name], copy=True)
    return found


def _placed(entry: str, value: Tensor, parameter: Tensor, fused: bool) -> Tensor:
    """Only a fused optimiser counts its steps beside the parameter."""
    if entry != STEP:
        return value.to(parameter, copy=True)
    return value.to(parameter.device if fused else "cpu", torch.float32, copy=True)
