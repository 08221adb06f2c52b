"""Lets only the owner of the link into MLflow's UI, and nobody to its assistant. No mlflow here.

MLflow's server has no login, and every user of a machine reaches its loopback; its assistant runs shell
commands, as the user who started the server, for whoever asks on loopback (3.17: `mlflow.server.assistant`).
So the link carries a token, the answer to it sets a cookie, and without either there is no answer.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_FIELD = "token"
_CLOSED = ("/mlflow/assistant",)
_NO_ENTRY = b"Open the link that `campaign ui` printed: it carries the key to this page.\n"
_CLOSED_HERE = b'{"error_code": "NOT_FOUND", "message": "closed by campaign ui"}'

_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
}
"""What the browser keeps for MLflow's pages: they open in the model-training view (a first visit has the
one for language models), the assistant, which is off, does not open its pane, and no usage data is sent.
"""

_WELCOME = """<!doctype html><meta charset="utf-8"><title>MLflow</title><script>
for (const [key, value] of Object.entries(%s)) localStorage.setItem(key, JSON.stringify(value));
location.replace("/" + location.hash);
</script>"""


def cookie_name(port: int) -> str:
    """Browsers send a host's cookies to all of its ports, so each server has one of its own."""
    return f"campaign_ui_{port}"


class Guard:
    """An ASGI application around MLflow's."""

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._has_token(scope):
            page = _WELCOME % json.dumps(_SETTINGS)
            await _answer(send, 200, "text/html", page.encode(), self._set_cookie())
        elif not self._has_cookie(scope):
            await _answer(send, 403, "text/plain", _NO_ENTRY)
        elif any(part in scope["path"] for part in _CLOSED):
            await _answer(send, 404, "application/json", _CLOSED_HERE)
        else:
            await self._app(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN_FIELD, [""])[0]
        return scope["path"] == "/" and self._is_token(given)

    def _has_cookie(self, scope: Scope) -> bool:
        headers = [v.decode("latin-1") for k, v in scope["headers"] if k == b"cookie"]
        try:
            jar = SimpleCookie("; ".join(headers))
        except CookieError:
            return False
        return self._cookie in jar and self._is_token(jar[self._cookie].value)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _set_cookie(self) -> tuple[bytes, bytes]:
        text = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        return b"set-cookie", text.encode()


async def _answer(
    send: Send, status: int, kind: str, body: bytes, *more: tuple[bytes, bytes]
) -> None:
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
