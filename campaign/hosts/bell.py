"""The socket by which a shim is told that there is something to read. Standard library only.

A ring carries nothing: the order is in its file, and the shim looks there by itself four times a
second. A shim without a socket is therefore slower, not deaf.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

_RING_TIMEOUT = 0.2


class Bell:
    """Listens at ``path``, which lies in a directory of this user alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(8)
        except OSError as error:
            print(f"campaign: no socket at {path}: {error}; polling", file=sys.stderr, flush=True)
            listener.close()
            return
        listener.setblocking(False)
        self._socket = listener

    def fileno(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def answer(self) -> bool:
        """Take every ring that waits; True if one came from this user."""
        rung = False
        while self._socket is not None:
            try:
                caller, _ = self._socket.accept()
            except BlockingIOError:
                break
            with caller:
                rung = rung or _user_of(caller) == os.getuid()
        return rung

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)


def _user_of(caller: socket.socket) -> int:
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def ring(path: Path) -> None:
    """Wake the shim that listens at ``path``, if one does."""
    with (
        suppress(OSError),  # nobody listens, or not any more: the shim also looks by itself
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller,
    ):
        caller.settimeout(_RING_TIMEOUT)
        caller.connect(str(path))
