"""A file of token ids, memory-mapped: it is read from the disk where it is looked at, and may exceed the memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from specs.data import TokenData
from trainers.data.windows import CHANGE, TRAIN, VALIDATION, BadText, Windows

Ids = NDArray[Any]

_SCAN = 1 << 22  # ids looked at in one go


class TokenFile:
    """Token ids of a file, or of two; every id was compared with the vocabulary when it was opened."""

    def __init__(
        self, settings: TokenData, parts: Mapping[str, tuple[str, Ids]], sha256: str, seed: int
    ) -> None:
        self._settings = settings
        self._parts = dict(parts)
        self._sha256 = sha256
        ids = {name: part for name, (_, part) in parts.items()}
        self._windows = Windows(settings.path, ids, seed)

    @property
    def vocabulary(self) -> int:
        return self._settings.vocabulary

    @property
    def tokenizer_hash(self) -> str:
        """Of all that a file of ids says about its tokenizer: how many there are."""
        rule = {"kind": "tokens", "vocabulary": self.vocabulary}
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()

    @property
    def text_hash(self) -> str:
        """sha256 of the file's bytes; of both files' hashes where validation has its own."""
        return self._sha256

    def bytes_per_token(self, split: str) -> float | None:
        """As the settings say; ids alone do not tell."""
        return self._settings.bytes_per_token

    def describe(self) -> Mapping[str, Any]:
        """Where the ids come from, how they are cut, and by which hash they are known."""
        return {
            "text": self._settings.path,
            "text_sha256": self._sha256,
            "tokenizer": f"ids ({self._settings.dtype})",
            "tokenizer_sha256": self.tokenizer_hash,
            "vocabulary": self.vocabulary,
            "split": {
                name: {"file": path, "tokens": len(part)}
                for name, (path, part) in self._parts.items()
            },
        }

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of training step ``step``, int64 (batch, context) each, on the CPU."""
        return self._windows.batch(step, batch, context)

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same evenly spaced windows at every call, int64 (sequences, context) each."""
        return self._windows.validation(sequences, context)


def load(settings: TokenData, seed: int) -> TokenFile:
    """Map the files of ``settings`` and read each once, for its hash and for ids outside the vocabulary.

    Raises BadText where a file is missing, has a size that is no whole number of ids, holds an id that the
    vocabulary does not, or is too short to be cut in two.
    """
    ids, digest = _open(settings.path, settings, CHANGE)
    if settings.validation_path is not None:
        own, of_own = _open(settings.validation_path, settings, "trainer.data.validation_path")
        both = hashlib.sha256(f"{digest} {of_own}".encode()).hexdigest()
        parts = {TRAIN: (settings.path, ids), VALIDATION: (settings.validation_path, own)}
        return TokenFile(settings, parts, both, seed)
    cut = int(len(ids) * (1 - settings.validation_fraction))
    if cut in (0, len(ids)):
        raise BadText(f"{settings.path} has {len(ids)} tokens: too few for two parts ({CHANGE})")
    parts = {TRAIN: (settings.path, ids[:cut]), VALIDATION: (settings.path, ids[cut:])}
    return TokenFile(settings, parts, digest, seed)


def _open(path: str, settings: TokenData, change: str) -> tuple[Ids, str]:
    dtype = np.dtype(settings.dtype).newbyteorder("<")
    try:
        size = Path(path).stat().st_size
        if size == 0 or size % dtype.itemsize:
            raise BadText(
                f"{path} has {size} bytes: no whole number of {settings.dtype} ids "
                f"({change}, trainer.data.dtype)"
            )
        # a plain array over the map: indexing np.memmap itself costs several times as much
        ids = np.asarray(np.memmap(path, dtype=dtype, mode="r"))
    except OSError as error:
        raise BadText(f"{path} cannot be read: {error.strerror} ({change})") from None
    return ids, _scan(path, ids, settings.vocabulary)


def _scan(path: str, ids: Ids, vocabulary: int) -> str:
    """The sha256 of the ids. Raises BadText naming the first that is not below ``vocabulary``."""
    digest = hashlib.sha256()
    for begin in range(0, len(ids), _SCAN):
        part = ids[begin : begin + _SCAN]
        digest.update(part.data)
        if int(part.max()) >= vocabulary:
            at = int(np.argmax(part >= vocabulary))
            raise BadText(
                f"{path} holds the id {int(part[at])} at position {begin + at}: ids must be below "
                f"the vocabulary, {vocabulary} (trainer.data.vocabulary, trainer.data.dtype)"
            )
    return digest.hexdigest()
