"""The question above the tabs: the model, the text, the methods and what is explained.

It is one form of plain HTML whose fields are called as those of a `State`, so that the form, the query of a
link and a `State` are the same in three spellings; `page.js` keeps them together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import fields
from functools import partial
from html import escape
from importlib import resources
from typing import Any, Final

import gradio as gr

from whybert.classifier import Classifier
from whybert.explanation import LEVELS
from whybert.methods import METHODS
from whybert.methods.base import KINDS, Method
from whybert.methods.specs import create
from whybert.render import visible
from whybert.targets import QUANTITIES
from whybert.web.service import Service, WithdrawnError
from whybert.web.state import LINK, State

__all__ = ["Controls"]

# What a visitor can pick: the built-in model is one of sentiment, most models of pairs one of inference.
EXAMPLES: Final = (
    ("The plot is predictable, but the acting is superb and I loved every minute of it.", ""),
    ("It is not without charm, yet I was bored to tears.", ""),
    ("A dull, overlong mess.", ""),
    ("A man is playing a guitar on stage.", "Somebody makes music."),
    ("The committee rejected the proposal.", "The proposal was accepted."),
)
START: Final = ("attnlrp", "cp_lrp")

# What is in the name of some label of a model that reads pairs: nothing else says it of a model.
PAIRED: Final = ("entail", "contradict", "duplicate", "paraphrase", "equivalent")

# Of methods that ask the model so often that one waits for them.
SLOW: Final = "many passes"

SCRIPT: Final = resources.files(__package__).joinpath("page.js").read_text(encoding="utf-8")

_FAILED: Final = "() => whybert.failed()"
# What a listener of the page is given in place of the question: what it is at that moment.
_NOW: Final = "(asked, ...others) => [whybert.asking(), ...others]"


class Controls:
    """The question, and what listens to it.  Built within the Blocks of the page.

    Args:
        page: in which it is built.
        service: whose models can be chosen.
        panels: the names of the tabs; the first is shown first.
    """

    def __init__(self, page: gr.Blocks, service: Service, panels: Sequence[str] = ()) -> None:
        self.page, self._service, self._panel = page, service, ""
        # The events are listened to by their names, which stand in the script for that.
        events = ["asked", *map(_event, panels)]
        self.form = gr.HTML(
            _form(service, panels),
            js_on_load=f"const EVENTS = {json.dumps(events)};\n{SCRIPT}",
            apply_default_css=False,
            elem_id="question",
        )
        self.question = gr.Textbox(visible="hidden", elem_id="query")
        self.form.asked(None, None, [self.question], js="() => whybert.query()", api_visibility="private")

    def within(self, name: str, tab: gr.Tab) -> Controls:
        """The same for a panel in a tab, which answers while one looks at it."""
        tab.select(None, None, None, js=f"() => whybert.shown({name!r})", api_visibility="private")
        found = copy(self)
        found._panel = name
        return found

    @property
    def inputs(self) -> list[Any]:
        """The components, for the `inputs` of an event whose function begins with `state_of(*values)`."""
        return [self.question]

    def state_of(self, *values: Any) -> State:
        """The state of the values of `inputs`."""
        return State.of_query(values[0] or "")

    def add(self, name: str, component: Any) -> None:
        """A component of a panel that holds a further field of a `State`: it goes into links too."""
        assert name in {field.name for field in fields(State)}
        js = f"(value) => whybert.set({name!r}, value)"
        component.change(None, [component], None, js=js, api_visibility="private")

        def restored(asked: str) -> Any:
            return getattr(State.of_query(asked or ""), name) or gr.skip()

        # The link is read before anything is asked.
        self.page.load(
            restored,
            [self.question],
            [component],
            js="() => location.search",
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def answers(
        self,
        answer: Callable[..., Any],
        outputs: Sequence[Any],
        *,
        inputs: Sequence[Any] = (),
        on: Any = None,
        at_first: Callable[..., Any] | None = None,
    ) -> None:
        """Show what a function says of the state, at once and again whenever it changes.

        Within a tab that is not looked at it is asked when that tab is chosen.  What a visitor has asked
        before is withdrawn.

        Args:
            answer: of the state and the values of `inputs`.
            outputs: the components that show it.
            inputs: further components, whose values it is given too.
            on: an event, such as `button.click`, when it is asked in place of that.
            at_first: of the same; what the one output shows until there is an answer, or None if that is
                there at once.
        """

        def by(what: Callable[..., Any], asked: str, request: gr.Request, values: Sequence[Any]) -> Any:
            try:
                with self._service.latest(f"{request.session_hash} {id(answer)}"):
                    return what(State.of_query(asked), *values)
            except WithdrawnError:
                return gr.skip()

        def said(asked: str, request: gr.Request, *values: Any) -> Any:
            return by(answer, asked, request, values)

        def first(asked: str, request: gr.Request, *values: Any) -> Any:
            assert at_first is not None
            shown = by(at_first, asked, request, values)
            return (said(asked, request, *values), False) if shown is None else (shown, True)

        def rest(asked: str, is_missing: bool, request: gr.Request, *values: Any) -> Any:
            return said(asked, request, *values) if is_missing else gr.skip()

        how: dict[str, Any] = {"js": _NOW, "queue": False, "show_progress": "hidden"}
        how["api_visibility"] = "private"
        listen = partial(on or getattr(self.form, _event(self._panel)), trigger_mode="always_last", **how)
        if at_first is None:
            asked = listen(said, [self.question, *inputs], list(outputs))
        else:
            is_missing = gr.State(False)
            asked = listen(first, [self.question, *inputs], [*outputs, is_missing])
            asked.failure(None, None, None, js=_FAILED, api_visibility="private")
            asked = asked.success(
                rest,
                [self.question, is_missing, *inputs],
                list(outputs),
                trigger_mode="multiple",  # of another text, while that of the one before still runs
                **how,
            )
        asked.then(None, None, None, js="() => whybert.answered()", api_visibility="private")
        asked.failure(None, None, None, js=_FAILED, api_visibility="private")


def _event(panel: str) -> str:
    return f"ask_{panel}"


def paired(classifier: Classifier) -> bool:
    """Whether the labels are those of models that read two texts."""
    return any(sign in label.lower() for label in classifier.labels for sign in PAIRED)


def _form(service: Service, panels: Sequence[str]) -> str:
    """The question as HTML."""
    models = {
        name: {
            "labels": list(each.labels),
            "paired": paired(each),
            "quantities": [name for name, one in QUANTITIES.items() if each.link in one.links],
        }
        for name, each in service.models.items()
    }
    default = State()
    data = {
        "models": models,
        "defaults": {field.name: getattr(default, field.name) for field in fields(State)},
        "start": START,
        "tabs": list(panels),
        "link": LINK,
    }
    first = next(iter(service.models))
    is_paired = models[first]["paired"]
    text, pair = next(each for each in EXAMPLES if bool(each[1]) == is_paired)
    several = len(models) > 1
    return f"""
<form class="question" data-page="{_said(json.dumps(data))}" autocomplete="off">
  <div class="texts">
    {_textarea("text", "Text", text)}
    {_textarea("pair", "Second text", pair)}
  </div>
  <div class="examples" role="group" aria-label="Examples">
    <span>Examples</span>{"".join(map(_example, EXAMPLES))}
    <button type="button" class="quiet" data-pair>Add a second text</button></div>
  <div class="choices">
    {_select("model", "Model", {name: name for name in models}) if several else ""}
    <div class="methods" role="group" aria-labelledby="methods-label">
      <span id="methods-label" class="name">Methods</span>
      <div class="chosen"></div>
      <details class="menu"><summary>Choose methods</summary>{_menu(service.limits.methods)}</details>
    </div>
    {_select("target", "Explained class", {"": "the predicted class"})}
    {_select("against", "Against", {"": "no other class"})}
    <fieldset class="level"><legend class="name">Scores of</legend>
      <div>{"".join(map(_level, LEVELS))}</div></fieldset>
    <details class="more"><summary>More</summary><div>
      {_select("quantity", "What of the class", _quantities())}</div></details>
  </div>
  <p class="said" role="status" aria-live="polite" hidden></p>
</form>"""


def _said(text: str) -> str:
    return escape(text)


def _select(name: str, label: str, options: Mapping[str, str]) -> str:
    listed = "".join(
        f'<option value="{_said(value)}">{_said(visible(said))}</option>' for value, said in options.items()
    )
    return _labelled(name, label, f'<select name="{name}" id="{name}">{listed}</select>')


def _labelled(name: str, label: str, control: str, hidden: str = "") -> str:
    return f'<div class="{name}"{hidden}><label class="name" for="{name}">{label}</label>{control}</div>'


def _textarea(name: str, label: str, text: str) -> str:
    # A line break right behind the tag is none of the text.
    control = f'<textarea name="{name}" id="{name}" rows="2" dir="auto" spellcheck="false">\n{_said(text)}'
    return _labelled(name, label, f"{control}</textarea>", " hidden" if name == "pair" else "")


def _quantities() -> dict[str, str]:
    return {"": "its logit"} | {
        name: f"{name.replace('_', '-')}: {each.summary}"
        for name, each in QUANTITIES.items()
        if name != "logit"
    }


def _level(level: str) -> str:
    checked = " checked" if level == State().level else ""
    return f'<label><input type="radio" name="level" value="{level}"{checked}><span>{level}s</span></label>'


def _example(example: tuple[str, str]) -> str:
    text, pair = map(_said, example)
    # The texts are short enough to be read whole; the pair is seen once it is chosen.
    return f'<button type="button" class="example" data-text="{text}" data-other="{pair}">{text}</button>'


def _menu(most: int) -> str:
    """The methods by their kind, each with a line, and a field for those with options."""
    recommended = METHODS[State().methods[0]].kind
    groups = "".join(
        f"<fieldset><legend>{kind}</legend>{''.join(map(_method, _of(kind)))}</fieldset>"
        for kind in sorted(KINDS, key=lambda kind: kind != recommended)
    )
    return f"""<div class="list">
<div class="typed"><label>With options <input type="text" data-spec placeholder="such as gi:reduction=sum"
  autocapitalize="off" spellcheck="false"></label><button type="button" data-add>Add</button>
  <span>At most {most} at once. <b class="slow">{SLOW}</b>: seconds a text.</span></div>
<div class="groups">{groups}</div></div>"""


def _of(kind: str) -> list[type[Method]]:
    """Those of a kind that are of use without an option."""
    return [each for each in METHODS.values() if each.kind == kind and not each.given]


def _method(method: type[Method]) -> str:
    passes = create(method.name).passes
    counted = [int(word) for word in passes.split() if word.isdigit()]
    slow = " for n " in passes or sum(counted) > 10
    mark = f' <b class="slow" title="{_said(passes)}">{SLOW}</b>' if slow else ""
    return (
        f'<label title="{_said(passes)}"><input type="checkbox" value="{method.name}">'
        f"<span><b>{method.name}</b>{mark} {_said(method.summary)}</span></label>"
    )
