"""The arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

MODEL_PANEL, INPUT_PANEL, OUTPUT_PANEL = "Model", "Input", "Output"  # of the help

TextsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="A text; - reads lines from stdin; the name of a file reads its lines.",
        show_default=False,
    ),
]
PairOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        metavar="TEXT",
        help="The second text of a pair, one for each TEXT.",
        rich_help_panel=INPUT_PANEL,
    ),
]
TabPairsOption = Annotated[
    bool, typer.Option("--tab-pairs", help="Each line is text<TAB>pair.", rich_help_panel=INPUT_PANEL)
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="builtin, a folder or a hub id; see whybert list models.",
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps ...", rich_help_panel=MODEL_PANEL
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="float32, float64, bfloat16 or float16.",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="N",
        min=1,
        help="The most tokens a text may have; longer ones are cut.",
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchSizeOption = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Texts at a time.", rich_help_panel=MODEL_PANEL),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write here instead of to stdout, all at once in the end.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
FORMAT_OPTION: Final = typer.Option("--format", "-f", help="How to show it.", rich_help_panel=OUTPUT_PANEL)
