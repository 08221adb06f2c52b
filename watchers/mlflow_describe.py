"""The params and tags of an attempt's MLflow run. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from specs.endings import Ending
from watchers.mlflow_lineage import Described
from watchers.mlflow_names import long_name_tags, to_mlflow

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
KEY_TAG = "campaign.attempt_key"
"""Tag by which the run of an attempt is found again, whoever looks."""

PARENT_TAG = "mlflow.parentRunId"
MOST_FACTS = 500
SIZES = "parameters"
_CUT = "…"


def params_of(attempt: Described) -> dict[str, str]:
    """The resolved spec, flattened to dotted paths; lists and what is no text as JSON."""
    flat = dict(_flatten(attempt.content["spec"], ()))
    return {to_mlflow(path): _short(value, LONGEST_PARAM) for path, value in flat.items()}


def _flatten(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _flatten(below, (*path, name))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield ".".join(path), _plain(text)


def start_tags(attempt: Described) -> dict[str, str]:
    """Who and where: known when the attempt starts."""
    content = attempt.content
    commit, dirty = content.get("git_commit"), content.get("git_dirty")
    tags: dict[str, Any] = {
        KEY_TAG: attempt.key,
        "campaign": attempt.campaign,
        "run": attempt.run,
        "attempt": attempt.attempt,
        "start": _start(attempt),
        "spec_hash": content.get("spec_hash"),
        "profile": content.get("profile"),
        "host": content.get("host"),
        "devices": ", ".join(str(device) for device in content.get("devices") or ()) or None,
        "git_commit": f"{commit} + changes" if commit and dirty else commit,
        "mlflow.source.git.commit": commit,
        "mlflow.source.name": dict(_flatten(content["spec"], ())).get("trainer.kind"),
    }
    for path, _ in _flatten(content["spec"], ()):
        tags.update(long_name_tags(path))
    return _texts(tags)


def end_tags(ending: Ending) -> dict[str, str]:
    """How it ended."""
    return _texts(
        {
            "result": ending.result,
            "failure_class": ending.failure_class,
            "rule": ending.rule,
            "reason": ending.reason,
        }
    )


def fact_params(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a trainer said of itself when it started, the first 500 facts, by dotted path below ``facts``.

    How many parameters it has is ``parameters``, and ``parameters.<group>`` where it says them by group with a
    ``total``. No setting has such a name.
    """
    flat = dict(islice(_facts(facts), MOST_FACTS))
    return {to_mlflow(path): _short(value, LONGEST_PARAM) for path, value in flat.items()}


def fact_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """The whole names of those that MLflow does not take whole."""
    tags: dict[str, str] = {}
    for path, _ in islice(_facts(facts), MOST_FACTS):
        tags.update(long_name_tags(path))
    return _texts(tags)


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, value in _flatten(dict(facts), ()):
        if path.split(".")[0] == SIZES:
            yield (SIZES if path == f"{SIZES}.total" else path), value
        elif path:
            yield f"facts.{path}", value


def _start(attempt: Described) -> str:
    start = attempt.start
    if start.attempt is None:
        return start.kind
    return f"{start.kind} from {start.run or attempt.run} attempt {start.attempt} step {start.step}"


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: _short(_plain(str(value)), LONGEST_TAG)
        for name, value in tags.items()
        if value is not None
    }


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def _plain(text: str) -> str:
    """Lone surrogates, which no database takes, are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
