"""Configuration: /etc/campaign.toml, then the user's file, then the home's; a later one wins.

Exclusions of GPUs are the exception: the union of all files holds, and nothing takes one back. Every
value remembers the files that gave it, for `campaign config show`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from platformdirs import user_config_dir
from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from campaign.errors import CampaignError, ExitCode
from campaign.gpus.refs import Exclusion, at_host, parse
from campaign.toml_places import line_of, place_in
from specs.base import Duration, Listed, Model
from specs.resources import DeviceRef

SITE_FILE = Path("/etc/campaign.toml")
FILE_NAME = "campaign.toml"
DEFAULT = "default"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST_PORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*:([0-9]{1,5})")


class ConfigError(CampaignError):
    """Configuration files that cannot be used; each problem with its file and key, all at once."""

    exit_code = ExitCode.BAD_SPEC

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class BadAddress(CampaignError):
    """An address on the command line that cannot be one."""

    exit_code = ExitCode.USAGE


# ---------------------------------------------------------------- what a file may say


def _device(ref: int | str) -> int | str:
    parse(ref)
    return ref


def _tracking_uri(uri: str) -> str:
    """Refuses what would send metrics or a password in the clear, or depends on the folder."""
    parts = urlsplit(uri)
    if parts.username or parts.password:
        raise ValueError(
            "a password does not belong in a file: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("//"):
        return uri
    if parts.hostname and parts.scheme in ("http", "https"):
        if parts.scheme == "https" or _is_loopback(parts.hostname):
            return uri
        raise ValueError("plain http is for loopback only: write https")
    raise ValueError(
        "give sqlite:////absolute/path.db, an https address, or an http address on loopback"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, not a number
        return host == "localhost"


def _secret(reference: str) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env" and _ENV_NAME.fullmatch(name):
        return reference
    if kind == "file" and not name.startswith("//") and Path(name).expanduser().is_absolute():
        return reference
    raise ValueError(
        "a notification URL is a password: write env:NAME or file:/absolute/path of where it is kept"
    )


def _address(text: str) -> str:
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError("write HOST:PORT, as in head.cluster:6379")
    return text


def check_address(text: str) -> None:
    """Raises BadAddress where a Ray address is not HOST:PORT."""
    try:
        _address(text)
    except ValueError as error:
        raise BadAddress(f"{text!r} is no address of a Ray cluster: {error}") from None


class GpuSettings(Model):
    """``quiet``: seconds without a stranger before a GPU is taken. ``idle_memory_mib``: what a GPU
    without processes may hold and still count as idle.
    """

    exclude: Annotated[tuple[Annotated[DeviceRef, AfterValidator(_device)], ...], Listed] = ()
    quiet: Duration = 15.0
    idle_memory_mib: int = Field(default=512, ge=0, le=1 << 20)


class HomeSettings(Model):
    """``cpu_slots``: None is one for each CPU."""

    cpu_slots: int | None = Field(default=None, ge=0, le=4096)


class MlflowSettings(Model):
    """``tracking_uri``: None is the home's own SQLite file."""

    tracking_uri: Annotated[str, AfterValidator(_tracking_uri)] | None = None


class NotifySettings(Model):
    """``urls``: references to where the URLs are kept, never the URLs. ``desktop``: notify-send too."""

    desktop: bool = False
    urls: Annotated[tuple[Annotated[str, AfterValidator(_secret)], ...], Listed] = ()


class RaySettings(Model):
    """``address``: a cluster to join; None starts a head on this host, on ``port`` or a free one."""

    address: Annotated[str, AfterValidator(_address)] | None = None
    port: int | None = Field(default=None, ge=1024, le=65535)


class Settings(Model):
    """The tables of a campaign.toml."""

    gpus: GpuSettings = GpuSettings()
    home: HomeSettings = HomeSettings()
    mlflow: MlflowSettings = MlflowSettings()
    notify: NotifySettings = NotifySettings()
    ray: RaySettings = RaySettings()


# ---------------------------------------------------------------- the layers together


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One line of `campaign config show`."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Config:
    """``settings`` of all layers; ``exclusions`` is their union, parsed. ``origins``: dotted key -> the
    file whose value holds, absent for a default.
    """

    settings: Settings = field(default_factory=Settings)
    exclusions: tuple[Exclusion, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def show(self) -> tuple[Shown, ...]:
        """Every value and where it is from; each exclusion on a line of its own."""
        rows = [
            Shown(key="gpus.exclude", value=str(e.ref), origin=e.origin) for e in self.exclusions
        ]
        for key, value in _leaves(self.settings.model_dump(mode="json")):
            if key != "gpus.exclude":
                origin = self.origins.get(key, DEFAULT)
                rows.append(Shown(key=key, value=_text(value), origin=origin))
        return tuple(sorted(rows, key=lambda row: row.key))


def layers(home: Path, *, site: Path = SITE_FILE, user: Path | None = None) -> tuple[Path, ...]:
    """The files that are asked, weakest first; those that are not there say nothing."""
    mine = Path(user_config_dir("campaign")) / FILE_NAME if user is None else user
    return (site, mine, home / FILE_NAME)


def load(
    home: Path, *, host: str | None = None, site: Path = SITE_FILE, user: Path | None = None
) -> Config:
    """The configuration of a home; raises ConfigError with every problem.

    ``host`` is the name of this host: in the site's file, which belongs to it, a bare index means its
    GPU and is kept as ``host:index``. In the user's and the home's file, and in the site's where no
    host is given, a bare index means that index on every host.
    """
    problems: list[str] = []
    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    exclusions: list[Exclusion] = []
    for path in layers(home, site=site, user=user):
        tables, settings = _read(path, problems)
        if settings is None:
            continue
        for ref in map(parse, settings.gpus.exclude):
            bound = at_host(ref, host) if host is not None and path == site else ref
            exclusions.append(Exclusion(ref=bound, origin=str(path)))
        for name, table in tables.items():
            merged.setdefault(name, {}).update(table)
            origins |= {f"{name}.{key}": str(path) for key in table}
    if problems:
        raise ConfigError(problems)
    if exclusions:
        written = dict.fromkeys(str(e.ref) for e in exclusions)
        merged.setdefault("gpus", {})["exclude"] = list(written)
    return Config(
        settings=Settings.model_validate(merged),
        exclusions=tuple(exclusions),
        origins=origins,
    )


def _read(path: Path, problems: list[str]) -> tuple[dict[str, Any], Settings | None]:
    """A file's tables as written and as settings; (…, None) and a new problem where it is not usable.

    A file that is there and cannot be read is a problem, never skipped: it may exclude a GPU.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        if path.is_symlink():
            problems.append(f"{path}: is a link to a file that is not there")
        return {}, None
    except OSError as error:
        problems.append(f"{path}: cannot be read, and may exclude GPUs: {error.strerror}")
        return {}, None
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is no TOML: {error}")
        return {}, None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}{place_in(str(error), text)}: is no TOML: {error}")
        return {}, None
    try:
        return tables, Settings.model_validate(tables)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for details in error.errors():
            line = line_of(text, details["loc"])
            place = f"{path}: " if line is None else f"{path}:{line}: "
            found.setdefault(f"{place}{_key(details)}", []).append(_message(details))
        problems += [f"{where}: {', or '.join(texts)}" for where, texts in found.items()]
        return {}, None


def _key(details: ErrorDetails) -> str:
    """``gpus.exclude[1]``; what pydantic adds for the members of a union is left out."""
    parts = (f"[{p}]" if isinstance(p, int) else f".{p}" for p in details["loc"][:3])
    return "".join(parts).lstrip(".")


def _message(details: ErrorDetails) -> str:
    """What is wrong. The value is not repeated: it may be a secret."""
    if details["type"] == "extra_forbidden":
        return f"unknown{_meant(details['loc'])}"
    return details["msg"].removeprefix("Value error, ")


def _meant(location: tuple[int | str, ...]) -> str:
    table = getattr(Settings(), str(location[0]), None) if len(location) > 1 else Settings()
    allowed = sorted(type(table).model_fields) if isinstance(table, Model) else []
    close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(allowed)}"


def _leaves(tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"{name}.{key}", v) for name, table in tables.items() for key, v in table.items()]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "unset" if value is None else str(value)
