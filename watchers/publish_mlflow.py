"""The publisher of a home: a process of its own that mirrors every flushed metric point into MLflow.

    python -P -m watchers.publish_mlflow --home HOME [--tracking-uri URI] [--once]

Training never waits for it and never hears of it. It may be killed at any moment; the next one goes on
where it was. What it has to say stands in HOME/publisher.log, where it stands in HOME/publisher.db.
Exit codes: 0 ended as asked, 2 bad arguments, 5 another publisher of this home runs, 7 not everything
could be published (nothing is lost: start another one).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from watchers.mlflow_attempts import LEDGER, directories
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_loop import Published, Publisher
from watchers.mlflow_mirror import Mirror
from watchers.mlflow_port import Replaced
from watchers.mlflow_uri import BadUri, check_uri, default_uri, locked

LOCK = "publisher.lock"
LOG = "publisher.log"
RUN_LOCK = "publisher.runs.lock"

ONCE_PATIENCE = 120.0
"""Seconds of outage after which --once gives up."""

ORPHAN_PATIENCE = 600.0
"""Seconds without a point after which one whose starter is dead ends; the next starter begins another."""

_NICENESS = 10
_OK, _USAGE, _BUSY, _PARTLY = 0, 2, 5, 7


class AnotherRuns(Exception):
    """A publisher of this home is running already; there is never a second one."""


# ---------------------------------------------------------------- the two ways to run one


def publish_home(
    home: Path, tracking_uri: str | None = None, *, once: bool = False, signals: bool = False
) -> Published:
    """Publish the attempts of a home until told to stop, or once.

    ``signals``: SIGTERM and SIGINT ask it to end; only in the main thread. Raises AnotherRuns, BadUri.
    """
    uri = check_uri(tracking_uri or default_uri(home))
    with _the_only_one(home), contextlib.closing(Ledger.open(home / LEDGER)) as ledger:
        say = _log_to(home / LOG)
        publisher = Publisher(
            find=lambda: directories(home),
            open_mirror=lambda: _mirror(home, uri, ledger, say, None),
            say=say,
            forsaken=_forsaken(home),
        )
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: publisher.stopping.set())
        say(f"publisher {os.getpid()} publishes to {uri}")
        done = publisher.run_once(ONCE_PATIENCE) if once else publisher.run()
        say(f"publisher {os.getpid()} ends; {done.points} points published")
        return done


def publish_directory(
    path: Path,
    *,
    home: Path,
    tracking_uri: str | None = None,
    campaign: str | None = None,
    patience: float = ONCE_PATIENCE,
) -> Published:
    """Mirror attempts that ran elsewhere: a copied home, campaign, run or attempt directory.

    ``campaign``: the experiment to publish into; None: each attempt's own. Cursors are kept in ``home``, so
    that a later copy of the same attempts adds what is new. Raises FileNotFoundError if there is no attempt,
    AnotherRuns where ``path`` lies in a home whose publisher runs, BadUri.
    """
    path = path.resolve()
    if next(directories(path), None) is None:
        raise FileNotFoundError(
            f"{path} holds no attempt: give a home, a campaign, a run or an attempt (with spec.json)"
        )
    uri = check_uri(tracking_uri or default_uri(home))
    own = path.is_relative_to(home.resolve())
    guard = _the_only_one(home) if own else locked(home / "publish.lock")
    with guard, contextlib.closing(Ledger.open(home / LEDGER)) as ledger:
        say = _log_to(home / LOG)
        publisher = Publisher(
            find=lambda: directories(path),
            open_mirror=lambda: _mirror(home, uri, ledger, say, campaign),
            say=say,
        )
        return publisher.run_once(patience)


def _mirror(
    home: Path, uri: str, ledger: Ledger, say: Callable[[str], None], experiment: str | None
) -> Mirror:
    from watchers.mlflow_target import MlflowTarget  # mlflow is loaded here: two seconds

    target = MlflowTarget(uri)
    if target.store_id is not None and ledger.bind(uri, target.store_id):
        say(f"{uri} is another store than before: everything is published again")
    alone = lambda: locked(home / RUN_LOCK)  # noqa: E731
    return Mirror(target, ledger, say=say, alone=alone, experiment=experiment)


def _forsaken(home: Path) -> Callable[[float], str | None]:
    starter = os.getppid()

    def why(idle: float) -> str | None:
        if not home.is_dir():
            return f"{home} was removed"
        if os.getppid() != starter and idle >= ORPHAN_PATIENCE:
            return f"who started it is dead, and for {idle:.0f} s there was nothing to publish"
        return None

    return why


@contextlib.contextmanager
def _the_only_one(home: Path) -> Iterator[None]:
    path = home / LOCK
    try:
        with locked(path, wait=False) as fd:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            yield
    except BlockingIOError:
        raise AnotherRuns(
            f"publisher {path.read_text() or '?'} of {home} is running and publishes already"
        ) from None


def _log_to(path: Path) -> Callable[[str], None]:
    def say(text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{stamp} {text}\n")
        except OSError as error:  # a full disk must not end the publisher
            print(f"{text} (not in {path}: {error})", file=sys.stderr, flush=True)

    return say


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m watchers.publish_mlflow")
    parser.add_argument("--home", type=Path, required=True, help="where the campaigns lie")
    parser.add_argument("--tracking-uri", help="default: sqlite:///HOME/mlflow.db")
    parser.add_argument("--once", action="store_true", help="publish what there is, then end")
    options = parser.parse_args(argv)
    home = options.home.resolve()
    if not home.is_dir():
        parser.error(f"{home} is no directory")
    os.nice(_NICENESS)  # it must not cost a training a core
    os.chdir(home)  # mlflow writes into the working directory where it was told nothing
    try:
        done = publish_home(home, options.tracking_uri, once=options.once, signals=True)
    except BadUri as error:
        parser.error(str(error))
    except AnotherRuns as error:
        print(error, file=sys.stderr)
        return _BUSY
    except Replaced as error:
        print(f"{error}; the next publisher publishes everything anew", file=sys.stderr)
        return _PARTLY
    for what, why in done.left.items():
        print(f"not published: {what}: {why}", file=sys.stderr)
    return _PARTLY if options.once and done.left else _OK


if __name__ == "__main__":
    sys.exit(main())
