"""AdamW over the parameters of the block."""

from __future__ import annotations

import torch

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params


def adamw(params: Params, settings: EpTrainer) -> torch.optim.AdamW:
    """AdamW; matrices decay, embeddings, gains and biases do not."""
    of = settings.optimizer
    named = params._asdict()
    return torch.optim.AdamW(
        [
            {
                "params": [t for name, t in named.items() if name.startswith("W_")],
                "weight_decay": of.weight_decay,
            },
            {
                "params": [t for name, t in named.items() if not name.startswith("W_")],
                "weight_decay": 0.0,
            },
        ],
        lr=of.lr,
        betas=(of.beta1, of.beta2),
        fused=True,
    )
