"""Rules, and a certificate, whose metric no line has brought: their silence would look like health.

Pure. Each is told of once in an attempt: early, where a program may write anything and so a slip in
the name is likely; else at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from specs.errors import did_you_mean
from specs.files import MetricLine
from specs.watch import Action, Certify, Rule, Silence, rule_name
from watchers.findings import Finding, Kind
from watchers.verdict import Decision
from watchers.window import Window

MANY_LINES = 20
"""Lines without a metric after which it is missed while the attempt still runs."""

_MACHINE = "system/"  # sampled beside the training by a clock: they say nothing of what it writes
_NAMES = 12


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What judges by lines: a rule, or the certificate.

    ``metric``: the one without which it judges nothing; None where any line will do.
    """

    name: str
    metric: str | None
    after_step: int = 0
    certificate: bool = False


@dataclass(frozen=True, kw_only=True)
class Unheard:
    """``listeners``: all that need lines; ``waiting``: of these, whose metric has not come and that
    nobody was told of; ``lines``: those so far with a metric of the training itself. ``impatient``: no
    metric is declared, so they are missed before the attempt ends.
    """

    listeners: tuple[Listener, ...] = ()
    waiting: tuple[Listener, ...] = ()
    lines: int = 0
    impatient: bool = False


Told = tuple[Unheard, list[Finding]]


def listens_to(rule: Rule) -> str | None:
    """The one metric without which a rule judges nothing; None for a rule that needs none."""
    metric: str | None = getattr(rule, "metric", None)
    return metric


def expect(rules: Iterable[Rule], certify: Certify, *, impatient: bool) -> Unheard:
    """Before the first line."""
    rules = tuple(rules)
    needing = [
        Listener(
            name=rule_name(rule),
            metric=listens_to(rule),
            after_step=getattr(rule, "after_step", 0),
        )
        for rule in rules
        if not isinstance(rule, Silence)
    ]
    if _wants_certificates(rules, certify):
        needing.append(Listener(name="certify", metric=certify.metric, certificate=True))
    waiting = tuple(listener for listener in needing if listener.metric is not None)
    return Unheard(listeners=tuple(needing), waiting=waiting, impatient=impatient)


def hear(unheard: Unheard, line: MetricLine, window: Window) -> Told:
    """One more line; ``window`` holds it already."""
    if all(name.startswith(_MACHINE) for name in line.metrics):
        return unheard, []
    unheard = replace(unheard, lines=unheard.lines + 1)
    if not unheard.impatient or not unheard.waiting:
        return unheard, []
    silent = _silent(unheard, window)
    missed = _missed(unheard, silent, window)
    left = tuple(listener for listener in silent if listener not in missed)
    alerts = [_of_one(listener, unheard, window, so_far=True) for listener in missed]
    return replace(unheard, waiting=left), alerts


def at_end(unheard: Unheard, window: Window, *, succeeded: bool) -> list[Finding]:
    """After the last line. Without ``succeeded`` a rule may have had no time: it is told of only where
    it would have been missed in a running attempt.
    """
    if succeeded and not unheard.lines and unheard.listeners:
        return [_of_nothing_written(unheard.listeners)]
    silent = _silent(unheard, window)
    missed = silent if succeeded else _missed(unheard, silent, window)
    return [_of_one(listener, unheard, window, so_far=False) for listener in missed]


def _wants_certificates(rules: Sequence[Rule], certify: Certify) -> bool:
    """Somebody thought of them: a trainer without ``val/ce`` that nobody rolls back needs no alert."""
    return certify != Certify() or any(rule.action is Action.ROLLBACK for rule in rules)


def _silent(unheard: Unheard, window: Window) -> tuple[Listener, ...]:
    return tuple(one for one in unheard.waiting if one.metric not in window.latest)


def _missed(unheard: Unheard, silent: Sequence[Listener], window: Window) -> tuple[Listener, ...]:
    """Those that have waited long enough: MANY_LINES lines, and past ``after_step``."""
    if unheard.lines < MANY_LINES or window.step is None:
        return ()
    return tuple(listener for listener in silent if window.step > listener.after_step)


def _of_one(listener: Listener, unheard: Unheard, window: Window, *, so_far: bool) -> Finding:
    name, metric = listener.name, listener.metric
    written = sorted(key for key in window.latest if not key.startswith(_MACHINE))
    many = "1 line has" if unheard.lines == 1 else f"{unheard.lines} lines have"
    hint = did_you_mean(metric, written)
    return Finding(
        kind=Kind.ALERT,
        key="unheard certificate" if listener.certificate else f"unheard:{name}",
        reason=f"{_state(listener, so_far=so_far)}: {many} been written, none with {metric}; "
        f"written: {_listed(written)}{f'; {hint}' if hint else ''}",
        rule=name,
        action=Decision.ALERT,
        metric=metric,
        step=window.step,
        evidence={"lines": unheard.lines, "written": written[:_NAMES]},
    )


def _state(listener: Listener, *, so_far: bool) -> str:
    if listener.certificate:
        return "no checkpoint can be certified so far" if so_far else "no checkpoint was certified"
    return f"rule {listener.name} {'watches nothing so far' if so_far else 'watched nothing'}"


def _of_nothing_written(listeners: Sequence[Listener]) -> Finding:
    """One alert for all of them."""
    names = ", ".join(listener.name for listener in listeners)
    return Finding(
        kind=Kind.ALERT,
        key="unheard",
        reason=f"no metric of the training was written, so nothing was judged: {names}",
        rule="watcher",
        action=Decision.ALERT,
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}" if names else "no metric"
