"""Rules whose metric no line has brought: without a word of this their silence would look like health.

Pure. A rule is told of once in an attempt: early, where a program may write anything and so a slip in
the name is likely; else at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from specs.errors import did_you_mean
from specs.files import MetricLine
from specs.watch import Rule, Silence, rule_name
from watchers.findings import Finding, Kind
from watchers.verdict import Decision
from watchers.window import Window

MANY_LINES = 20
"""Lines without a metric after which it is missed while the attempt still runs."""

_MACHINE = "system/"  # sampled beside the training by a clock: they say nothing of what it writes
_NAMES = 12


@dataclass(frozen=True, kw_only=True)
class Unheard:
    """``rules``: all that need lines; ``waiting``: of these, whose metric has not come and that nobody
    was told of; ``lines``: those so far with a metric of the training itself. ``impatient``: no metric
    is declared, so rules are missed before the attempt ends.
    """

    rules: tuple[Rule, ...] = ()
    waiting: tuple[Rule, ...] = ()
    lines: int = 0
    impatient: bool = False


Told = tuple[Unheard, list[Finding]]


def listens_to(rule: Rule) -> str | None:
    """The one metric without which a rule judges nothing; None for a rule that needs none."""
    metric: str | None = getattr(rule, "metric", None)
    return metric


def expect(rules: Iterable[Rule], *, impatient: bool) -> Unheard:
    """Before the first line."""
    needing = tuple(rule for rule in rules if not isinstance(rule, Silence))
    waiting = tuple(rule for rule in needing if listens_to(rule) is not None)
    return Unheard(rules=needing, waiting=waiting, impatient=impatient)


def hear(unheard: Unheard, line: MetricLine, window: Window) -> Told:
    """One more line; ``window`` holds it already."""
    if all(name.startswith(_MACHINE) for name in line.metrics):
        return unheard, []
    unheard = replace(unheard, lines=unheard.lines + 1)
    if not unheard.impatient or not unheard.waiting:
        return unheard, []
    silent = _silent(unheard, window)
    missed = _missed(unheard, silent, window)
    left = tuple(rule for rule in silent if rule not in missed)
    alerts = [_of_rule(rule, unheard, window, "watches nothing so far") for rule in missed]
    return replace(unheard, waiting=left), alerts


def at_end(unheard: Unheard, window: Window, *, succeeded: bool) -> list[Finding]:
    """After the last line. Without ``succeeded`` a rule may have had no time: it is told of only where
    it would have been missed in a running attempt.
    """
    if succeeded and not unheard.lines and unheard.rules:
        return [_of_nothing_written(unheard.rules)]
    silent = _silent(unheard, window)
    missed = silent if succeeded else _missed(unheard, silent, window)
    return [_of_rule(rule, unheard, window, "watched nothing") for rule in missed]


def _silent(unheard: Unheard, window: Window) -> tuple[Rule, ...]:
    return tuple(rule for rule in unheard.waiting if listens_to(rule) not in window.latest)


def _missed(unheard: Unheard, silent: Sequence[Rule], window: Window) -> tuple[Rule, ...]:
    """Those that have waited long enough: MANY_LINES lines, and past ``after_step``."""
    if unheard.lines < MANY_LINES or window.step is None:
        return ()
    return tuple(rule for rule in silent if window.step > getattr(rule, "after_step", 0))


def _of_rule(rule: Rule, unheard: Unheard, window: Window, state: str) -> Finding:
    name, metric = rule_name(rule), listens_to(rule)
    written = sorted(key for key in window.latest if not key.startswith(_MACHINE))
    many = "1 line has" if unheard.lines == 1 else f"{unheard.lines} lines have"
    hint = did_you_mean(metric, written)
    return Finding(
        kind=Kind.ALERT,
        key=f"unheard:{name}",
        reason=f"rule {name} {state}: {many} been written, none with {metric}; "
        f"written: {_listed(written)}{f'; {hint}' if hint else ''}",
        rule=name,
        action=Decision.ALERT,
        metric=metric,
        step=window.step,
        evidence={"lines": unheard.lines, "written": written[:_NAMES]},
    )


def _of_nothing_written(rules: Sequence[Rule]) -> Finding:
    """One alert for all of them."""
    names = ", ".join(rule_name(rule) for rule in rules)
    return Finding(
        kind=Kind.ALERT,
        key="unheard",
        reason=f"no metric of the training was written, so no rule watched anything: {names}",
        rule="watcher",
        action=Decision.ALERT,
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}" if names else "no metric"
