"""Text to tokens: characters over a fixed vocabulary, bytes, or byte-pair encoding learnt from the text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainers.data.cache import cached

Tokens = NDArray[np.uint16]

_FIRST, _LAST = 32, 126  # printable ASCII
_NEWLINE = _LAST - _FIRST + 1
_UNKNOWN = _NEWLINE + 1


class Tokenizer(Protocol):
    @property
    def vocabulary(self) -> int: ...

    @property
    def sha256(self) -> str:
        """Of all that decides which token a text becomes."""
        ...

    def encode(self, text: str) -> Tokens: ...


class CharTokenizer:
    """Token n < 95 is the n-th printable ASCII character, then newline, then everything else."""

    vocabulary = _UNKNOWN + 1

    @property
    def sha256(self) -> str:
        rule = {"kind": "char", "printable": [_FIRST, _LAST], "then": ["newline", "unknown"]}
        return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()

    def encode(self, text: str) -> Tokens:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        tokens = np.full(codes.shape, _UNKNOWN, dtype=np.uint16)
        printable = (codes >= _FIRST) & (codes <= _LAST)
        tokens[printable] = (codes[printable] - _FIRST).astype(np.uint16)
        tokens[codes == ord("\n")] = _NEWLINE
        return tokens


class ByteTokenizer:
    """Every byte of UTF-8 is its own token."""

    vocabulary = 256

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps({"kind": "byte"}).encode()).hexdigest()

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)


class BpeTokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016, over bytes as in Radford et al. 2019).

    ``saved`` is the JSON of the `tokenizers` library. Bytes are its alphabet, so nothing is unknown.
    """

    def __init__(self, saved: bytes) -> None:
        from tokenizers import Tokenizer as Library

        self._library = Library.from_str(saved.decode())
        self.sha256 = hashlib.sha256(saved).hexdigest()
        self.vocabulary: int = self._library.get_vocab_size()

    def encode(self, text: str) -> Tokens:
        """In pieces at line ends, which the library works on side by side."""
        pieces = self._library.encode_batch_fast(_pieces(text), add_special_tokens=False)
        return np.concatenate(
            [np.empty(0, np.uint16), *(np.array(piece.ids, np.uint16) for piece in pieces)]
        )


def train_bpe(text: str, vocabulary: int, cache: Path) -> BpeTokenizer:
    """Learn ``vocabulary`` tokens from ``text``, or take them from ``cache`` if that was done before."""
    import tokenizers

    told = json.dumps([tokenizers.__version__, vocabulary, _sha256(text)])
    name = hashlib.sha256(told.encode()).hexdigest()[:32]
    return BpeTokenizer(cached(cache / f"bpe-{name}.json", lambda: _learn(text, vocabulary)))


def _learn(text: str, vocabulary: int) -> bytes:
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers

    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    library.train_from_iterator(_pieces(text), trainer)
    return str(library.to_str()).encode()


_PIECE = 1 << 16


def _pieces(text: str) -> list[str]:
    """The text cut behind newlines into pieces of about 64 Ki characters."""
    pieces, begin = [], 0
    while begin < len(text):
        end = text.find("\n", begin + _PIECE) + 1 or len(text)
        pieces.append(text[begin:end])
        begin = end
    return pieces


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
