"""What `campaign probe` runs: ``python -P -E -m trainers.probe NAME CHECKPOINT ORDER``.

ORDER is the JSON of trainers.probe_order.Order. On stdout one JSON object comes out, ``{"columns": [...], "data": [...]}``
or ``{"error": kind, "message": ...}``; progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from specs.files import MANIFEST
from trainers.ep.probes import MODULES as EP
from trainers.hope.probes import MODULES as HOPE
from trainers.probe_order import CODES, Order, Refused

PROBES: Mapping[str, Mapping[str, str]] = {"ep": EP, "hope": HOPE}
"""The probes of each kind of trainer, and their modules."""


def main(argv: list[str]) -> int:
    """Run the probe; returns the exit code."""
    answers = _keep_stdout_for_answers()
    try:
        name, checkpoint, order = _read(argv)
        if order.tied:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        answer = _measure(name, Path(checkpoint), order)
    except Refused as refusal:
        _write(answers, {"error": refusal.kind, "message": str(refusal)})
        return CODES[refusal.kind]
    except KeyboardInterrupt:
        return 130
    _write(answers, answer)
    return 0


def _keep_stdout_for_answers() -> TextIO:
    """The real stdout; whatever a library prints goes to stderr from here on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _write(answers: TextIO, value: dict[str, Any]) -> None:
    print(json.dumps(value, allow_nan=False), file=answers, flush=True)


def _end_with_parent() -> None:
    """stdin ends when whoever holds its other end is gone, however that came."""
    while os.read(0, 4096):
        pass
    os._exit(130)


def _read(argv: list[str]) -> tuple[str, str, Order]:
    if len(argv) != 4:
        raise Refused("usage", "usage: python -P -E -m trainers.probe NAME CHECKPOINT ORDER")
    try:
        return argv[1], argv[2], Order(**json.loads(argv[3]))
    except (ValueError, TypeError) as error:
        raise Refused("usage", f"the order is not understood: {error}") from error


def _measure(name: str, checkpoint: Path, order: Order) -> dict[str, Any]:
    """Imports torch, so that a wrong command line, or the wrong kind of checkpoint, is answered at once."""
    kind = kind_of_probe(name)
    _check_kind(name, kind, checkpoint)
    measuring = import_module(f"trainers.{kind}.probes.run")
    answer: dict[str, Any] = measuring.measure(name, checkpoint, order, say=_say)
    return answer


def kind_of_probe(name: str) -> str:
    """The kind of trainer whose checkpoints the probe ``name`` measures. Raises Refused."""
    for kind, modules in PROBES.items():
        if name in modules:
            return kind
    there = ", ".join(name for modules in PROBES.values() for name in modules)
    raise Refused("usage", f"there is no probe {name}; there are: {there}")


def _check_kind(name: str, kind: str, checkpoint: Path) -> None:
    """By the manifest as it lies there. One that cannot be read is left to the opening, which says what is wrong."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return
    found = manifest.get("kind", "ep") if isinstance(manifest, dict) else kind
    if found != kind:
        own = ", ".join(PROBES.get(found, ())) or "there are none"
        raise Refused(
            "checkpoint",
            f"{checkpoint} is of a {found} trainer; {name} is a probe of {kind}. Probes of {found}: {own}",
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
