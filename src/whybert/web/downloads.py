"""Files of explanations, made when they are asked for: POST /download/KIND with the query of a state."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response

from whybert.errors import UnknownNameError, WhybertError
from whybert.saving import save
from whybert.web.service import Service
from whybert.web.showing import FILES
from whybert.web.state import State

__all__ = ["downloads"]

_TYPES = {"html": "text/html; charset=utf-8", "png": "image/png", "json": "application/x-ndjson"}


def downloads(service: Service) -> APIRouter:
    """The addresses of files."""
    router = APIRouter()

    @router.post("/download/{kind}", include_in_schema=False)
    async def download(kind: str, request: Request) -> Response:
        # Each character of a text takes up to 12 in a query, and there are at most four texts.
        most = 64 * service.limits.characters + 65_536
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise HTTPException(413)
        try:
            return await run_in_threadpool(
                _file, service, kind, State.of_query(body.decode("ascii", "replace"))
            )
        except WhybertError as error:
            return PlainTextResponse(str(error), 400)

    return router


def _file(service: Service, kind: str, state: State) -> Response:
    if kind not in FILES:
        raise UnknownNameError("file", kind, FILES)
    found = list(service.explain(state).values())
    name = _name(state, "jsonl" if kind == "json" else kind)
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        save(found, path, state.level)  # type: ignore[arg-type]
        content = path.read_bytes()
    return Response(
        content,
        media_type=_TYPES[kind],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def _name(state: State, suffix: str) -> str:
    """A name that says what the text is, in letters that every system takes: "whybert-a-dull-mess.html"."""
    plain = unicodedata.normalize("NFKD", state.text[:200]).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.lower())[:6]
    return "-".join(["whybert", *(word[:20] for word in words)]) + f".{suffix}"
