"""What a shim undoes of the process that started it, and what it becomes. Standard library only.

A Ray worker leaves behind niceness 15, an out-of-memory score of 1000 and a blocked SIGINT.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_OOM = Path("/proc/self/oom_score_adj")
_FIXED = (signal.SIGKILL, signal.SIGSTOP)


def become_subreaper() -> None:
    """From now on orphaned descendants become our children. Raises OSError where Linux refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"PR_SET_CHILD_SUBREAPER: {os.strerror(code)}")


def reset_signals(on_terminate: Callable[[], None]) -> None:
    """An empty mask and default handlers, but for SIGTERM, SIGINT and SIGHUP.

    Handlers, not SIG_IGN: a handler is back at its default in the trainer, an ignored signal is not.
    """
    for number in signal.valid_signals():
        if number not in _FIXED and signal.getsignal(number) is not None:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: on_terminate())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reset_priority() -> tuple[str, ...]:
    """Niceness and out-of-memory score back to zero; what could not be, in words."""
    failed = []
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice > 0:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        except OSError as error:
            failed.append(f"niceness stays {nice}: {error.strerror}")
    try:
        score = int(_OOM.read_text())
        if score > 0:
            _OOM.write_text("0")
    except OSError as error:
        failed.append(f"oom_score_adj stays above 0: {error.strerror}")
    return tuple(failed)
