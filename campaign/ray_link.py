"""The Ray driver: a child process of the controller. When Ray dies it dies, and is started again.

Messages come in as JSON lines on stdin, facts go out on stdout (campaign/hosts/desk.py has both).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ray
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from campaign import ray_head
from campaign.gpus.offer import declared, resource_name
from campaign.home import Home
from campaign.hosts import desk, runtime, supervisor_ray
from campaign.hosts.factory import local_host
from campaign.hosts.killer import trainer_alive, watcher_killer
from campaign.hosts.supervisor_ray import RayHost, Supervisor
from watchers import actor_ray
from watchers.actor_ray import WatcherActor

LEASE_DEADLINE = 20.0
STALE_AFTER = 5.0
_LEASE = "lease:"
LOOK_EVERY = 0.01
CHECK_EVERY = 1.0


class RayLeaser:
    """A detached placement group for each live lease."""

    def lease(self, directory: str, host: str, devices: tuple[str, ...]) -> None:
        """Raises LeaseRefused if no node declares the devices, or if Ray does not give them."""
        name = _lease_name(directory)
        if _find_group(name) is not None:
            return
        wanted = {resource_name(d): 1.0 for d in devices}
        total: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if missing := sorted(set(wanted) - set(total)):
            raise desk.LeaseRefused(
                f"no Ray node declares {', '.join(missing)}; start the node of {host} with "
                '`ray start --resources="$(campaign gpus --ray-resources)"`'
            )
        _await_free(wanted)
        group = placement_group([wanted], strategy="STRICT_PACK", name=name, lifetime="detached")
        if not group.wait(LEASE_DEADLINE):
            remove_placement_group(group)
            raise _not_given(wanted)

    def release(self, directory: str) -> None:
        release_group(_lease_name(directory))


def _await_free(wanted: Mapping[str, float]) -> None:
    """Wait until Ray counts the devices as free: a release reaches it within 100 ms.

    A group that is asked for before that waits for a timer of Ray that ticks once a second.
    """
    until = time.monotonic() + LEASE_DEADLINE
    stale_after = time.monotonic() + STALE_AFTER
    while time.monotonic() < until:
        free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        if all(free.get(name, 0.0) >= amount for name, amount in wanted.items()):
            return
        if time.monotonic() > stale_after:
            _drop_holders(wanted)
            stale_after = until
        time.sleep(LOOK_EVERY)
    raise _not_given(wanted)


def _drop_holders(wanted: Mapping[str, float]) -> None:
    """End leases of ours on these devices: their release was lost. The store knows them to be free."""
    for row in placement_group_table().values():
        bundles = row["bundles"].values()
        held = {name for bundle in bundles for name in bundle}
        if row["name"].startswith(_LEASE) and held & set(wanted):
            release_group(row["name"])


def release_group(name: str) -> None:
    if (group := _find_group(name)) is not None:
        remove_placement_group(group)


def _not_given(wanted: Mapping[str, float]) -> desk.LeaseRefused:
    return desk.LeaseRefused(f"Ray did not give {', '.join(wanted)} within {LEASE_DEADLINE:.0f} s")


def _lease_name(directory: str) -> str:
    return f"{_LEASE}{directory}"


def _find_group(name: str) -> PlacementGroup | None:
    try:
        found: PlacementGroup = get_placement_group(name)
    except ValueError:
        return None
    return found


class Plane:
    """The actors of every node, found or made; one supervisor and one watcher a host."""

    def __init__(self, home: Home, cpu_slots: int | None) -> None:
        self._home = home
        self._cpu_slots = cpu_slots
        self._watchers: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}  # node id -> host name
        self._pending: dict[str, Any] = {}

    def new_hosts(self) -> Mapping[str, RayHost]:
        """Supervisors of nodes not seen before."""
        found = {}
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if not node["Alive"] or node["NodeID"] in self._nodes:
                continue
            name = self._name(node)
            self._nodes[node["NodeID"]] = name
            found[name] = self._people(node["NodeID"], name)
        return found

    def _name(self, node: Mapping[str, Any]) -> str:
        """A label ``host`` on the node wins; two nodes of one machine need it to be told apart."""
        label = (node.get("Labels") or {}).get("host")
        return str(label or node["NodeManagerHostname"].split(".")[0].lower())

    def _people(self, node_id: str, name: str) -> RayHost:
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        common = {"lifetime": "detached", "get_if_exists": True, "scheduling_strategy": here}
        home = str(self._home.root)
        supervisors: Any = ray.remote(**supervisor_ray.ACTOR_OPTIONS)(Supervisor)
        watchers: Any = ray.remote(**actor_ray.ACTOR_OPTIONS)(WatcherActor)
        supervisor = supervisors.options(name=f"supervisor:{name}", **common).remote(
            home, name, self._cpu_slots
        )
        self._watchers[name] = watchers.options(name=f"watcher:{name}", **common).remote(
            watcher_killer(), trainer_alive
        )
        return RayHost(supervisor)

    def watch(self, host: str, directories: tuple[str, ...]) -> None:
        """Tell a host's watcher what to watch; the answer to the last call is looked at first."""
        if (before := self._pending.get(host)) is not None:
            done, _ = ray.wait([before], timeout=0)
            if not done:
                return
            del self._pending[host]  # a failed answer is told once, then the next call is made
            ray.get(before)
        self._pending[host] = self._watchers[host].sync.remote(list(directories))


def connect(home: Home, address: str | None, cpu_slots: int | None) -> ray_head.RayHead | None:
    """Join the cluster of ``address``, or this home's own head, started if need be."""
    head = None
    if address is None:
        head = ray_head.recorded(home)
        if head is not None and not ray_head.is_alive(head):
            ray_head.end(home, head)
            head = None
        if head is None:
            facts = local_host(home.root, cpu_slots=cpu_slots).describe()
            head = ray_head.start(home, declared(facts.devices, facts.excluded))
    ray.init(
        address=address or (head.address if head else None),
        namespace=f"campaign-{runtime.home_key(home.root)}",
        log_to_driver=False,
        logging_level=logging.WARNING,
        _temp_dir=head.temp_dir if head else None,
    )
    return head


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="campaign.ray_link", description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--ray-address")
    parser.add_argument("--cpu-slots", type=int)
    options = parser.parse_args(argv)
    home = Home.locate(options.home)
    say = _facts_out()
    began = time.monotonic()
    head = connect(home, options.ray_address, options.cpu_slots)
    stop = threading.Event()
    plane = Plane(home, options.cpu_slots)
    hosts = plane.new_hosts()
    service = desk.Desk(emit=say, hosts=hosts, watch=plane.watch, leaser=RayLeaser(), stop=stop)
    service.open()
    where = options.ray_address or (head.address if head else "")
    say(
        desk.Ready(
            text=f"Ray is up at {where} after {time.monotonic() - began:.1f} s: {len(hosts)} host(s)"
        )
    )
    threading.Thread(target=_welcome, args=(plane, service, stop), daemon=True).start()
    if head is not None:
        threading.Thread(target=_mind, args=(home, head, stop), daemon=True).start()
    for line in sys.stdin:  # until the controller closes it, or is gone
        service.take(desk.MESSAGE.validate_json(line))
    service.close()
    ray.shutdown()
    return 0


def _welcome(plane: Plane, service: desk.Desk, stop: threading.Event) -> None:
    """New nodes become hosts; a Ray that cannot be asked ends this process."""
    while not stop.wait(CHECK_EVERY):
        try:
            for name, host in plane.new_hosts().items():
                service.add_host(name, host)
        except Exception as error:  # noqa: BLE001 - whatever it is, Ray cannot be asked any more
            _leave(f"{type(error).__name__}: {error}")


def _mind(home: Home, head: ray_head.RayHead, stop: threading.Event) -> None:
    """Our own head is looked at through its processes: to ask Ray would wait a minute for it."""
    while not stop.wait(CHECK_EVERY):
        if not ray_head.is_alive(head):
            _leave("a process of the head has ended")
        head = ray_head.note_processes(home, head)


def _leave(why: str) -> NoReturn:
    """At once: Ray's own shutdown would wait for the Ray that is gone."""
    print(f"Ray is gone: {why}", file=sys.stderr, flush=True)
    os._exit(3)


def _facts_out() -> Callable[[desk.AnyFact], None]:
    """Write facts to the real stdout; whatever else prints goes to stderr."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    guard = threading.Lock()

    def say(fact: desk.AnyFact) -> None:
        with guard:
            out.write(fact.model_dump_json().encode() + b"\n")

    return say


if __name__ == "__main__":
    raise SystemExit(main())
