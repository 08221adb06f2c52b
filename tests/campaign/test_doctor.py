from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

from campaign.checks import alerts, gpus, kernel, places, software
from campaign.checks.finding import Check, Context, Finding, Level, nearest_existing, ok
from campaign.doctor import CHECKS, healthy, run_checks
from campaign.gpus.fake import FakeProbe
from campaign.gpus.probe import Device, DeviceKind, DeviceReport, GpuProbe, ProbeKind


class _Says:
    """A probe that gives one report as it is, whatever its kind."""

    def __init__(self, report: DeviceReport) -> None:
        self._report = report

    def report(self) -> DeviceReport:
        return self._report


def gpu(index: int, problem: str | None = None) -> Device:
    return Device(
        id=f"GPU-aa0{index}",
        kind=DeviceKind.GPU,
        host="hosta",
        index=index,
        name="NVIDIA Test",
        problem=problem,
    )


def says(kind: ProbeKind, *devices: Device, problem: str | None = None) -> GpuProbe:
    return _Says(DeviceReport(probe=kind, devices=devices, problem=problem, driver="580.1"))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A sound machine without GPUs: home and runtime directory of a test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    return Context(
        home=tmp_path / "home",
        runtime=runtime,
        host="hosta",
        environ={},
        probe=says(ProbeKind.NONE),
    )


def changed(context: Context, **facts: object) -> Context:
    return Context(**{**vars(context), **facts})  # type: ignore[arg-type]


def levels(check: Check, context: Context) -> list[Level]:
    return [finding.level for finding in check(context)]


# ---------------------------------------------------------------- the doctor


def test_every_finding_that_is_not_ok_says_what_to_do(context: Context) -> None:
    findings = run_checks(context.home, context=context)
    assert findings
    assert all(f.sentence for f in findings)
    assert all(f.advice for f in findings if f.level is not Level.OK)


def test_looking_changes_nothing(context: Context) -> None:
    run_checks(context.home, context=context)
    assert not context.home.exists()
    assert context.runtime is not None
    assert list(context.runtime.iterdir()) == []


def test_a_check_that_breaks_is_a_failure_and_the_others_still_run(context: Context) -> None:
    def broken(context: Context) -> Iterable[Finding]:
        raise RuntimeError("boom")

    def sound(context: Context) -> Iterable[Finding]:
        yield ok("Ray", "a later check")

    findings = run_checks(context.home, context=context, more=(broken, sound))
    assert findings[-2].level is Level.FAIL
    assert "boom" in findings[-2].sentence
    assert findings[-1].sentence == "a later check"
    assert not healthy(findings)


def test_warnings_are_healthy() -> None:
    warning = Finding(check="x", level=Level.WARN, sentence="s", advice="a")
    assert healthy([warning])
    assert not healthy([warning, Finding(check="x", level=Level.FAIL, sentence="s")])


def test_every_check_of_every_part_is_run() -> None:
    parts = (software, kernel, places, gpus, alerts)
    assert set(CHECKS) == {check for part in parts for check in part.CHECKS}


# ---------------------------------------------------------------- kernel


@pytest.mark.parametrize(
    "check", [kernel.pidfd, kernel.subreaper, kernel.lock_inheritance, kernel.proc]
)
def test_a_kernel_on_which_the_shim_works_is_ok(check: Check, context: Context) -> None:
    assert levels(check, context) == [Level.OK]


def test_a_kernel_without_pidfd_fails(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, number: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert levels(kernel.pidfd, context) == [Level.FAIL]


def test_a_kernel_without_subreaper_fails(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphaned = kernel._SUBREAPER.replace(
        "ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)", "0"
    )
    assert orphaned != kernel._SUBREAPER
    # without it the grandchild goes to another parent, and there is no child left to wait for
    monkeypatch.setattr(kernel, "_SUBREAPER", orphaned)
    assert levels(kernel.subreaper, context) == [Level.FAIL]


def test_a_lock_that_a_child_does_not_inherit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda argv, *, pass_fds, **rest: start(argv, **rest))
    assert "lost" in (kernel.lock_problem(tmp_path / "a.lock") or "")


@pytest.mark.parametrize(
    ("limit", "level"), [(256, Level.FAIL), (2048, Level.WARN), (65536, Level.OK)]
)
def test_few_open_files_are_told(
    limit: int, level: Level, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, limit))
    assert levels(kernel.open_files, context) == [level]


# ---------------------------------------------------------------- places


def test_no_runtime_directory_fails_with_its_reason(context: Context) -> None:
    (found,) = places.runtime(changed(context, runtime=None, runtime_problem="/tmp/x is a link"))
    assert (found.level, found.sentence) == (Level.FAIL, "/tmp/x is a link")


@pytest.mark.parametrize(("spare", "level"), [(0, Level.OK), (-1, Level.FAIL)])
def test_a_runtime_directory_must_leave_room_for_rays_sockets(
    spare: int, level: Level, context: Context
) -> None:
    longest = 107 - places.BELOW_RUNTIME
    path = Path("/" + "x" * (longest - 1 - spare))
    assert levels(places.runtime, changed(context, runtime=path)) == [Level.OK, level]


MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:28 / /home rw,relatime shared:2 master:3 - nfs4 server:/home rw
31 30 0:29 / /home/me/scratch rw,relatime - xfs /dev/nvme0n1 rw
32 27 0:30 / /mnt/my\040disk rw,relatime - fuse.sshfs me@server: rw
33 27 0:31 / /over rw,relatime - ext4 /dev/old rw
34 33 0:32 / /over rw,relatime - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "source"),
    [
        ("/srv/runs", "ext4", "/dev/vda"),
        ("/home/me/runs", "nfs4", "server:/home"),
        ("/home/me/scratch/runs", "xfs", "/dev/nvme0n1"),
        ("/homework", "ext4", "/dev/vda"),
        ("/mnt/my disk/runs", "fuse.sshfs", "me@server:"),
        ("/over/runs", "tmpfs", "tmpfs"),
        ("/", "ext4", "/dev/vda"),
    ],
)
def test_a_path_lies_on_the_deepest_and_newest_mount_above_it(
    path: str, kind: str, source: str
) -> None:
    mount = places.mount_of(Path(path), MOUNTINFO.strip())
    assert (mount.type, mount.source) == (kind, source)


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("ext4", Level.OK),
        ("overlay", Level.OK),
        ("nfs4", Level.FAIL),
        ("fuse.sshfs", Level.FAIL),
        ("lustre", Level.FAIL),
        ("tmpfs", Level.WARN),
        ("9p", Level.WARN),
    ],
)
def test_a_home_belongs_on_a_file_system_of_this_host(
    kind: str, level: Level, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"27 1 254:0 / / rw - {kind} source rw"
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert levels(places.home_file_system, context) == [level]


def test_a_full_disk_fails(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEAST_FREE", 1 << 60)
    assert levels(places.disk_space, context) == [Level.FAIL]


def test_a_store_can_be_kept_at_the_home(context: Context) -> None:
    assert levels(places.sqlite, context) == [Level.OK]


@pytest.mark.parametrize("version", [(3, 34, 1), (2, 8, 0)])
def test_an_old_sqlite_fails(
    version: tuple[int, int, int], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert levels(places.sqlite, context) == [Level.FAIL]


def test_the_nearest_directory_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path
    assert nearest_existing(tmp_path) == tmp_path


# ---------------------------------------------------------------- software


def test_the_installed_versions_are_in_the_ranges_that_the_package_declares(
    context: Context,
) -> None:
    assert {f.check for f in software.versions(context)} == {"Python", *software.CHECKED}
    assert set(levels(software.versions, context)) == {Level.OK}


@pytest.mark.parametrize("have", ["2.59.1", "2.61.0", "3.0"])
def test_a_version_outside_of_its_range_fails(have: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: have)
    assert software._version("ray", ">=2.60,<2.61").level is Level.FAIL


def test_a_missing_package_fails() -> None:
    assert software._version("no-such-package", ">=1").level is Level.FAIL


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (None, Level.OK),
        ("0", Level.OK),
        ("False", Level.OK),
        ("", Level.OK),
        ("1", Level.FAIL),
        ("true", Level.FAIL),
        ("yes", Level.FAIL),
    ],
)
def test_the_setting_under_which_ray_kills_trainers_is_refused(
    value: str | None, level: Level, context: Context
) -> None:
    environ = {} if value is None else {software.SUBREAPER: value}
    assert levels(software.ray_settings, changed(context, environ=environ)) == [level]


# ---------------------------------------------------------------- GPUs


@pytest.mark.parametrize(
    ("kind", "driver_loaded", "problem", "level", "words"),
    [
        (ProbeKind.REAL, True, None, Level.OK, "driver 580.1: hosta:0 (GPU-aa00)"),
        (ProbeKind.REAL, True, "GPU 3 does not tell", Level.WARN, "GPU 3 does not tell"),
        (ProbeKind.NONE, False, None, Level.OK, "no GPU"),
        (ProbeKind.NONE, True, None, Level.WARN, "driver is loaded"),
        (ProbeKind.UNKNOWN, True, "NVML hung", Level.FAIL, "in doubt: NVML hung"),
        (ProbeKind.FAKE, False, None, Level.WARN, "SIMULATED"),
    ],
)
def test_doubt_about_gpus_is_a_failure_and_no_gpu_is_none(
    kind: ProbeKind, driver_loaded: bool, problem: str | None, level: Level, words: str
) -> None:
    devices = (gpu(0),) if kind is ProbeKind.REAL else ()
    report = DeviceReport(probe=kind, devices=devices, problem=problem, driver="580.1")
    found = gpus.probe_finding(report, driver_loaded=driver_loaded)
    assert found.level is level
    assert words in found.sentence


def test_a_gpu_with_a_problem_is_told(context: Context) -> None:
    probe = says(ProbeKind.REAL, gpu(0, "NVML: GPU is lost"), gpu(1))
    told = [f for f in gpus.gpus(changed(context, probe=probe)) if f.check == "GPU"]
    assert [f.level for f in told] == [Level.WARN]
    assert "GPU-aa00" in told[0].sentence


def test_an_exclusion_that_names_no_gpu_is_told_and_one_that_does_is_counted(
    context: Context,
) -> None:
    context.home.mkdir()
    (context.home / "campaign.toml").write_text('[gpus]\nexclude = ["GPU-aa00", "GPU-dead"]')
    probe = says(ProbeKind.REAL, gpu(0), gpu(1))
    found = {f.check: f for f in gpus.gpus(changed(context, probe=probe))}
    assert "cover: 1" in found["configuration"].sentence
    assert found["exclusion"].level is Level.WARN
    assert "GPU-dead" in found["exclusion"].sentence


def test_a_configuration_that_cannot_be_used_fails(context: Context) -> None:
    context.home.mkdir()
    (context.home / "campaign.toml").write_text("[gpus]\nexclud = [1]\nquit = 2")
    told = [f for f in gpus.gpus(context) if f.check == "configuration"]
    assert [f.level for f in told] == [Level.FAIL, Level.FAIL]


def test_simulated_gpus_are_never_taken_for_real_ones(context: Context) -> None:
    probe = FakeProbe([DeviceReport(probe=ProbeKind.REAL, devices=(gpu(0),))])
    found = list(gpus.gpus(changed(context, probe=probe)))
    assert "SIMULATED" in found[0].sentence


def test_the_doctor_sees_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    findings = run_checks(tmp_path)
    assert {"pidfd", "SQLite", "GPUs"} <= {f.check for f in findings}
