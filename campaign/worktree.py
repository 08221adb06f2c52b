"""A git working tree as it is now: its commit, and what differs from it. Nothing in it is written.

`git diff HEAD` leaves out files that are not tracked. So they are added, without content, to a copy of
the index, and the objects that this makes go to a temporary directory (gitformat-index,
GIT_INDEX_FILE and GIT_OBJECT_DIRECTORY in git(1)).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from campaign.code import Code, Patch
from campaign.untracked import MOST_NAMES, left_out, not_in_homes

DEADLINE = 10.0
"""Seconds for all that git is asked; what is not known by then is recorded as unknown."""

PATCH_LIMIT = 5 << 20
"""Bytes of a difference that is kept."""

_DIFF = (
    "diff", "HEAD", "--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff",
    "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip


class GitFailed(Exception):
    """Git is missing, refuses, or takes too long; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """``commit``: None outside a repository, before the first commit, and where git cannot be asked.

    ``patch``: the bytes behind ``code.patch``, where they are to be kept.
    """

    commit: str | None = None
    dirty: bool = False
    code: Code = field(default_factory=Code)
    patch: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What a command printed: its hash and size, and the bytes unless there were too many."""

    sha256: str
    size: int
    data: bytes | None


class _Git:
    """Git in one directory, all of it before one moment."""

    def __init__(self, directory: Path, deadline: float, more: Mapping[str, str] | None = None):
        self._directory = directory
        self._deadline = deadline
        self._until = time.monotonic() + deadline
        self._more = dict(more or {})

    def at(self, directory: Path, more: Mapping[str, str] | None = None) -> _Git:
        """The same, elsewhere, with ``more`` in its environment; the time that is left stays."""
        other = _Git(directory, self._deadline, more)
        other._until = self._until
        return other

    def text(self, *words: str) -> str:
        return os.fsdecode(self.output(*words).data or b"").strip()

    def names(self, *words: str) -> list[str]:
        data = self.output(*words).data or b""
        return [os.fsdecode(name) for name in data.split(b"\0") if name]

    def output(self, *words: str, limit: int | None = None) -> _Output:
        """Raises GitFailed. Beyond ``limit`` bytes only size and hash are taken."""
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words],
                    cwd=self._directory,
                    env={**_environment(), **self._more},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise GitFailed("git is not installed") from None
            except OSError as error:
                raise GitFailed(f"git cannot be run: {error.strerror}") from error
            found = self._read(process, limit)
            if process.returncode == 0:
                return found
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
        if time.monotonic() > self._until:
            raise GitFailed(f"git was not done after {self._deadline:g} s")
        raise GitFailed(f"git {words[0]}: {''.join(last) or f'exit code {process.returncode}'}")

    def _read(self, process: subprocess.Popen[bytes], limit: int | None) -> _Output:
        """Everything until its end, which comes at the deadline at the latest."""
        assert process.stdout is not None
        digest, size, kept = hashlib.sha256(), 0, bytearray()
        timer = threading.Timer(max(0.0, self._until - time.monotonic()), _end, [process])
        timer.start()
        with process.stdout as out:
            while chunk := out.read(1 << 16):
                digest.update(chunk)
                size += len(chunk)
                if limit is None or size <= limit:
                    kept += chunk
        # the timer is over before the process is reaped: it can hit nobody else
        timer.cancel()
        timer.join()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            _end(process)
            process.wait()
        whole = limit is None or size <= limit
        return _Output(sha256=digest.hexdigest(), size=size, data=bytes(kept) if whole else None)


def look(
    directory: Path,
    *,
    home: Path,
    private: Collection[Path] = (),
    deadline: float = DEADLINE,
) -> Look:
    """The working tree that ``directory`` lies in; nothing below ``home`` or another home counts.

    ``private``: files that are known to hold secrets; untracked ones are named and not taken.
    Never raises and never takes much longer than ``deadline``: what is not known is in ``code.unknown``.
    """
    git = _Git(directory, deadline)
    try:
        root = Path(git.text("rev-parse", "--show-toplevel"))
    except GitFailed as error:
        outside = "not a git repository" in str(error)
        return Look(code=Code(unknown="" if outside else str(error)))
    return _look_at(git.at(root), root, home, private)


def _look_at(git: _Git, root: Path, home: Path, private: Collection[Path]) -> Look:
    top = _shown(str(root))
    try:
        commit = git.text("rev-parse", "--verify", "--quiet", "HEAD")
    except GitFailed as error:
        why = "no commit yet" if "exit code 1" in str(error) else str(error)
        return Look(code=Code(root=top, unknown=why))
    try:
        dirty = bool(git.output("status", "--porcelain", "--untracked-files=no").size)
    except GitFailed as error:
        return Look(commit=commit, code=Code(root=top, unknown=str(error)))
    code = Code(root=top)
    try:
        listed = git.names("ls-files", "--others", "--exclude-standard", "-z")
        names = not_in_homes(listed, root, home)
        refused = left_out(root, names, private)
        code = _named(code, names, refused)
        if not dirty and not names:
            return Look(commit=commit, code=code)
        found = _diff(git, root, [name for name in names if name not in refused])
    except (GitFailed, OSError) as error:
        code = code.model_copy(update={"unknown": str(error)})
        return Look(commit=commit, dirty=dirty, code=code)
    patch = Patch(sha256=found.sha256, bytes=found.size, kept=found.data is not None)
    code = code.model_copy(update={"patch": patch if found.size else None})
    return Look(commit=commit, dirty=dirty, code=code, patch=found.data or None)


def _named(code: Code, names: list[str], refused: Mapping[str, str]) -> Code:
    named = names[:MOST_NAMES]
    return code.model_copy(
        update={
            "untracked": tuple(map(_shown, named)),
            "left_out": {_shown(name): refused[name] for name in named if name in refused},
            "more_untracked": len(names) - len(named),
        }
    )


def _diff(git: _Git, root: Path, untracked: list[str]) -> _Output:
    """All that differs from the commit, these untracked files among it. Raises GitFailed, OSError."""
    index = root / git.text("rev-parse", "--git-path", "index")
    objects = root / git.text("rev-parse", "--git-path", "objects")
    with tempfile.TemporaryDirectory(prefix="campaign-git-") as name:
        scratch = Path(name)
        if index.exists():
            # with its time: by that git tells which files must be read, not only looked at
            shutil.copy2(index, scratch / "index")
        (scratch / "objects").mkdir()
        aside = git.at(
            root,
            {
                "GIT_INDEX_FILE": str(scratch / "index"),
                "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects.resolve()),
            },
        )
        if untracked:
            aside.output("add", "--intent-to-add", "--", *untracked)
        return aside.output(*_DIFF, limit=PATCH_LIMIT)


def _shown(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and its children: a filter that hangs would hold the pipe. It is not reaped yet."""
    os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """No repository but that of the directory, no prompt, no network, messages in English."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
    }
