"""Fine-tuning: an encoder and a data set in, a classifier's folder out.

The work is transformers' `Trainer` (batches, optimiser, several devices, checkpoints) and peft's LoRA.
This module decides what they are told, and keeps the promises of the command: the best checkpoint by
macro-F1 (as the paper's code keeps it), a run that was killed goes on, and a folder that holds something
else is not touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whybert import __version__
from whybert.builtin import encoder_folder
from whybert.classifier import BUILTIN, load_encoder, quiet
from whybert.errors import InputError, MissingExtraError, TrainingError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from whybert.datasets import TextDataset

SETTINGS_FILE: Final = "finetune.json"
METRICS_FILE: Final = "metrics.json"
CHECKPOINTS: Final = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is made of.  Two runs with equal settings on the same data give the same weights on a CPU.

    task, data_dir: the data set, as `whybert.datasets.load` takes them.
    model: "builtin" (the MiniLM encoder), a folder or a hub id; a classifier's head is replaced.
    output_dir: the folder of the result.
    max_seq_length: tokens a text, special ones included; longer texts are cut.
    train_batch_size: texts an optimiser step, over all devices and accumulation steps together, so that a
        run on two devices takes the same steps as one on one.
    learning_rate: None takes 5e-5, and 6e-4 for LoRA.
    warmup_ratio: the part of all steps in which the learning rate grows.
    early_stopping: stop after so many evaluations without a better macro-F1; None never does.
    lora: train low-rank changes of the linear layers instead of all weights; the result is merged.
    bf16: bfloat16 autocast; None uses it on a GPU that has it.
    validation_fraction: the part of the training rows to choose the checkpoint by, where the data set
        has no validation split.
    eval_test: score the test split too, once, at the end.
    """

    task: str
    output_dir: str
    data_dir: str | None = None
    model: str = BUILTIN
    max_seq_length: int = 128
    train_batch_size: int = 32
    eval_batch_size: int = 64
    learning_rate: float | None = None
    num_train_epochs: float = 3.0
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    gradient_accumulation_steps: int = 1
    early_stopping: int | None = None
    seed: int = 42
    do_lower_case: bool | None = None
    group_by_length: bool = True
    lora: bool = False
    lora_rank: int = 16
    bf16: bool | None = None
    validation_fraction: float = 0.1
    eval_test: bool = False
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    train_limit: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "max_seq_length",
            "train_batch_size",
            "eval_batch_size",
            "gradient_accumulation_steps",
            "lora_rank",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name} of at least 1, found {getattr(self, name)}")
        for name, value in (("num_train_epochs", self.num_train_epochs), ("learning_rate", self.rate)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"expected {name} above 0, found {value}")
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(
                f"expected validation_fraction between 0 and 1, found {self.validation_fraction}"
            )

    @property
    def rate(self) -> float:
        """The learning rate, or its default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 6e-4 if self.lora else 5e-5

    def to_dict(self) -> dict[str, Any]:
        """The settings that decide about the result, as JSON types; the output folder is not one."""
        values = dataclasses.asdict(self) | {"learning_rate": self.rate}
        del values["output_dir"]
        return values


@dataclass(frozen=True)
class FineTuned:
    """What a run left behind.

    folder: a Hugging Face folder that `Classifier.load` reads.
    metrics: accuracy and macro-F1 of each split that was scored, epochs, seconds, texts a second.
    resumed: whether the run went on from a checkpoint.  already_done: whether nothing was left to do.
    """

    folder: Path
    labels: tuple[str, ...]
    metrics: Mapping[str, Any]
    resumed: bool = False
    already_done: bool = False


def finetune(settings: Settings, *, overwrite: bool = False) -> FineTuned:
    """Fine-tune as `settings` say, or go on where a run with the same settings was stopped.

    Raises UsageError (settings that do not fit, an output folder that holds something else), InputError
    (data), ModelLoadError (the encoder) and TrainingError (no space left, a loss that is not a number).
    """
    _require_extra()
    from accelerate import PartialState

    output = Path(settings.output_dir)
    first = PartialState().is_main_process
    if first:
        _prepare_folder(output, settings, overwrite)
    PartialState().wait_for_everyone()
    done = _finished(output, settings)
    if done is not None:
        return done

    data = _load_data(settings)
    with quiet():
        model, tokenizer = _load_model(settings, data)
    trainer = _trainer(settings, model, tokenizer, data, output / CHECKPOINTS)
    checkpoint = last_checkpoint(output / CHECKPOINTS, clean=first)
    PartialState().wait_for_everyone()

    started = time.perf_counter()
    with _training_errors(output / CHECKPOINTS):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        seconds = time.perf_counter() - started
        metrics = _metrics(settings, trainer, data, seconds, resumed=checkpoint is not None)
        if first:
            _write_result(output, settings, trainer, data, metrics)
    PartialState().wait_for_everyone()
    return FineTuned(output, data.labels, metrics, resumed=checkpoint is not None)


def last_checkpoint(folder: Path, *, clean: bool = False) -> Path | None:
    """The newest checkpoint in `folder` that was written to its end.

    The Trainer writes its state file last, so one that lacks it was cut off, by a kill or a full disk.
    clean: remove such remains, which the Trainer itself would trip over.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    complete = []
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if clean:
                shutil.rmtree(path, ignore_errors=True)
        else:
            complete.append(path)
    return complete[-1] if complete else None


# --- the output folder ----------------------------------------------------------------------------------


def _prepare_folder(output: Path, settings: Settings, overwrite: bool) -> None:
    """Make the folder ours, or refuse it."""
    mark = output / SETTINGS_FILE
    if output.exists() and not output.is_dir():
        raise UsageError(f"expected a folder to write to, found the file {str(output)!r}")
    if output.is_dir() and any(output.iterdir()):
        if not mark.is_file():
            raise UsageError(
                f"{str(output)!r} holds something that no fine-tuning wrote; name another --output-dir"
            )
        if overwrite:
            for entry in output.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            _check_same(mark, settings)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            _write_json(mark, settings.to_dict())
    except OSError as error:
        raise UsageError(f"cannot write to {str(output)!r}: {error.strerror or error}") from error


def _check_same(mark: Path, settings: Settings) -> None:
    try:
        before = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(mark)!r} cannot be read; use --overwrite or another --output-dir") from error
    wanted = json.loads(json.dumps(settings.to_dict()))
    changed = [name for name in wanted if before.get(name) != wanted[name]]
    if changed:
        listed = ", ".join(f"{name} {before.get(name)!r} (now {wanted[name]!r})" for name in changed)
        raise UsageError(
            f"{str(mark.parent)!r} holds a run with other settings: {listed}; "
            "use --overwrite or another --output-dir"
        )


def _finished(output: Path, settings: Settings) -> FineTuned | None:
    path = output / METRICS_FILE
    if not path.is_file():
        return None
    metrics = json.loads(path.read_text(encoding="utf-8"))
    return FineTuned(output, tuple(metrics["labels"]), metrics, already_done=True)


def _write_result(
    output: Path, settings: Settings, trainer: Trainer, data: TextDataset, metrics: dict[str, Any]
) -> None:
    """The folder's files, all written beside their place first: a full disk leaves the checkpoints."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if settings.lora:
        model = model.merge_and_unload()
    model.config.problem_type = "single_label_classification"
    staging = output / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    model.save_pretrained(staging)
    processing: Any = trainer.processing_class
    processing.save_pretrained(staging)
    (staging / "README.md").write_text(_model_card(settings, data, metrics), encoding="utf-8")
    for path in staging.iterdir():
        os.replace(path, output / path.name)
    staging.rmdir()
    _write_json(output / METRICS_FILE, metrics)  # last: it is what says that the run is done
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _model_card(settings: Settings, data: TextDataset, metrics: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {name} | {split['rows']} | {split['accuracy']:.4f} | {split['macro_f1']:.4f} |"
        for name, split in metrics["splits"].items()
    )
    recipe = "\n".join(f"| {name} | `{value}` |" for name, value in settings.to_dict().items())
    encoder = "the built-in MiniLM encoder" if settings.model == BUILTIN else f"`{settings.model}`"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
---
# {data.name} classifier

{encoder[0].upper()}{encoder[1:]}, fine-tuned on `{data.name}` ({metrics["train_rows"]} texts) with whybert
{__version__}. Labels: {", ".join(data.labels)}.

| split | texts | accuracy | macro-F1 |
|---|---|---|---|
{rows}

The checkpoint is the one with the best macro-F1 on the validation split.

| setting | value |
|---|---|
{recipe}
"""


# --- data and model --------------------------------------------------------------------------------------


def _require_extra() -> None:
    try:
        import accelerate  # noqa: F401
        import datasets  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("fine-tuning", "train") from error


def _load_data(settings: Settings) -> TextDataset:
    from whybert.datasets import load, with_validation

    data = load(
        settings.task,
        settings.data_dir,
        text_column=settings.text_column,
        pair_column=settings.pair_column,
        label_column=settings.label_column,
    )
    train = data.split("train")
    if "label" not in train.column_names:
        raise InputError(f"the training rows of {data.name} have no labels")
    if settings.train_limit is not None and settings.train_limit < len(train):
        train = train.shuffle(seed=settings.seed).select(range(settings.train_limit))
        data = dataclasses.replace(data, splits={**data.splits, "train": train})
    if "validation" not in data.splits:
        data = with_validation(data, settings.validation_fraction, settings.seed)
    classes = set(data.split("train")["label"])
    if len(classes) < 2:
        named = ", ".join(data.labels[index] for index in sorted(classes)) or "none"
        raise InputError(
            f"expected training rows of at least two classes, found only {named} in {data.name}: "
            "there is nothing to tell apart"
        )
    return data


def _load_model(settings: Settings, data: TextDataset) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import transformers

    transformers.set_seed(settings.seed)  # before the head's weights are drawn
    source = str(encoder_folder()) if settings.model == BUILTIN else settings.model
    model, tokenizer = load_encoder(source, data.labels, do_lower_case=settings.do_lower_case)
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and settings.max_seq_length > positions:
        raise UsageError(
            f"expected max_seq_length of at most {positions}, the positions of the model, "
            f"found {settings.max_seq_length}"
        )
    if settings.lora:
        model = _with_lora(model, settings)
    return model, tokenizer


def _with_lora(model: PreTrainedModel, settings: Settings) -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    head = [
        name
        for name, _ in model.named_children()
        if name != model.base_model_prefix and not isinstance(getattr(model, name), torch.nn.Dropout)
    ]
    # "all-linear" leaves the head of a sequence classifier out; a pooler is newly used too
    pooler = [name for name, _ in model.named_modules() if name.endswith(".pooler")]
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=settings.lora_rank,
            lora_alpha=2 * settings.lora_rank,
            target_modules="all-linear",
            exclude_modules=r".*pooler.*",
            modules_to_save=head + [name.rpartition(".")[2] for name in pooler],
        ),
    )


# --- the Trainer -----------------------------------------------------------------------------------------


def _trainer(
    settings: Settings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextDataset,
    checkpoints: Path,
) -> Trainer:
    import torch
    from accelerate import PartialState
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, Trainer, TrainingArguments

    splits = {name: _encoded(data.split(name), tokenizer, settings) for name in ("train", "validation")}
    parts = PartialState().num_processes * settings.gradient_accumulation_steps
    if settings.train_batch_size % parts:
        raise UsageError(
            f"expected train_batch_size to be a multiple of {parts} (processes times accumulation steps), "
            f"found {settings.train_batch_size}"
        )
    bf16 = settings.bf16 if settings.bf16 is not None else _has_bf16()
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.train_batch_size // parts,
        per_device_eval_batch_size=settings.eval_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.rate,
        num_train_epochs=settings.num_train_epochs,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # the best and the last
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        logging_steps=50,
        report_to="none",
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=bf16,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
        ddp_find_unused_parameters=False,
    )
    callbacks: list[Any] = []
    if settings.early_stopping is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping))
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda prediction: _scores(prediction.predictions, prediction.label_ids),
        callbacks=callbacks,
    )


def _has_bf16() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def _scores(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    predicted = logits.argmax(-1)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
    }


def _metrics(
    settings: Settings, trainer: Trainer, data: TextDataset, seconds: float, *, resumed: bool
) -> dict[str, Any]:
    wanted = ["validation", *(["test"] if settings.eval_test else [])]
    splits = {}
    for name in wanted:
        rows = data.splits.get(name)
        if rows is None or "label" not in rows.column_names:
            raise UsageError(f"{data.name} has no labelled {name} split; leave --eval-test out")
        scored = trainer.evaluate(_encoded(rows, trainer.processing_class, settings), metric_key_prefix=name)
        splits[name] = {
            "rows": len(rows),
            "accuracy": scored[f"{name}_accuracy"],
            "macro_f1": scored[f"{name}_macro_f1"],
            "loss": scored[f"{name}_loss"],
        }
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    rows = len(data.split("train"))
    return {
        "task": data.name,
        "labels": list(data.labels),
        "source": data.source,
        "train_rows": rows,
        "splits": splits,
        "best_validation_macro_f1": trainer.state.best_metric,
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "loss_curve": losses,
        "seconds": round(seconds, 1),
        "texts_per_second": None if resumed else round(rows * (trainer.state.epoch or 0) / seconds, 1),
        "versions": _versions(),
    }


def _encoded(rows: Any, tokenizer: Any, settings: Settings) -> Any:
    """Rows of a data set as token ids, unpadded: each batch is padded to its own longest text."""

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(
            batch["text"],
            batch.get("pair"),
            truncation=True,
            max_length=settings.max_seq_length,
            padding=False,
        )
        return {**encoded, "labels": batch["label"], "length": [len(ids) for ids in encoded["input_ids"]]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, desc="tokenizing")


def _versions() -> dict[str, str]:
    import torch
    import transformers

    return {"whybert": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


@contextlib.contextmanager
def _training_errors(checkpoints: Path) -> Iterator[None]:
    """A failure while training or saving as one line that says what is left."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_io(error):
            raise
        kept = last_checkpoint(checkpoints)
        state = (
            "no checkpoint was written yet"
            if kept is None
            else f"the last good checkpoint is {str(kept)!r}, and the same command goes on from it"
        )
        raise TrainingError(f"saving failed: {' '.join(str(error).split())[:200]}; {state}") from error


def _is_io(error: RuntimeError) -> bool:
    """torch and safetensors report a full disk as errors of their own."""
    text = str(error).lower()
    return any(sign in text for sign in ("no space", "disk", "write", "i/o", "enforce fail"))
