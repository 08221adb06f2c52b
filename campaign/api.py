"""What the command line does, for Python users.

    from campaign.api import Client

    client = Client()
    client.submit("specs/ep_resreg.yaml")
    for run in client.wait("ep_resreg"):
        print(run.run, run.result, run.metrics["val/ce"]["best"])

What is written goes into the store as a request, and that commit is the acknowledgement; what is read
comes from the store. A method finds what is meant and hands it to the module of its work; the file is as
long as there are verbs. Errors are CampaignError and SpecErrors: the message says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import asking, control, misconfigured
from campaign.details import RunDetails, details_of, log_of
from campaign.errors import NotFound, UiDown, WrongState
from campaign.follower import Follower
from campaign.home import Home
from campaign.naming import RunName
from campaign.rows import AlertRow, CampaignRow, CheckpointRow, RunRow
from campaign.views import Reader

if TYPE_CHECKING:  # these bring pydantic, which reading does without
    from campaign.alerting import SinkTest
    from campaign.checks.finding import Finding
    from campaign.clip_making import EncodeClips, Made, MakeClips, Progress
    from campaign.config import Config
    from campaign.counting import Counts
    from campaign.gap import GapRow
    from campaign.going_down import Down
    from campaign.looking import Gpus
    from campaign.probing import Ask, Place, Probed
    from campaign.submitting import Plan, Submission
    from specs.run import CampaignSpec
    from watchers.mlflow_loop import Published
    from watchers.ui_mlflow import Ui


class Client:
    """One home. ``tell`` gets a line of talk where something takes a while."""

    def __init__(
        self, home: str | Path | None = None, *, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.home = Home.locate(home)
        self.home.check()
        self._tell = tell

    # ------------------------------------------------------------ submitting

    def submit(
        self,
        source: str | Path | CampaignSpec,
        *,
        profile: str | None = None,
        sets: Sequence[str] = (),
        only: Sequence[str] = (),
        as_name: str | None = None,
        start: bool = True,
        debug: bool = False,
    ) -> Submission:
        """Submit a campaign; ``start``: and see to it that a controller runs.

        ``sets`` are ``RUN.path=value``; ``only`` names the runs to take, all if empty. The same content
        under the same name attaches. Raises SpecErrors, OtherContent, ControllerDown (then it is submitted
        all the same).
        """
        from campaign import looking, preparing, submitting
        from campaign.code import keep

        read = preparing.read_campaign(
            source, profile=profile, sets=sets, only=only, as_name=as_name
        )
        doubts = preparing.check(read, looking.known_hosts(self.home, probe=debug))
        self.home.create()
        origin = preparing.origin_of(read, self.home.root)
        record = preparing.record_of(read, self.home.root, origin, debug=debug)
        if origin.patch is not None:  # before the submit: an attempt may start at once
            keep(self.home, origin.patch)
        with asking.opened(self.home) as store:
            made = submitting.put(store, read, record, (*read.warnings, *doubts))
        if start and any(run.status != "done" for run in self.runs(made.campaign)):
            self.start()
        return made

    def plan(
        self,
        source: str | Path | CampaignSpec,
        *,
        profile: str | None = None,
        sets: Sequence[str] = (),
        only: Sequence[str] = (),
        as_name: str | None = None,
    ) -> Plan:
        """What `submit` would do. Looks at this host's devices; writes and starts nothing.

        A device that is not here is one of the plan's warnings. Raises SpecErrors, ConfigError.
        """
        from campaign import looking, preparing, submitting

        read = preparing.read_campaign(
            source, profile=profile, sets=sets, only=only, as_name=as_name
        )
        known = looking.known_hosts(self.home, probe=True)
        doubts = preparing.check(read, known, planned=True)
        origin = preparing.origin_of(read, self.home.root)
        record = preparing.record_of(read, self.home.root, origin)
        return submitting.plan(read, record, known, (*read.warnings, *doubts))

    def params(
        self,
        source: str | Path | CampaignSpec,
        *,
        profile: str | None = None,
        only: Sequence[str] = (),
    ) -> Counts:
        """Parameters of each run's model, by group. Raises SpecErrors, NotFound, NotCounted."""
        from campaign import counting, preparing

        return counting.count(preparing.read_campaign(source, profile=profile, only=only).spec)

    # ------------------------------------------------------------ orders

    def cancel(self, *runs: str, reason: str = "cancelled") -> list[str]:
        """Stop runs; their trainers may save first. What became of each, where it is known at once."""
        return self._stop(runs, kill=False, reason=reason)

    def kill(self, *runs: str, reason: str = "killed") -> list[str]:
        """Stop runs without a chance to save."""
        return self._stop(runs, kill=True, reason=reason)

    def resume(self, run: str, *, origin: str | int = "latest") -> str:
        """Queue a done run again, from ``latest``, ``certified``, ``scratch`` or a step.

        Raises WrongState if it is not done, NoCheckpoint if nothing of that kind is there.
        """
        payload = asking.resume_of(self.home, self.find_run(run), origin)
        answer = self._ask("resume", payload)
        if "not resumed" in answer:  # something happened to it since it was looked at
            raise WrongState(answer)
        return answer

    def origins(self, run: str) -> tuple[str, ...]:
        """Whence `resume` could go on now: of ``certified``, ``latest`` and ``scratch``; none while the run is
        not done. Raises NotFound.
        """
        return asking.origins_of(self.home, self.find_run(run))

    def release(self, device: str) -> str:
        """Lift the quarantine of a device. Raises NotFound if there is none."""
        with self.reader() as reader:
            payload = asking.lift_of(device, list(reader.quarantines()))
        return self._ask("lift", payload)

    # ------------------------------------------------------------ the controller

    def controller(self) -> control.Controller | None:
        """The controller of this home, if it is alive."""
        return control.running(self.home)

    def start(self) -> control.Controller:
        """See to it that a controller runs; one that is started here ends itself when idle.

        Raises ConfigError, ControllerDown.
        """
        if (found := control.running(self.home)) is not None:
            return found
        self.config()  # a broken file is told as one, not as a controller that does not come up
        self._tell("starting the controller")
        return control.start(self.home, idle_exit=control.IDLE_EXIT)

    def up(self, *, ray_address: str | None = None) -> control.Controller:
        """Start the controller, to stay; raises WrongState if one is there for another Ray, BadAddress."""
        if ray_address is not None:
            from campaign.config import check_address

            check_address(ray_address)
        self.home.create()
        if control.running(self.home) is None:
            self.config()  # as in `start`
        found = control.start(self.home, idle_exit=None, ray_address=ray_address)
        if ray_address is not None and found.ray_address != ray_address:
            raise WrongState(
                f"a controller runs already, with Ray at {found.ray_address or 'its own head'}\n"
                "  campaign down, then this again"
            )
        return found

    def down(self, *, stop_runs: bool = False, timeout: float = control.DOWN_DEADLINE) -> Down:
        """End the controller and what it started, or what a killed one left; trainers go on.

        With ``stop_runs`` they are stopped first; ``unstopped`` of the answer names those that were not
        within ``timeout`` seconds. Raises ControllerDown if the controller does not end.
        """
        from campaign import going_down

        return going_down.down(self.home, stop_runs=stop_runs, timeout=timeout, tell=self._tell)

    # ------------------------------------------------------------ reading

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with Reader(self.home.store) as reader:
            yield reader

    def campaigns(self) -> list[CampaignRow]:
        with self.reader() as reader:
            return reader.campaigns()

    def runs(self, campaign: str | None = None) -> list[RunRow]:
        """Every run, or those of one campaign. Raises NotFound."""
        with self.reader() as reader:
            return reader.runs(None if campaign is None else reader.find_campaign(campaign))

    def brief_runs(self, campaign: str | None = None, *, newest: int) -> tuple[list[RunRow], int]:
        """The runs submitted last, with one metric each, and how many there are. Raises NotFound."""
        with self.reader() as reader:
            name = None if campaign is None else reader.find_campaign(campaign)
            return reader.brief_runs(name, newest=newest)

    def find_run(self, run: str) -> RunName:
        """``campaign/run``, or ``run`` where that is clear. Raises NotFound."""
        with self.reader() as reader:
            return reader.find_run(run)

    def show(self, run: str) -> RunDetails:
        """Everything about a run. Raises NotFound."""
        with self.reader() as reader:
            return details_of(reader, reader.find_run(run))

    def gap(self, *runs: str, lower: str, upper: str) -> tuple[GapRow, ...]:
        """What continual-learning runs have closed of the gap between two bounds. Raises NotFound, WrongState."""
        from campaign.gap import gaps

        low, high, *several = (self.show(run).run for run in (lower, upper, *runs))
        return gaps(several, lower=low, upper=high)

    def alerts(self, about: str | None = None) -> list[AlertRow]:
        """Alerts of a campaign, of a run, or all. Raises NotFound."""
        with self.reader() as reader:
            return reader.alerts(*reader.find_either(about))

    def test_alerts(self) -> tuple[SinkTest, ...]:
        """Send a test message to every configured sink, from this process. Raises ConfigError."""
        from campaign.alerting import sinks_of, try_sinks

        self.home.create()
        notify = self.config().settings.notify
        return try_sinks(sinks_of(self.home, desktop=notify.desktop, urls=notify.urls))

    def checkpoints(self, about: str | None = None) -> list[CheckpointRow]:
        """Checkpoints of a campaign, of a run, or all. Raises NotFound."""
        with self.reader() as reader:
            return reader.checkpoints(*reader.find_either(about))

    def log(self, run: str, attempt: int | None = None) -> Path:
        """The log of an attempt, by default the newest. Raises NotFound."""
        with self.reader() as reader:
            return log_of(reader, reader.find_run(run), attempt)

    def follow(self, campaign: str) -> Follower:
        """A campaign, to look at again and again. Raises NotFound."""
        with self.reader() as reader:
            return Follower(self.home.store, reader.find_campaign(campaign))

    def wait(self, campaign: str, timeout: float | None = None) -> list[RunRow]:
        """The runs of a campaign once all are done; raises TimedOut after ``timeout`` seconds."""
        runs: list[RunRow] = []
        with self.follow(campaign) as follower:
            for seen in follower.changes(timeout):
                runs = runs if seen is None else list(seen.runs)
        return runs

    def misconfigured(self) -> list[str]:
        """Why nothing starts on hosts whose configuration cannot be read, with file and line; where no
        controller runs, of this host as it is now."""
        if self.controller() is None:
            return misconfigured.here(self.home)
        with self.reader() as reader:
            return misconfigured.everywhere(reader)

    def refusal(self, campaign: str) -> str | None:
        """Why the newest submit of a campaign was refused by the controller; None if it was not."""
        with self.reader() as reader:
            return reader.refusal(campaign)

    def gpus(self) -> Gpus:
        """Every device: who has it, or why nobody may."""
        from campaign import looking

        return looking.gpus(self.home, tell=self._tell)

    # ------------------------------------------------------------ probes

    def probe(
        self, name: str, checkpoint: str | Path, ask: Ask | None = None, *, device: str = "auto"
    ) -> Probed:
        """Measure the model in a checkpoint: a directory, or ``RUN``, ``RUN@STEP``, ``RUN@certified``.

        Raises NotFound, BadProbe, WrongState, ProbeFailed.
        """
        from campaign import probing
        from campaign.hosts.factory import usable_cpus

        order = ask or probing.Ask()
        probing.check(name, order)
        path = self._checkpoint(checkpoint)
        at = self._place(device)
        return probing.measure(name, path, order, at, threads=usable_cpus())

    def _place(self, device: str) -> Place:
        from campaign import probing
        from campaign.hosts.factory import host_name

        rows = () if device == probing.CPU else self.gpus().rows
        at = probing.place(device, rows, host=host_name())
        if at.told:
            self._tell(at.told)
        return at

    def _checkpoint(self, given: str | Path) -> Path:
        from campaign import probing

        if isinstance(given, Path) or Path(given).is_dir():
            return Path(given).absolute()
        run, which = probing.split(given)
        try:
            found = self.find_run(run)
        except NotFound as error:
            raise NotFound(f"{given} is no directory, and {error}") from error
        return probing.pick(found, which, self.checkpoints("/".join(found)))

    def write_clips(
        self,
        ask: MakeClips | EncodeClips,
        *,
        device: str = "cpu",
        progress: Progress = lambda task, at, of: None,
    ) -> tuple[Made, ...]:
        """Clips for the HOPE trainer, one row a task; clips that are there already are kept.

        Raises BadClipOrder, NotFound, WrongState, ClipsFailed.
        """
        from campaign import clip_making, probing
        from campaign.hosts.factory import usable_cpus

        at = self._place(device)
        threads = min(usable_cpus(), probing.MOST_THREADS)
        return clip_making.write(ask, at, threads=threads, progress=progress)

    # ------------------------------------------------------------ MLflow

    def publish(self, directory: str | Path, *, campaign: str | None = None) -> Published:
        """Mirror attempts that ran elsewhere into MLflow, into their own or another campaign's experiment.

        Raises NotFound if there is no attempt, WrongState if the home's publisher does it already.
        """
        from watchers.publish_mlflow import AnotherRuns, publish_directory

        self.home.create()
        try:
            return publish_directory(
                Path(directory), home=self.home.root, tracking_uri=self._tracking, campaign=campaign
            )
        except FileNotFoundError as error:
            raise NotFound(str(error)) from error
        except NotADirectoryError as error:
            raise NotFound(
                f"{directory} is no directory: give a home, a campaign, a run or an attempt"
            ) from error
        except AnotherRuns as error:
            raise WrongState(
                f"{error}; what it has published is to be seen with\n  campaign ui"
            ) from error

    def points_in(self, directory: str | Path) -> int:
        """How many metric points the attempts in a directory have written."""
        from campaign.metric_points import count_points

        return count_points(Path(directory))

    def ui(self, *, port: int | None = None) -> Ui:
        """Serve MLflow on loopback until `close`; a tracking server is only pointed to. Raises UiDown."""
        from watchers.ui_mlflow import UiFailed, start

        self.home.create()
        try:
            return start(self.home.root, tracking_uri=self._tracking, port=port)
        except UiFailed as error:
            raise UiDown(str(error)) from error

    @property
    def _tracking(self) -> str | None:
        return self.config().settings.mlflow.tracking_uri

    # ------------------------------------------------------------ the machine

    def ray_resources(self) -> dict[str, int]:
        """What a Ray node on this host is to declare."""
        from campaign import looking

        return looking.ray_resources(self.home)

    def config(self) -> Config:
        """What the configuration files say. Raises ConfigError."""
        from campaign.config import load

        return load(self.home.root)

    def doctor(self) -> tuple[Finding, ...]:
        """Whether runs can be started, watched and killed safely on this machine."""
        from campaign.doctor import run_checks

        return run_checks(self.home.root)

    # ------------------------------------------------------------ inside

    def _stop(self, runs: Sequence[str], *, kill: bool, reason: str) -> list[str]:
        names = list(dict.fromkeys(self.find_run(run) for run in runs))
        payload = asking.stop_of(names, self.runs(), kill=kill, reason=reason)
        return self._ask("stop", payload).split("; ")

    def _ask(self, kind: str, payload: Mapping[str, Any]) -> str:
        """The answer of the controller, which is started where none runs. Raises ControllerDown, WrongState."""
        return asking.ask(self.home, kind, payload, start=self.start)
