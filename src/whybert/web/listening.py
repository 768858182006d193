"""A socket, and the server that answers on it until it is interrupted."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import uvicorn

from whybert.errors import UsageError, one_line
from whybert.web.api import web_application
from whybert.web.service import Service

__all__ = ["address_of", "bound", "is_loopback", "listen"]

GRACE: Final = 2
"""Seconds that answers which are on their way have left when the server is interrupted."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address, before anything is loaded for it.

    Raises:
        UsageError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host!r}: {_said(error)}; give another --host") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(socket.SOMAXCONN)  # so that two servers cannot both have it
    except OSError as error:
        found.close()
        raise UsageError(
            f"cannot listen on port {port} of {host}: {_said(error)}; give another --port (0: a free one)"
        ) from error
    return found


def _said(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or error).lower()


def address_of(found: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = found.getsockname()[:2]
    named = ipaddress.ip_address(host.partition("%")[0])
    if named.is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(found: socket.socket) -> bool:
    """Whether nobody but this machine reaches it."""
    address: str = found.getsockname()[0]
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


class _Server(uvicorn.Server):
    """It says when it answers, and lets nobody wait when it ends."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.service, self.ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # What is cut off now is no error of the application.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.service.close()
        await super().shutdown(sockets)


def listen(
    service: Service,
    found: socket.socket,
    *,
    names: Collection[str] = (),
    open_browser: bool = False,
    ready: Callable[[str, bool], object] = lambda address, is_loopback: None,
) -> None:
    """Answer until interrupted.

    Args:
        service: what answers.
        found: a socket of `bound`.
        names: under which others reach the server, see `whybert.web.guard`.
        open_browser: whether a browser is opened on the page.
        ready: called when it answers, with the address and whether only this machine reaches it.
    """
    address, is_own = address_of(found), is_loopback(found)

    def started() -> None:
        ready(address, is_own)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    config = uvicorn.Config(
        web_application(service, names),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,  # as long as a visitor thinks
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=4 * service.limits.waiting + 64,
    )
    server = _Server(config, service, started)
    # The signal comes again when the server has ended: to be interrupted is how it ends.
    with suppress(KeyboardInterrupt):
        try:
            server.run(sockets=[found])
        finally:
            service.close()
            found.close()
