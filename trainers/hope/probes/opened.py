"""A HOPE checkpoint opened by itself: its own settings rebuild the predictor and find the clips."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from specs.files import BadCheckpoint
from specs.trainer_hope import HopeTrainer
from trainers import checkpoint
from trainers.data import clips
from trainers.hope import snapshots
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.feed import ClipSource, Feed, Item
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor
from trainers.protocol import Snapshot
from trainers.snapshots import check_entries

KIND = "hope"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A predictor without a graph behind it, the settings that it was trained with, and its clips."""

    settings: HopeTrainer
    model: Predictor
    source: ClipSource
    device: torch.device
    step: int

    @property
    def feed(self) -> Feed:
        return Feed(self.source, self.settings, self.device)

    def unlearnt(self, count: int | None) -> list[Batch]:
        """Clips that nothing was learnt from, as many of each task, in batches of the settings.

        The held-out clips of a protocol; the first validation clips of a run without one. At most ``count`` in all,
        if it is given, but one of each task at least.
        """
        settings, tasks = self.settings, tasks_of(self.settings)
        if settings.continual is None:
            wanted, part = count or settings.validation.clips, self.source.validation
        else:
            held = settings.continual.held_out
            wanted = count or held * len(tasks)

            def part(task: str) -> range:
                return self.source.held_out(task, held)  # type: ignore[return-value]

        share = max(1, wanted // len(tasks))
        items: list[Item] = [(task, int(i)) for task in tasks for i in part(task)[:share]]
        size = settings.batch
        return [self.feed.gather(items[i : i + size]) for i in range(0, len(items), size)]


def open_checkpoint(path: Path, device: torch.device) -> Opened:
    """Read ``step-<n>`` after comparing every byte with its manifest, and open the clips that it was trained on.

    Raises BadCheckpoint where a hash fails, the trainer is another, settings or tensors are not those of this version
    or not finite, or the clips are others; CouldNotStart where there are no clips.
    """
    loaded = checkpoint.load(path)
    kind = loaded.manifest.get("kind")
    if kind != KIND:
        raise BadCheckpoint(f"{path} is of a {kind} trainer; this opens those of {KIND}")
    try:
        check_entries(loaded.snapshot, snapshots.SCALARS)
        settings = _settings(loaded.snapshot)
        model = _model(settings, loaded.snapshot).to(device)
        source = _clips(settings, loaded.snapshot, device)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    return Opened(settings=settings, model=model, source=source, device=device, step=loaded.step)


def _settings(snapshot: Snapshot) -> HopeTrainer:
    try:
        # strict models take a JSON list for a tuple only from JSON text
        return HopeTrainer.model_validate_json(json.dumps(snapshot.scalars["settings"]))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}"
            for e in error.errors()
        )
        raise BadCheckpoint(f"its settings are not those of this version: {wrong}") from error


def _model(settings: HopeTrainer, snapshot: Snapshot) -> Predictor:
    """The predictor with the checkpoint's parameters. Blocks are not recomputed: it changes no number here."""
    model = Predictor(
        settings.model.model_copy(update={"checkpoint_blocks": False}),
        grid=settings.data.grid,
        feature_width=settings.data.feature_width,
        context=settings.context,
    )
    found = snapshots.parameters_of(snapshot, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(found[name])
    return model


def _clips(settings: HopeTrainer, snapshot: Snapshot, device: torch.device) -> ClipSource:
    source = clips.load(
        settings.data,
        settings.seed,
        clips.default_cache(),
        device,
        tasks=tasks_of(settings),
        held_out=settings.continual.held_out if settings.continual else 0,
    )
    trained = snapshot.scalars["clips_sha256"]
    if source.sha256 != trained:
        raise BadCheckpoint(
            f"it was trained on other clips: sha256 {trained[:12]}, here {source.sha256[:12]}"
        )
    return source
