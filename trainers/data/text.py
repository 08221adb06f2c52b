"""A text as training batches and validation sequences, split by position: its last part is for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from specs.data import TextData
from specs.data import Tokenizer as Kind
from trainers.data.cache import cached
from trainers.data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, Tokens, train_bpe
from trainers.data.windows import CHANGE, TRAIN, VALIDATION, BadText, Windows

DEFAULT_SOURCE = "pydoc_data.topics"


@dataclass(frozen=True, kw_only=True)
class Part:
    """``tokens`` of the characters ``begin`` to ``end``, which are ``size`` bytes of UTF-8."""

    begin: int
    end: int
    size: int
    tokens: Tokens


class Text:
    """Tokens of a text, in two parts."""

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
        tokens = {name: part.tokens for name, part in parts.items()}
        self._windows = Windows(source, tokens, seed)

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
        return self._windows.batch(step, batch, context)

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same evenly spaced windows at every call, int64 (sequences, context) each."""
        return self._windows.validation(sequences, context)


def load(settings: TextData, seed: int, cache: Path) -> Text:
    """Read and tokenise the text of ``settings``.

    ``cache`` keeps what byte-pair encoding makes of it. Raises BadText where the file is missing, is no
    UTF-8, or is too short to be cut in two.
    """
    source, text = _read(settings.path)
    cut = int(len(text) * (1 - settings.validation_fraction))
    spans = {TRAIN: (0, cut), VALIDATION: (cut, len(text))}
    if any(begin >= end for begin, end in spans.values()):
        raise BadText(f"{source} has {len(text)} characters: too few for two parts ({CHANGE})")
    tokenizer = _tokenizer(settings, text[:cut], cache)
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


def _tokenizer(settings: TextData, train: str, cache: Path) -> Tokenizer:
    if settings.tokenizer is Kind.CHAR:
        return CharTokenizer()
    if settings.tokenizer is Kind.BYTE:
        return ByteTokenizer()
    assert settings.vocabulary is not None  # the settings insist on it for bpe
    return train_bpe(train, settings.vocabulary, cache)


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
            f"convert it, or give another file ({CHANGE})"
        ) from None
    except OSError as error:
        raise BadText(f"{path} cannot be read: {error.strerror} ({CHANGE})") from None


def _part(text: str, begin: int, tokenizer: Tokenizer, kind: Kind, cache: Path) -> Part:
    encoded = text.encode()
    if kind is Kind.BPE:
        name = hashlib.sha256(tokenizer.sha256.encode() + encoded).hexdigest()[:32]
        data = cached(cache / f"tokens-{name}.u16", lambda: tokenizer.encode(text).tobytes())
        tokens = np.frombuffer(data, np.uint16)
    else:
        tokens = tokenizer.encode(text)
    return Part(begin=begin, end=begin + len(text), size=len(encoded), tokens=tokens)
