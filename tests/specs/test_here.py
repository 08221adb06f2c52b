"""What a campaign needs of the machine. (Bad inputs 36, 45, and the text of a run.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specs.errors import SpecError, SpecErrors
from specs.here import check_here
from specs.load import load_text


def checked(text: str, base: Path, **environ: str) -> tuple[SpecError, ...]:
    loaded = load_text(text, name="c.yaml", base=base)
    return check_here(loaded.spec, loaded.runs, environ={"PATH": "/usr/bin:/bin", **environ})


def command(argv: str, more: str = "") -> str:
    return (
        f"campaign: a\nruns:\n  r:\n    trainer:\n      kind: command\n      argv: {argv}\n{more}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "tool").chmod(0o755)
    (tmp_path / "notes").write_text("x")
    (tmp_path / "notes").chmod(0o644)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "more", "line", "column", "got", "hint"),
    [
        ("[no-such-program-here]", "", 6, 14, "'no-such-program-here'", "looked in PATH"),
        ("[bin/none]", "", 6, 14, "'bin/none'", "looked in"),
        ("[./notes]", "", 6, 14, "a file that is not executable: './notes'", "chmod +x"),
        ("[./bin]", "", 6, 14, "'./bin'", "looked in"),
        ("[sh]", "      env: {PATH: /nowhere}\n", 6, 14, "'sh'", "looked in PATH: /nowhere"),
        ("[sh]", "      cwd: missing\n", 7, 12, "no such directory", ""),
        ("[sh]", "      cwd: notes\n", 7, 12, "a path that is no directory", ""),
    ],
)
def test_a_command_that_cannot_start_here_is_named_with_its_line(
    folder: Path, argv: str, more: str, line: int, column: int, got: str, hint: str
) -> None:
    (error,) = checked(command(argv, more), folder)
    assert (error.line, error.column) == (line, column)
    assert error.got.startswith(got)
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("argv", "more"),
    [
        ("[sh, -c, exit]", ""),
        ("[/bin/sh]", ""),
        ("[bin/tool]", ""),
        ("[./tool]", "      cwd: bin\n"),
        ("[tool]", "      env: {PATH: bin}\n"),
    ],
)
def test_a_command_that_can_start_here_passes(folder: Path, argv: str, more: str) -> None:
    assert checked(command(argv, more), folder) == ()


def ep(more: str) -> str:
    return (
        "campaign: a\ndefaults:\n  trainer:\n    kind: ep\n    context: 31\n"
        f"    data: {{path: text, {more}}}\nruns: {{a: {{}}, b: {{}}}}\n"
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "a text that cannot be read (No such file or directory)"),
        (b"x" * 319, "a text of 319 characters"),
        ("é".encode() * 319, "a text of 319 characters"),
        (b"x" * 400 + b"\xff" + b"x" * 400, "a file with the byte 0xff at 400"),
        (b"", "a text of 0 characters"),
    ],
)
def test_a_text_that_cannot_be_trained_on_is_named_once_with_its_line(
    tmp_path: Path, content: bytes | None, got: str
) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    (error,) = checked(ep("validation_fraction: 0.1"), tmp_path)
    assert (error.line, error.column, error.where) == (6, 18, "defaults.trainer.data.path")
    assert error.got.startswith(got)
    assert error.hint.endswith("it reaches every run") or error.hint.endswith(
        "(it reaches every run)"
    )


def test_both_parts_of_the_split_must_hold_one_context_and_the_next_token(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"x" * 320)
    assert checked(ep("validation_fraction: 0.1"), tmp_path) == ()
    assert len(checked(ep("validation_fraction: 0.05"), tmp_path)) == 1
    assert checked(ep("validation_fraction: 0.5"), tmp_path) == ()


def test_a_long_text_is_only_looked_into(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("é".encode() * 100_000)
    assert checked(ep("validation_fraction: 0.1"), tmp_path) == ()


def test_wide_characters_count_as_one_each(tmp_path: Path) -> None:
    text = ep("validation_fraction: 0.1").replace("context: 31", "context: 65535")
    (tmp_path / "text").write_bytes("é".encode() * 655_360)
    assert checked(text, tmp_path) == ()
    (tmp_path / "text").write_bytes("é".encode() * 655_359)
    assert len(checked(text, tmp_path)) == 1


def test_what_never_ends_is_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "text")
    (error,) = checked(ep("validation_fraction: 0.1"), tmp_path)
    assert "not an ordinary file" in error.got


def test_relative_paths_are_meant_from_where_submit_was_called(tmp_path: Path) -> None:
    text = (
        "campaign: a\nruns:\n  r: {trainer: {kind: ep, data: {path: ../t}}}\n"
        "  p: {trainer: {kind: command, argv: [x]}, watch: ["
        "{rule: non_finite, action: rollback, set: {trainer.cwd: u}}]}\n"
    )
    runs = load_text(text, base=tmp_path / "x").spec.runs
    path = runs["r"].trainer.model_dump()["data"]["path"]
    assert Path(path).resolve() == tmp_path.resolve() / "t"
    assert runs["p"].watch[0].set == {"trainer.cwd": str(tmp_path / "x" / "u")}


@pytest.mark.parametrize("target", ["defaults", "r"])
def test_so_are_those_of_set_so_that_a_run_goes_on_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    text = "campaign: a\nruns: {r: {trainer: {kind: ep, data: {path: other}}}}\n"
    monkeypatch.chdir(tmp_path)
    runs = load_text(text, sets=[f"{target}.trainer.data.path=t.txt"]).spec.runs
    assert runs["r"].trainer.model_dump()["data"]["path"] == str(tmp_path / "t.txt")


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    text = "campaign: a\nruns: {r: {trainer: {kind: ep, data: {path: ~/t}}}}\n"
    assert load_text(text).spec.runs["r"].trainer.model_dump()["data"]["path"] == "/somewhere/t"


def test_without_the_file_errors_name_the_run() -> None:
    loaded = load_text(command("[no-such-program-here]"))
    (error,) = check_here(loaded.spec, environ={"PATH": "/usr/bin:/bin"})
    assert error.file == "run r"
    assert "no-such-program-here" in error.render()


def ids(more: str = "") -> str:
    return (
        "campaign: a\ndefaults:\n  trainer:\n    kind: ep\n    context: 31\n"
        f"    data: {{kind: tokens, path: ids, vocabulary: 300, {more}}}\nruns: {{a: {{}}, b: {{}}}}\n"
    )


@pytest.mark.parametrize(
    ("size", "more", "got"),
    [
        (None, "", "a token file that cannot be read (No such file or directory)"),
        (639, "", "a file of 639 bytes"),
        (638, "", "a file of 319 tokens"),
        (0, "", "a file of 0 tokens"),
        (1276, "dtype: uint32", "a file of 319 tokens"),
        (62, "validation_path: ids", "a file of 31 tokens"),
    ],
)
def test_a_token_file_that_cannot_be_trained_on_is_named(
    tmp_path: Path, size: int | None, more: str, got: str
) -> None:
    if size is not None:
        (tmp_path / "ids").write_bytes(bytes(size))
    errors = checked(ids(more), tmp_path)
    assert errors[0].where == "defaults.trainer.data.path"
    assert all(error.got.startswith(got) for error in errors)


@pytest.mark.parametrize(("size", "more"), [(640, ""), (64, "validation_path: ids")])
def test_a_token_file_that_is_long_enough_passes(tmp_path: Path, size: int, more: str) -> None:
    (tmp_path / "ids").write_bytes(bytes(size))
    assert checked(ids(more), tmp_path) == ()


def test_a_missing_validation_file_is_named_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(bytes(64))
    (error,) = checked(ids("validation_path: none"), tmp_path)
    assert error.where == "defaults.trainer.data.validation_path"
    assert error.got.startswith("a token file that cannot be read")


def test_ids_that_the_type_cannot_hold_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match="uint8 holds ids below 256, the vocabulary has 300"):
        load_text(ids("dtype: uint8"), base=tmp_path)
