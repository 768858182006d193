"""What takes long: a button asks for it, another stops it, and how far it has come is seen meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

import gradio as gr
from torch import Tensor

from whybert.anatomy import hooked
from whybert.classifier import Classifier
from whybert.errors import WhybertError
from whybert.web.controls import Controls
from whybert.web.service import Service
from whybert.web.showing import refused, safe
from whybert.web.state import State

__all__ = ["Long", "StoppedError", "watched"]

_Found = TypeVar("_Found")


class StoppedError(WhybertError):
    """Nobody waits for it any more."""


def watched(
    service: Service,
    state: State,
    what: Callable[[Classifier], _Found],
    stopped: Event,
    every: float = 0.4,
) -> Generator[int, None, _Found]:
    """What a function finds about the model of a state; meanwhile how many inputs the model was asked about.

    Args:
        service: that is asked, in another thread.
        state: whose model it is.
        what: the function.
        stopped: when it is set, the model is not asked any more; so it is when the generator is closed.
        every: seconds between two counts.

    Raises:
        StoppedError: it was stopped.
        WhybertError: what the function raises.
    """
    asked = 0

    def heed(module: object, arguments: Sequence[Any], named: dict[str, Any]) -> None:
        nonlocal asked
        if stopped.is_set():
            raise StoppedError("stopped")
        tensors = [each for each in (*arguments, *named.values()) if isinstance(each, Tensor)]
        asked += len(tensors[0]) if tensors and tensors[0].dim() else 0

    def work(classifier: Classifier) -> _Found:
        with hooked([classifier.model], heed):
            return what(classifier)

    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(service.ask, state, work, long=True)
        while not wait([future], every).done:
            if stopped.is_set():  # it may still wait for its turn, and ends as soon as it has that
                raise StoppedError("stopped")
            yield asked
        return future.result()
    finally:
        stopped.set()
        pool.shutdown(wait=False)


class Long:
    """A button, one that stops what it began, and what comes of it.

    Args:
        controls: of the page.
        service: that is asked.
        label: of the button.
        answer: from the state, its classifier and the values of `inputs` to HTML.
        estimate: from the state to what it will cost, in a few words.
        name: the id of the answer in the page.
        inputs: further components.
        script: what the answer does when it is clicked, see `gr.HTML`.
    """

    def __init__(
        self,
        controls: Controls,
        service: Service,
        label: str,
        answer: Callable[..., str],
        *,
        estimate: Callable[[State], str],
        name: str,
        inputs: Sequence[Any] = (),
        script: str | None = None,
    ) -> None:
        self.controls, self.service, self.answer = controls, service, answer
        self._stops: dict[str, Event] = {}
        with gr.Row(elem_classes="asking-long"):
            ask = gr.Button(label, variant="primary", size="md", scale=0, min_width=220)
            stop = gr.Button("Stop", size="md", scale=0, min_width=90, visible=False)
            cost = gr.HTML(padding=False)
        found = gr.HTML(elem_id=name, elem_classes="wb", apply_default_css=False, js_on_load=script)
        controls.answers(lambda state: f'<span class="note">{safe(estimate(state))}</span>', [cost])
        ask.click(
            self._ask,
            [*controls.inputs, *inputs],
            [found, stop],
            show_progress="hidden",
            concurrency_limit=None,  # the service has its own
            api_visibility="private",
        )
        stop.click(self._stop, None, None, queue=False, show_progress="hidden", api_visibility="private")

    def _ask(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, Any]]:
        count = len(self.controls.inputs)
        state, others = self.controls.state_of(*values[:count]), values[count:]
        session, stopped = str(request.session_hash), Event()
        if not state.text.strip():
            yield '<p class="hint">Type a text, or pick an example.</p>', gr.skip()
            return
        self._stops[session] = stopped
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        asked = 0
        work = watched(
            self.service, state, lambda classifier: self.answer(state, classifier, *others), stopped
        )
        try:
            yield _working(0), shown
            while True:
                asked = next(work)
                yield _working(asked), gr.skip()
        except StopIteration as end:
            yield end.value, hidden
        except StoppedError:
            yield f'<p role="status">Stopped after {asked:,} inputs of the model.</p>', hidden
        except WhybertError as error:
            yield refused(error), hidden
        finally:
            work.close()
            self._stops.pop(session, None)

    def _stop(self, request: gr.Request) -> None:
        stopped = self._stops.get(str(request.session_hash))
        if stopped is not None:
            stopped.set()


def _working(asked: int) -> str:
    said = f"{asked:,} inputs of the model so far" if asked else "waiting for the model"
    return f'<p role="status"><progress aria-label="working"></progress> {said}</p>'
