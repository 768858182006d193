"""The page: texts typed in a browser, their explanations beside one another, and the same as a JSON API.

`serve` starts it; it needs the extra `web`.  From the bottom up: `state` (what a visitor has chosen),
`cost` (what a question costs), `lanes` (questions that wait), `cache`, `service` (the models, asked in turn
and within limits), `panels` (the tabs of the page, one a file), `page` (Gradio), `guard` (who may ask), `api`
(HTTP), `listening` (the server).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whybert.errors import require_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

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
    names: Collection[str] = (),
    limits: Limits | None = None,
    open_browser: bool = False,
    ready: Callable[[str, bool], object] | None = None,
    **how: Any,
) -> None:
    """Serve the page and the JSON API until interrupted.

    Args:
        models: one classifier or several, anything that `Classifier.of` takes; only these can be chosen.
        host: the address to listen on; anything but a loopback address lets others in.
        port: the port to listen on; 0 takes a free one.
        names: under which others reach the server, such as "why.example.org" behind a proxy; addresses in
            digits, localhost and the name of the machine are known.
        limits: what a visitor may ask for; None takes the defaults.
        open_browser: whether a browser is opened on the page.
        ready: called when the page answers, with its address and whether only this machine reaches it.
        how: of names and folders, as of `Classifier.load`.

    Returns:
        Nothing, when it is interrupted.

    Raises:
        MissingExtraError: the extra `web` is not installed.
        UsageError: the address cannot be listened on, or two models have one name.
        WhybertError: what `Classifier.of` raises.
    """
    require_libraries()
    from whybert.web.listening import bound, listen
    from whybert.web.service import Limits, Service, share_processor

    # The address first: a model takes seconds to load.
    with bound(host, port) as found, _uploads():
        share_processor()
        service = Service.of(models, limits or Limits(), **how)
        service.warm()
        listen(service, found, names=names, open_browser=open_browser, ready=ready or (lambda *_: None))


@contextmanager
def _uploads() -> Iterator[None]:
    """A folder of our own for the files that visitors open, which goes when the server ends.

    Gradio is told by the environment alone.
    """
    name = "GRADIO_TEMP_DIR"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory(prefix="whybert-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
