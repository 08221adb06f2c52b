"""The verbs of the command line, and what becomes of errors."""

from __future__ import annotations

import sys
import tempfile
import traceback
from typing import Annotated, NoReturn

import typer

from campaign.cli.alerts import alerts
from campaign.cli.cancel import cancel
from campaign.cli.checkpoints import checkpoints
from campaign.cli.config import config
from campaign.cli.data import data
from campaign.cli.doctor import doctor
from campaign.cli.down import down
from campaign.cli.gap import gap
from campaign.cli.gpus import gpus
from campaign.cli.import_flags import CONTEXT, import_flags
from campaign.cli.kill import kill
from campaign.cli.logs import logs
from campaign.cli.ls import ls
from campaign.cli.options import HomeOption
from campaign.cli.output import ReaderGone, put, talk
from campaign.cli.params import params
from campaign.cli.probe import probe
from campaign.cli.publish import publish
from campaign.cli.resume import resume
from campaign.cli.schema import schema
from campaign.cli.show import show
from campaign.cli.submit import submit
from campaign.cli.ui import ui
from campaign.cli.undone import closing
from campaign.cli.up import up
from campaign.cli.version import version, version_text
from campaign.cli.wait import wait
from campaign.cli.watch import watch
from campaign.cli.where import advice, forget_home
from campaign.errors import CampaignError, ExitCode
from specs.errors import SpecErrors

app = typer.Typer(
    name="campaign",
    help="Run campaigns of long, unstable trainings on a few GPUs, and have them watched.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _verb in (
    submit, ls, show, logs, watch, wait, cancel, kill, resume, gpus, alerts, checkpoints, probe, params, gap, ui,
    publish, up, down, doctor, schema, version,
):  # fmt: skip
    app.command(_verb.__name__)(_verb)
app.command("import-flags", context_settings=CONTEXT)(import_flags)
app.add_typer(config, name="config")
app.add_typer(data, name="data")


@app.callback(invoke_without_command=True)
def campaign(
    context: typer.Context,
    home: HomeOption = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True)
    ] = False,
) -> None:
    del home
    if show_version:
        put(version_text())
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help())


def run() -> NoReturn:
    """One command line. An error meant for a person ends with its message and its exit code; a reader
    that goes away ends it without a word.
    """
    forget_home()
    try:
        _run()
    except ReaderGone:
        sys.exit(ExitCode.READER_GONE)


def _run() -> NoReturn:
    try:
        app()
    except ReaderGone:
        raise
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's own writing, such as --help
            sys.exit(ExitCode.READER_GONE)
        raise
    except CampaignError as error:
        _fail(str(error), error.exit_code)
    except SpecErrors as errors:
        _fail(f"{errors}\n{closing(errors)}", 3)
    except Exception as error:  # noqa: BLE001 - whatever it is, a user gets a sentence, not a traceback
        _fail(_bug(error), ExitCode.BUG)
    sys.exit(ExitCode.OK)


def _fail(message: str, code: int) -> NoReturn:
    first, *rest = advice(message).splitlines() or [""]
    talk(f"error: {first}", "bad")
    for line in rest:
        talk(line)
    sys.exit(code)


def _bug(error: Exception) -> str:
    """A short message, and the file that has the traceback."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="campaign-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    return (
        f"{type(error).__name__}: {error}\n"
        f"  this is a fault of campaign; running trainers are not touched\n"
        f"  its traceback is in {file.name}: please report it with that file"
    )
