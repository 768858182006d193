"""`whybert serve`: the page and the JSON API."""

from __future__ import annotations

from typing import Annotated

from whybert.cli import options
from whybert.cli.options import MODEL_PANEL, OUTPUT_PANEL, told
from whybert.cli.output import note

LIMITS_PANEL = "Limits"


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
    max_length: int | None = told(
        MODEL_PANEL, "The most tokens a text may have; longer ones are cut.", "N", min=1
    ),
    host: str = told(
        OUTPUT_PANEL, "The address to listen on; anything but 127.0.0.1 lets others in.", "HOST", "127.0.0.1"
    ),
    port: int = told(OUTPUT_PANEL, "The port; 0 takes a free one.", "PORT", 7860, min=0, max=65535),
    name: Annotated[
        list[str] | None,
        options.option(
            OUTPUT_PANEL,
            "--name",
            "A name under which others reach it, such as that of a proxy; several: repeat it.",
            "NAME",
        ),
    ] = None,
    open: bool = told(OUTPUT_PANEL, "Open a browser on the page.", default=False),
    characters: int = told(LIMITS_PANEL, "Of a text and its pair together.", "N", 50_000, min=1),
    texts: int = told(LIMITS_PANEL, "Of one question to the JSON API.", "N", 32, min=1),
    methods: int = told(LIMITS_PANEL, "At once.", "N", 8, min=1),
    work: int = told(LIMITS_PANEL, "Of one question, passes times tokens of its text.", "N", 2**18, min=1),
    seconds: float = told(LIMITS_PANEL, "That a question may take, without its wait.", "S", 120.0, min=0.1),
    waiting: int = told(LIMITS_PANEL, "Questions that wait; more are refused.", "N", 64, min=1),
    cache: int = told(LIMITS_PANEL, "Megabytes of answers that are kept; 0 for none.", "MB", 64, min=0),
    file_size: int = told(LIMITS_PANEL, "Megabytes of a file of explanations.", "MB", 64, min=1),
    explanations: int = told(LIMITS_PANEL, "Of a file of explanations.", "N", 100_000, min=1),
) -> None:
    """Serve a page that explains what is typed, and the same as a JSON API, until interrupted."""
    from whybert.web import require_libraries, serve

    require_libraries()
    from whybert.web.service import Limits

    def ready(address: str, is_loopback: bool) -> None:
        if not is_loopback:
            note(
                "warning: others on the network reach this page, without a password and without encryption; "
                "leave --host out unless they may"
            )
        note(f"{address} (stop with Ctrl+C)")

    serve(
        model or ["builtin"],
        host=host,
        port=port,
        names=name or (),
        limits=Limits(
            characters=characters,
            texts=texts,
            methods=methods,
            work=work,
            seconds=seconds,
            waiting=waiting,
            cache_bytes=cache * 2**20,
            file_bytes=file_size * 2**20,
            explanations=explanations,
        ),
        open_browser=open,
        ready=ready,
        device=device,
        dtype=dtype,
        max_length=max_length,
    )
