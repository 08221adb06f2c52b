"""The process that serves MLflow's UI for one SQLite store, on loopback, with one worker.

Started by `watchers.ui_mlflow`: settings as one JSON object on stdin, `{"uri", "port", "token", "parent"}`;
the port as one JSON line on stdout, as soon as the socket is bound. It ends with the thread that started it.

MLflow's own `mlflow server` would start this application as a child of its own, without the guard.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

from watchers.mlflow_target import ARTIFACTS, open_sqlite
from watchers.mlflow_uri import quiet, sqlite_path
from watchers.ui_guard_mlflow import Guard

_PR_SET_PDEATHSIG = 1
HOSTS = "127.0.0.1:*,localhost:*"


def main() -> int:
    settings = json.loads(sys.stdin.readline())
    _end_with(settings["parent"])
    listener = _listen(settings["port"])
    port = listener.getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads that pipe any more
    _serve(listener, Guard(_application(settings["uri"]), token=settings["token"], port=port))
    return 0


def _listen(port: int) -> socket.socket:
    """A socket on loopback; the last line of the log says why there is none."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port} of 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}")


def _end_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


def _application(uri: str) -> Any:
    """MLflow's ASGI application; it reads its settings from the environment while it is imported."""
    path = sqlite_path(uri)
    assert path is not None
    open_sqlite(path)
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = uri
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = str(path.parent / ARTIFACTS)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = HOSTS
    quiet()
    from mlflow.server.fastapi_app import app

    return app


def _serve(listener: socket.socket, app: Any) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
