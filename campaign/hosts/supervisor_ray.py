"""The supervisor of a host: a detached Ray actor around LocalHost. It only passes on.

Everything it is told and tells crosses as JSON text, so that hosts of different versions refuse
each other's records by name and not by pickle; pieces of checkpoints are plain bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from campaign.hosts.mirror_source import OwnFiles
from campaign.hosts.port import Asked, Cursor, Grown, HostFacts, Launch, Observation, Order

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
        self._files = OwnFiles.of_this_host()

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

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        self._host.keep(directory, steps)

    def prove_unstarted(self, directory: str) -> bool:
        return self._host.prove_unstarted(directory)

    # for a home that the host does not share

    def glimpse(self, path: str) -> str | None:
        return self._files.glimpse(path)

    def root(self, home_id: str) -> str:
        return self._files.root(home_id)

    def grown(self, asked: Sequence[str]) -> list[str]:
        parsed = [Asked.model_validate_json(attempt) for attempt in asked]
        return [grown.model_dump_json() for grown in self._files.grown(parsed)]

    def read(self, path: str, offset: int, size: int) -> bytes:
        return self._files.read(path, offset, size)

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._files.write(path, offset, data)

    def settle(self, incoming: str, checkpoint: str, manifest_sha256: str) -> None:
        self._files.settle(incoming, checkpoint, manifest_sha256)

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
    """port.Host and port.Files through a supervisor actor."""

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

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        self._call("keep", directory, list(steps))

    def prove_unstarted(self, directory: str) -> bool:
        return bool(self._call("prove_unstarted", directory))

    def glimpse(self, path: str) -> str | None:
        found: str | None = self._call("glimpse", path)
        return found

    def root(self, home_id: str) -> str:
        return str(self._call("root", home_id))

    def grown(self, asked: Sequence[Asked]) -> Sequence[Grown]:
        lines = self._call("grown", [attempt.model_dump_json() for attempt in asked])
        return [Grown.model_validate_json(line) for line in lines]

    def read(self, path: str, offset: int, size: int) -> bytes:
        return bytes(self._call("read", path, offset, size))

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._call("write", path, offset, data)

    def settle(self, incoming: str, checkpoint: str, manifest_sha256: str) -> None:
        self._call("settle", incoming, checkpoint, manifest_sha256, deadline=3600.0)

    def _call(self, method: str, *arguments: object, deadline: float = CALL_DEADLINE) -> Any:
        return ray.get(getattr(self._actor, method).remote(*arguments), timeout=deadline)
