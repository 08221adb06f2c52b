"""Versions of what is installed, read from its metadata: nothing heavy is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import metadata

from campaign.checks.finding import Context, Finding, fail, ok, warn

PACKAGE = "campaign"
CHECKED = ("ray", "mlflow", "torch", "nvidia-ml-py")
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"
_OFF = ("", "0", "false")


def versions(context: Context) -> Iterable[Finding]:
    """The packages that matter most, against the ranges that this package declares."""
    yield ok("Python", f"Python {sys.version.split()[0]}")
    try:
        ranges = _ranges()
    except metadata.PackageNotFoundError:
        advice = "pip install . in its folder"
        yield warn("versions", "campaign itself is not installed: no versions to compare", advice)
        return
    for name in CHECKED:
        yield _version(name, ranges.get(name, ""))


def _ranges() -> dict[str, str]:
    """Package -> version specifier, from our own metadata."""
    from packaging.requirements import Requirement

    parsed = map(Requirement, metadata.requires(PACKAGE) or ())
    return {r.name: str(r.specifier) for r in parsed if r.marker is None}


def _version(name: str, allowed: str) -> Finding:
    from packaging.specifiers import SpecifierSet

    advice = f"pip install '{name}{allowed}'"
    try:
        have = metadata.version(name)
    except metadata.PackageNotFoundError:
        return fail(name, f"{name} is not installed", advice)
    if SpecifierSet(allowed).contains(have, prereleases=True):
        return ok(name, f"{name} {have}")
    return fail(name, f"{name} {have} is outside of the tested range {allowed}", advice)


def ray_settings(context: Context) -> Iterable[Finding]:
    """The one setting under which Ray kills even what has left its worker's session."""
    if context.environ.get(SUBREAPER, "").strip().lower() not in _OFF:
        sentence = f"{SUBREAPER} is on: Ray would kill running trainers when a worker ends"
        yield fail("Ray settings", sentence, f"unset {SUBREAPER}")
    else:
        yield ok("Ray settings", "Ray leaves trainers alone when a worker ends")


CHECKS = (versions, ray_settings)
