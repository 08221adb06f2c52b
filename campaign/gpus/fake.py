"""A scripted probe for tests and for CAMPAIGN_FAKE_GPUS. Every report says probe=fake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaign.gpus.probe import DeviceReport, ProbeKind


class FakeProbe:
    """Gives the reports in turn, and the last one from then on."""

    def __init__(self, reports: Sequence[DeviceReport]) -> None:
        if not reports:
            raise ValueError("a fake probe needs at least one report")
        self._reports = tuple(_as_fake(report) for report in reports)
        self._asked = 0

    def report(self) -> DeviceReport:
        """The next scripted report."""
        report = self._reports[min(self._asked, len(self._reports) - 1)]
        self._asked += 1
        return report


class FakeFileProbe:
    """Reads its file afresh for each report, so that a test changes the GPUs by replacing the file.

    The file holds one DeviceReport or a list of them (given in turn, the last one from then on).
    ``probe`` may be left out of a report, ``kind`` and ``host`` out of a device. A file that cannot
    be read is a fake report with a problem and no devices.
    """

    def __init__(self, path: Path, *, host: str) -> None:
        self._path = path
        self._host = host
        self._asked = 0

    def report(self) -> DeviceReport:
        """What the file says now."""
        try:
            script = json.loads(self._path.read_text(encoding="utf-8"))
            reports = script if isinstance(script, list) else [script]
            chosen = reports[min(self._asked, len(reports) - 1)]
            report = DeviceReport.model_validate(self._completed(chosen))
        except (OSError, ValueError, IndexError, TypeError, AttributeError) as error:
            return self._broken(error)
        self._asked += 1
        return _as_fake(report)

    def _completed(self, report: dict[str, Any]) -> dict[str, Any]:
        place = {"kind": "gpu", "host": self._host}
        devices = [place | device for device in report.get("devices", ())]
        return {"probe": "fake"} | report | {"devices": devices}

    def _broken(self, error: Exception) -> DeviceReport:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        problem = f"the script of the fake GPUs, {self._path}, is no report: {what}"
        return DeviceReport(probe=ProbeKind.FAKE, devices=(), problem=problem)


def _as_fake(report: DeviceReport) -> DeviceReport:
    return report.model_copy(update={"probe": ProbeKind.FAKE})
