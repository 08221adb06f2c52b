"""campaign schema: the JSON Schema of the campaign file."""

from __future__ import annotations

import json

from campaign.cli.output import put, talk


def schema() -> None:
    """The JSON Schema of the campaign file. Editors complete and check YAML with it."""
    from specs.schema import json_schema

    put(json.dumps(json_schema(), indent=2))
    talk("write it beside your file and begin the file with", "dim")
    talk("  # yaml-language-server: $schema=campaign.schema.json", "dim")
