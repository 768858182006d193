"""The arguments and options that commands share."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from whybert.errors import UsageError

MODEL_PANEL, INPUT_PANEL, METHOD_PANEL, OUTPUT_PANEL = "Model", "Input", "Method", "Output"  # of the help

TextsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TEXT]...",
        help="A text; - reads lines from stdin; the name of a file reads its lines.",
        show_default=False,
    ),
]
TextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="TEXT",
        help="A text, even if it looks like the name of a file; after those given as arguments.",
        rich_help_panel=INPUT_PANEL,
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


class ReportFormat(StrEnum):
    """Of what is printed as a whole: for people, or as JSON for programs."""

    TERMINAL = "terminal"
    JSON = "json"


ReportFormatOption = Annotated[
    ReportFormat,
    typer.Option("--format", "-f", help="How to show it.", rich_help_panel=OUTPUT_PANEL),
]


def format_option(formats: Iterable[str]) -> Any:
    """An option that takes the name of a format; without it the suffix of the file of -o decides."""
    return typer.Option(
        "--format",
        "-f",
        metavar="|".join(("terminal", *formats)),
        help="How to show it; default: as the file's name says, else terminal.",
        rich_help_panel=OUTPUT_PANEL,
    )


MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME[:OPTION=VALUE]",
        help="See whybert list methods; several options, and several methods, with commas: "
        "gi:reduction=sum,lat.",
        rich_help_panel=METHOD_PANEL,
    ),
]


def _data_option(name: str, metavar: str, help_: str) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, help=help_, rich_help_panel=INPUT_PANEL)


DataOption = Annotated[
    str | None,
    _data_option("data", "NAME", "The rows of a data set: a known name or a table; instead of TEXT."),
]
DataDirOption = Annotated[
    str | None, _data_option("data-dir", "FOLDER", "The files of a known data set; else the hub is asked.")
]
SplitOption = Annotated[
    str | None, _data_option("split", "NAME", "Of the data set; default: test, or the only one.")
]
TextColumnOption = Annotated[str | None, _data_option("text-column", "NAME", "Of a table: the texts.")]
PairColumnOption = Annotated[str | None, _data_option("pair-column", "NAME", "Of a table: the second texts.")]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help="Only the first rows of --data.", rich_help_panel=INPUT_PANEL
    ),
]
LabelColumnOption = Annotated[str | None, _data_option("label-column", "NAME", "Of a table: the labels.")]
LabelMapOption = Annotated[
    list[str] | None,
    _data_option(
        "label-map", "A=B,...", "Label A of the data is B of the model (a name or an index); repeatable."
    ),
]


def read_label_map(given: list[str] | None) -> dict[str, str] | None:
    """What --label-map says, or None if it is not there."""
    if given is None:
        return None
    found: dict[str, str] = {}
    for entry in listed(given):
        label, equals, target = (part.strip() for part in entry.partition("="))
        if not (label and equals and target):
            raise UsageError(f"expected --label-map LABEL=MODEL_LABEL,..., found {entry!r}")
        if found.setdefault(label, target) != target:
            raise UsageError(f"expected each label in --label-map once, found {label!r} twice")
    return found


def listed(given: list[str] | None) -> list[str]:
    """The values of an option that can be repeated and holds several with commas between them."""
    return [name.strip() for entry in given or [] for name in entry.split(",") if name.strip()]


def methods(given: list[str] | None) -> list[str]:
    """The values of an option that can be repeated and holds several methods with commas between them."""
    from whybert.methods import split

    return [spec for entry in given or [] for spec in split(entry)]
