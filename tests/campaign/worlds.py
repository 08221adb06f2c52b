"""Builders for tests of the pure core: name only what matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from campaign import events as e
from campaign.decide import Decision, decide
from campaign.gpus.probe import Device, DeviceKind, DeviceReport, ProbeKind
from campaign.hosts.port import CheckpointFacts, Cursor, HostFacts, Liveness, Observation
from campaign.orders import AnyOrder
from campaign.records import Attempt, Campaign, Run
from campaign.state import State
from specs.run import RunSpec

ALIVE, DEAD, UNBORN = Liveness.ALIVE, Liveness.DEAD, Liveness.UNBORN
PID = {
    "boot_id": "b",
    "shim": {"pid": 10, "start_ticks": 1},
    "trainer": {"pid": 11, "start_ticks": 2},
}


def spec(**changes: Any) -> RunSpec:
    """A run on one CPU slot that follows val/ce."""
    return RunSpec.model_validate(
        {
            "trainer": {
                "kind": "command",
                "argv": ["true"],
                "metrics": {"declared": ["val/ce"]},
            },
            **changes,
        }
    )


ROLLBACK = {
    "name": "blow_up",
    "rule": "divergence",
    "metric": "val/ce",
    "above_best_by": 0.5,
    "for_points": 2,
    "action": "rollback",
    "set": {"resources.cpus": 1},
    "tries": 1,
}


def host(name: str = "h", slots: int = 2, gpus: tuple[str, ...] = ()) -> HostFacts:
    devices = [
        Device(id=f"cpu:{name}:{i}", kind=DeviceKind.CPU, host=name, index=i, name="CPU slot")
        for i in range(slots)
    ] + [
        Device(id=g, kind=DeviceKind.GPU, host=name, index=i, name="fake", memory_total=1 << 30, memory_used=0)
        for i, g in enumerate(gpus)
    ]  # fmt: skip
    probe = ProbeKind.FAKE if gpus else ProbeKind.NONE
    return HostFacts(
        host=name,
        boot_id="b",
        address="127.0.0.1",
        devices=DeviceReport(probe=probe, devices=tuple(devices)),
    )


def campaign(name: str = "c") -> Campaign:
    return Campaign(
        name=name, spec_hash="0", profile=None, submitted_at=0.0, root="/home", cwd="/", env={}
    )


class World:
    """The state after some events, and the orders they led to."""

    def __init__(self, **runs: RunSpec) -> None:
        self.state = State()
        self.now = 100.0
        self.orders: list[AnyOrder] = []
        self.notes: list[str] = []
        self.tell(e.HostSeen(facts=host()))
        if runs:
            self.tell(e.Submitted(campaign=campaign(), runs=runs))

    def tell(self, event: e.Event) -> Decision:
        decision = decide(self.state, event, self.now)
        self.state = self.state.apply(decision.records)
        self.orders += decision.orders
        self.notes += decision.notes
        return decision

    def tick(self, after: float = 0.0) -> Decision:
        self.now += after
        return self.tell(e.Tick())

    def run(self, name: str) -> Run:
        return self.state.runs["c", name]

    def attempt(self, name: str, number: int | None = None) -> Attempt:
        return self.state.attempts["c", name, number or self.run(name).attempts]

    def see(self, name: str, **facts: Any) -> Decision:
        """An observation of the newest attempt: running and healthy but for what is named."""
        attempt = self.attempt(name)
        known: Mapping[str, Any] = {
            "directory": attempt.directory,
            "launched": True,
            "shim": ALIVE,
            "trainer": ALIVE,
            "locks_held": True,
            "same_boot": True,
            "pid": PID,
            "cursor": Cursor(),
            "checkpoints": self._checkpoints(attempt),
        }
        seen = Observation.model_validate({**known, **facts})
        return self.tell(e.Observed(attempt=attempt.id, observation=seen))

    def _checkpoints(self, attempt: Attempt) -> tuple[CheckpointFacts, ...]:
        """What was seen before is still there."""
        return tuple(
            CheckpointFacts(step=c.step, path=c.path, manifest_sha256="m", completed_at=0.0)
            for c in self.state.checkpoints.values()
            if (c.campaign, c.run, c.attempt) == attempt.id
        )

    def checkpoints(self, name: str, *steps: int, certified: tuple[int, ...] = ()) -> None:
        """The attempt wrote these; the watcher certified some."""
        facts = tuple(
            CheckpointFacts(step=s, path=f"/ckpt/{name}/{s}", manifest_sha256="m", completed_at=0.0)
            for s in steps
        )
        self.see(name, checkpoints=facts, watch=tuple(judged("certified", s) for s in certified))

    def exits(
        self, name: str, code: int | None = 0, *, closed: bool = True, **record: Any
    ) -> Decision:
        watch = tuple(record.pop("watch", ()))
        exit_record = {"outcome": "exited", "exit_code": code, "signal": None, "ended_at": self.now}
        if closed:
            watch = (*watch, {"kind": "closed", "t": self.now})
        events = record.pop("events", ())
        return self.see(
            name,
            shim=DEAD,
            trainer=DEAD,
            locks_held=False,
            exit={**exit_record, **record},
            watch=watch,
            events=events,
        )

    def with_state(self, **fields: Any) -> None:
        self.state = replace(self.state, **fields)


def judged(kind: str, step: int, reason: str = "in band") -> dict[str, Any]:
    return {
        "kind": kind,
        "t": 0.0,
        "key": f"{kind}:{step}",
        "checkpoint_step": step,
        "reason": reason,
    }


def verdict(action: str, *, onset: int, end: int, rule: str = "blow_up") -> dict[str, Any]:
    return {
        "kind": "verdict",
        "t": 1.0,
        "key": f"{rule}:{end}",
        "rule": rule,
        "action": action,
        "metric": "val/ce",
        "step": end,
        "value": 4.0,
        "reason": f"val/ce 4.0 at step {end}, best 2.0 at step {onset}",
        "onset": onset,
        "end": end,
    }
