"""What a command works on, as its arguments and options name it."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whybert.cli.options import INPUT_PANEL, listed, told
from whybert.cli.output import note
from whybert.corpus.sources import Inputs, Rows
from whybert.datasets.base import REGRESSION, SINGLE
from whybert.errors import InputError, UsageError

if TYPE_CHECKING:
    from whybert.classifier import Classifier
    from whybert.datasets import TextDataset


@dataclass(frozen=True)
class _Named:
    """The option that the help shows first."""

    data: str | None = told(
        INPUT_PANEL, "A known data set, or a table: .csv, .tsv, .jsonl, .parquet.", "NAME"
    )


@dataclass(frozen=True)
class ColumnOptions:
    """Where the rows of a data set are, which another option or argument names."""

    data_dir: str | None = told(
        INPUT_PANEL, "The files of a known data set; else the hub is asked.", "FOLDER"
    )
    text_column: str | None = told(INPUT_PANEL, "Of a table: the texts.", "NAME")
    pair_column: str | None = told(INPUT_PANEL, "Of a table: the second texts.", "NAME")
    label_column: str | None = told(INPUT_PANEL, "Of a table: the labels, if it has some.", "NAME")

    def load(self, name: str, **more: Any) -> TextDataset:
        """The data set of that name or path; `more` as for `whybert.datasets.load`."""
        from whybert.datasets import load

        columns = {each: getattr(self, each) for each in ("text_column", "pair_column", "label_column")}
        return load(name, self.data_dir, **columns, **more)


@dataclass(frozen=True)
class DataOptions(ColumnOptions, _Named):
    """A data set, and how its labels are those of a model."""

    split: str | None = told(INPUT_PANEL, "Of the data set; default: test, or the only one.", "NAME")
    limit: int | None = told(INPUT_PANEL, "Only the first rows of --data.", "N", min=1)
    label_map: list[str] | None = told(
        INPUT_PANEL, "Label A of the data is B of the model (a name or an index); repeatable.", "A=B,..."
    )

    @property
    def files(self) -> list[str]:
        """What is read: a table, or the tables of the splits in a folder."""
        from whybert.datasets.tabular import split_of

        if self.data is None or not os.path.isdir(self.data):
            return [] if self.data is None else [self.data]
        return [str(path) for path in Path(self.data).iterdir() if split_of(path)]

    @property
    def mapping(self) -> dict[str, str] | None:
        """What --label-map says, or None if it is not there."""
        if self.label_map is None:
            return None
        found: dict[str, str] = {}
        for entry in listed(self.label_map):
            label, equals, target = (part.strip() for part in entry.partition("="))
            if not (label and equals and target):
                raise UsageError(f"expected --label-map LABEL=MODEL_LABEL,..., found {entry!r}")
            if found.setdefault(label, target) != target:
                raise UsageError(f"expected each label in --label-map once, found {label!r} twice")
        return found


@dataclass(frozen=True)
class InputOptions(DataOptions):
    """Texts and lines, or the rows of a data set."""

    columns: list[str] | None = told(
        INPUT_PANEL, "Of a table: columns that the output has too, such as id.", "NAME,..."
    )
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="A text; - reads lines from stdin; the name of a file reads its lines.",
            show_default=False,
        ),
    ] = None
    text: list[str] | None = told(
        INPUT_PANEL,
        "A text, even if it looks like the name of a file; after those given as arguments.",
        "TEXT",
    )
    pair: list[str] | None = told(INPUT_PANEL, "The second text of a pair, one for each TEXT.", "TEXT")
    tab_pairs: bool = told(INPUT_PANEL, "Each line is text<TAB>pair.", default=False)

    @property
    def files(self) -> list[str]:
        """What is read, or may be."""
        return [*super().files, *(self.texts or [])]

    def source(self, command: str, gaps: bool = True) -> Inputs | Rows:
        """The texts and lines that are given, or the rows of `--data`.

        Args:
            command: its name, for messages.
            gaps: whether rows may lack their label, or their text: such a row fails by itself.

        Raises:
            UsageError: both are given, or none; and what `Inputs`, `load` and `Rows` raise.
        """
        if self.data is not None:
            if self.texts or self.text or self.pair or self.tab_pairs:
                raise UsageError("--data and texts, --pair or --tab-pairs exclude each other; leave one out")
            return Rows(self.load(self.data, gaps=gaps), self.split, self.limit, listed(self.columns))
        for field in fields(self):
            if field.name in _FOR_DATA and getattr(self, field.name) is not None:
                option = "--" + field.name.replace("_", "-")
                raise UsageError(f"{option} is for data sets; give --data NAME_OR_FILE, or leave it out")
        if not (self.texts or self.text):
            raise UsageError(f"missing argument 'TEXT', or --data (see whybert {command} --help)")
        texts, pairs = self.texts or [], self.pair or []
        return Inputs(texts, pairs, self.tab_pairs, self.text or [], lambda line: note(line, dim=True))


_FOR_DATA = {*(field.name for field in fields(DataOptions)), "columns"}


def match(
    source: Inputs | Rows, classifier: Classifier, mapping: dict[str, str] | None, needed: bool = False
) -> tuple[int, ...]:
    """Which label of the data is which of the model's, by index; the rows' labels get the model's names.

    Where they cannot be matched they keep the names of the data, which is said, and nothing is returned.
    Where that is needed, the rows then have labels of the model's problem type.

    Args:
        source: rows, unless there is nothing to match.
        classifier: the model.
        mapping: what --label-map says.
        needed: whether it is an error where they cannot be matched.

    Raises:
        InputError: a label of the data is none of the model's, and that is needed or --label-map given.
        DatasetError, UsageError: labels are needed, and are not of the model's problem type.
    """
    if not isinstance(source, Rows) or not source.has_labels:
        return ()
    if needed:
        source.read_as(REGRESSION if classifier.is_regression else classifier.problem_type or SINGLE)
    if classifier.is_regression:
        return ()
    from whybert.targets import match_labels

    data = source.data
    try:
        found, message = match_labels(
            classifier.labels, data.labels, data.name, mapping, ordered=data.labels_are_ordered
        )
    except InputError:
        if needed or mapping is not None:
            raise
        note(
            f"the labels of {data.name} are not those of the model, and are shown as the data has them; "
            "--label-map says which is which",
            dim=True,
        )
        return ()
    if message:
        note(message, dim=True)
    source.label_names = tuple(classifier.labels[index] for index in found)
    return found
