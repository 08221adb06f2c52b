"""Which run or campaign a person means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from campaign.errors import NotFound
from specs.errors import closest

RunName = tuple[str, str]
"""(campaign, run)"""

MOST_LISTED = 12


def find_run(text: str, names: Sequence[RunName], *, campaigns: Sequence[str] = ()) -> RunName:
    """``campaign/run``, or ``run`` where only one campaign has it.

    ``campaigns``: those that might have been meant as well. Raises NotFound: with the candidates where several have it, else with what may have been meant.
    """
    campaign, slash, run = text.rpartition("/")
    found = [name for name in names if name[1] == run and (not slash or name[0] == campaign)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f"{text} is a run of several campaigns; name one of\n{_listed(found)}")
    raise NotFound(_no_run(text, names, campaigns))


def find_campaign(text: str, names: Sequence[str]) -> str:
    """``text`` if it is one of ``names``. Raises NotFound with what may have been meant."""
    if text in names:
        return text
    if not names:
        raise NotFound(
            f"there is no campaign {text}: nothing was submitted yet\n  campaign submit FILE"
        )
    close = closest(text, names)
    known = f"did you mean {close}?" if close else f"there are: {', '.join(names[:MOST_LISTED])}"
    raise NotFound(f"there is no campaign {text}\n  {known}")


def _no_run(text: str, names: Sequence[RunName], campaigns: Sequence[str]) -> str:
    what = "campaign or run" if campaigns else "run"
    if not names:
        return f"there is no {what} {text}: nothing was submitted yet\n  campaign submit FILE"
    if not text.strip():
        return f"{text!r} names no run; there are\n{_listed(names)}"
    if own := [name for name in names if name[0] == text.rstrip("/")]:
        return f"{text} is a campaign, not a run; name one of its runs\n{_listed(own)}"
    by_run = {run: f"{campaign}/{run}" for campaign, run in reversed(names)}
    whole = {f"{c}/{r}": f"{c}/{r}" for c, r in names}
    known = whole if "/" in text else {**by_run, **{name: name for name in campaigns}}
    if close := closest(text, known):
        return f"there is no {what} {text}\n  did you mean {known[close]}?"
    return f"there is no {what} {text}; there are\n{_listed(names)}"


def _listed(names: Iterable[RunName]) -> str:
    lines = [f"  {campaign}/{run}" for campaign, run in names]
    more = [f"  and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
    return "\n".join(lines[:MOST_LISTED] + more)
