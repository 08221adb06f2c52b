"""The JSON Schema for editors: it agrees with the loader on what is right, and is draft-07."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from specs.errors import SpecErrors
from specs.load import load_text
from specs.schema import json_schema

SPECS = Path(__file__).parents[2] / "specs"
VALIDATOR = Draft7Validator(json_schema())


def content(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


def words(schema: object) -> Iterator[str]:
    """Every keyword of a schema; names of fields are not keywords."""
    if isinstance(schema, list):
        for part in schema:
            yield from words(part)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("properties", "definitions"):
                for below in value.values():
                    yield from words(below)
            else:
                yield key
                if key not in ("default", "enum", "const"):
                    yield from words(value)


def test_it_is_a_schema_of_draft_07_and_uses_no_later_word() -> None:
    schema = json_schema()
    Draft7Validator.check_schema(schema)
    later = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "discriminator"}
    assert not later & set(words(schema))


def test_nothing_stands_beside_a_reference_where_draft_07_would_not_look() -> None:
    def check(schema: object) -> None:
        if isinstance(schema, dict):
            assert "$ref" not in schema or schema.keys() == {"$ref"}
            for part in schema.values():
                check(part)
        elif isinstance(schema, list):
            for part in schema:
                check(part)

    check({key: value for key, value in json_schema().items() if key != "$schema"})


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_campaign_is_valid(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(content(path))] == []


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_campaign_names_the_schema_beside_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=campaign.schema.json"


def test_the_schema_beside_the_campaigns_is_current() -> None:
    """Where this fails: campaign schema > specs/campaign.schema.json"""
    assert json.loads((SPECS / "campaign.schema.json").read_text()) == json_schema()


GOOD: list[dict[str, Any]] = [
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "defaults": None, "profiles": None, "runs": {"r": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "defaults": {"trainer": {"kind": "ep"}}, "runs": {"r": None}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "limits": {"timeout": "2h"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "limits": {"timeout": 30}}}},
    {
        "campaign": "a",
        "profiles": {"p": {"trainer": {"width": 64}}},
        "defaults": {"trainer": {"kind": "ep", "adjoint": {"eps": None}}},
        "runs": {"r": {"resources": {"exclude": [0, "GPU-1f", "hostb:2"]}}},
    },
    {
        "campaign": "a",
        "runs": {
            "r": {
                "trainer": {"kind": "command", "argv": ["x"], "env": {"A": "1"}},
                "watch": [{"rule": "silence", "for_seconds": "10m"}],
            }
        },
    },
]  # fmt: skip

BAD: list[dict[str, Any]] = [
    {"campaign": "a"},
    {"runs": {"r": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "runs": {}},
    {"campaign": "a", "runs": []},
    {"campaign": "A", "runs": {"r": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "runs": {"R": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "runs": {"../r": {"trainer": {"kind": "ep"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}}}, "extra": 1},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "pe"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "widht": 8}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "heads": 0}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "heads": "4"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "qk_norm": "yes"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "estimator": "rpb"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep", "adjoint": {"eps": 0}}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "resources": {"gpu": 1}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "limits": {"timeout": "2 y"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "limits": {"grace": 0}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "watch": {"rule": "silence"}}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "watch": [{"rule": "loudness"}]}}},
    {"campaign": "a", "runs": {"r": {"trainer": {"kind": "ep"}, "watch": [{"rule": "threshold"}]}}},
    {
        "campaign": "a",
        "profiles": {"p": {"trainr": {}}},
        "runs": {"r": {"trainer": {"kind": "ep"}}},
    },
    {"campaign": "a", "schema_version": 2, "runs": {"r": {"trainer": {"kind": "ep"}}}},
]


@pytest.mark.parametrize("file", GOOD)
def test_what_the_schema_admits_the_loader_admits(file: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(file)
    assert load_text(json.dumps(file)).spec.campaign == "a"


@pytest.mark.parametrize("file", BAD)
def test_what_the_schema_refuses_the_loader_refuses(file: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(file)
    with pytest.raises(SpecErrors):
        load_text(json.dumps(file))


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_a_map_in_place_of_any_value_of_a_shipped_campaign_is_refused(path: Path) -> None:
    original = content(path)
    for leaf in leaves(original):
        if "set" in leaf:
            continue  # the values of a rollback's `set` are of any type until they are applied
        mutated = json.loads(json.dumps(original))
        holder = mutated
        for step in leaf[:-1]:
            holder = holder[step]
        holder[leaf[-1]] = {"no": {"such": "value"}}
        assert not VALIDATOR.is_valid(mutated), leaf
