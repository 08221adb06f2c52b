"""A stage for tests of hosts: real attempts of misbehaving trainers, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from campaign.gpus.fake import FakeFileProbe
from campaign.hosts import identity, locks, mirror
from campaign.hosts.family import Survivors
from campaign.hosts.identity import Identity
from campaign.hosts.local import LocalHost
from campaign.hosts.mirror_host import MirroringHost
from campaign.hosts.mirror_ship import Shipper
from campaign.hosts.mirror_source import OwnFiles
from campaign.hosts.port import Cursor, Files, Host, Launch, Observation, Order, OrderAction
from specs.files import AttemptFiles, attempt_dir

ZOO = Path(__file__).parent / "zoo"
DEADLINE = 20.0
GPU = "GPU-00000000-aaaa-bbbb-cccc-000000000001"

HostFactory = Callable[[Path, str, Path | None], Host]
"""(home, name of the host, file with the report of its fake GPUs) -> host"""


def local_host(home: Path, name: str, report: Path | None) -> Host:
    script = home / "no-gpus.json" if report is None else report
    if report is None:
        script.write_text(json.dumps({"devices": []}))
    return LocalHost(
        home,
        probe=FakeFileProbe(script, host=name),
        cpu_slots=4,
        name=name,
        probe_argv=(sys.executable, "-I", "-S", str(ZOO / "probe.py"), str(script)),
    )


def apart(home: Path) -> Path:
    """Where a host keeps its attempts that does not share this home."""
    return home.with_name(f"{home.name}-apart")


def mirroring(host: Host, files: Files, home: Path, name: str) -> MirroringHost:
    """The host as the home has it."""
    return MirroringHost(
        host,
        files,
        name=name,
        home=home,
        shipper=Shipper(home, {name: files}),
        clock=time.monotonic,
    )


def host_apart(home: Path, name: str, report: Path | None) -> Host:
    files = OwnFiles(apart(home), apart=True)
    return mirroring(local_host(home, name, report), files, home, name)


def until(look: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first true value of ``look``; fails loudly after the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := look():
            return value
        time.sleep(0.005)
    raise AssertionError(f"after {seconds:g} s still not: {what}")


class Attempt:
    """One attempt on a host, as a test sees it."""

    def __init__(self, host: Host, launch: Launch) -> None:
        self.host = host
        self.launch = launch
        self.in_home = AttemptFiles(root=Path(launch.directory))
        self.work = Path(launch.cwd)

    @property
    def files(self) -> AttemptFiles:
        """Where the attempt lies: the host's own files of it."""
        place = mirror.place_of(self.in_home)
        if place is None:
            return self.in_home
        home = self.in_home.root.parents[2]
        return AttemptFiles(root=Path(place.there(home, self.launch.directory)))

    def start(self) -> Attempt:
        self.host.start(self.launch)
        return self

    def order(self, **fields: Any) -> None:
        self.host.order(self.launch.directory, order(**fields))

    def reap(self, **fields: Any) -> None:
        self.host.reap(self.launch.directory, order(**{"by": "controller", **fields}))

    def seen(self) -> Observation:
        """As soon as something is told of it: an end is told once the home has every file."""
        asked = {self.launch.directory: Cursor()}
        told = until(lambda: self.host.observe(asked), f"{self.launch.directory} is told of")
        assert isinstance(told[0], Observation)
        return told[0]

    def ended(self) -> Mapping[str, Any]:
        """exit.json, once it is there and every device is free again."""

        def over() -> Mapping[str, Any] | None:
            seen = self.seen()
            return None if seen.locks_held else seen.exit

        return until(over, f"{self.launch.directory} ended")

    def who(self, role: str, count: int = 1) -> list[Identity]:
        """The processes that said to have this role, once they are so many."""

        def said() -> list[Identity] | None:
            lines = _lines(self.work / "who")
            pids = [int(line.split()[1]) for line in lines if line.startswith(f"{role} ")]
            return [self._of(pid) for pid in pids] if len(pids) >= count else None

        return until(said, f"{count} x {role} in {self.work}")

    def notes(self) -> list[str]:
        return _lines(self.work / "notes")

    @property
    def shim(self) -> Identity:
        pid = until(lambda: self.seen().pid, "pid.json is there")
        found = identity.from_json(pid["shim"], boot=pid["boot_id"], cookie=None)
        assert found is not None
        return found

    def kill_shim(self) -> None:
        shim = self.shim
        identity.send(shim, signal.SIGKILL)
        assert identity.wait_gone(shim, DEADLINE)

    def _of(self, pid: int) -> Identity:
        known = identity.of(pid)
        return known or Identity(boot_id=identity.boot_id(), pid=pid, start_ticks=-1)


def order(**fields: Any) -> Order:
    given = {"key": "k", "action": OrderAction.STOP, "by": "user", "reason": "asked", **fields}
    return Order(**given)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class Stage:
    """Homes, hosts and attempts of one test."""

    def __init__(self, factory: HostFactory, root: Path) -> None:
        self._factory = factory
        self.root = root
        self.home = self.new_home("home")
        self._hosts: dict[tuple[Path, Path | None], Host] = {}
        self._cookies: list[str] = []
        self._bystanders: list[subprocess.Popen[bytes]] = []
        self._runs = 0

    @property
    def shares_home(self) -> bool:
        return self.host().describe().shares_home

    def new_home(self, name: str) -> Path:
        home = self.root / name
        home.mkdir(mode=0o700)
        return home

    def host(self, *, home: Path | None = None, report: Path | None = None) -> Host:
        key = (home or self.home, report)
        if key not in self._hosts:
            self._hosts[key] = self._factory(key[0], "here", report)
        return self._hosts[key]

    def attempt(
        self,
        animal: str,
        *arguments: str,
        home: Path | None = None,
        report: Path | None = None,
        devices: tuple[str, ...] = ("cpu:here:0",),
        **fields: Any,
    ) -> Attempt:
        """An attempt of one animal of the zoo that is not started yet, in a directory of its own."""
        self._runs += 1
        work = self.root / f"work-{self._runs}"
        work.mkdir()
        cookie = secrets.token_hex(16)
        self._cookies.append(cookie)
        given = {
            "directory": str(attempt_dir(home or self.home, "c", f"run{self._runs}", 1)),
            "campaign": "c",
            "run": f"run{self._runs}",
            "attempt": 1,
            "cookie": cookie,
            "argv": (sys.executable, "-I", "-S", str(ZOO / f"{animal}.py"), *arguments),
            "cwd": str(work),
            "env": {"PATH": os.environ["PATH"], "FROM_THE_LAUNCHER": "yes"},
            "devices": devices,
            "spec": {"start": {"checkpoint": None}},
            "grace": 10.0,
            **fields,
        }
        return Attempt(self.host(home=home, report=report), Launch(**given))

    def bystander(self, *, cookie: str | None = None) -> tuple[Identity, Path]:
        """Somebody else's process of the same program name, and the file of what reached it."""
        work = self.root / f"bystander-{len(self._bystanders)}"
        work.mkdir()
        environment = {} if cookie is None else {"CAMPAIGN_ATTEMPT": cookie}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(ZOO / "bystander.py")], cwd=work, env=environment
        )
        self._bystanders.append(process)
        until(lambda: _lines(work / "who"), "the bystander is there")
        found = identity.of(process.pid)
        assert found is not None
        return found, work / "notes"

    def close(self) -> None:
        """Nothing of ours survives a test, whatever went wrong in it."""
        for process in self._bystanders:
            process.kill()
            process.wait()
        for cookie in self._cookies:
            left = Survivors(cookie, None)
            while members := left.members():
                for member in members:
                    left.kill(member)
                time.sleep(0.01)


def gpu_report(path: Path, **device: Any) -> Path:
    """A report with one GPU."""
    known = {"id": GPU, "index": 0, "name": "fake", "memory_total": 2**30, "memory_used": 0}
    report = {"probe": "fake", "devices": [{**known, "kind": "gpu", "host": "here", **device}]}
    path.write_text(json.dumps(report))
    return path


def nobody_carries(cookie: str) -> bool:
    return not identity.carriers(cookie)


def is_free(attempt: Attempt) -> bool:
    record = json.loads(attempt.files.launch.read_text())
    return not any(locks.is_held(Path(path)) for path in record["locks"].values())
