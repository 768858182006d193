"""The page: the question above, a tab a panel below."""

from __future__ import annotations

from importlib import resources
from typing import Final

import gradio as gr

from whybert import __version__
from whybert.web.controls import Controls
from whybert.web.panels import PANELS
from whybert.web.service import Service

__all__ = ["STYLE", "THEME", "page"]

# Fonts of the visitor's own machine: nothing is fetched from anywhere else.
THEME: Final = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
STYLE: Final = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")

_HEAD: Final = """<header class="head"><h1>whybert</h1><p>Why did the model decide so?</p>
<button type="button" data-help aria-haspopup="dialog">Help</button></header>
<dialog id="help" aria-labelledby="help-title"><form method="dialog">
<h2 id="help-title">How to read the page</h2>
<p>The model reads the text and decides. A method gives each word a score: how much it spoke for the class
that is explained, or against it. <b>Red</b> words support it, <b>blue</b> ones with a dotted line speak
against it, yellow ones are merely relevant. The scale under a heat map says how much the strongest is.</p>
<p><b>The line of a method</b> says what the explained number, most often a logit, is made of: what all tokens
give, what the model's own constants (biases) give, and what the method leaves unaccounted.</p>
<p><b>Edit a word</b> in a heat map: click it, or reach it with Tab and the arrow keys and press Enter. Enter
keeps what you type, Escape does not, Delete takes the word away, Ctrl+Z brings it back.</p>
<p><b>Which method?</b> <code>attnlrp</code> is a good first one. Two that disagree are a reason to doubt
both: a score says what the output depends on by the method's own account, not what the model thought.</p>
<p>The address of the page holds the text and all that is chosen, so it is a link to what you see.</p>
<p class="version">whybert VERSION</p><button autofocus>Close</button></form></dialog>"""


def page(service: Service) -> gr.Blocks:
    """The page of a service."""
    blocks: gr.Blocks
    with gr.Blocks(title="whybert", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gr.HTML(_HEAD.replace("VERSION", __version__), apply_default_css=False, js_on_load=None)
        controls = Controls(blocks, service, [panel.name for panel in PANELS])
        with gr.Tabs(elem_id="panels"):
            for panel in PANELS:
                with gr.Tab(panel.title, id=panel.name) as tab:
                    gr.HTML(f"<h2>{panel.title}</h2>", elem_classes="unseen", js_on_load=None)
                    panel.build(controls.within(panel.name, tab), service)
    return blocks
