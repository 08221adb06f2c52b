"""The console command.

The verbs are loaded inside of it, so that Ctrl-C has its exit code, and no traceback, from the first moment.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from campaign.errors import ExitCode


def main() -> NoReturn:
    _open_what_is_closed()
    try:
        from campaign.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _open_what_is_closed() -> None:
    """A standard stream that was closed (``>&-``) goes nowhere; else the next file would take its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
