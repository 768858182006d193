"""What stands between a visitor and the page: who may ask, how much may be sent, and what is said of it.

A browser that was led astray is refused: a `Host` that is no name of this server (DNS rebinding), and an
`Origin` that is another site's.  An address in digits is no name, so nobody can rebind it.  Of Gradio's own
addresses only those are open that the page uses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whybert.web.lanes import Asker, asking
from whybert.web.service import Limits

__all__ = ["Guard", "refusal"]

# What Gradio's page needs: its own inline scripts and styles, its workers, pictures in data; no other host.
_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_CLOSED: Final = re.compile(r"/(monitoring|login|logout|config|openapi\.json)(/|$)", re.ASCII)
_GRADIO: Final = "/gradio_api/"
_OPEN: Final = re.compile(
    r"(run/[^/]+/?$|queue/(join|data)$|heartbeat/|upload$|upload_progress$|file=|startup-events$|cancel$"
    r"|app_id$|reset$)",
    re.ASCII,
)


def refusal(status: int, kind: str, message: str, **headers: str) -> Response:
    """An error as JSON: {"error": {"type": ..., "message": ...}}."""
    content = json.dumps({"error": {"type": kind, "message": message}})
    return Response(content, status, headers=headers, media_type="application/json")


class Guard:
    """An ASGI application that lets through to another what it may be asked.

    Args:
        application: the other.
        limits: of what is sent.
        names: under which the server is reached, beside addresses in digits, localhost and the machine's own.
    """

    def __init__(self, application: ASGIApp, limits: Limits, names: Collection[str] = ()) -> None:
        self.application, self.limits = application, limits
        self.names = {"localhost", socket.gethostname().casefold(), *map(str.casefold, names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        visit = _Visit(receive, self._most(scope["path"]))

        async def sent(message: MutableMapping[str, Any]) -> None:
            if visit.is_too_much:
                return  # what the application says of what it did not get
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, sent)
            return
        with suppress(_TooMuchError), asking(visit.asker), visit.watched():
            await self.application(scope, visit.receive, sent)
        if visit.is_too_much:
            visit.is_too_much = False
            await _too_much(visit.most)(scope, receive, sent)

    def _refused(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not self._is_ours(host):
            return refusal(
                HTTPStatus.FORBIDDEN,
                "HostError",
                f"{host[:200]!r} is no name of this server; start it with --name for the name it has",
            )
        origin = headers.get("origin")
        if origin is not None and _host_of(origin).casefold() != host.casefold():
            return refusal(
                HTTPStatus.FORBIDDEN, "OriginError", "the request comes from the page of another site"
            )
        is_open = not path.startswith(_GRADIO) or _OPEN.match(path.removeprefix(_GRADIO))
        if not is_open or _CLOSED.match(path):
            return refusal(HTTPStatus.NOT_FOUND, "NotFound", "there is nothing here")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return refusal(HTTPStatus.BAD_REQUEST, "BadRequest", "the length of the request is no number")
        return _too_much(most) if int(length) > (most := self._most(path)) else None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name in self.names

    def _most(self, path: str) -> int:
        """The bytes that may be sent to a path; a file comes with a few lines around it."""
        files = path == f"{_GRADIO}upload"
        return self.limits.file_bytes + 2**16 if files else self.limits.body_bytes


def _host_of(origin: str) -> str:
    """The host and port of an origin; empty for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


class _TooMuchError(Exception):
    """More was sent than may be."""


def _too_much(most: int) -> Response:
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLargeError", f"expected at most {most:,} bytes")


class _Visit:
    """What is received of a request: counted, and watched for the end of the connection."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.asker, self.most = Asker(), most
        self.is_too_much = False
        self._receive, self._bytes = receive, 0
        self._rest: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        if self._rest is not None:
            return await asyncio.shield(self._rest)
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self.most:
            self.is_too_much = True
            raise _TooMuchError
        if message["type"] == "http.request" and not message.get("more_body", False):
            # All that comes now is that the visitor has gone, whether or not the application asks.
            self._rest = asyncio.create_task(self._end())
        return message

    async def _end(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.asker.leave()
        return message

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch no longer than the block."""
        try:
            yield
        finally:
            if self._rest is not None:
                self._rest.cancel()
