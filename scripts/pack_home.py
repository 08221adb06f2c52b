"""``python scripts/pack_home.py HOME DIR [--at-most MIB]``: what a home needs to go on on another machine, as few bytes as may be.

Writes DIR/home.tgz (everything but the tensors) and one DIR/checkpoint-N.tar for each checkpoint that an
unfinished run would begin from. Unpacked with ``tar xf FILE -C /`` the home lies under the same path: the store
and the checkpoints name absolute ones. Call it when no controller runs; trainers may.

Where that checkpoint is above ``--at-most`` the run is named and goes without any: on the other machine it begins
anew if its spec has ``retry: {from_scratch: true}``, else it fails. A run that is done needs none.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from campaign.api import Client

LEFT_OUT = (".safetensors", ".sock", ".lock")
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Needed:
    """A checkpoint that ``run`` begins from; what it does without it."""

    run: str
    checkpoint: Path
    from_scratch: bool

    @property
    def mib(self) -> float:
        return sum(file.stat().st_size for file in self.checkpoint.iterdir()) / MIB


def main() -> int:
    asked = _asked()
    client = Client(asked.home.resolve())
    if client.controller() is not None:
        print(f"a controller runs for {asked.home}: end it first, so that the store is whole")
        return 1
    asked.dir.mkdir(parents=True, exist_ok=True)
    every = list(_needed(client))
    without = [one for one in every if one.mib > asked.at_most]
    for one in without:
        fate = "begins anew there" if one.from_scratch else "cannot go on there"
        print(f"left out: {one.checkpoint}, {one.mib:.0f} MiB; {one.run} {fate}")
    # what is not there at all counts as retired; tensors that are missing would be tried one by one
    hollow = frozenset(
        checkpoint
        for one in without
        for checkpoint in (client.home.root / one.run).glob("attempt-*/checkpoints/step-*")
    )
    _write(asked.dir / "home.tgz", "w:gz", client.home.root, tensors=False, leave_out=hollow)
    chosen = sorted({one.checkpoint for one in every} - {one.checkpoint for one in without})
    for number, checkpoint in enumerate(chosen):
        _write(asked.dir / f"checkpoint-{number}.tar", "w", checkpoint, tensors=True)
        print(checkpoint)
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("home", type=Path)
    parser.add_argument("dir", type=Path)
    parser.add_argument(
        "--at-most", type=float, default=float("inf"), metavar="MIB", help="of a checkpoint"
    )
    return parser.parse_args()


def _needed(client: Client) -> Iterator[Needed]:
    """The newest checkpoint of each unfinished run, and the certified ones of what queued runs start from."""
    certified = {
        (row.campaign, row.run): Path(row.path)
        for row in sorted(client.checkpoints(), key=lambda row: row.step)
        if row.status == "certified"
    }
    for run in client.runs():
        if run.status == "done":
            continue
        name = f"{run.campaign}/{run.run}"
        spec = client.show(name).spec
        attempts = client.home.root / run.campaign / run.run
        found = {int(p.name[5:]): p for p in attempts.glob("attempt-*/checkpoints/step-*")}
        warm = spec["start"]["warm_from"]
        if found:
            again = bool(spec["retry"]["from_scratch"])
            yield Needed(run=name, checkpoint=found[max(found)], from_scratch=again)
        elif warm is not None:
            source = (warm["campaign"] or run.campaign, warm["run"])
            if source in certified:
                yield Needed(run=name, checkpoint=certified[source], from_scratch=False)


def _write(
    archive: Path,
    mode: str,
    what: Path,
    *,
    tensors: bool,
    leave_out: frozenset[Path] = frozenset(),
) -> None:
    def wanted(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
        tensor = not tensors and item.name.endswith(LEFT_OUT)
        return None if tensor or Path("/", item.name) in leave_out else item

    with tarfile.open(archive, mode) as packed:  # type: ignore[call-overload]
        packed.add(what, arcname=str(what.relative_to("/")), filter=wanted)


if __name__ == "__main__":
    raise SystemExit(main())
