"""Text classification data sets, from local files or from the Hugging Face hub.

    from whybert.datasets import load, texts

    sst2 = load("sst2", "downloads/SST-2")      # a folder, in whichever known format
    imdb = load("imdb")                         # the hub
    mine = load("reviews.csv", label_column="stars")
    classifier.predict(texts(sst2.split("validation")))

A data set is a `DatasetSpec` in the table `DATASETS`; `register` adds one.  Texts are kept as they are but
for what the module of a data set says about it.
"""

from __future__ import annotations

import os
from pathlib import Path

from whybert.datasets import glue, imdb, semeval, sst, yelp
from whybert.datasets.base import (
    DATASETS,
    DatasetError,
    DatasetSpec,
    FileLayout,
    HubSource,
    Layout,
    TextDataset,
    folded,
    load_hub,
    load_local,
    readable,
    register,
    texts,
    with_validation,
)
from whybert.datasets.tabular import READERS, Columns, load_table, table_layout
from whybert.errors import UnknownNameError, UsageError, quoted

__all__ = [
    "DATASETS",
    "Columns",
    "DatasetError",
    "DatasetSpec",
    "FileLayout",
    "HubSource",
    "Layout",
    "TextDataset",
    "load",
    "register",
    "table_layout",
    "texts",
    "with_validation",
]

for _spec in (*sst.SPECS, *semeval.SPECS, *imdb.SPECS, *yelp.SPECS, *glue.SPECS):
    register(_spec)


def load(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    gaps: bool = False,
) -> TextDataset:
    """Load a data set.

    Args:
        name: one of `DATASETS`, or the path of a CSV, TSV, JSON lines or Parquet file, or of a folder of such
            files.  For a file or folder that is called like one of `DATASETS` write "./sst2".
        data_dir: the folder that holds a named data set's files, in any of its layouts; None asks the Hugging
            Face hub.
        revision: of the hub: a branch, a tag or a commit.
        text_column: of a table, as the other columns; guessed where it is not given.
        pair_column: the second texts.
        label_column: the labels; a table may have none.  Several columns of 0 and 1, named with commas
            between, are labels themselves.
        gaps: whether a row of a table may lack its text, which is then an empty one, or its label.

    Returns:
        The data set; its labels are matched with those of a model by `whybert.targets.match_labels`.

    Raises:
        UnknownNameError: the name is neither.
        WhybertError: it cannot be loaded; a `DatasetError` of one line that names file and row.
        UsageError: the arguments contradict each other.
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(
            f"expected the name of a data set or a path, not {type(name).__name__}; "
            f"known: {', '.join(DATASETS)}"
        )
    if not os.fspath(name):
        raise UsageError(f"expected the name of a data set or a path, not ''; known: {', '.join(DATASETS)}")
    columns = {"text_column": text_column, "pair_column": pair_column, "label_column": label_column}
    for option, column in columns.items():
        if column is not None and not isinstance(column, str):
            raise UsageError(f"expected {option} as the name of a column, not {quoted(column)}")
    spec = DATASETS.get(folded(name)) if isinstance(name, str) else None
    if spec is not None:
        for option, column in columns.items():
            if column is not None:
                raise UsageError(
                    f"{option} is for tables; the columns of {spec.name} are known, leave it out"
                )
        if data_dir is None:
            return load_hub(spec, revision)
        if revision is not None:
            raise UsageError("revision is for the hub, not for local files; leave it or data_dir out")
        with readable(Path(data_dir)):
            return load_local(spec, Path(data_dir))
    path = Path(name).expanduser()
    looks_like_path = os.sep in os.fspath(name) or path.suffix.lower() in READERS
    with readable(path):
        is_path = looks_like_path or path.exists()
    if not is_path:
        hint = f"; or give the path of a {', '.join(READERS)} file or of a folder of them"
        raise UnknownNameError("data set", name, DATASETS, hint)
    for option, value in (("data_dir", data_dir), ("revision", revision)):
        if value is not None:
            raise UsageError(f"{option} is for {', '.join(DATASETS)}; for a table give its path alone")
    with readable(path):
        return load_table(path, **columns, gaps=gaps)
