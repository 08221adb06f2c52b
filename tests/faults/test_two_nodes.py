"""Two Ray nodes on one machine are two hosts: work is spread, one is lost, and it comes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from campaign import ray_head
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.factory import host_name
from campaign.hosts.mirror_source import ENV_LOCAL_ROOT
from tests.faults.plane import Plane, await_that, kill, plane, script
from tests.faults.test_kill_everything import UNTIL_TOLD
from tests.support.ray_nodes import SLOTS, Node, joined

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(290)]

HERE = host_name()
SECOND = "second"


def campaign(where: Path, name: str, stop: Path, runs: dict[str, str | None]) -> Path:
    """Runs that train until a file appears; each may name the one host that it wants."""
    argv = json.dumps([sys.executable, script(where, "trains.py", UNTIL_TOLD), str(stop)])
    lines = "".join(
        f"  {run}: {{trainer: {{argv: {argv}}}"
        + (f", resources: {{hosts: [{host}]}}" if host else "")
        + "}\n"
        for run, host in runs.items()
    )
    path = where / f"{name}.yaml"
    path.write_text(
        f"campaign: {name}\n"
        "defaults: {trainer: {kind: command, metrics: {declared: [loss]}}}\n"
        f"runs:\n{lines}"
    )
    return path


@contextmanager
def small_plane(home: Path) -> Iterator[Plane]:
    """A plane whose hosts have few CPU slots."""
    home.mkdir(mode=0o700)
    (home / "campaign.toml").write_text(f"[home]\ncpu_slots = {SLOTS}\n")
    with plane(home) as made:
        yield made


def head_of(made: Plane) -> ray_head.RayHead:
    made.client.up()
    head = await_that(
        "the head is up", lambda: (h := ray_head.recorded(made.home)) and h.address and h
    )
    assert isinstance(head, ray_head.RayHead)
    return head


def up_hosts(made: Plane) -> set[str]:
    return {row.host for row in made.client.gpus().rows if row.use != "down"}


def hosts_of(made: Plane, name: str) -> dict[str, str]:
    """Which host each running run is on, by the device that it holds."""
    rows = made.client.gpus().rows
    return {row.owner.removeprefix(f"{name}/"): row.host for row in rows if row.owner is not None}


def writes(made: Plane, name: str, run: str) -> int:
    try:
        return made.files(name, run).metrics.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def await_training(made: Plane, name: str, runs: list[str]) -> dict[str, identity.Identity]:
    await_that("every run writes", lambda: all(writes(made, name, r) for r in runs))
    found = {run: made.trainer(name, run) for run in runs}
    return {run: trainer for run, trainer in found.items() if trainer is not None}


def all_succeeded_at_once(made: Plane, name: str) -> bool:
    return all((r.result, r.attempt) == ("succeeded", 1) for r in made.client.runs(name))


def test_a_lost_host_gets_no_verdict_and_is_adopted_when_it_comes_back(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    wanted = {"there": SECOND, "here": HERE, "a": None, "b": None}
    with ExitStack() as nodes, small_plane(tmp_path / "home") as made:
        nodes.callback(stop.touch)
        head = head_of(made)
        node = nodes.enter_context(joined(made.home, head.address, SECOND))
        await_that("both hosts are known", lambda: up_hosts(made) == {HERE, SECOND})
        made.client.submit(campaign(tmp_path, "spread", stop, wanted))
        trainers = await_training(made, "spread", list(wanted))
        where = hosts_of(made, "spread")
        assert sorted(where.values()) == sorted([HERE, SECOND] * SLOTS), "every slot is used"
        assert (where["there"], where["here"]) == (SECOND, HERE)
        lose(made, node, trainers)
        nodes.enter_context(joined(made.home, head.address, SECOND))
        await_that("it is back", lambda: up_hosts(made) == {HERE, SECOND})
        assert {run: made.trainer("spread", run) for run in wanted} == trainers
        stop.touch()
        await_that("all end well", lambda: all_succeeded_at_once(made, "spread"))
        made.client.submit(campaign(tmp_path, "later", stop, {"again": SECOND}))
        await_that("it takes work", lambda: all_succeeded_at_once(made, "later"))


def lose(made: Plane, node: Node, trainers: dict[str, identity.Identity]) -> None:
    """Kill the second node: it is shown as down, its trainers go on, no run is judged."""
    node.kill()
    await_that("it is shown as lost", lambda: up_hosts(made) == {HERE})
    before = {run: writes(made, "spread", run) for run in trainers}
    await_that("all go on", lambda: all(writes(made, "spread", r) > before[r] for r in trainers))
    assert all(identity.is_alive(trainer) for trainer in trainers.values())
    states = {(row.status, row.result, row.attempt) for row in made.client.runs("spread")}
    assert states == {("active", None, 1)}


SAVES = """
import json, os, sys, time
origin = os.environ.get("CAMPAIGN_RESUME_FROM")
step = json.load(open(origin + "/state.json"))["step"] if origin else 0
print("began after step", step, flush=True)
while not os.path.exists(sys.argv[1]):
    step += 1
    with open(os.environ["CAMPAIGN_METRICS"], "a") as out:
        line = {"t": time.time(), "step": step, "m": {"loss": float(sys.argv[2])}}
        out.write(json.dumps(line) + "\\n")
    if step == 5:
        place = os.environ["CAMPAIGN_CHECKPOINT_DIR"]
        os.makedirs(place + "/writing")
        json.dump({"step": step}, open(place + "/writing/state.json", "w"))
        os.rename(place + "/writing", place + "/step-5")
    time.sleep(0.05)
"""


def saving_campaign(where: Path, stops: dict[str, Path]) -> Path:
    """``far`` and ``bad`` want the second host, ``first`` and ``other`` this one, ``mover`` neither."""
    program = script(where, "saves.py", SAVES)
    wanted = {"far": SECOND, "bad": SECOND, "first": HERE, "other": HERE, "mover": None}
    lines = ""
    for run, host in wanted.items():
        argv = json.dumps(
            [sys.executable, program, str(stops[run]), "1e6" if run == "bad" else "1"]
        )
        on = f", resources: {{hosts: [{host}]}}" if host else ""
        lines += f"  {run}: {{trainer: {{argv: {argv}}}{on}}}\n"
    path = where / "saving.yaml"
    path.write_text(
        "campaign: saving\n"
        "defaults:\n"
        "  trainer: {kind: command, metrics: {declared: [loss]}}\n"
        "  watch: [{name: too_high, rule: threshold, metric: loss, above: 1000, action: kill}]\n"
        f"runs:\n{lines}"
    )
    return path


def test_a_host_that_does_not_share_the_home_is_mirrored_and_its_checkpoints_travel(
    tmp_path: Path,
) -> None:
    stops = {run: tmp_path / f"stop-{run}" for run in ("far", "bad", "first", "other", "mover")}
    own_root = tmp_path / "own-disk"
    with ExitStack() as nodes, small_plane(tmp_path / "home") as made:
        for stop in stops.values():
            nodes.callback(stop.touch)
        head = head_of(made)
        apart = {ENV_LOCAL_ROOT: str(own_root)}
        nodes.enter_context(joined(made.home, head.address, SECOND, environment=apart))
        await_that("both hosts are known", lambda: up_hosts(made) == {HERE, SECOND})
        made.client.submit(saving_campaign(tmp_path, stops))
        await_that("the rule kills there", lambda: made.run("bad").result == "killed")
        await_training(made, "saving", ["far", "first", "other", "mover"])
        assert hosts_of(made, "saving")["mover"] == SECOND

        kill(made.controller())
        made.client.up()
        before = writes(made, "saving", "far")
        await_that("it goes on to grow here", lambda: writes(made, "saving", "far") > before + 20)
        stops["far"].touch()
        await_that("it ends", lambda: made.run("far").result == "succeeded")
        for run in ("far", "bad"):
            assert_mirrored(made, own_root, run)

        await_that("it has saved", lambda: made.client.checkpoints("saving/mover"))
        made.client.cancel("saving/mover")
        await_that("it has ended", lambda: made.run("mover").status == "done")
        stops["first"].touch()
        await_that("there is room here", lambda: made.run("first").status == "done")
        made.client.resume("saving/mover")
        await_that("it writes here", lambda: made.files("saving", "mover", 2).metrics.exists())
        assert hosts_of(made, "saving")["mover"] == HERE
        assert "began after step 5" in made.files("saving", "mover", 2).log.read_text()
        for stop in stops.values():
            stop.touch()
        await_that("all is done", lambda: made.run("mover").result == "succeeded")


def assert_mirrored(made: Plane, own_root: Path, run: str) -> None:
    """Byte by byte, as it lies on the host."""
    [there] = own_root.glob(f"*/saving/{run}/attempt-1")
    here = made.files("saving", run).root
    names = {path.name for path in there.iterdir() if path.is_file()} - {"kill.lock", "spec.json"}
    assert names >= {"metrics.jsonl", "events.jsonl", "watch.jsonl", "log.txt", "exit.json"}
    different = [n for n in sorted(names) if (here / n).read_bytes() != (there / n).read_bytes()]
    assert different == []


def test_a_cluster_of_somebody_else_is_joined_and_left_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Home(root=tmp_path / "theirs")
    theirs.create()
    head = ray_head.start(theirs, {f"cpu:{HERE}:{slot}": 1 for slot in range(SLOTS)})
    try:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(theirs.ray_token))
        stop = tmp_path / "stop"
        with small_plane(tmp_path / "home") as made:
            made.client.up(ray_address=head.address)
            made.client.submit(campaign(tmp_path, "guest", stop, {"a": None}))
            trainers = await_training(made, "guest", ["a"])
            assert ray_head.recorded(made.home) is None, "no head of its own"
            made.client.down()
            assert ray_head.is_alive(head)
            assert identity.is_alive(trainers["a"])
            await_that("none of our actors stays", lambda: not actors(theirs, head))
            made.client.up(ray_address=head.address)
            stop.touch()
            await_that("it is adopted and ends", lambda: all_succeeded_at_once(made, "guest"))
        assert ray_head.is_alive(head)
    finally:
        ray_head.end(theirs, head)


def actors(home: Home, head: ray_head.RayHead) -> list[str]:
    """Titles of the workers below a head that hold actors."""
    import psutil

    living = [p for p in ray_head.note_processes(home, head).processes if identity.is_alive(p)]
    titles = []
    for process in living:
        try:
            titles.append(" ".join(psutil.Process(process.pid).cmdline()))
        except psutil.NoSuchProcess:
            continue
    return [t for t in titles if t.startswith(("ray::Supervisor", "ray::Watcher"))]
