"""What is learnt: labels of each problem type, their weights, losses, scores, and what is refused."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sklearn.metrics
import torch
from safetensors.torch import load_file
from transformers import Trainer

import tiny
from commands import Run, caller, one_error
from whybert import Classifier, explain
from whybert.datasets import load, with_validation
from whybert.datasets.base import MULTI, REGRESSION, SINGLE, DatasetError
from whybert.datasets.problems import read_as, told
from whybert.errors import InputError, TrainingError, UnknownNameError, UsageError
from whybert.loading import load_encoder
from whybert.objective import class_weights, loss
from whybert.recipe import Settings
from whybert.training import finetune

WORDS = ["film", "actors", "think", "made", "were", "the", "and", "you", "a", "so"]


def write(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def texts(count: int, seed: int = 1) -> list[tuple[str, bool, bool]]:
    """Texts, and whether they hold "good" and "bad"."""
    chosen, found = random.Random(seed), []
    for number in range(count):
        good, bad = bool(number % 2), bool(number // 2 % 2)
        words = [chosen.choice(WORDS) for _ in range(chosen.randint(1, 6))] + ["good"] * good + ["bad"] * bad
        chosen.shuffle(words)
        found.append((" ".join(words), good, bad))
    return found


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = tiny.wordpiece()
    return str(tiny.save(tmp_path_factory.mktemp("encoder"), tiny.bert(tokenizer).bert, tokenizer))


@pytest.fixture
def settings(encoder: str, tmp_path: Path) -> Settings:
    return Settings(
        task=str(tmp_path / "mine.csv"),
        model=encoder,
        output_dir=str(tmp_path / "run"),
        max_seq_length=24,
        train_batch_size=8,
        learning_rate=5e-3,
        num_train_epochs=4,
        validation_fraction=0.25,
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


# --- labels in tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("t.csv", 'text,label\na,"[""x"", ""y""]"\nb,[]\nc,"[""y""]"\n', None),
        ("t.csv", "text,label\na,\"['x', 'y']\"\nb,[]\nc,['y']\n", None),  # as pandas writes lists
        ("t.tsv", 'text\tlabel\na\t["x", "y"]\nb\t[]\nc\t["y", "y"]\n', None),
        ("t.jsonl", '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n'
         '{"text": "c", "label": ["y"]}\n', None),
        ("t.csv", "text,x,y\na,1,1\nb,0,0\nc,0,1.0\n", "x,y"),
        ("t.jsonl", '{"text": "a", "x": true, "y": 1}\n{"text": "b", "x": false, "y": 0}\n'
         '{"text": "c", "x": false, "y": true}\n', "x, y"),
    ],
)  # fmt: skip
def test_several_labels_a_row(tmp_path: Path, name: str, content: str, column: str | None) -> None:
    (tmp_path / name).write_text(content)
    data = load(tmp_path / name, label_column=column)
    assert data.labels == ("x", "y")
    assert data.problem_type == MULTI == told(data)[0]
    assert data.split("train")["label"][:] == [[0, 1], [], [1]]


def test_a_parquet_file_keeps_the_names_of_its_lists(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": ["y"]}\n')
    load(tmp_path / "t.jsonl").split("train").to_parquet(tmp_path / "t.parquet")
    again = load(tmp_path / "t.parquet")
    assert again.labels == ("x", "y")
    assert again.split("train")["label"][:] == [[0, 1], [1]]


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        ('text,label\na,"[""x""]"\nb,y\n', None, "line 3: expected a list of labels in each row or in none"),
        ('text,label\na,"[1.5]"\n', None, r"at least two|\[1.5\]"),
        ("text,x,y\na,1,2\n", "x,y", "line 2: y must be 0 or 1, not '2'"),
        ("text,x,y\na,1,\n", "x,y", "line 2: y must be a word or a number, not ''"),
        ("text,x,y\na,1,0\n", "x,z", "has no column 'z' for the label; found text, x, y"),
    ],
)
def test_tables_that_do_not_do(tmp_path: Path, content: str, column: str | None, words: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    if "1.5" in content:  # no list of names: a class of an odd name
        assert load(tmp_path / "t.csv").labels == ("[1.5]",)
        return
    with pytest.raises(DatasetError, match=words):
        load(tmp_path / "t.csv", label_column=column)


def test_one_word_of_several_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ("text", "label"), [("a", "y | x"), ("b", "x"), ("c", "z|y")])
    data = read_as(load(path), MULTI)
    assert data.labels == ("x", "y", "z")
    assert data.split("train")["label"][:] == [[0, 1], [0], [1, 2]]
    path = write(tmp_path / "t.csv", ("text", "label"), [("a", "x, y|z")])
    with pytest.raises(UsageError, match=r"hold '\|' and ','; say which one .*--label-separator"):
        read_as(load(path), MULTI)
    assert read_as(load(path), MULTI, separator=",").labels == ("x", "y|z")
    path = write(tmp_path / "t.csv", ("text", "label"), [("a", "x"), ("b", "x|")])
    with pytest.raises(DatasetError, match=r"t, row 2 of train: expected a label on each side of '\|'"):
        read_as(load(path), MULTI)


@pytest.mark.parametrize(
    ("cell", "words"),
    [("good", "found 'good'; leave the row out"), ("nan", "finite number"), ("inf", "finite number"),
     ("1e999", "finite number"), ("3,5", "found '3,5'; decimals are written with a point"),
     ("1_0", "finite number")],
)  # fmt: skip
def test_what_is_no_number(tmp_path: Path, cell: str, words: str) -> None:
    data = load(write(tmp_path / "t.csv", ("text", "label"), [("a", "0.5"), ("b", cell)]))
    with pytest.raises(DatasetError, match=f"t, row 2 of train: .*{words}"):
        read_as(data, REGRESSION)


def test_numbers_of_splits_need_nothing_in_common(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ("text", "label"), [("a", "0.5"), ("b", "-2"), ("c", "1e1")])
    write(tmp_path / "dev.csv", ("text", "label"), [("a", "0.75"), ("b", "3.25")])
    data = read_as(load(tmp_path), REGRESSION, name="stars")
    assert data.split("train")["label"][:] == [0.5, -2.0, 10.0]
    assert data.split("validation")["label"][:] == [0.75, 3.25]
    assert data.labels == ("stars",)
    with pytest.raises(UnknownNameError, match="unknown problem type 'numbers'"):
        read_as(data, "numbers")


@pytest.mark.parametrize(
    ("labels", "looks_like", "words"),
    [
        (("pos", "neg", "pos"), SINGLE, ""),
        (("0", "1", "1"), SINGLE, ""),
        (("1", "2", "3"), SINGLE, "(1, 2, 3), each a class without an order: .*--problem-type regression"),
        (("1,5", "2", "3"), SINGLE, "to learn them as numbers write their decimals with a point"),
        (("x", "x;y", "z"), SINGLE, "if ';' stands between .*--problem-type multi_label_classification"),
        (("yes, of course", "no"), SINGLE, ""),
        (("1", "2.5", "3"), REGRESSION, "with fractions .*--problem-type single_label_classification"),
    ],
)
def test_what_labels_look_like_is_said(
    tmp_path: Path, labels: Sequence[str], looks_like: str, words: str
) -> None:
    path = write(tmp_path / "t.csv", ("text", "label"), [("a", label) for label in labels])
    found, line = told(load(path))
    assert found == looks_like
    assert bool(line) == bool(words)
    assert all(part in line for part in words.split(" .*"))


def test_a_validation_split_has_every_label(tmp_path: Path) -> None:
    lines = [
        (f"text {n}", json.dumps(["a"] + ["b"] * (n % 5 == 0) + ["c"] * (n % 7 == 0))) for n in range(60)
    ]
    data = with_validation(load(write(tmp_path / "t.csv", ("text", "label"), lines)), 0.25, 3)
    for split in ("train", "validation"):
        assert {index for row in data.split(split)["label"][:] for index in row} == {0, 1, 2}
    lines = [(f"text {n}", f"{n / 2}") for n in range(40)]
    numbers = read_as(load(write(tmp_path / "t.csv", ("text", "label"), lines)), REGRESSION)
    assert len(with_validation(numbers, 0.25, 3).split("validation")) == 10


def test_tables_of_many_numbers_are_counted_in_short(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "t.csv", ("text", "label"), [(f"text {n}", n / 8) for n in range(400)])
    done = run("datasets", "stats", str(path))
    assert done.code == 0
    assert "and 350 more labels" in done.out
    assert len(done.out.splitlines()) < 70


# --- losses and weights -----------------------------------------------------------------------------------


def unbalanced(tmp_path: Path) -> Any:
    return load(write(tmp_path / "t.csv", ("text", "label"), [("a", "x")] * 6 + [("b", "y")] * 2))


def several(tmp_path: Path) -> Any:
    lines = [("a", 1, 1), ("b", 1, 0), ("c", 1, 0), ("d", 0, 0)]
    return load(write(tmp_path / "t.csv", ("text", "x", "y"), lines), label_column="x,y")


def test_weights(tmp_path: Path) -> None:
    data = unbalanced(tmp_path)
    assert class_weights(None, data) is class_weights("none", data) is None
    assert class_weights("balanced", data) == pytest.approx([8 / (2 * 6), 8 / (2 * 2)])
    assert class_weights("y=2.5", data) == [1.0, 2.5]
    assert class_weights("y=2,x=0.5", data) == [0.5, 2.0]
    assert class_weights("balanced", several(tmp_path)) == pytest.approx([1 / 3, 3.0])
    assert class_weights("y=4", several(tmp_path)) == [1.0, 4.0]
    with pytest.raises(UnknownNameError, match="label in class_weights 'z'"):
        class_weights("z=2", data)
    for wrong in ("balance", "x=", "x=0", "x=-1", "x=nan", "x=two", ""):
        with pytest.raises(UsageError, match=r"balanced, none or A=2,B=1, found"):
            class_weights(wrong, data)
    numbers = load(write(tmp_path / "t.csv", ("text", "label"), [("a", "0.5"), ("b", "1")]))
    with pytest.raises(UsageError, match="learnt as numbers; leave them out"):
        class_weights("balanced", read_as(numbers, REGRESSION))


def test_the_weighted_loss_is_the_literal_one(tmp_path: Path) -> None:
    weights = class_weights("balanced", unbalanced(tmp_path))
    assert weights is not None
    torch.manual_seed(0)
    outputs, labels = SimpleNamespace(logits=torch.randn(8, 2)), torch.tensor([0] * 6 + [1] * 2)
    chances = outputs.logits.softmax(-1)
    each = [-weights[label] * chances[row, label].log() for row, label in enumerate(labels.tolist())]
    expected = sum(each, torch.tensor(0.0)) / 8
    assert torch.allclose(loss(SINGLE, weights, outputs, labels), expected)
    halves = [
        loss(SINGLE, weights, SimpleNamespace(logits=outputs.logits[part]), labels[part], 8)
        for part in (slice(0, 5), slice(5, 8))  # the parts of a step add up to it
    ]
    assert torch.allclose(halves[0] + halves[1], expected)


def test_the_losses_of_several_labels_and_of_numbers() -> None:
    torch.manual_seed(0)
    outputs = SimpleNamespace(logits=torch.randn(5, 3))
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
    chances, weights = outputs.logits.sigmoid(), [1.0, 2.0, 0.5]
    literal = -(torch.tensor(weights) * labels * chances.log() + (1 - labels) * (1 - chances).log()).mean()
    assert torch.allclose(loss(MULTI, weights, outputs, labels), literal)
    mean = torch.nn.BCEWithLogitsLoss()(outputs.logits, labels)
    assert torch.allclose(loss(MULTI, None, outputs, labels, labels.numel()), mean)
    numbers = torch.tensor([0.5, 1, -2, 3, 0])
    squares = (outputs.logits[:, 0] - numbers).square().mean()
    assert torch.allclose(loss(REGRESSION, None, outputs, numbers), squares)


def test_the_answers_of_a_new_head_begin_at_the_mean(encoder: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain: Any = load_encoder(encoder, ["score"], problem_type=REGRESSION)[0]
    torch.manual_seed(0)
    model: Any
    model, tokenizer = load_encoder(encoder, ["score"], problem_type=REGRESSION, numbers=(300.0, 50.0))
    assert model.config.problem_type == REGRESSION
    assert model.classifier.bias.tolist() == [300.0]
    assert torch.allclose(model.classifier.weight, 50 * plain.classifier.weight)
    folder = tiny.save(tmp_path / "scored", model, tokenizer)
    kept: Any = load_encoder(str(folder), ["score"], problem_type=REGRESSION, numbers=(1.0, 2.0))[0]
    assert torch.equal(kept.classifier.weight, model.classifier.weight)  # it has learnt what it answers


# --- whole runs -------------------------------------------------------------------------------------------


def test_a_run_on_several_labels(settings: Settings, tmp_path: Path, run: Run) -> None:
    lines = [(text, "|".join(["good"] * good + ["bad"] * bad) or "[]") for text, good, bad in texts(80)]
    cells = [(text, json.dumps([each for each in cell.split("|") if each != "[]"])) for text, cell in lines]
    write(tmp_path / "mine.csv", ("text", "label"), cells)
    result = finetune(replace(settings, num_train_epochs=8, class_weights="balanced"))
    assert result.metrics["problem_type"] == MULTI
    assert set(result.metrics["class_weights"]) == {"bad", "good"}
    found = result.metrics["splits"]["validation"]
    assert found["micro_f1"] > 0.8  # it did learn something
    assert {"macro_f1", "exact_match", "f1 of bad", "f1 of good", "loss", "rows"} < set(found)
    assert any("several labels: multi_label_classification" in note for note in result.metrics["notes"])
    assert "| micro-F1 |" in (result.folder / "README.md").read_text().replace("| texts ", "|")
    classifier = Classifier.load(result.folder)
    assert classifier.problem_type == MULTI
    assert classifier.labels == ("bad", "good")
    [both, none] = classifier.predict(["the good and bad film", "the film"])
    assert min(both.probabilities) > 0.5 > max(none.probabilities)
    assert explain(classifier, ["the good film"], target="good")[0].target.label == "good"
    # A report is the same whether it is made here or from the table.
    done = run("predict", "-m", str(result.folder), "--data", settings.task, "--report", "--format", "json")
    assert done.code == 0, done.err
    [report] = done.records
    answers = classifier.predict([text for text, _ in cells])
    truth = [[int(name in cell) for name in ("bad", "good")] for _, cell in cells]
    given = [[int(chance > 0.5) for chance in each.probabilities] for each in answers]
    assert report["micro_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, given, average="micro"))
    assert report["exact_match"] == pytest.approx(sklearn.metrics.accuracy_score(truth, given))
    assert [each["label"] for each in report["labels"]] == ["bad", "good"]
    shown = run("predict", "-m", str(result.folder), "--data", settings.task, "--report")
    assert "exact match" in shown.out
    rows = run("predict", "-m", str(result.folder), "--data", settings.task, "--format", "json").records
    assert {row["label"] for row in rows} == {"", "good", "bad", "bad|good"}
    assert [row["predicted"] for row in rows] == [
        "|".join(name for name, has in zip(("bad", "good"), row, strict=True) if has) for row in given
    ]
    done = run("predict", "-m", str(result.folder), "the good and bad film", "the film", "--format", "json")
    assert [record["label"] for record in done.records] == ["bad|good", ""]
    assert " bad|good " in run("predict", "-m", str(result.folder), "the good and bad film").out


def test_a_run_on_numbers(settings: Settings, tmp_path: Path, run: Run) -> None:
    lines = [(text, 1.5 * good - bad) for text, good, bad in texts(80)]
    write(tmp_path / "mine.csv", ("text", "label"), lines)
    result = finetune(replace(settings, num_train_epochs=8, early_stopping=5))
    assert result.metrics["problem_type"] == REGRESSION
    found = result.metrics["splits"]["validation"]
    assert found["spearman"] > 0.5
    assert {"mse", "mae", "pearson", "spearman", "loss", "rows"} == set(found)
    [note] = [note for note in result.metrics["notes"] if "fractions" in note]
    assert "--problem-type single_label_classification" in note
    assert "the least MSE" in (result.folder / "README.md").read_text()
    classifier = Classifier.load(result.folder)
    assert classifier.is_regression
    assert classifier.labels == ("score",)
    high, low = classifier.predict(["the good film", "the bad film"])
    assert high.answer > low.answer
    assert explain(classifier, ["the good film"])[0].probabilities == ()
    done = run("predict", "-m", str(result.folder), "--data", settings.task, "--report", "--format", "json")
    [report] = done.records
    answers = [each.answer for each in classifier.predict([text for text, _ in lines])]
    assert report["mse"] == pytest.approx(sklearn.metrics.mean_squared_error([n for _, n in lines], answers))
    assert run("predict", "-m", str(result.folder), "--data", settings.task, "--report").out.startswith(
        "MSE "
    )
    words = write(tmp_path / "words.csv", ("text", "label"), [("good", "yes"), ("bad", "no")])
    done = run("predict", "-m", str(result.folder), "--data", str(words), "--report")
    one_error(done, 1, "row 2 of train: expected a finite number as the label, found 'no'")


def test_the_best_numbers_are_kept(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mine.csv", ("text", "label"), [(text, good + 0.5) for text, good, _ in texts(24)])
    left = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr("whybert.training.scores", lambda *_: {"mse": next(left)})
    result = finetune(replace(settings, early_stopping=2))
    assert result.metrics["splits"]["validation"]["mse"] == 1.0
    assert result.metrics["epochs"] == 4


def test_a_stopped_run_goes_on(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "mine.csv", ("text", "x", "y"), [(text, +good, +bad) for text, good, bad in texts(32)])
    patient = replace(settings, label_column="x,y", class_weights="balanced", early_stopping=3)
    whole = finetune(replace(patient, output_dir=str(tmp_path / "whole")))
    save = Trainer._save_checkpoint

    def stop(self: Any, *args: Any, **options: Any) -> None:
        save(self, *args, **options)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(patient)
    resumed = finetune(patient)
    assert resumed.resumed
    assert resumed.metrics["splits"] == whole.metrics["splits"]
    assert resumed.metrics["class_weights"] == whole.metrics["class_weights"]
    mine, other = (load_file(each.folder / "model.safetensors") for each in (whole, resumed))
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_what_was_decided_is_said_first_and_can_be_overruled(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine.csv", ("text", "label"), [(text, 1 + good + bad) for text, good, bad in texts(24)])
    short = replace(settings, num_train_epochs=1)
    assert finetune(short).labels == ("1", "2", "3")
    first, *_ = capsys.readouterr().err.splitlines()
    assert "each a class without an order: single_label_classification" in first
    result = finetune(replace(short, problem_type=REGRESSION, output_dir=str(tmp_path / "numbers")))
    assert result.labels == ("score",)
    assert "without an order" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "change", "words"),
    [
        ([("a", "0.5"), ("b", "0.5")], {}, "two different numbers, found only 0.5"),
        ([("a", "1"), ("b", "-100")], {"problem_type": REGRESSION}, "-100, transformers' sign for none"),
        ([("a", "[]"), ("b", "[]")], {}, "at least two labels, found only no label"),
        (
            [("a", "['x']"), ("b", "['y']")],
            {"problem_type": SINGLE},
            "may have several labels, which is multi_label_classification and not",
        ),
        ([("a", "x"), ("b", "y")], {"problem_type": REGRESSION}, "row 1 of train: expected a finite number"),
        ([("a", "1.5"), ("b", "2")], {"class_weights": "balanced"}, "learnt as numbers; leave them out"),
        ([("a", "x"), ("b", "y")], {"class_weights": "x"}, "class_weights to be balanced"),
        ([("a", "x"), ("b", "y")], {"push_to_hub": "a/b/c"}, "push_to_hub to be owner/name: Repo id must be"),
    ],
)
def test_data_that_does_not_do(
    settings: Settings, tmp_path: Path, lines: Any, change: dict[str, Any], words: str
) -> None:
    write(tmp_path / "mine.csv", ("text", "label"), lines)
    with pytest.raises((InputError, UsageError, DatasetError), match=words) as caught:
        finetune(replace(settings, **change))
    assert "\n" not in str(caught.value)
    assert not Path(settings.output_dir).exists()


def test_a_label_that_no_training_row_has(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ("text", "label"), [("a", "x"), ("b", "y"), ("c", "x")])
    write(tmp_path / "dev.csv", ("text", "label"), [("a", "x"), ("b", "z")])
    with pytest.raises(InputError, match=r"no training row of .* has z of its validation split"):
        finetune(replace(settings, task=str(tmp_path)))


# --- a copy on the hub ------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """A hub that takes what it is given, or raises an error."""

    def use(error: Exception | None = None) -> list[Any]:
        taken: list[Any] = []

        def create(name: str, **options: Any) -> Any:
            if error is not None:
                raise error
            return SimpleNamespace(repo_id=name, __str__=lambda _: name)

        monkeypatch.setattr("huggingface_hub.create_repo", create)
        monkeypatch.setattr("huggingface_hub.upload_folder", lambda **options: taken.append(options))
        return taken

    return use


def test_a_copy_on_the_hub(
    settings: Settings, tmp_path: Path, hub: Callable[..., list[Any]], run: Run
) -> None:
    write(tmp_path / "mine.csv", ("text", "label"), [(text, good) for text, good, _ in texts(24)])
    arguments = ["finetune", "--task", settings.task, "--model", settings.model, "--num-train-epochs", "1"]
    arguments += ["--max-seq-length", "24", "--output-dir", settings.output_dir, "--push-to-hub", "me/mine"]
    hub(ConnectionError("no network\nat all"))
    one = run(*arguments)
    last = one.err.splitlines()[-1]
    assert one.code == 1
    assert last.startswith(f"error: the model is saved in {settings.output_dir!r}, but 'me/mine' on the hub")
    assert "no network at all; the same command tries again" in last
    assert Classifier.load(settings.output_dir).labels == ("False", "True")
    taken = hub()
    again = run(*arguments)
    assert again.code == 0
    assert "already done, copied to" in again.out.replace("\n", " ")
    [call] = taken
    assert call["repo_id"] == "me/mine"
    files = {path.name for path in Path(settings.output_dir).iterdir()}
    assert set(call["allow_patterns"]) == files - {"finetune.json"}
    hub(OSError("x"))
    with pytest.raises(TrainingError, match="is saved in"):
        finetune(replace(settings, num_train_epochs=1, push_to_hub="me/mine"), overwrite=True)
