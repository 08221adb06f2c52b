"""File names of a home: where a user's campaigns live."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from campaign.errors import CampaignError, ExitCode
from specs.files import attempt_dir

ENV_HOME = "CAMPAIGN_HOME"


class BadHome(CampaignError):
    """The home cannot be used: somebody else's, or not a directory."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, kw_only=True)
class Home:
    """``--home``, else ``$CAMPAIGN_HOME``, else ``./runs``."""

    root: Path

    @staticmethod
    def locate(given: str | Path | None = None) -> Home:
        chosen = given or os.environ.get(ENV_HOME) or "runs"
        return Home(root=Path(chosen).expanduser().resolve())

    def check(self) -> None:
        """Raises BadHome where something else is in its place, or in that of a directory above it."""
        try:
            there = next(path for path in (self.root, *self.root.parents) if path.exists())
        except OSError as error:  # a name that is too long, a directory that may not be entered
            raise BadHome(
                f"{self.root} cannot be used: {error.strerror}; choose another with --home"
            ) from error
        if not there.is_dir():
            raise BadHome(f"{there} is no directory; choose another with --home")

    def create(self) -> None:
        """Make the directory, for its owner alone. Raises BadHome if it is another user's."""
        self.check()
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            why = f"{self.root} cannot be made: {error.strerror}"
            raise BadHome(f"{why}; choose another with --home") from error
        owner = self.root.stat().st_uid
        if owner != os.getuid():
            raise BadHome(f"{self.root} belongs to user {owner}; choose another with --home")
        self.root.chmod(0o700)

    @property
    def store(self) -> Path:
        return self.root / "campaign.db"

    @property
    def config(self) -> Path:
        return self.root / "campaign.toml"

    @property
    def controller_lock(self) -> Path:
        """Held by the one controller for as long as it lives."""
        return self.root / "controller.lock"

    @property
    def controller_file(self) -> Path:
        """Identity of the controller and of what it started, for `down`, `doctor` and people."""
        return self.root / "controller.json"

    @property
    def controller_log(self) -> Path:
        return self.root / "controller.log"

    @property
    def link_file(self) -> Path:
        """Identity of the Ray driver, which ends with its controller."""
        return self.root / "ray_link.json"

    @property
    def id_file(self) -> Path:
        """A random name of this home, by which hosts that do not see it know it."""
        return self.root / "home.id"

    @property
    def id_lock(self) -> Path:
        return self.root / "home.id.lock"

    @property
    def ray_file(self) -> Path:
        """Address and process identities of the Ray that this home started."""
        return self.root / "ray.json"

    @property
    def ray_log(self) -> Path:
        return self.root / "ray.log"

    @property
    def ray_token(self) -> Path:
        return self.root / "ray.token"

    @property
    def publisher_log(self) -> Path:
        return self.root / "publisher.log"

    @property
    def publisher_file(self) -> Path:
        """Identity of the publisher, so that the next controller keeps it."""
        return self.root / "publisher.json"

    @property
    def alerts_log(self) -> Path:
        return self.root / "alerts.log"

    @property
    def alerts_sent(self) -> Path:
        """Which alert was handed to which sink."""
        return self.root / "alerts-sent.jsonl"

    @property
    def notifier_lock(self) -> Path:
        """Held by the one notifier for as long as it lives."""
        return self.root / "notifier.lock"

    def code_patch(self, sha256: str) -> Path:
        """The difference between a commit and the working tree at a submit, under its own hash."""
        return self.root / "code" / f"{sha256}.diff"

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    def attempt(self, campaign: str, run: str, number: int) -> Path:
        return attempt_dir(self.root, campaign, run, number)
