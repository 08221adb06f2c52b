"""A campaign file is an ordinary, small, readable UTF-8 file. (Bad inputs 1-6, 14, 16.)"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from specs.errors import SpecErrors
from specs.load import load
from specs.source import MOST_BYTES

GOOD = "campaign: a\nruns: {r: {trainer: {kind: ep}}}\n"


def _missing(folder: Path) -> Path:
    return folder / "none.yaml"


def _missing_folder(folder: Path) -> Path:
    return folder / "no" / "such" / "c.yaml"


def _below_a_file(folder: Path) -> Path:
    (folder / "f").write_text("x")
    return folder / "f" / "c.yaml"


def _directory(folder: Path) -> Path:
    return folder


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def _endless(_: Path) -> Path:
    return Path("/dev/zero")


def _long_name(folder: Path) -> Path:
    return folder / ("x" * 5000)


def _nul_in_name(folder: Path) -> Path:
    return folder / "a\0b"


def _socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as unix:
        os.chdir(folder)
        unix.bind("s")
    return folder / "s"


def _loop(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (_missing, "no such file"),
        (_missing_folder, "no such file"),
        (_below_a_file, "a file that cannot be opened (Not a directory)"),
        (_directory, "a directory"),
        (_fifo, "a FIFO"),
        (_endless, "a character device"),
        (_long_name, "a file that cannot be opened (File name too long)"),
        (_nul_in_name, "a file that cannot be opened (embedded null byte)"),
        (_socket, "a file that cannot be opened"),
        (_loop, "a file that cannot be opened (Too many levels of symbolic links)"),
    ],
)
def test_what_is_no_ordinary_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], got: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    with pytest.raises(SpecErrors) as caught:
        load(path)
    (error,) = caught.value.errors
    assert error.got.startswith(got)
    assert (error.file, error.line) == (str(path), None)
    assert caught.value.exit_code == 3


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # tests may run as root, who may read everything
    with pytest.raises(SpecErrors) as caught:
        load(tmp_path / "c.yaml")
    assert "Permission denied" in caught.value.errors[0].got


def test_a_slip_in_the_file_name_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "ep_resreg.yaml").write_text(GOOD)
    with pytest.raises(SpecErrors) as caught:
        load(tmp_path / "ep_resrg.yaml")
    assert caught.value.errors[0].hint == "did you mean `ep_resreg.yaml`?"


def test_a_directory_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    with pytest.raises(SpecErrors) as caught:
        load(tmp_path)
    assert caught.value.errors[0].hint == "it holds c.yaml"


@pytest.mark.parametrize(
    ("data", "line", "column", "got"),
    [
        (b"", 1, 1, "a file without content"),
        (b"# nothing\n\n  # more\n", 1, 1, "a file without content"),
        (b"---\n", 1, 1, "a file without content"),
        (b"- a\n", 1, 1, "a list"),
        (b"\n  word\n", 2, 3, "a single value"),
        (b"campaign: a\nruns: \xff\n", 2, 7, "the byte 0xff"),
        ("campaign: żó".encode() + b"\xc5", 1, 13, "the byte 0xc5"),
        (b"campaign: a\nruns:\n\tr: 1\n", 3, 1, "a tab"),
        (b"campaign: a\nruns:\n  \tr: 1\n", 3, 3, "a tab"),
        (b"campaign: a\n#\0\nruns: {}\n", 2, 2, "a NUL character"),
        (b"campaign: a\x1b[31m\n", 1, 12, "the control character U+001B"),
        (b"campaign: a\n#\x0c\n", 2, 2, "the control character U+000C"),
    ],
)
def test_a_file_that_is_no_text_map_is_refused_with_its_line(
    tmp_path: Path, data: bytes, line: int, column: int, got: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(SpecErrors) as caught:
        load(path)
    (error,) = caught.value.errors
    assert (error.line, error.column, error.got) == (line, column, got)


def test_one_mebibyte_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    padding = "#" + "x" * (MOST_BYTES - len(GOOD) - 2) + "\n"
    path.write_text(GOOD + padding)
    assert path.stat().st_size == MOST_BYTES
    assert load(path).spec.campaign == "a"
    path.write_text(GOOD + padding + "#")
    with pytest.raises(SpecErrors) as caught:
        load(path)
    assert caught.value.errors[0].got == f"more than {MOST_BYTES} bytes"


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()]
)
def test_byte_order_marks_and_crlf_lines_are_welcome(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    assert load(path).spec.campaign == "a"
