"""`whybert predict --data`: predictions on the rows of a labelled data set."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch

import tiny
from whybert import Classifier
from whybert.cli import run
from whybert.scoring import classification_report

ROWS = [
    ("a good film", "good"),
    ("a bad film, well", "bad"),
    ("the actors were great", "good"),
    ("don't you think so?", "bad"),
    ("so", "bad"),
]
COLUMNS = [
    "index",
    "text",
    "pair",
    "label",
    "predicted",
    "probability",
    "probability_good",
    "probability_bad",
]

Call = Callable[..., tuple[int, str, str]]


def save(folder: Path, labels: Sequence[str]) -> str:
    tokenizer = tiny.wordpiece()
    names = dict(enumerate(labels))
    model = tiny.bert(tokenizer, id2label=names, label2id={name: i for i, name in names.items()})
    return str(tiny.save(folder, model, tokenizer))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose labels have another order than those of the data."""
    return save(tmp_path_factory.mktemp("model"), ("good", "bad"))


def write(path: Path, header: Sequence[str] = ("text", "label"), rows: Sequence[Sequence[str]] = ROWS) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write(tmp_path / "mine.csv")


@pytest.fixture
def predict(folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: str, model: str = folder) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["predict", "-m", model, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def expected(folder: str) -> list[dict[str, Any]]:
    found = Classifier.load(folder).predict([text for text, _ in ROWS])
    return [
        dict(
            zip(
                COLUMNS,
                (index, text, None, label, one.label, one.probability, *one.probabilities),
                strict=True,
            )
        )
        for index, ((text, label), one) in enumerate(zip(ROWS, found, strict=True))
    ]


def check(found: Sequence[dict[str, Any]], folder: str) -> None:
    for mine, theirs in zip(found, expected(folder), strict=True):
        assert list(mine) == COLUMNS
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_a_report(predict: Call, data: str, folder: str) -> None:
    code, out, err = predict("--data", data, "--report")
    true = [["good", "bad"].index(label) for _, label in ROWS]
    guesses = [["good", "bad"].index(row["predicted"]) for row in expected(folder)]
    report = classification_report(("good", "bad"), true, guesses)
    assert (code, err) == (0, "")
    assert f"accuracy {report.accuracy:.4f} · macro-F1 {report.macro_f1:.4f} · 5 texts" in out
    assert "label \\ predicted" in out
    code, out, err = predict("--data", data, "--report", "--format", "json")
    assert json.loads(out) == report.to_dict()


def test_a_report_and_a_file(predict: Call, data: str, folder: str, tmp_path: Path) -> None:
    code, out, err = predict("--data", data, "--report", "-o", str(tmp_path / "out.jsonl"))
    assert (code, err) == (0, "")
    assert "accuracy" in out
    check([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], folder)


def test_files_by_their_suffix(predict: Call, data: str, folder: str, tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        assert predict("--data", data, "-o", str(tmp_path / f"out.{suffix}"), "--batch-size", "2") == (
            0,
            "",
            "",
        )
    check([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], folder)
    check(pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist(), folder)
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert line["pair"] == ""
    numbers = ("probability", "probability_good", "probability_bad")
    check(
        [
            {
                **line,
                "index": int(line["index"]),
                "pair": None,
                **{name: float(line[name]) for name in numbers},
            }
            for line in lines
        ],
        folder,
    )
    code, out, err = predict("--data", data, "-o", str(tmp_path / "out.xlsx"))
    assert (code, out) == (2, "")
    assert "ends with .parquet, .csv, .jsonl, .json, .ndjson, .txt, found" in err


def test_stdout(predict: Call, data: str, folder: str) -> None:
    code, out, _ = predict("--data", data, "--format", "json", "--limit", "5")
    assert code == 0
    check([json.loads(line) for line in out.splitlines()], folder)
    assert predict("--data", data, "--format", "csv")[1].splitlines()[0] == ",".join(COLUMNS)
    assert predict("--data", data, "--limit", "2")[1].count("film") == 2


def test_pairs_and_columns(predict: Call, tmp_path: Path) -> None:
    rows = [(text, "the film", label) for text, label in ROWS]
    path = write(tmp_path / "pairs.csv", ("a", "b", "kind"), rows)
    columns = ("--text-column", "a", "--pair-column", "b", "--label-column", "kind")
    code, out, err = predict("--data", path, *columns, "--format", "json", "--limit", "1")
    assert (code, err) == (0, "")
    assert json.loads(out)["pair"] == "the film"
    assert json.loads(out)["label"] == "good"


def test_splits(predict: Call, tmp_path: Path) -> None:
    for name, count in (("train", 3), ("test", 2)):
        write(tmp_path / f"{name}.csv", rows=ROWS[:count])
    assert predict("--data", str(tmp_path), "--format", "json")[1].count("\n") == 2
    assert predict("--data", str(tmp_path), "--split", "train", "--format", "json")[1].count("\n") == 3
    code, _, err = predict("--data", str(tmp_path), "--split", "dev")
    assert code == 2
    assert "unknown split" in err


def test_a_known_data_set(predict: Call, tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    arguments = ("--data", "sst2", "--data-dir", str(tmp_path), "--format", "json")
    code, out, err = predict(*arguments, model=save(tmp_path / "model", ("LABEL_0", "LABEL_1")))
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["LABEL_1", "LABEL_0"]  # by index
    assert err.count("\n") == 1
    assert "matched by index: negative is LABEL_0, positive is LABEL_1" in err
    code, out, err = predict(*arguments)
    assert (code, err.count("\n")) == (0, 1)
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["positive", "negative"]
    assert predict(*arguments, "--report")[0] == 2


def test_labels_with_other_names_are_never_matched_by_their_order(
    predict: Call, data: str, tmp_path: Path
) -> None:
    model = save(tmp_path / "model", ("negative", "positive"))
    code, out, err = predict("--data", data, "--format", "json", model=model)
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == [label for _, label in ROWS]
    assert err.startswith("the labels of mine are not those of the model")
    assert predict("--data", data, "--label-map", "good=0", model=model)[0] == 2
    code, out, err = predict("--data", data, "--report", model=model)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "the labels of mine (bad, good) are not those of the model (negative, positive)" in err
    assert "--label-map bad=...,good=..." in err


@pytest.mark.parametrize("mapping", [["bad=negative,good=positive"], ["bad=1", "good=Positive"]])
def test_labels_with_other_names(predict: Call, data: str, tmp_path: Path, mapping: list[str]) -> None:
    options = [part for entry in mapping for part in ("--label-map", entry)]
    model = save(tmp_path / "model", ("positive", "negative"))
    code, out, err = predict("--data", data, "--format", "json", *options, model=model)
    assert (code, err) == (0, "")
    found = [json.loads(line)["label"] for line in out.splitlines()]
    assert found == [{"good": "positive", "bad": "negative"}[label] for _, label in ROWS]


def test_names_whatever_their_case(predict: Call, data: str, tmp_path: Path) -> None:
    model = save(tmp_path / "model", ("Good", "BAD"))
    code, out, err = predict("--data", data, "--format", "json", model=model)
    assert (code, err) == (0, "")
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["Good", "BAD", "Good", "BAD", "BAD"]


def test_a_model_with_more_labels(predict: Call, data: str, tmp_path: Path) -> None:
    model = save(tmp_path / "model", ("so", "good", "bad"))
    code, out, err = predict("--data", data, "--format", "json", model=model)
    assert (code, err) == (0, "")
    assert [json.loads(line)["label"] for line in out.splitlines()] == [label for _, label in ROWS]


def test_a_model_that_answers_a_number(predict: Call, data: str, tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    names = {
        "num_labels": 1,
        "id2label": {0: "stars"},
        "label2id": {"stars": 0},
        "problem_type": "regression",
    }
    model = str(tiny.save(tmp_path / "model", tiny.bert(tokenizer, **names), tokenizer))
    code, out, err = predict("--data", data, "--format", "json", model=model)
    assert (code, err) == (0, "")
    assert [json.loads(line)["label"] for line in out.splitlines()] == [label for _, label in ROWS]
    code, out, err = predict("--data", data, "--report", model=model)
    assert (code, out) == (1, "")
    assert "expected a finite number as the label, found" in err


def test_without_labels(predict: Call, tmp_path: Path) -> None:
    write(tmp_path / "train.csv")
    write(tmp_path / "test.csv", ("text",), [(text,) for text, _ in ROWS])
    code, out, _ = predict("--data", str(tmp_path), "--format", "json")
    assert code == 0
    assert {json.loads(line)["label"] for line in out.splitlines()} == {None}
    code, out, err = predict("--data", str(tmp_path), "--report")
    assert (code, out) == (2, "")
    assert "expected labels in the test split" in err
    assert "--split" in err


def test_a_row_without_tokens(predict: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", rows=[*ROWS, ("\u200b", "bad")])
    code, out, err = predict("--data", path, "--report")
    assert code == 3
    assert "5 texts" in out
    assert err.startswith("row 6: ")
    assert err.endswith("\n1 of 6 rows failed\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a text", "--data", "x.csv"), "exclude each other"),
        (("--tab-pairs", "--data", "x.csv"), "exclude each other"),
        (("a text", "--report"), "--report is for data sets; give --data"),
        (("a text", "--limit", "3"), "--limit is for data sets"),
        (("--split", "test"), "--split is for data sets"),
        (("a text", "--label-map", "a=b"), "--label-map is for data sets"),
        (("--data", "x.csv", "--label-map", "a"), "expected --label-map LABEL=MODEL_LABEL,..., found 'a'"),
        (("--data", "x.csv", "--label-map", "a=b,a=c"), "found 'a' twice"),
        ((), "missing argument 'TEXT'"),
        (("--data", "nowhere.csv"), "there is no file"),
    ],
)
def test_wrong_use(predict: Call, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = predict(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_a_failed_run_leaves_the_file_as_it_was(predict: Call, data: str, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("before")
    code, _, _ = predict("--data", data, "-o", str(tmp_path / "out.parquet"), "--max-length", "1")
    assert code == 2
    assert (tmp_path / "out.parquet").read_text() == "before"


def test_the_numbers_of_a_regression(predict: Call, tmp_path: Path) -> None:
    """They stand where a classifier's probabilities stand, in columns that say what they are."""
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer, num_labels=1, problem_type="regression", id2label={0: "score"})
    with torch.no_grad():
        model.classifier.bias += 40.0
    folder = str(tiny.save(tmp_path / "regression", model, tokenizer))
    [prediction] = Classifier.load(folder).predict("a film")
    shown = f"{prediction.logits[0]:.3f}"
    assert float(shown) > 20
    assert shown in predict("a film", model=folder)[1]
    record = json.loads(predict("--format", "json", "a film", model=folder)[1])
    assert (record["label"], record["predicted"], record["probability"]) == ("score", 0, None)
    assert record["number"] == prediction.answer
    [row] = csv.DictReader(io.StringIO(predict("--format", "csv", "a film", model=folder)[1]))
    assert float(row["number"]) == prediction.answer
    assert "probability" not in row


def test_the_columns_of_a_table_go_along(predict: Call, tmp_path: Path) -> None:
    lines = [
        {"id": 7, "text": "a good film", "label": "good", "stars": 4.5, "tags": ["a"], "index": "x"},
        {"id": 8, "text": "a bad film", "label": "bad", "stars": None, "tags": None, "index": "y"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = ("--data", str(path), "--columns", "id,stars", "--columns", "tags,index")
    code, out, err = predict(*given, "--format", "json")
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    names = ("id", "stars", "tags", "data_index")
    assert [[row[name] for name in names] for row in found] == [[7, 4.5, ["a"], "x"], [8, None, None, "y"]]
    assert predict(*given, "-o", str(tmp_path / "out.parquet"))[0] == 0
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [[row[name] for name in names] for row in rows] == [[7, 4.5, '["a"]', "x"], [8, None, None, "y"]]
    code, out, err = predict(*given, "--format", "csv", "--limit", "1")
    [row] = csv.DictReader(io.StringIO(out))
    assert [row[name] for name in names] == ["7", "4.5", '["a"]', "x"]
    code, out, err = predict("--data", "sst2", "--data-dir", str(tmp_path), "--columns", "id")
    assert (code, out) == (1, "")


def test_a_column_of_labels_that_is_not_there(predict: Call, tmp_path: Path) -> None:
    """Also in a test split, which may have none."""
    path = write(tmp_path / "test.csv")
    code, out, err = predict("--data", path, "--label-column", "stars")
    assert (code, out) == (1, "")
    assert "no column 'stars' for the label; found text, label" in err


def test_a_data_set_that_is_no_table_has_no_more_columns(predict: Call, tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    code, out, err = predict("--data", "sst2", "--data-dir", str(tmp_path), "--columns", "label")
    assert (code, out) == (2, "")
    assert "sst2 is no table" in err


def test_labels_of_one_name_are_shown_with_their_index(predict: Call, tmp_path: Path) -> None:
    model = save(tmp_path / "model", ("same", "same"))
    out = predict("a good film", model=model)[1]
    assert "same (0)" in out or "same (1)" in out
    path = write(tmp_path / "texts.csv", ("text",), [("a good film",)])
    record = json.loads(predict("--data", path, "--format", "json", model=model)[1])
    assert record["predicted"] in ("same (0)", "same (1)")
    assert {"probability_same_0", "probability_same_1"} <= set(record)
    [row] = csv.DictReader(io.StringIO(predict("a good film", "--format", "csv", model=model)[1]))
    assert row["label"] == record["predicted"]


def test_rows_that_lack_something(predict: Call, tmp_path: Path) -> None:
    """A text that is missing costs its row and a label nothing; a report needs all of them."""
    rows = [("a", "a good film", "good"), ("b", " ", "bad"), ("c", "a bad film", ""), ("d", "", "")]
    path = write(tmp_path / "mine.csv", ("id", "text", "label"), rows)
    code, out, err = predict("--data", path, "--columns", "id", "--format", "json")
    assert code == 3
    found = [json.loads(line) for line in out.splitlines()]
    assert [(row["index"], row["id"], row["label"]) for row in found] == [(0, "a", "good"), (2, "c", None)]
    assert err == "row 2: it has no text\nrow 4: it has no text\n2 of 4 rows failed\n"
    code, out, err = predict("--data", path, "--report")
    assert (code, out) == (1, "")
    assert "line 3: text is empty" in err


def test_the_label_of_a_row_stands_beside_the_prediction(predict: Call, data: str) -> None:
    head, _, first, *_ = predict("--data", data)[1].splitlines()
    assert head.split() == ["text", "label", "predicted", "probability"]
    assert first.split()[:4] == ["a", "good", "film", "good"]
