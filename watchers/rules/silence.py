"""``silence``: no metric line for a while from a trainer that runs."""

from __future__ import annotations

from specs.watch import Silence, rule_name
from watchers.verdict import Decision, Moment, Verdict, decision_of, go_on
from watchers.window import Window


def judge(rule: Silence, window: Window, moment: Moment) -> Verdict:
    """Asks for its action for as long as the silence lasts; who obeys does so once a silence.

    Counted from the newest line, or from the start where there was none. Doubt never kills: unless
    the trainer's process is known to be alive, the action is an alert. Silence says nothing
    about the health of checkpoints: nothing is SUSPECT, and the onset lies behind the newest line,
    so that a rollback goes to the newest certified checkpoint of all.
    """
    since = [at for at in (moment.started, moment.heard) if at is not None]
    if moment.running is False or not since:
        return go_on(rule, "the trainer does not run")
    quiet = moment.now - max(since)
    if quiet < rule.for_seconds:
        return go_on(rule, f"silent for {quiet:.0f} s of {rule.for_seconds:g} s")
    known = moment.running is True
    doubt = "" if known else "; whether the trainer runs is not known, so this is only an alert"
    last = "none was ever read" if window.step is None else f"the last was of step {window.step}"
    return Verdict(
        action=decision_of(rule) if known else Decision.ALERT,
        rule=rule_name(rule),
        reason=f"no metric line for {rule.for_seconds:g} s, {last}{doubt}",
        step=window.step,
        onset=0 if window.step is None else window.step + 1,
        evidence={
            "for_seconds": rule.for_seconds,
            "silent_s": round(quiet, 3),
            "lines": window.lines,
            "running": moment.running,
        },
    )
