"""A text as training batches and validation sequences, split by position.

The last part of the text is for validation. A batch is a pure function of (seed, step), so the step is
the whole position in the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from specs.data import TextData
from specs.data import Tokenizer as Kind
from trainers.data.cache import cached
from trainers.data.tokenizers import CharTokenizer, Tokenizer, Tokens, train_bpe
from trainers.failure import CouldNotStart

TRAIN, VALIDATION = "train", "validation"
DEFAULT_SOURCE = "pydoc_data.topics"

_CHANGE = "trainer.data.path"


class BadText(CouldNotStart):
    """A text that cannot be trained on; the message says which, why, and what to change."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """``tokens`` of the characters ``begin`` to ``end``, which are ``size`` bytes of UTF-8."""

    begin: int
    end: int
    size: int
    tokens: Tokens


class Text:
    """Tokens of a text. Sampling is with replacement, uniform over all windows of the training part."""

    def __init__(
        self,
        *,
        source: str,
        sha256: str,
        tokenizer: Tokenizer,
        kind: str,
        parts: Mapping[str, Part],
        seed: int,
    ) -> None:
        self._source = source
        self._sha256 = sha256
        self._tokenizer = tokenizer
        self._kind = kind
        self._parts = dict(parts)
        self._seed = seed

    @property
    def vocabulary(self) -> int:
        return self._tokenizer.vocabulary

    @property
    def tokenizer_hash(self) -> str:
        return self._tokenizer.sha256

    @property
    def text_hash(self) -> str:
        """sha256 of the whole text in UTF-8."""
        return self._sha256

    def bytes_per_token(self, split: str) -> float:
        """UTF-8 bytes of a part (`train`, `validation`) over its tokens."""
        part = self._parts[split]
        return part.size / len(part.tokens)

    def describe(self) -> Mapping[str, Any]:
        """Where the text comes from, how it is cut, and by which hashes it is known."""
        return {
            "text": self._source,
            "text_sha256": self._sha256,
            "tokenizer": self._kind,
            "tokenizer_sha256": self.tokenizer_hash,
            "vocabulary": self.vocabulary,
            "split": {
                name: {
                    "characters": [part.begin, part.end],
                    "tokens": len(part.tokens),
                    "bytes_per_token": round(self.bytes_per_token(name), 4),
                }
                for name, part in self._parts.items()
            },
        }

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of training step ``step``, int64 (batch, context) each, on the CPU."""
        windows = self._windows(TRAIN, context, batch=1)
        # raw Philox words, whose sequence numpy promises never to change; the product takes their top
        words = np.random.Philox(key=[self._seed, step]).random_raw(batch)
        starts = [(int(word) * windows) >> 64 for word in words]
        return self._gather(TRAIN, np.array(starts, np.int64), context)

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same evenly spaced windows at every call, int64 (sequences, context) each."""
        windows = self._windows(VALIDATION, context, batch=sequences)
        starts = np.arange(sequences, dtype=np.int64) * windows // sequences
        return self._gather(VALIDATION, starts, context)

    def _windows(self, split: str, context: int, *, batch: int) -> int:
        """How many windows with a target behind each token there are; raises BadText if too few."""
        tokens = len(self._parts[split].tokens)
        windows = tokens - context
        if windows < batch:
            raise BadText(
                f"{self._source} is too short: its {split} part has {tokens} tokens, and "
                f"{batch} window(s) of context {context} need {context + batch}; take a longer text "
                f"({_CHANGE}), a shorter context or another validation_fraction"
            )
        return windows

    def _gather(self, split: str, starts: np.ndarray, context: int) -> tuple[Tensor, Tensor]:
        at = starts[:, None] + np.arange(context + 1)
        tokens = torch.from_numpy(self._parts[split].tokens[at].astype(np.int64))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def load(settings: TextData, seed: int, cache: Path) -> Text:
    """Read and tokenise the text of ``settings``.

    ``cache`` keeps what byte-pair encoding makes of it. Raises BadText where the file is missing, is no
    UTF-8, or is too short to be cut in two.
    """
    source, text = _read(settings.path)
    cut = int(len(text) * (1 - settings.validation_fraction))
    spans = {TRAIN: (0, cut), VALIDATION: (cut, len(text))}
    if any(begin >= end for begin, end in spans.values()):
        raise BadText(f"{source} has {len(text)} characters: too few for two parts ({_CHANGE})")
    if settings.tokenizer is Kind.BPE:
        vocabulary = settings.vocabulary
        assert vocabulary is not None  # the settings insist on it for bpe
        tokenizer: Tokenizer = train_bpe(text[:cut], vocabulary, cache)
    else:
        tokenizer = CharTokenizer()
    return Text(
        source=source,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        tokenizer=tokenizer,
        kind=settings.tokenizer.value,
        parts={
            name: _part(text[begin:end], begin, tokenizer, settings.tokenizer, cache)
            for name, (begin, end) in spans.items()
        },
        seed=seed,
    )


def default_text() -> str:
    """Python's own documentation as it comes with the interpreter: topics in order of their names."""
    from pydoc_data.topics import topics

    return "\n\n".join(f"{name}\n\n{topics[name].strip()}" for name in sorted(topics)) + "\n"


def _read(path: str | None) -> tuple[str, str]:
    """The source's name and the text."""
    if path is None:
        return DEFAULT_SOURCE, default_text()
    try:
        return path, Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadText(
            f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; "
            f"convert it, or give another file ({_CHANGE})"
        ) from None
    except OSError as error:
        raise BadText(f"{path} cannot be read: {error.strerror} ({_CHANGE})") from None


def _part(text: str, begin: int, tokenizer: Tokenizer, kind: Kind, cache: Path) -> Part:
    encoded = text.encode()
    if kind is Kind.BPE:
        name = hashlib.sha256(tokenizer.sha256.encode() + encoded).hexdigest()[:32]
        data = cached(cache / f"tokens-{name}.u16", lambda: tokenizer.encode(text).tobytes())
        tokens = np.frombuffer(data, np.uint16)
    else:
        tokens = tokenizer.encode(text)
    return Part(begin=begin, end=begin + len(text), size=len(encoded), tokens=tokens)
