"""HTTP: the JSON API under /api, the health of the service, and the page at /."""

from __future__ import annotations

import threading
import webbrowser

import gradio as gr
import uvicorn
from fastapi import FastAPI

from whybert import __version__
from whybert.web.downloads import downloads
from whybert.web.page import STYLE, THEME, page
from whybert.web.service import Service

__all__ = ["listen", "web_application"]


def web_application(service: Service) -> FastAPI:
    """The application that answers HTTP."""
    application = FastAPI(title="whybert", version=__version__, docs_url=None, redoc_url=None)

    @application.get("/api/health")
    def health() -> dict[str, object]:
        return {"status": "ok", "version": __version__, "models": list(service.models)}

    application.include_router(downloads(service))
    mounted: FastAPI = gr.mount_gradio_app(
        application,
        page(service),
        path="/",
        theme=THEME,
        css=STYLE,
        footer_links=[],
        max_file_size=service.limits.file_bytes,
        show_error=False,
        ssr_mode=False,
    )
    return mounted


def listen(service: Service, host: str, port: int, open_browser: bool = False) -> None:
    """Answer until interrupted."""
    server = uvicorn.Server(
        uvicorn.Config(web_application(service), host=host, port=port, log_level="warning")
    )
    if open_browser:
        threading.Timer(1.0, webbrowser.open, [f"http://{host}:{port}"]).start()
    server.run()
