"""JSON Schema of the campaign file, for editors: ``# yaml-language-server: $schema=...``.

It is draft-07, which the YAML language server reads, while pydantic writes 2020-12. The file holds
partial runs (defaults, profiles, runs), so no field of a run is required there but those of a rule,
which is never merged. What only the merged campaign can show is left to ``specs.load``.
"""

from __future__ import annotations

from typing import Any

from specs.explain import models_in
from specs.run import CampaignFile, RunSpec
from specs.watch import AnyRule

_RUN = {"anyOf": [{"$ref": "#/definitions/RunSpec"}, {"type": "null"}]}
_PARTIAL = {"defaults", "profiles", "runs"}
_WORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "prefixItems": "items",
}
_DROPPED = {"title", "discriminator"}
_LITERAL = {"default", "enum", "const", "required", "pattern", "description"}


def json_schema() -> dict[str, Any]:
    """The schema of a campaign file as written."""
    run = RunSpec.model_json_schema(ref_template="#/definitions/{model}")
    file = CampaignFile.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {**run.pop("$defs"), "RunSpec": run}
    settings = _draft7(run)["properties"]
    whole = {model.__name__ for model in models_in(AnyRule)}
    properties = {
        name: _partial_section(name) if name in _PARTIAL else _draft7(schema)
        for name, schema in file["properties"].items()
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "campaign",
        "description": "A campaign: runs merged as defaults < profile < run.",
        "type": "object",
        "additionalProperties": False,
        "required": file["required"],
        "properties": properties,
        "definitions": {
            name: _definition(schema, whole=name in whole)
            for name, schema in sorted(definitions.items())
        }
        | {"Profile": _profile(settings)},
    }


def _partial_section(name: str) -> dict[str, Any]:
    if name == "defaults":
        return _RUN
    pattern = CampaignFile.model_json_schema()["properties"]["campaign"]["pattern"]
    names = {"propertyNames": {"pattern": pattern}}
    runs = {"type": "object", **names, "additionalProperties": _RUN}
    if name == "runs":
        return {**runs, "minProperties": 1}
    profile = {"anyOf": [{"$ref": "#/definitions/Profile"}, {"type": "null"}]}
    return {"type": ["object", "null"], **names, "additionalProperties": profile}


def _profile(settings: dict[str, Any]) -> dict[str, Any]:
    """What a run may say; under ``runs`` what holds for one run under this profile alone, ``only`` which runs it takes."""
    only = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "description": "the runs that it takes; all where left out",
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**settings, "only": only, "runs": _partial_section("runs")},
    }


def _definition(schema: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    converted: dict[str, Any] = _draft7(schema)
    if not whole:
        converted.pop("required", None)
    return converted


def _draft7(schema: Any) -> Any:
    """The same schema in the words of draft-07."""
    if isinstance(schema, list):
        return [_draft7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    words = {str(_WORDS.get(k, k)): value for k, value in schema.items() if k not in _DROPPED}
    if "discriminator" in schema:
        # without the fields that tell its members apart, a partial trainer may fit several of them
        words["anyOf"] = words.pop("oneOf")
    converted = {key: _converted(key, value) for key, value in words.items()}
    # draft-07 looks at nothing beside a $ref
    reference = converted.pop("$ref", None)
    if reference is not None and converted:
        return {"allOf": [{"$ref": reference}], **converted}
    return {"$ref": reference} if reference is not None else converted


def _converted(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: _draft7(schema) for name, schema in value.items()}
    return value if key in _LITERAL else _draft7(value)
