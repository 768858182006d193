"""Fine-tuning: what comes out, how it goes on after a stop, and what it says to what is wrong."""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import gc
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import typer
from safetensors.torch import load_file
from transformers import BertForMaskedLM, BertTokenizer, Trainer

import models
import tiny
import whybert
from whybert import Classifier
from whybert.cli import run
from whybert.cli.convert import convert_command
from whybert.cli.finetune import finetune_command
from whybert.errors import (
    InputError,
    MissingExtraError,
    ModelLoadError,
    TrainingError,
    UnknownNameError,
    UsageError,
)
from whybert.loading import load_encoder
from whybert.recipe import Settings
from whybert.training import CHECKPOINTS, Order, _with_lora, finetune, last_checkpoint

SOURCE = Path(__file__).resolve().parents[1] / "src"
WORDS = ["film", "actors", "think", "made", "were", "the", "and", "you", "a", "so"]


def rows(count: int, seed: int, labels: Sequence[str] = ("neg", "pos")) -> list[tuple[str, str]]:
    chosen = random.Random(seed)
    found = []
    for number in range(count):
        label = number % len(labels)
        words = [chosen.choice(WORDS) for _ in range(chosen.randint(1, 12))]
        words.insert(chosen.randrange(len(words) + 1), ["bad", "good", "great"][label])
        found.append((" ".join(words), labels[label]))
    return found


def write(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, (name, count) in enumerate({"train": 48, "validation": 20, "test": 10}.items()):
        write(folder / f"{name}.csv", ("text", "label"), rows(count, seed))
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The encoder of a BERT without a head."""
    tokenizer = tiny.wordpiece()
    return str(tiny.save(tmp_path_factory.mktemp("encoder"), tiny.bert(tokenizer).bert, tokenizer))


@pytest.fixture
def settings(data: Path, encoder: str, tmp_path: Path) -> Settings:
    return Settings(
        task=str(data),
        model=encoder,
        output_dir=str(tmp_path / "run"),
        max_seq_length=24,
        train_batch_size=8,
        learning_rate=5e-3,
        num_train_epochs=3,
        seed=3,
    )


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@contextlib.contextmanager
def stopped_after(saves: int, error: BaseException) -> Iterator[None]:
    """Raise `error` right after so many checkpoints were saved."""
    original = Trainer._save_checkpoint
    saved = 0

    def save(self: Any, *args: Any, **options: Any) -> None:
        nonlocal saved
        original(self, *args, **options)
        saved += 1
        if saved == saves:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", save)
        yield


def stop_after(saves: int, settings: Settings) -> None:
    with stopped_after(saves, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        finetune(settings)


# --- the result ------------------------------------------------------------------------------------------


def test_a_run_leaves_a_classifier(settings: Settings, data: Path) -> None:
    result = finetune(replace(settings, eval_test=True, num_train_epochs=10))  # any seed learns by then
    folder = result.folder
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "finetune.json",
        "metrics.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    classifier = Classifier.load(folder)
    assert classifier.labels == ("neg", "pos")
    assert classifier.model.config.problem_type == "single_label_classification"
    assert classifier.max_length == 24
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"] is None
    for name, count in (("validation", 20), ("test", 10)):  # the reported scores are those of the result
        with (data / f"{name}.csv").open() as file:
            lines = list(csv.DictReader(file))
        found = classifier.predict([line["text"] for line in lines])
        right = sum(each.label == line["label"] for each, line in zip(found, lines, strict=True))
        assert result.metrics["splits"][name]["accuracy"] == pytest.approx(right / count)
        assert result.metrics["splits"][name]["rows"] == count
    assert result.metrics["splits"]["validation"]["accuracy"] > 0.7  # it did learn something
    assert json.loads((folder / "metrics.json").read_text())["splits"] == result.metrics["splits"]
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "neg, pos" in card
    assert "| learning_rate | `0.005` |" in card
    assert result.metrics["steps"] == 60
    assert len(result.metrics["loss_curve"]) == 60


def test_the_best_checkpoint_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr("whybert.training.scores", lambda *_: {"accuracy": 0.5, "macro_f1": next(scores)})
    copies = []
    original = Trainer._save_checkpoint

    def save(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        copies.append({name: value.clone() for name, value in self.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    result = finetune(settings)
    assert result.metrics["splits"]["validation"]["macro_f1"] == 0.9
    assert same(weights(result.folder), copies[1])
    assert not same(copies[1], copies[2])


def test_equal_seeds_give_equal_weights(settings: Settings, tmp_path: Path) -> None:
    first = finetune(replace(settings, num_train_epochs=2))
    torch.rand(7)  # what was drawn before does not matter
    second = finetune(replace(settings, num_train_epochs=2, output_dir=str(tmp_path / "second")))
    other = finetune(replace(settings, num_train_epochs=2, output_dir=str(tmp_path / "other"), seed=4))
    assert same(weights(first.folder), weights(second.folder))
    assert not same(weights(first.folder), weights(other.folder))


def test_accumulation_takes_the_same_steps(
    encoder: str, data: Path, settings: Settings, tmp_path: Path
) -> None:
    still = without_dropout(encoder, tmp_path / "still")
    short = replace(settings, model=still, train_limit=44, num_train_epochs=2)  # the last batch is a part
    whole = finetune(short)
    parts = finetune(replace(short, gradient_accumulation_steps=4, output_dir=str(tmp_path / "parts")))
    for one, other in zip(whole.metrics["loss_curve"], parts.metrics["loss_curve"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    mine, theirs = weights(whole.folder), weights(parts.folder)
    names = [name for name in mine if not name.endswith("key.bias")]  # of no effect: its gradient is noise
    assert all(torch.allclose(mine[name], theirs[name], atol=2e-3) for name in names)


def without_dropout(source: str, target: Path) -> str:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


def test_pairs_and_columns_of_one_file(encoder: str, tmp_path: Path) -> None:
    lines = [(text, "the film", label) for text, label in rows(60, 5, ("x", "y", "z"))]
    path = write(tmp_path / "mine.csv", ("first", "second", "kind"), lines)
    result = finetune(
        Settings(
            task=str(path),
            text_column="first",
            pair_column="second",
            label_column="kind",
            model=encoder,
            output_dir=str(tmp_path / "run"),
            max_seq_length=32,
            num_train_epochs=1,
            validation_fraction=0.2,
        )
    )
    classifier = Classifier.load(result.folder)
    assert classifier.labels == ("x", "y", "z")
    [found] = classifier.predict(("a good film", "the film"))
    assert found.label in "xyz"
    assert result.metrics["splits"]["validation"]["rows"] == 12
    assert result.metrics["train_rows"] == 48
    assert "validation: 12 rows taken from train" in result.metrics["notes"][0]


def test_bf16(settings: Settings) -> None:
    result = finetune(replace(settings, bf16=True, num_train_epochs=1))
    assert all(value.dtype == torch.float32 for value in weights(result.folder).values())


def test_several_evaluations_an_epoch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []

    def scored(*_: object) -> dict[str, float]:
        asked.append(len(asked))
        return {"accuracy": 0.5, "macro_f1": 0.9 if len(asked) == 2 else 0.5}

    monkeypatch.setattr("whybert.training.scores", scored)
    often = replace(settings, num_train_epochs=2, train_batch_size=8, evaluations_per_epoch=3)
    result = finetune(often)
    steps = result.metrics["steps"] // 2
    every = -(-steps // 3)
    ends = {steps, 2 * steps}
    assert len(asked) == len(ends | set(range(every, 2 * steps + 1, every))) > 2
    # The second one was the best: the result is what a run of so many steps has at that point.
    monkeypatch.setattr("whybert.training.scores", lambda *_: {"accuracy": 0.5, "macro_f1": 0.5})
    first = replace(often, output_dir=str(tmp_path / "first"))  # of equal scores the first is the best
    assert not same(weights(result.folder), weights(finetune(first).folder))


def test_early_stopping(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def scored(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr("whybert.training.scores", lambda *_: {"accuracy": 0.5, "macro_f1": next(left)})

    patient = replace(settings, num_train_epochs=6, early_stopping=2)
    scored(0.5, 0.6, 0.6, 0.55)
    whole = finetune(patient)
    assert whole.metrics["epochs"] == 4
    # The count goes on where the run was stopped, and a run that was over is over.
    for number, saves in enumerate((3, 4)):
        again = replace(patient, output_dir=str(tmp_path / f"again{number}"))
        scored(0.5, 0.6, 0.6, 0.55)
        stop_after(saves, again)
        scored(*(0.55,) * (4 - saves))
        resumed = finetune(again)
        assert resumed.resumed
        assert resumed.metrics["epochs"] == 4
        assert same(weights(whole.folder), weights(resumed.folder))


def test_nothing_is_kept_from_epoch_to_epoch(settings: Settings, tmp_path: Path) -> None:
    def alive(epochs: int) -> int:
        counts: list[int] = []
        original = Trainer._save_checkpoint

        def save(self: Any, *args: Any, **options: Any) -> None:
            original(self, *args, **options)
            gc.collect()
            counts.append(sum(isinstance(each, torch.Tensor) for each in gc.get_objects()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_save_checkpoint", save)
            finetune(replace(settings, num_train_epochs=epochs, output_dir=str(tmp_path / f"{epochs}")))
        assert len(counts) == epochs
        return counts[-1] - counts[1]

    assert alive(2) == 0
    assert alive(6) == 0


# --- the order of the rows --------------------------------------------------------------------------------


def test_order_groups_texts_of_like_length() -> None:
    chosen = random.Random(1)
    lengths = [chosen.randint(3, 100) for _ in range(1003)]

    def padding(order: list[int]) -> int:
        batches = [[lengths[row] for row in order[i : i + 16]] for i in range(0, len(order), 16)]
        return sum(len(batch) * max(batch) for batch in batches) - sum(lengths)

    grouped, plain = (Order(lengths, 16, 5, group=group) for group in (True, False))
    assert len(grouped) == 1003
    assert sorted(grouped) == sorted(plain) == list(range(1003))
    assert padding(list(grouped)) < 0.2 * padding(list(plain))
    assert lengths[next(iter(grouped))] == max(lengths)
    for order in (grouped, plain):
        first = list(order)
        assert list(order) == first
        order.set_epoch(1)
        assert list(order) != first
        order.set_epoch(0)
        assert list(order) == first
    assert list(Order(lengths, 16, 6, group=False)) != list(plain)


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_order_of_few_rows(count: int) -> None:
    assert sorted(Order([5] * count, 8, 0, group=True)) == list(range(count))


# --- going on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True], ids=["all", "lora"])
@pytest.mark.parametrize("saves", [1, 3])
def test_a_stopped_run_goes_on(settings: Settings, tmp_path: Path, lora: bool, saves: int) -> None:
    settings = replace(settings, lora=lora)
    whole = finetune(replace(settings, output_dir=str(tmp_path / "whole")))
    stop_after(saves, settings)
    # a checkpoint that was cut off is no checkpoint, and is not left lying about
    checkpoints = Path(settings.output_dir) / CHECKPOINTS
    broken = checkpoints / "checkpoint-900"
    shutil.copytree(checkpoints / f"checkpoint-{6 * saves}", broken)
    (broken / "trainer_state.json").unlink()
    resumed = finetune(settings)
    assert resumed.resumed
    assert same(weights(whole.folder), weights(resumed.folder))
    assert resumed.metrics["splits"] == whole.metrics["splits"]
    assert resumed.metrics["loss_curve"] == whole.metrics["loss_curve"]
    assert not checkpoints.exists()


def test_a_moved_run_finds_its_best_checkpoint(settings: Settings, tmp_path: Path) -> None:
    whole = finetune(replace(settings, output_dir=str(tmp_path / "whole")))
    stop_after(3, settings)
    moved = replace(settings, output_dir=str(tmp_path / "moved"))
    shutil.move(settings.output_dir, moved.output_dir)
    assert same(weights(whole.folder), weights(finetune(moved).folder))


def test_a_killed_process_goes_on(settings: Settings, data: Path, encoder: str, tmp_path: Path) -> None:
    settings = replace(settings, num_train_epochs=16)
    whole = finetune(replace(settings, output_dir=str(tmp_path / "whole")))
    process = subprocess.Popen(
        [sys.executable, "-m", "whybert", *command_line(settings)],
        # The order in which numbers are summed, and so their last bits, depends on the number of threads.
        env={**environment(), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    checkpoints = Path(settings.output_dir) / CHECKPOINTS
    wait_for(lambda: last_checkpoint(checkpoints) is not None, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed = finetune(settings)
    assert resumed.resumed
    assert same(weights(whole.folder), weights(resumed.folder))


def command_line(settings: Settings) -> list[str]:
    """The settings in the spelling of the paper's code."""
    return [
        "finetune",
        *("--task", settings.task),
        *("--init_checkpoint", settings.model),
        *("--output_dir", settings.output_dir),
        *("--max_seq_length", str(settings.max_seq_length)),
        *("--train_batch_size", str(settings.train_batch_size)),
        *("--learning_rate", str(settings.learning_rate)),
        *("--num_train_epochs", str(settings.num_train_epochs)),
        *("--seed", str(settings.seed)),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"it ended before: {process.communicate()}")
        time.sleep(0.02)


def test_ctrl_c_is_one_line(settings: Settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "whybert", *command_line(replace(settings, num_train_epochs=500))],
        # a shell that starts the tests in its background has them, and their children, ignore the signal
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: last_checkpoint(Path(settings.output_dir) / CHECKPOINTS) is not None, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    lines = err.decode().splitlines()
    assert lines[-1] == "interrupted"
    assert all(line.startswith("epoch ") for line in lines[:-1])


@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "trainer_state.json",
        "rng_state.pth",
        "config.json",
        "tokenizer.json",
    ],
)
def test_a_checkpoint_with_a_cut_file_is_none(settings: Settings, file: str) -> None:
    stop_after(2, settings)
    checkpoints = Path(settings.output_dir) / CHECKPOINTS
    last = last_checkpoint(checkpoints)
    assert last is not None
    assert last.name == "checkpoint-12"
    with (last / file).open("r+b") as opened:
        opened.truncate((last / file).stat().st_size - 20)
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-6"


def test_a_checkpoint_whose_state_is_no_state_is_none(settings: Settings) -> None:
    stop_after(2, settings)
    checkpoints = Path(settings.output_dir) / CHECKPOINTS
    (checkpoints / "checkpoint-12" / "trainer_state.json").write_text("null")
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-6"


@pytest.mark.parametrize(
    "content", ["", "null", "[]", '{"labels": null}', '{"labels": ["neg", "pos"]}', None]
)
def test_a_damaged_result_is_named_and_made_again(settings: Settings, content: str | None) -> None:
    short = replace(settings, num_train_epochs=1)
    first = finetune(short)
    before = weights(first.folder)
    if content is None:
        (first.folder / "model.safetensors").unlink()
    else:
        (first.folder / "metrics.json").write_text(content)
    again = finetune(short)
    assert not again.already_done
    assert any(
        "metrics.json or a file that it lists was damaged or gone" in n for n in again.metrics["notes"]
    )
    assert same(weights(again.folder), before)


@pytest.mark.parametrize("left", [".finetune.json.tmp", ".whybert-0123.tmp", "finetune.json"])
def test_a_stop_at_the_first_write_locks_no_folder(settings: Settings, left: str) -> None:
    folder = Path(settings.output_dir)
    folder.mkdir()
    (folder / left).touch()
    assert not finetune(replace(settings, num_train_epochs=1)).resumed


@pytest.mark.parametrize("name", ["metrics.json", "tokenizer.json", "finetune.json"])
def test_a_stop_while_a_run_is_overwritten_locks_no_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    finetune(replace(settings, num_train_epochs=1))
    other = replace(settings, num_train_epochs=2, seed=9)

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if name in {Path(each).name for each in (path, *arguments)}:
                raise KeyboardInterrupt
            return function(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stopping(Path.unlink))
        patch.setattr(Path, "replace", stopping(Path.replace))
        patch.setattr(os, "replace", stopping(os.replace))
        with pytest.raises(KeyboardInterrupt):
            finetune(other, overwrite=True)
    assert finetune(other, overwrite=True).metrics["epochs"] == 2


def test_versions_that_began_a_run_are_named(settings: Settings) -> None:
    stop_after(1, settings)
    mark = Path(settings.output_dir) / "finetune.json"
    found = json.loads(mark.read_text())
    for key in ("begun", "versions"):
        found[key]["whybert"] = "0.0.1"
    mark.write_text(json.dumps(found))
    stop_after(1, settings)
    notes = finetune(settings).metrics["notes"]
    [note] = [note for note in notes if "begun" in note]
    assert note.startswith("begun by whybert 0.0.1, torch ")
    assert f"went on by whybert {whybert.__version__}, torch " in note


def test_a_finished_run_does_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finetune(settings)
    before = snapshot(first.folder)
    monkeypatch.setattr("whybert.training._load_data", lambda _: pytest.fail("it loads data"))
    second = finetune(replace(settings, eval_batch_size=5))
    assert second.already_done
    assert second.labels == first.labels
    assert snapshot(first.folder) == before


def test_another_run_in_the_same_folder(settings: Settings) -> None:
    folder = finetune(replace(settings, num_train_epochs=1)).folder
    (folder / "mine.txt").write_text("mine")
    before = snapshot(folder)
    with pytest.raises(UsageError, match=r"other settings: .*num_train_epochs 1 \(now 2\).*--overwrite"):
        finetune(replace(settings, num_train_epochs=2))
    assert snapshot(folder) == before
    again = finetune(replace(settings, num_train_epochs=2), overwrite=True)
    assert again.metrics["epochs"] == 2
    assert (folder / "mine.txt").read_text() == "mine"


def test_a_run_that_failed_early_leaves_no_trace(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        finetune(replace(settings, eval_test=True, task=str(write_single(tmp_path, rows(20, 1)))))
    assert not Path(settings.output_dir).exists()


def write_single(folder: Path, lines: Sequence[Sequence[str]]) -> Path:
    return write(folder / "single.csv", ("text", "label"), lines)


def test_other_folders_are_not_touched(settings: Settings, tmp_path: Path) -> None:
    folder = Path(settings.output_dir)
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds something that no fine-tuning wrote"):
            finetune(settings, overwrite=overwrite)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="found the file"):
        finetune(replace(settings, output_dir=str(folder / "thesis.tex")))
    with pytest.raises(UsageError, match="cannot write to"):
        finetune(replace(settings, output_dir=str(folder / "thesis.tex" / "run")))


@pytest.mark.parametrize("kind", ["os", "torch", "result"])
def test_a_full_disk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    whole = finetune(replace(settings, output_dir=str(tmp_path / "whole")))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        if kind == "os":
            original = Trainer._save_rng_state

            def save(self: Any, folder: str) -> None:
                if self.state.global_step > 6:
                    raise full
                original(self, folder)

            patch.setattr(Trainer, "_save_rng_state", save)
        elif kind == "torch":
            original_state = Trainer._save_optimizer_and_scheduler

            def save_state(self: Any, folder: str) -> None:
                if self.state.global_step > 6:
                    torch.save(self.optimizer.state_dict(), "/dev/full")
                original_state(self, folder)

            patch.setattr(Trainer, "_save_optimizer_and_scheduler", save_state)
        else:

            def refuse(*_: Any) -> str:
                raise full

            patch.setattr("whybert.training._model_card", refuse)
        with pytest.raises(
            TrainingError, match=r"saving failed: .*checkpoint-\d+', the same command goes on"
        ):
            finetune(settings)
    checkpoints = Path(settings.output_dir) / CHECKPOINTS
    kept = {path.name for path in checkpoints.iterdir()}
    assert kept == {"checkpoint-6"} if kind != "result" else "checkpoint-18" in kept
    assert not (Path(settings.output_dir) / "model.safetensors").exists()
    assert same(weights(whole.folder), weights(finetune(settings).folder))


def test_an_error_of_another_kind_is_not_about_saving(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("one of the variables was modified")

    monkeypatch.setattr(Trainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="was modified"):
        finetune(settings)


def test_too_little_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("2 GiB")

    monkeypatch.setattr(Trainer, "training_step", fail)
    with pytest.raises(TrainingError, match="gradient-accumulation-steps"):
        finetune(settings)


def test_a_loss_that_is_no_number(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "whybert.training.loss", lambda kind, weights, outputs, *_, **__: outputs.logits.sum() * float("nan")
    )
    with pytest.raises(TrainingError, match="is nan at step 1; use a lower"):
        finetune(settings)


# --- several processes ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_take_the_same_steps(settings: Settings, encoder: str, tmp_path: Path) -> None:
    still = without_dropout(encoder, tmp_path / "still")
    settings = replace(settings, model=still, group_by_length=False)
    alone = finetune(replace(settings, output_dir=str(tmp_path / "alone")))
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    options = ["--cpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "whybert.cli.finetune"]
    done = subprocess.run(
        [*launcher, *options, *command_line(settings)[1:], "--no-group-by-length"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("macro-F1") == 1  # one process speaks
    metrics = json.loads((Path(settings.output_dir) / "metrics.json").read_text())
    assert len(metrics["loss_curve"]) == len(alone.metrics["loss_curve"]) == 18
    for one, other in zip(alone.metrics["loss_curve"], metrics["loss_curve"], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert metrics["splits"]["validation"]["loss"] == pytest.approx(
        alone.metrics["splits"]["validation"]["loss"], abs=1e-4
    )
    mine, theirs = weights(alone.folder), weights(settings.output_dir)
    names = [name for name in mine if not name.endswith("key.bias")]  # of no effect: its gradient is noise
    assert all(torch.allclose(mine[name], theirs[name], atol=2e-3) for name in names)


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_with_either_spelling(
    settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(tmp_path / "train.csv", ("text", "label"), rows(24, 1))
    write(tmp_path / "test.csv", ("text", "label"), rows(8, 2))
    values = {
        "task": str(tmp_path),
        "init-checkpoint": settings.model,
        "max-seq-length": "20",
        "train-batch-size": "8",
        "eval-batch-size": "4",
        "learning-rate": "1e-3",
        "num-train-epochs": "1",
        "seed": "7",
    }
    written = []
    for spell in (str, lambda name: name.replace("-", "_")):
        folder = tmp_path / f"run{len(written)}"
        arguments = [part for name, value in values.items() for part in (f"--{spell(name)}", value)]
        flags = [f"--{spell(name)}" for name in ("do-lower-case", "eval-test")]
        assert run(["finetune", *arguments, *flags, f"--{spell('output-dir')}", str(folder)]) == 0
        out, err = capsys.readouterr()
        assert "done" in out
        assert "test" in out
        assert "\r" not in err
        assert "epoch 1.00: validation loss" in err
        assert all(line.startswith(("epoch ", "validation: ")) for line in err.splitlines())
        written.append(json.loads((folder / "finetune.json").read_text()))
    assert written[0] == written[1]
    expected = {"max_seq_length": 20, "learning_rate": 1e-3, "num_train_epochs": 1.0, "seed": 7}
    assert expected.items() <= written[0].items()
    assert written[0]["do_lower_case"] is True
    assert written[0]["eval_test"] is True
    assert run(["finetune", *arguments, *flags, "--output_dir", str(folder)]) == 0
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "module"), [(finetune_command, "finetune"), (convert_command, "convert")]
)
def test_each_option_can_be_read_in_the_help(
    command: Callable[..., None],
    module: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([module, "--help"]) == 0
    shown = re.findall(r"--?[a-z0-9][a-z0-9-]*", capsys.readouterr().out.partition("Examples:")[0])
    app = typer.Typer(add_completion=False)
    app.command()(command)
    for option in typer.main.get_command(app).params:
        assert {*option.opts, *option.secondary_opts} <= set(shown)


def test_each_setting_is_an_option() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(finetune_command)
    options = {option.name: option for option in typer.main.get_command(app).params}
    assert set(options) == {field.name for field in fields(Settings)} | {"overwrite"}
    for field in fields(Settings):
        given = field.default if field.default is not MISSING else None
        assert options[field.name].default in (given, None)
        assert options[field.name].required == (field.default is MISSING)


def test_the_data_folder_of_a_known_data_set(
    settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for seed, (name, count) in enumerate({"train": 16, "dev": 8}.items()):
        lines = [f"{text}\t{label}" for text, label in rows(count, seed, ("0", "1"))]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    arguments = ["--task", "sst2", "--data_dir", str(tmp_path), "-m", settings.model, "--lora"]
    arguments += ["--max-seq-length", "30", "--early-stopping", "2", "--warmup-proportion", "0.2"]
    assert run(["finetune", *arguments, "--num-train-epochs", "1", "--output-dir", settings.output_dir]) == 0
    assert Classifier.load(settings.output_dir).labels == ("negative", "positive")


def test_wrong_use(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--task", "x.csv", "--output-dir", "out"], "there is no file"),
        (["--task", "sst9", "--output-dir", "out"], "unknown data set 'sst9'"),
        (["--output-dir", "out"], "missing option '--task'"),
        (["--task", settings.task], "missing option '--output-dir'"),
        (["--task", settings.task, "--output-dir", "out", "--learning-rate", "-1"], "learning_rate above 0"),
    ):
        assert run(["finetune", *arguments]) in (1, 2)
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        assert err.count("\n") == 1


# --- what is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_batch_size": 0}, "train_batch_size of at least 1, found 0"),
        ({"early_stopping": 0}, "early_stopping of at least 1"),
        ({"seed": -1}, "seed of at least 0"),
        ({"seed": 2**40}, "seed of at least 0 and of at most 4294967295"),
        ({"learning_rate": float("nan")}, "learning_rate above 0"),
        ({"num_train_epochs": 0}, "num_train_epochs above 0"),
        ({"warmup_ratio": 1.0}, "warmup_ratio"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"validation_fraction": 1.0}, "validation_fraction above 0 and below 1"),
        ({"num_train_epochs": float("inf")}, "num_train_epochs above 0"),
        ({"max_seq_length": "8"}, "max_seq_length to be a whole number, found '8'"),
        ({"lora": 1}, "lora to be true or false"),
    ],
)
def test_settings_that_mean_nothing(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings(task="sst2", output_dir="out", **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_seq_length": 41}, "max_seq_length of at most 40, the positions of the model, found 41"),
        ({"max_seq_length": 2}, "max_seq_length above 2"),
        ({"gradient_accumulation_steps": 3}, "train_batch_size to be a multiple of 3"),
        ({"text_column": "review"}, "has no column 'review'"),
        ({"label_column": "stars"}, "has no column 'stars'"),
        ({"task": "nowhere/train.csv"}, "there is no file"),
    ],
)
def test_settings_that_do_not_fit(settings: Settings, change: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, ValueError), match=words):
        finetune(replace(settings, **change))
    assert not Path(settings.output_dir).exists()


def test_positions_that_no_token_can_have(settings: Settings, tmp_path: Path) -> None:
    tokenizer = tiny.byte_level()
    folder = tiny.save(tmp_path / "roberta", tiny.roberta(tokenizer), tokenizer)
    with pytest.raises(UsageError, match="max_seq_length of at most 40, the positions"):
        finetune(replace(settings, model=str(folder), max_seq_length=42))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([("good", "pos"), ("great", "pos"), ("so", "pos")], "at least two labels, found only pos"),
        ([("good", "pos"), (" ", "neg")], "line 3: text is empty"),
        ([("good", "pos"), ("bad", "")], "line 3: label"),
        ([], "no labels|no rows|empty"),
        ([("good", "pos"), ("bad", "neg")], "too small"),
    ],
)
def test_data_that_does_not_do(settings: Settings, tmp_path: Path, lines: Any, words: str) -> None:
    with pytest.raises(Exception, match=words) as caught:
        finetune(replace(settings, task=str(write_single(tmp_path, lines))))
    assert "\n" not in str(caught.value)
    assert not Path(settings.output_dir).exists()


def test_an_unknown_label(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t7\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    with pytest.raises(ValueError, match="line 3: unknown label '7'"):
        finetune(replace(settings, task="sst2", data_dir=str(tmp_path)))


def test_a_test_split_without_labels(settings: Settings, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    write(tmp_path / "data" / "test.csv", ("text",), [("good",)])
    with pytest.raises(InputError, match=r"labels in the test split .* leave eval_test out"):
        finetune(replace(settings, task=str(tmp_path / "data"), eval_test=True))


def test_a_table_without_labels(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ("text", "stars"), [("good", "1"), ("bad", "0")])
    with pytest.raises(InputError, match=r"labels in the train split of train, found none; .*--label-column"):
        finetune(replace(settings, task=str(tmp_path / "train.csv")))


def test_without_the_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"fine-tuning needs .*whybert\[train\]"):
        finetune(settings)


# --- low-rank changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_low_rank_changes_of_every_family(family: str, tmp_path: Path) -> None:
    model: Any = models.make(family, dtype=torch.float32)
    names = {name for name, _ in model.named_parameters()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = _with_lora(model, 4)
    trained = {name for name, value in changed.named_parameters() if value.requires_grad}
    base = model.base_model_prefix
    head = {name for name in names if not name.startswith(f"{base}.") or ".pooler." in name}
    for name in head:  # the head, and a pooler if there is one, as a whole
        parent, _, leaf = name.rpartition(".")
        found = [each for each in trained if "modules_to_save" in each and each.endswith(f".{leaf}")]
        assert any(
            each.replace("modules_to_save.default.", "").endswith(f"{parent}.{leaf}") for each in found
        )
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    with torch.no_grad():
        for parameter in changed.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    inputs = models.inputs(model)
    expected = changed.eval()(**inputs).logits.detach()
    # what a checkpoint holds brings the same model back
    changed.save_pretrained(tmp_path / "adapter")
    other = _with_lora(models.make(family, dtype=torch.float32), 4)
    other.load_adapter(tmp_path / "adapter", "default", is_trainable=True)
    assert torch.allclose(other.eval()(**inputs).logits, expected, atol=1e-5)
    merged = changed.merge_and_unload()
    assert torch.allclose(merged(**inputs).logits, expected, atol=1e-4)
    assert {name for name, _ in merged.named_parameters()} == names
    merged.save_pretrained(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert weights(tmp_path / "merged").keys() <= before.keys()
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert not any("peft" in name or "lora" in name for name in config)


def test_a_low_rank_run_leaves_a_whole_model(settings: Settings, encoder: str) -> None:
    result = finetune(replace(settings, lora=True, lora_rank=2, learning_rate=2e-2, num_train_epochs=10))
    assert not [path for path in result.folder.iterdir() if "adapter" in path.name]
    assert result.metrics["splits"]["validation"]["accuracy"] > 0.7
    found, start = weights(result.folder), weights(encoder)
    embeddings = "embeddings.word_embeddings.weight"
    assert torch.equal(found[f"bert.{embeddings}"], start[embeddings])  # frozen
    query = "encoder.layer.0.attention.self.query.weight"
    change = found[f"bert.{query}"] - start[query]
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 2
    assert Classifier.load(result.folder).labels == ("neg", "pos")


# --- the encoder ------------------------------------------------------------------------------------------


def test_encoder_without_a_head(encoder: str) -> None:
    model, _ = load_encoder(encoder, ["a", "b", "c"])
    found, start = model.state_dict(), weights(encoder)
    assert all(torch.equal(found[f"bert.{name}"], value) for name, value in start.items())
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}
    assert found["classifier.weight"].shape == (3, 16)
    assert 0 < found["classifier.weight"].std() < 1


def test_encoder_of_a_masked_language_model(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(1)
    language_model = BertForMaskedLM(tiny.bert_config(tokenizer))
    folder = tiny.save(tmp_path, language_model, tokenizer)
    model, _ = load_encoder(str(folder), ["a", "b"])
    found, start = model.state_dict(), weights(folder)
    for name, value in start.items():
        if name.startswith("bert."):
            assert torch.equal(found[name], value)
    assert bool(found["bert.pooler.dense.weight"].std() > 0)


@pytest.mark.parametrize("labels", [("a", "b"), ("b", "a"), ("a", "b", "c")], ids=len)
def test_head_of_a_classifier(tmp_path: Path, labels: tuple[str, ...]) -> None:
    tokenizer = tiny.wordpiece()
    classifier = tiny.bert(
        tokenizer,
        id2label={0: "a", 1: "b"},
        label2id={"a": 0, "b": 1},
        problem_type="multi_label_classification",
    )
    folder = tiny.save(tmp_path, classifier, tokenizer)
    model, _ = load_encoder(str(folder / "model.safetensors"), labels)
    found, start = model.state_dict(), weights(folder)
    for name, value in start.items():
        if name.startswith("bert."):
            assert torch.equal(found[name], value)
    kept = found["classifier.weight"].shape == start["classifier.weight"].shape and torch.equal(
        found["classifier.weight"], start["classifier.weight"]
    )
    assert kept == (labels == ("a", "b"))
    assert model.config.problem_type == "single_label_classification"
    assert found["classifier.weight"].shape[0] == len(labels)


def test_output_layer_of_every_family(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    for family in models.FAMILIES:
        start: Any = models.make(family, dtype=torch.float32)
        start.config.vocab_size = len(tokenizer)
        start.resize_token_embeddings(len(tokenizer))
        folder = tiny.save(tmp_path / family, start, tokenizer)
        model, _ = load_encoder(str(folder), ["x", "y", "z"])
        before = start.state_dict()
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert {name.rpartition(".")[2] for name in changed} <= {"weight", "bias"}
        assert len({name.rpartition(".")[0] for name in changed}) == 1, family  # one layer
        assert not any(name.startswith(f"{model.base_model_prefix}.") for name in changed)


def lower_casing_folder(folder: Path, do_lower_case: bool) -> Path:
    folder.mkdir()
    tokenizer = tiny.wordpiece()
    vocabulary = [*tokenizer.get_vocab(), "Film", "Good"]
    vocabulary.sort(key=lambda token: tokenizer.get_vocab().get(token, 10_000))
    table = {token: index for index, token in enumerate(vocabulary)}
    return tiny.save(
        folder, tiny.bert(vocab_size=len(table)), BertTokenizer(table, do_lower_case=do_lower_case)
    )


@pytest.mark.parametrize("saved_as", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_lower_case(tmp_path: Path, saved_as: bool, wanted: bool) -> None:
    folder = lower_casing_folder(tmp_path / "bert", saved_as)
    model, tokenizer = load_encoder(str(folder), ["a", "b"], do_lower_case=wanted)
    expected = ["good", "film"] if wanted else ["Good", "Film"]
    assert tokenizer.tokenize("Good Film") == expected
    again = tiny.save(tmp_path / "again", model, tokenizer)
    assert load_encoder(str(again), ["a", "b"])[1].tokenize("Good Film") == expected
    assert Classifier.load(again).tokenizer.tokenize("Good Film") == expected


def test_lower_case_of_other_tokenizers(tmp_path: Path, encoder: str) -> None:
    _, tokenizer = load_encoder(encoder, ["a", "b"], do_lower_case=True)  # no class of BERT's, but its rules
    assert tokenizer.tokenize("Film") == ["film"]
    byte_level = tiny.byte_level()
    folder = str(tiny.save(tmp_path / "bytes", tiny.roberta(byte_level), byte_level))
    load_encoder(folder, ["a", "b"], do_lower_case=False)  # what it does anyway
    with pytest.raises(UsageError, match="keeps the case of every text, and has no setting for it"):
        load_encoder(folder, ["a", "b"], do_lower_case=True)


def test_a_vocabulary_that_does_not_fit(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    folder = tiny.save(tmp_path, tiny.bert(vocab_size=20), tokenizer)
    with pytest.raises(ModelLoadError, match=r"has \d+ tokens, but its weights know only 20; use the vocab"):
        load_encoder(str(folder), ["a", "b"])


def test_weights_that_are_damaged(tmp_path: Path, encoder: str) -> None:
    shutil.copytree(encoder, tmp_path / "cut")
    with (tmp_path / "cut" / "model.safetensors").open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(ModelLoadError, match=r"the model\.safetensors of .* is damaged"):
        load_encoder(str(tmp_path / "cut"), ["a", "b"])
    shutil.copytree(encoder, tmp_path / "wide")
    config = json.loads((tmp_path / "wide" / "config.json").read_text())
    (tmp_path / "wide" / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    with pytest.raises(ModelLoadError, match=r"do not fit its config\.json"):
        load_encoder(str(tmp_path / "wide"), ["a", "b"])
    shutil.copytree(encoder, tmp_path / "deep")
    (tmp_path / "deep" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelLoadError, match=r"layer\.2.*missing"):
        load_encoder(str(tmp_path / "deep"), ["a", "b"])
    with pytest.raises(ModelLoadError, match="no folder"):
        load_encoder(str(tmp_path / "nowhere"), ["a", "b"])


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch trapped",))


def test_a_pickle_is_not_run(tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(encoder, tmp_path / "trap")
    (tmp_path / "trap" / "model.safetensors").unlink()
    torch.save({"x": _Trap()}, tmp_path / "trap" / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="was not run"):
        load_encoder(str(tmp_path / "trap"), ["a", "b"])
    assert not (tmp_path / "trapped").exists()


def test_quiet_is_over_after_a_run(settings: Settings) -> None:
    transformers.utils.logging.set_verbosity_warning()
    try:
        finetune(replace(settings, num_train_epochs=1))
        assert transformers.utils.logging.get_verbosity() == transformers.utils.logging.WARNING
    finally:
        transformers.utils.logging.set_verbosity_error()


def test_another_split_to_learn_from(settings: Settings) -> None:
    """A data set without a training file: its validation split is learnt from, and a part of it held out."""
    result = finetune(replace(settings, train_split="validation", num_train_epochs=1))
    plain = finetune(replace(settings, num_train_epochs=1, output_dir=f"{settings.output_dir}-plain"))
    held_out = result.metrics["splits"]["validation"]["rows"]
    assert result.metrics["train_rows"] + held_out == plain.metrics["splits"]["validation"]["rows"]
    with pytest.raises(UnknownNameError, match="'nowhere'"):
        finetune(replace(settings, train_split="nowhere", output_dir=f"{settings.output_dir}-none"))
