"""The controller's way to its hosts: a desk in a child process (Ray) or in this one (--debug)."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from campaign import ray_head
from campaign.home import Home
from campaign.hosts.desk import Desk
from campaign.hosts.leaser import NoLeaser
from campaign.hosts.messages import FACT, AnyFact, AnyMessage, Leave, Problem, Ready
from campaign.hosts.port import Host

CLOSE_DEADLINE = 30.0

Facts = queue.SimpleQueue[AnyFact]


class Link(Protocol):
    """Messages out, facts into the queue that it was made with."""

    def send(self, message: AnyMessage) -> None:
        """Queue a message; lost if the link is down, which `epoch` tells."""
        ...

    @property
    def epoch(self) -> int:
        """Grows each time the other side was started anew and knows nothing any more."""
        ...

    def tend(self) -> None:
        """Start the other side again if it is gone; called often, returns at once."""
        ...

    def close(self, *, stop_plane: bool) -> None:
        """End the link; with ``stop_plane`` also what was started for it. Trainers go on."""
        ...


class LocalLink:
    """This process is the only host: no Ray."""

    def __init__(
        self, facts: Facts, host: Host, name: str, watch: Callable[[str, tuple[str, ...]], None]
    ) -> None:
        self._stop = threading.Event()
        self._desk = Desk(
            emit=facts.put, hosts={name: host}, watch=watch, leaser=NoLeaser(), stop=self._stop
        )
        self._desk.open()
        facts.put(Ready(text="this process is the only host (--debug: no Ray, no MLflow)"))

    @property
    def epoch(self) -> int:
        return 1

    def send(self, message: AnyMessage) -> None:
        self._desk.take(message)

    def tend(self) -> None:
        return None

    def close(self, *, stop_plane: bool) -> None:
        self._desk.close()


class RayLink:
    """The child process `campaign.ray_link`: when Ray dies it dies, and is started again here."""

    RESTART_AFTER = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)

    def __init__(
        self,
        facts: Facts,
        home: Path,
        clock: Callable[[], float],
        *,
        address: str | None,
        cpu_slots: int | None,
    ) -> None:
        self._facts = facts
        self._home = home
        self._clock = clock
        self._address = address
        self._cpu_slots = cpu_slots
        self._child: subprocess.Popen[bytes] | None = None
        self._epoch = 0
        self._failures = 0
        self._next_start = 0.0
        self._write = threading.Lock()

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def tend(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._facts.put(Problem(text=f"the Ray link ended with code {self._child.returncode}"))
            self._child = None
            delay = self.RESTART_AFTER[min(self._failures, len(self.RESTART_AFTER) - 1)]
            self._failures += 1
            self._next_start = self._clock() + delay
        if self._child is None and self._clock() >= self._next_start:
            self._start()

    def _start(self) -> None:
        argv = [sys.executable, "-P", "-m", "campaign.ray_link", "--home", str(self._home)]
        if self._address is not None:
            argv += ["--ray-address", self._address]
        if self._cpu_slots is not None:
            argv += ["--cpu-slots", str(self._cpu_slots)]
        home = Home(root=self._home)
        ray_head.make_token(home)
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ray_head.environment(home, joining=self._address is not None),
            start_new_session=True,
        )
        self._epoch += 1
        reader = threading.Thread(target=self._read, args=(self._child,), daemon=True)
        reader.start()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            fact = FACT.validate_json(line)
            if isinstance(fact, Ready):
                self._failures = 0
            self._facts.put(fact)

    def send(self, message: AnyMessage) -> None:
        child = self._child
        if child is None or child.stdin is None:
            return
        try:
            with self._write:
                child.stdin.write(message.model_dump_json().encode() + b"\n")
                child.stdin.flush()
        except (BrokenPipeError, ValueError):
            # it has just died: tend() starts it again and the controller tells it everything
            return

    def close(self, *, stop_plane: bool) -> None:
        if stop_plane and self._address is not None:
            self.send(Leave())
        if (child := self._child) is not None and child.stdin is not None:
            child.stdin.close()  # its end of input is its good-bye
            try:
                child.wait(timeout=CLOSE_DEADLINE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        home = Home(root=self._home)
        if stop_plane and self._address is None and (head := ray_head.recorded(home)) is not None:
            ray_head.end(home, head)
