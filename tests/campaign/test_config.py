from __future__ import annotations

import re
from pathlib import Path

import pytest

from campaign.config import Config, ConfigError, layers, load
from campaign.errors import ExitCode
from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.refs import excluded


class Files:
    """The three files of a configuration, under a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.home.mkdir()
        self.site, self.user, self.own = layers(
            self.home, site=root / "etc.toml", user=root / "user.toml"
        )

    def load(self, *, site: str = "", user: str = "", home: str = "") -> Config:
        for path, text in ((self.site, site), (self.user, user), (self.own, home)):
            if text:
                path.write_text(text)
        return load(self.home, host="hosta", site=self.site, user=self.user)

    def problems(self, home: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.load(home=home)
        return caught.value.problems


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def gpu(id: str, host: str, index: int) -> Device:
    return Device(id=id, kind=DeviceKind.GPU, host=host, index=index, name="test")


def test_without_files_everything_is_default(files: Files) -> None:
    config = files.load()
    assert config.exclusions == ()
    assert config.settings.home.cpu_slots is None
    assert {row.origin for row in config.show()} == {"default"}


def test_a_later_file_wins_key_by_key(files: Files) -> None:
    config = files.load(
        site="[gpus]\nquiet = '60s'\nidle_memory_mib = 100\n[home]\ncpu_slots = 1",
        user="[gpus]\nquiet = '30s'\n[home]\ncpu_slots = 2",
        home="[home]\ncpu_slots = 3",
    )
    settings = config.settings
    assert (settings.gpus.quiet, settings.gpus.idle_memory_mib) == (30.0, 100)
    assert settings.home.cpu_slots == 3


def test_exclusions_are_the_union_of_all_files_and_none_takes_one_back(files: Files) -> None:
    config = files.load(
        site='[gpus]\nexclude = ["GPU-1f"]',
        user="[gpus]\nexclude = []",
        home='[gpus]\nexclude = [2, "GPU-1f"]',
    )
    assert [(str(e.ref), e.origin) for e in config.exclusions] == [
        ("GPU-1f", str(files.site)),
        ("2", str(files.own)),
        ("GPU-1f", str(files.own)),
    ]


def test_every_value_is_shown_with_the_file_that_gave_it(files: Files) -> None:
    config = files.load(site="[ray]\nport = 6379", home='[gpus]\nexclude = ["hostb:2"]')
    shown = {(row.key, row.value): row.origin for row in config.show()}
    assert shown["gpus.exclude", "hostb:2"] == str(files.own)
    assert shown["ray.port", "6379"] == str(files.site)
    assert shown["gpus.quiet", "15.0"] == "default"


def test_a_bare_index_of_the_site_is_this_hosts_and_of_the_user_every_hosts(files: Files) -> None:
    devices = [gpu("GPU-1", "hosta", 2), gpu("GPU-2", "hostb", 2), gpu("GPU-3", "hostb", 3)]
    config = files.load(site="[gpus]\nexclude = [2, 5]", user="[gpus]\nexclude = [3]")
    assert [str(e.ref) for e in config.exclusions] == ["hosta:2", "hosta:5", "3"]
    assert set(excluded(devices, config.exclusions)) == {"GPU-1", "GPU-3"}


def test_where_the_host_is_not_known_a_bare_index_means_every_host(files: Files) -> None:
    files.site.write_text("[gpus]\nexclude = [2]")
    config = load(files.home, site=files.site, user=files.user)
    assert [str(e.ref) for e in config.exclusions] == ["2"]


def test_the_users_file_is_where_the_platform_keeps_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "campaign").mkdir(parents=True)
    (tmp_path / "config" / "campaign" / "campaign.toml").write_text("[home]\ncpu_slots = 7")
    assert load(tmp_path, site=tmp_path / "none").settings.home.cpu_slots == 7


@pytest.mark.parametrize(
    "uri",
    [
        "https://mlflow.example.org",
        "http://localhost:5000",
        "http://127.0.0.1:5000",
        "http://127.8.8.8",
        "http://[::1]:5000",
        "sqlite:////var/lib/mlflow.db",
    ],
)
def test_a_tracking_uri_is_https_loopback_or_an_absolute_sqlite_file(
    files: Files, uri: str
) -> None:
    assert files.load(home=f"[mlflow]\ntracking_uri = '{uri}'").settings.mlflow.tracking_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow.example.org",
        "http://10.1.2.3:5000",
        "http://localhost.example.org",
        "http://0.0.0.0:5000",
        "http://localhost@example.org",
        "https://me:secret@example.org",
        "sqlite:///mlflow.db",
        "sqlite://",
        "sqlite://server//mlflow.db",
        "file:///tmp/mlruns",
        "./mlruns",
        "https://",
        "",
    ],
)
def test_any_other_tracking_uri_is_refused(files: Files, uri: str) -> None:
    (problem,) = files.problems(f"[mlflow]\ntracking_uri = '{uri}'")
    assert f"{files.own}:2: mlflow.tracking_uri: " in problem
    assert "secret" not in problem


@pytest.mark.parametrize("url", ["env:SLACK_URL", "file:/run/secrets/slack", "file:~/slack"])
def test_a_notification_url_is_a_reference(files: Files, url: str) -> None:
    assert files.load(home=f"[notify]\nurls = ['{url}']").settings.notify.urls == (url,)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.org/T0/secret", "env:", "env:A-B", "file:relative", "secret"]
)
def test_a_literal_notification_url_is_refused_and_not_repeated(files: Files, url: str) -> None:
    (problem,) = files.problems(f"[notify]\nurls = ['{url}']")
    assert "notify.urls[0]: a notification URL is a password" in problem
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gpus]\nexclud = [1]", "gpus.exclud: unknown; did you mean exclude?"),
        ("[gpu]\nexclude = [1]", "gpu: unknown; did you mean gpus?"),
        ("[gpus]\nexclude = ['zz']", "gpus.exclude[0]: 'zz' names no device"),
        ("[gpus]\nexclude = [1, true]", "gpus.exclude[1]: "),
        ("[gpus]\nexclude = 1", "gpus.exclude: "),
        ("gpus = 1", "gpus: "),
        ("[gpus]\nquiet = '5 parsecs'", "gpus.quiet: "),
        ("[home]\ncpu_slots = -1", "home.cpu_slots: "),
        ("[home]\ncpu_slots = '4'", "home.cpu_slots: "),
        ("[ray]\naddress = 'head'", "ray.address: write HOST:PORT"),
        ("[ray]\naddress = 'head:70000'", "ray.address: write HOST:PORT"),
        ("[ray]\nport = 80", "ray.port: "),
        ("[gpus\n", "is no TOML: "),
        ("a = 1\na = 2", "is no TOML: "),
    ],
)
def test_a_wrong_file_is_told_with_file_line_and_key(files: Files, text: str, words: str) -> None:
    (problem,) = files.problems(text)
    assert re.match(rf"{re.escape(str(files.own))}:\d+(:\d+)?: ", problem)
    assert words in problem


def test_all_problems_of_all_files_are_told_at_once(files: Files) -> None:
    files.site.write_text("[gpus]\nexclude = ['zz']\nquit = 3")
    assert len(files.problems("[home]\ncpu_slots = -1")) == 3


def test_a_file_that_cannot_be_read_is_never_skipped(files: Files) -> None:
    files.site.mkdir()
    with pytest.raises(ConfigError, match="may exclude GPUs") as caught:
        files.load()
    assert caught.value.exit_code is ExitCode.BAD_SPEC


def test_a_file_that_is_not_text_is_told(files: Files) -> None:
    files.user.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        files.load()


def test_a_link_to_nothing_is_never_skipped(files: Files) -> None:
    files.site.symlink_to("/nowhere/campaign.toml")
    with pytest.raises(ConfigError, match="link to a file that is not there"):
        files.load()
