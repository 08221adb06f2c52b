"""How fast training goes: seconds a step, and what people read about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from trainers.clock import Clock

_SHOWN = 6


class Pace:
    """Times the steps alone: evaluation and checkpoints are not part of a step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = clock.monotonic()
        self._seconds = 0.0
        self._steps = 0
        self._all_steps = 0
        self._last: float | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        begun = self._clock.monotonic()
        yield
        self._seconds += self._clock.monotonic() - begun
        self._steps += 1
        self._all_steps += 1

    def since_last(self, tokens_per_step: int | None) -> dict[str, float]:
        """Mean over the steps since the last call: seconds, and their inverses."""
        steps, seconds = self._steps, self._seconds
        self._steps, self._seconds = 0, 0.0
        if steps == 0 or seconds <= 0:
            return {}
        self._last = seconds / steps
        rates = {"time/step_s": self._last, "time/steps_per_s": steps / seconds}
        if tokens_per_step is not None:
            rates["time/tokens_per_s"] = tokens_per_step * steps / seconds
        return rates

    def line(self, step: int, total: int, measured: Mapping[str, float]) -> str:
        """One line for the log: how far, what was measured, how long it will take."""
        width = len(str(total))
        parts = [f"step {step:>{width}}/{total} {step / total:>6.1%}"]
        parts += [f"{name} {value:.4g}" for name, value in list(measured.items())[:_SHOWN]]
        if self._last is not None:
            parts.append(f"{self._last:.3g} s/step")
        if step < total and self._all_steps:
            # with all that went on between the steps, evaluation and checkpoints included
            each = (self._clock.monotonic() - self._begun) / self._all_steps
            parts.append(f"{duration((total - step) * each)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """``43 s``, ``12 m 05 s``, ``3 h 20 m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
