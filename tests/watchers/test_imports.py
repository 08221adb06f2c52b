from __future__ import annotations

import subprocess
import sys

import pytest

import watchers


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("name", sorted(watchers.__all__))
def test_every_public_name_can_be_had_from_the_door(name: str) -> None:
    assert getattr(watchers, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        watchers.nothing  # noqa: B018


def test_the_door_loads_nothing_until_it_is_asked() -> None:
    assert not {m for m in loaded_by("import watchers") if m.startswith(("watchers.", "specs"))}


def test_nothing_that_tells_people_lies_in_the_path_of_a_kill() -> None:
    loaded = loaded_by("import watchers.watcher")
    assert not loaded & {"watchers.alerts", "watchers.sinks", "apprise", "subprocess", "ssl"}


def test_the_watcher_needs_neither_torch_nor_ray_nor_mlflow() -> None:
    loaded = loaded_by("import watchers.watcher, watchers.sinks, watchers.replay")
    assert not loaded & {"torch", "ray", "mlflow", "trainers", "campaign", "numpy"}


def test_judging_loads_no_clock_disk_or_process() -> None:
    import ast
    from pathlib import Path

    home = Path(watchers.__file__).parent
    pure = [*home.glob("rules/*.py"), home / "certify.py", home / "judgement.py"]
    pure += [home / "window.py", home / "findings.py"]
    forbidden = {"time", "os", "pathlib", "logging", "datetime", "random", "subprocess", "io"}
    for path in pure:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, path
