from __future__ import annotations

import os
from pathlib import Path

import pytest

from campaign.hosts import runtime
from campaign.hosts.runtime import BadRuntimeDir


@pytest.mark.parametrize(
    ("environment", "lingers", "expected"),
    [
        ({}, False, "/tmp/campaign-7"),
        ({"XDG_RUNTIME_DIR": "/some/place"}, False, "/some/place/campaign"),
        ({"XDG_RUNTIME_DIR": "/some/place/"}, True, "/some/place/campaign"),
        ({"XDG_RUNTIME_DIR": "relative"}, False, "/tmp/campaign-7"),
        # logind deletes it at the last log-out, and with it the locks of trainers that go on
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, False, "/tmp/campaign-7"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, True, "/run/user/7/campaign"),
        # a cron job must find the same directory as a login
        ({}, True, "/run/user/7/campaign"),
    ],
)
def test_the_directory_outlives_a_login_and_is_the_same_for_all(
    environment: dict[str, str], lingers: bool, expected: str
) -> None:
    assert runtime.choose(environment, uid=7, lingers=lingers) == Path(expected)


def test_the_directory_is_made_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime.directory() == runtime.directory() == tmp_path / "campaign"
    assert (tmp_path / "campaign").stat().st_mode & 0o777 == 0o700


def _open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o750)


def _link(path: Path) -> None:
    (path.parent / "real").mkdir(mode=0o700)
    path.symlink_to(path.parent / "real")


def _foreign(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 4242, -1)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_open_to_others, "open to others"),
        (_link, "symbolic link"),
        (Path.touch, "is no directory"),
        pytest.param(
            _foreign,
            "belongs to user 4242",
            marks=pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away"),
        ),
    ],
)
def test_a_directory_that_others_may_control_is_refused(
    tmp_path: Path, prepare: object, reason: str
) -> None:
    path = tmp_path / "campaign"
    prepare(path)  # type: ignore[operator]
    with pytest.raises(BadRuntimeDir, match=reason):
        runtime.checked(path)


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadRuntimeDir, match="point XDG_RUNTIME_DIR at"):
        runtime.checked(tmp_path / "missing" / "campaign")


def test_a_gpu_lock_belongs_to_the_user_and_a_cpu_lock_to_the_home(tmp_path: Path) -> None:
    def lock(device: str, home: str) -> Path:
        return runtime.lock_path(tmp_path, device, home=Path(home))

    assert lock("GPU-1f0c", "/a") == lock("GPU-1f0c", "/b") == tmp_path / "gpu-GPU-1f0c.lock"
    assert lock("cpu:h:0", "/a") != lock("cpu:h:0", "/b")
    assert lock("cpu:h:0", "/a") != lock("cpu:h:1", "/a")
    assert lock("cpu:h:0", "/a").parent == tmp_path


@pytest.mark.parametrize("device", ["../GPU-1", "GPU/1", "GPU 1", "GPU-1\n", "cpu:../x:0"])
def test_a_device_id_that_is_no_file_name_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(ValueError, match="is no device id"):
        runtime.lock_path(tmp_path, device, home=tmp_path)


def test_a_socket_that_has_too_long_a_name_is_refused_with_advice(tmp_path: Path) -> None:
    assert len(str(runtime.socket_path(Path("/tmp/campaign-1000"), "c" * 32))) < 60
    with pytest.raises(BadRuntimeDir, match="XDG_RUNTIME_DIR at a shorter path"):
        runtime.socket_path(tmp_path / ("x" * 120), "c")


def test_one_home_has_one_key_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "h").mkdir()
    assert runtime.home_key(tmp_path / "h") == runtime.home_key(tmp_path / "h" / ".." / "h")
    assert runtime.home_key(tmp_path / "h") != runtime.home_key(tmp_path)
