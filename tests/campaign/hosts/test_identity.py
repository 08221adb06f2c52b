from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.hosts import identity
from campaign.hosts.identity import Delivery, Identity
from tests.support.hosts import until

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        SLEEP, env={"CAMPAIGN_ATTEMPT": "abc", "OTHER": "CAMPAIGN_ATTEMPT=x"}
    )
    yield process
    process.kill()
    process.wait()


def of(process: subprocess.Popen[bytes], cookie: str | None = None) -> Identity:
    found = identity.of(process.pid, cookie)
    assert found is not None
    return found


@given(
    name=st.binary(max_size=15).filter(lambda b: b"\n" not in b),
    pid=st.integers(1, 2**22),
    ticks=st.integers(0, 2**63),
)
def test_a_process_may_have_any_name_and_its_numbers_are_still_read(
    name: bytes, pid: int, ticks: int
) -> None:
    middle = " ".join(str(n) for n in range(6, 22))
    line = b"%d (%s) S 4 5 %s %d 23 24\n" % (pid, name, middle.encode(), ticks)
    found = identity.parse_stat(line)
    assert (found.pid, found.state, found.parent, found.group) == (pid, "S", 4, 5)
    assert found.start_ticks == ticks


@pytest.mark.parametrize("line", [b"", b"12", b"12 (a) S 4", b"nothing like it"])
def test_what_is_no_stat_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="is no line of"):
        identity.parse_stat(line)


def test_a_live_process_is_alive_and_a_zombie_is_dead(child: subprocess.Popen[bytes]) -> None:
    who = of(child)
    assert identity.is_alive(who)
    child.kill()
    assert identity.wait_gone(who, 10.0)
    assert identity.stat(child.pid) is not None  # unreaped: it still has its pid
    assert not identity.is_alive(who)
    assert identity.of(child.pid) is None


def test_waiting_for_one_that_lives_ends_at_the_deadline(child: subprocess.Popen[bytes]) -> None:
    assert not identity.wait_gone(of(child), 0.01)


@pytest.mark.parametrize(
    ("change", "delivery"),
    [
        ({"start_ticks": 1}, Delivery.OTHER),
        ({"cookie": "another"}, Delivery.OTHER),
        ({"boot_id": "earlier"}, Delivery.GONE),
    ],
)
def test_a_signal_never_reaches_a_process_that_is_another_one(
    child: subprocess.Popen[bytes], change: dict[str, object], delivery: Delivery
) -> None:
    meant = replace(of(child, "abc"), **change)  # type: ignore[arg-type]
    assert identity.send(meant, signal.SIGKILL) is delivery
    assert child.poll() is None
    assert not identity.matches(meant)


def test_a_signal_reaches_the_one_that_is_meant(child: subprocess.Popen[bytes]) -> None:
    assert identity.send(of(child, "abc"), signal.SIGTERM) is Delivery.DELIVERED
    assert child.wait(10.0) == -signal.SIGTERM


def test_a_signal_to_a_reaped_process_finds_nobody(child: subprocess.Popen[bytes]) -> None:
    who = of(child, "abc")
    child.kill()
    child.wait()
    assert identity.send(who, signal.SIGTERM) is Delivery.GONE


def test_a_descriptor_means_its_process_even_after_the_pid_is_free(
    child: subprocess.Popen[bytes],
) -> None:
    fd = identity.open_pidfd(of(child, "abc"))
    assert isinstance(fd, int)
    child.kill()
    child.wait()
    assert identity.send_through(fd, signal.SIGTERM) is Delivery.GONE
    os.close(fd)


def test_cookies_are_found_with_who_carries_them(child: subprocess.Popen[bytes]) -> None:
    until(lambda: identity.cookie_of(child.pid) == "abc", "the child was executed")
    assert child.pid in identity.cookies()["abc"]
    assert [who.pid for who in identity.carriers("abc")] == [child.pid]
    assert identity.carriers("ab") == []


def test_the_one_who_looks_is_not_among_the_carriers() -> None:
    program = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from campaign.hosts import identity\n"
        "print(len(identity.carriers('mine')), len(identity.cookies()['mine']))"
    )
    root = identity.__file__.rsplit("/campaign/", 1)[0]
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, root],
        env={"CAMPAIGN_ATTEMPT": "mine"},
        capture_output=True,
        check=True,
    )
    assert shown.stdout.split() == [b"0", b"1"]


def test_descendants_are_found_over_generations(child: subprocess.Popen[bytes]) -> None:
    fork = "import os, time; os.fork(); os.fork(); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-I", "-S", "-c", fork])
    try:
        below = until(
            lambda: (d := identity.descendants([parent.pid])) and len(d) == 3 and d, "three below"
        )
        assert parent.pid not in {who.pid for who in below}
        assert {who.pid for who in below} < {w.pid for w in identity.descendants([os.getpid()])}
        for who in below:
            assert identity.send(who, signal.SIGKILL) is Delivery.DELIVERED
    finally:
        parent.kill()
        parent.wait()


def test_a_group_is_signalled_through_its_leader(child: subprocess.Popen[bytes]) -> None:
    fork = "import os, time; os.fork(); time.sleep(60)"
    leader = subprocess.Popen([sys.executable, "-I", "-S", "-c", fork], process_group=0)
    [worker] = until(lambda: identity.descendants([leader.pid]), "the worker")
    sent = identity.send(of(leader), signal.SIGKILL, group=True)
    if sent is Delivery.UNSUPPORTED:  # before Linux 6.9 a reaper has no such call
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    assert identity.wait_gone(worker, 10.0)
    assert child.poll() is None


def test_whether_a_process_handles_a_signal_is_read_from_the_kernel() -> None:
    handler = (
        "import signal, time; signal.signal(10, lambda *_: None); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", handler], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert identity.handles(process.pid, signal.SIGUSR1)
        assert not identity.handles(process.pid, signal.SIGUSR2)
    finally:
        process.kill()
        process.communicate()


def test_the_start_does_not_move_with_the_clock(child: subprocess.Popen[bytes]) -> None:
    """Ticks since boot: later processes have no smaller ones, whatever the wall clock says."""
    before = of(child).start_ticks
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    assert 0 < before <= uptime
