"""What `campaign probe` runs: ``python -P -E -m trainers.probe NAME CHECKPOINT ORDER``.

ORDER is the JSON of trainers.ep.probes.order.Order. On stdout one JSON object comes out, ``{"columns": [...], "data": [...]}``
or ``{"error": kind, "message": ...}``; progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from trainers.ep.probes.order import CODES, Order, Refused


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
    """Imports torch, so that a wrong command line is answered at once."""
    from trainers.ep.probes.run import measure

    return measure(name, checkpoint, order, say=_say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
