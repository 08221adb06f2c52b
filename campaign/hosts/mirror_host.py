"""A host as the home has it, whether or not the host sees the home.

Whether it does is found out: a new file in the home is looked for at the same path there. If it does
not, its attempts lie in a root of its own, and what they write is copied into the home. Which attempt
lies where is on record before it starts, and never changes: a home that is mounted or unmounted later
moves nothing and makes nobody believe that an attempt is gone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from campaign import code, config
from campaign.errors import CampaignError
from campaign.gpus import refs
from campaign.home import Home
from campaign.hosts import mirror
from campaign.hosts.mirror import Place
from campaign.hosts.mirror_ship import Shipper
from campaign.hosts.port import Cursor, Files, Host, HostFacts, Launch, Observation, Order
from specs.files import AttemptFiles, write_json

PULL_EVERY = 0.5
"""Seconds between two rounds of copying, while nothing ended and nothing is behind."""


class HomeNotSeen(CampaignError):
    """An attempt lies in the home, and its host does not see the home any more: nothing is known of it."""


class MirroringHost:
    """port.Host over another one. May be used by several threads."""

    def __init__(
        self,
        host: Host,
        files: Files,
        *,
        name: str,
        home: Path,
        shipper: Shipper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._files = files
        self._name = name
        self._home = Home(root=home)
        self._shipper = shipper
        self._clock = clock
        self._guard = threading.Lock()
        self._shares: bool | None = None
        self._root: Path | None = None
        self._recorded: dict[str, Place] = {}
        self._on_the_way: set[str] = set()
        self._unseen: frozenset[str] = frozenset()
        self._pull_at = 0.0

    def describe(self) -> HostFacts:
        facts = self._host.describe()
        if self._sees_home():
            return facts
        theirs: Mapping[str, str] = {}
        broken: tuple[str, ...] = ()
        try:
            theirs = refs.excluded(facts.devices.devices, self._exclusions())
        except config.ConfigError as error:  # told as what it is: the host itself is well
            broken = error.problems
        return facts.model_copy(
            update={
                "shares_home": False,
                "excluded": {**theirs, **facts.excluded},
                "misconfigured": (*facts.misconfigured, *broken),
                "problems": (*facts.problems, *self._out_of_sight()),
            }
        )

    def start(self, launch: Launch) -> None:
        """Raises NotShipped where the checkpoint to start from cannot be brought there."""
        with self._guard:
            self._on_the_way.add(launch.directory)
        try:
            self._start(launch)
        finally:
            with self._guard:
                self._on_the_way.discard(launch.directory)

    def order(self, directory: str, order: Order) -> None:
        self._host.order(self.there(directory), order)

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        """An end is told once the home has every file of the attempt, so that no reader misses one."""
        places = {d: place for d in cursors if (place := self._where(d)) is not None}
        self._unseen = frozenset(cursors) - set(places)
        asked = {place.there(self._home.root, d): d for d, place in places.items()}
        seen = self._host.observe({there: cursors[d] for there, d in asked.items()})
        told = {asked[observation.directory]: observation for observation in seen}
        away = set(told) & set(self._recorded)
        ended = {d for d in away if told[d].exit is not None}
        complete = self._pull(away) if ended or self._clock() >= self._pull_at else set()
        return [
            self._as_of_home(observation, directory, places[directory])
            for directory, observation in told.items()
            if directory not in ended or directory in complete
        ]

    def reap(self, directory: str, order: Order) -> None:
        self._host.reap(self.there(directory), order)

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        self._host.keep(self.there(directory), steps)

    def prove_unstarted(self, directory: str) -> bool:
        with self._guard:
            if directory in self._on_the_way:
                return False
        there = self.there(directory)
        if there != directory:  # on record, so that it is looked for there for ever
            self._record(AttemptFiles(root=Path(directory)))
        return self._host.prove_unstarted(there)

    # ------------------------------------------------------------ where an attempt lies

    def there(self, directory: str) -> str:
        """The directory of an attempt on the host. Raises HomeNotSeen."""
        if (place := self._where(directory)) is None:
            raise HomeNotSeen(f"{self._name} does not see {directory}: mount the home there again")
        return place.there(self._home.root, directory)

    def watched(self, directories: Sequence[str]) -> tuple[str, ...]:
        """Those that the host can watch, as it knows them."""
        places = {d: place for d in directories if (place := self._where(d)) is not None}
        return tuple(place.there(self._home.root, d) for d, place in places.items())

    def _where(self, directory: str) -> Place | None:
        """Where the attempt lies, or would lie if it were started now; None: out of the host's sight."""
        if (known := self._recorded.get(directory)) is not None:
            return known
        own = AttemptFiles(root=Path(directory))
        if (known := mirror.place_of(own)) is not None:
            self._recorded[directory] = known
            return known
        if self._sees_home():
            return Place(host=self._name, root=self._home.root)
        return None if own.launch.exists() or own.pid.exists() else self._own_place()

    def _record(self, own: AttemptFiles) -> Place:
        """From now on the attempt lies in the host's own root."""
        with self._guard:
            if (known := mirror.place_of(own)) is not None:
                return known
            own.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            mirror.record_place(own, place := self._own_place())
            return place

    def _own_place(self) -> Place:
        if self._root is None:
            self._root = Path(self._files.root(mirror.home_id(self._home)))
        return Place(host=self._name, root=self._root)

    def _sees_home(self) -> bool:
        """Asked once for each life of this object; the actor that it speaks to belongs to one node."""
        if self._shares is None:
            self._shares = mirror.shares_home(self._home, self._files)
        return self._shares

    def _out_of_sight(self) -> tuple[str, ...]:
        if not self._unseen:
            return ()
        return (
            "it does not see the home any more, in which attempts of it lie; mount it again: "
            + ", ".join(sorted(self._unseen)),
        )

    # ------------------------------------------------------------ starting

    def _start(self, launch: Launch) -> None:
        start: Mapping[str, Any] = launch.spec.get("start") or {}
        checkpoint, digest = start.get("checkpoint"), str(start.get("manifest_sha256"))
        if self.there(launch.directory) == launch.directory:
            if checkpoint is not None and self._is_of_home(checkpoint):
                self._shipper.into_home(checkpoint, digest)
            self._host.start(launch)
            return
        own = AttemptFiles(root=Path(launch.directory))
        place = self._record(own)
        self._write_here(own, launch)
        if checkpoint is not None and self._is_of_home(checkpoint):
            self._shipper.to_host(checkpoint, digest, place)
            start = {**start, "checkpoint": place.there(self._home.root, checkpoint)}
        there = place.there(self._home.root, launch.directory)
        update = {
            "directory": there,
            "argv": tuple(there if word == launch.directory else word for word in launch.argv),
            "spec": {**launch.spec, "start": start},
            "code": None,
        }
        self._host.start(launch.model_copy(update=update))

    def _write_here(self, own: AttemptFiles, launch: Launch) -> None:
        """What readers of the home need of an attempt from its first moment, once."""
        if own.spec.exists():
            return
        write_json(own.env, dict(launch.env))
        if launch.code is not None:
            code.give(own, self._home, launch.code, launch.spec)
        write_json(own.spec, dict(launch.spec))

    def _is_of_home(self, checkpoint: str) -> bool:
        return Path(checkpoint).is_relative_to(self._home.root)

    def _exclusions(self) -> Sequence[refs.Exclusion]:
        """Of the home and of the user: the host has its site's file, and cannot read these."""
        return config.load(self._home.root, site=Path(os.devnull)).exclusions

    # ------------------------------------------------------------ looking

    def _pull(self, directories: set[str]) -> set[str]:
        """One round; those of which the home has everything now."""
        attempts = [(AttemptFiles(root=Path(d)), self.there(d)) for d in sorted(directories)]
        complete = {str(path) for path in mirror.pull(self._files, attempts)}
        self._pull_at = self._clock() + (PULL_EVERY if complete == directories else 0.0)
        return complete

    def _as_of_home(self, seen: Observation, directory: str, place: Place) -> Observation:
        checkpoints = tuple(
            c.model_copy(update={"path": place.here(self._home.root, c.path)})
            for c in seen.checkpoints
        )
        return seen.model_copy(update={"directory": directory, "checkpoints": checkpoints})
