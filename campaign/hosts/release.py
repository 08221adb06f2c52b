"""Whether a GPU is free: before a trainer starts, and again after everything of it is dead.

That a process is gone does not mean that its memory is: the probe is asked. Reports are the JSON of
`campaign.gpus.probe.DeviceReport`, printed by a program of its own, because a call into a driver may
hang for ever. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from campaign.hosts.identity import Identity, cookie_of
from campaign.hosts.ladder import Clock, Ending, Outcome
from campaign.hosts.records import LaunchRecord

PROBE_TIMEOUT = 10.0
RELEASE_TIMEOUT = 60.0
SLACK = 64 * 2**20
"""Bytes above the baseline that still count as given back."""

_POLL = 0.5

Report = Mapping[str, Any]
Probe = Callable[[], Report]


def run_probe(argv: Sequence[str], environment: Mapping[str, str]) -> Report:
    """One report. Trouble of any kind is a report that is unknown: never read as free."""
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )
    except OSError as error:
        return _unknown(f"the probe cannot be started: {error}")
    try:
        out, _ = child.communicate(timeout=PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()  # not waited for: it may sleep inside the driver
        return _unknown(f"the probe gave no answer within {PROBE_TIMEOUT:g} s")
    return _parsed(out, child.returncode)


def _parsed(out: bytes, code: int) -> Report:
    lines = out.strip().splitlines()
    try:
        report = json.loads(lines[-1]) if lines else None  # a driver may print before the report
    except ValueError:
        report = None
    if code != 0 or not isinstance(report, dict) or not isinstance(report.get("devices"), list):
        return _unknown(f"the probe ended with code {code} and gave no report")
    return report


def _unknown(problem: str) -> Report:
    return {"probe": "unknown", "devices": [], "problem": problem}


# ---------------------------------------------------------------- before the start


def refusal(report: Report, gpus: Sequence[str]) -> str | None:
    """Why a trainer may not start on these GPUs; None if every one is there, well and unused."""
    for gpu in gpus:
        if problem := _not_usable(report, gpu):
            return problem
        if users := _device(report, gpu).get("processes"):
            return f"{gpu} is used by {_people(users)}"
    return None


def used_bytes(report: Report, gpus: Sequence[str]) -> dict[str, int]:
    """Memory in use on each GPU (bytes)."""
    return {gpu: int(_device(report, gpu).get("memory_used") or 0) for gpu in gpus}


def _not_usable(report: Report, gpu: str) -> str | None:
    if report.get("probe") == "unknown":
        return f"it is unknown whether {gpu} is free: {report.get('problem')}"
    device = _device(report, gpu)
    if not device:
        return f"{gpu} is not on this host"
    if device.get("problem"):
        return f"{gpu}: {device['problem']}"
    return None


def _device(report: Report, gpu: str) -> Mapping[str, Any]:
    for device in report["devices"]:
        if isinstance(device, dict) and device.get("id") == gpu:
            return device
    return {}


def _people(processes: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(_person(process) for process in processes)


def _person(process: Mapping[str, Any]) -> str:
    name = f" ({process['name']})" if process.get("name") else ""
    user = process.get("user") or process.get("uid")
    owner = "a user unknown here" if user is None else f"user {user}"
    memory = process.get("memory_bytes")
    size = "memory unknown" if memory is None else f"{memory / 2**20:.0f} MiB"
    return f"process {process.get('pid')}{name} of {owner}, {size}"


# ---------------------------------------------------------------- after the end


def after(
    launch: LaunchRecord,
    ending: Ending,
    *,
    leader: Identity | None,
    baseline: Mapping[str, int],
    probe: Probe,
    clock: Clock,
    rebooted: bool = False,
) -> dict[str, Any] | None:
    """``gpu_release`` of exit.json: None where the attempt had no GPU.

    ``rebooted``: the host was, after the attempt began. Nothing in a GPU outlives that, and the GPU itself may be
    another one now, so nobody is asked.
    """
    if not launch.gpus:
        return None
    if rebooted:
        return {"ok": True, "seconds": 0.0, "detail": "not checked: the host was rebooted since"}
    if ending.outcome is Outcome.STUCK:
        return {"ok": False, "seconds": 0.0, "detail": "; ".join(ending.left)}
    if not launch.probe_argv:
        return {"ok": True, "seconds": 0.0, "detail": "not checked: no probe is configured"}
    known = {*ending.swept, *(() if leader is None else (leader.pid,))}
    return await_release(
        launch.gpus,
        baseline=baseline,
        ours=lambda pid: pid in known or cookie_of(pid) == launch.cookie,
        probe=probe,
        clock=clock,
    )


def await_release(
    gpus: Sequence[str],
    *,
    baseline: Mapping[str, int],
    ours: Callable[[int], bool],
    probe: Probe,
    clock: Clock,
) -> dict[str, Any]:
    """Ask until no process of ours is listed and memory is back at its baseline, for 60 s at most.

    ``ours`` knows pids of the attempt. A process that this host does not show (``uid`` is absent) was
    not there before the start, so it counts as ours; memory of other people's processes does not.
    """
    began = clock.monotonic()
    while True:
        report = probe()
        held = [text for gpu in gpus if (text := _held(report, gpu, baseline.get(gpu, 0), ours))]
        waited = clock.monotonic() - began
        if not held or waited >= RELEASE_TIMEOUT:
            return {"ok": not held, "seconds": round(waited, 3), "detail": "; ".join(held)}
        clock.wait(_POLL)


def _held(report: Report, gpu: str, baseline: int, ours: Callable[[int], bool]) -> str | None:
    """What still keeps the GPU; None if it is free."""
    if problem := _not_usable(report, gpu):
        return problem
    device = _device(report, gpu)
    users: Sequence[Mapping[str, Any]] = device.get("processes") or ()
    mine = [p for p in users if p.get("uid") is None or ours(int(p["pid"]))]
    if mine:
        return f"{gpu} is still held by {_people(mine)}"
    foreign = sum(int(p.get("memory_bytes") or 0) for p in users)
    above = int(device.get("memory_used") or 0) - foreign - baseline
    if above > SLACK:
        keepers = _device_file_holders()
        names = f", /dev/nvidia* is open in {keepers}" if keepers else ""
        return f"{gpu} has {above / 2**20:.0f} MiB more in use than before the start{names}"
    return None


def _device_file_holders() -> str:
    """Processes of this user that have a GPU's device file open: who may keep its memory."""
    holders = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]  # noqa: PTH115, PTH208
        except OSError:  # gone, or another user's
            continue
        if any(link.startswith("/dev/nvidia") for link in links):
            holders.append(pid)
    return ", ".join(holders)
