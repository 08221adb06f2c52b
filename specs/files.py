"""What lies in the directory of an attempt: every file name; and, from here, how each is read and written.

Standard library only, because the shim reads and writes these files without any installed package.
Writers and readers in every language agree on these pages: the names here, the metric line in
metric_line.py, a checkpoint's hashes in manifest.py, writing that survives a crash in durable.py.
docs/files.md says it in prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from specs.durable import append_line, fsync_dir, read_json, write_atomic, write_json
from specs.manifest import (
    MANIFEST,
    SCHEMA,
    BadCheckpoint,
    digest,
    digest_json,
    make_manifest,
    verify_manifest,
)
from specs.metric_line import (
    MetricLine,
    complete_lines,
    metric_line,
    metric_value,
    parse_metric_line,
    phase_name,
)

__all__ = [
    "ENV_CHECKPOINTS",
    "ENV_COOKIE",
    "ENV_METRICS",
    "ENV_RESUME",
    "EVIDENCE",
    "MANIFEST",
    "SCHEMA",
    "STATE",
    "AttemptFiles",
    "BadCheckpoint",
    "MetricLine",
    "append_line",
    "attempt_dir",
    "attempt_number",
    "complete_lines",
    "digest",
    "digest_json",
    "fsync_dir",
    "make_manifest",
    "metric_line",
    "metric_value",
    "parse_metric_line",
    "phase_name",
    "read_json",
    "verify_manifest",
    "write_atomic",
    "write_json",
]

_STEP_DIR = re.compile(r"step-(\d{1,18})")
_ORDER = re.compile(r"order-(\d{1,9})\.json")

# environment that a trainer finds
ENV_COOKIE = "CAMPAIGN_ATTEMPT"
ENV_METRICS = "CAMPAIGN_METRICS"
ENV_CHECKPOINTS = "CAMPAIGN_CHECKPOINT_DIR"
ENV_RESUME = "CAMPAIGN_RESUME_FROM"

# files of a checkpoint beside its manifest
EVIDENCE = "evidence.json"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class AttemptFiles:
    """File names inside ``<home>/<campaign>/<run>/attempt-<n>/``."""

    root: Path

    @property
    def spec(self) -> Path:
        """Resolved spec, its hash, where the attempt starts from, its devices."""
        return self.root / "spec.json"

    @property
    def launch(self) -> Path:
        """What the shim runs: argv, environment, locks, deadlines (0600)."""
        return self.root / "launch.json"

    @property
    def env(self) -> Path:
        """The allow-listed part of the environment, for people."""
        return self.root / "env.json"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def code_git(self) -> Path:
        """Commit, whether the tree was changed, what the difference holds and what not."""
        return self.code / "git.json"

    @property
    def code_patch(self) -> Path:
        """What `git apply` makes of that commit the tree that was submitted."""
        return self.code / "diff.patch"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Facts that the trainer states: started, checkpoint, finished, failed."""
        return self.root / "events.jsonl"

    @property
    def watch(self) -> Path:
        """Facts that the watcher states: alerts, verdicts, certificates."""
        return self.root / "watch.jsonl"

    @property
    def progress(self) -> Path:
        """The watcher's summary: step, latest and best metrics, pace. Replaced, never appended."""
        return self.root / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Files for people that the trainer made: matrices, pictures. They go to MLflow at the end."""
        return self.root / "artifacts"

    @property
    def pid(self) -> Path:
        return self.root / "pid.json"

    @property
    def kill(self) -> Path:
        """The log of the kill ladder."""
        return self.root / "kill.json"

    @property
    def exit(self) -> Path:
        return self.root / "exit.json"

    @property
    def keep(self) -> Path:
        """Steps whose checkpoints other runs start from: retention leaves them alone."""
        return self.root / "keep.json"

    @property
    def kill_lock(self) -> Path:
        """Held by whoever may signal: the shim for its life, else one that acts in its place."""
        return self.root / "kill.lock"

    @property
    def unstarted(self) -> Path:
        """Written where no shim had come up: from then on none of this attempt may."""
        return self.root / "unstarted.json"

    @property
    def mirror(self) -> Path:
        """There where the attempt lies on a host that does not share the home: which, and where."""
        return self.root / "mirror.json"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def order(self, number: int) -> Path:
        return self.root / f"order-{number}.json"

    def orders(self) -> list[tuple[int, Path]]:
        """Orders present, lowest number first."""
        found = []
        if self.root.is_dir():
            for entry in self.root.iterdir():
                if match := _ORDER.fullmatch(entry.name):
                    found.append((int(match[1]), entry))
        return sorted(found)

    def complete_checkpoints(self) -> list[int]:
        """Steps whose checkpoint was renamed into place and has its manifest, ascending."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(
            int(match[1])
            for entry in self.checkpoints.iterdir()
            if (match := _STEP_DIR.fullmatch(entry.name)) and (entry / MANIFEST).is_file()
        )


def attempt_dir(home: Path, campaign: str, run: str, attempt: int) -> Path:
    return home / campaign / run / f"attempt-{attempt}"


def attempt_number(directory: Path) -> int:
    """Which attempt a directory belongs to."""
    return int(directory.name.removeprefix("attempt-"))
