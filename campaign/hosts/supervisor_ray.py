"""The supervisor of a host: a detached Ray actor around LocalHost. It only passes on.

Everything it is told and tells crosses as JSON text, so that hosts of different versions refuse
each other's records by name and not by pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from campaign.hosts.port import Cursor, HostFacts, Launch, Observation, Order

CALL_DEADLINE = 60.0

ACTOR_OPTIONS: Mapping[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,  # a start that is retried would start twice
    "max_concurrency": 16,
}


class Supervisor:
    """Lives on one host. Calls run at once beside each other: a slow NVML delays nothing."""

    def __init__(self, home: str, name: str, cpu_slots: int | None) -> None:
        from campaign.hosts.factory import local_host

        self._host = local_host(Path(home), name=name, cpu_slots=cpu_slots)

    def describe(self) -> str:
        return self._host.describe().model_dump_json()

    def start(self, launch: str) -> None:
        self._host.start(Launch.model_validate_json(launch))

    def order(self, directory: str, order: str) -> None:
        self._host.order(directory, Order.model_validate_json(order))

    def observe(self, cursors: Mapping[str, str]) -> list[str]:
        parsed = {d: Cursor.model_validate_json(c) for d, c in cursors.items()}
        return [seen.model_dump_json() for seen in self._host.observe(parsed)]

    def reap(self, directory: str, order: str) -> None:
        self._host.reap(directory, Order.model_validate_json(order))

    def prove_unstarted(self, directory: str) -> bool:
        return self._host.prove_unstarted(directory)

    def inherited(self) -> str:
        """What a child of this worker would inherit: `doctor` compares it with a bare shell."""
        import os

        return json.dumps(
            {
                "nice": os.nice(0),
                "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
                "pid": os.getpid(),
            }
        )


class RayHost:
    """port.Host through a supervisor actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def describe(self) -> HostFacts:
        return HostFacts.model_validate_json(self._call("describe"))

    def start(self, launch: Launch) -> None:
        self._call("start", launch.model_dump_json())

    def order(self, directory: str, order: Order) -> None:
        self._call("order", directory, order.model_dump_json())

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        asked = {d: c.model_dump_json() for d, c in cursors.items()}
        return [Observation.model_validate_json(line) for line in self._call("observe", asked)]

    def reap(self, directory: str, order: Order) -> None:
        self._call("reap", directory, order.model_dump_json(), deadline=600.0)

    def prove_unstarted(self, directory: str) -> bool:
        return bool(self._call("prove_unstarted", directory))

    def _call(self, method: str, *arguments: object, deadline: float = CALL_DEADLINE) -> Any:
        return ray.get(getattr(self._actor, method).remote(*arguments), timeout=deadline)
