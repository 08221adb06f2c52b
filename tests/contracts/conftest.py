"""Hosts under contract: each factory of HOSTS must pass the whole suite."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hosts import HostFactory, Stage, local_host

HOSTS = [pytest.param(local_host, id="local")]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host-local directory of the test alone, short enough for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="rt") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name) / "campaign"


@pytest.fixture(params=HOSTS)
def stage(request: pytest.FixtureRequest, runtime: Path, tmp_path: Path) -> Iterator[Stage]:
    factory: HostFactory = request.param
    stage = Stage(factory, tmp_path)
    yield stage
    stage.close()
