"""scripts/pack_home.py: what it packs is what an unfinished run needs to go on."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from campaign.home import Home
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec

SCRIPT = Path(__file__).parents[1] / "scripts" / "pack_home.py"


def filled(tmp_path: Path) -> Home:
    """A home with a run that is going on, and two checkpoints of it."""
    home = Home(root=tmp_path / "runs")
    fill(home, World(a=spec()))
    checkpoints = home.root / "c" / "a" / "attempt-1" / "checkpoints"
    for name in ("step-90", "step-100"):
        (checkpoints / name).mkdir(parents=True)
        for file in ("model.safetensors", "manifest.json"):
            (checkpoints / name / file).write_text(name)
    return home


def test_a_packed_home_has_the_newest_checkpoint_of_an_unfinished_run_and_no_other_tensor(
    tmp_path: Path,
) -> None:
    home = filled(tmp_path)
    out = tmp_path / "packed"
    subprocess.run([sys.executable, SCRIPT, home.root, out], check=True, capture_output=True)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint-0.tar", "home.tgz"]
    with tarfile.open(out / "home.tgz") as packed:
        names = packed.getnames()
    assert str(home.store).lstrip("/") in names
    assert not [name for name in names if name.endswith(".safetensors")]
    elsewhere = tmp_path / "elsewhere"
    for archive in out.iterdir():
        with tarfile.open(archive) as packed:
            packed.extractall(elsewhere, filter="data")
    found = [path.parent.name for path in elsewhere.rglob("*.safetensors")]
    assert found == ["step-100"]


def test_a_run_whose_checkpoint_is_too_large_is_named_and_goes_without_any(tmp_path: Path) -> None:
    """None of its checkpoints is there, so that none without its tensors is tried."""
    home, out = filled(tmp_path), tmp_path / "packed"
    command = [sys.executable, SCRIPT, home.root, out, "--at-most", "0.000001"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "step-100" in said
    assert "c/a" in said
    assert [path.name for path in out.iterdir()] == ["home.tgz"]
    with tarfile.open(out / "home.tgz") as packed:
        names = packed.getnames()
    assert any("attempt-1" in name for name in names)
    assert not [name for name in names if "step-" in name]
