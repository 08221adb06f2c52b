"""campaign submit: take a campaign file and run it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from campaign.cli.finish import finish
from campaign.cli.follow import follow, teller
from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import (
    FileArgument,
    HomeOption,
    JsonOption,
    OnlyOption,
    ProfileOption,
    client,
)
from campaign.cli.output import put, put_grid, put_json, talk, talk_all, talk_next
from campaign.cli.undone import undone
from campaign.cli.words import count, short_device
from campaign.errors import ExitCode
from campaign.rows import RunRow

if TYPE_CHECKING:
    from campaign.api import Client
    from campaign.submitting import Plan, PlannedRun, Size, Submission

NOTHING = "nothing was submitted"


def submit(
    file: FileArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until all runs are done.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; write and start nothing.")
    ] = False,
    no_start: Annotated[
        bool,
        typer.Option(
            "--no-start", help="Queue it and start no controller; one that runs takes it."
        ),
    ] = False,
    profile: ProfileOption = None,
    only: OnlyOption = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="RUN.path=value",
            help="Change a setting; defaults.path=value changes all runs. May be repeated.",
            show_default=False,
        ),
    ] = None,
    as_name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Another name for it.", show_default=False),
    ] = None,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Run it in this process, without Ray and MLflow, and follow."),
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Submit a campaign. Once it says so, it cannot be lost.

    The same file again attaches to what is there; other content under the same name is refused.
    With --wait the exit code is 0 if every run succeeded; else, by the first that did not, 10 (failed),
    11 (killed by a rule), 12 (cancelled) or 13 (no certified checkpoint).
    """
    del home
    here = client()
    chosen = Chosen(
        file=file,
        profile=profile,
        sets=tuple(sets or ()),
        only=tuple(only or ()),
        as_name=as_name,
    )
    if dry_run:
        _put_plan(chosen.plan(here), as_json=as_json)
        talk_next(chosen.command())
    elif debug:
        _run_here(here, chosen, as_json=as_json)
    else:
        made = chosen.submit(here)
        _put_submission(here, made, as_json=as_json, last=not wait)
        if not no_start:
            _start(here, made)
        if wait:
            finish(here, made.campaign, _followed(here, made.campaign), as_json=as_json)
        talk_next(f"campaign watch {made.campaign}", f"campaign ls {made.campaign}")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was given on the command line."""

    file: Path
    profile: str | None
    sets: tuple[str, ...]
    only: tuple[str, ...]
    as_name: str | None

    def command(self, *more: str) -> str:
        """As it is typed, with ``more`` behind it."""
        named = {"--profile": self.profile, "--as": self.as_name}
        given = [word for option, value in named.items() if value for word in (option, value)]
        repeated = {"--only": self.only, "--set": self.sets}
        given += [word for option, texts in repeated.items() for t in texts for word in (option, t)]
        return shlex.join(["campaign", "submit", str(self.file), *given, *more])

    def plan(self, here: Client) -> Plan:
        with undone(NOTHING):
            return here.plan(
                self.file,
                profile=self.profile,
                sets=self.sets,
                only=self.only,
                as_name=self.as_name,
            )

    def submit(self, here: Client, *, debug: bool = False) -> Submission:
        """Only into the store: that it is there is said before anything is started."""
        from campaign.submitting import OtherContent

        try:
            with undone(NOTHING):
                return here.submit(
                    self.file,
                    profile=self.profile,
                    sets=self.sets,
                    only=self.only,
                    as_name=self.as_name,
                    start=False,
                    debug=debug,
                )
        except OtherContent as refused:
            renamed = replace(self, as_name="NAME").command(*(("--debug",) if debug else ()))
            raise OtherContent(f"{refused}\n  {renamed}") from None


def _start(here: Client, made: Submission) -> None:
    if any(run.status != "done" for run in here.runs(made.campaign)):
        here.start()


def _followed(here: Client, campaign: str) -> Sequence[RunRow]:
    try:
        return follow(here, campaign)
    except KeyboardInterrupt:
        talk(f"no longer following; the runs of {campaign} go on", "notice")
        talk_next(f"campaign watch {campaign}", f"campaign cancel --campaign {campaign}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _run_here(here: Client, chosen: Chosen, *, as_json: bool) -> NoReturn:
    from campaign.debug import Foreground

    with Foreground(here.home, say=lambda _: None) as plane:
        made = chosen.submit(here, debug=True)
        _put_submission(here, made, as_json=as_json, last=False)
        try:
            with teller() as told, here.follow(made.campaign) as follower:
                told.take(follower.look())
                plane.run(made.campaign, lambda: told.take(follower.look()))
        except KeyboardInterrupt:
            talk("ended here; trainers that run go on until a controller takes them over", "notice")
            talk_next("campaign up", chosen.command("--debug"))
            raise typer.Exit(ExitCode.INTERRUPTED) from None
    finish(here, made.campaign, told.runs, as_json=as_json, published=False)


def _put_submission(here: Client, made: Submission, *, as_json: bool, last: bool) -> None:
    """The acknowledgement. ``last``: no other result follows, so that it may be the JSON."""
    runs = here.runs(made.campaign)
    done = sum(run.status == "done" for run in runs)
    said = f"submitted {made.campaign}: {count(len(made.runs), 'run')}"
    if made.attached:
        said = f"attached to {made.campaign}: {done} of {count(len(runs), 'run')} finished"
    if as_json and last:
        put_json([{**vars(made), "attached": made.attached, "finished": done}])
    elif as_json:
        talk(said)
    else:
        put(said)
    talk_all((f"note: {text}" for text in made.warnings), "notice")
    _talk_size(made.profile, made.size)


def _talk_size(profile: str | None, size: Size) -> None:
    talk(f"profile {profile}: {size.text}" if profile else size.text)
    if size.steps:
        talk("  how long that takes is shown once a run has done 50 steps", "dim")
    for name, text in size.others.items():
        talk(f"  --profile {name} takes the other: {text}", "dim")


def _put_plan(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        put_json(plan.runs)
    else:
        put_grid(_PLAN, [_planned(run) for run in plan.runs], note="RULES")
    talk_all((f"note: {text}" for text in plan.warnings), "notice")
    _talk_size(plan.profile, plan.size)
    talk(f"{NOTHING} (--dry-run)", "dim")


_PLAN = (
    Column(title="RUN"),
    Column(title="TRAINER"),
    Column(title="STEPS", right=True),
    Column(title="START"),
    Column(title="NEEDS"),
    Column(title="DEVICES"),
)


def _planned(run: PlannedRun) -> Row:
    needs = f"{run.gpus} GPU" if run.gpus else f"{run.cpus} CPU"
    candidates = f"{len(run.devices)}: {short_device(run.devices[0])}.." if run.devices else "none"
    texts = (run.run, run.trainer, str(run.steps or ""), run.start, needs, candidates)
    return Row(cells=tuple(Cell(text=text) for text in texts), note=", ".join(run.rules))
