"""Where a benchmark plays: fresh folders, homes with their planes, processes. Nothing is left of it.

Everything that is started is ended by its identity, also after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from campaign import control, ray_head
from campaign.api import Client
from campaign.errors import CampaignError
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from campaign.rows import RunRow
from specs import files

DEADLINE = 120.0
GRACE = 15.0
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
_OURS = (
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "CAMPAIGN_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip
_Answer = TypeVar("_Answer")


class Stage:
    """Made by `stage`. ``root``: a fresh folder on the disk that is measured. ``more``: multiplies samples.

    ``only``: a word in the names of the cases that are wanted; None: all.
    """

    def __init__(self, root: Path, stack: ExitStack, more: int, only: str | None = None) -> None:
        self.root = root
        self.more = more
        self.only = only
        self._stack = stack

    def home(self, name: str, *, cpu_slots: int | None = None) -> Client:
        """A fresh home, with nothing but its own MLflow store; ended with the stage."""
        client = Client(self.root / name)
        client.home.create()
        slots = "" if cpu_slots is None else f"[home]\ncpu_slots = {cpu_slots}\n"
        uri = f"sqlite:///{client.home.mlflow_db}"
        client.home.config.write_text(f'{slots}[mlflow]\ntracking_uri = "{uri}"\n')
        self._stack.callback(end, client)
        return client

    def folder(self, name: str) -> Path:
        made = self.root / name
        made.mkdir(mode=0o700)
        return made

    def file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        return path

    def at_end(self, action: Callable[[], object]) -> None:
        """Do this before what was started earlier is ended."""
        self._stack.callback(action)

    def start(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """A process in a session of its own, as a shim's; with its group it is gone when the stage ends."""
        child = subprocess.Popen(
            argv,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},
        )
        self._stack.callback(end_child, child)
        return child

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> None:
        """Run a command to its end. Raises RuntimeError with what it said where it fails."""
        with tempfile.TemporaryFile(dir=self.root) as given, tempfile.TemporaryFile() as said:
            given.write(stdin.encode())
            given.seek(0)
            child = subprocess.Popen(
                argv,
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=given,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = child.wait()
            finally:
                end_child(child)
            if code != 0:
                said.seek(0)
                text = said.read().decode(errors="replace")[-2000:]
                raise RuntimeError(f"{' '.join(argv)} ended with {code}:\n{text}")


@contextmanager
def stage(
    where: Path, *, keep: bool = False, more: int = 1, only: str | None = None
) -> Iterator[Stage]:
    """A stage in a fresh folder of ``where``; its sockets, settings and caches are not the user's.

    ``keep``: leave the files for a look at them. ``more`` and ``only``: of the stage.
    """
    root = Path(tempfile.mkdtemp(prefix="campaign-bench-", dir=where))
    runtime = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))  # short: sockets lie in it
    before = {name: os.environ.pop(name, None) for name in _OURS}
    os.environ |= {
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    stack = ExitStack()
    try:
        yield Stage(root, stack, more, only)
    finally:
        with undisturbed():
            try:
                stack.close()
            finally:
                _put_back(before)
                _remove(root, runtime, keep=keep)


def _put_back(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _remove(root: Path, runtime: Path, *, keep: bool) -> None:
    if keep:
        print(f"kept: {root} and {runtime}", file=sys.stderr)
        return
    for path in (root, runtime):
        shutil.rmtree(path, onerror=lambda _f, name, why: print(name, why[1], file=sys.stderr))


@contextmanager
def orderly() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as Ctrl-C does: with everything cleaned up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handling(leave, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait: half a cleaning leaves processes behind."""

    def wait(_number: int, _frame: FrameType | None) -> None:
        print("ending what was started; a moment", file=sys.stderr, flush=True)

    with _handling(wait, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# ---------------------------------------------------------------- waiting


def await_that(
    what: str, look: Callable[[], _Answer | None], *, every: float = 0.01, within: float = DEADLINE
) -> _Answer:
    """The first true answer of ``look``. Raises TimeoutError naming ``what``."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if answer := look():
            return answer
        time.sleep(every)
    raise TimeoutError(f"not within {within:.0f} s: {what}")


def warm(client: Client) -> None:
    """Controller, Ray, watcher and publisher up, and one run through them."""
    client.up()
    name = f"warm_up_{time.monotonic_ns()}"
    path = client.home.root / f"{name}.yaml"
    path.write_text(
        f"campaign: {name}\nruns: {{only: {{trainer: {{kind: command, argv: ['true']}}}}}}\n"
    )
    client.submit(path)
    all_with("succeeded", client.wait(name, timeout=DEADLINE))
    await_that("the publisher is up", lambda: _alive(client.home.publisher_file))


def all_with(result: str, runs: Sequence[RunRow]) -> None:
    """Raises RuntimeError if a run ended otherwise: its time would mean nothing."""
    others = [f"{run.name}: {run.result}: {run.reason}" for run in runs if run.result != result]
    if others:
        raise RuntimeError(f"{len(others)} of {len(runs)} runs are not {result}: {others[:3]}")


# ---------------------------------------------------------------- ending


def end(client: Client) -> None:
    """End the runs and the plane of a home: as a user would, then whatever is still on record."""
    try:
        client.down(stop_runs=True)
    except CampaignError as error:
        print(f"campaign down: {error}", file=sys.stderr)
    finally:
        _end_what_is_recorded(client)


def _end_what_is_recorded(client: Client) -> None:
    if (found := control.running(client.home)) is not None:
        identity.send(found.identity, signal.SIGKILL)
        identity.wait_gone(found.identity, 5.0)
    if (head := ray_head.recorded(client.home)) is not None:
        ray_head.end(client.home, head)
    if (publisher := _alive(client.home.publisher_file)) is not None:
        identity.send(publisher, signal.SIGKILL)
        identity.wait_gone(publisher, 5.0)
    for shim in list(_shims(client.home.root)):
        identity.send(shim, signal.SIGTERM)  # it ends its trainer first
        if not identity.wait_gone(shim, 10.0):
            print(f"still there: shim {shim.pid} of {client.home.root}", file=sys.stderr)


def _shims(home: Path) -> Iterator[Identity]:
    for path in home.glob("*/*/attempt-*/pid.json"):
        if (path.parent / "exit.json").exists():
            continue
        record = files.read_json(path) or {}
        shim = identity.from_json(record.get("shim"), boot=record["boot_id"], cookie=None)
        if shim is not None and identity.is_alive(shim):
            yield shim


def _alive(path: Path) -> Identity | None:
    """The process that a file of the home names, if it is alive."""
    record = files.read_json(path)
    if record is None:
        return None
    found = Identity(
        boot_id=record["boot_id"], pid=record["pid"], start_ticks=record["start_ticks"]
    )
    return found if identity.is_alive(found) else None


def end_child(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to its group, then SIGKILL. While it is unreaped the number of its group is its own."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and os.waitid(os.P_PID, child.pid, _LOOK) is None:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
