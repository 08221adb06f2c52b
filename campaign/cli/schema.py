"""campaign schema: the JSON Schema of the campaign file."""

from __future__ import annotations

import json

from campaign.cli.options import JsonOption
from campaign.cli.output import put, put_json, talk


def schema(as_json: JsonOption = False) -> None:
    """The JSON Schema of the campaign file. Editors complete and check YAML with it.

    It is JSON as it stands; --json puts it into the envelope of all verbs, on one line.
    """
    from specs.schema import json_schema

    if as_json:
        put_json([json_schema()])
        return
    put(json.dumps(json_schema(), indent=2))
    talk("write it beside your file and begin the file with", "dim")
    talk("  # yaml-language-server: $schema=campaign.schema.json", "dim")
