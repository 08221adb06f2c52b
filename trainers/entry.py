"""What the trainer process runs: ``python -P -m trainers.entry <attempt directory>``.

Exit codes: 0 trained to the end, 13 a checkpoint that may not be started from, 143 (130) left after
SIGTERM (SIGINT), 1 failed otherwise. events.jsonl has the reason.
"""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from specs.files import AttemptFiles
from trainers.events import EventLog
from trainers.signals import Flags

_SPEAKS_FOR_ITSELF = ("could_not_start", "bad_checkpoint", "non_finite")


def main(argv: list[str]) -> int:
    """Train the attempt in the directory ``argv[1]``; returns the exit code."""
    flags = Flags()
    flags.hear_checkpoint()  # first of all: unheard, the signal would end the process
    if len(argv) != 2 or not Path(argv[1]).is_dir():
        print("usage: python -P -m trainers.entry <attempt directory>", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # log.txt is read live
    files = AttemptFiles(root=Path(argv[1]).absolute())
    events = EventLog(files.events)
    try:
        from trainers.attempt import train
        from trainers.failure import classify
    except (ImportError, OSError) as error:
        return _failed(events, "could_not_start", f"torch cannot be imported: {error}", 1)
    try:
        left_by = train(files, events, flags)
    except Exception as error:  # noqa: BLE001 - whatever it was, events.jsonl must have it
        failure = classify(error)
        if failure.failure_class not in _SPEAKS_FOR_ITSELF:
            traceback.print_exc()
        return _failed(events, failure.failure_class, failure.message, failure.exit_code)
    return 0 if left_by is None else 128 + left_by


def _failed(events: EventLog, failure_class: str, message: str, exit_code: int) -> int:
    print(f"failed ({failure_class}): {message}", file=sys.stderr, flush=True)
    events.failed(failure_class, message)
    return exit_code


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})
    sys.exit(main(sys.argv))
