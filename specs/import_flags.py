"""A command line of the documented EP trainer as a campaign file.

Whatever cannot be carried over is told: what would change the training is an error, what would not
is a comment at the head of the file. The result is loaded before it is handed out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from specs.documented_flags import FLAGS, Given, as_yaml, read_flags
from specs.errors import SpecError, SpecErrors, did_you_mean, one_of, show
from specs.load import load_text
from specs.trainer_ep import OLDER_BLOCKS, Estimator, older_block

Value = str | int | float | bool

_TWINS = ("bptt", "bptt_tail")
_NO_GATE = "1e9"
_RULES = """\
    resources: {gpus: 1, cpus: 2}
    watch:
      - {name: blow_up, rule: divergence, metric: val/ce, above_best_by: 0.5, for_points: 2, action: kill}
      - {name: not_finite, rule: non_finite, action: kill}
      - {name: silent, rule: silence, for_seconds: 10m, action: alert}
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of the result: YAML text at a dotted path, and the flags that it comes from."""

    path: str
    text: str
    flags: tuple[str, ...] = ()
    remark: str = ""


@dataclass(kw_only=True)
class _Draft:
    settings: list[Setting] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[SpecError] = field(default_factory=list)

    def put(self, path: str, text: str, *flags: Given, remark: str = "") -> None:
        names = tuple(flag.written for flag in flags)
        self.settings.append(Setting(path=path, text=text, flags=names, remark=remark))

    def blame(self, flag: str, *, got: str, allowed: str, hint: str = "") -> None:
        self.errors.append(SpecError(file=flag, got=got, allowed=allowed, hint=hint))


def import_flags(line: str, *, name: str = "imported", warm_from: str | None = None) -> str:
    """The YAML of a campaign ``name`` with one run of that name.

    ``warm_from``: ``CAMPAIGN/RUN`` in the place of the file of --init_ckpt. Raises SpecErrors with
    everything that is wrong, each error under its flag.
    """
    given, errors = read_flags(line)
    draft = _Draft(errors=errors)
    if not given and not errors:
        draft.blame("the command line", got="no flag", allowed="must have at least --mode ep")
        raise SpecErrors(draft.errors)
    _block(draft, given)
    _estimator(draft, given)
    _others(draft, given)
    _start(draft, given, warm_from)
    text = _written(line, name, draft, given)
    if wrong := [*draft.errors, *_wrong_in(text, name, draft.settings)]:
        raise SpecErrors(wrong)
    return text


def _block(draft: _Draft, given: Mapping[str, Given]) -> None:
    flag = given.get("attn_mode")
    if flag is None:
        draft.blame(
            "--attn_mode",
            got="nothing",
            allowed="without it the documented trainer takes `real`, which is not built: "
            "say --attn_mode thick",
        )
    elif flag.value in OLDER_BLOCKS:
        draft.blame(flag.written, got="an older block", allowed=older_block(str(flag.value)))
    elif flag.value != "thick":
        draft.blame(
            flag.written,
            got="an unknown block",
            allowed="must be thick",
            hint=did_you_mean(flag.value, ["thick"]),
        )
    else:
        draft.put("trainer.block", "thick", flag)


def _estimator(draft: _Draft, given: Mapping[str, Given]) -> None:
    """What --mode, --holo and --estimator say together, and what the phases take."""
    mode, holo, own = (given.get(name) for name in ("mode", "holo", "estimator"))
    points = 0 if holo is None else holo.value
    if points not in (0, 2, 4, 8):
        draft.blame(f"--holo {points}", got=show(points), allowed="must be 0, 2, 4 or 8")
        return
    if mode is None or mode.value not in ("ep", "bptt"):
        known = ["ep", "bptt"]
        draft.blame(
            "--mode",
            got="nothing" if mode is None else show(mode.value),
            allowed=one_of(known),
            hint="" if mode is None else did_you_mean(mode.value, known),
        )
        return
    chosen = _chosen(str(mode.value), points, own)
    if chosen not in set(Estimator) or (mode.value == "bptt") != (chosen in _TWINS):
        allowed = [e for e in Estimator if (e in _TWINS) == (mode.value == "bptt")]
        draft.blame(
            f"--estimator {chosen}",
            got=f"an estimator that is not one of --mode {mode.value}",
            allowed=one_of(allowed),
            hint=did_you_mean(chosen, allowed),
        )
        return
    draft.put("trainer.estimator", chosen, *(flag for flag in (mode, holo, own) if flag))
    _phases(draft, given, chosen, points)


def _chosen(mode: str, points: Value, own: Given | None) -> str:
    if own is not None:
        return str(own.value)
    if mode == "bptt":
        return "bptt"
    return "holomorphic" if points in (4, 8) else "ep"


def _phases(draft: _Draft, given: Mapping[str, Given], chosen: str, points: Value) -> None:
    holo, track = given.get("holo"), given.get("track")
    if chosen == "holomorphic" and holo is not None:
        draft.put("trainer.adjoint.points", str(max(int(points), 2)), holo)
    if chosen in ("ep", "holomorphic"):
        anchor = "frozen" if track is None else "track"
        draft.put("trainer.adjoint.anchor", anchor, *filter(None, [track]))
    elif track is not None:
        draft.notes.append(f"--track: {chosen} has no phases, and so no anchor")
    used, unused = ("T2", "t2sel") if points == 0 and chosen == "ep" else ("t2sel", "T2")
    if used in given:
        draft.put("trainer.adjoint.max_steps", given[used].text, given[used])
    if unused in given:
        _unused_steps(draft, given[unused])
    if "adj_gate" not in given:
        draft.put(
            "trainer.adjoint.gate",
            _NO_GATE,
            remark="its gradient was used however badly the adjoint had converged",
        )


def _unused_steps(draft: _Draft, flag: Given) -> None:
    """Steps of the path that is not taken: a remark, unless no path could take them."""
    if isinstance(flag.value, int) and flag.value < 1:
        draft.blame(flag.written, got=show(flag.value), allowed="must be at least 1")
        return
    path = "the plain path, --holo 0" if flag.name == "T2" else "the path with --holo 2 and more"
    draft.notes.append(f"{flag.written}: it belongs to {path}, which is not taken here")


def _others(draft: _Draft, given: Mapping[str, Given]) -> None:
    for name, flag in FLAGS.items():
        if flag.direct and name in given:
            draft.put(flag.fields[0], given[name].yaml, given[name])
    for name, path, text in (
        ("qknorm", "trainer.qk_norm", "true"),
        ("compile", "trainer.compute.compile", "true"),
        ("adaptive_eps", "trainer.relaxation.adaptive", "true"),
    ):
        if name in given:
            draft.put(path, text, given[name])
    if "qknorm" not in given:
        draft.put("trainer.qk_norm", "false", remark="no --qknorm")
    draft.put("trainer.hinge.ratio", "0", remark="it had no hinge")
    for name in ("tf32", "ckpt"):
        if name in given:
            draft.notes.append(f"{given[name].written}: left out. {FLAGS[name].remark}")
    for name in ("hr", "res_gate"):
        if name in given and given[name].value:
            draft.notes.append(f"{given[name].written}: {FLAGS[name].remark}")
    _data(draft, given.get("data"))


def _data(draft: _Draft, flag: Given | None) -> None:
    if flag is None:
        draft.notes.append(
            "the text: the documents trained on TinyStories as BPE of 4,096. Without --data FILE it "
            "is the default text here, by characters"
        )
        return
    draft.put("trainer.data.path", flag.yaml, flag)
    draft.put("trainer.data.tokenizer", "bpe")
    draft.put("trainer.data.vocabulary", "4096")


def _start(draft: _Draft, given: Mapping[str, Given], warm_from: str | None) -> None:
    flag = given.get("init_ckpt")
    if warm_from is None:
        if flag is not None:
            draft.blame(
                flag.written,
                got="a checkpoint of the documented trainer",
                allowed="it cannot be read here: name one of your runs, import-flags --warm-from "
                "CAMPAIGN/RUN, or leave the flag out to start from scratch",
            )
        return
    campaign, slash, run = warm_from.partition("/")
    if not (campaign and slash and run):
        draft.blame(f"--warm-from {warm_from}", got=show(warm_from), allowed="must be CAMPAIGN/RUN")
        return
    for key, text in (("run", run), ("campaign", campaign)):
        path = f"start.warm_from.{key}"
        flags = (f"--warm-from {warm_from}",)
        draft.settings.append(Setting(path=path, text=as_yaml(text), flags=flags))


def _wrong_in(text: str, name: str, settings: Sequence[Setting]) -> list[SpecError]:
    """What keeps the result from being loaded, each under the flag that gave the value."""
    try:
        load_text(text, name="the result", base=Path("/"))
    except SpecErrors as wrong:
        return [_under_its_flag(error, name, settings) for error in wrong.errors]
    return []


def _under_its_flag(error: SpecError, name: str, settings: Sequence[Setting]) -> SpecError:
    if error.where in ("campaign", f"runs.{name}"):
        flag: str | None = f"--name {name}"
    else:
        path = error.where.removeprefix(f"runs.{name}.")
        flag = next((" ".join(s.flags) for s in settings if s.path == path and s.flags), None)
    if flag is None:
        return error
    return replace(error, file=flag, line=None, column=None, where="")


def _written(line: str, name: str, draft: _Draft, given: Mapping[str, Given]) -> str:
    absent = [
        f"--{flag}" for flag, known in FLAGS.items()
        if known.direct and flag not in given and not known.remark.startswith("ours")
    ]  # fmt: skip
    notes = [*draft.notes]
    if absent:
        notes.append(f"not given, so our own defaults hold: {' '.join(absent)}")
    head = ["This line of the documented trainer:", *_wrapped(" ".join(line.split()), "    ")]
    for note in notes:
        head += _wrapped(note, "  ", first="- ")
    top = as_yaml(name)
    return (
        "\n".join(f"# {part}".rstrip() for part in head)
        + f"\nschema_version: 1\ncampaign: {top}\nruns:\n  {top}:\n"
        + "\n".join(_lines(draft.settings))
        + f"\n{_RULES}"
    )


def _wrapped(text: str, indent: str, *, first: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width=96,
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(settings: Sequence[Setting]) -> list[str]:
    """The settings as nested YAML maps, in the order of their first line."""
    kind = Setting(path="trainer.kind", text="ep")
    tree: dict[str, object] = {}
    for setting in (kind, *settings):
        *sections, last = setting.path.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})  # type: ignore[assignment]
        table[last] = setting
    return _nested(tree, "    ")


def _nested(tree: Mapping[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for key, below in tree.items():
        if isinstance(below, Setting):
            told = " ".join((below.remark or " ".join(below.flags)).split())
            line = f"{indent}{key}: {below.text}"
            lines.append(f"{line:<40}  # {told}" if told else line)
        elif isinstance(below, dict):
            lines += [f"{indent}{key}:", *_nested(below, f"{indent}  ")]
    return lines
