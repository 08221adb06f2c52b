"""The errors that a user meets. The message says what was got, what is allowed, what to do."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line (docs/cli.md)."""

    OK = 0
    BUG = 1
    USAGE = 2
    BAD_SPEC = 3
    NOT_FOUND = 4
    WRONG_STATE = 5
    CONTROLLER_DOWN = 6
    PARTLY_DONE = 7
    DOCTOR = 8
    RUN_FAILED = 10
    RUN_KILLED = 11
    RUN_CANCELLED = 12
    NO_CHECKPOINT = 13
    TIMEOUT = 124
    INTERRUPTED = 130
    READER_GONE = 141  # what a shell calls an end by SIGPIPE


class CampaignError(Exception):
    """Base of every error that is meant for a person: no traceback is shown."""

    exit_code: ExitCode = ExitCode.BUG


class NotFound(CampaignError):
    """The campaign, run, attempt or file that was named does not exist."""

    exit_code = ExitCode.NOT_FOUND


class LogNotYet(NotFound):
    """The attempt, or its log, is not there yet."""


class WrongState(CampaignError):
    """What was asked is not possible in the state that things are in."""

    exit_code = ExitCode.WRONG_STATE


class ControllerDown(CampaignError):
    """The controller did not start or does not answer."""

    exit_code = ExitCode.CONTROLLER_DOWN


class UiDown(CampaignError):
    """MLflow's UI did not come up."""

    exit_code = ExitCode.CONTROLLER_DOWN


class NoCheckpoint(CampaignError):
    """No checkpoint is there that the run may start from."""

    exit_code = ExitCode.NO_CHECKPOINT


class TimedOut(CampaignError):
    """What was waited for did not happen in time."""

    exit_code = ExitCode.TIMEOUT


class BadStore(CampaignError):
    """The store cannot be read; running trainers go on untouched."""

    exit_code = ExitCode.BUG


class IllegalMove(Exception):
    """A fact that is not legal in the present status: a bug of ours, with its evidence."""

    def __init__(self, who: str, status: str, fact: str, last: tuple[str, ...] = ()) -> None:
        tail = "".join(f"\n  {line}" for line in last)
        super().__init__(f"{who} is {status}; {fact} is no legal move from there{tail}")
