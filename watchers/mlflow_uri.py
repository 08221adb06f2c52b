"""Which tracking stores are used, and with which settings mlflow is loaded. No mlflow here."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # waiting and trying again is ours: mlflow's own retries would block for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "45",
}


class BadUri(ValueError):
    """The tracking URI is not one that is used; the message says what to give."""


def default_uri(home: Path) -> str:
    """The home's own store."""
    return f"sqlite:///{home.resolve()}/mlflow.db"


def check_uri(uri: str) -> str:
    """``uri``, if nothing goes over a network in the clear and it does not depend on the folder.

    Raises BadUri.
    """
    parts = urlsplit(uri)
    if parts.username or parts.password:
        raise BadUri(
            "no password in a tracking URI: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if sqlite_path(uri) is not None:
        return uri
    if parts.scheme == "https" and parts.hostname:
        return uri.rstrip("/")
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return uri.rstrip("/")
    raise BadUri(
        f"tracking URI {uri!r}: give sqlite:////absolute/path.db, an https address, or an http"
        " address on loopback"
    )


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite store given by its absolute path; None for any other store."""
    prefix = "sqlite:////"
    return Path("/" + uri.removeprefix(prefix)) if uri.startswith(prefix) else None


def quiet() -> None:
    """Telemetry off, no hidden retries: mlflow reads its settings while it is imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold an exclusive flock on ``path``; its descriptor. Raises BlockingIOError without ``wait``."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield fd
    finally:
        os.close(fd)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, not a number
        return host == "localhost"
