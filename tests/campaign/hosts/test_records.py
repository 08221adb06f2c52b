from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from campaign.hosts import records
from campaign.hosts.identity import Identity
from campaign.hosts.records import LaunchRecord, PidRecord
from specs.files import AttemptFiles, read_json, write_json

LAUNCH = LaunchRecord(
    campaign="c",
    run="r",
    attempt=2,
    host="h",
    cookie="abc",
    argv=("python", "train.py"),
    cwd="/work",
    env={"PATH": "/bin"},
    devices=("GPU-1", "cpu:h:0", "GPU-2"),
    locks={"GPU-1": "/run/gpu-GPU-1.lock"},
    socket="/run/s-1",
    grace=30.0,
)


def test_a_launch_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = AttemptFiles(root=tmp_path)
    assert records.read_launch(files) is None
    write_json(files.launch, LAUNCH.to_json())
    assert records.read_launch(files) == LAUNCH


def test_a_launch_of_another_schema_is_refused(tmp_path: Path) -> None:
    files = AttemptFiles(root=tmp_path)
    write_json(files.launch, {**LAUNCH.to_json(), "schema": 99})
    with pytest.raises(ValueError, match="another schema"):
        records.read_launch(files)


def test_the_identities_are_read_as_they_were_written(tmp_path: Path) -> None:
    files = AttemptFiles(root=tmp_path)
    shim = Identity(boot_id="b", pid=1, start_ticks=10, cookie="abc")
    alone = PidRecord(attempt=2, cookie="abc", shim=shim)
    trainer = Identity(boot_id="b", pid=2, start_ticks=11, cookie="abc")
    both = PidRecord(
        attempt=2, cookie="abc", shim=shim, trainer=trainer, locked=True, started_at=5.0
    )
    for record in (alone, both):
        write_json(files.pid, record.to_json())
        assert records.pid_record(read_json(files.pid)) == record


def test_a_trainer_gets_the_gpus_of_its_attempt_in_order_and_no_resume_where_there_is_none(
    tmp_path: Path,
) -> None:
    environment = records.trainer_environment(LAUNCH, AttemptFiles(root=tmp_path))
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert "CAMPAIGN_RESUME_FROM" not in environment


def test_what_the_shim_imports_needs_no_installed_package() -> None:
    root = str(Path(records.__file__).resolve().parents[2])
    program = (
        "import sys; sys.path.append(sys.argv[1]); from campaign.hosts import tending, reaper\n"
        "foreign = [n for n, m in sys.modules.items() if not n.startswith(('campaign', 'specs'))\n"
        "           and (getattr(m, '__file__', None) or '').startswith(sys.argv[1])]\n"
        "heavy = {'pydantic', 'ray', 'mlflow', 'torch', 'psutil', 'asyncio'} & set(sys.modules)\n"
        "print(foreign, heavy)"
    )
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, root],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "[] set()"
