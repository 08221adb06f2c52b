"""The gate checks what a self-test would: a check that nobody runs is none."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
MODULES = sorted((ROOT / "trainers").rglob("*.py"))


def recipe(target: str) -> str:
    """The commands of a target of the Makefile."""
    found = re.search(
        rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found is not None
    return found[1]


def test_the_gate_lints_and_then_runs_every_test() -> None:
    """Pyflakes' F finds undefined and doubly defined names, mypy what cannot be reached."""
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    assert gate.index("make lint") < gate.index("make test")
    assert "F" in PROJECT["ruff"]["lint"]["select"]
    assert not {"F", "F811", "F821"} & set(PROJECT["ruff"]["lint"]["ignore"])
    assert PROJECT["mypy"]["warn_unreachable"]
    assert "ruff check ." in recipe("lint")
    marked = re.findall(r'pytest .*-m "(.+)"$', recipe("test"), re.MULTILINE)
    assert marked == ["not heavy and not gpu", "heavy and not gpu"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_the_trainers_tests_itself(path: Path) -> None:
    """A script's last block only calls; nothing stands behind a return."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            assert not any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(block, list):
                assert not any(isinstance(s, (ast.Return, ast.Raise)) for s in block[:-1])
