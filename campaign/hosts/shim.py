"""Where shims come from: a small process of a host that forks one for each attempt it is told of.

Started by path, ``python -I -S shim.py <padding>``, so that nothing a user installed or has in a working
directory comes with it, with its end of a socket as standard input. It has one thread and has loaded what
a shim needs, so that a shim costs a fork and not the start of an interpreter. It holds nothing: it ends
when its host closes the socket, and the shims, nobody's children and leaders of their own sessions, go on.

One message is one attempt: ``{"directory", "cookie", "environment"}`` with two descriptors, of the log
and of a pipe that gets one byte once the attempt is on record, and is closed without one if the shim died
before.
"""

import gc
import json
import os
import socket
import sys
import traceback
from pathlib import Path

LARGEST = 1 << 16
PADDING = "-" * 400
"""Room for the directory in the command line: what `ps` shows of a shim is its attempt."""


def main() -> None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: the standard library wins
    from campaign.hosts import tending  # noqa: F401 - loaded before the first fork

    gc.freeze()  # so that collecting garbage in a shim copies no page of what it shares
    with socket.socket(fileno=os.dup(0)) as host:
        while True:
            message, descriptors, _, _ = socket.recv_fds(host, LARGEST, 2)
            if not message:
                return
            middle = os.fork()
            if middle == 0:
                host.close()
                _get_loose(message, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(middle, 0)


def _get_loose(message: bytes, log: int, tell: int) -> None:
    """In the forked process: fork once more and end, so that the shim is nobody's child. No return."""
    code = 1
    try:
        if os.fork():
            os._exit(0)
        _be_shim(message, log, tell)
        code = 0
    except BaseException:  # noqa: BLE001 - never back into the loop above, whatever it is
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _be_shim(message: bytes, log: int, tell: int) -> None:
    from campaign.hosts import renaming
    from campaign.hosts.tending import tend

    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for source, target in ((nowhere, 0), (nowhere, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(log)
    attempt = json.loads(message)
    os.environ.update(attempt["environment"])
    renaming.take_cookie(attempt["cookie"])
    renaming.take_argument(PADDING, attempt["directory"])
    tend(Path(attempt["directory"]), ready=tell)


if __name__ == "__main__":
    main()
