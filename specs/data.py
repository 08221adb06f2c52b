"""What a language model is trained on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Model, Number, word
from specs.errors import WrongField


class Tokenizer(StrEnum):
    CHAR = "char"  # fixed vocabulary: printable ASCII, newline, unknown
    BYTE = "byte"  # the 256 bytes of UTF-8
    BPE = "bpe"  # trained on the training part of the text with `tokenizers`


class TextData(Model):
    """A UTF-8 text. Without ``path``: Python's own documentation (``pydoc_data.topics``)."""

    kind: Literal["text"] = "text"
    path: str | None = None
    tokenizer: Annotated[Tokenizer, word(Tokenizer)] = Tokenizer.CHAR
    vocabulary: int | None = Field(default=None, ge=257, le=65535)
    validation_fraction: Number = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _bpe_needs_a_text(self) -> TextData:
        if self.tokenizer is Tokenizer.BPE:
            if self.path is None:
                raise WrongField(
                    "tokenizer",
                    "the bpe tokenizer needs a text of yours: give it in data.path, for instance "
                    "with --set defaults.trainer.data.path=FILE (any UTF-8 file)",
                )
            if self.vocabulary is None:
                raise WrongField(
                    "tokenizer", "the bpe tokenizer needs data.vocabulary, for instance 4096"
                )
        elif self.vocabulary is not None:
            raise WrongField(
                "vocabulary",
                f"the {self.tokenizer} tokenizer has a fixed vocabulary: leave data.vocabulary out",
            )
        return self


class TokenData(Model):
    """A file of token ids, memory-mapped: little-endian integers without a header."""

    kind: Literal["tokens"]
    path: str
    validation_path: str | None = Field(
        default=None, description="a file of its own; else the last part of ``path``"
    )
    vocabulary: int = Field(ge=2, le=2**31 - 1)
    dtype: Literal["uint8", "uint16", "uint32"] = "uint16"
    bytes_per_token: Number | None = Field(
        default=None, gt=0, description="for bits per byte; without it they are not reported"
    )
    validation_fraction: Number = Field(default=0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _ids_fit(self) -> TokenData:
        most = 2 ** int(self.dtype.removeprefix("uint"))
        if self.vocabulary > most:
            raise WrongField(
                ("dtype", "vocabulary"),
                f"{self.dtype} holds ids below {most}, the vocabulary has {self.vocabulary}",
            )
        return self


def _text_unless_told(value: object) -> object:
    """``kind`` may be left out for a text."""
    return {"kind": "text", **value} if isinstance(value, dict) else value


AnyData = Annotated[
    TextData | TokenData, Field(discriminator="kind"), BeforeValidator(_text_unless_told)
]
