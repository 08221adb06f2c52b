"""From a campaign file to what is put into the store: read, checked against this machine and its
devices, with where it comes from. Nothing here writes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import specs
from campaign import config
from campaign.gpus.probe import Device
from campaign.gpus.refs import Exclusion, parse
from campaign.gpus.resolve import Problem, Row, resolve
from campaign.hosts.port import HostFacts
from campaign.provenance import Provenance, provenance
from campaign.records import Campaign
from specs.base import NAME_PATTERN
from specs.compare import resolved_hash
from specs.errors import Place, SpecError, SpecErrors, at, gather, show
from specs.here import check_here
from specs.load import load
from specs.run import CampaignSpec, RunSpec
from specs.tree import Items, Table


@dataclass(frozen=True, kw_only=True)
class Read:
    """A campaign as read: ``text`` and ``runs`` (merged trees) are empty where there was no file; ``only``
    names the runs that were asked for, where some were.

    ``path``: the user's own file; None for one that comes with campaign.
    """

    spec: CampaignSpec
    profile: str | None
    only: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    text: str = ""
    path: Path | None = None
    runs: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The hosts that are known: their devices and what their configuration excludes.

    ``complete``: no other host is to be expected, so that a device not among them does not exist.
    """

    hosts: tuple[HostFacts, ...] = ()
    complete: bool = False

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(device for facts in self.hosts for device in facts.devices.devices)

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        return tuple(
            Exclusion(ref=parse(device), origin=said.rpartition(" in ")[2])
            for facts in self.hosts
            for device, said in facts.excluded.items()
            if not device.startswith("cpu:")
        )


def read_campaign(
    source: Path | str | CampaignSpec,
    *,
    profile: str | None = None,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    as_name: str | None = None,
) -> Read:
    """Read a file, or take a resolved campaign as it is. Raises SpecErrors.

    A file ``specs/X.yaml`` that is not there is looked for among those that come with campaign.
    """
    if isinstance(source, CampaignSpec):
        if only:
            raise SpecErrors([_OF_A_FILE])
        spec = source if as_name is None else _renamed(source, as_name)
        return Read(spec=spec, profile=spec.profile)
    path, note = _packaged(Path(source))
    loaded = load(path, profile=profile, sets=sets, only=only, as_name=as_name)
    return Read(
        spec=loaded.spec,
        profile=loaded.profile,
        only=tuple(only),
        warnings=(*note, *loaded.warnings),
        text=loaded.text,
        path=None if note else path,
        runs=loaded.runs,
    )


_OF_A_FILE = SpecError(
    file="only",
    got="a resolved campaign",
    allowed="chooses among the runs of a file; build the campaign with those runs alone",
)
LACKING = frozenset({Row.TOO_MANY, Row.UNKNOWN})
"""Problems that another machine may not have."""


def check(
    read: Read, known: Known, environ: Mapping[str, str] = os.environ, *, planned: bool = False
) -> tuple[str, ...]:
    """Whether it can run here. Raises SpecErrors with everything that cannot be; returns the doubts.

    ``planned``: nothing is submitted, so that a device which is not here is a doubt.
    """
    errors: list[SpecError] = list(check_here(read.spec, read.runs or None, environ=environ))
    found: list[tuple[str, SpecError]] = []
    doubts: list[str] = []
    lacking: dict[str, list[str]] = {}
    for name, run in read.spec.runs.items():
        for problem in _device_problems(run, known):
            if problem.warning:
                doubts.append(problem.message)
            elif planned and problem.row in LACKING:
                lacking.setdefault(problem.message, []).append(name)
            else:
                found.append((name, _placed(name, problem, read.runs.get(name))))
    if doubts and not known.hosts:
        doubts = ["no host is known yet: devices are not checked, and the runs wait for them"]
    errors += gather(found, read.spec.runs)
    if errors:
        raise SpecErrors(errors)
    doubts += [
        f"no device here can take {', '.join(runs)}: {why}; a submit here is refused"
        for why, runs in lacking.items()
    ]
    return tuple(dict.fromkeys(doubts))


def origin_of(read: Read, home: Path) -> Provenance:
    """Where it comes from: of the working directory, else of the directory of its file.

    Raises ConfigError, since the configuration says where secrets lie.
    """
    urls = config.load(home).settings.notify.urls
    private = [Path(u[len("file:") :]).expanduser() for u in urls if u.startswith("file:")]
    beside = None if read.path is None else read.path.absolute().parent
    return provenance(Path.cwd(), os.environ, home=home, private=private, beside=beside)


def record_of(read: Read, home: Path, origin: Provenance, *, debug: bool = False) -> Campaign:
    """The campaign's record, with where it comes from."""
    return Campaign(
        name=read.spec.campaign,
        spec_hash=resolved_hash(read.spec),
        profile=read.profile,
        submitted_at=time.time(),
        debug=debug,
        root=str(home),
        cwd=origin.cwd,
        env=origin.env,
        git_commit=origin.git_commit,
        git_dirty=origin.git_dirty,
        code=origin.code,
        text=read.text,
    )


def _renamed(spec: CampaignSpec, name: str) -> CampaignSpec:
    if not NAME_PATTERN.fullmatch(name):
        allowed = "must be 1 to 63 of a-z 0-9 . _ - and start with a letter or a digit (lower case)"
        raise SpecErrors([SpecError(file=f"--as {name}", got=show(name), allowed=allowed)])
    return spec.model_copy(update={"campaign": name})


def _packaged(path: Path) -> tuple[Path, tuple[str, ...]]:
    if (
        path.exists()
        or path.suffix not in (".yaml", ".yml")
        or path.parent.name not in ("", "specs")
    ):
        return path, ()
    packaged = Path(specs.__file__).parent / path.name
    if not packaged.is_file():
        return path, ()
    return packaged, (f"{path} is not there: taking the one that comes with campaign, {packaged}",)


def _device_problems(run: RunSpec, known: Known) -> Sequence[Problem]:
    if not known.hosts:
        named = (*run.resources.pin, *run.resources.exclude, *run.resources.hosts)
        if not run.resources.gpus and not named:
            return ()  # CPU slots are there on every host
    return resolve(run.resources, known.devices, known.exclusions, complete=known.complete).problems


def _placed(run: str, problem: Problem, tree: Table | None) -> SpecError:
    """The problem at the line where the device was written."""
    path = ("runs", run, "resources", *problem.path)
    place = Place(source=f"run {run}", path=path) if tree is None else _place(tree, problem.path)
    return at(place, got=problem.message, allowed=problem.hint)


def _place(tree: Table, path: Sequence[str | int]) -> Place:
    place, node = tree.place, tree.get("resources")
    for step in path:
        if isinstance(node, Table) and isinstance(step, str) and step in node.entries:
            node = node.entries[step].value
        elif isinstance(node, Items) and isinstance(step, int):
            node = node.items[step]
        else:
            break
        place = node.place
    return place
