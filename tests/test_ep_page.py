"""docs/ep.md keeps its word: its flags are those that are read, its tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from specs.documented_flags import FLAGS, Flag

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ep.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
BUGS = re.findall(r"^\| (\d+) .*?\|.*?\|(.*)\|$", PAGE, flags=re.MULTILINE)


def section(title: str) -> str:
    """What stands under a heading, up to the next one."""
    _, _, after = PAGE.partition(f"### {title}\n")
    return re.split(r"^##+ ", after, maxsplit=1, flags=re.MULTILINE)[0]


def row(name: str, flag: Flag) -> str:
    fields = ", ".join(f"`{field.removeprefix('trainer.')}`" for field in flag.fields)
    return f"| `--{name}` | {fields or 'none'} | {flag.remark} |"


def test_the_table_of_flags_is_that_of_import_flags() -> None:
    """Where this fails, the right table is what was expected here: put it into docs/ep.md."""
    found = [line for line in section("6.1 Its flags").splitlines() if line.startswith("| `--")]
    assert found == [row(name, flag) for name, flag in FLAGS.items()]


def test_each_of_the_ten_bugs_has_its_tests() -> None:
    bugs = [(number, cell) for number, cell in BUGS if "::" in cell]
    assert [int(number) for number, _ in bugs] == list(range(1, 11))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
