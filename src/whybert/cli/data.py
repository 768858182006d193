"""The labelled rows that a command works on, as the command line names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from whybert.datasets import TextDataset


@dataclass(frozen=True)
class DataSource:
    """Where the rows come from: the options --data, --data-dir, --split and those of columns and labels."""

    name: str
    data_dir: str | None
    split: str | None
    text_column: str | None
    pair_column: str | None
    label_column: str | None
    label_map: Mapping[str, str] | None = None

    def load(self) -> TextDataset:
        """The data set."""
        from whybert.datasets import load

        return load(
            self.name,
            self.data_dir,
            text_column=self.text_column,
            pair_column=self.pair_column,
            label_column=self.label_column,
        )

    def rows(self, data: TextDataset) -> tuple[str, Dataset]:
        """The name of the split that is wanted, and its rows; without one "test", or the only one."""
        name = self.split or data.default_split
        return name, data.split(name)
