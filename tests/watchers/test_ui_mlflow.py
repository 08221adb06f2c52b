"""The link lets its owner in and nobody else; the UI lives no longer than who started it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.watchers.mlflow_homes import CAMPAIGN, FakeHome
from watchers.publish_mlflow import publish_home
from watchers.ui_guard_mlflow import Guard, cookie_name
from watchers.ui_mlflow import NothingThere, Ui, UiFailed, comparison_url, start

TOKEN = "t0ken-of-the-owner"
PORT = 4711
COOKIE = f"{cookie_name(PORT)}={TOKEN}"
DEADLINE = 120.0


# ---------------------------------------------------------------- the guard


def ask(
    path: str, *, query: str = "", cookie: str | None = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a request to a guarded application that says "inside"."""

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if cookie is None else [(b"cookie", cookie.encode())]
    scope = {"type": "http", "path": path, "query_string": query.encode(), "headers": headers}
    asyncio.run(Guard(inside, token=TOKEN, port=PORT)(scope, None, send))  # type: ignore[arg-type]
    answered = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"].decode()


@pytest.mark.parametrize("path", ["/", "/health", "/api/2.0/mlflow/runs/search", "/static-files/x"])
@pytest.mark.parametrize(
    ("query", "cookie"),
    [
        ("", None),
        ("token=", None),
        ("token=wrong", None),
        ("", f"{cookie_name(PORT)}="),
        ("", f"{cookie_name(PORT)}=wrong"),
        ("", f"{cookie_name(PORT + 1)}={TOKEN}"),
        ("", "a=b; \x00;;==\x7f"),
    ],
)
def test_without_the_key_nothing_answers(path: str, query: str, cookie: str | None) -> None:
    status, _, body = ask(path, query=query, cookie=cookie)
    assert status == 403
    assert "inside" not in body


def test_the_link_sets_the_cookie_and_sends_the_browser_on_without_the_key() -> None:
    status, headers, body = ask("/", query=f"token={TOKEN}")
    assert status == 200
    assert headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert headers["cache-control"] == "no-store"
    assert 'location.replace("/" + location.hash)' in body
    assert TOKEN not in body


def test_the_key_counts_on_the_first_page_only() -> None:
    assert ask("/api/2.0/mlflow/runs/search", query=f"token={TOKEN}")[0] == 403


def test_with_the_cookie_mlflow_answers() -> None:
    assert ask("/api/2.0/mlflow/runs/search", cookie=f"other=1; {COOKIE}")[2] == "inside"


@pytest.mark.parametrize(
    "path", ["/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistant/message"]
)
def test_the_assistant_which_runs_commands_is_closed_to_its_owner_too(path: str) -> None:
    status, _, body = ask(path, cookie=COOKIE)
    assert status == 404
    assert "inside" not in body


# ---------------------------------------------------------------- links


@pytest.mark.parametrize(
    ("base", "root"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ("https://mlflow.example/base/", "https://mlflow.example/base/"),
        ("http://127.0.0.1:5000/?token=t", "http://127.0.0.1:5000/?token=t"),
    ],
)
def test_a_comparison_link_opens_the_charts_of_the_model_training_view(
    base: str, root: str
) -> None:
    url = comparison_url(base, "7", ["a1", "b2"])
    before, _, fragment = url.partition("#")
    assert before == root
    inner = urlsplit(fragment)
    assert inner.path == "/experiments/7/runs"
    assert parse_qs(inner.query) == {
        "workflowType": ["machine_learning"],
        "compareRunsMode": ["CHART"],
        "searchFilter": ["attributes.run_id IN ('a1','b2')"],
    }


def test_a_comparison_of_all_runs_has_no_filter() -> None:
    assert "searchFilter" not in comparison_url("http://127.0.0.1:5000", "7")


def test_a_server_that_runs_anyway_is_used_as_it_is(tmp_path: Path) -> None:
    ui = start(tmp_path, tracking_uri="https://mlflow.example")
    assert (ui.url, ui.pid, ui.is_alive) == ("https://mlflow.example", None, True)
    ui.close()


# ---------------------------------------------------------------- the process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> FakeHome:
    made = FakeHome(tmp_path_factory.mktemp("home"))
    made.attempt().curve(range(1, 20))
    publish_home(made.root, once=True)
    return made


@pytest.fixture(scope="module")
def ui(home: FakeHome) -> Iterator[Ui]:
    with start(home.root) as running:
        yield running


def status_of(ui: Ui, path: str, **headers: str) -> int:
    root = ui.url.partition("?")[0]
    try:
        with urlopen(Request(root + path, headers=headers), timeout=30.0) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.mark.heavy
def test_the_link_of_a_campaign_leads_to_its_experiment(ui: Ui) -> None:
    assert f"#/experiments/{ui.experiment_id(CAMPAIGN)}/runs?" in ui.campaign_url(CAMPAIGN)
    with pytest.raises(NothingThere, match="nothing of campaign 'other' yet"):
        ui.campaign_url("other")


@pytest.mark.heavy
def test_the_served_store_is_closed_to_others_of_this_machine_and_to_other_hosts(ui: Ui) -> None:
    api = "api/2.0/mlflow/experiments/get?experiment_id=0"
    cookie = str(ui._cookie)
    assert status_of(ui, api) == 403
    assert status_of(ui, api, Cookie=cookie) == 200
    assert status_of(ui, api, Cookie=cookie, Host="evil.example") == 403
    assert status_of(ui, "ajax-api/3.0/mlflow/assistant/config", Cookie=cookie) == 404


@pytest.mark.heavy
def test_it_listens_on_loopback_alone_as_one_process_without_the_key_in_its_arguments(
    ui: Ui,
) -> None:
    import psutil

    process = psutil.Process(ui.pid)
    listening = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
    assert process.children() == []
    token = parse_qs(urlsplit(ui.url).query)["token"][0]
    assert token not in " ".join(process.cmdline())
    assert token not in "\n".join(process.environ().values())


@pytest.mark.heavy
def test_closing_it_ends_its_process(home: FakeHome) -> None:
    other = start(home.root)
    assert other.is_ready()
    other.close()
    assert not other.is_alive
    assert not other.is_ready()


@pytest.mark.heavy
def test_it_ends_with_who_started_it_even_by_sigkill(home: FakeHome) -> None:
    program = (
        "import sys, time; from pathlib import Path; from watchers.ui_mlflow import start\n"
        "ui = start(Path(sys.argv[1])); print(ui.pid, flush=True); time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(home.root)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    fd = os.pidfd_open(int(starter.stdout.readline()))
    try:
        starter.send_signal(signal.SIGKILL)
        starter.communicate()
        assert select.select([fd], [], [], DEADLINE)[0], "the server outlived its starter"
    finally:
        os.close(fd)


@pytest.mark.heavy
def test_a_port_that_is_taken_is_told_with_the_log(home: FakeHome, ui: Ui) -> None:
    with pytest.raises(UiFailed, match="cannot be used: Address already in use") as told:
        start(home.root, port=urlsplit(ui.url).port)
    assert "Traceback" not in str(told.value)


@pytest.mark.heavy
def test_it_starts_where_nothing_was_published_yet(tmp_path: Path) -> None:
    with start(tmp_path) as empty, pytest.raises(NothingThere):
        empty.campaign_url(CAMPAIGN)
