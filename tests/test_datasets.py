"""Data sets: every format from tiny files, the hub by a stand-in, and the published counts where they are."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets as hugging_face
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from whybert.cli.datasets import app, statistics
from whybert.datasets import (
    DATASETS,
    Columns,
    DatasetError,
    DatasetSpec,
    HubSource,
    TextDataset,
    load,
    register,
    table_layout,
    texts,
    with_validation,
)
from whybert.datasets.semeval import read_tweets
from whybert.datasets.sst import tree_nodes
from whybert.errors import UnknownNameError, UsageError

TREE_1 = "(3 (2 It) (4 (3 works) (2 .)))"
TREE_2 = "(2 (2 It) (1 (1 fails) (2 .)))"


@pytest.fixture
def data(shared: Path) -> Path:
    folder = shared / "data"
    if not folder.is_dir():
        pytest.skip(f"the public data sets are not here: no folder {folder}")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes files, given as name=content, and returns their folder."""

    def write_files(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write_files


def rows(dataset: TextDataset, split: str) -> list[tuple[Any, ...]]:
    found = dataset.split(split)
    labels = found["label"][:] if "label" in found.column_names else [None] * len(found)
    return [
        (*(text if isinstance(text, tuple) else (text,)), label)
        for text, label in zip(texts(found), labels, strict=True)
    ]


def counts(dataset: TextDataset, split: str) -> list[int]:
    found = Counter(dataset.split(split)["label"][:])
    return [found[index] for index in range(len(dataset.labels))]


# The published counts.


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("sst2", "SST2", {"train": [29780, 37569], "validation": [428, 444], "test": 1821}),
        ("sst2", "SST5", {"train": [3310, 3610], "validation": [428, 444], "test": [912, 909]}),
        ("sst2", "SST_TREES", {"train": [3310, 3610], "validation": [428, 444], "test": [912, 909]}),
        (
            "sst3",
            "SST_TREES",
            {
                "train": [34944, 42672, 81658],
                "validation": [5105, 6290, 13377],
                "test": [9849, 12082, 24732],
            },
        ),
        (
            "sst3-sentences",
            "SST_TREES",
            {"train": [3310, 3610, 1624], "validation": [428, 444, 229], "test": [912, 909, 389]},
        ),
        (
            "sst5",
            "SST5",
            {
                "train": [1092, 2218, 1624, 2322, 1288],
                "validation": [139, 289, 229, 279, 165],
                "test": [279, 633, 389, 510, 399],
            },
        ),
        (
            "sst5",
            "SST_TREES",
            {
                "train": [1092, 2218, 1624, 2322, 1288],
                "validation": [139, 289, 229, 279, 165],
                "test": [279, 633, 389, 510, 399],
            },
        ),
        ("imdb", "IMDb.tar.gz", {"train": [500, 500], "test": [1250, 1250]}),
        (
            "yelp5",
            "Yelp5",
            {"validation": [750, 435, 516, 1111, 2188], "test": [722, 419, 545, 1073, 2241]},
        ),
        ("yelp2", "Yelp5", {"validation": [1185, 3299], "test": [1141, 3314]}),
        ("mrpc", "MRPC", {"train": [1323, 2753], "test": [578, 1147]}),
        ("qnli", "QNLI", {"validation": [2702, 2761]}),
    ],
)
def test_published_counts(data: Path, name: str, folder: str, expected: dict[str, Any]) -> None:
    dataset = load(name, data / folder)
    assert list(dataset.splits) == list(expected)
    for split, wanted in expected.items():
        if isinstance(wanted, int):
            assert dataset.split(split).column_names == ["text"]
            assert len(dataset.split(split)) == wanted
        else:
            assert counts(dataset, split) == wanted
    assert dataset.is_pair is DATASETS[name].is_pair


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("2013train", (1458, 4586, 3640)),
        ("2013dev", (340, 739, 575)),
        ("2013test", (559, 1513, 1475)),
        ("2014test", (202, 669, 982)),
        ("2014sarcasm", (40, 13, 33)),
        ("2015train", (66, 253, 170)),
        ("2015test", (365, 987, 1038)),
        ("2016train", (863, 2043, 3094)),
        ("2016dev", (391, 765, 843)),
        ("2016devtest", (325, 681, 994)),
        ("2016test", (3231, 10342, 7059)),
    ],
)
def test_published_counts_of_tweets(data: Path, part: str, expected: tuple[int, ...]) -> None:
    path = data / "SemEval" / "downloaded" / f"twitter-{part}-A.tsv"
    tweets = list(read_tweets(path))
    found = Counter(tweet.label for tweet in tweets)
    assert tuple(found[index] for index in range(3)) == expected
    assert not [tweet for tweet in tweets if re.search(r"\\u[0-9a-f]{4}|\t", tweet.text)]
    # What a user had written as an entity stays one: the files have it escaped once more.
    content = path.read_text(encoding="utf-8")
    assert sum(tweet.text.count("&amp;") for tweet in tweets) == content.count("&amp;amp;")


def test_splits_of_the_tweets(data: Path) -> None:
    dataset = load("semeval", data / "SemEval")
    assert {name: counts(dataset, name) for name in dataset.splits} == {
        "train": [2639, 7306, 7262],
        "validation": [710, 1431, 1819],
        "test": [3231, 10342, 7059],
        "test2017": [3972, 5937, 2375],
    }
    # 17,827 rows of train and 3,999 of validation, less what other splits have and what is repeated.
    assert dataset.notes == (
        "train: 60 rows left out (id or text also in a later split) and 560 (text repeated)",
        "validation: 30 rows left out (id or text also in a later split) and 9 (text repeated)",
    )
    shared_rows = statistics(dataset)["shared"]
    assert len(shared_rows) == 12
    assert {entry["rows"] for entry in shared_rows} == {0}


def test_first_rows_as_published(data: Path) -> None:
    assert rows(load("sst3", data / "SST_TREES"), "validation")[0] == (
        "It 's a lovely film with lovely performances by Buy and Accorsi .",
        1,
    )
    assert rows(load("mrpc", data / "MRPC"), "train")[0] == (
        'Amrozi accused his brother, whom he called "the witness", of deliberately distorting his evidence.',
        'Referring to him as only "the witness", Amrozi accused his brother of deliberately distorting '
        "his evidence.",
        1,
    )


def test_archive_and_unpacked_archive_are_the_same(data: Path, tmp_path: Path) -> None:
    with tarfile.open(data / "IMDb.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    packed, folder = load("imdb", data / "IMDb.tar.gz"), load("imdb", tmp_path / "IMDb")
    assert [rows(packed, split) for split in packed.splits] == [rows(folder, s) for s in folder.splits]
    assert not [text for text in texts(packed.split("train")) if "<br" in text]


# Formats, from tiny files.


def test_sst2_in_the_format_of_glue(write: Callable[..., Path]) -> None:
    folder = write(
        {
            "train.tsv": 'sentence\tlabel\na "quoted row \t1\nnext\u2028line\u0085end\t0\n\n',
            "dev.tsv": "\ufeffsentence\tlabel\r\nfine\t1\r\n",
            "test.tsv": "index\tsentence\n0\tuneasy\n",
        }
    )
    dataset = load("sst2", str(folder))
    assert rows(dataset, "train") == [('a "quoted row ', 1), ("next\u2028line\u0085end", 0)]
    assert rows(dataset, "validation") == [("fine", 1)]
    assert rows(dataset, "test") == [("uneasy", None)]
    assert dataset.split("train").features["label"].names == ["negative", "positive"]
    assert (dataset.name, dataset.labels, dataset.is_pair) == ("sst2", ("negative", "positive"), False)
    assert "GLUE" in dataset.source


def test_the_nodes_of_a_tree() -> None:
    assert tree_nodes(TREE_1) == [("It works .", 3), ("It", 2), ("works .", 4), ("works", 3), (".", 2)]


@pytest.mark.parametrize("tree", ["", "(3 (2 It)", "(3 It))", "(3 It) (2 a)", "(7 It)", "(3 )", "It"])
def test_what_is_no_tree(tree: str) -> None:
    with pytest.raises(ValueError, match=r"bracket|tree|node"):
        tree_nodes(tree)


@pytest.mark.parametrize("prefix", ["", "trees/"])
def test_trees_for_each_number_of_labels(write: Callable[..., Path], prefix: str) -> None:
    folder = write({f"{prefix}train.txt": f"{TREE_1}\n{TREE_2}\n", f"{prefix}dev.txt": TREE_1})
    assert rows(load("sst3", folder), "train") == [
        ("It works .", 1),
        ("It", 2),
        ("works .", 1),
        ("works", 1),
        (".", 2),
        ("It fails .", 2),
        ("fails .", 0),
        ("fails", 0),
    ]
    assert rows(load("sst3-sentences", folder), "train") == [("It works .", 1), ("It fails .", 2)]
    assert rows(load("sst5", folder), "train") == [("It works .", 3), ("It fails .", 2)]
    two = load("sst2", folder)
    assert rows(two, "train") == [("It works .", 1)]
    assert two.notes == ("train: 1 rows left out (neutral)",)
    assert list(two.splits) == ["train", "validation"]


def test_stsa_files(write: Callable[..., Path]) -> None:
    folder = write({"stsa.fine.train": "4 great\u0085fun\n2 so so\n0 bad\n", "stsa.binary.test": "1 good\n"})
    assert rows(load("sst5", folder), "train") == [("great\u0085fun", 4), ("so so", 2), ("bad", 0)]
    assert rows(load("sst3-sentences", folder), "train") == [("great\u0085fun", 1), ("so so", 2), ("bad", 0)]
    assert rows(load("sst2", folder), "test") == [("good", 1)]


def test_of_several_layouts_the_one_with_most_splits(write: Callable[..., Path]) -> None:
    folder = write(
        {"stsa.binary.test": "1 good\n", "stsa.fine.train": "4 great\n", "stsa.fine.test": "0 bad\n"}
    )
    assert rows(load("sst2", folder), "test") == [("bad", 0)]


def test_ternary_phrases_have_neutral_last(write: Callable[..., Path]) -> None:
    folder = write({"sst-tenary-train.tsv": "phrase\tclass\nso so\t2\ngood\t1\n"})
    dataset = load("sst3", folder)
    assert rows(dataset, "train") == [("so so", 2), ("good", 1)]
    assert dataset.labels == ("negative", "positive", "neutral")


def test_tweets_are_unescaped_as_each_file_needs(write: Callable[..., Path]) -> None:
    folder = write(
        {
            "downloaded/twitter-2013train-A.tsv": (
                '1\tpositive\t"a \\""""b\\"""" it\\u2019s\\u002c ok \\ud83d\\ude00"\n'
                "2\tneutral\tsaid &amp; done &amp;lt; x.org?a=1&copy=2\n"
                "3\tnegative\tsame text\n"
                "4\tpositive\tsame text\n"
            ),
            "downloaded/twitter-2016train-A.tsv": (
                '5\tneutral\t"Open" and "close"\n9\tneutral\tby its id\n8\tneutral\tin the "test"\n'
            ),
            "downloaded/twitter-2016dev-A.tsv": '6\tpositive\t"raw\n',
            "downloaded/twitter-2016test-A.tsv": (
                '9\tnegative\t"in the ""test"""\t\n9\tnegative\t/o\\"\tWed Jul 29\n'
            ),
            "gold/SemEval2017-task4-test.subtask-A.english.txt": "10\tneutral\t&#8216;gold&#8217;\n",
        }
    )
    dataset = load("semeval", folder)
    assert rows(dataset, "train") == [
        ('a "b" it’s, ok 😀', 2),
        ("said & done &lt; x.org?a=1&copy=2", 1),
        ("same text", 0),
        ('"Open" and "close"', 1),
    ]
    assert rows(dataset, "validation") == [('"raw', 2)]
    assert rows(dataset, "test") == [('in the "test"', 0), ('/o\\"', 0)]
    assert rows(dataset, "test2017") == [("‘gold’", 1)]
    assert dataset.notes[0] == (
        "train: 2 rows left out (id or text also in a later split) and 1 (text repeated)"
    )
    assert any("without twitter-2013dev-A.tsv" in note for note in dataset.notes)


def test_quotes_of_the_sarcastic_tweets(write: Callable[..., Path]) -> None:
    folder = write({"twitter-2014sarcasm-A.tsv": '1\tneutral\tlost the first"\n2\tneutral\t"lost the last\n'})
    found = [tweet.text for tweet in read_tweets(folder / "twitter-2014sarcasm-A.tsv")]
    assert found == ["lost the first", "lost the last"]


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("semeval", "train_SemEval.csv", [("a, b", 0), ("c", 1)]),
        ("imdb", "train_IMDb.csv", [("a, b", 0), ("c", 1)]),
        ("yelp5", "train_Yelp5.csv", [("a, b", 0), ("c", 1)]),
        ("yelp2", "train_Yelp2.csv", [("a, b", 0), ("c", 1)]),
    ],
)
@pytest.mark.parametrize("header", ["text,label", "review,y"])
def test_tables_of_the_original_project(
    write: Callable[..., Path], name: str, file: str, expected: list[Any], header: str
) -> None:
    first = 1 if name.startswith("yelp") else 0
    folder = write({file: f'{header}\n"a, b",{first}\nc,{first + 1}\n'})
    assert rows(load(name, folder), "train") == expected


def test_reviews_in_folders_and_archives(write: Callable[..., Path], tmp_path: Path) -> None:
    files = {
        "aclImdb/train/pos/10_9.txt": "good<br /><br />film <BR/> indeed",
        "aclImdb/train/pos/2_7.txt": "fine",
        "aclImdb/train/neg/0_1.txt": "bad\x85",
        "aclImdb/test/neg/0_2.txt": "worse",
        "aclImdb/train/unsup/0_0.txt": "not labelled",
        "aclImdb/train/urls_pos.txt": "http://",
    }
    (tmp_path / "x" / "aclImdb" / "test" / "pos").mkdir(parents=True)
    folder = write({f"x/{name}": content for name, content in files.items()})
    archive = tmp_path / "y" / "aclImdb_v1.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {**files, "../../train/pos/3_8.txt": "no harm"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
        link = tarfile.TarInfo("train/pos/4_8.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    train = [("bad\x85", 0), ("fine", 1), ("good film indeed", 1)]
    for place in (folder / "x", folder / "x" / "aclImdb"):
        assert rows(load("imdb", place), "train") == train
        assert rows(load("imdb", place), "test") == [("worse", 0)]
    for place in (archive, archive.parent):
        assert rows(load("imdb", place), "train") == [*train[:2], ("no harm", 1), train[2]]
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_reviews_with_stars(write: Callable[..., Path]) -> None:
    line = '"a ""b"", c\nd",Business Category: Bars,Review Stars: {}.0\r\n'
    content = "text,label1,label2\r\n" + "".join(map(line.format, (1, 3, 5)))
    folder = write({"dev.csv": content})
    assert rows(load("yelp5", folder), "validation") == [('a "b", c\nd', index) for index in (0, 2, 4)]
    two = load("yelp2", folder)
    assert counts(two, "validation") == [1, 1]
    assert two.notes == ("validation: 1 rows left out (3 stars)",)


def test_reviews_without_a_header(write: Callable[..., Path]) -> None:
    folder = write({"train.csv": '"2","so \\""so\\"" \\n\\n really"\n"1","no"\n'})
    expected = [('so "so" \n\n really', 1), ("no", 0)]
    assert rows(load("yelp2", folder), "train") == expected
    assert rows(load("yelp5", folder), "train") == expected


def test_very_long_cells_and_the_limit_afterwards(write: Callable[..., Path]) -> None:
    before = csv.field_size_limit()
    folder = write({"train.csv": '"1","' + "a" * (before + 1) + '"\n'})
    assert len(texts(load("yelp2", folder).split("train"))[0]) == before + 1
    assert csv.field_size_limit() == before


def test_pairs_of_glue_and_of_the_original_project(write: Callable[..., Path]) -> None:
    folder = write(
        {
            "q/train.tsv": 'index\tquestion\tsentence\tlabel\n0\tWho "?\tHe.\tnot_entailment\n',
            "q/test.tsv": "index\tquestion\tsentence\n0\tWho?\tShe.\n",
            "r/dev.tsv": "question\tsentence\tlabel\nWho?\tHe.\t0\n",
            "m/msr_paraphrase_train.txt": (
                '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\tSaid "a.\tSaid b.'
            ),
            "n/train.tsv": "text_a\ttext_b\tlabel\na\tb\t0\n",
        }
    )
    qnli = load("qnli", folder / "q")
    assert rows(qnli, "train") == [('Who "?', "He.", 1)]
    assert rows(qnli, "test") == [("Who?", "She.", None)]
    assert qnli.is_pair
    assert rows(load("qnli", folder / "r"), "validation") == [("Who?", "He.", 0)]
    assert rows(load("mrpc", folder / "m"), "train") == [('Said "a.', "Said b.", 1)]
    assert rows(load("mrpc", folder / "n"), "train") == [("a", "b", 0)]


# Tables.


def parquet(rows: list[dict[str, Any]], **features: Any) -> bytes:
    out = io.BytesIO()
    dataset = hugging_face.Dataset.from_list(rows)
    for name, feature in features.items():
        dataset = dataset.cast_column(name, feature)
    dataset.to_parquet(out)
    return out.getvalue()


RECORDS = [{"Text": "a, b", "label": "yes"}, {"Text": "c\u2028d", "label": "no"}]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("reviews.csv", 'Text,label\n"a, b",yes\nc\u2028d,no\n'),
        ("reviews.TSV", "Text\tlabel\na, b\tyes\nc\u2028d\tno\n"),
        ("reviews.jsonl", "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)),
        ("reviews.parquet", parquet(RECORDS)),
    ],
)
def test_any_table(write: Callable[..., Path], file: str, content: str | bytes) -> None:
    dataset = load(write({file: content}) / file)
    assert (dataset.name, dataset.labels, list(dataset.splits)) == ("reviews", ("no", "yes"), ["train"])
    assert rows(dataset, "train") == [("a, b", 1), ("c\u2028d", 0)]


def test_a_folder_of_tables(write: Callable[..., Path]) -> None:
    folder = write(
        {
            "my_train.csv": "sentence,label\na,10\nb,9\n",
            "dev.jsonl": '{"text": "c", "label": 9}\n',
            "test.tsv": "review\nd\n",
            "notes.csv": "x\n",
        }
    )
    dataset = load(str(folder))
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert dataset.labels == ("9", "10")
    assert rows(dataset, "train") == [("a", 1), ("b", 0)]
    assert rows(dataset, "validation") == [("c", 0)]
    assert rows(dataset, "test") == [("d", None)]


def test_columns_that_are_named(write: Callable[..., Path]) -> None:
    folder = write({"t.csv": "text,q,a,stars\nx,who,he,5\n"})
    dataset = load(folder / "t.csv", text_column="q", pair_column="a", label_column="stars")
    assert rows(dataset, "train") == [("who", "he", 0)]
    assert dataset.is_pair
    assert rows(load(folder / "t.csv", text_column="q", label_column="stars"), "train") == [("who", 0)]


def test_pairs_are_guessed(write: Callable[..., Path]) -> None:
    folder = write({"t.tsv": "sentence1\tsentence2\tlabel\na\tb\tx\n"})
    assert rows(load(folder / "t.tsv"), "train") == [("a", "b", 0)]


def test_label_names_and_withheld_labels_of_parquet(write: Callable[..., Path]) -> None:
    names = hugging_face.ClassLabel(names=["neg", "pos"])
    folder = write(
        {
            "train.parquet": parquet([{"text": "a", "label": 1}], label=names),
            "test.parquet": parquet([{"text": "b", "label": -1}], label=names),
        }
    )
    dataset = load(folder)
    assert dataset.labels == ("neg", "pos")
    assert rows(dataset, "train") == [("a", 1)]
    assert rows(dataset, "test") == [("b", None)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_without_labels(write: Callable[..., Path], suffix: str) -> None:
    content = {"jsonl": '{"text": "a"}\n', "parquet": parquet([{"text": "a"}])}.get(suffix, "text\na\n")
    dataset = load(write({f"t.{suffix}": content}) / f"t.{suffix}")
    assert dataset.labels == ()
    assert rows(dataset, "train") == [("a", None)]
    with pytest.raises(UsageError, match="no labels to sample by"):
        with_validation(dataset)
    with pytest.raises(DatasetError, match="no column 'label' or 'sentiment' or 'class' for the label"):
        load(write({"train.csv": "text\na\n", "test.csv": "text,label\na,1\n"}))


SPELLINGS = ("{}", "{}.0", "{}.00", "+{}", " {} ", "+{}.")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(SPELLINGS), min_size=3, max_size=3),
    st.sampled_from([float, int, str]),
)
def test_a_whole_number_is_one_label_however_it_is_spelled(
    write: Callable[..., Path], numbers: list[int], spellings: list[str], kind: Callable[[Any], Any]
) -> None:
    files = {
        f"{split}.csv": "text,label\n" + "".join(f"a,{spelling.format(number)}\n" for number in numbers)
        for split, spelling in zip(("train", "dev"), spellings, strict=False)
    }
    lines = (json.dumps({"text": "a", "label": kind(number)}) + "\n" for number in numbers)
    dataset = load(write({**files, "test.jsonl": "".join(lines)}))
    assert dataset.labels == tuple(map(str, sorted(numbers)))
    assert not dataset.labels_are_ordered
    for split in ("train", "validation", "test"):
        assert [dataset.labels[label] for _, label in rows(dataset, split)] == list(map(str, numbers))


def test_what_only_looks_like_a_number(write: Callable[..., Path]) -> None:
    dataset = load(write({"t.csv": "text,label\na,01\nb,1\nc,1.5\nd,1e0\n"}) / "t.csv")
    assert dataset.labels == ("01", "1", "1.5", "1e0")


def test_splits_without_a_common_label(write: Callable[..., Path]) -> None:
    files = {"train.csv": "text,label\na,pos\nb,neg\n", "test.csv": "text,label\na,positive\nb,negative\n"}
    message = r"splits train \(neg, pos\) and test \(negative, positive\) have no label in common"
    with pytest.raises(DatasetError, match=message):
        load(write(files))
    part = load(write({**files, "test.csv": "text,label\na,pos\n"}))
    assert (part.labels, rows(part, "test")) == (("neg", "pos"), [("a", 1)])


def test_each_file_names_its_own_integers(write: Callable[..., Path]) -> None:
    names = [hugging_face.ClassLabel(names=order) for order in (["neg", "pos"], ["pos", "neg"])]
    one, two = (parquet([{"text": "a", "label": 0}, {"text": "b", "label": 1}], label=each) for each in names)
    dataset = load(write({"train.parquet": one, "test.parquet": two}))
    assert dataset.labels == ("neg", "pos")
    assert rows(dataset, "train") == [("a", 0), ("b", 1)]
    assert rows(dataset, "test") == [("a", 1), ("b", 0)]
    dataset = load(write({"x/train.parquet": two, "x/test.csv": "text,label\na,0\nb,1.0\n"}) / "x")
    assert (dataset.labels, dataset.labels_are_ordered) == (("pos", "neg"), True)
    assert rows(dataset, "test") == [("a", 0), ("b", 1)]


# What is wrong with the input.


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("sst2", {}, r"no files of sst2 in .*\{train,dev,test\}\.tsv \(GLUE\).*the folder is empty"),
        ("sst2", {"other.txt": ""}, r"no files of sst2 .*found other\.txt"),
        ("sst2", {"train.tsv": ""}, r"train\.tsv' is empty"),
        ("sst2", {"train.tsv": "sentence\tlabel\n"}, "'train' holds no rows"),
        ("sst2", {"train.tsv": "text\tlabel\na\t1\n"}, "no column 'sentence' .*found text, label"),
        ("sst2", {"train.tsv": "sentence\na\n"}, "no column 'label' for the label; found sentence"),
        ("sst2", {"train.tsv": "sentence\tlabel\na\t1\n\nb\t2\n"}, "line 4: unknown label '2'; known: 0, 1"),
        ("sst2", {"train.tsv": "sentence\tlabel\n \t1\n"}, "line 2: sentence is empty"),
        ("sst2", {"train.tsv": "sentence\tlabel\na\n"}, r"line 2: expected 2 cells .*found 1"),
        (
            "sst2",
            {"train.tsv": b"sentence\tlabel\na\t1\nb\xff\t1\n"},
            r"line 3: byte 20 \(0xff\) is not UTF-8",
        ),
        ("sst5", {"stsa.fine.train": "5 a\n"}, "line 1: unknown label '5'; known: 0, 1, 2, 3, 4"),
        ("sst5", {"stsa.fine.train": "1 a\n2 \n"}, "line 2: expected a text"),
        ("sst5", {"train.txt": "(3 (2 a)"}, "line 1: not a tree"),
        ("semeval", {"twitter-2016dev-A.tsv": "1\tgood\ta\n"}, "line 1: unknown label 'good'; known: neg"),
        ("semeval", {"twitter-2016dev-A.tsv": "1\tneutral\n"}, "line 1: expected 3 cells"),
        ("semeval", {"twitter-2016dev-A.tsv": "1\tneutral\t \n"}, "line 1: the text is empty"),
        ("imdb", {"aclImdb/train/pos/1_7.txt": "a"}, "there is no folder .*neg"),
        ("imdb", {"aclImdb_v1.tar.gz": "no archive"}, "cannot be read as an archive"),
        ("yelp5", {"train.csv": '5,"a\nb"\n6,c\n'}, "line 3: unknown label '6'"),
        ("yelp5", {"train.csv": '5,a\n4,"b\n'}, "line 2: not CSV"),
        ("qnli", {"dev.tsv": "question\tsentence\tlabel\na\t\t0\n"}, "line 2: sentence is empty"),
    ],
)
def test_bad_files(
    write: Callable[..., Path], name: str, files: dict[str, str | bytes], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load(name, write(files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "no column 'text' or 'sentence' .* for the text; found a, b"),
        ("t.csv", "text,text,label\n1,2,3\n", "2 columns 'text'"),
        ("t.csv", "text,label\na,\n", "line 2: label must be a word or a number, not ''"),
        ("t.csv", "text,label\na,b\n\n'c'\n", "line 4: expected 2 cells"),
        ("t.jsonl", '{"text": "a", "label": NaN}\n', "line 1: label must be a word or a number"),
        ("t.jsonl", '{"text": 3, "label": 0}\n', "line 1: text must be a text, not 3"),
        ("t.jsonl", '{"text": "\\ud83d", "label": 0}\n', "line 1: text holds the lone surrogate"),
        ("t.jsonl", '{"text": "a", "label": 0}\nno\n', "line 2: not JSON"),
        ("t.jsonl", "[1]\n", "line 1: expected a JSON object, found list"),
        ("t.parquet", "no", "not a Parquet file"),
        ("t.parquet", parquet([{"text": "a", "label": 1}, {"text": None, "label": 1}]), "row 2: text must"),
    ],
)
def test_bad_tables(write: Callable[..., Path], file: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load(write({file: content}) / file)
    assert "\n" not in str(caught.value)


def test_wrong_calls(write: Callable[..., Path]) -> None:
    folder = write({"train.csv": "text,label\na,1\n", "t.txt": "a", "two/train.csv": "", "two/train.tsv": ""})
    with pytest.raises(UnknownNameError, match=r"did you mean 'sst2'.*\.parquet"):
        load("sst22")
    with pytest.raises(UsageError, match="expected the name of a data set or a path, not int"):
        load(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="text_column is for tables"):
        load("sst2", folder, text_column="x")
    with pytest.raises(UsageError, match="revision is for the hub"):
        load("sst2", folder, revision="main")
    with pytest.raises(UsageError, match="data_dir is for sst2"):
        load(folder / "train.csv", folder)
    with pytest.raises(UsageError, match="revision is for sst2"):
        load(folder / "train.csv", revision="main")
    with pytest.raises(UsageError, match=r"none of the formats.*\.csv, \.tsv"):
        load(folder / "t.txt")
    with pytest.raises(UsageError, match=r"two files for the split 'train': train\.csv and train\.tsv"):
        load(folder / "two")
    with pytest.raises(DatasetError, match="no file or folder"):
        load(folder / "none.csv")
    with pytest.raises(DatasetError, match="no folder"):
        load("sst2", folder / "none")
    with pytest.raises(DatasetError, match="it is not a folder"):
        load("sst2", folder / "train.csv")
    with pytest.raises(DatasetError, match="no column 'x' for the label; found text, label"):
        load(folder / "train.csv", label_column="x")
    with pytest.raises(UnknownNameError, match=r"unknown split of train 'dev'; known: train"):
        load(folder / "train.csv").split("dev")


def test_importing_is_light() -> None:
    code = "import sys, whybert.cli.datasets; print({'torch', 'datasets', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The hub.


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Lets `load_dataset` return what is given; returns the list of its calls."""

    def serve(**splits: tuple[list[dict[str, Any]], list[str] | None]) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def load_dataset(path: str, name: str | None = None, *, revision: str | None = None) -> Any:
            calls.append((path, name, revision))
            served = {}
            for split, (records, names) in splits.items():
                found = hugging_face.Dataset.from_list(records)
                if names is not None:
                    features = found.features.copy()
                    features["label"] = hugging_face.ClassLabel(names=names)
                    found = hugging_face.Dataset.from_list(records, features=features)
                served[split] = found
            return hugging_face.DatasetDict(served)

        monkeypatch.setattr(hugging_face, "load_dataset", load_dataset)
        return calls

    return serve


@pytest.mark.parametrize(
    ("name", "repository", "config", "columns", "names", "there", "ours"),
    [
        ("sst2", "stanfordnlp/sst2", None, ("sentence",), ["negative", "positive"], 1, 1),
        ("sst5", "SetFit/sst5", None, ("text",), None, 4, 4),
        ("sst3-sentences", "SetFit/sst5", None, ("text",), None, 2, 2),
        ("sst3-sentences", "SetFit/sst5", None, ("text",), None, 3, 1),
        ("imdb", "stanfordnlp/imdb", None, ("text",), ["neg", "pos"], 1, 1),
        ("imdb", "stanfordnlp/imdb", None, ("text",), ["pos", "neg"], 1, 0),
        ("yelp2", "fancyzhx/yelp_polarity", None, ("text",), ["1", "2"], 1, 1),
        (
            "yelp5",
            "Yelp/yelp_review_full",
            None,
            ("text",),
            ["1 star", "2 star", "3 stars", "4 stars", "5 stars"],
            4,
            4,
        ),
        (
            "qnli",
            "nyu-mll/glue",
            "qnli",
            ("question", "sentence"),
            ["entailment", "not_entailment"],
            1,
            1,
        ),
        (
            "mrpc",
            "nyu-mll/glue",
            "mrpc",
            ("sentence1", "sentence2"),
            ["not_equivalent", "equivalent"],
            1,
            1,
        ),
        (
            "semeval",
            "cardiffnlp/tweet_eval",
            "sentiment",
            ("text",),
            ["negative", "neutral", "positive"],
            2,
            2,
        ),
        (
            "semeval",
            "cardiffnlp/tweet_eval",
            "sentiment",
            ("text",),
            ["positive", "neutral", "negative"],
            2,
            0,
        ),
    ],
)
def test_repositories_and_columns_of_the_hub(
    hub: Any,
    name: str,
    repository: str,
    config: str | None,
    columns: tuple[str, ...],
    names: list[str] | None,
    there: int,
    ours: int,
) -> None:
    record = {**{column: f"the {column}" for column in columns}, "label": there, "idx": 7}
    calls = hub(train=([record], names), unsupervised=([record], names))
    dataset = load(name, revision="v1")
    assert calls == [(repository, config, "v1")]
    assert rows(dataset, "train") == [(*(f"the {column}" for column in columns), ours)]
    assert list(dataset.splits) == ["train"]
    assert dataset.labels == DATASETS[name].labels
    assert dataset.split("train").features["label"].names == list(dataset.labels)
    assert dataset.is_pair is (len(columns) == 2)
    assert repository in dataset.source
    assert "v1" in dataset.source


def test_rows_of_the_hub_without_label_or_text(hub: Any) -> None:
    names = ["negative", "positive"]
    good, bare, empty = (
        {"sentence": text, "label": label} for text, label in (("a", 1), ("b", -1), (" ", 0))
    )
    hub(train=([good, bare, empty], names), test=([bare, bare], names))
    dataset = load("sst2")
    assert rows(dataset, "train") == [("a", 1)]
    assert rows(dataset, "test") == [("b", None), ("b", None)]
    assert dataset.notes == ("train: 2 rows left out (without text or without one of the labels)",)


def test_texts_of_the_hub_are_cleaned_too(hub: Any) -> None:
    hub(train=([{"text": "a<br />b", "label": 0}], ["neg", "pos"]))
    assert texts(load("imdb").split("train")) == ["a b"]


@pytest.mark.parametrize(
    ("records", "names", "message"),
    [
        ([{"text": "a", "label": 0}], None, "no column 'sentence'; found text, label"),
        ([{"sentence": "a", "label": 2}], None, "row 1: unknown label 2; known: 0 to 1"),
        ([{"sentence": "a", "label": 0}], ["a", "b", "c"], "the labels negative, positive, found a, b"),
        ([{"sentence": "a", "label": 0}], ["a", "b"], "expected the labels negative, positive, found a, b"),
        ([{"sentence": "a", "label": -1}], None, "expected a label for each row"),
        ([{"sentence": "", "label": 1}], None, "expected rows with a text"),
    ],
)
def test_another_schema_on_the_hub(hub: Any, records: Any, names: Any, message: str) -> None:
    hub(train=(records, names))
    with pytest.raises(DatasetError, match=message):
        load("sst2")


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.setattr(hugging_face, "load_dataset", load_dataset)
    with pytest.raises(
        DatasetError, match=r"stanfordnlp/sst2 could not be loaded .*reach the Hub.*--data-dir"
    ) as e:
        load("sst2")
    assert "\n" not in str(e.value)
    with pytest.raises(UsageError, match=r"'sst3' is not on the hub; give the folder"):
        load("sst3")


# Values.


def test_register_a_data_set(registered: None, write: Callable[..., Path]) -> None:
    layout = table_layout(
        "mine", {"train": "x.csv"}, Columns(text=("review",), label=("stars",)), {"bad": 0, "good": 1}
    )
    spec = register(DatasetSpec("my-set", "mine", ("bad", "good"), (layout,)))
    folder = write({"x.csv": "review,stars\na,good\n"})
    assert rows(load("My_Set", folder), "train") == [("a", 1)]
    with pytest.raises(UsageError, match="there is a data set 'my-set' already"):
        register(spec)
    with pytest.raises(UsageError, match="lower case"):
        register(DatasetSpec("My", "mine", ("a", "b"), (layout,)))
    with pytest.raises(UsageError, match="needs a layout or a hub source"):
        register(DatasetSpec("empty", "mine", ("a", "b")))
    register(DatasetSpec("far", "mine", ("a", "b"), hub=HubSource("me/far")))
    with pytest.raises(UsageError, match="no local format"):
        load("far", folder)


def test_a_data_set_is_frozen_and_can_be_pickled(write: Callable[..., Path]) -> None:
    dataset = load(write({"t.csv": "text,label\na,1\n"}) / "t.csv")
    with pytest.raises(TypeError):
        dataset.splits["train"] = None  # type: ignore[index]
    again = pickle.loads(pickle.dumps(dataset))
    assert rows(again, "train") == rows(dataset, "train")
    assert again.labels == dataset.labels


def table_of(count: int) -> str:
    # Label "a" has twice as many rows as "b", and each text of "b" comes twice.
    lines = [f"a{index},a" for index in range(2 * count)] + [f"b{index // 2},b" for index in range(count)]
    return "text,label\n" + "\n".join(lines) + "\n"


def test_validation_from_train(write: Callable[..., Path]) -> None:
    dataset = load(write({"train.csv": table_of(100)}) / "train.csv")
    split = with_validation(dataset, 0.1, seed=3)
    assert list(split.splits) == ["train", "validation"]
    assert counts(split, "validation") == [20, 10]
    train, validation = rows(split, "train"), rows(split, "validation")
    assert Counter(train + validation) == Counter(rows(dataset, "train"))
    assert not set(train) & set(validation)  # repeated texts stay together
    assert rows(with_validation(dataset, 0.1, seed=3), "validation") == validation
    assert rows(with_validation(dataset, 0.1, seed=4), "validation") != validation
    assert split.notes == ("validation: 30 rows taken from train (fraction 0.1, seed 3)",)
    assert validation == [row for row in rows(dataset, "train") if row in set(validation)]  # in order
    with pytest.raises(UsageError, match="has a validation split already"):
        with_validation(split)
    with pytest.raises(UsageError, match=r"fraction must be between 0 and 1, not 1\.5"):
        with_validation(dataset, 1.5)


def test_validation_of_little_data(write: Callable[..., Path]) -> None:
    folder = write({"one.csv": "text,label\na,x\n", "four.csv": "text,label\na,x\nb,x\nc,y\nd,y\n"})
    with pytest.raises(UsageError, match="too small"):
        with_validation(load(folder / "one.csv"))
    four = with_validation(load(folder / "four.csv"), 0.9)
    assert (counts(four, "train"), counts(four, "validation")) == ([1, 1], [1, 1])


# The command line.


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_list_of_data_sets() -> None:
    listed = [json.loads(line) for line in run("list", "--format", "json").splitlines()]
    assert [entry["name"] for entry in listed] == list(DATASETS)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["qnli"]["hub"] == "nyu-mll/glue (qnli)"
    assert by_name["sst3"] | {"task": "", "formats": [], "source": ""} == {
        "name": "sst3",
        "labels": ["negative", "positive", "neutral"],
        "task": "",
        "pairs": False,
        "formats": [],
        "hub": None,
        "source": "",
    }
    assert all(entry["formats"] and entry["source"] for entry in listed)
    table = run("list")
    assert all(name in table for name in DATASETS)


def test_show_rows(write: Callable[..., Path]) -> None:
    folder = write(
        {
            "train.csv": "q,a,y\n[red]who[/] \x1b[31m\u202e,he,x\nwhat,it,y\nwhy,so,y\n",
            "test.csv": "q,a\nz,w\n",
        }
    )
    columns = ("--text-column", "q", "--pair-column", "a", "--label-column", "y")
    shown = run("show", str(folder), "--limit", "2", *columns)
    assert "[red]who[/]" in shown
    assert "what" in shown
    assert "why" not in shown
    assert "2 of 3 rows" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    [record] = [
        json.loads(line)
        for line in run("show", str(folder), "--split", "test", "-f", "json", *columns).splitlines()
    ]
    assert record == {
        "split": "test",
        "index": 0,
        "text": "z",
        "pair": "w",
        "label": None,
        "label_index": None,
    }
    with pytest.raises(UnknownNameError, match="unknown split"):
        run("show", str(folder), "--split", "validation", *columns)


def test_show_a_known_data_set(write: Callable[..., Path]) -> None:
    folder = write({"train.tsv": "sentence\tlabel\ngood\t1\n"})
    output = run("show", "sst2", "--data-dir", str(folder), "--format", "json")
    assert json.loads(output)["label"] == "positive"


def test_statistics(write: Callable[..., Path]) -> None:
    folder = write(
        {"train.csv": "text,label\naa bb,x\naa bb,y\nc,y\n", "test.csv": "text,label\nc,x\nc,x\nd e f,y\n"}
    )
    found = json.loads(run("stats", str(folder), "--format", "json"))
    assert found["splits"]["train"] == {
        "rows": 3,
        "labels": {"x": 1, "y": 2},
        "characters": {"p50": 5, "p90": 5, "p99": 5, "longest": 5},
        "words": {"p50": 2, "p90": 2, "p99": 2, "longest": 2},
        "repeated": 1,
    }
    assert found["splits"]["test"]["words"] == {"p50": 1, "p90": 3, "p99": 3, "longest": 3}
    assert found["shared"] == [
        {"split": "train", "with": "test", "rows": 1},
        {"split": "test", "with": "train", "rows": 2},
    ]
    table = run("stats", str(folder))
    assert re.search(r"texts also in test +1 +-\n", table)
    assert re.search(r"words: longest +2 +3\n", table)
