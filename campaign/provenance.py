"""Where a campaign comes from: commit and difference, directory, the environment that trainers get."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from campaign.code import Code
from campaign.launching import allowed_env
from campaign.worktree import DEADLINE, look


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """``git_commit`` is None outside a repository and where git is not installed.

    ``patch``: the difference itself, to be put into the home (`campaign.code.keep`).
    """

    cwd: str
    env: Mapping[str, str]
    git_commit: str | None
    git_dirty: bool
    code: Code
    patch: bytes | None = field(default=None, repr=False)


def provenance(
    cwd: Path,
    environ: Mapping[str, str],
    *,
    home: Path,
    private: Collection[Path] = (),
    beside: Path | None = None,
    deadline: float = DEADLINE,
) -> Provenance:
    """What is true now of ``cwd``, or where that is in no repository of ``beside``, the directory of
    the campaign file. Never raises; git has ``deadline`` seconds for each of the two.

    Nothing below ``home`` counts; ``private`` files, which hold secrets, are named and not taken.
    """
    seen = look(cwd, home=home, private=private, deadline=deadline)
    if seen.code.root is None and not seen.code.unknown and beside is not None:
        seen = look(beside, home=home, private=private, deadline=deadline)
    return Provenance(
        cwd=str(cwd),
        env=allowed_env(dict(environ)),
        git_commit=seen.commit,
        git_dirty=seen.dirty,
        code=seen.code,
        patch=seen.patch,
    )
