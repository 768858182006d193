"""A page that is served, and Debian's Chromium to look at it: what the browser tests share.

`CHROMIUM` is the browser of the system; where there is none, or no Playwright, the tests skip and say so.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvicorn

from whybert.web.api import web_application
from whybert.web.service import Limits, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM: Final = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

# Without these it asks hosts of its maker at each start; /dev/shm is small where tests run in containers.
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def served(models: Mapping[str, Any], limits: Limits | None = None) -> Iterator[str]:
    """The address of a page of these models, as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(models, limits)
    application = web_application(service)
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        service.close()
        server.should_exit = True
        thread.join(20)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, headless, as long as the block lasts."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this system (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def visiting(chromium: Browser, address: str, query: str = "") -> Iterator[Page]:
    """A fresh visitor on the page, which must not write to the console that something is wrong."""
    opened = chromium.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url),
    )
    try:
        opened.goto(f"{address}/?{query}")
        opened.locator("#answer figure").first.wait_for()
        yield opened
    finally:
        opened.close()
    assert not wrong
