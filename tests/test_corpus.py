"""Sources, the work on them, and sinks: below the command line."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from whybert import Classifier
from whybert.classifier import Prediction, predict_batches
from whybert.corpus import sinks
from whybert.corpus.sources import Inputs, Item
from whybert.corpus.work import answer_all, answers
from whybert.errors import PLACE, InputError, NonFiniteError, UnknownNameError, UsageError

# One bad text costs only itself.


class Asked:
    """A model that answers texts batch by batch and finds first, as the tokenizer does, those it cannot read.

    "?" cannot be encoded, "!" has logits that are no numbers; each is told by the first one of its batch.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[list[str]] = []

    def check(self, text: Any) -> None:
        if text.startswith("?"):
            raise InputError(f"{PLACE} has no character", 0)

    def __call__(self, texts: Sequence[Any]) -> Iterator[tuple[int, str]]:
        for index, text in enumerate(texts):
            if text.startswith("?"):
                raise InputError(f"{PLACE} has no character", index)
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            self.batches.append(batch)
            for index, text in enumerate(batch):
                if text.startswith("!"):
                    raise NonFiniteError(f"the logits of {PLACE} are nan", start + index)
            yield from ((start + index, text.upper()) for index, text in enumerate(batch))

    def times(self, text: str) -> int:
        return sum(batch.count(text) for batch in self.batches)


@given(kinds=st.lists(st.sampled_from("aaaa?!"), max_size=40), batch_size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_text_has_its_answer_or_its_problem(kinds: list[str], batch_size: int) -> None:
    texts: list[Any] = [f"{kind}{index}" for index, kind in enumerate(kinds)]
    asked = Asked(batch_size)
    done: list[int] = []
    found = answer_all(texts, asked, asked.check, done.append)
    assert sum(done) == len(texts) == len(found)
    for index, text in enumerate(texts):
        result = found[index]
        if kinds[index] == "a":
            assert result == text.upper()
        else:
            assert isinstance(result, InputError if kinds[index] == "?" else NonFiniteError)
            assert result.index == index
            assert f"text {index} " in str(result)
    # None that the tokenizer refuses is asked about, and none of a batch without a bad text twice.
    assert not any(text.startswith("?") for batch in asked.batches for text in batch)
    good = [text for text in texts if not text.startswith("?")]
    for start in range(0, len(good), batch_size):
        batch = good[start : start + batch_size]
        if not any(text.startswith("!") for text in good[: start + batch_size]):
            assert all(asked.times(text) == 1 for text in batch)


def test_a_text_without_tokens_repeats_no_forward_pass() -> None:
    texts: list[Any] = [f"a{i}" for i in range(256)]
    for place in (0, 100, 255):
        texts[place] = "?"
    asked = Asked(32)
    assert sum(isinstance(each, InputError) for each in answer_all(texts, asked, asked.check).values()) == 3
    assert [len(batch) for batch in asked.batches] == [32] * 7 + [29]


def test_logits_that_are_no_numbers_repeat_only_their_batch() -> None:
    texts: list[Any] = [f"a{i}" for i in range(256)]
    texts[70] = "!"
    asked = Asked(32)
    answer_all(texts, asked, asked.check)
    repeated = [text for text in texts if asked.times(text) > 1]
    assert set(repeated) <= set(texts[64:96]) - {"!"}
    assert sum(map(len, asked.batches)) <= 256 + 31


def test_a_batch_of_bad_texts_is_halved() -> None:
    texts: list[Any] = [f"a{i}" for i in range(64)] + [f"!{i}" for i in range(32)]
    asked = Asked(32)
    found = answer_all(texts, asked, asked.check)
    assert sum(isinstance(each, NonFiniteError) for each in found.values()) == 32
    assert all(asked.times(text) == 1 for text in texts[:64])
    assert sum(map(len, asked.batches)) <= 64 + 32 * 6


@pytest.fixture
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer), tokenizer)


def predictions_of(classifier: Classifier) -> Callable[[list[Any]], Iterator[tuple[int, Prediction]]]:
    def ask(texts: list[Any]) -> Iterator[tuple[int, Prediction]]:
        for indices, predictions in predict_batches(classifier, texts, 32):
            yield from zip(indices, predictions, strict=True)

    return ask


def test_logits_that_are_no_numbers_cost_their_batch_again(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real model: one token whose vector is NaN, in one of 200 lines."""
    [bad] = classifier.tokenizer.encode("xyz"[:1], add_special_tokens=False)
    with torch.no_grad():
        classifier.model.get_input_embeddings().weight[bad] = math.nan
    rows: list[int] = []
    classifier.model.register_forward_hook(lambda module, inputs, output: rows.append(len(output.logits)))
    lines = ["good film" if number != 77 else "good x" for number in range(200)]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    rejected: list[int] = []
    chunks = answers(
        Inputs(["-"]),
        classifier,
        predictions_of(classifier),
        32,
        lambda item, problem: rejected.append(item.index),
    )
    assert len([item for chunk in chunks for item, _ in chunk]) == 199
    assert rejected == [77]
    assert sum(rows) == 200 + 31


def test_the_model_is_asked_once_about_each_good_line(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    classifier.model.register_forward_hook(lambda module, inputs, output: rows.append(len(output.logits)))
    lines = [b"good film" if number % 50 else "\u200b".encode() for number in range(200)]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    bad: list[int] = []
    chunks = answers(
        Inputs(["-"]),
        classifier,
        predictions_of(classifier),
        32,
        lambda item, problem: bad.append(item.index),
    )
    assert len([item for chunk in chunks for item, _ in chunk]) == 196
    assert bad == [0, 50, 100, 150]
    assert rows == [32] * 6 + [4]


# What looks like a file's name.


@pytest.mark.parametrize("name", ["film", "a film.txt or so", "so...", "well-made", "«and/or»", "Mr. A/B"])
def test_texts_are_texts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [item.text for item in Inputs([name])] == [name]


@pytest.mark.parametrize(
    "name", ["no.txt", "reviews.CSV", "data/reviews", "./so", "/no/file", "a.html", "folder/"]
)
def test_names_of_files_that_are_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="give it with --text"):
        Inputs([name])
    assert [item.text for item in Inputs([], texts=[name])] == [name]
    assert [item.text for item in Inputs(["a"], ["b", "c"], texts=[name])] == [("a", "b"), (name, "c")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_are_no_lines(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"reviews.{suffix}"
    path.write_text("text\tlabel\ngood\tpos\n")
    with pytest.raises(UsageError, match="is a table; give it with --data "):
        Inputs([str(path)])
    if suffix == "tsv":
        assert len(list(Inputs([str(path)], tab_pairs=True))) == 2


# Formats.


def test_the_format_follows_the_file() -> None:
    def chosen(asked: str | None, path: str | None, formats: Any = sinks.EXPLANATIONS) -> str:
        return sinks.chosen(formats, asked, None if path is None else Path(path))

    assert chosen(None, None) == "terminal"
    assert chosen(None, "x.html") == chosen("html", "x.HTM") == chosen("html", None) == "html"
    assert chosen(None, "x.jsonl") == chosen("json", "x") == chosen("json", "x.out") == "json"
    assert chosen(None, "x") == chosen(None, "x.txt") == chosen(None, "/dev/null") == "terminal"
    assert chosen(None, "x.parquet", sinks.PREDICTIONS) == "parquet"
    for asked, path, message in (
        ("json", "x.html", "contradict"),
        ("html", "x.txt", "contradict"),
        ("terminal", "x.html", "contradict"),
        (None, "x.doc", r"ends with \.html, .*found 'x\.doc'"),
    ):
        with pytest.raises(UsageError, match=message):
            chosen(asked, path)
    with pytest.raises(UnknownNameError, match="unknown format 'doc'; known: terminal, html, json, parquet"):
        chosen("doc", None)
    with pytest.raises(UsageError, match=r"for files; use -o FILE\.parquet"):
        chosen("parquet", None, sinks.PREDICTIONS)


RECORDS = [
    [{"index": 0, "text": "a \udcff", "pair": None, "p": 0.5, "cut": True}],
    [{"index": 3, "text": 'b, "c"', "pair": "d", "p": None, "cut": False}],
]
COLUMNS = {"index": int, "text": str, "pair": str, "p": float, "cut": bool}


def written(form: str) -> bytes:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", newline="\n")
    sinks.PREDICTIONS[form].write(RECORDS, COLUMNS, stream)
    stream.flush()
    return buffer.getvalue()


def test_one_table_in_three_formats() -> None:
    assert [json.loads(line) for line in written("json").splitlines()] == [RECORDS[0][0], RECORDS[1][0]]
    rows = list(csv.reader(io.StringIO(written("csv").decode(), newline="")))
    assert rows == [list(COLUMNS), ["0", "a \ufffd", "", "0.5", "true"], ["3", 'b, "c"', "d", "", "false"]]
    table = pyarrow.parquet.read_table(io.BytesIO(written("parquet"))).to_pylist()
    assert table == [{**RECORDS[0][0], "text": "a \ufffd"}, RECORDS[1][0]]


def test_labels_of_one_name_have_columns_of_their_own() -> None:
    assert list(sinks.columns_of_rows(("a", "b", "a"), sinks.PROBABILITY))[-3:] == [
        "probability_a_0",
        "probability_b",
        "probability_a_2",
    ]


def test_an_item_of_a_row_has_its_label() -> None:
    assert Item(0, "row 1", "a").label is None
