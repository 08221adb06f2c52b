"""Starting and ending the Ray that belongs to a home. Does not import Ray.

Ray cannot be bound to loopback, so a token protects it. Its processes are ended one by one by their
identity: `ray stop` kills by pattern and would hit other people's clusters.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from campaign.errors import CampaignError, ExitCode
from campaign.home import Home
from campaign.hosts import identity, runtime
from campaign.hosts.identity import Identity
from specs import files

START_DEADLINE = 60.0
END_DEADLINE = 10.0
VITAL = ("gcs_server", "raylet")

SETTINGS: Mapping[str, str] = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # a trainer must not inherit these from a Ray worker (docs/architecture.md)
    "RAY_worker_niceness": "0",
    "RAY_worker_oom_score_adjustment": "0",
    # Ray must never end what a worker has started: the shim alone does
    "RAY_kill_child_processes_on_worker_exit": "false",
    "RAY_process_group_cleanup_enabled": "false",
    # how soon a released device counts as free: a queue of short runs waits for it (Ray's own: 100)
    "RAY_raylet_report_resources_period_milliseconds": "10",
    # Ray would kill actors because of other people's memory use
    "RAY_memory_monitor_refresh_ms": "0",
}
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"


class RayTrouble(CampaignError):
    """Ray could not be started or joined."""

    exit_code = ExitCode.CONTROLLER_DOWN


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """A head: its address and the identity of every process that it was started with.

    ``vital``: without these it is no head any more, whatever else of it still runs. Both are empty while
    it is coming up.
    """

    address: str
    temp_dir: str
    processes: tuple[Identity, ...]
    vital: tuple[Identity, ...]


def environment(home: Home, *, joining: bool = False) -> dict[str, str]:
    """What a process needs in its environment, before it imports ray, to start or join Ray.

    ``joining`` somebody's cluster: its token is the one that RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH
    of the user name; else this home's. All other RAY_* variables are ignored.

    Raises RayTrouble if Ray was told to kill the children of its workers: it would kill trainers.
    """
    if os.environ.get(SUBREAPER, "").lower() in ("1", "true"):
        raise RayTrouble(
            f"{SUBREAPER} is set: Ray would kill running trainers when a worker ends; unset it"
        )
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    token = {k: v for k, v in os.environ.items() if k.startswith("RAY_AUTH_TOKEN")}
    if not (joining and token):
        token = {"RAY_AUTH_TOKEN_PATH": str(home.ray_token)}
    return {**inherited, **SETTINGS, **token}


def make_token(home: Home) -> None:
    """A token of this home, readable by its owner alone."""
    if not home.ray_token.exists():
        files.write_atomic(home.ray_token, secrets.token_hex(32).encode(), mode=0o600)


def recorded(home: Home) -> RayHead | None:
    """The head that this home started last, alive or not."""
    found = files.read_json(home.ray_file)
    if found is None:
        return None
    return RayHead(
        address=found["address"],
        temp_dir=found["temp_dir"],
        processes=tuple(Identity(**p) for p in found["processes"]),
        vital=tuple(Identity(**p) for p in found["vital"]),
    )


def start(home: Home, resources: Mapping[str, int], *, port: int | None = None) -> RayHead:
    """Start a head that declares one resource a device, on ``port`` or a free one.

    It is on record from its first process on. Raises RayTrouble with the log's tail.
    """
    if port is not None and _is_taken(port):
        raise RayTrouble(
            f"port {port} of this host is in use, and ray.port wants Ray's head there; end what uses it, "
            "or take ray.port out of campaign.toml for a free one"
        )
    make_token(home)
    temp = runtime.directory() / f"ray-{runtime.home_key(home.root)}"
    pointer = temp / "ray_current_cluster"
    pointer.unlink(missing_ok=True)  # a stale one names a cluster that is gone
    argv = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port or 0}",
        "--include-dashboard=false", "--include-log-monitor=false", "--disable-usage-stats",
        "--dashboard-agent-listen-port=0", "--num-gpus=0", f"--num-cpus={os.cpu_count() or 1}",
        f"--object-store-memory={80 * 2**20}", f"--temp-dir={temp}",
        f"--resources={json.dumps(dict(resources))}",
    ]  # fmt: skip
    with home.ray_log.open("ab") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(home),
            start_new_session=True,
        )
    coming = RayHead(address="", temp_dir=str(temp), processes=_tree(child.pid), vital=())
    _record(home, coming)
    try:
        address = _await_address(child, pointer, home)
    except RayTrouble:
        end(home, coming)
        raise
    processes = _tree(child.pid)
    head = RayHead(
        address=address,
        temp_dir=str(temp),
        processes=processes,
        vital=(processes[0], *(p for p in processes if _name(p) in VITAL)),
    )
    _record(home, head)
    return head


def note_processes(home: Home, head: RayHead) -> RayHead:
    """Take in the workers that Ray has started since, so that they can be ended too."""
    alive = {p for parent in head.processes for p in _tree(parent.pid) if identity.is_alive(parent)}
    grown = RayHead(
        address=head.address,
        temp_dir=head.temp_dir,
        processes=tuple(sorted({*head.processes, *alive}, key=lambda p: p.pid)),
        vital=head.vital,
    )
    if grown != head:
        _record(home, grown)
    return grown


def is_alive(head: RayHead) -> bool:
    """Whether all that the head cannot do without still runs."""
    return bool(head.vital) and all(identity.is_alive(p) for p in head.vital)


def end(home: Home, head: RayHead) -> tuple[Identity, ...]:
    """End every process of the head by its identity; those that do not die. Nothing durable lives in Ray.

    All are stopped first, so that none starts another one behind our back.
    """
    before = None
    while head != before:
        for process in head.processes:
            identity.send(process, signal.SIGSTOP)
        before, head = head, note_processes(home, head)
    for process in head.processes:
        identity.send(process, signal.SIGKILL)
    deadline = time.monotonic() + END_DEADLINE
    left = head.processes
    while (left := tuple(p for p in left if identity.is_alive(p))) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not left:
        home.ray_file.unlink(missing_ok=True)
    return left


def _is_taken(port: int) -> bool:
    """Whether somebody listens there; what closed connections left behind does not count."""
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError:
            return True
    return False


def _await_address(child: subprocess.Popen[bytes], pointer: Path, home: Home) -> str:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if pointer.exists() and (address := pointer.read_text().strip()):
            return address
        if child.poll() is not None:
            break
        time.sleep(0.05)
    tail = home.ray_log.read_text(errors="replace").splitlines()[-15:]
    raise RayTrouble(
        f"Ray did not start within {START_DEADLINE:.0f} s; the end of {home.ray_log}:\n  "
        + "\n  ".join(tail)
    )


def _tree(pid: int) -> tuple[Identity, ...]:
    """The process and all its descendants, with their identities."""
    try:
        root = psutil.Process(pid)
        pids: Sequence[int] = [pid, *(p.pid for p in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return ()
    return tuple(_present(identity.of(p) for p in pids))


def _present(found: Iterable[Identity | None]) -> Iterable[Identity]:
    return (item for item in found if item is not None)


def _record(home: Home, head: RayHead) -> None:
    files.write_json(
        home.ray_file,
        {
            "schema": files.SCHEMA,
            "address": head.address,
            "temp_dir": head.temp_dir,
            "processes": [_as_json(p) for p in head.processes],
            "vital": [_as_json(p) for p in head.vital],
        },
    )


def _as_json(process: Identity) -> dict[str, object]:
    return {
        "boot_id": process.boot_id,
        "pid": process.pid,
        "start_ticks": process.start_ticks,
        "cookie": process.cookie,
    }


def _name(process: Identity) -> str:
    """The name of a process of ours; empty where it is gone already."""
    try:
        return str(psutil.Process(process.pid).name())
    except psutil.NoSuchProcess:
        return ""
