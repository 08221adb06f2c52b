"""The ways to people: files, the desktop, and apprise for everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from watchers.alerts import Alert, Sink, SinkFailed
from watchers.references import BadReference, check_reference, resolve

APPRISE_TIMEOUT = 10.0
_DESKTOP_TIMEOUT = 5.0
_CHILD = Path(__file__).with_name("apprise_child.py")
_CHILD_SAYS = {
    2: "apprise is not installed: pip install 'campaign[notify]'",
    3: "apprise does not know such a URL",
    4: "apprise could not deliver; the service refused or was not reached",
}


def printable(text: str) -> str:
    """``text`` on one line, with nothing that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text.replace("\n", " | "))


def _one_line(alert: Alert) -> str:
    when = datetime.fromtimestamp(alert.t).astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{when} {printable(alert.title)}: {printable(alert.text)}"


@dataclass(frozen=True, kw_only=True)
class FileSink:
    """One line an alert, on the disk when `send` returns; control characters become spaces."""

    path: Path
    limit: int | None = None

    @property
    def name(self) -> str:
        return self.path.name

    def send(self, alert: Alert) -> None:
        data = (_one_line(alert) + "\n").encode(errors="backslashreplace")
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while data:
                    data = data[os.write(fd, data) :]
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise SinkFailed(f"{self.path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, kw_only=True)
class DesktopSink:
    program: str = "notify-send"
    timeout: float = _DESKTOP_TIMEOUT
    name: str = "desktop"
    limit: int | None = 10

    def send(self, alert: Alert) -> None:
        argv = [
            self.program,
            "--app-name=campaign",
            "--",
            printable(alert.title),
            printable(alert.text),
        ]
        try:
            ended = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SinkFailed(f"{self.program} did not end in {self.timeout:g} s") from error
        except OSError as error:
            raise SinkFailed(f"{self.program} cannot be run: {error.strerror}") from error
        if ended.returncode:
            raise SinkFailed(f"{self.program} ended with {ended.returncode}")


@dataclass(frozen=True, kw_only=True)
class AppriseSink:
    """Sends through apprise in a process of its own, which is killed after ``timeout`` seconds.

    The URL goes to it by its standard input: it is in no argument list, log or message.
    """

    reference: str
    timeout: float = APPRISE_TIMEOUT
    limit: int | None = 10

    @property
    def name(self) -> str:
        return f"apprise:{self.reference}"

    def send(self, alert: Alert) -> None:
        try:
            url = resolve(self.reference)
        except BadReference as error:
            raise SinkFailed(str(error)) from error
        message = {"url": url, "title": printable(alert.title), "text": alert.text}
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(_CHILD)],
                input=json.dumps(message).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            reason = f"{self.reference} did not take it in {self.timeout:g} s"
            raise SinkFailed(reason) from None  # the cause holds the input
        except OSError as error:
            raise SinkFailed(f"no process for apprise: {error.strerror}") from None
        if ended.returncode:
            said = _CHILD_SAYS.get(ended.returncode, f"apprise ended with {ended.returncode}")
            raise SinkFailed(f"{self.reference}: {said}")


def make_sinks(
    *, logs: Sequence[Path], desktop: bool = False, references: Sequence[str] = ()
) -> tuple[Sink, ...]:
    """The sinks of a home: its logs always, the others as asked.

    One that cannot work here is among them too: it fails aloud when it is used. Raises BadReference for
    a target that is no reference.
    """
    sinks: list[Sink] = [FileSink(path=log) for log in logs]
    if desktop:
        sinks.append(DesktopSink())
    sinks += [AppriseSink(reference=check_reference(reference)) for reference in references]
    return tuple(sinks)
