"""Texts and targets as people hold them: columns, arrays, generators; and what is no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import tiny
from whybert import Classifier, explain
from whybert.errors import InputError, TargetError, UsageError
from whybert.targets import resolve
from whybert.texts import normalise_texts

ONE, TWO = ["a film", "bad", "so good"], ["b", "c", "d e"]
PAIRS = list(zip(ONE, TWO, strict=True))
TABLE = datasets.Dataset.from_dict({"id": [1, 2, 3], "text": ONE, "other": TWO})


@pytest.mark.parametrize(
    "texts",
    [
        ONE,
        iter(ONE),
        (each for each in ONE),
        map(str, ONE),
        dict.fromkeys(ONE).keys(),
        pd.Series(ONE, index=[7, 7, 9]),
        pd.Series(ONE, dtype="category"),
        pd.Series(ONE, dtype="string"),
        pd.Index(ONE),
        np.array(ONE),
        np.array(ONE, dtype=object),
        TABLE["text"],
        TABLE[:]["text"],
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_gives_texts(texts: Any) -> None:
    assert normalise_texts(texts) == (ONE, False)


@pytest.mark.parametrize(
    "texts",
    [
        PAIRS,
        zip(ONE, TWO, strict=True),
        (ONE, TWO),
        (pd.Series(ONE, index=[5, 6, 7]), pd.Series(TWO, index=[5, 6, 7])),
        (np.array(ONE), TWO),
        (TABLE["text"], TABLE["other"]),
        (iter(ONE), (each for each in TWO)),
        np.array(PAIRS),
        np.array(PAIRS, dtype=object),
        pd.DataFrame({"a": ONE, "b": TWO}).to_numpy(),
        pd.Series(PAIRS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_gives_pairs(texts: Any) -> None:
    assert normalise_texts(texts) == (PAIRS, False)


def test_one_text_and_one_pair() -> None:
    assert normalise_texts(("a", "b")) == ([("a", "b")], True)
    assert normalise_texts(np.array("a film")) == (["a film"], False)
    assert normalise_texts("reviews.csv") == (["reviews.csv"], True)  # there is no such file


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "not NoneType; make a list of texts"),
        (3.5, "not float"),
        (b"a film", r"not bytes; decode it: texts.decode\(\)"),
        (Path("a.csv"), r"Path; read it: path.read_text\(\)"),
        (pd.DataFrame({"n": [1], "text": ["a"]}), r"not DataFrame; take one column of it: data\['text'\]"),
        (pd.DataFrame({"body": ["a"]}), r"take one column of it: data\['body'\]"),
        (TABLE, r"not Dataset; take one column of it: data\['text'\]"),
        (datasets.DatasetDict(test=TABLE), r"a split and a column of it: data\['test'\]\['text'\]"),
        ({"text": ONE, "label": [0, 1, 0]}, r"not dict; take the texts out of it: data\['text'\]"),
        ({"text": "a", "text_pair": "b"}, r"a pair is a tuple: \(data\['text'\], data\['text_pair'\]\)"),
        ({"a"}, r"not set; it has no order; make a list of it: sorted\(texts\)"),
        (np.array([1, 2]), r"not ndarray; it holds numbers \(int64\)"),
        (torch.tensor([[1, 2]]), "whybert.attribute takes a tokenizer's tensors"),
        (np.array([["a", "b", "c"]]), r"found one of shape \(1, 3\)"),
        ((ONE, TWO[:2]), "two columns of one length for pairs, found 3 and 2"),
        ((ONE, "a"), "the first part of text 0 must be a str, not list"),
        ((("a", "b"), ("c", "d")), "the first part of text 0 must be a str, not tuple"),
        ((ONE, TABLE), r"not Dataset; take one column of it"),
        (["a", None], "text 1 must be .* not None .a missing value"),
        (pd.Series(["a", np.nan]), "text 1 must be .* not nan .a missing value; leave it out"),
        (pd.Series(["a", None], dtype="string"), "text 1 must be .*missing value; leave it out"),
        (pd.Series([1, 2]), "it holds numbers"),
        (["a", b"b"], "text 1 must be .* not bytes .decode it"),
        ([{"text": "a"}], "text 0 must be .* not dict .take the texts out"),
        ([["a", "b"]], "text 0 must be .* not list .a pair is a tuple"),
        (["a", 3], "text 1 must be a str or a tuple of two, not int"),
        (["a", "  "], "text 1 is empty"),
        (range(3), "text 0 must be .* not int"),
    ],
    ids=str,
)
def test_what_is_no_text_is_said(texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        normalise_texts(texts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["reviews.csv", "why.JSONL", "notes.txt"])
def test_the_name_of_a_file_is_no_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("text\na film\n")
    monkeypatch.chdir(tmp_path)
    for text in (name, str(tmp_path / name)):
        with pytest.raises(InputError, match=r"is the name of a file.*load_data"):
            normalise_texts(text)
    assert normalise_texts([name]) == ([name], False)  # as one likes


# Targets

LABELS = ("negative", "neutral", "positive")
LOGITS = torch.tensor([[0.5, 2.0, -1.0], [1.5, 0.25, 0.0], [-3.0, -2.0, -1.0]])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (np.array([2, 0, 1]), [2, 0, 1]),
        (np.array([2, 0, 1], dtype=np.uint8), [2, 0, 1]),
        (pd.Series([2, 0, 1], index=[9, 8, 7]), [2, 0, 1]),
        (pd.Series([2, 0, 1], dtype="Int64"), [2, 0, 1]),
        (pd.Series(["positive", "negative", "neutral"]), [2, 0, 1]),
        (pd.Series(["positive", "negative", "neutral"], dtype="category"), [2, 0, 1]),
        (np.array(["positive", "negative", "neutral"]), [2, 0, 1]),
        (np.array([[2, 1], [0, 1], [1, 0]]), [[2, 1], [0, 1], [1, 0]]),
        (pd.Series([("positive", 0), (0, 1), (1, 2)]), [[2, 0], [0, 1], [1, 2]]),
        (datasets.Dataset.from_dict({"label": [2, 0, 1]})["label"], [2, 0, 1]),
        ((each for each in [2, 0, 1]), [2, 0, 1]),
        (np.array(2), [2, 2, 2]),
        (np.int64(2), [2, 2, 2]),
        (torch.tensor(2), [2, 2, 2]),
        (np.array("positive"), [2, 2, 2]),
        (np.str_("positive"), [2, 2, 2]),
        ([np.int64(1), torch.tensor(0), "positive"], [1, 0, 2]),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_targets_as_people_hold_them(target: Any, expected: list[Any]) -> None:
    assert resolve(target, LOGITS, LABELS).as_tensor().tolist() == expected


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (pd.Series([1.0, np.nan, 2.0]), "where some are missing"),
        (np.array([0.0, 1.0, 2.0]), "integers or labels"),
        (np.array([True, False, True]), "found True"),
        (np.array(1.5), "found"),
        (pd.DataFrame({"label": [0, 1, 2]}), "found DataFrame"),
        ({"label": 1}, "found dict"),
        ([[0, 1], [1, 2], [2, 0]], r"found \[0, 1\]; a contrast of two classes is a tuple"),
        (np.array([0, 1]), "one target for each of the 3 rows, found 2"),
    ],
    ids=str,
)
def test_targets_that_are_none(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        resolve(target, LOGITS, LABELS)
    assert "\n" not in str(caught.value)


def test_a_table_goes_in_by_its_columns() -> None:
    tokenizer = tiny.wordpiece()
    ours = Classifier(tiny.bert(tokenizer), tokenizer, labels=["bad", "good"])
    frame = pd.DataFrame({"text": ONE, "other": TWO, "label": ["good", "bad", "good"]})
    found = explain(ours, frame["text"], target=frame["label"])
    assert [each.target.label for each in found] == list(frame["label"])
    assert [each.scores for each in found] == [
        each.scores for each in explain(ours, ONE, target=["good", "bad", "good"])
    ]
    pairs = explain(ours, (frame["text"], frame["other"]))
    assert [(each.text, each.pair) for each in pairs] == PAIRS
    with pytest.raises(UsageError, match="take one column of it"):
        explain(ours, frame)


def test_columns_whose_rows_have_other_names_are_not_put_together() -> None:
    tokenizer = tiny.wordpiece()
    ours = Classifier(tiny.bert(tokenizer), tokenizer)
    texts, others = pd.Series(["a film", "b"]), pd.Series(["x", "y"], index=[1, 0])
    for refused in (
        lambda: normalise_texts((texts, others)),
        lambda: explain(ours, texts, target=pd.Series([0, 1], index=[1, 0])),
        lambda: explain(ours, (texts, texts), target=pd.Series([0, 1], index=[1, 0])),
    ):
        with pytest.raises(InputError, match=r"different indexes.*tolist"):
            refused()
    assert normalise_texts((texts, others.tolist()))[0] == [("a film", "x"), ("b", "y")]
    with pytest.raises(InputError, match="2 and 1 texts"):
        normalise_texts((texts, others[:1]))
    with pytest.raises(TargetError, match="each of the 2 texts, found 1"):
        explain(ours, texts, target=pd.Series([0]))
    shuffled = texts.set_axis([7, 3]), others.set_axis([7, 3])
    assert normalise_texts(shuffled)[0] == [("a film", "x"), ("b", "y")]
    assert [
        each.target.index for each in explain(ours, texts.tolist(), target=others.map({"x": 0, "y": 1}))
    ] == [0, 1]
