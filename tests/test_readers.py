"""Whatever is in the files, the readers of data sets give rows or one line that says what is wrong."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets as hugging_face
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whybert.datasets import DatasetError, load
from whybert.datasets.annotated import load_annotations
from whybert.datasets.imdb import without_line_breaks
from whybert.datasets.semeval import read_tweets
from whybert.datasets.sst import tree_nodes
from whybert.errors import WhybertError

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = [
    b'"',
    b"'",
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b"(",
    b")",
    b"(3 ",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"null",
]
WORDS += [
    b"-1",
    b"1e999",
    b"1.0",
    b"true",
    b"NaN",
    b"text",
    b"label",
    b"<br />",
    b"\\ud83d",
    b"\xff",
    b"\xef\xbb\xbf",
]
WORDS += [
    "\u2028\u0085\u200b\U0001f600".encode(),
    b"9" * 5000,
    b"[" * 3000,
    b"&#" + b"1" * 5000 + b";",
    b"\\u0000",
]


def parquet() -> bytes:
    stream = io.BytesIO()
    features = hugging_face.Features(
        {"text": hugging_face.Value("string"), "label": hugging_face.ClassLabel(names=["neg", "pos"])}
    )
    rows = [{"text": "a film", "label": 1}, {"text": "b", "label": 0}]
    table = pyarrow.Table.from_pylist(rows, features.arrow_schema)
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def eraser(mode: str) -> bytes:
    evidence = {"docid": "a.txt", "start_token": 0, "end_token": 1, "text": "a"}
    row = {"annotation_id": "a.txt", "classification": "NEG", "evidences": [[evidence]]}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as made:  # type: ignore[call-overload]
        for name, content in (("m/docs/a.txt", b"a film"), ("m/test.jsonl", json.dumps(row).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def tables(name: str) -> Callable[[Path], Any]:
    return lambda folder: load(folder / name)


def known(name: str) -> Callable[[Path], Any]:
    return lambda folder: load(name, folder)


JSON_ROW = {"text": "a film", "label": 1, "rationale": [[0, 1]]}
READERS: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "csv": ("t.csv", b'text,label\n"a, ""film""",1\nb,0\n', tables("t.csv")),
    "tsv": ("t.tsv", b"text\tlabel\na film\t1\nb\t0\n", tables("t.tsv")),
    "json lines": ("t.jsonl", json.dumps(JSON_ROW).encode() * 1 + b"\n", tables("t.jsonl")),
    "parquet": ("t.parquet", parquet(), tables("t.parquet")),
    "glue": ("train.tsv", b"sentence\tlabel\na film\t1\n", known("sst2")),
    "pairs": (
        "msr_paraphrase_train.txt",
        b"Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\ta\tb\n",
        known("mrpc"),
    ),
    "trees": ("train.txt", b"(3 (2 It) (4 works))\n(1 bad)\n", known("sst3")),
    "sentences": ("stsa.fine.train", b"0 a film\n4 b\n", known("sst5")),
    "tweets": ("twitter-2013train-A.tsv", b'1\tneutral\t"a ""b"" &amp; \\u002c"\n', known("semeval")),
    "yelp": ("train.csv", b'"5","a \\n ""b"""\n"1","c"\n', known("yelp5")),
    "reviews": ("IMDb.tar.gz", eraser("w:gz"), known("imdb")),
    "rationales": (
        "t.jsonl",
        json.dumps(JSON_ROW).encode() + b"\n",
        lambda place: load_annotations(place / "t.jsonl"),
    ),
    "word labels": ("test.txt", b"(3 (2 It) (4 works))\n", load_annotations),
    "eraser": ("a.tar", eraser("w"), lambda place: load_annotations(place / "a.tar")),
    "eraser, packed": ("a.tar.gz", eraser("w:gz"), lambda place: load_annotations(place / "a.tar.gz")),
}


def problem_of(read: Callable[[], object]) -> str:
    """The message of an error of ours; empty without one."""
    try:
        read()
    except WhybertError as error:
        return str(error)
    return ""


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """A file that was cut, changed or filled with something else in places."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=300))
    if kind == 1:
        return b"".join(draw(st.lists(st.sampled_from([*WORDS, content]), max_size=12)))
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(found)))
        length = draw(st.integers(0, 12))
        found[place : place + length] = draw(st.binary(max_size=8) | st.sampled_from(WORDS))
    return bytes(found[: draw(st.integers(0, len(found)))] if kind == 2 else found)


@pytest.mark.parametrize("name", list(READERS))
@FUZZ
@given(st.data())
def test_rows_or_one_line(tmp_path: Path, name: str, data: st.DataObject) -> None:
    file, content, read = READERS[name]
    (tmp_path / file).write_bytes(data.draw(changed(content)))
    problem = problem_of(lambda: read(tmp_path))
    assert "\n" not in problem
    assert len(problem) < 1500


@pytest.mark.parametrize(
    "name", ["csv", "tsv", "json lines", "parquet", "rationales", "word labels", "eraser"]
)
def test_the_files_themselves_are_read(tmp_path: Path, name: str) -> None:
    file, content, read = READERS[name]
    (tmp_path / file).write_bytes(content)
    read(tmp_path)


def values(depth: int) -> Any:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("a b")
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=depth,
    )


@FUZZ
@given(st.data())
def test_values_of_any_type_in_json(tmp_path: Path, data: st.DataObject) -> None:
    names = ["text", "tokens", "label", "rationale", "pair"]
    row = data.draw(st.dictionaries(st.sampled_from(names), values(5)))
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    evidence = st.dictionaries(st.sampled_from(["docid", "start_token", "end_token", "text"]), values(3))
    other = {
        "annotation_id": data.draw(st.just("a.txt") | values(3)),
        "classification": data.draw(st.just("NEG") | values(2)),
        "evidences": data.draw(st.lists(st.lists(evidence, max_size=2) | values(2), max_size=2) | values(2)),
    }
    (tmp_path / "docs").mkdir(exist_ok=True)
    (tmp_path / "docs" / "a.txt").write_text("a film")
    (tmp_path / "test.jsonl").write_text(json.dumps(other) + "\n")
    for read in (
        lambda: load(tmp_path / "t.jsonl"),
        lambda: load_annotations(tmp_path / "t.jsonl"),
        lambda: load_annotations(tmp_path),
    ):
        assert "\n" not in problem_of(read)


@pytest.mark.parametrize("key", ["text", "label", "rationale", "other"])
def test_deeply_nested_json(tmp_path: Path, key: str) -> None:
    for depth in (*range(860, 1000, 20), 100_000):
        row = json.dumps({"text": "a film", "rationale": [1, 0], key: None})
        (tmp_path / "t.jsonl").write_text(row.replace("null", "[" * depth + "]" * depth))
        for read in (load, load_annotations):
            problem = problem_of(lambda: read(tmp_path / "t.jsonl"))  # noqa: B023
            assert "\n" not in problem
            assert depth < 1000 or "nested too deeply" in problem


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"info": 1}',
        b'{"info": {"features": {"label": {"_type": "No"}}}}',
        b"\xff",
    ],
)
def test_broken_metadata_of_parquet(tmp_path: Path, metadata: bytes) -> None:
    table = pyarrow.Table.from_pylist([{"text": "a", "label": 1}]).replace_schema_metadata(
        {b"huggingface": metadata}
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    problem = problem_of(lambda: load(tmp_path / "t.parquet"))
    assert not problem or "is not a Parquet file that can be read" in problem
    assert "\n" not in problem


def test_values_of_parquet_that_python_has_not(tmp_path: Path) -> None:
    text = pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": text, "label": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="is not a Parquet file that can be read"):
        load(tmp_path / "t.parquet")


def test_parquet_that_unpacks_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"text": ["a film " * 10_000] * 3000, "label": [1] * 3000})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    monkeypatch.setattr("whybert.datasets.tabular._LARGEST_TABLE", 2**27)
    with pytest.raises(DatasetError, match="unpacks to more than 134217728 bytes"):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["x" * 5000 + ".csv", "x" * 5000, "a\0b.csv", "/dev/null/x.csv"])
def test_places_that_cannot_be(name: str) -> None:
    for read in (load, load_annotations, lambda place: load("sst2", place)):
        with pytest.raises(WhybertError) as caught:
            read(name)
        assert "\n" not in str(caught.value)


# Time grows with the length of what is read, and no faster.


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tweet(text: str) -> str:
    return f"1\tneutral\t{text}x\n"


def test_linear_time(tmp_path: Path) -> None:
    def lines(content: str) -> list[Any]:
        (tmp_path / "twitter-2013train-A.tsv").write_text(content)
        return list(read_tweets(tmp_path / "twitter-2013train-A.tsv"))

    def rationales(row: object) -> Any:
        (tmp_path / "t.jsonl").write_text(json.dumps(row))
        return load_annotations(tmp_path / "t.jsonl")

    size = 200_000
    work: dict[str, Callable[[], object]] = {
        "blanks": lambda: without_line_breaks("a" + " " * size + "b"),
        "breaks": lambda: without_line_breaks("a" + "<br " * size + "<br />" * size + "<br"),
        "entities": lambda: lines(tweet("&" * size + "&#" + "1" * size + ";" + "&a" * size)),
        "escapes": lambda: lines(tweet("\\u" * size + "\\u00" * size + '\\"' * size)),
        "spans": lambda: rationales({"text": "a " * size, "rationale": [[0, 2 * size - 1]] * 2000}),
    }
    for name, each in work.items():
        assert seconds(each) < 3, name


def test_trees_have_a_limit() -> None:
    deep = "(1 " * 50_000 + "a" + " b)" * 50_000
    with pytest.raises(ValueError, match="characters, expected at most"):
        tree_nodes(deep)


def test_columns_of_json_have_a_limit(tmp_path: Path) -> None:
    lines = (json.dumps({"text": "a", "label": 1, str(number): 1}) for number in range(30_000))
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    with pytest.raises(DatasetError, match="more than 1000 different names so far"):
        load(tmp_path / "t.jsonl")


@FUZZ
@given(st.text(st.sampled_from("a<br />BR\t\r\n\x85")))
def test_line_breaks_of_reviews(text: str) -> None:
    slow = re.sub(r"[ \t\r\n]*(?:<br ?/?>[ \t\r\n]*)+", " ", text, flags=re.I).strip(" \t\r\n")
    assert without_line_breaks(text) == slow
