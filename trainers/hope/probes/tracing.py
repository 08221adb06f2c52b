"""A forward and a backward pass under watch: what went non-finite first, and what layer norms saw.

Every tensor is looked at when it is made: outputs of modules, states after a block, gradients of tokens on their way
back, gradients of parameters as they are added up. So the order of `Journal.bad` is the order in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.overrides import TorchFunctionMode

from trainers.hope.blocks import BlockOut
from trainers.hope.titan import CONDITIONING

KINDS = ("action", "state", "patch")
"""Of tokens, in the order in which they lie in a frame."""


OF_PARAMETER = "gradient of parameter"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A tensor that is not finite. ``block`` None outside of the blocks."""

    block: int | None
    what: str  # activation, state, gradient (of tokens), OF_PARAMETER
    name: str
    in_norm_only: bool  # each entry is finite still


def lost_number(tensor: Tensor) -> bool:
    """As the metric grad/non_finite counts: the norm in the tensor's own precision is not finite."""
    return not bool(torch.linalg.vector_norm(tensor.detach()).isfinite())


@dataclass(frozen=True, kw_only=True)
class Normed:
    """Of the input of one layer norm in a block, by kind of token: the smallest variance, and ``eps``."""

    variance: dict[str, float]
    eps: float


@dataclass(kw_only=True)
class Journal:
    """What was seen, in the order of time. Squares are sums over passes, in float64."""

    frame_tokens: int
    bad: list[Seen] = field(default_factory=list)
    normed: dict[int, list[Normed]] = field(default_factory=dict)
    activation: dict[int, float] = field(default_factory=dict)
    entering: dict[int, dict[str, float]] = field(default_factory=dict)  # squares of the gradient
    tokens: dict[int, dict[str, float]] = field(default_factory=dict)  # smallest norm of a token
    block: int | None = None  # that runs now

    def look(self, tensor: Tensor, block: int | None, what: str, name: str) -> None:
        """A parameter's gradient is lost where the metric counts it, any other tensor where an entry is no number."""
        whole = bool(tensor.isfinite().all())
        if not whole or (what == OF_PARAMETER and lost_number(tensor)):
            self.bad.append(Seen(block=block, what=what, name=name, in_norm_only=whole))


def by_kind(x: Tensor, frame_tokens: int) -> dict[str, Tensor] | None:
    """Tokens (..., D) that lie in whole frames, by their kind: (tokens, D) each. None where they do not."""
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) % frame_tokens:
        return None
    frames = flat.unflatten(0, (-1, frame_tokens))
    parts = (frames[:, 0], frames[:, 1], frames[:, CONDITIONING:].flatten(0, 1))
    return dict(zip(KINDS, parts, strict=True))


class LayerNorms(TorchFunctionMode):
    """Sees the input of every layer norm that runs in a block, of modules and of memories alike."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is nnf.layer_norm and self._journal.block is not None:
            eps = given.get("eps", args[4] if len(args) > 4 else 1e-5)
            self._note(self._journal.block, args[0].detach(), eps)
        return func(*args, **given)

    def _note(self, block: int, x: Tensor, eps: float) -> None:
        with torch.no_grad():
            parts = by_kind(x.double(), self._journal.frame_tokens)
            if parts is None:
                return
            variance = {
                kind: float(part.var(-1, unbiased=False).min()) for kind, part in parts.items()
            }
        self._journal.normed.setdefault(block, []).append(Normed(variance=variance, eps=eps))


class Watched:
    """Hooks on a model for the length of a ``with``; they are all taken off at its end."""

    def __init__(self, model: nn.Module, frame_tokens: int) -> None:
        self.journal = Journal(frame_tokens=frame_tokens)
        self._model = model
        self._hooks: list[Any] = []
        self._mode = LayerNorms(self.journal)

    def __enter__(self) -> Journal:
        for number, block in enumerate(self._model.blocks):
            self._hooks += [
                block.register_forward_pre_hook(self._before(number)),
                block.register_forward_hook(self._after(number)),
            ]
        for name, module in self._model.named_modules():
            if not list(module.children()):
                self._hooks.append(module.register_forward_hook(self._made(name)))
        for name, parameter in self._model.named_parameters():
            self._hooks.append(parameter.register_hook(self._gradient_of(name)))
        self._mode.__enter__()
        return self.journal

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _before(self, number: int) -> Callable[..., None]:
        journal = self.journal

        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            journal.block = number
            x: Tensor = args[0]
            parts = by_kind(x.detach().double(), journal.frame_tokens) or {}
            least = journal.tokens.setdefault(number, dict.fromkeys(KINDS, float("inf")))
            for kind, part in parts.items():
                least[kind] = min(least[kind], float(torch.linalg.vector_norm(part, dim=-1).min()))
            if x.requires_grad:
                x.register_hook(lambda g: self._entering(number, g))

        return note

    def _entering(self, number: int, gradient: Tensor) -> None:
        """The gradient of the tokens that enter a block."""
        journal = self.journal
        journal.look(gradient, number, "gradient", "the tokens that enter it")
        sums = journal.entering.setdefault(number, dict.fromkeys(KINDS, 0.0))
        for kind, part in (by_kind(gradient.double(), journal.frame_tokens) or {}).items():
            sums[kind] += float(part.square().sum())

    def _after(self, number: int) -> Callable[..., None]:
        journal = self.journal

        def note(_: nn.Module, __: Any, out: BlockOut) -> None:
            journal.look(out.x, number, "activation", "the tokens that leave it")
            norm = float(torch.linalg.vector_norm(out.x.detach().double()))
            journal.activation[number] = max(norm, journal.activation.get(number, 0.0))
            if out.state is not None:
                journal.look(out.state.W1, number, "state", "W1 of its memories")
                journal.look(out.state.W2, number, "state", "W2 of its memories")
            journal.block = None

        return note

    def _made(self, name: str) -> Callable[..., None]:
        number = block_of(name)

        def note(_: nn.Module, __: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                self.journal.look(out, number, "activation", name)

        return note

    def _gradient_of(self, name: str) -> Callable[[Tensor], None]:
        number = block_of(name)
        return lambda gradient: self.journal.look(gradient, number, OF_PARAMETER, name)


def block_of(name: str) -> int | None:
    """The number of the block that a parameter or module belongs to."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" and len(parts) > 1 else None
