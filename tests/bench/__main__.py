"""``python -m tests.bench [NAME ...] [--json FILE]``: benchmarks of campaign, in fresh homes.

Results go to stdout, talk to stderr. Exit code 1 if a benchmark could not be taken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.report import Result, as_data, as_text
from tests.bench.stage import orderly, stage

BENCHMARKS: Mapping[str, str] = {
    "submit": "a submit acknowledged, 1 and 1,000 runs, against a bare SQLite insert",
    "first_line": "submit to the trainer's first metric line, against Popen",
    "watcher": "metric line to SIGTERM, against a loop that polls each second",
    "lease": "Ray's placement group, against the same start without it",
    "many": "200 runs of `true`, against xargs, task-spooler and GNU parallel",
    "publish": "points into MLflow, new ones and ones that it has, against MLflow alone",
    "step_time": "a trainer's step under campaign, against the same trainer by hand",
    "hinge": "what the spectral hinge adds to a training step, on one CPU thread",
    "hope_cpu": "a HOPE training step and its write, against the documented layer written plainly",
    "hope_gpu": "on a GPU: a HOPE step, against the documented layer, and phase 5 against the transformer",
    "ep_gpu": "on a GPU: a gradient of the EP core, against the documented step and against BPTT",
}
"""Name of the module -> what it measures."""

IN_PARTS = {"hope_gpu"}
"""Of which some cases alone can be taken."""

_ON_DISK = Path("/var/tmp")


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    if options.only is not None and set(options.names) != IN_PARTS:
        parser.error(f"--only is for {', '.join(IN_PARTS)} alone: name it, and no other")
    facts = machine.facts(options.dir)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    results, failed = [], 0
    with orderly():
        for name in options.names or BENCHMARKS:
            result = _taken(name, options)
            if result is None:
                failed += 1
                continue
            results.append(result)
            print(f"\n{as_text(result)}", flush=True)
    print(f"\nload at the end: {machine.load()}")
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(results, facts), indent=1) + "\n")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:12}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=f"Benchmarks, by default all:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample there")
    parser.add_argument(
        "--dir",
        type=Path,
        default=_ON_DISK if _ON_DISK.is_dir() else Path(tempfile.gettempdir()),
        help="where the homes are made: on the disk that is meant (default %(default)s)",
    )
    parser.add_argument(
        "--more",
        type=int,
        default=1,
        metavar="K",
        help="K times as many samples, for a verdict that the usual number leaves open",
    )
    parser.add_argument(
        "--only",
        metavar="WORD",
        help=f"of {', '.join(IN_PARTS)}: the cases with that word in their name, and what they are compared with",
    )
    parser.add_argument("--keep", action="store_true", help="leave the files for a look at them")
    return parser


def _taken(name: str, options: argparse.Namespace) -> Result | None:
    """Take one benchmark on a stage of its own; None, and why on stderr, if it fails."""
    began = time.monotonic()
    print(f"\n{name}: {BENCHMARKS[name]} ...", file=sys.stderr, flush=True)
    try:
        more, only = options.more, options.only
        with stage(options.dir, keep=options.keep, more=more, only=only) as place:
            result: Result = import_module(f"tests.bench.{name}").measure(place)
    except Exception:  # noqa: BLE001 - whatever it was, the other benchmarks are taken
        traceback.print_exc()
        return None
    print(f"{name}: took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return result


def _as_json(results: list[Result], facts: Mapping[str, object]) -> dict[str, Any]:
    rows = [row for result in results for row in as_data(result)]
    return {"schema": 1, "machine": dict(facts), "data": rows}


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("interrupted; what was started is ended", file=sys.stderr)
        raise SystemExit(130) from None
