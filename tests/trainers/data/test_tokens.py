from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from specs.data import TextData, TokenData
from trainers.data import tokens
from trainers.data.load import load
from trainers.data.text import Text
from trainers.data.tokens import TokenFile
from trainers.data.windows import BadText

DTYPES = ("uint8", "uint16", "uint32")


@pytest.fixture
def open_ids(tmp_path: Path) -> Any:
    """Writes ids to a file and opens it."""

    def make(ids: Any, *, seed: int = 0, validation: Any = None, **fields: Any) -> TokenFile:
        given = {"kind": "tokens", "vocabulary": 200, "dtype": "uint16", **fields}
        given["path"] = str(tmp_path / "train.bin")
        np.asarray(ids).astype(f"<u{np.dtype(given['dtype']).itemsize}").tofile(given["path"])
        if validation is not None:
            given["validation_path"] = str(tmp_path / "val.bin")
            np.asarray(validation).astype("<u2").tofile(given["validation_path"])
        found = load(TokenData(**given), seed, tmp_path / "cache")
        assert isinstance(found, TokenFile)
        return found

    return make


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_hold_the_ids_of_the_file_in_their_order(open_ids: Any, dtype: str) -> None:
    data = open_ids(np.arange(190), dtype=dtype)
    idx, y = data.batch(3, 6, 16)
    assert idx.shape == y.shape == (6, 16)
    assert idx.dtype == y.dtype == torch.int64
    assert torch.equal(y, idx + 1)
    assert torch.equal(idx[:, 1:], y[:, :-1])


def test_a_file_and_a_text_with_equal_tokens_have_equal_batches(
    open_ids: Any, tmp_path: Path
) -> None:
    letters = "some words " * 40
    (tmp_path / "text").write_text(letters)
    text = load(TextData(path=str(tmp_path / "text")), 7, tmp_path)
    assert isinstance(text, Text)
    ids = np.concatenate([part.tokens for part in text._parts.values()])
    file = open_ids(ids, seed=7)
    for step in range(3):
        for a, b in zip(text.batch(step, 4, 9), file.batch(step, 4, 9), strict=True):
            assert torch.equal(a, b)
    assert torch.equal(text.validation(5, 9)[0], file.validation(5, 9)[0])


@hypothesis_settings(deadline=None)
@given(step=st.integers(0, 2**40), seed=st.integers(0, 2**32 - 1), context=st.integers(1, 80))
def test_training_never_sees_the_last_part_nor_validation_the_first(
    tmp_path_factory: Any, step: int, seed: int, context: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.bin"
    np.repeat([1, 2], [900, 100]).astype("<u2").tofile(path)
    data = tokens.load(TokenData(kind="tokens", path=str(path), vocabulary=3), seed)
    assert set(torch.cat(data.batch(step, 5, context)).flatten().tolist()) == {1}
    assert set(torch.cat(data.validation(5, context)).flatten().tolist()) == {2}


def test_a_validation_file_of_its_own_leaves_the_whole_other_for_training(open_ids: Any) -> None:
    data = open_ids(np.full(40, 1), validation=np.full(30, 2))
    data.batch(0, 1, 39)
    assert set(torch.cat(data.validation(3, 20)).flatten().tolist()) == {2}
    split = data.describe()["split"]
    assert (split["train"]["tokens"], split["validation"]["tokens"]) == (40, 30)
    assert split["validation"]["file"].endswith("val.bin")


@pytest.mark.parametrize("at", [0, 1, 57, 99])
def test_an_id_outside_the_vocabulary_is_named_with_its_position(
    open_ids: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(tokens, "_SCAN", 16)
    ids = np.zeros(100)
    ids[at] = 200
    with pytest.raises(BadText, match=rf"holds the id 200 at position {at}: .* vocabulary, 200"):
        open_ids(ids)
    open_ids(ids, vocabulary=201)


def test_ids_read_by_the_wrong_type_are_noticed(open_ids: Any, tmp_path: Path) -> None:
    open_ids(np.arange(190), dtype="uint8")
    wrong = TokenData(kind="tokens", path=str(tmp_path / "train.bin"), vocabulary=200)
    with pytest.raises(BadText, match=r"holds the id 256 at position 0.*trainer.data.dtype"):
        tokens.load(wrong, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "has 0 bytes: no whole number of uint16 ids"),
        (b"abc", "has 3 bytes: no whole number of uint16 ids"),
        (b"\0\0", "has 1 tokens: too few for two parts"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "ids"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadText, match=said) as caught:
        tokens.load(TokenData(kind="tokens", path=str(path), vocabulary=9), 0)
    assert str(path) in str(caught.value)


def test_too_few_tokens_for_a_window_say_what_is_needed(open_ids: Any) -> None:
    data = open_ids(np.zeros(100))
    data.batch(0, 3, 89)
    with pytest.raises(BadText, match=r"train part has 90 tokens.*context 90 need 91"):
        data.batch(0, 1, 90)


def test_a_file_is_known_by_the_hash_of_its_bytes(open_ids: Any, tmp_path: Path) -> None:
    one = open_ids(np.arange(100))
    whole = (tmp_path / "train.bin").read_bytes()
    assert one.text_hash == hashlib.sha256(whole).hexdigest()
    assert open_ids(np.arange(100) + 1).text_hash != one.text_hash
    both = open_ids(np.arange(100), validation=np.arange(50))
    assert both.text_hash not in (one.text_hash, open_ids(np.arange(100), validation=np.arange(51)).text_hash)  # fmt: skip
    assert one.tokenizer_hash == both.tokenizer_hash
    assert one.tokenizer_hash != open_ids(np.arange(100), vocabulary=100).tokenizer_hash


@pytest.mark.parametrize("given", [None, 3.97])
def test_bytes_per_token_are_what_the_settings_say_or_unknown(
    open_ids: Any, given: float | None
) -> None:
    data = open_ids(np.arange(100), bytes_per_token=given)
    assert data.bytes_per_token("train") == data.bytes_per_token("validation") == given
