"""Whether people can be told: what the sinks that are configured need. Nothing is sent."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.util import find_spec

from campaign import config
from campaign.checks.finding import Context, Finding, ok, warn
from watchers.references import BadReference, resolve

_TRY = "campaign alerts --test shows whether it works"


def alerts(context: Context) -> Iterable[Finding]:
    """Each sink of [notify]; the log files need nothing. Runs may start all the same."""
    try:
        notify = config.load(context.home).settings.notify
    except config.ConfigError:
        return  # the check of the configuration has said it
    if not notify.urls and not notify.desktop:
        yield ok(
            "alerts", "alerts go to alerts.log and controller.log alone: [notify] names no more"
        )
    if notify.desktop:
        yield _desktop()
    if notify.urls and find_spec("apprise") is None:
        sentence = f"notify.urls has {len(notify.urls)} entries, but apprise is not installed"
        yield warn("alerts", sentence, "pip install 'campaign[notify]'")
    for url in notify.urls:
        yield _reference(url)


def _desktop() -> Finding:
    if shutil.which("notify-send") is None:
        advice = "install libnotify, or set desktop = false"
        return warn("alerts", "notify.desktop is set, but there is no notify-send", advice)
    return ok("alerts", f"desktop: notify-send is there; {_TRY}")


def _reference(url: str) -> Finding:
    """The secret itself is looked at and forgotten; it is in no sentence."""
    try:
        resolve(url)
    except BadReference as error:
        advice = "mend it; a variable must be set where the controller is started"
        return warn("alerts", f"{url}: {error}", advice)
    return ok("alerts", f"{url} holds a URL; {_TRY}")


CHECKS = (alerts,)
