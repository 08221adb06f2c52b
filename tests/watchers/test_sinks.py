from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from watchers.alerts import Alert, SinkFailed
from watchers.references import BadReference, check_reference, resolve
from watchers.sinks import AppriseSink, DesktopSink, FileSink, make_sinks

SECRET = "json://canary-9f3a:password@127.0.0.1/"
ALERT = Alert(key="k", t=0.0, title="demo/run/attempt-1: blow_up (kill)", text="rose\n\x1b[31mhigh")


def test_a_file_gets_one_line_an_alert_without_control_characters(tmp_path: Path) -> None:
    sink = FileSink(path=tmp_path / "alerts.log")
    sink.send(ALERT)
    sink.send(ALERT)
    [one, other] = sink.path.read_text().splitlines()
    assert one == other
    assert one.endswith("demo/run/attempt-1: blow_up (kill): rose |  [31mhigh")
    assert sink.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_a_failed_sink(tmp_path: Path) -> None:
    with pytest.raises(SinkFailed, match="cannot be written"):
        FileSink(path=tmp_path / "missing" / "alerts.log").send(ALERT)


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def test_the_desktop_gets_title_and_text_as_arguments_never_as_options(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = script(tmp_path / "notify-send", f'printf "%s\\n" "$@" > {out}')
    DesktopSink(program=program).send(Alert(key="k", t=0.0, title="--help", text="text"))
    assert out.read_text().splitlines() == ["--app-name=campaign", "--", "--help", "text"]


@pytest.mark.parametrize(
    ("body", "says"), [("exit 3", "ended with 3"), ("exec sleep 60", "did not end in 0.2 s")]
)
def test_a_desktop_that_refuses_or_hangs_is_a_failed_sink(
    tmp_path: Path, body: str, says: str
) -> None:
    program = script(tmp_path / "notify-send", body)
    with pytest.raises(SinkFailed, match=says):
        DesktopSink(program=program, timeout=0.2).send(ALERT)


def secret_file(path: Path, content: str = SECRET, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return f"file:{path}"


def test_a_secret_comes_from_the_environment_or_from_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_URL", SECRET)
    assert resolve("env:CANARY_URL") == SECRET
    assert resolve(secret_file(tmp_path / "url", SECRET + "\n")) == SECRET


@pytest.mark.parametrize(
    "reference", [SECRET, "env:", "file:", "file://x", "https://canary-9f3a", "env", "", "ENV:A"]
)
def test_anything_but_a_reference_is_refused_without_being_repeated(reference: str) -> None:
    with pytest.raises(BadReference) as caught:
        check_reference(reference)
    assert "env:NAME" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (SECRET, 0o640, "has mode 0640: others may read it"),
        (SECRET, 0o604, "has mode 0604"),
        ("", 0o600, "must hold one line"),
        ("a\nb", 0o600, "must hold one line"),
    ],
)
def test_a_secret_file_that_others_may_read_or_that_holds_no_line_is_refused(
    tmp_path: Path, content: str, mode: int, says: str
) -> None:
    with pytest.raises(BadReference, match=says):
        resolve(secret_file(tmp_path / "url", content, mode))


def test_a_secret_file_may_lie_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    secret_file(tmp_path / "url")
    assert resolve("file:~/url") == SECRET


def test_a_secret_file_may_be_no_link_no_pipe_and_must_exist(tmp_path: Path) -> None:
    secret_file(tmp_path / "url")
    (tmp_path / "link").symlink_to(tmp_path / "url")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", "missing"):
        with pytest.raises(BadReference):
            resolve(f"file:{tmp_path / name}")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY_URL", raising=False)
    with pytest.raises(BadReference, match="CANARY_URL is not set"):
        resolve("env:CANARY_URL")


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.posted.append(json.loads(body))  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass  # the test's output is not a web server's log

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.posted = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_apprise_delivers_over_a_url_that_only_the_reference_names(
    server: HTTPServer, tmp_path: Path
) -> None:
    pytest.importorskip("apprise")
    url = f"json://127.0.0.1:{server.server_address[1]}/"
    sink = AppriseSink(reference=secret_file(tmp_path / "url", url), timeout=60)
    sink.send(ALERT)
    [posted] = server.posted  # type: ignore[attr-defined]
    assert posted["title"] == ALERT.title
    assert "high" in posted["message"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense-canary-9f3a", "does not know such a URL"),
        ("json://canary-9f3a:password@127.0.0.1:9/", "could not deliver"),
    ],
)
def test_a_failing_apprise_never_shows_the_url(tmp_path: Path, url: str, says: str) -> None:
    pytest.importorskip("apprise")
    with pytest.raises(SinkFailed, match=says) as caught:
        AppriseSink(reference=secret_file(tmp_path / "url", url), timeout=60).send(ALERT)
    assert "canary" not in str(caught.value)


def test_an_apprise_that_takes_too_long_is_killed_and_the_url_not_shown(tmp_path: Path) -> None:
    sink = AppriseSink(reference=secret_file(tmp_path / "url"), timeout=0.001)
    with pytest.raises(SinkFailed, match=r"did not take it in 0.001 s") as caught:
        sink.send(ALERT)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_sinks_of_a_home_are_its_logs_and_what_was_asked_for(tmp_path: Path) -> None:
    logs = (tmp_path / "alerts.log", tmp_path / "controller.log")
    assert [s.name for s in make_sinks(logs=logs)] == ["alerts.log", "controller.log"]
    asked = make_sinks(logs=logs, desktop=True, references=["env:X"])
    assert [s.name for s in asked[2:]] == ["desktop", "apprise:env:X"]
    with pytest.raises(BadReference):
        make_sinks(logs=logs, references=[SECRET])


def test_a_desktop_that_is_not_there_is_a_failed_sink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SinkFailed, match="notify-send cannot be run"):
        DesktopSink().send(ALERT)
