"""MLflow's UI for a home's store, on loopback, and links into it. No mlflow here: a process of its own has it.

with start(home) as ui:
    print(ui.campaign_url("ep_resreg"))
    ui.wait()
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from watchers.mlflow_uri import check_uri, default_uri, sqlite_path
from watchers.ui_guard_mlflow import TOKEN_FIELD, cookie_name

START_DEADLINE = 120.0
STOP_DEADLINE = 10.0
LOG = "ui.log"

_POLL = 0.1
_LOG_TAIL = 2000


class UiFailed(Exception):
    """The UI did not come up; the message has the tail of its log."""


class NothingThere(LookupError):
    """MLflow has no experiment of that name yet."""


class Ui:
    """MLflow's UI at ``url``: our own process (``pid``), or a server that runs anyway (``pid`` is None).

    The url of our own carries the key to it; whoever has it can read and change what MLflow holds.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None, cookie: str | None):
        self.url = url
        self._process = process
        self._cookie = cookie

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is None or self._process.poll() is None

    def campaign_url(self, campaign: str) -> str:
        """The link to the charts of a campaign's runs. Raises NothingThere."""
        return comparison_url(self.url, self.experiment_id(campaign))

    def experiment_id(self, campaign: str) -> str:
        """The id of a campaign's experiment. Raises NothingThere."""
        query = urlencode({"experiment_name": campaign})
        try:
            found = self._get(f"/api/2.0/mlflow/experiments/get-by-name?{query}")
        except HTTPError as error:
            if error.code == 404:
                raise NothingThere(
                    f"MLflow has nothing of campaign {campaign!r} yet: did its first attempt start?"
                ) from error
            raise
        return str(found["experiment"]["experiment_id"])

    def is_ready(self) -> bool:
        """Does it answer?"""
        try:
            self._get("/health", parse=False)
        except (URLError, ConnectionError, TimeoutError):
            return False
        return True

    def wait(self) -> None:
        """Until the process ends."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End the process that was started for it, and no other."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Ui:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _get(self, path: str, *, parse: bool = True) -> Any:
        parts = urlsplit(self.url)
        root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        headers = {} if self._cookie is None else {"Cookie": self._cookie}
        with urlopen(Request(root + path, headers=headers), timeout=30.0) as answer:
            body = answer.read()
        return json.loads(body) if parse else body


def comparison_url(base: str, experiment_id: str, run_ids: Sequence[str] = ()) -> str:
    """The link to the charts of an experiment's runs side by side, in the model-training view.

    ``base``: the `Ui.url`, or the address of any MLflow server; ``run_ids``: only these; empty: all.
    """
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART"}
    if run_ids:
        chosen = ",".join(f"'{run_id}'" for run_id in run_ids)
        query["searchFilter"] = f"attributes.run_id IN ({chosen})"
    root = base if urlsplit(base).query else base.rstrip("/") + "/"
    return f"{root}#/experiments/{quote(experiment_id, safe='')}/runs?{urlencode(query)}"


def start(
    home: Path,
    *,
    tracking_uri: str | None = None,
    port: int | None = None,
    deadline: float = START_DEADLINE,
) -> Ui:
    """Serve the UI of the home's store on a free port of loopback (or ``port``), and wait till it answers.

    It ends with the thread that called this, if `Ui.close` was not called before. A tracking URI that is a
    server's already has a UI: nothing is started. Raises UiFailed, BadUri.
    """
    uri = check_uri(tracking_uri or default_uri(home))
    if sqlite_path(uri) is None:
        return Ui(uri, None, None)
    token, log = secrets.token_urlsafe(32), home / LOG
    with log.open("ab") as stderr:
        process = _spawn(home, stderr, {"uri": uri, "port": port or 0, "token": token})
    until = time.monotonic() + deadline
    try:
        bound = _port_of(process, until, log)
        cookie = f"{cookie_name(bound)}={token}"
        ui = Ui(f"http://127.0.0.1:{bound}/?{TOKEN_FIELD}={token}", process, cookie)
        _wait_ready(ui, until, log)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        raise
    return ui


def _spawn(home: Path, stderr: IO[bytes], settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "watchers.ui_serve_mlflow"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=home,
        start_new_session=True,  # Ctrl-C is for the command line, which then ends this
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({**settings, "parent": os.getpid()}).encode() + b"\n")
    process.stdin.close()
    return process


def _port_of(process: subprocess.Popen[bytes], until: float, log: Path) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
    with process.stdout as pipe:
        line = pipe.readline() if readable else b""
    if not line:
        raise UiFailed(f"MLflow's UI did not start{_tail(log)}")
    return int(json.loads(line)["port"])


def _wait_ready(ui: Ui, until: float, log: Path) -> None:
    while not ui.is_ready():
        if not ui.is_alive or time.monotonic() >= until:
            raise UiFailed(f"MLflow's UI does not answer{_tail(log)}")
        time.sleep(_POLL)


def _tail(log: Path) -> str:
    text = log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").strip()
    return f"; {log} ends with:\n{text}" if text else f"; {log} is empty"
