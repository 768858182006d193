"""`whybert serve`: the page and the JSON API."""

from __future__ import annotations

from typing import Annotated

from whybert.cli import options
from whybert.cli.options import INPUT_PANEL, MODEL_PANEL, OUTPUT_PANEL, told
from whybert.cli.output import note


@options.spread
def serve_command(
    model: Annotated[
        list[str] | None,
        options.option(
            MODEL_PANEL,
            "--model -m",
            "builtin, a folder or a hub id; several: repeat it. Only these can be chosen.",
            "MODEL",
        ),
    ] = None,
    device: str | None = told(MODEL_PANEL, "cpu, cuda, cuda:1, mps ...", "DEVICE"),
    dtype: str | None = told(MODEL_PANEL, "float32, float64, bfloat16 or float16.", "DTYPE"),
    host: str = told(
        OUTPUT_PANEL, "The address to listen on; anything but 127.0.0.1 lets others in.", "HOST", "127.0.0.1"
    ),
    port: int = told(OUTPUT_PANEL, "The port; 0 takes a free one.", "PORT", 7860, min=0, max=65535),
    characters: int = told(
        INPUT_PANEL, "The most characters of a text and its pair together.", "N", 50_000, min=1
    ),
    open: bool = told(OUTPUT_PANEL, "Open a browser on the page.", default=False),
) -> None:
    """Serve a page that explains what is typed, and the same as a JSON API, until interrupted."""
    from whybert.web import require_libraries, serve

    require_libraries()
    from whybert.classifier import Classifier
    from whybert.web.service import Limits

    models = [Classifier.load(each, device=device, dtype=dtype) for each in model or ["builtin"]]
    note(f"http://{host}:{port} (stop with Ctrl+C)")
    serve(models, host=host, port=port, limits=Limits(characters=characters), open_browser=open)
