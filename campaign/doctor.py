"""`campaign doctor`: can runs be started, watched and killed safely on this machine?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from campaign.checks import alerts, gpus, kernel, places, software
from campaign.checks.finding import Check, Context, Finding, Level, fail
from campaign.gpus.inventory import probe_for
from campaign.hosts import runtime
from campaign.hosts.factory import host_name

__all__ = ["CHECKS", "Check", "Context", "Finding", "Level", "healthy", "run_checks"]

CHECKS: tuple[Check, ...] = (
    *software.CHECKS,
    *kernel.CHECKS,
    *places.CHECKS,
    *gpus.CHECKS,
    *alerts.CHECKS,
)


def run_checks(
    home: Path, *, more: Sequence[Check] = (), context: Context | None = None
) -> tuple[Finding, ...]:
    """The findings of every check, and of ``more`` (checks of Ray, which this file cannot import)."""
    seen = context or this_machine(home)
    return tuple(finding for check in (*CHECKS, *more) for finding in _run(check, seen))


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed; warnings are allowed."""
    return all(finding.level is not Level.FAIL for finding in findings)


def this_machine(home: Path) -> Context:
    """The machine that this process runs on."""
    host = host_name()
    place: Path | None = None
    problem = ""
    try:
        place = runtime.directory()
    except runtime.BadRuntimeDir as error:
        problem = str(error)
    return Context(
        home=home,
        runtime=place,
        runtime_problem=problem,
        host=host,
        environ=os.environ,
        probe=probe_for(host, os.environ),
    )


def _run(check: Check, context: Context) -> tuple[Finding, ...]:
    try:
        return tuple(check(context))
    except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, not the end of all
        name = getattr(check, "__name__", "check")
        sentence = f"the check itself broke: {type(error).__name__}: {error}"
        return (fail(name, sentence, "this is a fault of campaign: please report it"),)
