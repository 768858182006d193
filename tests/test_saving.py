"""Explanations in files: what is written is read back, and each wrong file is named in one line."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
import whybert
from test_explanation import any_text, example, explanations, scored
from whybert.corpus import sinks
from whybert.corpus.sources import Item
from whybert.errors import (
    FileError,
    InputError,
    UnknownNameError,
    UsageError,
    WhybertError,
)
from whybert.explanation import Completeness, Explanation, Explanations, Target, Token
from whybert.files import writing
from whybert.saving import FORMATS

READABLE = [suffix for form in FORMATS.values() if form.read for suffix in form.suffixes]
option_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
filled = st.builds(
    lambda one, options, classifier, truth, unknown: whybert.explanation.replace(
        one,
        options=options,
        classifier=classifier,
        truth=truth,
        tokens=[
            whybert.explanation.replace(token, unknown=unknown and not token.special) for token in one.tokens
        ],
    ),
    explanations(),
    st.dictionaries(any_text, option_values | any_text, max_size=3),
    any_text,
    st.none() | any_text,
    st.booleans(),
)


@given(listed=st.lists(filled, min_size=1, max_size=4), suffix=st.sampled_from([".jsonl", ".parquet"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_saved_is_loaded(tmp_path: Path, listed: list[Explanation], suffix: str) -> None:
    path = tmp_path / f"why{suffix}"
    whybert.save(listed, path)
    found = whybert.load(path)
    assert isinstance(found, Explanations)
    assert found == listed
    for one, other in zip(found, listed, strict=True):
        assert list(map(type, one.options.values())) == list(map(type, other.options.values()))


@pytest.mark.parametrize("suffix", READABLE)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, -0.0])
def test_numbers_are_read_back_to_the_bit(tmp_path: Path, suffix: str, value: float) -> None:
    path = tmp_path / f"why{suffix.upper()}"
    scored(value, 0.1).save(path)
    assert str(whybert.load(path)[0].scores) == str((value, 0.1))


@pytest.mark.parametrize(
    "text", ["1", "true", "null", "NaN", '"x"', "[1]", "{", "", "1e999", "9" * 5000, "[" * 99999]
)
def test_options_that_look_like_something_else(tmp_path: Path, text: str) -> None:
    one = example(options={"a": text, "b": 1, "c": 1.0, "d": True, "e": None})
    one.save(tmp_path / "why.parquet")
    assert str(dict(whybert.load(tmp_path / "why.parquet")[0].options)) == str(dict(one.options))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_half_characters_that_meet(tmp_path: Path, suffix: str) -> None:
    text = "\ud83d\ude00 \udfff"
    one = example(text=text, tokens=(Token(text, 0, 2, 0, 0, False, 1.0),), word_spans=((0, 0, 2),))
    Explanations([one, example()]).save(tmp_path / f"why{suffix}")
    assert whybert.load(tmp_path / f"why{suffix}") == [one, example()]


def test_parquet_has_typed_columns(tmp_path: Path) -> None:
    one = example(options={"reduction": "sum", "gamma": 0.25})
    whybert.save([one, example(completeness=None)], tmp_path / "why.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "why.parquet")
    assert str(table.schema.field("target").type) == (
        "struct<index: int64, label: string, against: int64, against_label: string>"
    )
    first, second = table.to_pylist()
    assert [(word["text"], word["score"]) for word in first["words"]] == [
        ("A", 0.25), ("charming", 1.0), ("film", -2.0)
    ]  # fmt: skip
    assert dict(first["options"]) == {"reduction": "sum", "gamma": "0.25"}
    assert first["exact"] is None
    assert second["completeness"] is None
    assert second["index"] == 1


def test_old_files_are_read(tmp_path: Path) -> None:
    """Those of versions that knew neither the classifier nor unknown tokens nor books."""
    data = json.loads(json.dumps(example(completeness=Completeness(3.25, 3.5)).to_dict()))
    for key in ("classifier", "truth", "predicted"):
        del data[key]
    for token in data["tokens"]:
        del token["unknown"]
    (tmp_path / "old.jsonl").write_text("\n" + json.dumps({"index": 3, **data, "top": []}) + "\n\n")
    assert whybert.load(tmp_path / "old.jsonl") == [example()]
    table = pyarrow.parquet
    example().save(tmp_path / "why.parquet")
    read = table.read_table(tmp_path / "why.parquet").drop(["classifier", "truth", "words", "exact"])
    table.write_table(read, tmp_path / "old.parquet")
    assert whybert.load(tmp_path / "old.parquet") == [example()]


def lines(*changes: Any) -> bytes:
    good = json.dumps(example().to_dict()).encode()
    return b"\n".join([good, *changes])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", lines(b'{"schema": 1'), "line 2, is no JSON: .*cut off"),
        ("a.jsonl", lines(b"", b"\xff"), "line 3, is no JSON: .*utf-8"),
        ("a.jsonl", lines(b"[1]"), "line 2, is no explanation: expected a dictionary"),
        ("a.jsonl", lines(b'{"schema": 2}'), "line 2, is no explanation: .*schema 1, got schema 2"),
        ("a.jsonl", lines(b'{"schema": 1}'), "line 2, is no explanation: expected the key 'text'"),
        ("a.jsonl", b"[" * 100_000, "line 1, is no JSON"),
        ("a.parquet", b"PAR1", "cannot read"),
        ("a.parquet", b"", "cannot read"),
        ("a.parquet", lines(), "cannot read"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        whybert.load(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_parquet_file_of_something_else(tmp_path: Path) -> None:
    pandas.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(FileError, match="row 1, is no explanation: expected the key 'schema'"):
        whybert.load(tmp_path / "a.parquet")


def test_a_parquet_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    example().save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match=r"a\.parquet"):
        whybert.load(path)


@pytest.mark.parametrize("name", ["a", "a.doc", "a.json.gz", ""])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"ends with \.html, .*\.parquet, .*\.pdf"):
        example().save(tmp_path / name)
    with pytest.raises(UsageError, match=r"ends with \.jsonl, \.json, \.ndjson, \.parquet, got"):
        whybert.load(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_html_is_not_read_back(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends with"):
        whybert.load(tmp_path / "a.html")


@pytest.mark.parametrize("suffix", [suffix for form in FORMATS.values() for suffix in form.suffixes])
def test_every_format_is_written_as_a_whole_or_not_at_all(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"why{suffix}"
    if suffix in (".png", ".svg", ".pdf"):
        pytest.importorskip("whybert.render.plot")
    example().save(path)
    assert path.stat().st_size > 50
    before = path.read_bytes()

    def broken() -> Any:
        yield example()
        raise WhybertError("something else")

    with pytest.raises(WhybertError, match="something else"):
        whybert.save(broken(), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    for place, message in (("no/why.html", "create it first"), ("folder.html", "it is a folder")):
        for write in (whybert.save, whybert.html):
            with pytest.raises(FileError, match=message):
                write(example(), tmp_path / place)
    with pytest.raises(FileError, match="cannot write to '/dev/full'"):
        whybert.html(example(), "/dev/full")
    with pytest.raises(FileError, match=r"cannot read .*No such file"):
        whybert.load(tmp_path / "no.jsonl")


@pytest.mark.parametrize("wrong", [3, None, "text", [example(), "x"], {"gi": ["x"]}])
def test_what_is_no_explanation_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(InputError, match="pass what explain"):
        whybert.save(wrong, tmp_path / "a.jsonl")
    for empty in ([], {}, {"gi": []}, iter(())):
        with pytest.raises(InputError, match="at least one"):
            whybert.save(empty, tmp_path / "a.jsonl")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="level"):
        whybert.save(example(), tmp_path / "a.csv", "words")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_thousands_are_written_as_they_come(tmp_path: Path) -> None:
    """No more of them than a group of rows are there at a time."""
    alive = most = 0

    class Counted(Explanation):
        __slots__ = ()

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def several() -> Any:
        nonlocal alive, most
        for _ in range(2500):
            one = example()
            one = Counted(**{name: getattr(one, name) for name in one.__dataclass_fields__})
            alive += 1
            most = max(most, alive)
            yield one

    for suffix, limit in ((".jsonl", 3), (".parquet", 2060)):
        alive = most = 0
        whybert.save(several(), tmp_path / f"a{suffix}")
        assert most <= limit
        assert (tmp_path / f"a{suffix}").stat().st_size > 5000


def test_one_table_for_pandas_and_csv(tmp_path: Path) -> None:
    tokens = [*example().tokens[:4], Token("[UNK]", 11, 15, 0, 2, False, -2.0, True), example().tokens[5]]
    listed = Explanations([example(classifier="m", truth="negative", tokens=tokens), example(method="gi")])
    found = listed.to_pandas()
    assert list(found.columns) == [
        "index", "classifier", "method", "options", "target", "quantity", "prediction", "truth",
        "probability", "logit", "sequence", "start", "end", "word", "unknown", "score",
    ]  # fmt: skip
    assert list(found["index"]) == [0, 0, 0, 1, 1, 1]
    assert found.iloc[2].to_dict() == {
        "index": 0, "classifier": "m", "method": "attnlrp", "options": "gamma=0.25",
        "target": "positive", "quantity": "logit", "prediction": "positive", "truth": "negative",
        "probability": 0.998, "logit": 3.5, "sequence": 0, "start": 11, "end": 15, "word": "film",
        "unknown": True, "score": -2.0,
    }  # fmt: skip
    listed.save(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["word"], float(row["score"])) for row in rows] == list(
        zip(found["word"], found["score"], strict=True)
    )
    assert list(example().to_pandas("token")["token"]) == ["a", "charm", "##ing", "film"]
    assert listed.to_pandas("token").shape == (8, 16)
    empty = Explanations().to_pandas()
    assert list(empty.columns) == list(found.columns)
    assert list(empty.dtypes) == list(found.dtypes)
    with pytest.raises(UnknownNameError, match="level"):
        listed.to_pandas("words")  # type: ignore[arg-type]


def test_a_regression_has_no_probability() -> None:
    one = example(
        probabilities=(), labels=("score",), logits=(2.5,), prediction="score", target=Target(0, "score")
    )
    table = one.to_pandas()
    assert table["probability"].isna().all()
    assert set(table["logit"]) == {2.5}


# The shell's files


@pytest.mark.parametrize("name", ["json", "parquet"])
def test_what_the_shell_writes_is_read_back(tmp_path: Path, name: str) -> None:
    rows = [
        Item(0, "row 1", "a", truth="negative", columns={"id": 7, "text": "x"}),
        Item(5, "row 6", "b", truth=None, columns={"id": None, "text": "\ud83d"}),
    ]
    chunks = [[(rows[0], [example(), example(method="gi")])], [(rows[1], [example()])]]
    form = sinks.EXPLANATIONS[name]
    path = tmp_path / f"why{form.suffixes[0]}"
    with writing(path) as stream:
        form.write(chunks, "word", None, stream)
    assert whybert.load(path) == [
        example(truth="negative"), example(method="gi", truth="negative"), example()
    ]  # fmt: skip
    if name == "parquet":
        table = pyarrow.parquet.read_table(path).to_pylist()
        assert [row["index"] for row in table] == [0, 0, 5]
        assert [dict(row["data"]) for row in table[1:]] == [
            {"id": "7", "text": "x"},
            {"id": "null", "text": "\ufffd"},
        ]
    else:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [(each["index"], each["truth"], each["id"], each["data_text"]) for each in records] == [
            (0, "negative", 7, "x"), (0, "negative", 7, "x"), (5, None, None, "\ud83d")
        ]  # fmt: skip


def test_columns_of_the_data_go_into_the_csv(tmp_path: Path) -> None:
    row = Item(3, "row 4", "a", columns={"id": 7, "score": "high"})
    with writing(tmp_path / "a.csv") as stream:
        sinks.EXPLANATIONS["csv"].write([[(row, [example()])]], "word", None, stream)
    [first, *_] = csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines())
    assert (first["index"], first["id"], first["data_score"], first["score"]) == ("3", "7", "high", "0.25")


# The list


def test_a_list_that_stays_one() -> None:
    listed = Explanations([example(), example(method="gi"), example(method="lat")])
    assert isinstance(listed[1:], Explanations)
    assert isinstance(listed[0], Explanation)
    assert isinstance(listed.copy(), Explanations)
    assert listed[::-1] == list(reversed(listed))
    again = pickle.loads(pickle.dumps(listed))
    assert (type(again), again) == (Explanations, listed)
    assert repr(listed) == "<3 Explanations by attnlrp, gi, lat: 3 'positive'>"
    assert repr(listed[:1]) == "<1 Explanation by attnlrp: 1 'positive'>"
    assert repr(Explanations()) == "<0 Explanations>"


def test_labels_of_the_data() -> None:
    listed = Explanations([example()] * 4)
    series = pandas.Series([0, 1, 0, 1])
    assert [each.truth for each in listed.with_truth(series)] == ["negative", "positive"] * 2
    assert [each.truth for each in listed.with_truth(["positive", None, "negative", 1])] == [
        "positive", None, "negative", "positive"
    ]  # fmt: skip
    with pytest.raises(InputError, match="4 explanations, got 1"):
        listed.with_truth(["positive"])
    for wrong in ("postive", 2, -1, 1.5):
        with pytest.raises(UnknownNameError, match=r"unknown label .* \(label 0\)"):
            listed.with_truth([wrong] * 4)  # type: ignore[list-item]


# What `explain` returns


def test_explain_returns_lists_that_know_the_model() -> None:
    tokenizer = tiny.wordpiece()
    classifier = whybert.Classifier(tiny.bert(tokenizer), tokenizer)
    found = whybert.explain(classifier, ["a good 😀 film", "bad"])
    assert isinstance(found, Explanations)
    assert found[0].classifier == classifier.name == "BertForSequenceClassification"
    assert [word.text for word in found[0].words() if word.unknown] == ["😀"]
    assert not any(token.unknown for token in found[1].tokens)
    several = whybert.explain(classifier, ["a good film"], ["gi", "attnlrp"])
    assert {type(each) for each in several.values()} == {Explanations}
