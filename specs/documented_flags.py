"""The command line of the documented EP trainer: its flags, what each is here, and how one is read.

docs/ep.md shows the table; a test holds the two together.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from specs.errors import SpecError, SpecErrors, did_you_mean, one_of, show
from specs.scalars import BadScalar, resolve


class Takes(StrEnum):
    """What follows a flag."""

    WHOLE = "a whole number"
    NUMBER = "a number"
    WORD = "a word"
    FILE = "a file"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Flag:
    """``fields``: the settings of a run that it becomes, empty where it has no counterpart.

    ``direct``: the value is taken as it stands; else specs.import_flags says what becomes of it.
    """

    takes: Takes
    fields: tuple[str, ...]
    remark: str = ""
    direct: bool = True


def _whole(field: str, remark: str = "") -> Flag:
    return Flag(takes=Takes.WHOLE, fields=(f"trainer.{field}",), remark=remark)


def _number(field: str, remark: str = "") -> Flag:
    return Flag(takes=Takes.NUMBER, fields=(f"trainer.{field}",), remark=remark)


def _word(field: str, remark: str = "") -> Flag:
    return Flag(takes=Takes.WORD, fields=(f"trainer.{field}",), remark=remark)


def _indirect(takes: Takes, *fields: str, remark: str = "") -> Flag:
    return Flag(takes=takes, fields=fields, remark=remark, direct=False)


FLAGS: Mapping[str, Flag] = {
    "mode": _indirect(
        Takes.WORD,
        "trainer.estimator",
        remark="`ep` with `--holo` 0 or 2: `ep`; with 4 or 8: `holomorphic`. `bptt`: `bptt`",
    ),
    "attn_mode": _indirect(
        Takes.WORD,
        "trainer.block",
        remark="`thick`; `real` (what the trainer takes without the flag), `energy` and `mono` are "
        "refused: they are not built",
    ),
    "B": _whole("batch"),
    "C": _whole("width"),
    "H": _whole("heads"),
    "T": _whole("context"),
    "c": _number("damping"),
    "qknorm": _indirect(Takes.NOTHING, "trainer.qk_norm", remark="absent: `false`"),
    "resinit": _number("init_scale"),
    "T1": _whole("relaxation.T1"),
    "t1max": _whole("relaxation.t1max"),
    "res_est": _number("relaxation.tolerance"),
    "holo": _indirect(
        Takes.WHOLE,
        "trainer.estimator",
        "trainer.adjoint.points",
        remark="0 and 2 are the two real phases of `ep`; 4 and 8 are `holomorphic` with so many "
        "points",
    ),
    "hr": _number("adjoint.radius", "absolute there, relative to the state here"),
    "t2sel": _indirect(
        Takes.WHOLE,
        "trainer.adjoint.max_steps",
        remark="the smallest r_adj chooses here, the smallest increment there",
    ),
    "T2": _indirect(
        Takes.WHOLE,
        "trainer.adjoint.max_steps",
        remark="steps of the plain path: it counts with `--holo 0` only",
    ),
    "track": _indirect(Takes.NOTHING, "trainer.adjoint.anchor", remark="absent: `frozen`"),
    "navg": _whole("adjoint.average", "needs `--fnoise`: else every estimate is the same"),
    "fnoise": _number("fnoise", "one realisation a step here"),
    "jacreg": _number("jacreg.weight"),
    "jr_floor": _number("jacreg.floor"),
    "jr_max": _number("jacreg.max", "equal to `--jr_floor`: frozen"),
    "res_target": _number("jacreg.target"),
    "resreg": _number("resreg"),
    "res_gate": _number("res_gate", "gates the task part only here; there the penalties too"),
    "lr": _number("optimizer.lr"),
    "warmup": _whole("optimizer.warmup"),
    "wsd": _number("optimizer.decay_fraction", "the shape is not documented; linear to 0 here"),
    "steps": _whole("steps"),
    "pema": _number("ema"),
    "init_ckpt": _indirect(
        Takes.FILE,
        "start.warm_from",
        remark="its file cannot be read here: `import-flags --warm-from CAMPAIGN/RUN` names one of "
        "your runs instead",
    ),
    "ckpt": _indirect(Takes.FILE, remark="a run keeps its checkpoints in its own directory"),
    "compile": _indirect(Takes.NOTHING, "trainer.compute.compile", remark="absent: `false`"),
    "tf32": _indirect(
        Takes.NOTHING,
        remark="the documents found it too coarse. `compute.products: 3xtf32` has "
        "float32's accuracy",
    ),
    "eps": _number("relaxation.eps", "its name there is not documented"),
    "adaptive_eps": _indirect(Takes.NOTHING, "trainer.relaxation.adaptive", remark="ours"),
    "solver": _word("relaxation.solver", "ours"),
    "objective": _word("objective", "ours"),
    "estimator": _indirect(Takes.WORD, "trainer.estimator", remark="ours; with `--mode ep`"),
    "adj_tol": _number("adjoint.tolerance", "ours"),
    "adj_every": _whole("adjoint.check_every", "ours"),
    "adj_gate": _number("adjoint.gate", "ours; absent: 1e9, for there was no such gate"),
    "precision": _word("adjoint.precision", "ours"),
    "seed": _whole("seed", "ours"),
    "data": _indirect(
        Takes.FILE, "trainer.data.path", remark="ours; read as BPE of 4,096, as the documents did"
    ),
}

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")
_DEAD = {
    "gelu": "it had no effect in the documented probe; the block is GELU in its tanh form",
    "beta": "the nudge of the plain path: give --hr, the radius relative to the state",
}


@dataclass(frozen=True, kw_only=True)
class Given:
    """A flag as it was written; ``value`` None where it takes nothing."""

    name: str
    text: str
    value: str | int | float | None = None

    @property
    def yaml(self) -> str:
        """The value as YAML; a number as it was written."""
        return as_yaml(self.value) if isinstance(self.value, str) else self.text

    @property
    def written(self) -> str:
        return f"--{self.name} {self.text}".rstrip()


def as_yaml(text: str) -> str:
    """A text as YAML, in quotes where it would be read as something else without."""
    plain = _PLAIN.fullmatch(text) is not None and resolve(text) == text
    return text if plain else json.dumps(text)


def read_flags(line: str) -> tuple[dict[str, Given], list[SpecError]]:
    """The flags of a command line; of one given twice the last, as its own reader did.

    What stands before the first flag (``python3 lt_ep_train.py``) is passed over. Raises SpecErrors
    where the line has no words.
    """
    try:
        words = shlex.split(line.replace("\\\n", " "), comments=True)
    except ValueError as error:
        wrong = SpecError(file="the command line", got=str(error), allowed="must be one line")
        raise SpecErrors([wrong]) from error
    first = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    return _read(words[first:])


def _read(words: list[str]) -> tuple[dict[str, Given], list[SpecError]]:
    given: dict[str, Given] = {}
    errors: list[SpecError] = []
    last, rest = "", list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            errors.append(_stray(word, last))
            continue
        name, equals, text = word.removeprefix("--").partition("=")
        flag, last = FLAGS.get(name), word
        if not equals and rest and not rest[0].startswith("--"):
            takes_one = flag is None or flag.takes is not Takes.NOTHING
            text, equals = (rest.pop(0), "=") if takes_one else (text, equals)
        if flag is None:
            errors.append(_unknown(name))
        elif isinstance(found := _value(name, flag, text if equals else None), SpecError):
            errors.append(found)
        else:
            given[name] = found
    return given, errors


def _value(name: str, flag: Flag, text: str | None) -> Given | SpecError:
    if flag.takes is Takes.NOTHING:
        if text is None:
            return Given(name=name, text="")
        return SpecError(file=f"--{name}", got=show(text), allowed="must stand without a value")
    if not text:
        return SpecError(
            file=f"--{name}", got="no value", allowed=f"must be followed by {flag.takes}"
        )
    if flag.takes in (Takes.WORD, Takes.FILE):
        return Given(name=name, text=shlex.quote(text), value=text)
    try:
        value = resolve(text)
    except BadScalar as error:
        return SpecError(file=f"--{name}", got=show(text), allowed=str(error))
    kinds = (int,) if flag.takes is Takes.WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return SpecError(file=f"--{name}", got=show(text), allowed=f"must be {flag.takes}")
    return Given(name=name, text=text, value=value)


def _unknown(name: str) -> SpecError:
    if name in _DEAD:
        return SpecError(
            file=f"--{name}", got="a flag without a counterpart", allowed=_DEAD[name]
        )  # fmt: skip
    known = [f"--{flag}" for flag in FLAGS]
    return SpecError(
        file=f"--{name}",
        got="an unknown flag",
        allowed=one_of(known, f"--{name}"),
        hint=did_you_mean(f"--{name}", known),
    )


def _stray(word: str, last: str) -> SpecError:
    after = f" after {last}" if last else ""
    return SpecError(
        file=word, got=f"a word{after} that belongs to no flag", allowed="leave it out"
    )
