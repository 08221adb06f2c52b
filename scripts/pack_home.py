"""``python scripts/pack_home.py HOME DIR``: what a home needs to go on on another machine, as few bytes as may be.

Writes DIR/home.tgz (everything but the tensors) and one DIR/checkpoint-N.tar for each checkpoint that an
unfinished run would begin from. Unpacked with ``tar xf FILE -C /`` the home lies under the same path: the store
and the checkpoints name absolute ones. Call it when no controller runs; trainers may.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from campaign.api import Client

LEFT_OUT = (".safetensors", ".sock", ".lock")


def main() -> int:
    home, out = (Path(argument).resolve() for argument in sys.argv[1:3])
    client = Client(home)
    if client.controller() is not None:
        print(f"a controller runs for {home}: end it first, so that the store is whole")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "home.tgz", "w:gz", home, tensors=False)
    for number, checkpoint in enumerate(sorted(set(_needed(client)))):
        _write(out / f"checkpoint-{number}.tar", "w", checkpoint, tensors=True)
        print(checkpoint)
    return 0


def _needed(client: Client) -> Iterator[Path]:
    """The newest checkpoint of each unfinished run, and the certified ones of what queued runs start from."""
    sources = set()
    for run in client.runs():
        if run.status == "done":
            continue
        attempts = client.home.root / run.campaign / run.run
        found = {int(p.name[5:]): p for p in attempts.glob("attempt-*/checkpoints/step-*")}
        if found:
            yield found[max(found)]
        warm = client.show(f"{run.campaign}/{run.run}").spec["start"]["warm_from"]
        if warm is not None and not found:
            sources.add((warm["campaign"] or run.campaign, warm["run"]))
    certified = {
        (row.campaign, row.run): Path(row.path)
        for row in sorted(client.checkpoints(), key=lambda row: row.step)
        if row.status == "certified"
    }
    yield from (certified[source] for source in sources if source in certified)


def _write(archive: Path, mode: str, what: Path, *, tensors: bool) -> None:
    def wanted(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if not tensors and item.name.endswith(LEFT_OUT) else item

    with tarfile.open(archive, mode) as packed:  # type: ignore[call-overload]
        packed.add(what, arcname=str(what.relative_to("/")), filter=wanted)


if __name__ == "__main__":
    raise SystemExit(main())
