"""What a campaign must satisfy beyond each field: who starts from whom, who measures what.

Most of it reads the merged trees, not the models, so that these errors come together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

from specs.errors import Place, SpecError, at, did_you_mean, one_of, show
from specs.run import RunSpec
from specs.structure import differing
from specs.tree import Items, Leaf, Table
from specs.watch import USUAL_RATIO, USUAL_SPECTRUM, Action, Certify


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The metrics that a run declares, as names and patterns with ``*``.

    Not ``complete``: the program may write others, of which nothing is known.
    """

    kind: str
    metrics: Sequence[str]
    complete: bool


def check_starts(
    campaign: str | None,
    runs: Mapping[str, Table],
    unchosen: Mapping[str, Table] = MappingProxyType({}),
) -> list[SpecError]:
    """Warm starts from unknown runs, from the run itself, in a circle, and from one of the ``unchosen``:
    runs that ``--only`` leaves out.
    """
    sources = {name: leaf for name, run in runs.items() if (leaf := _source(campaign, run))}
    errors = []
    for name, leaf in sources.items():
        if leaf.value in unchosen:
            errors.append(_unchosen(name, leaf, campaign, unchosen))
        elif leaf.value not in runs:
            errors.append(
                at(
                    leaf.place,
                    got=f"the run {show(leaf.value)}",
                    allowed=one_of([run for run in runs if run != name], leaf.value),
                    hint=did_you_mean(leaf.value, [run for run in runs if run != name]),
                )
            )
    return errors + [_circular(circle, sources) for circle in _circles(sources)]


def _unchosen(
    name: str, leaf: Leaf, campaign: str | None, unchosen: Mapping[str, Table]
) -> SpecError:
    """Also those that the source itself starts from, so that one more try is enough."""
    needed: dict[str, None] = {}
    source: Leaf | None = leaf
    while source and source.value in unchosen and source.value not in needed:
        needed[str(source.value)] = None
        source = _source(campaign, unchosen[str(source.value)])
    return at(
        leaf.place,
        got=f"the run {show(leaf.value)}, which --only leaves out",
        allowed=f"must be taken too: {name} starts from its checkpoint",
        hint=f"add {' '.join(f'--only {run}' for run in needed)}",
    )


def _source(campaign: str | None, run: Table) -> Leaf | None:
    """The name of the run that ``run`` is warmed from, where that is one of this campaign."""
    warm = run.table("start", "warm_from")
    leaf = warm.get("run")
    elsewhere = warm.text("campaign") not in (None, campaign)
    if elsewhere or not isinstance(leaf, Leaf) or not isinstance(leaf.value, str):
        return None
    return leaf


def _circles(sources: Mapping[str, Leaf]) -> Iterator[list[str]]:
    """Each circle once: every run has at most one source, so following it finds them all."""
    settled: set[str] = set()
    for start in sources:
        trail: list[str] = []
        name = start
        while name in sources and name not in settled:
            settled.add(name)
            trail.append(name)
            name = str(sources[name].value)
        if name in trail:
            yield trail[trail.index(name) :]


def _circular(circle: list[str], sources: Mapping[str, Leaf]) -> SpecError:
    first = sources[circle[0]]
    if len(circle) == 1:
        return at(
            first.place, got="the run itself", allowed="must be another run; a run cannot wait for itself"
        )  # fmt: skip
    return at(
        first.place,
        got=f"a circle: {' -> '.join([*circle, circle[0]])}",
        allowed="one of these runs must start from scratch, or from a run outside the circle",
    )


def check_shapes(
    campaign: str | None, runs: Mapping[str, Table], specs: Mapping[str, RunSpec]
) -> list[SpecError]:
    """Warm starts from a run of this campaign that trains another model."""
    errors = []
    for name, spec in specs.items():
        leaf = _source(campaign, runs[name])
        source = None if leaf is None else specs.get(str(leaf.value))
        if leaf is None or source is None:
            continue
        for field, there, here in differing(source.trainer, spec.trainer):
            own = runs[name].get("trainer", *field.split("."))
            errors.append(
                at(
                    own.place if isinstance(own, Leaf) else leaf.place,
                    got=f"{field} {show(here)}",
                    allowed=f"must be {show(there)}, as in {leaf.value}, whose checkpoint it starts from",
                )
            )
    return errors


def check_metrics(
    runs: Mapping[str, Table], measured: Mapping[str, Measured]
) -> tuple[list[tuple[str, SpecError]], list[tuple[str, SpecError]]]:
    """Rules and certificates on metrics that are never measured: errors, and doubts.

    Both come with the run. A trainer that declares no metric of its own gives a doubt only, and so does
    the certificate's usual metric where the run does not name it.
    """
    errors: list[tuple[str, SpecError]] = []
    doubts: list[tuple[str, SpecError]] = []
    for name, known in measured.items():
        for needed in _needed(runs[name]):
            if any(fnmatchcase(needed.metric, pattern) for pattern in known.metrics):
                continue
            refused = known.complete and not needed.meant
            (errors if refused else doubts).append((name, _unmeasured(needed, known)))
    return errors, doubts


_USUAL = {"spectrum": USUAL_SPECTRUM, "gradient": USUAL_RATIO}


@dataclass(frozen=True, kw_only=True)
class _Needed:
    """A metric that a run is judged by, and where that was said.

    ``meant``: not named, but what stands for it where nothing is written. ``silent``: what comes of it
    if the metric never comes.
    """

    metric: str
    place: Place
    silent: str
    meant: str = ""


_NO_RULE = "it is judged once the trainer writes it; if it does not, an alert says so"
_NO_CERTIFICATE = "no checkpoint is certified unless the trainer writes it"
_NO_BAND = "no checkpoint is certified unless its evidence holds it; if none does, an alert says so"


def _needed(run: Table) -> Iterator[_Needed]:
    """Every metric that the rules and the certificate of a run name, or mean without naming it."""
    rules = run.get("watch")
    items = rules.items if isinstance(rules, Items) else ()
    tables = [rule for rule in items if isinstance(rule, Table)]
    for rule in tables:
        yield from _of_rule(rule)
    yield from _of_certificate(run, tables)
    for metric, band in run.table("certify", "bands").entries.items():
        yield _Needed(metric=metric, place=band.key, silent=_NO_BAND)


def _of_rule(rule: Table) -> Iterator[_Needed]:
    leaf = rule.get("metric")
    if isinstance(leaf, Leaf) and isinstance(leaf.value, str):
        yield _Needed(metric=leaf.value, place=leaf.place, silent=_NO_RULE)
    elif leaf is None and (usual := _USUAL.get(rule.text("rule") or "")) is not None:
        yield _Needed(metric=usual, place=rule.place, silent=_NO_RULE)


def _of_certificate(run: Table, rules: Sequence[Table]) -> Iterator[_Needed]:
    """Its metric. Where it is not named it counts only if somebody asks for certificates."""
    section = run.entries.get("certify")
    leaf = run.table("certify").get("metric")
    if isinstance(leaf, Leaf) and isinstance(leaf.value, str):
        yield _Needed(metric=leaf.value, place=leaf.place, silent=_NO_CERTIFICATE)
    if leaf is not None:
        return
    usual: str = Certify.model_fields["metric"].default
    if section is not None and run.table("certify").entries:
        meant = f"name it in `certify.metric`, which is {usual} where it is not written"
        yield _Needed(metric=usual, place=section.key, silent=_NO_CERTIFICATE, meant=meant)
        return
    for rule in rules:
        action = rule.get("action")
        if isinstance(action, Leaf) and action.value == Action.ROLLBACK.value:
            meant = (
                f"a rollback needs certificates: name their metric in `certify.metric`, "
                f"which is {usual} where it is not written"
            )
            yield _Needed(metric=usual, place=action.place, silent=_NO_CERTIFICATE, meant=meant)


def _unmeasured(needed: _Needed, known: Measured) -> SpecError:
    metric = show(needed.metric)
    if not known.complete:
        what = "list what the program writes in trainer.metrics.declared"
        got = f"the metric {metric}, but the {known.kind} trainer declares none"
        hint = f"{needed.meant}; {what}" if needed.meant else what
        return at(needed.place, got=got, allowed=needed.silent, hint=hint)
    got = f"the metric {metric}, which the {known.kind} trainer does not declare"
    if needed.meant:
        return at(needed.place, got=got, allowed=needed.silent, hint=needed.meant)
    allowed, hint = one_of(known.metrics, needed.metric), did_you_mean(needed.metric, known.metrics)
    return at(needed.place, got=got, allowed=allowed, hint=hint)
