"""Where a campaign comes from: commit, directory, the part of the environment that trainers get."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from campaign.launching import allowed_env

GIT_TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """``git_commit`` is None outside a repository and where git is not installed."""

    cwd: str
    env: Mapping[str, str]
    git_commit: str | None
    git_dirty: bool


def provenance(cwd: Path, environ: Mapping[str, str]) -> Provenance:
    """What is true of ``cwd`` now."""
    commit = _git(cwd, "rev-parse", "--verify", "HEAD")
    changed = None if commit is None else _git(cwd, "status", "--porcelain", "--untracked-files=no")
    return Provenance(
        cwd=str(cwd),
        env=allowed_env(dict(environ)),
        git_commit=commit or None,
        git_dirty=bool(changed),
    )


def _git(cwd: Path, *words: str) -> str | None:
    """What git says; None where it is missing, refuses, or takes too long."""
    # without the option `status` would write the index of the user's repository
    argv = ["git", "--no-optional-locks", "-C", str(cwd), *words]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
