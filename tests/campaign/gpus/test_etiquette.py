from __future__ import annotations

import pytest

from campaign.gpus.etiquette import (
    GIB,
    IDLE_LIMIT,
    MIB,
    TOLERANCE,
    Ours,
    Sight,
    Use,
    judge,
    look,
    look_at_host,
    memory_text,
)
from campaign.gpus.probe import Device, DeviceKind, DeviceProcess, DeviceReport, ProbeKind

UID = 1000
NOBODY = Ours(uid=UID)


def gpu(*processes: DeviceProcess, used: int = 0, problem: str | None = None) -> Device:
    return Device(
        id="GPU-1",
        kind=DeviceKind.GPU,
        host="hosta",
        index=0,
        name="test",
        memory_total=80 * GIB,
        memory_used=used,
        processes=processes,
        problem=problem,
    )


def process(
    pid: int, *, user: str | None = "alice", uid: int | None = 7, held: int | None = 41 * GIB
) -> DeviceProcess:
    return DeviceProcess(pid=pid, user=user, uid=uid, memory_bytes=held, name="python")


def ours(*pids: int, device: str = "GPU-1") -> Ours:
    return Ours(uid=UID, pids={device: frozenset(pids)})


@pytest.mark.parametrize(
    ("device", "own", "use"),
    [
        (gpu(), NOBODY, Use.FREE),
        (gpu(used=TOLERANCE), NOBODY, Use.FREE),
        (gpu(used=TOLERANCE + 1), NOBODY, Use.GHOST),
        (gpu(process(5)), ours(5), Use.OURS),
        (gpu(process(5), used=41 * GIB), ours(5), Use.OURS),
        (gpu(process(5)), NOBODY, Use.FOREIGN),
        (gpu(process(5), process(6)), ours(5), Use.FOREIGN),
        (gpu(process(5, held=0)), NOBODY, Use.FOREIGN),
        (gpu(process(5, user=None, uid=None)), NOBODY, Use.FOREIGN),
        (gpu(process(5, uid=UID)), NOBODY, Use.FOREIGN),
        (gpu(process(5)), ours(5, device="GPU-2"), Use.FOREIGN),
        (gpu(problem="NVML: GPU is lost"), NOBODY, Use.UNKNOWN),
        (gpu(process(5), problem="NVML: GPU is lost"), ours(5), Use.UNKNOWN),
    ],
)
def test_a_gpu_is_free_only_without_process_memory_and_problem(
    device: Device, own: Ours, use: Use
) -> None:
    assert judge(device, own).use is use


def test_memory_that_cannot_be_read_leaves_the_process_list_to_decide() -> None:
    device = gpu().model_copy(update={"memory_total": None, "memory_used": None})
    assert judge(device, NOBODY).use is Use.FREE


def test_memory_up_to_the_idle_baseline_is_no_ghost() -> None:
    assert judge(gpu(used=500 * MIB), NOBODY, baseline=450 * MIB).use is Use.FREE


@pytest.mark.parametrize(
    ("processes", "own", "brief", "sentence"),
    [
        ([process(5)], NOBODY, "alice, 41 GiB", "process 5 (python) of alice holds 41 GiB"),
        ([process(5, held=None)], NOBODY, "alice, 0 MiB", "process 5 (python) of alice"),
        (
            [process(5, held=GIB), process(6, held=2 * GIB)],
            NOBODY,
            "alice, 3.0 GiB",
            "process 6 (python) of alice holds 2.0 GiB",
        ),
        ([process(5, user=None)], NOBODY, "uid 7, 41 GiB", "of uid 7"),
        ([process(5, user=None, uid=None)], NOBODY, "a hidden user, 41 GiB", "of a hidden user"),
        ([process(5, user="me", uid=UID)], NOBODY, "me, 41 GiB", "yours, but no run of this home"),
        ([process(5)], ours(5, device="GPU-2"), "alice, 41 GiB", "leases another device"),
    ],
)
def test_the_reason_names_user_process_and_memory_of_a_stranger(
    processes: list[DeviceProcess], own: Ours, brief: str, sentence: str
) -> None:
    use = judge(gpu(*processes), own)
    assert use.brief == brief
    assert sentence in use.reason
    assert use.strangers == tuple(processes)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 MiB"), (512 * MIB, "512 MiB"), (GIB * 3 // 2, "1.5 GiB"), (41 * GIB, "41 GiB")],
)
def test_memory_is_told_in_the_unit_that_fits(size: int, text: str) -> None:
    assert memory_text(size) == text


def series(*devices: tuple[Device, Ours]) -> Sight:
    """The sight after one look a second, from time 0."""
    sight: Sight | None = None
    for now, (device, own) in enumerate(devices):
        sight = look(sight, device, own, float(now))
    assert sight is not None
    return sight


FREE = (gpu(), NOBODY)
MINE = (gpu(process(5)), ours(5))
STRANGE = (gpu(process(9)), NOBODY)
GHOST = (gpu(used=GIB), NOBODY)
DOUBT = (gpu(problem="NVML: Unknown Error"), NOBODY)


@pytest.mark.parametrize(
    ("looks", "clear_since"),
    [
        ([FREE], 0),
        ([FREE, FREE, FREE], 0),
        ([FREE, STRANGE, FREE, FREE], 2),
        ([FREE, DOUBT, FREE], 2),
        ([STRANGE], None),
        ([DOUBT], None),
        ([FREE, MINE, FREE], 0),
        ([MINE, GHOST, GHOST, FREE], 0),
        ([FREE, GHOST, FREE], 2),
        ([STRANGE, GHOST, FREE], 2),
        ([MINE, STRANGE, GHOST, FREE], 3),
    ],
)
def test_clear_time_counts_from_the_first_look_of_a_row_without_a_stranger(
    looks: list[tuple[Device, Ours]], clear_since: float | None
) -> None:
    assert series(*looks).clear_since == clear_since


def test_the_baseline_is_the_least_memory_seen_in_use_on_an_idle_gpu() -> None:
    idle, idler = gpu(used=400 * MIB), gpu(used=300 * MIB)
    sight = series((idle, NOBODY), MINE, (idler, NOBODY), (idle, NOBODY))
    assert sight.baseline == 300 * MIB
    assert sight.use.use is Use.GHOST


def test_a_gpu_that_holds_much_without_a_process_was_never_idle() -> None:
    sight = series((gpu(used=IDLE_LIMIT + 1), NOBODY))
    assert (sight.baseline, sight.use.use) == (None, Use.GHOST)


def report(*devices: Device, probe: ProbeKind = ProbeKind.REAL, **more: str) -> DeviceReport:
    return DeviceReport(probe=probe, devices=devices, **more)  # type: ignore[arg-type]


def test_a_probe_that_knows_nothing_makes_every_known_device_unknown() -> None:
    before = look_at_host({}, report(gpu()), NOBODY, 0.0)
    doubt = report(probe=ProbeKind.UNKNOWN, problem="NVML hung")
    after = look_at_host(before, doubt, NOBODY, 1.0)
    assert after["GPU-1"].use.use is Use.UNKNOWN
    assert after["GPU-1"].use.reason == "NVML hung"
    assert after["GPU-1"].clear_since is None


@pytest.mark.parametrize("probe", [ProbeKind.REAL, ProbeKind.NONE])
def test_a_device_that_is_no_longer_listed_is_unknown_and_keeps_its_baseline(
    probe: ProbeKind,
) -> None:
    before = look_at_host({}, report(gpu(used=100 * MIB)), NOBODY, 0.0)
    after = look_at_host(before, report(probe=probe), NOBODY, 1.0)
    assert after["GPU-1"].use.use is Use.UNKNOWN
    assert "no longer lists" in after["GPU-1"].use.reason
    assert after["GPU-1"].baseline == 100 * MIB
