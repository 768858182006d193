"""The Stanford Sentiment Treebank with two, three and five labels (Socher et al., EMNLP 2013).

Its forms are the trees, in which each phrase has one of five labels; `stsa.fine.*` and `stsa.binary.*`,
sentences in lower case with the label in front (Kim, EMNLP 2014); and the two-label phrases of GLUE (Wang et
al., ICLR 2019).  The labels of sst3 are those of Wu and Ong (2020): neutral comes last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from whybert.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetError,
    DatasetSpec,
    Example,
    FileLayout,
    HubSource,
)
from whybert.datasets.tabular import Columns, read_lines, table_layout

TWO = ("negative", "positive")
THREE = ("negative", "positive", "neutral")
FIVE = ("very negative", "negative", "neutral", "positive", "very positive")

# The five labels of the trees and of stsa.fine, as indices of the others; None leaves the text out.
_FIVE_TO = {
    2: (0, 0, None, 1, 1),
    3: (0, 0, 2, 1, 1),
    5: (0, 1, 2, 3, 4),
}
_BINARY = (0, 1)
_NEUTRAL = "neutral"

LabelMap = Sequence[int | None]
Node = tuple[str, int]
_Read = TypeVar("_Read")


def tree_nodes(tree: str) -> list[Node]:
    """Text and label of every node of a tree like "(3 (2 It) (4 works))", the root first.

    The text of a node is its words with a blank between them.

    Raises:
        ValueError: it is something else, or longer than any tree of a sentence.
    """
    if len(tree) > _LONGEST:
        raise ValueError(f"it has {len(tree)} characters, expected at most {_LONGEST}")
    nodes: list[Node | None] = []
    open_nodes: list[tuple[int, int, list[str]]] = []  # place in nodes, label, words so far
    position = 0
    while position < len(tree):
        if opening := _OPENING.match(tree, position):
            if nodes and not open_nodes:
                raise ValueError("there is something after the tree")
            open_nodes.append((len(nodes), int(opening[1]), []))
            nodes.append(None)
            position = opening.end()
        elif not open_nodes:
            raise ValueError("expected an opening bracket and a label of 0 to 4")
        elif closing := _CLOSING.match(tree, position):
            place, label, words = open_nodes.pop()
            if not words:
                raise ValueError("there is a node without words")
            nodes[place] = (" ".join(words), label)
            if open_nodes:
                open_nodes[-1][2].extend(words)
            position = closing.end()
        elif word := _WORD.match(tree, position):
            open_nodes[-1][2].append(word[1])
            position = word.end()
        else:
            raise ValueError(f"expected a word or a bracket at character {position + 1}")
    if open_nodes or not nodes:
        raise ValueError("a bracket is not closed")
    return [node for node in nodes if node is not None]


_LONGEST = 2**14  # all nodes together may have the square of it; the longest that is known has 1200
_OPENING = re.compile(r"\(([0-4]) +(?=\S)")
_CLOSING = re.compile(r"\) *")
_WORD = re.compile(r"([^() ]+) *")


def _phrases(label_map: LabelMap) -> Callable[[Path, str], Iterator[Example | None]]:
    """Each distinct phrase of the trees once, where it occurs first; upper and lower case differ."""

    def read(path: Path, _: str) -> Iterator[Example | None]:
        seen: set[str] = set()
        for nodes in read_trees(path, tree_nodes):
            for text, label in nodes:
                if text not in seen:
                    seen.add(text)
                    yield _example(text, label_map[label])

    return read


def _sentences(label_map: LabelMap) -> Callable[[Path, str], Iterator[Example | None]]:
    """The roots of the trees."""

    def read(path: Path, _: str) -> Iterator[Example | None]:
        for (text, label), *_rest in read_trees(path, tree_nodes):
            yield _example(text, label_map[label])

    return read


def read_trees(path: Path, read: Callable[[str], _Read]) -> Iterator[_Read]:
    """What `read` makes of the tree in each line; its ValueError becomes a DatasetError about the line."""
    for number, line in read_lines(path):
        try:
            yield read(line.strip())
        except ValueError as error:
            raise DatasetError(
                f"{str(path)!r}, line {number}: not a tree such as (3 (2 It) (4 works)): {error}"
            ) from error


def _stsa(label_map: LabelMap) -> Callable[[Path, str], Iterator[Example | None]]:
    """Lines of a label, a blank and a text."""

    def read(path: Path, _: str) -> Iterator[Example | None]:
        for number, line in read_lines(path):
            label, _blank, text = line.partition(" ")
            if label not in map(str, range(len(label_map))):
                raise DatasetError(
                    f"{str(path)!r}, line {number}: unknown label {label!r:.60}; "
                    f"known: {', '.join(map(str, range(len(label_map))))}, then a blank and the text"
                )
            if not text.strip():
                raise DatasetError(f"{str(path)!r}, line {number}: expected a text after the label")
            yield _example(text, label_map[int(label)])

    return read


def _example(text: str, label: int | None) -> Example | None:
    return None if label is None else Example(text, None, label)


def _files(pattern: str) -> Mapping[str, str]:
    return {
        split: pattern.format(word) for split, word in ((TRAIN, "train"), (VALIDATION, "dev"), (TEST, "test"))
    }


def _tree_layouts(
    read_file: Callable[[Path, str], Iterator[Example | None]],
) -> tuple[FileLayout, FileLayout]:
    return (
        FileLayout("trees", _files("trees/{}.txt"), read_file, _NEUTRAL),
        FileLayout("trees, in the folder itself", _files("{}.txt"), read_file, _NEUTRAL),
    )


def _fine_layout(count: int) -> FileLayout:
    return FileLayout("sentences with five labels", _files("stsa.fine.{}"), _stsa(_FIVE_TO[count]), _NEUTRAL)


_PAPER = "Socher et al., EMNLP 2013"
_TREES = "https://nlp.stanford.edu/sentiment/"

SST2 = DatasetSpec(
    "sst2",
    "sentiment of phrases (GLUE) or sentences of film reviews",
    TWO,
    (
        table_layout(
            "GLUE", _files("{}.tsv"), Columns(text=("sentence",), label=("label",)), {"0": 0, "1": 1}
        ),
        FileLayout("sentences with two labels", _files("stsa.binary.{}"), _stsa(_BINARY)),
        *_tree_layouts(_sentences(_FIVE_TO[2])),
        _fine_layout(2),
    ),
    HubSource("stanfordnlp/sst2", text="sentence"),
    source=f"{_PAPER}; GLUE: Wang et al., ICLR 2019",
)

SST3 = DatasetSpec(
    "sst3",
    "sentiment of all phrases of film reviews, each once",
    THREE,
    (
        *_tree_layouts(_phrases(_FIVE_TO[3])),
        table_layout(
            "phrases with three labels",
            _files("sst-tenary-{}.tsv"),
            Columns(text=(0,), label=(1,)),
            {"0": 0, "1": 1, "2": 2},
        ),
    ),
    source=f"{_PAPER}, {_TREES}; the derivation: Wu and Ong 2020, arXiv:2101.00196",
)

SST3_SENTENCES = DatasetSpec(
    "sst3-sentences",
    "sentiment of sentences of film reviews",
    THREE,
    (*_tree_layouts(_sentences(_FIVE_TO[3])), _fine_layout(3)),
    HubSource("SetFit/sst5", label_map=_FIVE_TO[3]),
    source=f"{_PAPER}, {_TREES}",
)

SST5 = DatasetSpec(
    "sst5",
    "sentiment of sentences of film reviews, fine-grained",
    FIVE,
    (_fine_layout(5), *_tree_layouts(_sentences(_FIVE_TO[5]))),
    HubSource("SetFit/sst5"),
    source=f"{_PAPER}, {_TREES}",
)

SPECS = (SST2, SST3, SST3_SENTENCES, SST5)
