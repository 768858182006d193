"""The page: texts typed in a browser, their explanations beside one another, and the same as a JSON API.

`serve` starts it; it needs the extra `web`.  From the bottom up: `state` (what a visitor has chosen),
`service` (the models, asked in turn and within limits), `panels` (the tabs of the page, one a file),
`page` (Gradio), `api` (HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whybert.errors import require_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whybert.classifier import ClassifierLike
    from whybert.web.service import Limits

__all__ = ["require_libraries", "serve"]


def require_libraries() -> None:
    """Raise MissingExtraError unless all that the page needs is installed; for before models are loaded."""
    require_all(("duckdb", "fastapi", "gradio", "matplotlib", "uvicorn"), "the page", "web")


def serve(
    models: ClassifierLike | Iterable[ClassifierLike] = "builtin",
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits | None = None,
    open_browser: bool = False,
) -> None:
    """Serve the page and the JSON API until interrupted.

    Args:
        models: one classifier or several, anything that `Classifier.of` takes; only these can be chosen.
        host: the address to listen on; anything but a loopback address lets others in.
        port: the port to listen on; 0 takes a free one.
        limits: what a visitor may ask for; None takes the defaults.
        open_browser: whether a browser is opened on the page.

    Returns:
        Nothing, when it is interrupted.

    Raises:
        MissingExtraError: the extra `web` is not installed.
        UsageError: the address cannot be listened on, or two models have one name.
        WhybertError: what `Classifier.of` raises.
    """
    require_libraries()
    from whybert.web.api import listen
    from whybert.web.service import Limits, Service

    listen(Service.of(models, limits or Limits()), host, port, open_browser)
