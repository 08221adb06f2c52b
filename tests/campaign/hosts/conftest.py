"""Nothing of a test may lie in the runtime directory of the user."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host-local directory of the test alone, short enough for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="rt") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name) / "campaign"
