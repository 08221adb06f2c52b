"""What people and the shim ask of a trainer process: flags that handlers set and step edges read."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

STOP = (signal.SIGTERM, signal.SIGINT)
CHECKPOINT = signal.SIGUSR1


class Flags:
    """``stop``: checkpoint and leave; ``checkpoint``: checkpoint and go on.

    A handler does nothing but set a flag: at any other place the state would be half changed. As a
    context it hears all of them, and restores the handlers from before. Outside of it SIGTERM ends the
    process as usual: until training begins there is nothing to keep.
    """

    def __init__(self) -> None:
        self.stop: signal.Signals | None = None
        self.checkpoint = False
        self._before: dict[signal.Signals, object] = {}

    def hear_checkpoint(self) -> None:
        """From now on a request for a checkpoint waits for the first step edge."""
        signal.signal(CHECKPOINT, self._heard)

    def __enter__(self) -> Flags:
        for number in (*STOP, CHECKPOINT):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave back

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == CHECKPOINT:
            self.checkpoint = True
        else:
            self.stop = signal.Signals(number)
