"""Law: reading starts fast, because it imports none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.home import Home

HEAVY = ("torch", "ray", "mlflow", "matplotlib", "numpy")

_CODE = """
import json, sys
from campaign.cli.main import main
sys.argv = ["campaign", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
print("modules", json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def modules_after(*words: str, home: Path) -> tuple[int, set[str]]:
    """The exit code of a verb in a fresh interpreter, and the modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *words],
        env={"PATH": "/usr/bin:/bin", "CAMPAIGN_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    last = done.stdout.splitlines()[-1].removeprefix("modules ")
    code, names = json.loads(last)
    return code, set(names)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["submit", "--help"],
        ["ls"],
        ["ls", "--json"],
        ["show", "c/a"],
        ["logs", "c/a"],
        ["alerts"],
        ["checkpoints"],
        ["probe", "relax", "nowhere"],
        ["data", "make", "--help"],
        ["gpus"],
        ["config", "show"],
        ["doctor"],
        ["schema"],
        ["import-flags", "--mode ep --attn_mode thick"],
        ["--version"],
        ["submit", "specs/ep_resreg.yaml", "--dry-run"],
        ["submit", "specs/ep_resreg.yaml", "--no-start"],
        ["down"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_verb_imports_no_heavy_library(words: list[str], home: Home) -> None:
    code, modules = modules_after(*words, home=home.root)
    assert code in (0, 4, 8)  # c/a has no log on this disk; what a machine lacks is not the point
    assert modules.isdisjoint(HEAVY)


def test_help_needs_no_models(home: Home) -> None:
    _, modules = modules_after("--help", home=home.root)
    assert "pydantic" not in modules
    assert "ruamel" not in modules
