"""What a campaign needs of this machine: directories, programs and texts that it names.

A campaign may be right and yet not run here, so these checks are apart from ``specs.load``.
"""

from __future__ import annotations

import codecs
import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from specs.data import TextData, TokenData
from specs.errors import Place, SpecError, at, gather, show
from specs.run import CampaignSpec
from specs.trainer_command import CommandTrainer
from specs.trainer_ep import EpTrainer
from specs.trainer_hope import HopeTrainer
from specs.tree import Items, Table

_PROBED_BYTES = 65_536
_WIDEST_CHARACTER = 4


def check_here(
    spec: CampaignSpec,
    runs: Mapping[str, Table] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> tuple[SpecError, ...]:
    """What is missing here; ``runs`` (of Loaded) gives the lines, ``environ`` the search path."""
    environ = os.environ if environ is None else environ
    found = []
    for name, run in spec.runs.items():
        tree = (runs or {}).get(name, Table(place=Place(source=f"run {name}")))
        if isinstance(run.trainer, CommandTrainer):
            errors = _command(run.trainer, tree, environ)
        elif isinstance(run.trainer, HopeTrainer):
            errors = _clips(run.trainer, tree)
        else:
            errors = _data(run.trainer, tree)
        found += [(name, error) for error in errors]
    return gather(found, spec.runs)


def _command(
    trainer: CommandTrainer, tree: Table, environ: Mapping[str, str]
) -> Iterator[SpecError]:
    cwd = Path(trainer.cwd) if trainer.cwd is not None else Path.cwd()
    if trainer.cwd is not None and not cwd.is_dir():
        got = "a path that is no directory" if cwd.exists() else "no such directory"
        yield at(
            _place(tree, "trainer", "cwd"),
            got=f"{got}: {show(trainer.cwd)}",
            allowed="must be a directory on this machine",
        )
        return
    program = trainer.argv[0]
    path = {**environ, **trainer.env}.get("PATH", os.defpath)
    if _executable(program, cwd, path):
        return
    there = os.sep in program and (cwd / program).is_file()
    yield at(
        _place(tree, "trainer", "argv", 0),
        got=f"a file that is not executable: {show(program)}" if there else show(program),
        allowed="must be an executable program on this machine",
        hint=f"chmod +x {cwd / program}"
        if there
        else f"looked in {_looked_in(program, cwd, path)}",
    )


def _executable(program: str, cwd: Path, path: str) -> bool:
    if os.sep in program:
        file = cwd / program
        return file.is_file() and os.access(file, os.X_OK)
    # a relative entry of PATH is meant from the directory that the program starts in
    folders = os.pathsep.join(str(cwd / folder) for folder in path.split(os.pathsep))
    return shutil.which(program, path=folders) is not None


def _looked_in(program: str, cwd: Path, path: str) -> str:
    return str(cwd) if os.sep in program else f"PATH: {path}"


def _clips(trainer: HopeTrainer, tree: Table) -> Iterator[SpecError]:
    """A folder of clips; the trainer looks into it."""
    path = trainer.data.path
    if path is not None and not Path(path).is_dir():
        yield at(
            _place(tree, "trainer", "data", "path"),
            got=f"no such directory: {show(path)}",
            allowed="must be a folder of clips on this machine",
            hint="give it with --set defaults.trainer.data.path=DIR",
        )


def _data(trainer: EpTrainer, tree: Table) -> Iterator[SpecError]:
    data, tokens = trainer.data, trainer.context + 1
    fraction = min(data.validation_fraction, 1 - data.validation_fraction)
    needed = math.ceil(tokens / fraction)
    if isinstance(data, TextData):
        yield from _text(data, needed, tree)
    elif data.validation_path is None:
        yield from _ids(data.path, data, needed, _place(tree, "trainer", "data", "path"))
    else:
        yield from _ids(data.path, data, tokens, _place(tree, "trainer", "data", "path"))
        place = _place(tree, "trainer", "data", "validation_path")
        yield from _ids(data.validation_path, data, tokens, place)


def _ids(path: str, data: TokenData, needed: int, place: Place) -> Iterator[SpecError]:
    """A file of at least ``needed`` token ids; the trainer reads them and compares each with the vocabulary."""
    width = int(data.dtype.removeprefix("uint")) // 8
    try:
        _head(Path(path), 1)
        size = Path(path).stat().st_size
    except OSError as error:
        yield at(
            place,
            got=f"a token file that cannot be read ({error.strerror}): {show(path)}",
            allowed=f"must be a file of {data.dtype} ids on this machine",
            hint="give it with --set defaults.trainer.data.path=FILE",
        )
        return
    if size % width:
        yield at(
            place,
            got=f"a file of {size} bytes",
            allowed=f"must be a whole number of {data.dtype} ids, of {width} bytes each",
            hint="is trainer.data.dtype that of the file?",
        )
    elif size // width < needed:
        yield at(
            place,
            got=f"a file of {size // width} tokens",
            allowed=f"must have at least {needed}: training and validation need context + 1 each",
        )


def _text(given: TextData, needed: int, tree: Table) -> Iterator[SpecError]:
    if given.path is None:
        return
    place = _place(tree, "trainer", "data", "path")
    try:
        data = _head(Path(given.path), max(_PROBED_BYTES, _WIDEST_CHARACTER * needed))
    except OSError as error:
        yield at(
            place,
            got=f"a text that cannot be read ({error.strerror}): {show(given.path)}",
            allowed="must be a UTF-8 file on this machine",
            hint="give it with --set defaults.trainer.data.path=FILE",
        )
        return
    try:
        # the last character read may be cut in two, which is no fault of the file
        characters = len(codecs.getincrementaldecoder("utf-8")().decode(data))
    except UnicodeDecodeError as error:
        yield at(
            place,
            got=f"a file with the byte 0x{data[error.start]:02x} at {error.start}",
            allowed="must be UTF-8 text",
        )
        return
    if characters < needed:
        yield at(
            place,
            got=f"a text of {characters} characters",
            allowed=f"must have at least {needed}: both parts of the split need context + 1",
        )


def _head(path: Path, most: int) -> bytes:
    """The first bytes of an ordinary file. Raises OSError, also for what would never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not an ordinary file")
    with path.open("rb") as file:
        return file.read(most)


def _place(tree: Table, *path: str | int) -> Place:
    """Where the value at a path was written, or what is nearest to it."""
    place, node = tree.place, tree.get()
    for step in path:
        if isinstance(node, Table) and step in node.entries:
            node = node.entries[str(step)].value
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
        place = node.place
    return place
