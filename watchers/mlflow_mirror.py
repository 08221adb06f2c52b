"""Rounds over the attempts on the disk, and what is done when a store says no. No mlflow here.

An outage of the store stops the round (Unavailable); trouble with one attempt makes that one wait and lets
the others go on. Nothing is lost by waiting: the truth is metrics.jsonl.
"""

from __future__ import annotations

import sqlite3
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from watchers.mlflow_attempts import Found, load, siblings
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_port import (
    Lifecycle,
    NotActive,
    Replaced,
    Target,
    TrackingProblem,
    Unsure,
)
from watchers.mlflow_run import Alone, Family, RunWriter, Say

DOUBTS = 5
"""Failures in a row that tell nothing, after which the points themselves are suspected."""

LONGEST_PAUSE = 30.0
DELETED_PAUSE = 60.0


@dataclass(frozen=True, kw_only=True)
class Pause:
    """An attempt that waits.

    ``until``: of the monotonic clock; ``number``: the how manieth in a row; ``wanted``: by the user.
    """

    until: float
    why: str
    number: int
    unsure: bool = False
    wanted: bool = False


class Mirror:
    """Publishes attempts to one target, from as many directories as it is given."""

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        *,
        say: Say,
        alone: Alone = nullcontext,
        experiment: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._said: set[str] = set()
        self._tell = say
        self._target = target
        self._ledger = ledger
        self._clock = clock
        self._writer = RunWriter(
            target=target,
            ledger=ledger,
            say=self._say_once,
            alone=alone,
            experiment=experiment,
        )
        self._loaded: dict[Path, Found] = {}
        self._done: set[Path] = set()
        self._pauses: dict[Path, Pause] = {}

    @property
    def published(self) -> int:
        """Points that the target accepted so far, replayed ones too."""
        return self._writer.published

    @property
    def paused(self) -> dict[Path, str]:
        """Attempts that could not be published when last tried, and why; not those that a user deleted."""
        return {path: pause.why for path, pause in self._pauses.items() if not pause.wanted}

    def advance(self, attempts: Iterable[Path]) -> bool:
        """One pass: a piece of each attempt that lies in one of the directories. More to do at once?

        Raises Unavailable or Replaced; what was done until then is kept.
        """
        self._target.confirm()
        moved = False
        for directory in sorted(set(attempts) - self._done):
            attempt = self._load(directory)
            if attempt is not None:
                moved |= self._guarded(attempt)
        return moved

    def _family(self, attempt: Found) -> Family:
        """The attempts of the same run that lie beside it."""
        loaded = (self._load(path) for path in siblings(attempt.files.root))
        run = attempt.described.id[:2]
        return {a.described.attempt: a for a in loaded if a and a.described.id[:2] == run}

    def _load(self, directory: Path) -> Found | None:
        if directory not in self._loaded:
            try:
                self._loaded[directory] = load(directory)
            except (ValueError, OSError) as error:
                self._say_once(f"not published: {error}")
                return None
        return self._loaded[directory]

    # ------------------------------------------------------------ one attempt and its troubles

    def _guarded(self, attempt: Found) -> bool:
        directory = attempt.files.root
        pause = self._pauses.get(directory)
        if pause is not None and self._clock() < pause.until:
            return False
        suspect = pause is not None and pause.unsure and pause.number >= DOUBTS
        try:
            moved, done = self._writer.advance(attempt, self._family(attempt), suspect=suspect)
        except NotActive as error:
            return self._revive(attempt, str(error))
        except Unsure as error:
            self._wait(directory, str(error), unsure=True)
            return False
        except OSError as error:
            self._wait(directory, str(error))
            return False
        except (TrackingProblem, Replaced, sqlite3.Error):
            raise
        except Exception as error:  # noqa: BLE001 - one odd attempt must not keep the others back
            traceback.print_exc()
            self._wait(directory, f"{type(error).__name__}: {error}")
            return False
        self._pauses.pop(directory, None)
        if done:
            self._done.add(directory)
        return moved

    def _revive(self, attempt: Found, why: str) -> bool:
        """A deleted experiment is restored, a run that is gone is made anew, a deleted run stays so."""
        directory, key = attempt.files.root, attempt.described.key
        entry = self._ledger.entry(self._target.uri, key)
        state = None if entry is None else self._target.lifecycle(entry.run_id)
        if state is Lifecycle.GONE:
            self._say_once(f"{_name(directory)}: its run is not there any more; published anew")
            self._ledger.forget(self._target.uri, key)
            return True
        _, restored = self._writer.open_experiment(attempt)
        if restored:
            return True
        if state is Lifecycle.DELETED:
            why = "its run was deleted in MLflow and stays so; if it is restored, it is completed"
            self._wait(directory, why, wanted=True)
        else:
            self._wait(directory, why)
        return False

    def _wait(
        self, directory: Path, why: str, *, unsure: bool = False, wanted: bool = False
    ) -> None:
        before = self._pauses.get(directory)
        number = 1 if before is None or before.unsure != unsure else before.number + 1
        seconds = DELETED_PAUSE if wanted else min(LONGEST_PAUSE, 2.0 ** (number - 1))
        self._say_once(f"{_name(directory)}: {why}")
        self._pauses[directory] = Pause(
            until=self._clock() + seconds, why=why, number=number, unsure=unsure, wanted=wanted
        )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._tell(text)


def _name(directory: Path) -> str:
    return "/".join(directory.parts[-3:])
