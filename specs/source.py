"""Reading a campaign file: an ordinary, small, readable UTF-8 file and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from specs.compose import compose
from specs.errors import SpecError, SpecErrors, did_you_mean
from specs.scalars import bad_character
from specs.tree import Leaf, Node, Table

MOST_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """The text of a campaign file. Raises SpecErrors, whatever is the matter with the file."""
    return decode(_read_bytes(path), str(path))


def decode(data: bytes, source: str) -> str:
    """UTF-8 without characters that no text needs; a byte-order mark is dropped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        raise _in_text(
            source, before, got=f"the byte 0x{data[error.start]:02x}", allowed="must be UTF-8 text"
        ) from error
    text = text.replace("\r\n", "\n")
    if bad := bad_character(text):
        index, name = bad
        raise _in_text(source, text[:index], got=name, allowed="must be printable text")
    return text


def read_tree(text: str, source: str) -> tuple[Table, tuple[SpecError, ...]]:
    """The file as a tree, with the errors that still left a tree.

    Raises SpecErrors where there is none.
    """
    if len(text.encode()) > MOST_BYTES:
        raise _too_long(source)
    composed = compose(text, source)
    root = composed.root
    if root is None or (isinstance(root, Leaf) and root.value is None and not composed.errors):
        raise SpecErrors(
            [
                SpecError(
                    file=source,
                    line=1,
                    column=1,
                    got="a file without content",
                    allowed="must hold at least `campaign:` and `runs:`",
                )
            ]
        )
    if not isinstance(root, Table):
        wrong = SpecError(
            file=source,
            line=root.place.line,
            column=root.place.column,
            got="a list" if not isinstance(root, Leaf) else "a single value",
            allowed="must be a map with `campaign:` and `runs:`",
        )
        raise SpecErrors([*composed.errors, wrong])
    return root, composed.errors


def read_option(text: str, source: str, path: tuple[str | int, ...]) -> Node:
    """The value of an option such as ``--set``, read as YAML. Raises SpecErrors."""
    if bad := bad_character(text):
        raise SpecErrors([SpecError(file=source, got=bad[1], allowed="must be printable text")])
    composed = compose(text, source, path=path)
    if composed.root is None:
        raise SpecErrors(
            [
                SpecError(
                    file=source,
                    got="no value",
                    allowed="must have a value after the =",
                    hint="an empty text is written '', nothing is written null",
                )
            ]
        )
    if composed.errors:
        raise SpecErrors(composed.errors)
    return composed.root


def _read_bytes(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for a writer
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SpecErrors([_cannot_open(path, error)]) from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise SpecErrors([_no_file(path, mode)])
        data = bytearray()
        while len(data) <= MOST_BYTES and (chunk := os.read(fd, MOST_BYTES + 1 - len(data))):
            data += chunk
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        raise _too_long(str(path))
    return bytes(data)


def _cannot_open(path: Path, error: OSError | ValueError) -> SpecError:
    if isinstance(error, FileNotFoundError):
        return SpecError(
            file=str(path),
            got="no such file",
            allowed="must be the path of a campaign file",
            hint=did_you_mean(path.name, _neighbours(path)),
        )
    why = error.strerror if isinstance(error, OSError) else str(error)
    hint = "check its permissions" if isinstance(error, PermissionError) else ""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        why = "a socket or a device without a driver"
    return SpecError(
        file=str(path), got=f"a file that cannot be opened ({why})", allowed="must be readable",
        hint=hint,
    )  # fmt: skip


def _neighbours(path: Path) -> list[str]:
    try:
        return sorted(p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    except OSError:
        return []  # the folder is missing too: there is nothing to suggest


def _no_file(path: Path, mode: int) -> SpecError:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
        stat.S_IFSOCK: "a socket",
    }
    got = kinds.get(stat.S_IFMT(mode), "something else than a file")
    hint = ""
    if stat.S_ISDIR(mode):
        inside = _neighbours(path / "any")
        hint = f"it holds {', '.join(inside[:5])}" if inside else ""
    return SpecError(file=str(path), got=got, allowed="must be an ordinary file", hint=hint)


def _too_long(source: str) -> SpecErrors:
    return SpecErrors(
        [
            SpecError(
                file=source,
                got=f"more than {MOST_BYTES} bytes",
                allowed="must be at most 1 MiB",
                hint="a campaign file holds settings; data belongs into files of its own",
            )
        ]
    )


def _in_text(source: str, before: str, *, got: str, allowed: str) -> SpecErrors:
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return SpecErrors([SpecError(file=source, line=line, column=column, got=got, allowed=allowed)])
