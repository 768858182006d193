"""What a data set is, how one is described, and the table of those that are known.

The library `datasets` of Hugging Face holds the rows.  It is imported only where it is used.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from whybert.errors import UnknownNameError, UsageError, WhybertError, one_line

if TYPE_CHECKING:
    from datasets import Dataset

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
PROBLEMS = (SINGLE, MULTI, REGRESSION)
"""The problem types of transformers: what labels, and the logits of a model, are."""
"""What the label of a row is, in the words of transformers: one of them, any number of them, or a number."""
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

_SPLIT_WORD = re.compile("train|dev|validation|test")
_UNLABELLED = -1  # what the hub writes where a label is withheld


class DatasetError(WhybertError, ValueError):
    """A data set cannot be loaded as it is; the message names the file and the row where there is one."""


class Example(NamedTuple):
    """A row as the readers yield it: `label` is an index, or several, or None where there is no label."""

    text: str
    pair: str | None
    label: int | tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class TextDataset:
    """A text classification data set.

    Fields:
        name: its name in `DATASETS`, or that of the file or folder it was read from.
        labels: the names of the labels in the order of their indices, of a regression that of its number;
            empty for a table without labels.
        splits: "train", "validation", "test" and others, as far as they exist.  Columns: `text`, for pairs
            `pair`, and `label`, which a split without labels does not have.
        source: where the rows came from, for reports.
        notes: what was left out and why, a line each.
        labels_are_ordered: whether the data set itself says which index a label has; the labels of a table
            are merely sorted.
        problem_type: what stands in the column `label`: an index (single_label_classification), a list of
            them (multi_label_classification), or a number (regression).
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset]
    source: str
    notes: tuple[str, ...] = ()
    labels_are_ordered: bool = True
    problem_type: str = SINGLE

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", MappingProxyType(dict(self.splits)))

    def __getstate__(self) -> dict[str, Any]:  # a mapping proxy cannot be pickled
        return {**vars(self), "splits": dict(self.splits)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, splits=MappingProxyType(state["splits"]))

    @property
    def is_pair(self) -> bool:
        """Whether each row is a pair of texts."""
        return any("pair" in split.column_names for split in self.splits.values())

    @property
    def default_split(self) -> str:
        """The split to work on where none is named: "test", or the only one."""
        return next(iter(self.splits)) if len(self.splits) == 1 else TEST

    def split(self, name: str) -> Dataset:
        """The split of that name.

        Raises:
            UnknownNameError: there is none; it lists the splits that exist.
        """
        if name not in self.splits:
            raise UnknownNameError(f"split of {self.name}", name, self.splits)
        return self.splits[name]


@dataclass(frozen=True)
class Loaded:
    """What a layout read: the rows of each split, and what was left out."""

    splits: Mapping[str, Sequence[Example]]
    notes: tuple[str, ...] = ()


class Layout(ABC):
    """A format in which a data set is distributed: how it is recognised and how it is read."""

    name: str
    """What people call the format."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """The files that are looked for, for messages and lists."""

    @abstractmethod
    def find(self, place: Path) -> Mapping[str, tuple[Path, ...]]:
        """The files at `place`, by split; empty where the format is not there."""

    @abstractmethod
    def read(self, found: Mapping[str, tuple[Path, ...]]) -> Loaded:
        """The rows of what `find` found.  Raises DatasetError, naming file and row."""


@dataclass(frozen=True)
class FileLayout(Layout):
    """A layout of one file for each split.

    Fields:
        name: what people call the format.
        files: the name of each split's file, relative to the folder.
        read_file: yields the rows of a file, which is of the given split; a row that is None is left out.
        reason: why rows are left out, for the note that counts them.
    """

    name: str
    files: Mapping[str, str]
    read_file: Callable[[Path, str], Iterator[Example | None]] = field(repr=False)
    reason: str = ""

    @property
    def expected(self) -> str:
        words = [_SPLIT_WORD.search(name) for name in self.files.values()]
        gaps = {_SPLIT_WORD.sub("{}", name, count=1) for name in self.files.values()}
        if len(gaps) > 1 or not all(words):
            return ", ".join(self.files.values())
        return gaps.pop().replace("{}", "{" + ",".join(word[0] for word in words if word) + "}")

    def find(self, place: Path) -> Mapping[str, tuple[Path, ...]]:
        paths = {split: place / name for split, name in self.files.items()}
        return {split: (path,) for split, path in paths.items() if path.is_file()}

    def read(self, found: Mapping[str, tuple[Path, ...]]) -> Loaded:
        splits, notes = {}, []
        for split, paths in found.items():
            rows = [row for path in paths for row in self.read_file(path, split)]
            splits[split] = [row for row in rows if row is not None]
            if left_out := len(rows) - len(splits[split]):
                notes.append(f"{split}: {left_out} rows left out ({self.reason})")
        return Loaded(splits, tuple(notes))


@dataclass(frozen=True)
class HubSource:
    """Where a data set is on the Hugging Face hub, and what its columns are called there.

    Fields:
        repository, config: as `datasets.load_dataset` takes them.
        text, pair, label: names of columns.
        label_map: for each label of the hub the index of ours, or None if such rows are left out; None
            for the same order.
        names: what the hub calls our labels, in our order, where it has other names for them.
    """

    repository: str
    config: str | None = None
    text: str = "text"
    pair: str | None = None
    label: str = "label"
    label_map: tuple[int | None, ...] | None = None
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.repository if self.config is None else f"{self.repository} ({self.config})"


@dataclass(frozen=True)
class DatasetSpec:
    """A data set that can be loaded by its name.

    Fields:
        name: lower case.
        task: what is decided about the text, in a few words.
        labels: the names of the labels in the order of their indices.
        layouts: the local formats.  Of those that a folder holds, the one with most splits is read, and
            of several the one that is first here.
        hub: where it is on the hub; None if it can only be read from local files.
        is_pair: whether each row is a pair of texts.
        clean: what is done to every text, wherever it comes from.
        source: the paper.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    layouts: tuple[Layout, ...] = ()
    hub: HubSource | None = None
    is_pair: bool = False
    clean: Callable[[str], str] | None = field(default=None, repr=False)
    source: str = ""


_REGISTERED: dict[str, DatasetSpec] = {}
DATASETS: Mapping[str, DatasetSpec] = MappingProxyType(_REGISTERED)
"""The data sets that `load` knows by name; `register` adds to them."""


def register(spec: DatasetSpec) -> DatasetSpec:
    """Make a data set known to `load` and to the command line; returns it.

    Raises:
        UsageError: the name is taken or is not lower case, or there is nowhere to read it from.
    """
    if spec.name in _REGISTERED:
        raise UsageError(f"there is a data set {spec.name!r} already; choose another name")
    if not spec.name or spec.name != folded(spec.name) or "/" in spec.name:
        raise UsageError(f"the name of a data set is in lower case and without blanks, not {spec.name!r}")
    if not spec.layouts and spec.hub is None:
        raise UsageError(f"the data set {spec.name!r} needs a layout or a hub source")
    _REGISTERED[spec.name] = spec
    return spec


def folded(name: str) -> str:
    """A name as it is looked up."""
    return name.strip().casefold().replace("_", "-").replace(" ", "-")


def hugging_face() -> Any:
    """The library `datasets`, which takes long to import."""
    import datasets

    return datasets


@contextlib.contextmanager
def readable(place: Path) -> Iterator[None]:
    """What the system says against reading a file or folder as a DatasetError."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"cannot read {str(place)!r}: {error.strerror or one_line(error)}; check its path"
        ) from error


def texts(split: Dataset) -> list[str] | list[tuple[str, str]]:
    """The texts of a split, or its pairs, as `Classifier.predict` and `explain` take them."""
    first: list[str] = list(split["text"][:])
    if "pair" not in split.column_names:
        return first
    second: list[str] = list(split["pair"][:])
    return list(zip(first, second, strict=True))


def build(
    name: str,
    labels: Sequence[str],
    loaded: Loaded,
    source: str,
    clean: Callable[[str], str] | None = None,
    *,
    labels_are_ordered: bool = True,
) -> TextDataset:
    """A data set of rows that were read.

    Raises:
        DatasetError: a split holds no rows.
    """
    library = hugging_face()
    splits, problem_type = {}, SINGLE
    for split, rows in loaded.splits.items():
        if not rows:
            raise DatasetError(f"{source}: the split {split!r} holds no rows; expected at least one")
        has_pair = rows[0].pair is not None
        has_label = any(row.label is not None for row in rows)
        columns: dict[str, list[Any]] = {"text": [row.text for row in rows]}
        if has_pair:
            columns["pair"] = [row.pair for row in rows]
        if clean is not None:
            columns = {column: [clean(text) for text in values] for column, values in columns.items()}
        has_several = isinstance(rows[0].label, tuple)
        if has_several:
            problem_type = MULTI
        if has_label:
            columns["label"] = [row.label for row in rows]
        splits[split] = library.Dataset.from_dict(
            columns, features=_features(library, labels, has_pair, has_label, has_several)
        )
    return TextDataset(name, tuple(labels), splits, source, loaded.notes, labels_are_ordered, problem_type)


def _features(
    library: Any, labels: Sequence[str], has_pair: bool, has_label: bool, has_several: bool = False
) -> Any:
    features = {"text": library.Value("string")}
    if has_pair:
        features["pair"] = library.Value("string")
    if has_label:
        one = library.ClassLabel(names=list(labels))
        features["label"] = library.List(one) if has_several else one
    return library.Features(features)


def load_local(spec: DatasetSpec, place: Path) -> TextDataset:
    """Read a known data set from local files, in whichever of its layouts they are.

    Raises:
        DatasetError: none is there, or a file cannot be read.
    """
    if not spec.layouts:
        raise UsageError(f"{spec.name!r} has no local format; leave the folder out to load it from the hub")
    if not place.exists():
        raise DatasetError(f"there is no folder {str(place)!r} to read {spec.name} from; check its path")
    found = [(layout, layout.find(place)) for layout in spec.layouts]
    layout, files = max(found, key=lambda entry: len(entry[1]))
    if not files:
        expected = "; or ".join(f"{layout.expected} ({layout.name})" for layout in spec.layouts)
        raise DatasetError(
            f"no files of {spec.name} in {str(place)!r}: expected {expected}; {_contents(place)}"
        )
    return build(spec.name, spec.labels, layout.read(files), f"{place} ({layout.name})", spec.clean)


def _contents(place: Path) -> str:
    if not place.is_dir():
        return "it is not a folder"
    names = sorted(path.name + "/" * path.is_dir() for path in place.iterdir())
    return f"found {', '.join(names[:10])}{', ...' * (len(names) > 10)}" if names else "the folder is empty"


def load_hub(spec: DatasetSpec, revision: str | None = None) -> TextDataset:
    """Load a known data set from the Hugging Face hub.

    Rows with an empty text are left out, and so are rows without a label, unless no row of the split has
    one: such a split is kept without the column `label`.  `notes` counts what was left out.

    Raises:
        DatasetError: the hub cannot be reached or has something else.
        UsageError: the data set is not there.
    """
    hub = spec.hub
    if hub is None:
        raise UsageError(
            f"{spec.name!r} is not on the hub; give the folder of its files (data_dir, --data-dir)"
        )
    library = hugging_face()
    try:
        with _quiet_retries():
            loaded = library.load_dataset(hub.repository, hub.config, revision=revision)
    except Exception as error:  # it runs a stack of other libraries, each with errors of its own
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        raise DatasetError(
            f"{hub} could not be loaded from the Hugging Face hub ({reason}); check the connection, or give "
            "the folder of its files (data_dir, --data-dir)"
        ) from error
    splits, notes = {}, []
    for name in SPLITS:
        if name in loaded:
            splits[name], left_out = _from_hub(library, spec, hub, name, loaded[name])
            if left_out:
                notes.append(f"{name}: {left_out} rows left out (without text or without one of the labels)")
    if not splits:
        raise DatasetError(f"{hub} has none of the splits {', '.join(SPLITS)}; found {', '.join(loaded)}")
    source = f"{hub} on the Hugging Face hub" + (f", revision {revision}" if revision else "")
    return TextDataset(spec.name, spec.labels, splits, source, tuple(notes))


@contextlib.contextmanager
def _quiet_retries() -> Iterator[None]:
    """No line for each retry of a connection: the error says it once."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _from_hub(library: Any, spec: DatasetSpec, hub: HubSource, name: str, split: Any) -> tuple[Dataset, int]:
    """A split of the hub with our columns, and the number of rows that were left out."""
    wanted = {"text": hub.text, **({"pair": hub.pair} if hub.pair else {})}
    missing = [column for column in wanted.values() if column not in split.column_names]
    if missing:
        raise DatasetError(
            f"{hub}, split {name!r}: no column {missing[0]!r}; found {', '.join(split.column_names)}"
        )
    parts = {column: list(split[there][:]) for column, there in wanted.items()}
    indices = _hub_labels(spec, hub, name, split)
    has_label = any(index is not None for index in indices)
    kept = [
        row
        for row in range(len(split))
        if (not has_label or indices[row] is not None)
        and all(isinstance(part[row], str) and part[row].strip() for part in parts.values())
    ]
    if not kept:
        raise DatasetError(f"{hub}, split {name!r}: expected rows with a text and a label, found none")
    clean = spec.clean or (lambda text: text)
    columns: dict[str, list[Any]] = {
        column: [clean(part[row]) for row in kept] for column, part in parts.items()
    }
    if has_label:
        columns["label"] = [indices[row] for row in kept]
    elif name != TEST:
        raise DatasetError(f"{hub}, split {name!r}: expected a label for each row, found none")
    features = _features(library, spec.labels, "pair" in columns, has_label)
    return library.Dataset.from_dict(columns, features=features), len(split) - len(kept)


def _hub_labels(spec: DatasetSpec, hub: HubSource, name: str, split: Any) -> list[int | None]:
    """Our index of each row's label; None where the hub has no label, or one that is left out."""
    if hub.label not in split.column_names:
        return [None] * len(split)
    names = getattr(split.features[hub.label], "names", None)
    mapping: Sequence[int | None] = hub.label_map or range(len(spec.labels))
    if hub.label_map is None and names is not None:  # the names decide, whatever their order is
        known = next((each for each in (spec.labels, hub.names) if set(each) == set(names)), None)
        if known is None:
            raise DatasetError(
                f"{hub}: expected the labels {', '.join(hub.names or spec.labels)}, found "
                f"{', '.join(names)}; give the revision that has them, or the folder of its files "
                "(data_dir, --data-dir)"
            )
        mapping = [known.index(there) for there in names]
    found: list[int | None] = []
    for row, label in enumerate(split[hub.label][:]):
        if label is None or label == _UNLABELLED:
            found.append(None)
        elif isinstance(label, int) and 0 <= label < len(mapping):
            found.append(mapping[label])
        else:
            raise DatasetError(
                f"{hub}, split {name!r}, row {row + 1}: unknown label {label!r}; "
                f"known: 0 to {len(mapping) - 1}"
            )
    return found


def with_validation(dataset: TextDataset, fraction: float = 0.1, seed: int = 0) -> TextDataset:
    """The same data set with a validation split of about `fraction` of the rows of its train split.

    Each label gives its share (of a row with several its rarest one counts, and numbers are no labels), rows
    stay in order, and rows of the same text stay together, so that no text of the new validation split is in
    the new train split.  The same seed gives the same rows.

    Raises:
        UsageError: there is a validation split already, no train split with labels and at least two texts, or
            `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction must be between 0 and 1, not {fraction!r}; 0.1 is usual")
    if VALIDATION in dataset.splits:
        raise UsageError(f"{dataset.name} has a validation split already; use it")
    train = dataset.split(TRAIN)
    if "label" not in train.column_names:
        raise UsageError(f"the train split of {dataset.name} has no labels to sample by")
    labels = list(train["label"][:])
    if dataset.problem_type == REGRESSION:
        labels = [0] * len(labels)
    elif dataset.problem_type == MULTI:
        counts = Counter(index for several in labels for index in several)
        labels = [min(several, key=lambda index: (counts[index], index), default=-1) for several in labels]
    groups: dict[Any, list[int]] = {}
    for row, text in enumerate(texts(train)):
        groups.setdefault(text, []).append(row)
    by_label: dict[int, list[list[int]]] = {}
    for rows in groups.values():
        by_label.setdefault(labels[rows[0]], []).append(rows)
    chooser = random.Random(seed)  # noqa: S311 - nothing secret
    chosen: set[int] = set()
    for label in sorted(by_label):
        candidates = by_label[label]
        chooser.shuffle(candidates)
        share = fraction * sum(map(len, candidates))
        taken = 0
        for rows in candidates[:-1]:  # the last one stays, so that train keeps every label
            if taken and taken + len(rows) / 2 > share:
                break
            chosen.update(rows)
            taken += len(rows)
    if not chosen:
        raise UsageError(f"the train split of {dataset.name} is too small to take a validation split from it")
    rest = [row for row in range(len(train)) if row not in chosen]
    splits = {**dataset.splits, TRAIN: train.select(rest), VALIDATION: train.select(sorted(chosen))}
    ordered = {name: splits[name] for name in (*SPLITS, *splits) if name in splits}
    note = f"validation: {len(chosen)} rows taken from train (fraction {fraction}, seed {seed})"
    return replace(dataset, splits=ordered, notes=(*dataset.notes, note))
