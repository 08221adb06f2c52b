"""Products of HOPE's sizes on a GPU, in float32, in TF32, and in both forms of three: what a choice of form costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor

from trainers.hope.compute.three_products import Cuts, one_by_one, stacked, stacks
from trainers.tf32 import tensor_cores

TAKES = 5
TOKENS = 28_896  # 16 clips, 7 frames, 258 tokens
CHUNK = TOKENS // 7
SIZES: Mapping[str, tuple[int, int, int, int]] = {
    "a read, in": (4, CHUNK, 384, 768),
    "a read, out": (4, CHUNK, 768, 384),
    "a write": (5, 384, CHUNK, 768),
    "a level, in": (0, TOKENS, 384, 1536),
    "a level, out": (0, TOKENS, 1536, 384),
    "its weights": (0, 384, TOKENS, 1536),
    "mixing": (0, 43_008, 258, 258),
}
"""What -> batch (0: none), M, K, N."""

Form = Callable[[Tensor, Tensor], Tensor]
FORMS: Mapping[str, tuple[Form, bool]] = {
    "float32": (torch.matmul, False),
    "TF32": (torch.matmul, True),
    "stacked": (stacked, True),
    "one by one": (lambda a, b: one_by_one(a, b, Cuts()), True),
}
"""Name -> what is computed, and whether in TF32."""


def products(device: torch.device, shrunk: int = 1) -> list[str]:
    """A line a size; sizes are divided by ``shrunk``."""
    return [_line(what, size, device, shrunk) for what, size in SIZES.items()]


def _line(what: str, size: tuple[int, int, int, int], device: torch.device, shrunk: int) -> str:
    B, (M, K, N) = size[0], (-(-number // shrunk) for number in size[1:])
    lead = (B,) if B else ()
    by_token = max(M, N) < K  # the gradient of weights: both operands lie token by token
    a = torch.randn(*lead, K, M, device=device).mT if by_token else None
    a = torch.randn(*lead, M, K, device=device) if a is None else a
    b = torch.randn(*lead, K, N, device=device)
    times = {name: _time(form, tf32, a, b) for name, (form, tf32) in FORMS.items()}
    said = ", ".join(f"{name} {1e6 * seconds:.0f} us" for name, seconds in times.items())
    chosen = "stacked" if stacks(M, K, N) else "one by one"
    shape = f"{f'{B} x ' if B else ''}{M} x {K} x {N}"
    return f"{what} ({shape}): {said}; chosen: {chosen}"


def _time(form: Form, tf32: bool, a: Tensor, b: Tensor) -> float:
    """Seconds, the median of `TAKES` after two for warmth. Operands are cut anew each time."""
    taken = []
    for _ in range(2 + TAKES):
        _wait(a.device)
        began = time.perf_counter()
        if tf32:
            with tensor_cores():
                form(a, b)
        else:
            form(a, b)
        _wait(a.device)
        taken.append(time.perf_counter() - began)
    return median(taken[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
