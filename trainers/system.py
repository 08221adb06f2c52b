"""``system/*``: what a training uses of its machine, sampled in a thread beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

Sample = Callable[[], Mapping[str, float]]

EVERY = 10.0
FIRST = 1.0
"""Seconds to the first sample; a program that is gone by then has none."""


class Sampler:
    """Takes a sample every few seconds and hands it to ``emit``.

    ``begin`` makes the sources, in the sampling thread: it may import slowly and fail. A failure is
    said once through ``note`` and ends the sampling, never the training.
    """

    def __init__(
        self,
        begin: Callable[[], tuple[Sample, ...]],
        *,
        emit: Callable[[Mapping[str, float]], None],
        note: Callable[[str], None],
        first: float = FIRST,
        every: float = EVERY,
    ) -> None:
        self._begin = begin
        self._emit = emit
        self._note = note
        self._first = first
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="system metrics")

    def start(self) -> None:
        self._thread.start()

    def close(self, *, patience: float = 2.0) -> None:
        """No sample comes after this; a call into NVML that hangs is left behind."""
        self._stop.set()
        self._thread.join(patience)

    def _run(self) -> None:
        if self._stop.wait(self._first):
            return
        try:
            sources = self._begin()
            while True:
                self._sample(sources)
                if self._stop.wait(self._every):
                    return
        except Exception as error:  # noqa: BLE001 - whatever fails here must not end the training
            self._note(f"no more system metrics: {type(error).__name__}: {error}")

    def _sample(self, sources: tuple[Sample, ...]) -> None:
        metrics: dict[str, float] = {}
        for source in sources:
            metrics |= source()
        if not self._stop.is_set():
            self._emit(metrics)


def sources(
    pid: int, environment: Mapping[str, str], note: Callable[[str], None]
) -> tuple[Sample, ...]:
    """The process tree below ``pid`` and the GPUs that the environment leases."""
    from trainers.gpus import Gpus, leased
    from trainers.processes import ProcessTree

    return ProcessTree(pid).sample, Gpus(leased(environment), note).sample
