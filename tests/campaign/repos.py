"""Real git repositories for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main")


def git(directory: Path, *words: str) -> str:
    """What git prints; raises where it fails."""
    done = subprocess.run(
        ["git", *IDENTITY, *words], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout


def write(root: Path, name: str, content: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def repository(root: Path, **files: bytes) -> Path:
    """A repository whose one commit holds these files."""
    root.mkdir(exist_ok=True)
    git(root, "init")
    for name, content in files.items():
        write(root, name, content)
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    return root
