from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specs.data import TextData, Tokenizer
from trainers.data.text import BadText, Text, default_text, load
from trainers.data.tokenizers import ByteTokenizer

SENTENCES = "".join(f"Line {n}: the quick brown fox jumps over {n * n} dogs.\n" for n in range(400))


@pytest.fixture
def load_text(tmp_path: Path) -> Any:
    def make(text: str = SENTENCES, *, seed: int = 0, **fields: Any) -> Text:
        path = tmp_path / "text.txt"
        path.write_bytes(text.encode())
        return load(TextData(path=str(path), **fields), seed, tmp_path / "cache")

    return make


def bpe(vocabulary: int = 300) -> dict[str, Any]:
    return {"tokenizer": Tokenizer.BPE, "vocabulary": vocabulary}


# ---------------------------------------------------------------- batches


def test_a_batch_is_a_pure_function_of_seed_and_step(load_text: Any) -> None:
    text = load_text()
    forwards = [text.batch(step, 4, 16) for step in range(20)]
    backwards = [load_text().batch(step, 4, 16) for step in reversed(range(20))]
    for (a, b), (c, d) in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_other_steps_and_other_seeds_have_other_batches(load_text: Any) -> None:
    batches = [load_text(seed=s).batch(step, 4, 16)[0] for s in (0, 1) for step in (0, 1)]
    for i, a in enumerate(batches):
        assert not any(torch.equal(a, b) for b in batches[:i])


def test_targets_are_the_inputs_one_position_on(load_text: Any) -> None:
    idx, y = load_text().batch(3, 5, 16)
    assert idx.shape == y.shape == (5, 16)
    assert idx.dtype == y.dtype == torch.int64
    assert torch.equal(idx[:, 1:], y[:, :-1])


def test_the_words_of_the_first_batch_never_change(load_text: Any) -> None:
    """By the definition of Philox4x64-10 with key (seed, step): numpy keeps its sequence for ever."""
    import numpy as np

    text = load_text()
    train = text._parts["train"].tokens
    first = int(np.random.Philox(key=[0, 0]).random_raw())
    start = first * (len(train) - 16) // 2**64
    idx, _ = text.batch(0, 1, 16)
    assert idx[0].tolist() == train[start : start + 16].tolist()


@given(
    step=st.integers(0, 2**40), seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 9), context=st.integers(1, 40)
)  # fmt: skip
def test_every_window_lies_in_the_training_part(
    tmp_path_factory: Any, step: int, seed: int, batch: int, context: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "marked.txt"
    path.write_text("t" * 90 + "v" * 10)
    text = load(TextData(path=str(path)), seed, path.parent)
    idx, y = text.batch(step, batch, context)
    assert set(torch.cat([idx, y]).flatten().tolist()) == {ord("t") - 32}


def test_every_window_can_be_drawn_and_all_are_about_as_likely(load_text: Any) -> None:
    text = load_text("abcdefgh" + "v" * 4, validation_fraction=1 / 3)
    idx, _ = text.batch(0, 7000, 1)
    counts = torch.bincount(idx[:, 0] - (ord("a") - 32), minlength=7)
    assert counts.tolist() == pytest.approx([1000] * 7, abs=150)  # five standard deviations


# ---------------------------------------------------------------- validation


def test_validation_is_the_last_part_and_training_never_sees_it(load_text: Any) -> None:
    text = load_text("t" * 900 + "v" * 100)
    idx, y = text.validation(8, 16)
    assert set(torch.cat([idx, y]).flatten().tolist()) == {ord("v") - 32}
    assert text.describe()["split"]["validation"]["characters"] == [900, 1000]


def test_validation_is_the_same_at_every_call_and_for_every_seed(load_text: Any) -> None:
    a, b = load_text(seed=0).validation(8, 16), load_text(seed=5).validation(8, 16)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


@pytest.mark.parametrize(("sequences", "starts"), [(1, [0]), (2, [0, 40]), (4, [0, 20, 40, 60]), (80, list(range(80)))])  # fmt: skip
def test_validation_windows_are_evenly_spaced(
    load_text: Any, sequences: int, starts: list[int]
) -> None:
    letters = "".join(chr(33 + n % 90) for n in range(90))
    text = load_text("t" * 90 + letters, validation_fraction=0.5)
    idx, _ = text.validation(sequences, 10)
    assert idx[:, 0].tolist() == [n + 1 for n in starts]


# ---------------------------------------------------------------- tokens


def test_characters_have_their_fixed_tokens(load_text: Any) -> None:
    idx, _ = load_text(" ~\n\t€aaaaa", validation_fraction=0.1).batch(0, 200, 4)
    assert set(idx.flatten().tolist()) == {0, 94, 95, 96, ord("a") - 32}
    assert load_text().vocabulary == 97


@given(st.text(max_size=60))
def test_bytes_are_their_own_tokens(content: str) -> None:
    tokenizer = ByteTokenizer()
    assert bytes(tokenizer.encode(content).tolist()) == content.encode()
    assert tokenizer.vocabulary == 256


def test_a_byte_per_token_is_one(load_text: Any) -> None:
    text = load_text("ä€" * 300 + SENTENCES, tokenizer=Tokenizer.BYTE)
    assert text.bytes_per_token("train") == text.bytes_per_token("validation") == 1.0
    assert text.vocabulary == 256


def test_every_kind_of_tokenizer_has_a_hash_of_its_own(load_text: Any) -> None:
    hashes = {load_text(**f).tokenizer_hash for f in ({}, {"tokenizer": Tokenizer.BYTE}, bpe())}
    assert len(hashes) == 3


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_fixed_vocabulary_is_not_chosen(kind: str) -> None:
    with pytest.raises(ValueError, match=f"the {kind} tokenizer has a fixed vocabulary"):
        TextData(tokenizer=kind, vocabulary=300)


def test_the_hash_of_a_tokenizer_is_that_of_its_vocabulary_alone(load_text: Any) -> None:
    other = SENTENCES.replace("fox", "cat")
    assert load_text().tokenizer_hash == load_text(other).tokenizer_hash
    assert load_text(**bpe()).tokenizer_hash != load_text(other, **bpe()).tokenizer_hash
    assert load_text(**bpe()).tokenizer_hash == load_text(**bpe()).tokenizer_hash


def test_bpe_learns_from_the_training_part_alone(load_text: Any) -> None:
    same_train = SENTENCES[: int(len(SENTENCES) * 0.9)]
    texts = [same_train + tail * (len(SENTENCES) - len(same_train)) for tail in "xy"]
    hashes = {load_text(text, validation_fraction=0.1, **bpe()).tokenizer_hash for text in texts}
    assert len(hashes) == 1


def test_bpe_tokens_spell_the_text(load_text: Any) -> None:
    text = load_text(SENTENCES + "ünïcödé € 漢字\n", **bpe())
    for name, part in text._parts.items():
        spelled = text._tokenizer._library.decode(part.tokens.tolist(), skip_special_tokens=False)
        assert spelled == (SENTENCES + "ünïcödé € 漢字\n")[part.begin : part.end], name
    assert text.vocabulary == 300


@pytest.mark.parametrize("fields", [{}, bpe()], ids=["char", "bpe"])
def test_bytes_per_token_are_the_bytes_of_a_part_over_its_tokens(
    load_text: Any, fields: dict[str, Any]
) -> None:
    text = load_text("ä" * 600 + SENTENCES, validation_fraction=0.25, **fields)
    whole = ("ä" * 600 + SENTENCES).encode()
    tokens = {name: text.describe()["split"][name]["tokens"] for name in ("train", "validation")}
    total = sum(text.bytes_per_token(name) * count for name, count in tokens.items())
    assert total == pytest.approx(len(whole))


def test_the_text_is_known_by_its_hash(load_text: Any) -> None:
    text = load_text()
    assert text.text_hash == hashlib.sha256(SENTENCES.encode()).hexdigest()
    assert text.describe()["text_sha256"] == text.text_hash


# ---------------------------------------------------------------- the cache


def cached_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_a_second_run_takes_the_tokens_from_the_cache(
    load_text: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    first = load_text(**bpe()).batch(0, 2, 8)[0]
    assert len(cached_files(tmp_path)) == 3  # the tokenizer and two parts

    def learn(*given: Any) -> bytes:
        raise AssertionError("it was learnt again")

    monkeypatch.setattr("trainers.data.tokenizers._learn", learn)
    assert torch.equal(load_text(**bpe()).batch(0, 2, 8)[0], first)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_cache_is_made_again(load_text: Any, tmp_path: Path, damage: str) -> None:
    first = load_text(**bpe())
    whole = {path: path.read_bytes() for path in cached_files(tmp_path)}
    for path, data in whole.items():
        path.write_bytes(
            {"cut": data[:-1], "flip": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[damage]
        )
    second = load_text(**bpe())
    assert second.tokenizer_hash == first.tokenizer_hash
    assert torch.equal(second.batch(0, 2, 8)[0], first.batch(0, 2, 8)[0])
    assert {path: path.read_bytes() for path in cached_files(tmp_path)} == whole


# ---------------------------------------------------------------- the default text, and bad ones


def test_the_default_text_is_pythons_own_documentation(tmp_path: Path) -> None:
    text = load(TextData(), 0, tmp_path)
    assert text.describe()["text"] == "pydoc_data.topics"
    assert text.text_hash == hashlib.sha256(default_text().encode()).hexdigest()
    assert "The \"assert\" statement" in default_text()  # fmt: skip
    assert text.describe()["split"]["train"]["tokens"] > 300_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"abc\xff", "is not UTF-8: byte 3 is 0xff"),
        (b"", "too few for two parts"),
        (b"a", "too few for two parts"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadText, match=said) as caught:
        load(TextData(path=str(path)), 0, tmp_path)
    assert str(path) in str(caught.value)
    assert "trainer.data.path" in str(caught.value)


def test_a_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadText, match="directory"):
        load(TextData(path=str(tmp_path)), 0, tmp_path)


def test_a_text_that_is_too_short_says_what_is_needed(load_text: Any) -> None:
    text = load_text("t" * 90 + "v" * 10)
    text.batch(0, 100, 89)
    with pytest.raises(BadText, match=r"train part has 90 tokens.*context 90 need 91"):
        text.batch(0, 1, 90)
    text.validation(2, 8)
    with pytest.raises(
        BadText, match=r"validation part has 10 tokens.*3 window.*context 8 need 11"
    ):
        text.validation(3, 8)
