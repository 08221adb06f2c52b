"""Checkpoints: safetensors and JSON under a hashed manifest, complete or not there at all.

A checkpoint is written beside its place, synced file by file, and renamed; a crash at any moment leaves
either the whole of it or a directory with a leading dot that nobody reads. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from specs.files import (
    EVIDENCE,
    MANIFEST,
    SCHEMA,
    STATE,
    BadCheckpoint,
    fsync_dir,
    make_manifest,
    read_json,
    verify_manifest,
)
from trainers.protocol import Evidence, Snapshot

ROOM = 2.2
"""Free space that a checkpoint needs, over its own size: one more may be written beside it."""

_STEM = re.compile(r"[a-z0-9_]{1,64}")
_STEP_DIR = re.compile(r"step-(\d{1,18})")
_SUFFIX = ".safetensors"
_TEMPORARY = ".tmp-"


class CheckpointExists(Exception):
    """Another checkpoint of the same step is there already; it is never overwritten."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Where a checkpoint lies and how large it is, in bytes."""

    path: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checkpoint whose every byte was compared with its manifest."""

    step: int
    snapshot: Snapshot
    manifest: Mapping[str, Any]


# ---------------------------------------------------------------- saving


def save(
    checkpoints: Path,
    *,
    step: int,
    snapshot: Snapshot,
    evidence: Evidence,
    facts: Mapping[str, object],
) -> Saved:
    """Write ``checkpoints/step-<step>`` durably; ``facts`` go into its manifest.

    The same checkpoint twice is one. Raises CheckpointExists where the step has another, OSError where
    the disk refuses (nothing is left behind), ValueError where the snapshot cannot be kept as it is.
    """
    target = checkpoints / f"step-{step}"
    temporary = checkpoints / f"{_TEMPORARY}{step}-{os.getpid()}"
    checkpoints.mkdir(mode=0o700, parents=True, exist_ok=True)
    for rubbish in checkpoints.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(rubbish)  # of a process that died here: an attempt has one at a time
    try:
        temporary.mkdir(mode=0o700)
        _write_tensors(temporary, snapshot.tensors)
        _write_json(
            temporary / STATE, {"schema": SCHEMA, "step": step, "scalars": snapshot.scalars}
        )
        _write_json(temporary / EVIDENCE, _evidence_json(step, evidence))
        manifest = make_manifest(temporary, step=step, extra=facts)
        _write_json(temporary / MANIFEST, manifest)
        fsync_dir(temporary)
        if target.exists():
            _insist_on_same(target, manifest)
        else:
            temporary.replace(target)
            fsync_dir(checkpoints)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already if all went well
    return Saved(path=target, size=sum(file["bytes"] for file in manifest["files"].values()))


def size_of(snapshot: Snapshot) -> int:
    """Bytes of its tensors: nearly all of what a checkpoint takes."""
    return sum(
        tensor.numel() * tensor.element_size()
        for tensors in snapshot.tensors.values()
        for tensor in tensors.values()
    )


def missing_room(directory: Path, size: int) -> str | None:
    """Why a checkpoint of ``size`` bytes should not be written there now; None if there is room."""
    free = shutil.disk_usage(directory).free
    needed = round(ROOM * size)
    if free >= needed:
        return None
    return (
        f"{directory} has {free / 2**20:.0f} MiB free; a checkpoint wants {needed / 2**20:.0f} MiB"
    )


def _write_tensors(directory: Path, groups: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    for stem, tensors in groups.items():
        if not _STEM.fullmatch(stem):
            raise ValueError(f"{stem!r} cannot name a file of a checkpoint: use a-z 0-9 _")
        path = directory / f"{stem}{_SUFFIX}"
        # copies of their own: safetensors refuses views and tensors that share memory
        save_file({name: _own(tensor) for name, tensor in tensors.items()}, path)
        _sync(path)


def _own(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _evidence_json(step: int, evidence: Evidence) -> dict[str, object]:
    metrics = {name: _as_json(float(value)) for name, value in evidence.metrics.items()}
    return {"schema": SCHEMA, "step": step, "finite": evidence.finite, "metrics": metrics}


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _write_json(path: Path, value: object) -> None:
    with path.open("wb") as file:
        file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _insist_on_same(target: Path, manifest: Mapping[str, Any]) -> None:
    try:
        present = verify_manifest(target)
    except BadCheckpoint as error:
        raise CheckpointExists(f"{target} is there already and broken: {error}") from error
    if present["files"] != manifest["files"]:
        raise CheckpointExists(f"{target} is there already with other content")


# ---------------------------------------------------------------- loading


def load(directory: Path, *, manifest_sha256: str | None = None) -> Loaded:
    """Read a checkpoint. Raises BadCheckpoint on anything that is not as it was written.

    ``manifest_sha256``: of the manifest that is expected; then no other checkpoint can take its place.
    """
    try:
        manifest = verify_manifest(directory, manifest_sha256=manifest_sha256)
        step = _step_of(directory, manifest)
        return Loaded(step=step, snapshot=_read_snapshot(directory, step), manifest=manifest)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{directory} cannot be read: {error!r}") from error


def _step_of(directory: Path, manifest: Mapping[str, Any]) -> int:
    """The step, on which the directory's name, the manifest and the state must agree."""
    step = manifest["step"]
    if manifest["schema"] != SCHEMA:
        raise BadCheckpoint(f"{directory} has schema {manifest['schema']}; this reads {SCHEMA}")
    named = _STEP_DIR.fullmatch(directory.name)
    if named is not None and int(named[1]) != step:
        raise BadCheckpoint(f"{directory} holds the checkpoint of step {step}")
    return int(step)


def _read_snapshot(directory: Path, step: int) -> Snapshot:
    state = read_json(directory / STATE)
    if state is None or state["step"] != step:
        raise BadCheckpoint(f"{directory / STATE} is not the state of step {step}")
    return Snapshot(
        tensors={
            path.name.removesuffix(_SUFFIX): load_file(path, device="cpu")
            for path in sorted(directory.glob(f"*{_SUFFIX}"))
        },
        scalars=state["scalars"],
    )
