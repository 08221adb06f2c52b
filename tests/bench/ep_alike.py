"""Two nudged phases of ours beside the documented ones, in float64 on a CPU: cosines of their gradients.

Forty steps truncate the adjoint, so that the answer depends on where the phases start; ``python -m tests.bench ep_gpu``
prints the same cosines at the documented size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nn

from specs.trainer_ep import EpTrainer
from tests.support.naive_ep import Naive
from trainers.ep.block import Params, init
from trainers.ep.task import task_gradient

VOCABULARY = 97
FORTY: Mapping[str, Any] = {"max_steps": 40, "tolerance": 1e-12, "radius": 0.02}
TIGHT: Mapping[str, Any] = {"max_steps": 2000, "tolerance": 1e-10}


def main() -> None:
    torch.set_num_threads(1)
    for scale in (0.6, 1.0):
        print(f"init_scale {scale}: cosine with exact, documented, documented started alike")
        found = gradients(scale)
        for name, gradient in found.items():
            cosines = (nn.cosine_similarity(gradient, other, dim=0) for other in found.values())
            print(f"  {name:24} {', '.join(f'{float(c):.7f}' for c in list(cosines)[:3])}")


def gradients(scale: float) -> dict[str, Tensor]:
    """Of one batch, flat; the last is ours."""
    params, idx, y = _problem(scale)

    def ours(estimator: str, adjoint: Mapping[str, Any]) -> Tensor:
        settings = _settings(estimator=estimator, adjoint=adjoint)
        return _flat(task_gradient(params, settings, idx, y).gradient)

    documented = Naive(heads=4, damping=1.0)
    alike = Naive(heads=4, damping=1.0, T2=FORTY["max_steps"] - 1, ahead=True)
    return {
        "exact": ours("exact", TIGHT),
        "documented": _flat(documented.gradient(params, idx, y)),
        "documented, started alike": _flat(alike.gradient(params, idx, y)),
        "ours": ours("ep", FORTY),
    }


def _settings(**fields: Any) -> EpTrainer:
    size = {"width": 64, "heads": 4, "context": 32, "batch": 4, "device": "cpu"}
    relaxation = {"T1": 150, "t1max": 150}
    return EpTrainer.model_validate({"kind": "ep", "relaxation": relaxation, **size, **fields})


def _problem(scale: float) -> tuple[Params, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    drawn = init(_settings(init_scale=scale), VOCABULARY, source, torch.float64)
    words = torch.randint(VOCABULARY, (4, 33), generator=source)
    params = Params(*(t.requires_grad_() for t in drawn))
    return params, words[:, :-1].contiguous(), words[:, 1:].contiguous()


def _flat(gradient: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([g.detach().flatten() for g in gradient])


if __name__ == "__main__":
    main()
