"""A small trainer with everything that resumption must carry, and a session that records."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.files import AttemptFiles, BadCheckpoint, complete_lines, parse_metric_line
from trainers.clock import Clock
from trainers.events import EventLog
from trainers.fit import Session
from trainers.metrics import MetricWriter
from trainers.protocol import Evidence, NonFinite, Snapshot
from trainers.retention import Retention
from trainers.signals import Flags


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def draws_of_its_own(request: pytest.FixtureRequest) -> None:
    """Seeds torch by the test's name: what a test draws depends neither on those before it nor on its worker."""
    torch.manual_seed(zlib.crc32(request.node.nodeid.encode()))


class Toy:
    """Regression with Adam, a parameter average and dropout of its own random stream.

    ``hooks`` maps a step that is done to what happens at its end.
    """

    def __init__(self, *, steps: int = 12, seed: int = 0, **every: int) -> None:
        self.total_steps = steps
        self.evaluate_every = every.get("evaluate", 3)
        self.checkpoint_every = every.get("checkpoint", 4)
        self.log_every = every.get("log", 2)
        self.random = torch.Generator().manual_seed(seed)
        self.model = torch.nn.Linear(5, 3)
        with torch.no_grad():
            for tensor in self.model.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=self.random))
        self.ema = {name: t.detach().clone() for name, t in self.model.named_parameters()}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.05)
        self.step = 0
        self.phase: str | None = None
        self.finite = True
        self.losses: list[float] = []
        self.hooks: dict[int, Callable[[], None]] = {}

    def describe(self) -> Mapping[str, Any]:
        return {"parameters": 18}

    def advance(self) -> Mapping[str, float]:
        batch = torch.randn((4, 5), generator=torch.Generator().manual_seed(1000 + self.step))
        kept = torch.rand((4, 5), generator=self.random) > 0.2
        loss = (self.model(batch * kept) - batch[:, :3]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for name, tensor in self.model.named_parameters():
            self.ema[name].lerp_(tensor.detach(), 0.1)
        self.step += 1
        self.losses.append(loss.item())
        self.hooks.get(self.step, lambda: None)()
        return {"train/loss": loss.item()}

    def evaluate(self) -> Mapping[str, float]:
        with torch.no_grad():
            batch = torch.ones((2, 5))
            return {"val/loss": (self.model(batch) - batch[:, :3]).square().mean().item()}

    def evidence(self) -> Evidence:
        return Evidence(finite=self.finite, metrics={"residual": 1.0 / self.step})

    def snapshot(self) -> Snapshot:
        names = [name for name, _ in self.model.named_parameters()]
        moments = self.optimizer.state_dict()["state"]
        return Snapshot(
            tensors={
                "model": dict(self.model.named_parameters()),
                "ema": self.ema,
                "optimizer": {
                    f"{names[i]}.{key}": value for i, state in moments.items() for key, value in state.items()
                },
                "random": {"torch": self.random.get_state()},
            },
            scalars={"step": self.step},
        )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        if "model" not in snapshot.tensors:
            raise BadCheckpoint("no model")
        self.model.load_state_dict(dict(snapshot.tensors["model"]))
        self.ema = dict(snapshot.tensors["ema"])
        state: dict[int, dict[str, torch.Tensor]] = {}
        for i, (name, _) in enumerate(self.model.named_parameters()):
            state[i] = {
                key.removeprefix(f"{name}."): value
                for key, value in snapshot.tensors["optimizer"].items()
                if key.startswith(f"{name}.")
            }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.random.set_state(snapshot.tensors["random"]["torch"])
        self.step = snapshot.scalars["step"]

    def warm_start(self, snapshot: Snapshot) -> None:
        self.model.load_state_dict(dict(snapshot.tensors["model"]))

    def fail_at(self, step: int, error: Exception) -> None:
        def fail() -> None:
            self.step -= 1
            raise error

        self.hooks[step] = fail

    def explode_at(self, step: int) -> None:
        self.fail_at(step, NonFinite("train/loss is nan", {"train/loss": float("nan")}))


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@dataclass
class Ticking:
    """A clock that only goes on when it is asked to, or by ``each`` at every look."""

    now: float = 1000.0
    each: float = 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


@dataclass
class Attempt:
    """A session in a directory of its own, and what is found there afterwards."""

    session: Session
    said: list[str] = field(default_factory=list)

    @property
    def files(self) -> AttemptFiles:
        return self.session.files

    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        data = self.files.metrics.read_bytes()
        lines = [parse_metric_line(line) for line in complete_lines(data)]
        assert all(line is not None for line in lines)
        return [(line.step, dict(line.metrics)) for line in lines if line is not None]

    def curve(self, metric: str) -> list[tuple[int, float]]:
        return [(step, found[metric]) for step, found in self.metrics() if metric in found]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        if not self.files.events.exists():
            return []
        found = [json.loads(line) for line in self.files.events.read_text().splitlines()]
        return [event for event in found if not kinds or event["event"] in kinds]


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    """Makes attempts; their writers are closed at the end of the test."""
    writers: list[MetricWriter] = []

    def make(number: int = 1, **changes: Any) -> Attempt:
        files = AttemptFiles(root=tmp_path / f"attempt-{number}")
        files.root.mkdir()
        clock = Clock(wall=Ticking(each=0.25), monotonic=Ticking(each=0.125))
        writers.append(MetricWriter(files.metrics, wall=clock.wall))
        said: list[str] = []
        session = Session(
            files=files,
            events=EventLog(files.events, clock=clock),
            metrics=writers[-1],
            flags=Flags(),
            keep=Retention(keep_complete=2, keep_certified=1),
            facts={"kind": "toy", "attempt": number},
            say=said.append,
            clock=clock,
        )
        for name, value in changes.items():
            object.__setattr__(session, name, value)
        return Attempt(session=session, said=said)

    yield make
    for writer in writers:
        writer.close()
