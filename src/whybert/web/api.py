"""HTTP: the JSON API under /api, and the page at /."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar

import anyio
import gradio as gr
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from whybert import __version__
from whybert.errors import (
    InputError,
    ModelError,
    NonFiniteError,
    UnknownNameError,
    UsageError,
    WhybertError,
    one_line,
)
from whybert.explanation import LEVELS
from whybert.files import json_line
from whybert.methods import METHODS
from whybert.targets import QUANTITIES
from whybert.typed import bounds_of, choices_of, expected, hinted
from whybert.web.cost import CLOSED
from whybert.web.downloads import downloads
from whybert.web.guard import Guard, refusal
from whybert.web.page import STYLE, THEME, page
from whybert.web.service import (
    BusyError,
    Service,
    TimeLimitError,
    TooLargeError,
    WithdrawnError,
)
from whybert.web.state import State

__all__ = ["web_application"]

_Found = TypeVar("_Found")

RETRY: Final = 2
"""Seconds after which who was refused for too many questions may ask again."""

# The first that fits says the status of an error; an error of the question itself is the last.
_STATUS: Final[tuple[tuple[type[Exception], HTTPStatus], ...]] = (
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TimeLimitError, HTTPStatus.SERVICE_UNAVAILABLE),
    (WithdrawnError, HTTPStatus.CONFLICT),
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ModelError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (WhybertError, HTTPStatus.INTERNAL_SERVER_ERROR),
)

_ALL: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

# A text, or a text and its pair.
Pair = tuple[str, str]


class _Asked(BaseModel):
    """What is asked about: one text, or several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(None, description="The text; or give texts.")
    pair: str | None = Field(None, description="The second text, of a model of pairs.")
    texts: list[str | list[str]] | None = Field(
        None, description="Several texts, each a string, or a list of a text and its pair."
    )
    model: str = Field("", description="The name of a model of /api/v1/models; empty for the first.")


class _Explained(_Asked):
    """What is to be explained of it."""

    methods: list[str] = Field(["attnlrp"], description='Methods with options, such as "gi:reduction=sum".')
    target: str = Field("", description="The class to explain; empty for the predicted one.")
    contrast: str = Field("", description="The class that the target is held against; empty for none.")
    quantity: str = Field("", description="What of the target is explained; empty for its logit.")
    layers: bool = Field(False, description="Whether each layer's scores are wanted.")
    heads: bool = Field(False, description="Whether each head's score is wanted.")
    visitor: str = Field(
        "",
        max_length=100,
        description="A name: a question takes the place of what was asked before under it and still waits.",
    )


class _Error(BaseModel):
    type: str
    message: str


class _Refused(BaseModel):
    """What every error looks like."""

    error: _Error


class _Health(BaseModel):
    status: Literal["ok"]
    version: str
    models: list[str]


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status.value: {"model": _Refused, "description": said}
    for status, said in (
        (HTTPStatus.BAD_REQUEST, "no JSON"),
        (HTTPStatus.NOT_FOUND, "no such model"),
        (HTTPStatus.CONFLICT, "a later question of the visitor took its place"),
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "larger than the limits allow"),
        (HTTPStatus.UNPROCESSABLE_ENTITY, "a question that has no answer; the message says the way out"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "too many questions at once (Retry-After says when), or stopped"),
    )
}


def web_application(service: Service, names: Collection[str] = ()) -> ASGIApp:
    """The application that answers HTTP.

    Args:
        service: what answers.
        names: as of `Guard`.
    """
    application = FastAPI(
        title="whybert",
        version=__version__,
        description="Why a text classifier decided as it did.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    application.add_exception_handler(WhybertError, _of_error)
    application.add_exception_handler(RequestValidationError, _of_error)
    application.add_exception_handler(HTTPException, _of_error)
    application.add_exception_handler(Exception, _of_error)
    application.include_router(_router(service), prefix="/api/v1")
    application.get("/api/health", response_model=_Health)(partial(_health, service))
    application.include_router(downloads(service))
    application.api_route("/api/{rest:path}", methods=_ALL, include_in_schema=False)(_nothing)
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
    return Guard(mounted, service.limits, names)


async def _health(service: Service) -> dict[str, Any]:
    return {"status": "ok", "version": __version__, "models": list(service.models)}


async def _nothing(rest: str) -> Response:
    return refusal(HTTPStatus.NOT_FOUND, "NotFound", "there is nothing here; see /api/openapi.json")


async def _of_error(_: Request, error: Exception) -> Response:
    """An error as JSON; of one that is none of ours only that it happened."""
    headers: dict[str, str] = {}
    match error:
        case WhybertError():
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            if isinstance(error, UnknownNameError) and error.kind == "model":
                status = HTTPStatus.NOT_FOUND
            if isinstance(error, BusyError):
                headers["Retry-After"] = str(RETRY)
            return refusal(status, type(error).__name__, str(error), **headers)
        case RequestValidationError():
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                return refusal(HTTPStatus.BAD_REQUEST, "JSONError", "the body of the request is no JSON")
            place = ".".join(str(each) for each in first["loc"] if each != "body")
            message = one_line(f"{place or 'the body'}: {first['msg']}")
            return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "InputError", message)
        case HTTPException():
            phrase = HTTPStatus(error.status_code).phrase
            return refusal(error.status_code, phrase.replace(" ", ""), one_line(error.detail))
    return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", "something went wrong on the server")


def _router(service: Service) -> APIRouter:
    router = APIRouter(responses=_REFUSALS)
    # Threads that wait for answers; more questions than may wait are refused, so a few more are enough.
    threads = anyio.CapacityLimiter(2 * service.limits.waiting + 16)

    async def waited(ask: Any, *args: Any) -> Any:
        return await anyio.to_thread.run_sync(ask, *args, limiter=threads)

    router.get("/health", response_model=_Health)(partial(_health, service))

    @router.get("/models")
    async def models() -> Response:
        """The models that can be chosen."""
        return _json({"models": [_model(name, each) for name, each in service.models.items()]})

    @router.get("/methods")
    async def methods() -> Response:
        """The methods, their options and what they cost."""
        known = {name: kind for name, kind in METHODS.items() if not kind.given}
        return _json(
            {
                "methods": [_method(kind) for kind in known.values()],
                "quantities": {name: each.summary for name, each in QUANTITIES.items()},
                "levels": list(LEVELS),
            }
        )

    @router.post("/predict")
    async def predict(asked: _Asked) -> Response:
        """What the model says of each text, with its probabilities."""
        found = await _all(waited, service.predict, _states(service, asked))
        return _json({"predictions": [each.to_dict() for each in found]})

    @router.post("/explain")
    async def explain(asked: _Explained) -> Response:
        """Why the model says so: for each text and each method an explanation, as `whybert.load` reads it."""

        def explained(state: State) -> Any:
            return service.explain(state, layers=asked.layers, heads=asked.heads)

        states = _states(service, asked)
        if asked.visitor:
            with service.latest(asked.visitor):
                found = await _all(waited, explained, states)
        else:
            found = await _all(waited, explained, states)
        return _json({"explanations": [row.to_dict() for rows in found for row in rows.values()]})

    return router


async def _all(waited: Any, ask: Any, states: list[State]) -> list[Any]:
    """The answers to all, which wait beside one another and so can be answered together."""
    found: dict[int, Any] = {}
    wrong: dict[int, WhybertError] = {}

    async def one(place: int, state: State) -> None:
        try:
            found[place] = await waited(ask, state)
        except (InputError, NonFiniteError) as error:
            wrong[place] = error if error.index is None else error.at(f"text {place}", place)
        except WhybertError as error:
            wrong[place] = error

    async with anyio.create_task_group() as group:
        for place, state in enumerate(states):
            group.start_soon(one, place, state)
    if wrong:
        raise wrong[min(wrong)]
    return [found[place] for place in range(len(states))]


def _states(service: Service, asked: _Asked) -> list[State]:
    """A state for each text.

    Raises:
        UsageError: there is none, or too many, or they are no texts.
    """
    if (asked.text is None) == (asked.texts is None) or (asked.texts is not None and asked.pair is not None):
        raise UsageError("expected text (and pair), or texts: give one of them")
    listed = [[asked.text or "", asked.pair or ""]] if asked.texts is None else asked.texts
    if not listed:
        raise UsageError("expected texts, found an empty list: give at least one")
    if len(listed) > service.limits.texts:
        raise TooLargeError(
            f"expected at most {service.limits.texts} texts, found {len(listed)}: ask in parts"
        )
    how: dict[str, Any] = {}
    if isinstance(asked, _Explained):
        how = {
            "methods": tuple(asked.methods),
            "target": asked.target,
            "against": asked.contrast,
            "quantity": asked.quantity,
        }
    states = []
    for each in listed:
        texts = [each] if isinstance(each, str) else each
        if not 1 <= len(texts) <= 2:
            raise UsageError("expected each of texts as a string, or as a list of a text and its pair")
        states.append(State(asked.model, texts[0], texts[1] if len(texts) == 2 else "", **how))
    return states


def _model(name: str, classifier: Any) -> dict[str, Any]:
    return {
        "name": name,
        "labels": list(classifier.labels),
        "max_length": classifier.max_length,
        "problem_type": classifier.problem_type,
    }


def _method(kind: Any) -> dict[str, Any]:
    plain = kind()
    return {
        "name": kind.name,
        "summary": kind.summary,
        "kind": kind.kind,
        "signed": plain.is_signed,
        "passes": plain.passes,
        "needs": kind.needs,
        "options": [
            {
                "name": field.name,
                "default": field.default,
                "choices": list(choices_of(hint)),
                "what": f"{expected(hint)} {bounds_of(field)}".strip(),
            }
            for field, hint in hinted(kind)
            if field.name not in CLOSED
        ],
    }


def _json(value: Any) -> Response:
    """JSON in ASCII, so that lone surrogates of a text survive."""
    return Response(json_line(value), media_type="application/json")
