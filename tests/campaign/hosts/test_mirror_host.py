"""Where an attempt lies is recorded before it starts; nothing that happens to a mount moves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from campaign.home import Home
from campaign.hosts import mirror
from campaign.hosts.mirror_host import HomeNotSeen, MirroringHost
from campaign.hosts.mirror_ship import Shipper
from campaign.hosts.mirror_source import OwnFiles
from campaign.hosts.port import Cursor, Grown, Launch, Observation
from specs.files import AttemptFiles, write_json
from tests.support.hosts import local_host


class Told:
    """A host that notes what it is asked, and answers nothing of its own."""

    def __init__(self, home: Path) -> None:
        self._host = local_host(home, "far", None)
        self.started: list[Launch] = []
        self.observed: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._host, name)

    def start(self, launch: Launch) -> None:
        self.started.append(launch)

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        self.observed += cursors
        return self._host.observe(cursors)


class Scene:
    def __init__(self, root: Path) -> None:
        self.home = Home(root=root / "home")
        self.home.create()
        self.base = root / "base"
        self.told = Told(self.home.root)
        self.directory = str(self.home.attempt("c", "r", 1))
        self.own = AttemptFiles(root=Path(self.directory))

    def host(self, *, apart: bool, files: OwnFiles | None = None) -> MirroringHost:
        """As a new link makes it."""
        own = files or OwnFiles(self.base, apart=apart)
        shipper = Shipper(self.home.root, {"far": own})
        return MirroringHost(
            self.told,  # type: ignore[arg-type]
            own,
            name="far",
            home=self.home.root,
            shipper=shipper,
            clock=lambda: 0.0,
        )

    def launch(self) -> Launch:
        return Launch(
            directory=self.directory,
            campaign="c",
            run="r",
            attempt=1,
            cookie="k",
            argv=("true", self.directory),
            cwd="/",
            env={},
            devices=("cpu:far:0",),
            spec={"start": {"kind": "scratch", "checkpoint": None}},
            grace=1.0,
        )


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield Scene(tmp_path)


def test_a_host_that_shares_the_home_is_told_its_own_paths(scene: Scene) -> None:
    host = scene.host(apart=False)
    host.start(scene.launch())
    assert scene.told.started == [scene.launch()]
    assert host.describe().shares_home
    assert mirror.place_of(scene.own) is None


def test_an_attempt_stays_where_it_was_begun_when_the_home_is_mounted_later(scene: Scene) -> None:
    scene.host(apart=True).start(scene.launch())
    [launch] = scene.told.started
    assert Path(launch.directory).is_relative_to(scene.base)
    assert launch.argv == ("true", launch.directory)
    later = scene.host(apart=False)
    assert later.there(scene.directory) == launch.directory
    assert later.watched([scene.directory]) == (launch.directory,)


def test_an_attempt_in_a_home_that_is_not_seen_any_more_is_in_doubt_and_not_gone(
    scene: Scene,
) -> None:
    scene.own.root.mkdir(parents=True)
    write_json(scene.own.launch, {})
    host = scene.host(apart=True)
    assert host.observe({scene.directory: Cursor()}) == []
    assert scene.told.observed == []
    assert host.watched([scene.directory]) == ()
    with pytest.raises(HomeNotSeen):
        host.prove_unstarted(scene.directory)
    assert scene.directory in host.describe().problems[-1]
    assert not scene.own.unstarted.exists()


def test_an_attempt_that_never_came_there_is_proved_unstarted_there(scene: Scene) -> None:
    host = scene.host(apart=True)
    assert host.prove_unstarted(scene.directory)
    assert (Path(host.there(scene.directory)) / "unstarted.json").exists()
    assert scene.host(apart=False).there(scene.directory) == host.there(scene.directory)


def test_a_start_that_still_brings_its_checkpoint_is_not_proved_unstarted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = scene.host(apart=True)
    answers = []
    monkeypatch.setattr(
        scene.told, "start", lambda _: answers.append(host.prove_unstarted(scene.directory))
    )
    host.start(scene.launch())
    assert answers == [False]


def test_an_end_is_told_only_when_the_home_has_everything(scene: Scene) -> None:
    class Slow(OwnFiles):
        stuck = True

        def grown(self, asked):  # type: ignore[no-untyped-def]
            if self.stuck:
                return [Grown(directory=a.directory, parts=(), complete=False) for a in asked]
            return super().grown(asked)

    files = Slow(scene.base, apart=True)
    host = scene.host(apart=True, files=files)
    host.start(scene.launch())
    there = AttemptFiles(root=Path(host.there(scene.directory)))
    there.root.mkdir(parents=True)
    assert len(host.observe({scene.directory: Cursor()})) == 1, "no end yet: told at once"
    write_json(there.exit, {"exit_code": 0})
    assert host.observe({scene.directory: Cursor()}) == []
    files.stuck = False
    [told] = host.observe({scene.directory: Cursor()})
    assert (told.directory, told.exit) == (scene.directory, {"exit_code": 0})
    assert json.loads(scene.own.exit.read_text()) == {"exit_code": 0}


def test_what_the_home_excludes_is_excluded_on_a_host_that_cannot_read_it(
    scene: Scene, tmp_path: Path
) -> None:
    (scene.home.root / "campaign.toml").write_text('[gpus]\nexclude = ["GPU-1"]\n')
    gpu = {"id": "GPU-1", "index": 0, "name": "fake", "kind": "gpu", "host": "far"}
    report = tmp_path / "gpus.json"
    report.write_text(json.dumps({"probe": "fake", "devices": [gpu]}))
    scene.told._host = local_host(scene.home.root, "far", report)  # type: ignore[assignment]
    facts = scene.host(apart=True).describe()
    assert not facts.shares_home
    assert str(scene.home.root / "campaign.toml") in facts.excluded["GPU-1"]
