"""What importing specs costs, and what it gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import specs


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_shim_reads_the_file_names_with_the_standard_library_alone() -> None:
    loaded = modules_after("import specs.files")
    assert not {"pydantic", "ruamel", "ruamel.yaml"} & loaded


def test_the_words_need_neither_torch_nor_ray_nor_mlflow_nor_our_other_faces() -> None:
    loaded = modules_after("import specs\nfor name in specs.__all__: getattr(specs, name)")
    assert {"pydantic", "ruamel.yaml"} <= loaded
    assert not {"torch", "ray", "mlflow", "numpy", "campaign", "trainers", "watchers"} & loaded


@pytest.mark.parametrize("name", specs.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(specs, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        specs.nonsense  # noqa: B018
