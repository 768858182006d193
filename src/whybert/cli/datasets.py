"""The command line of the data sets: `whybert datasets list`, `show` and `stats`."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whybert.cli import options
from whybert.cli.completion import COMPLETIONS
from whybert.cli.data import ColumnOptions
from whybert.cli.output import note, show_result

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import RenderableType
    from rich.text import Text

    from whybert.datasets.base import TextDataset
    from whybert.render.tables import TextTable

_PERCENTILES = (50, 90, 99)
_MOST_LABELS = 50  # that the table lists; a column of numbers may have thousands
_LONGEST_TEXT = 400  # characters that `show` prints of a text; JSON has all of them


app = typer.Typer(
    name="datasets",
    help="Look at data sets: those that are known, or tables of your own.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A known name, or a CSV, TSV, JSON lines or Parquet file.",
        autocompletion=COMPLETIONS["--data"],
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", metavar="NAME", help="A branch, tag or commit of the hub.")
]


@app.command("list")
def list_command(format: options.ReportFormatOption = options.ReportFormat.TERMINAL) -> None:
    """List the data sets that are known by name; nothing is loaded."""
    from whybert.datasets import DATASETS

    rows = [
        {
            "name": spec.name,
            "labels": list(spec.labels),
            "task": spec.task,
            "pairs": spec.is_pair,
            "formats": [f"{layout.name}: {layout.expected}" for layout in spec.layouts],
            "hub": None if spec.hub is None else str(spec.hub),
            "source": spec.source,
        }
        for spec in DATASETS.values()
    ]
    cells = (
        (spec.name, f"{spec.task}\n{', '.join(spec.labels)}", "-" if spec.hub is None else str(spec.hub))
        for spec in DATASETS.values()
    )
    table = _table(("name", "task and labels", "on the hub"), cells)
    show_result(table, records=rows if format is options.ReportFormat.JSON else None)
    if format is options.ReportFormat.TERMINAL and sys.stdout.isatty():
        note("the files that each may have in a folder: whybert datasets list --format json", dim=True)


@app.command("show")
@options.spread
def show_command(
    name: NameArgument,
    columns: ColumnOptions,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="train, validation, test; else the first.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows to show.")] = 5,
    revision: RevisionOption = None,
    format: options.ReportFormatOption = options.ReportFormat.TERMINAL,
) -> None:
    """Show the first rows of a split."""
    dataset = columns.load(name, revision=revision)
    chosen = split or next(iter(dataset.splits))
    rows = dataset.split(chosen)
    shown = rows.select(range(min(limit, len(rows))))
    records = []
    for index, row in enumerate(shown):
        place, texts = row.get("label"), {"text": row["text"], "pair": row.get("pair")}
        label = None if place is None else "|".join(dataset.labels[index] for index in _indices(place))
        records.append({"split": chosen, "index": index, **texts, "label": label, "label_index": place})
    texts_shown = ("text", "pair") if "pair" in rows.column_names else ("text",)
    cells = [
        (str(each["index"]), each["label"] or "-", *(" ".join(each[name].split()) for name in texts_shown))
        for each in records
    ]
    heading = _line(f"{dataset.name}, {chosen}: {len(shown)} of {len(rows)} rows, {dataset.source}")
    table = _table(("row", "label", *texts_shown), cells)
    show_result(heading, table, records=records if format is options.ReportFormat.JSON else None)


@app.command("stats")
@options.spread
def stats_command(
    name: NameArgument,
    columns: ColumnOptions,
    revision: RevisionOption = None,
    format: options.ReportFormatOption = options.ReportFormat.TERMINAL,
) -> None:
    """Count rows, labels, lengths, repeated texts, and texts that splits share."""
    dataset = columns.load(name, revision=revision)
    found = statistics(dataset)
    records = [found] if format is options.ReportFormat.JSON else None
    show_result(*_statistics_tables(dataset, found), records=records)


def statistics(dataset: TextDataset) -> dict[str, Any]:
    """What `stats` shows, as values that JSON can hold.

    Lengths are of the text, and of pairs of both texts together; words are what white space separates.
    `repeated` counts the rows whose text, or pair of texts, occurred before in the split, and `shared` the
    rows of the one split whose text is in the other.
    """
    from whybert.datasets import texts

    rows = {name: texts(split) for name, split in dataset.splits.items()}
    distinct = {name: set[Any](found) for name, found in rows.items()}
    splits = {name: _split_statistics(dataset, dataset.splits[name], rows[name]) for name in rows}
    shared = [
        {"split": name, "with": other, "rows": sum(text in distinct[other] for text in rows[name])}
        for name, other in itertools.permutations(rows, 2)
    ]
    return {
        "name": dataset.name,
        "source": dataset.source,
        "labels": list(dataset.labels),
        "notes": list(dataset.notes),
        "splits": splits,
        "shared": shared,
    }


def _split_statistics(dataset: TextDataset, split: Dataset, rows: Sequence[Any]) -> dict[str, Any]:
    parts = [row if isinstance(row, tuple) else (row,) for row in rows]
    labels = None
    if "label" in split.column_names:
        counts = Counter(index for label in split["label"][:] for index in _indices(label))
        labels = {label: counts[index] for index, label in enumerate(dataset.labels)}
    return {
        "rows": len(rows),
        "labels": labels,
        "characters": _lengths([sum(map(len, part)) for part in parts]),
        "words": _lengths([sum(len(text.split()) for text in part) for part in parts]),
        "repeated": len(rows) - len(set(rows)),
    }


def _indices(label: int | list[int]) -> list[int]:
    return label if isinstance(label, list) else [label]


def _lengths(lengths: list[int]) -> dict[str, int]:
    """Nearest-rank percentiles, and the longest."""
    ordered = sorted(lengths)
    found = {f"p{percent}": ordered[-(-percent * len(ordered) // 100) - 1] for percent in _PERCENTILES}
    return {**found, "longest": ordered[-1]}


def _statistics_tables(dataset: TextDataset, found: dict[str, Any]) -> list[RenderableType]:
    from whybert.render.tables import NumberTable

    splits: dict[str, dict[str, Any]] = found["splits"]
    shared = {(entry["split"], entry["with"]): entry["rows"] for entry in found["shared"]}
    rows = [["rows", *(split["rows"] for split in splits.values())]]
    for label in dataset.labels[:_MOST_LABELS]:
        counts = ("-" if split["labels"] is None else split["labels"][label] for split in splits.values())
        rows.append([label, *counts])
    if len(dataset.labels) > _MOST_LABELS:
        rows.append([f"and {len(dataset.labels) - _MOST_LABELS} more labels", *("" for _ in splits)])
    for unit in ("characters", "words"):
        for percent in _PERCENTILES:
            lengths = (split[unit][f"p{percent}"] for split in splits.values())
            rows.append([f"{unit}: {percent} % have up to", *lengths])
        rows.append([f"{unit}: longest", *(split[unit]["longest"] for split in splits.values())])
    rows.append(["repeated texts", *(split["repeated"] for split in splits.values())])
    if len(splits) > 1:
        rows += [
            [f"texts also in {other}", *(shared.get((name, other), "-") for name in splits)]
            for other in splits
        ]
    named = [(_shown(str(name)), list(map(str, cells))) for name, *cells in rows]
    table = NumberTable("", list(map(_shown, splits)), named)
    return [_line(f"{dataset.name}, {dataset.source}"), table, *map(_line, dataset.notes)]


def _shown(text: str) -> str:
    """A text on one line, safe to print and not too long."""
    from whybert.render import shorten, visible

    return visible(shorten(" ".join(text[: 10 * _LONGEST_TEXT].split()), _LONGEST_TEXT))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> TextTable:
    """A table whose cells are text that is safe to print, and never markup."""
    from rich.text import Text

    from whybert.render.tables import TextTable

    lines = ([Text("\n".join(map(_shown, cell.splitlines()))) for cell in row] for row in rows)
    return TextTable(headings, list(lines))


def _line(text: str) -> Text:
    from rich.text import Text

    return Text(_shown(text))
