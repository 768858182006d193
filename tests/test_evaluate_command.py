"""`whybert evaluate`: from a saved model and a file of texts to a table and a folder."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import tiny
import whybert
from commands import Run, caller, one_error, process
from whybert import Classifier
from whybert.datasets import load
from whybert.evaluation import bench, results
from whybert.evaluation.bench import EvaluationData, evaluate
from whybert.evaluation.metrics import METRICS

ROWS = [
    ("the film was good", "good"),
    ("the actors were great", "good"),
    ("a bad film.", "bad"),
    ("so", "bad"),
    ("don't you think so?", "bad"),
]
FILES = {"results.json", "scores.csv", "scores.parquet", "evaluation.json", "parts"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer, id2label={0: "good", 1: "bad"}, label2id={"good": 0, "bad": 1})
    return str(tiny.save(tmp_path_factory.mktemp("model"), model, tokenizer))


def write(
    path: Path, rows: Sequence[tuple[str, ...]] = ROWS, header: tuple[str, ...] = ("text", "label")
) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("data") / "mine.csv")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


@pytest.fixture
def judge(run: Run, folder: str, data: str) -> Run:
    """The command on the model and the data."""
    return lambda *arguments: run("evaluate", "-m", folder, "--data", data, *arguments)


def expected(folder: str, data: str, **options: Any) -> dict[str, Any]:
    classifier = Classifier.load(folder)
    rows = EvaluationData.of_dataset(load(data), None, classifier)
    return results.to_dict(evaluate(classifier, rows, **options))


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "seconds"}


# What it prints and writes.


def test_a_table_on_stdout(judge: Run, folder: str, tmp_path: Path) -> None:
    result = judge("--method", "gi", "--method", "attnlrp", "--metric", "aopc,morf", "--seed", "3")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    guesses = [each.label for each in Classifier.load(folder).predict([text for text, _ in ROWS])]
    right = sum(guess == label for guess, (_, label) in zip(guesses, ROWS, strict=True))
    assert 0 < right < 5
    name = Path(folder).name
    assert lines[0] == f"{name} on mine/train: 5 texts · accuracy {right / 5:.3f} · seed 3"
    assert next(line for line in lines if line.startswith("faithfulness")).split()[1:] == [
        "gi",
        "attnlrp",
        "random",
    ]
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in METRICS] == [
        "aopc",
        "morf",
    ]
    assert result.out.count("★") == 2 + 1  # one for each metric, and the legend
    assert max(map(len, lines)) <= 100
    assert not any(line.endswith(" ") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_same_numbers_as_from_python(judge: Run, folder: str, data: str) -> None:
    result = judge("--format", "json", "--method", "gi", "--metric", "aopc,agreement-top", "--limit", "4")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("\n") == 1
    asked = {"methods": ["gi"], "metrics": ["aopc", "agreement-top"], "limit": 4}
    assert untimed(json.loads(result.out)) == untimed(expected(folder, data, **asked))


def test_without_names_all_methods_and_faithfulness(judge: Run) -> None:
    record = json.loads(judge("--format", "json", "--limit", "1").out)
    assert record["settings"]["methods"] == [*whybert.methods.STANDARD, "random"]
    assert list(record["metrics"]) == list(bench.DEFAULT_METRICS)
    assert {METRICS[name].group for name in record["metrics"]} == {"faithfulness"}


def test_options_reach_the_evaluation(judge: Run, folder: str, data: str) -> None:
    arguments = (
        "--method",
        "lrp:alpha=1,residual=once",
        "--metric",
        "aopc,naopc",
        "--seed",
        "4",
        "--target",
        "bad",
        "--no-control",
    )
    options = ("--slow-limit", "2")
    result = judge(*arguments, *options, "--format", "json", "--max-length", "6", "--batch-size", "2")
    assert (result.code, result.err) == (0, "")
    settings = json.loads(result.out)["settings"]
    assert (settings["methods"], settings["seed"], settings["target"]) == (
        ["lrp:residual=once,alpha=1"],
        4,
        "bad",
    )
    assert (settings["bounds"], settings["max_length"]) == ({"naopc": 2}, 6)
    by_index = json.loads(judge(*arguments[:-2], "1", "--format", "json").out)
    assert by_index["settings"]["target"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--method", "gi,lat", "--metric", "aopc,morf"),
        ("--method", "gi", "--method", "lat", "--metric", "aopc", "--metric", "morf"),
        ("--method", " gi , lat ,", "--metric", "aopc, MORF", "--metric", "aopc"),
    ],
)
def test_several_names(judge: Run, arguments: tuple[str, ...]) -> None:
    record = json.loads(judge(*arguments, "--format", "json").out)
    assert record["settings"]["methods"] == ["gi", "lat", "random"]
    assert list(record["metrics"]) == ["aopc", "morf"]


def test_a_folder_and_going_on(judge: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--method", "gi", "--metric", "aopc", "-o", "run/er")
    first = judge(*arguments)
    assert (first.code, first.err) == (0, "")
    assert {path.name for path in Path("run/er").iterdir()} == FILES
    record = json.loads(Path("run/er/results.json").read_text())
    assert len(list(csv.DictReader(Path("run/er/scores.csv").read_text().splitlines()))) == 5 * 2

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("nothing is to be explained again")

    monkeypatch.setattr(bench, "explain", refuse)
    again = judge(*arguments)
    assert again == first
    assert json.loads(judge(*arguments, "--format", "json").out) == record
    one_error(judge(*arguments, "--seed", "1"), 2, "other settings", "seed 0 (now 1)", "--overwrite")
    assert json.loads(Path("run/er/results.json").read_text()) == record
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = judge(*arguments, "--seed", "1", "--overwrite")
    assert (result.code, result.err) == (0, "")
    assert json.loads(Path("run/er/results.json").read_text())["settings"]["seed"] == 1


def test_folders_of_others(judge: Run, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    for more in ((), ("--overwrite",)):
        result = judge("--method", "gi", "--metric", "aopc", "-o", "foreign", *more)
        one_error(result, 2, "'foreign' holds something that no evaluation wrote")
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["notes.txt"]
    (tmp_path / "notes").write_text("mine")
    one_error(judge("--method", "gi", "-o", "notes"), 2, "found the file 'notes'")


def test_one_file(judge: Run, tmp_path: Path) -> None:
    """Its suffix says what it holds; a name without one, or with a number, is that of a folder."""
    given = ("--method", "gi", "--metric", "aopc", "--limit", "3")
    for name in ("out.json", "out.csv", "out.parquet", "out.txt"):
        result = judge(*given, "-o", name)
        assert (result.code, result.out, result.err) == (0, "", "")
        assert (tmp_path / name).is_file()
    shown, record = judge(*given), judge(*given, "--format", "json")
    assert Path("out.txt").read_text("utf-8") == shown.out
    assert untimed(json.loads(Path("out.json").read_text("utf-8"))) == untimed(json.loads(record.out))
    assert judge(*given, "-o", "run-0.1").code == 0
    assert Path("out.csv").read_text() == Path("run-0.1/scores.csv").read_text()
    assert pyarrow.parquet.read_table("out.parquet") == pyarrow.parquet.read_table("run-0.1/scores.parquet")
    one_error(judge(*given, "-o", "out.docx"), 2, ".json, .csv, .parquet, .txt, found 'out.docx'")
    one_error(judge(*given, "-o", "out.csv", "--format", "json"), 2, "contradict each other")
    one_error(judge(*given, "-o", "out.csv", "--overwrite"), 2, "--overwrite is for the folder")


def test_without_labels(run: Run, folder: str, tmp_path: Path) -> None:
    """Faithfulness needs none."""
    path = write(tmp_path / "texts.csv", [(text,) for text, _ in ROWS], ("review",))
    given = ("--text-column", "review", "--method", "standard", "--metric", "aopc", "--format", "json")
    result = run("evaluate", "-m", folder, "--data", path, *given)
    assert (result.code, result.err) == (0, "")
    [record] = result.records
    assert record["accuracy"] is None
    assert set(record["metrics"]["aopc"]["methods"]) >= set(whybert.STANDARD)


def test_pairs_and_columns(run: Run, folder: str, tmp_path: Path) -> None:
    rows = [(text, "the film", label) for text, label in ROWS]
    path = write(tmp_path / "pairs.csv", rows, ("a", "b", "kind"))
    result = run(
        "evaluate", "-m", folder, "--data", path, "--text-column", "a", "--pair-column", "b",
        "--label-column", "kind", "--method", "gi", "--metric", "aopc", "--format", "json",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)["metrics"]["aopc"]["methods"]["gi"]["texts"] == 5


def test_labels_matched_by_index_are_noted_on_stderr(run: Run, folder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "named.csv", [(text, {"good": "1", "bad": "0"}[label]) for text, label in ROWS])
    result = run("evaluate", "-m", folder, "--data", path, "--method", "gi", "--metric", "aopc")
    assert result.code == 0
    assert result.err.count("\n") == 1
    assert "matched by index: 0 is good, 1 is bad" in result.err
    assert "matched by index" in " ".join(result.out.split())


def test_labels_with_other_names(run: Run, folder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "named.csv", [(text, {"good": "+", "bad": "-"}[label]) for text, label in ROWS])
    arguments = ("evaluate", "-m", folder, "--data", path, "--method", "gi", "--metric", "aopc")
    one_error(run(*arguments), 2, "--label-map +=...,-=...")
    mapped = run(*arguments, "--label-map", "+=good,-=bad", "--format", "json")
    named = write(tmp_path / "good.csv", ROWS)
    right = run(*arguments[:4], named, *arguments[5:], "--format", "json")
    assert json.loads(mapped.out)["accuracy"] == json.loads(right.out)["accuracy"] is not None


def test_annotations(run: Run, folder: str, tmp_path: Path) -> None:
    lines = [{"text": text, "label": label, "rationale": [[0, len(text.split()[0])]]} for text, label in ROWS]
    (tmp_path / "marked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("evaluate", "-m", folder, "--annotations", "marked.jsonl", "--method", "gi,lat")
    result = run(*arguments, "--metric", "plausibility,aopc", "--format", "json")
    assert (result.code, result.err) == (0, "")
    record = json.loads(result.out)
    assert list(record["metrics"]) == ["token-f1", "iou-f1", "auprc", "aopc"]
    for method in ("gi", "lat", "random"):
        cell = record["metrics"]["token-f1"]["methods"][method]
        assert 0 <= cell["mean"] <= 1
        assert cell["texts"] == 5
    assert [note.split()[0] for note in record["notes"]] == ["sentiment-ap", "sentiment-spearman"]
    assert record["accuracy"] is not None
    one_error(run(*arguments, "--metric", "sentiment-ap"), 2, "sentiment-ap left out", "word labels")
    one_error(run(*arguments[:3], "--annotations", "nowhere.jsonl"), 1, "'nowhere.jsonl'")


# Explanations of other tools.


def test_what_explain_writes_can_be_judged(judge: Run, run: Run, folder: str, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in ROWS))
    explained = run(
        "explain", "-m", folder, "texts.txt", "--method", "attnlrp,gi", "--format", "json", "-o", "x"
    )
    assert explained.code == 0
    assert Path("x").read_text().count("\n") == 10
    names = ("--metric", "aopc", "--format", "json")
    files = ("--explanations", "attnlrp=x", "--explanations", "gi=x")
    given = json.loads(judge(*names, *files).out)
    own = json.loads(judge(*names, "--method", "attnlrp,gi").out)
    assert given["settings"]["methods"] == own["settings"]["methods"] == ["attnlrp", "gi", "random"]
    assert set(given["settings"]["given"]) == {"attnlrp", "gi"}
    for method, cell in own["metrics"]["aopc"]["methods"].items():
        theirs = given["metrics"]["aopc"]["methods"][method]
        assert [theirs[name] for name in ("mean", "low", "high")] == pytest.approx(
            [cell[name] for name in ("mean", "low", "high")], abs=1e-5
        )


def test_explanations_beside_methods(judge: Run, tmp_path: Path) -> None:
    lines = [
        {"text": text, "spans": [[0, 1], [1, len(text)]], "scores": [1.0, -1.0], "method": "mine"}
        for text, _ in ROWS
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = judge("--metric", "aopc", "--method", "gi", "--explanations", "mine=mine.jsonl")
    assert (result.code, result.err) == (0, "")
    header = next(line for line in result.out.splitlines() if line.startswith("faithfulness"))
    assert header.split()[1:] == ["gi", "mine", "random"]
    alone = judge("--metric", "aopc", "--explanations", "mine=mine.jsonl", "--no-control")
    header = next(line for line in alone.out.splitlines() if line.startswith("faithfulness"))
    assert header.split()[1:] == ["mine"]


def test_a_wrong_row_of_explanations(judge: Run, tmp_path: Path) -> None:
    lines = [{"text": text, "words": text.split(), "scores": [0.5] * len(text.split())} for text, _ in ROWS]
    path = tmp_path / "mine.jsonl"
    call = ("--metric", "aopc", "--explanations", "mine=mine.jsonl")
    for change, message in (
        ({"scores": [float("nan")] * 3}, "line 3: expected scores that are finite numbers, found nan"),
        ({"scores": [1.0]}, "line 3: expected as many scores as words"),
        ({"words": ["a", "good", "film."]}, "line 3: 'good' (place 1) does not follow"),
        ({"text": "another"}, "has no explanation by 'mine' of row 2 ('a bad film.')"),
    ):
        path.write_text(
            "\n".join(json.dumps({**line, **change} if i == 2 else line) for i, line in enumerate(lines))
        )
        one_error(judge(*call), 2, "'mine.jsonl'", message)
    path.unlink()
    one_error(judge(*call), 2, "cannot read 'mine.jsonl'")


# Wrong use.


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--metric", "aopcc"), ("unknown metric 'aopcc'; did you mean 'aopc'",)),
        (("--metric", ","), ("expected at least one metric",)),
        (("--metric", "aopc@maskk"), ("unknown perturbation 'maskk'; did you mean 'mask'",)),
        (("--metric", "seconds@mask"), ("unknown faithfulness metric 'seconds'",)),
        (("--metric", "token-f1"), ("token-f1 left out: needs texts with human rationales", "--annotations")),
        (("--method", "atnlrp"), ("unknown method 'atnlrp'; did you mean 'attnlrp'",)),
        (("--method", "gi,gi"), ("expected each method once, found gi 2 times",)),
        (("--target", "great"), ("great",)),
        (("--target", "2"), ("2",)),
        (("--limit", "0"), ("--limit",)),
        (("--slow-limit", "0"), ("--slow-limit",)),
        (("--seed", "-1"), ("--seed",)),
        (("--format", "html"), ("unknown format 'html'",)),
        (("--explanations", "file.jsonl"), ("expected --explanations NAME=FILE, found 'file.jsonl'",)),
        (("--explanations", "=file.jsonl"), ("expected --explanations NAME=FILE",)),
        (("--explanations", "name="), ("expected --explanations NAME=FILE",)),
        (("--explanations", "a=x", "--explanations", "a=y"), ("once, found 'a' twice",)),
        (("--explanations", "gi=x", "--method", "gi"), ("each method once",)),
        (("--annotations", "x.jsonl"), ("expected --data or --annotations",)),
        (("--split", "dev"), ("unknown split", "dev")),
        (("--method", "gi:alpha=1"), ("unknown option of gi 'alpha'",)),
    ],
)
def test_wrong_use(judge: Run, tmp_path: Path, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_error(judge(*arguments, "-o", "out"), 2, *parts)
    assert not (tmp_path / "out" / "results.json").exists()


def test_without_data(run: Run, folder: str) -> None:
    one_error(run("evaluate", "-m", folder), 2, "expected --data or --annotations, one of them")
    one_error(run("evaluate", "-m", folder, "--data", "nowhere.csv"), 1, "there is no file")
    one_error(run("evaluate", "-m", "./nowhere", "--data", "x.csv"), 1, "nowhere")


def test_a_wrong_metric_is_found_before_the_model_is_loaded(run: Run) -> None:
    one_error(run("evaluate", "-m", "./nowhere", "--data", "x", "--metric", "aopcc"), 2, "unknown metric")


def test_a_label_that_the_model_has_not(run: Run, folder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "three.csv", [*ROWS, ("a film", "neutral")])
    one_error(
        run("evaluate", "-m", folder, "--data", path),
        2,
        "labels of three (bad, good, neutral) are not those of the model (good, bad)",
        "neutral=...",
    )


# Being stopped.


def many(path: Path, count: int) -> str:
    return write(path, [(f"the film {i % 7} was good {i}", "good" if i % 2 else "bad") for i in range(count)])


def test_a_stop_keeps_the_parts(
    run: Run, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("evaluate", "-m", folder, "--data", many(tmp_path / "many.csv", 20), "--method", "gi")
    arguments += ("--metric", "aopc", "-o", "out")
    explain, calls = bench.explain, []

    def stopped(classifier: Any, texts: Any, *more: Any, **options: Any) -> Any:
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return explain(classifier, texts, *more, **options)

    monkeypatch.setattr(bench, "explain", stopped)
    result = run(*arguments)
    assert (result.code, result.out, result.err) == (130, "", "interrupted\n")
    assert {path.name for path in Path("out").iterdir()} == {"evaluation.json", "parts"}
    assert [path.name for path in Path("out/parts").iterdir()] == ["texts-00000.json"]
    result = run(*arguments)
    assert (result.code, result.err) == (0, "")
    assert calls == [8, 8, 8, 4]
    whole = run(*arguments[:-1], "whole")
    assert whole.out == result.out
    assert Path("out/scores.csv").read_bytes() == Path("whole/scores.csv").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="a process of another console gets no interrupt there")
def test_control_c(folder: str, tmp_path: Path) -> None:
    """In a process of its own, with a real signal."""
    path = many(tmp_path / "many.csv", 2400)  # so that it is not done when the signal comes
    running = process("evaluate", "-m", folder, "--data", path, "-o", "out", cwd=tmp_path)
    part = tmp_path / "out" / "parts" / "texts-00000.json"
    while not part.exists() and running.poll() is None:
        try:
            running.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", b"interrupted\n")
    assert json.loads(part.read_text())["values"]
    assert not (tmp_path / "out" / "results.json").exists()


# The list of metrics.


def test_list_metrics(run: Run) -> None:
    result = run("list", "metrics")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 100
    for name, metric in METRICS.items():
        [line] = [line for line in lines if line.split()[:1] == [name]]
        assert metric.group in line
        assert line.split()[-1] == ("higher" if metric.higher_is_better else "lower")
    plain = " ".join(result.out.split())
    assert "on at most 25 texts" in plain


def test_list_metrics_as_json(run: Run, tmp_path: Path) -> None:
    result = run("list", "metrics", "--format", "json")
    assert (result.code, result.err) == (0, "")
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["name"] for record in records] == list(METRICS)
    for record in records:
        metric = METRICS[record["name"]]
        assert record == {
            name: getattr(metric, name)
            for name in ("name", "group", "summary", "source", "higher_is_better", "texts")
        }
    assert run("list", "metrics", "-f", "json", "-o", "metrics.jsonl").out == ""
    assert Path("metrics.jsonl").read_text("utf-8") == result.out
