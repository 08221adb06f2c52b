"""The code of a campaign: what differed from the commit at its submit, kept once a home and given to
each attempt. The commit itself and whether it was changed stand in the campaign's record.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.gpus.probe import Facts
from campaign.home import Home
from specs.files import SCHEMA, AttemptFiles, fsync_dir, write_atomic, write_json


class Patch(Facts):
    """What `git apply` makes of the commit the tree that was submitted, but for what was left out.

    ``kept``: False where it was too large, so that only its hash and size are known.
    """

    sha256: str
    bytes: int
    kept: bool


class Code(Facts):
    """The working tree at the submit, as git saw it.

    ``root``: its top; None outside a repository. ``patch``: None where nothing differed, or nothing is
    known. ``untracked``: files that are neither tracked nor ignored; their content is in the patch but
    for ``left_out`` (file -> why). ``more_untracked``: how many there were beyond those that are named.
    ``unknown``: why not all of this is known; empty where it is.
    """

    root: str | None = None
    patch: Patch | None = None
    untracked: tuple[str, ...] = ()
    left_out: Mapping[str, str] = {}
    more_untracked: int = 0
    unknown: str = ""


def keep(home: Home, patch: bytes) -> Path:
    """Put a patch into the home under its hash; on the disk when it returns. Twice is once."""
    path = home.code_patch(hashlib.sha256(patch).hexdigest())
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        write_atomic(path, patch, mode=0o400)
    return path


def give(files: AttemptFiles, home: Home, code: Code, spec: Mapping[str, Any]) -> None:
    """Write ``code/`` of an attempt; ``spec``: the content of its spec.json, which has the commit.

    A patch that is not in the home is said in git.json and stops no attempt. Raises OSError.
    """
    files.code.mkdir(mode=0o700, exist_ok=True)
    missing = None
    if code.patch is not None and code.patch.kept:
        missing = _link(home.code_patch(code.patch.sha256), files.code_patch)
    write_json(
        files.code_git,
        {
            "schema": SCHEMA,
            "commit": spec.get("git_commit"),
            "dirty": spec.get("git_dirty"),
            **code.model_dump(mode="json"),
            "missing": missing,
        },
    )


def _link(patch: Path, name: Path) -> str | None:
    """Have ``patch`` under ``name`` too, as a link or as a copy; why not, where it is not there."""
    if not patch.exists():
        return f"{patch} was not there when the attempt was started"
    name.unlink(missing_ok=True)  # of a start that was cut off here
    try:
        os.link(patch, name)
    except OSError:  # another file system, or one without links
        shutil.copyfile(patch, name)
    fsync_dir(name.parent)
    return None
