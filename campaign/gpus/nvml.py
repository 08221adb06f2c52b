"""The real probe: NVML asked in a child process, because a call into the driver may hang for ever.

``python -P -m campaign.gpus.nvml [HOST]`` prints one DeviceReport as a line of JSON.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from campaign.gpus import nvml_read

if TYPE_CHECKING:  # pydantic is not for the child, which runs this module as a program
    from campaign.gpus.probe import DeviceReport

TIMEOUT = 10.0
_REAP = 1.0  # seconds for a killed child to die; one that sits in the driver may not


class NvmlProbe:
    """Starts one child a report and kills it by its handle at the timeout (seconds).

    A child that even SIGKILL does not end (it sleeps inside the driver) is kept, and no other is
    started before it is gone: a hanging driver must not gather processes.
    """

    def __init__(self, *, host: str, timeout: float = TIMEOUT) -> None:
        self._host = host
        self._timeout = timeout
        self._stuck: subprocess.Popen[str] | None = None

    def report(self) -> DeviceReport:
        """The GPUs of this host. Never raises, never hangs: trouble is a report that says so."""
        if self._stuck is not None and self._stuck.poll() is None:
            return _unknown(f"NVML hung; its probe, process {self._stuck.pid}, does not die")
        self._stuck = None
        try:
            child = self._start()
        except OSError as error:
            return _unknown(f"the NVML probe cannot be started: {error}")
        try:
            out, err = child.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            self._kill(child)
            return _unknown(f"NVML hung: no answer within {self._timeout:g} s")
        return _parse(child.returncode, out, err)

    def _start(self) -> subprocess.Popen[str]:
        # by path: where `campaign` is importable only through sys.path tricks, the child still starts
        program = [sys.executable, "-P", nvml_read.__file__, self._host, str(2 * self._timeout + 1)]
        return subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def _kill(self, child: subprocess.Popen[str]) -> None:
        child.kill()
        try:
            child.communicate(timeout=_REAP)
        except subprocess.TimeoutExpired:
            self._stuck = child


def _parse(code: int, out: str, err: str) -> DeviceReport:
    from pydantic import ValidationError

    from campaign.gpus.probe import DeviceReport

    if code != 0:
        return _unknown(f"the NVML probe ended with code {code}: {_last_line(err)}")
    try:
        return DeviceReport.model_validate_json(_last_line(out))
    except ValidationError as error:
        return _unknown(f"the NVML probe gave no report: {error.errors()[0]['msg']}")


def _unknown(problem: str) -> DeviceReport:
    from campaign.gpus.probe import DeviceReport

    return DeviceReport.model_validate(nvml_read.unknown(problem))


def _last_line(text: str) -> str:
    """Drivers may print before us; our line is the last."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(nvml_read.main(sys.argv[1:]))
