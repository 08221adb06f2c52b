"""The Ray driver: a child process of the controller. When Ray dies it dies, and is started again.

Messages come in as JSON lines on stdin, facts go out on stdout (campaign/hosts/messages.py has both).
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from campaign import config, ray_head
from campaign.gpus.offer import declared
from campaign.home import Home
from campaign.hosts import desk, identity, messages, mirror, supervisor_ray
from campaign.hosts.factory import local_host
from campaign.hosts.killer import trainer_alive, watcher_killer
from campaign.hosts.mirror_host import MirroringHost
from campaign.hosts.mirror_ship import Shipper
from campaign.hosts.supervisor_ray import RayHost, Supervisor
from campaign.leaser_ray import RayLeaser
from specs.files import write_json
from watchers import actor_ray
from watchers.actor_ray import WatcherActor

CHECK_EVERY = 1.0


class Plane:
    """The actors of every node, found or made; one supervisor and one watcher a host.

    Their names carry the node's id: the actors of a node that died are never taken for those of the
    node that came in its place.
    """

    def __init__(self, home: Home, cpu_slots: int | None) -> None:
        self._home = home
        self._cpu_slots = cpu_slots
        self._supervisors: dict[str, Any] = {}
        self._watchers: dict[str, Any] = {}
        self._alive: frozenset[str] = frozenset()
        self._nodes: dict[str, str] = {}  # host name -> id of its node
        self._pending: dict[str, Any] = {}
        self._hosts: dict[str, MirroringHost] = {}
        self._peers: dict[str, RayHost] = {}
        self._shipper = Shipper(home.root, self._peers)

    def new_hosts(self) -> Mapping[str, MirroringHost]:
        """Supervisors of hosts that are new, and of those whose node is another one now.

        Ray takes seconds to notice a death, so for a while a host may have two nodes that count as
        alive: the one that joined last is meant.
        """
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        alive = {node["NodeID"]: self._name(node) for node in nodes}
        orphaned = {n: i for i, n in alive.items() if self._nodes.get(n) not in alive}
        joined = {n: i for i, n in alive.items() if i not in self._alive}
        chosen = orphaned | joined
        self._alive, self._nodes = frozenset(alive), self._nodes | chosen
        return {name: self._people(node_id, name) for name, node_id in chosen.items()}

    def _name(self, node: Mapping[str, Any]) -> str:
        """A label ``host`` on the node wins; two nodes of one machine need it to be told apart."""
        label = (node.get("Labels") or {}).get("host")
        return str(label or node["NodeManagerHostname"].split(".")[0].lower())

    def _people(self, node_id: str, name: str) -> MirroringHost:
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        common = {"lifetime": "detached", "get_if_exists": True, "scheduling_strategy": here}
        home = str(self._home.root)
        supervisors: Any = ray.remote(**supervisor_ray.ACTOR_OPTIONS)(Supervisor)
        watchers: Any = ray.remote(**actor_ray.ACTOR_OPTIONS)(WatcherActor)
        supervisor = supervisors.options(name=f"supervisor:{name}:{node_id}", **common).remote(
            home, name, self._cpu_slots
        )
        watcher = watchers.options(name=f"watcher:{name}:{node_id}", **common).remote(
            watcher_killer(), trainer_alive
        )
        self._supervisors[name], self._watchers[name] = supervisor, watcher
        self._pending.pop(name, None)
        found = self._peers[name] = RayHost(supervisor)
        self._hosts[name] = MirroringHost(
            found, found, name=name, home=self._home.root, shipper=self._shipper
        )
        return self._hosts[name]

    def leave(self) -> None:
        """End our actors in a cluster that goes on without us. Trainers go on; so do their leases."""
        for actor in (*self._supervisors.values(), *self._watchers.values()):
            ray.kill(actor, no_restart=True)

    def watch(self, host: str, directories: tuple[str, ...]) -> None:
        """Tell a host's watcher what to watch; the answer to the last call is looked at first."""
        if (before := self._pending.get(host)) is not None:
            done, _ = ray.wait([before], timeout=0)
            if not done:
                return
            del self._pending[host]  # a failed answer is told once, then the next call is made
            ray.get(before)
        watched = self._hosts[host].watched(directories)
        self._pending[host] = self._watchers[host].sync.remote(list(watched))


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
            port = config.load(home.root).settings.ray.port
            head = ray_head.start(home, declared(facts.devices, facts.excluded), port=port)
    ray.init(
        address=address or (head.address if head else None),
        namespace=f"campaign-{mirror.home_id(home)}",
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
    _announce(home)
    began = time.monotonic()
    head = connect(home, options.ray_address, options.cpu_slots)
    stop = threading.Event()
    plane = Plane(home, options.cpu_slots)
    hosts = plane.new_hosts()
    service = desk.Desk(emit=say, hosts=hosts, watch=plane.watch, leaser=RayLeaser(), stop=stop)
    service.open()
    where = options.ray_address or (head.address if head else "")
    say(
        messages.Ready(
            text=f"Ray is up at {where} after {time.monotonic() - began:.1f} s: {len(hosts)} host(s)"
        )
    )
    threading.Thread(target=_welcome, args=(plane, service, stop), daemon=True).start()
    if head is not None:
        threading.Thread(target=_mind, args=(home, head, stop), daemon=True).start()
    leaving = False
    for line in sys.stdin:  # until the controller closes it, or is gone
        message = messages.MESSAGE.validate_json(line)
        leaving = isinstance(message, messages.Leave)
        if not leaving:
            service.take(message)
    service.close()
    if leaving:
        plane.leave()
    ray.shutdown()
    home.link_file.unlink(missing_ok=True)
    return 0


def _announce(home: Home) -> None:
    """For `campaign down` after a controller was killed: while Ray is starting this process hears nothing."""
    me = identity.of(os.getpid())
    assert me is not None
    write_json(home.link_file, me.to_json())


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


def _facts_out() -> Callable[[messages.AnyFact], None]:
    """Write facts to the real stdout; whatever else prints goes to stderr."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    guard = threading.Lock()

    def say(fact: messages.AnyFact) -> None:
        with guard:
            out.write(fact.model_dump_json().encode() + b"\n")

    return say


if __name__ == "__main__":
    raise SystemExit(main())
