"""Which checkpoints of an attempt are kept. Choosing is pure; deleting goes in two phases.

Only the attempt's own directory is ever touched: an attempt's ancestors keep what they have.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from specs.files import AttemptFiles, complete_lines, fsync_dir, read_json

_TRASH = ".trash-"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How many are kept: of those that could be resumed from, and of those that are certified.

    ``anchors``: steps whose checkpoints stay whatever else is kept, such as the ends of phases.
    """

    keep_complete: int
    keep_certified: int
    anchors: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Standings:
    """What the watcher has stated so far: steps that are certified, and steps that never will be."""

    certified: frozenset[int] = frozenset()
    fallen: frozenset[int] = frozenset()


def superfluous(
    steps: Collection[int],
    standings: Standings,
    keep: Retention,
    wanted: Collection[int] = (),
) -> list[int]:
    """The steps to delete, ascending.

    Kept are the last certified ones, the last that may be resumed from, the anchors, those that are
    ``wanted`` by other runs, and all that are newer than the newest certified one: they may yet be certified. The
    last certified one stays whatever is asked.
    """
    certified = sorted(standings.certified & set(steps))
    resumable = sorted(set(steps) - standings.fallen)
    newest = certified[-1] if certified else -1
    kept = set(certified[-max(1, keep.keep_certified) :])
    kept |= set(resumable[-max(1, keep.keep_complete) :])
    kept |= keep.anchors | set(wanted)
    return sorted(step for step in steps if step < newest and step not in kept)


def read_standings(watch: Path) -> Standings:
    """The standings as watch.jsonl has them now.

    A line that cannot be read was torn by the death of a watcher; the next one states its fact anew.
    """
    try:
        data = watch.read_bytes()
    except FileNotFoundError:
        return Standings()
    certified: set[int] = set()
    fallen: set[int] = set()
    for line in complete_lines(data):
        kind, step = _fact(line)
        if kind == "certified":
            certified.add(step)
        elif kind in ("revoked", "quarantined"):
            fallen.add(step)
    return Standings(certified=frozenset(certified - fallen), fallen=frozenset(fallen))


def read_wanted(keep: Path) -> frozenset[int]:
    """The steps of keep.json, which other runs start from. Raises ValueError on other content."""
    content = read_json(keep)
    if content is None:
        return frozenset()
    steps = content.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, int) for step in steps):
        raise ValueError(f"{keep} lists no steps")
    return frozenset(steps)


def _fact(line: bytes) -> tuple[str, int]:
    """Kind and checkpoint of a line of the watcher; an empty kind where it is about none."""
    try:
        fact = json.loads(line)
        return str(fact["kind"]), int(fact["checkpoint_step"])
    except (ValueError, KeyError, TypeError):
        return "", -1


def retire(files: AttemptFiles, keep: Retention) -> list[int]:
    """Delete what is superfluous; returns the steps. Raises OSError, and ValueError where keep.json
    cannot be read: then nothing is deleted.

    A step disappears by a rename, so that nobody sees half of it; what an earlier call could not
    delete is deleted now.
    """
    if files.checkpoints.is_symlink() or not files.checkpoints.is_dir():
        return []
    own = [s for s in files.complete_checkpoints() if not files.checkpoint(s).is_symlink()]
    wanted = read_wanted(files.keep)
    retired = superfluous(own, read_standings(files.watch), keep, wanted)
    for step in retired:
        trash = files.checkpoints / f"{_TRASH}step-{step}-{os.getpid()}"
        files.checkpoint(step).replace(trash)
    if retired:
        fsync_dir(files.checkpoints)
    for rubbish in files.checkpoints.glob(f"{_TRASH}*"):
        shutil.rmtree(rubbish)
    return retired
