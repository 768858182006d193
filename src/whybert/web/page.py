"""The page: the question above, a tab a panel below."""

from __future__ import annotations

from typing import Final

import gradio as gr

from whybert.web.controls import Controls
from whybert.web.panels import PANELS
from whybert.web.service import Service

__all__ = ["STYLE", "THEME", "page"]

# Fonts of the visitor's own machine: nothing is fetched from anywhere else.
THEME: Final = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
STYLE: Final = ".refused { border-left: 4px solid #d98e04; padding: .2em .7em; overflow-wrap: anywhere; }"


def page(service: Service) -> gr.Blocks:
    """The page of a service."""
    blocks: gr.Blocks
    with gr.Blocks(title="whybert", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gr.Markdown("# whybert\nWhy did the model decide so?")
        controls = Controls(service, PANELS[0].name)
        with gr.Tabs():
            for panel in PANELS:
                with gr.Tab(panel.title, id=panel.name) as tab:
                    panel.build(controls.within(panel.name, tab), service)
    return blocks
