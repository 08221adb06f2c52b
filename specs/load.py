"""A campaign file, a profile and the settings of the command line as one resolved campaign.

Nothing is started and nothing but the file is read; what depends on this machine is checked by
``specs.here``. All errors are reported together, in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from specs.errors import Place, SpecError, SpecErrors, at, did_you_mean, one_of, show
from specs.examine import examine
from specs.overrides import DEFAULTS, read_overrides
from specs.run import CampaignFile, CampaignSpec
from specs.slips import mended
from specs.source import read_text, read_tree
from specs.tree import Entry, Leaf, Table, plain


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A campaign that may be submitted.

    ``profile`` is the one that holds; ``runs`` are the merged trees, in which each value knows its
    line; ``text`` is the file.
    """

    spec: CampaignSpec
    profile: str | None
    warnings: tuple[str, ...]
    text: str
    runs: Mapping[str, Table]


def load(
    path: Path | str,
    *,
    profile: str | None = None,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    as_name: str | None = None,
    base: Path | None = None,
) -> Loaded:
    """Read the campaign file ``path``.

    ``profile`` takes the place of the one that the file names, each of ``sets`` is
    ``RUN.path=value``, ``only`` names the runs to take of those that the profile has (all if empty),
    ``as_name`` is another name for the campaign, and relative paths in the file are meant from ``base``
    (the current directory). Raises SpecErrors with everything that is wrong.
    """
    text = read_text(Path(path))
    return load_text(
        text, name=str(path), profile=profile, sets=sets, only=only, as_name=as_name, base=base
    )


def load_text(
    text: str,
    *,
    name: str = "<text>",
    profile: str | None = None,
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    as_name: str | None = None,
    base: Path | None = None,
) -> Loaded:
    """Likewise for the text of a campaign file; errors call it ``name``."""
    tree, errors = read_tree(text, name)
    tree = _complete(tree, as_name)
    file, wrong_fields, tree = _read_file(tree)
    tree = _complete(tree, as_name)
    chosen, wrong_profile = _choose(tree, profile)
    overrides, wrong_sets = read_overrides(sets, tree.table("runs").entries)
    here = (base or Path.cwd()).absolute()
    examined = examine(tree, chosen, overrides, here, only=only)
    unreadable = {error.location for error in errors}
    later = (*wrong_fields, *wrong_profile, *wrong_sets, *examined.errors)
    # a value that could not be read has a stand-in: what is said about that is noise
    errors += tuple(error for error in later if error.location not in unreadable)
    profiles = tree.table("profiles").entries
    for other in profiles:
        if other != chosen:
            errors += _wrong_in_profile(tree, other)
    if errors or file is None:
        raise SpecErrors(errors)
    doubts = [
        f"{doubt.location}: got {doubt.got}; {doubt.allowed}; {doubt.hint}"
        for doubt in examined.doubts
    ]
    if profiles and chosen is None:
        doubts.append(f"{name}: no profile is chosen, so none of {', '.join(profiles)} holds")
    return Loaded(
        spec=CampaignSpec(campaign=file.campaign, profile=chosen, runs=examined.specs),
        profile=chosen,
        warnings=tuple(doubts),
        text=text,
        runs=examined.runs,
    )


def _complete(tree: Table, as_name: str | None) -> Table:
    """The file with the name asked for, and an empty map where a section has no content."""
    for section in (DEFAULTS, "profiles"):
        if section in tree.entries:
            tree = tree.having(section, _filled(tree.entries[section]))
    for section in ("profiles", "runs"):
        entry = tree.entries.get(section)
        if entry is not None and isinstance(entry.value, Table):
            inner = {key: _filled(below) for key, below in entry.value.entries.items()}
            full = Table(place=entry.value.place, entries=inner)
            tree = tree.having(section, Entry(key=entry.key, value=full))
    if as_name is not None:
        place = Place(source=f"--as {as_name}", path=("campaign",))
        tree = tree.having("campaign", Entry(key=place, value=Leaf(value=as_name, place=place)))
    return tree


def _filled(entry: Entry) -> Entry:
    if isinstance(entry.value, Leaf) and entry.value.value is None:
        return Entry(key=entry.key, value=Table(place=entry.key))
    return entry


def _read_file(tree: Table) -> tuple[CampaignFile | None, list[SpecError], Table]:
    """The outer fields of the file; the runs are not looked into.

    Also the tree in which a misspelt section has its name, so that nobody is said to lack what it says.
    """
    errors = []
    if reserved := tree.table("runs").entries.get(DEFAULTS):
        errors.append(
            at(
                reserved.key,
                got=f"a run of the name `{DEFAULTS}`",
                allowed=f"must have another name: --set {DEFAULTS}.path=value means all runs",
            )
        )
    try:
        return CampaignFile.model_validate(plain(tree)), errors, tree
    except ValidationError as error:
        findings, entry = mended(error, CampaignFile, Entry(key=tree.place, value=tree))
        errors += [finding.error for finding in findings]
        return None, errors, entry.value if isinstance(entry.value, Table) else tree


def _choose(tree: Table, profile: str | None) -> tuple[str | None, list[SpecError]]:
    """The profile that holds: the one asked for, else the one that the file names."""
    known = list(tree.table("profiles").entries)
    if profile is not None:
        place = Place(source=f"--profile {profile}")
    else:
        written = tree.get("profile")
        if not isinstance(written, Leaf) or not isinstance(written.value, str):
            return None, []  # none is named, or what is there was reported as no name
        profile, place = written.value, written.place
    if profile in known:
        return profile, []
    allowed = one_of(known, profile) if known else "the file has no profiles"
    hint = did_you_mean(profile, known)
    return None, [at(place, got=f"the profile {show(profile)}", allowed=allowed, hint=hint)]


def _wrong_in_profile(tree: Table, profile: str) -> tuple[SpecError, ...]:
    """Slips in a profile that is not chosen.

    Only single values count: what is not there may well come from the command line later.
    """
    examined = examine(tree, profile, (), Path("/"))
    return tuple(e for e in examined.of_values if e.where.startswith(f"profiles.{profile}."))
