"""The arguments and options that commands share."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from whybert.errors import UsageError

MODEL_PANEL, INPUT_PANEL, METHOD_PANEL, OUTPUT_PANEL = "Model", "Input", "Method", "Output"  # of the help


def option(panel: str, names: str, help: str, metavar: str | None = None, **how: Any) -> Any:
    """An option by its names, with spaces between them; `how` is Typer's."""
    return typer.Option(*names.split(), metavar=metavar, help=help, rich_help_panel=panel, **how)


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
    option(
        INPUT_PANEL,
        "--text",
        "A text, even if it looks like the name of a file; after those given as arguments.",
        "TEXT",
    ),
]
PairOption = Annotated[
    list[str] | None, option(INPUT_PANEL, "--pair", "The second text of a pair, one for each TEXT.", "TEXT")
]
TabPairsOption = Annotated[bool, option(INPUT_PANEL, "--tab-pairs", "Each line is text<TAB>pair.")]
ModelOption = Annotated[
    str, option(MODEL_PANEL, "--model -m", "builtin, a folder or a hub id; see whybert list models.", "MODEL")
]
DeviceOption = Annotated[str | None, option(MODEL_PANEL, "--device", "cpu, cuda, cuda:1, mps ...", "DEVICE")]
DtypeOption = Annotated[
    str | None, option(MODEL_PANEL, "--dtype", "float32, float64, bfloat16 or float16.", "DTYPE")
]
MaxLengthOption = Annotated[
    int | None,
    option(MODEL_PANEL, "--max-length", "The most tokens a text may have; longer ones are cut.", "N", min=1),
]
BatchSizeOption = Annotated[int, option(MODEL_PANEL, "--batch-size", "Texts at a time.", "N", min=1)]
OutputOption = Annotated[
    Path | None,
    option(OUTPUT_PANEL, "--output -o", "Write here instead of to stdout, all at once in the end.", "FILE"),
]


class ReportFormat(StrEnum):
    """Of what is printed as a whole: for people, or as JSON for programs."""

    TERMINAL = "terminal"
    JSON = "json"


ReportFormatOption = Annotated[ReportFormat, option(OUTPUT_PANEL, "--format -f", "How to show it.")]


def format_option(formats: Iterable[str]) -> Any:
    """An option that takes the name of a format; without it the suffix of the file of -o decides."""
    said = "How to show it; default: as the file's name says, else terminal."
    return option(OUTPUT_PANEL, "--format -f", said, "|".join(("terminal", *formats)))


MethodOption = Annotated[
    list[str] | None,
    option(
        METHOD_PANEL,
        "--method",
        "See whybert list methods; several options, and several methods, with commas: gi:reduction=sum,lat.",
        "NAME[:OPTION=VALUE]",
    ),
]


DataOption = Annotated[
    str | None,
    option(
        INPUT_PANEL, "--data", "The rows of a data set: a known name or a table; instead of TEXT.", "NAME"
    ),
]
DataDirOption = Annotated[
    str | None,
    option(INPUT_PANEL, "--data-dir", "The files of a known data set; else the hub is asked.", "FOLDER"),
]
SplitOption = Annotated[
    str | None, option(INPUT_PANEL, "--split", "Of the data set; default: test, or the only one.", "NAME")
]
TextColumnOption = Annotated[
    str | None, option(INPUT_PANEL, "--text-column", "Of a table: the texts.", "NAME")
]
PairColumnOption = Annotated[
    str | None, option(INPUT_PANEL, "--pair-column", "Of a table: the second texts.", "NAME")
]
LimitOption = Annotated[
    int | None, option(INPUT_PANEL, "--limit", "Only the first rows of --data.", "N", min=1)
]
LabelColumnOption = Annotated[
    str | None, option(INPUT_PANEL, "--label-column", "Of a table: the labels.", "NAME")
]
LabelMapOption = Annotated[
    list[str] | None,
    option(
        INPUT_PANEL,
        "--label-map",
        "Label A of the data is B of the model (a name or an index); repeatable.",
        "A=B,...",
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
