"""Fine-tuning: an encoder and a data set in, a classifier's folder out.

The work is transformers' `Trainer` (batches, optimiser, several devices, checkpoints) and peft's LoRA.
This module decides what they are told, and keeps the promises of the command: the best checkpoint is the
result, a run that was killed goes on, and a folder that holds something else is not touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback

from whybert import __version__
from whybert.anatomy import maximum_tokens
from whybert.builtin import encoder_folder
from whybert.datasets.base import REGRESSION
from whybert.errors import InputError, TrainingError, UsageError, one_line, require_all
from whybert.files import read_json, write_json
from whybert.loading import BUILTIN, load_encoder, quiet
from whybert.objective import F1_OF, check_labels, class_weights, loss, scores, targets
from whybert.recipe import Settings
from whybert.scoring import BEST, LEAST_IS_BEST, MEASURES
from whybert.store import VERSIONS, RunFolder, versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

    from whybert.datasets import TextDataset

SETTINGS_FILE: Final = "finetune.json"
METRICS_FILE: Final = "metrics.json"
CHECKPOINTS: Final = "checkpoints"
BEGUN: Final = "begun"  # the key of the versions that began a run

_STAGING = ".staging"
_LOGGED_LOSSES = 50  # points of the loss curve
_MEGA_BATCH = 50  # batches among which texts of like length are put together


@dataclass(frozen=True)
class FineTuned:
    """What a run left behind.

    folder: a Hugging Face folder that `Classifier.load` reads.
    metrics: the scores of each split that was scored, epochs, seconds, texts a second.
    resumed: whether the run went on from a checkpoint.  already_done: whether nothing was left to do.
    url: where on the hub the result was copied to; empty where that was not asked for.
    """

    folder: Path
    labels: tuple[str, ...]
    metrics: Mapping[str, Any]
    resumed: bool = False
    already_done: bool = False
    url: str = ""


def finetune(settings: Settings, *, overwrite: bool = False) -> FineTuned:
    """Fine-tune as `settings` say, or go on where a run with the same settings was stopped.

    With several processes (accelerate launch) each of them calls this.

    Args:
        settings: the recipe.
        overwrite: begin anew in the folder of an earlier run.

    Raises:
        UsageError: settings that do not fit, or an output folder that holds something else.
        DatasetError, InputError: the data.
        ModelLoadError: the encoder.
        TrainingError: no space left, a loss that is not a number, or a hub that takes no copy of the result.
        MissingExtraError: the extra `train` is not installed.
    """
    require_all(("accelerate", "peft", "scipy", "sklearn"), "fine-tuning", "train")
    from accelerate import PartialState

    processes = PartialState()
    _check_batch(settings, processes.num_processes)
    _check_repository(settings.push_to_hub)
    output = Path(settings.output_dir).expanduser().resolve()
    _folder(output).check(settings.to_dict(), overwrite)
    if not overwrite and (done := _finished(output)) is not None:
        return dataclasses.replace(done, url=_pushed(settings, output, processes.is_main_process))
    damaged = not overwrite and (output / METRICS_FILE).exists()

    with quiet(), _progress_of_datasets():
        data = _load_data(settings)
        model, tokenizer = _load_model(settings, data)
        if processes.is_main_process:
            _prepare_folder(output, settings, overwrite)
        processes.wait_for_everyone()
        data = dataclasses.replace(data, notes=(*data.notes, *_notes(output, damaged)))
        trainer = _trainer(settings, model, tokenizer, data, output / CHECKPOINTS)
        # All look before anybody writes.
        checkpoint = last_checkpoint(output / CHECKPOINTS)
        processes.wait_for_everyone()
        started = time.perf_counter()
        with _training_errors(output / CHECKPOINTS, processes.is_main_process):
            _train(settings, trainer, checkpoint, processes.is_main_process)
            seconds = time.perf_counter() - started
            metrics = _metrics(settings, trainer, data, seconds, resumed=checkpoint is not None)
            if processes.is_main_process:
                _write_result(output, settings, trainer, data, metrics)
        processes.wait_for_everyone()
    url = _pushed(settings, output, processes.is_main_process)
    return FineTuned(output, data.labels, metrics, resumed=checkpoint is not None, url=url)


def _check_repository(name: str | None) -> None:
    if name is None:
        return
    import huggingface_hub

    utils: Any = huggingface_hub.utils  # which does not say what it exports
    try:
        utils.validate_repo_id(name)
    except utils.HFValidationError as error:
        raise UsageError(f"expected push_to_hub to be owner/name: {one_line(error)}") from error


def _pushed(settings: Settings, output: Path, is_main_process: bool) -> str:
    """Copy the files of the result to the hub, if that is asked for; the address there."""
    name = settings.push_to_hub
    if name is None or not is_main_process:
        return ""
    import huggingface_hub

    try:
        with quiet():
            place = huggingface_hub.create_repo(name, exist_ok=True)
            files = [*_result_files(output), METRICS_FILE]
            huggingface_hub.upload_folder(
                repo_id=place.repo_id,
                folder_path=output,
                allow_patterns=files,
                commit_message="whybert finetune",
            )
    except Exception as error:  # the hub's, and those of its HTTP client, whichever that is
        raise TrainingError(
            f"the model is saved in {str(output)!r}, but {name!r} on the hub did not take it: "
            f"{one_line(f'{type(error).__name__}: {error}')}; the same command tries again"
        ) from error
    return str(place)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that was written to its end."""
    return next((path for path in reversed(_checkpoints(folder)) if _is_complete(path)), None)


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _is_complete(checkpoint: Path) -> bool:
    """Whether nothing of the checkpoint was cut off, by a kill or a full disk.

    The Trainer writes its state last.  The other files are looked at as well, by their tables of
    contents, since a machine that stops may lose what was written before.
    """
    weights = [*checkpoint.glob("*.safetensors")]
    objects = {checkpoint / "trainer_state.json", *checkpoint.glob("*.json")}
    archives = {checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *checkpoint.glob("*.pth")}
    try:
        for path in weights:
            with safe_open(path, framework="pt"):
                pass
    except (OSError, SafetensorError):
        return False
    return bool(weights) and all(map(_read_json, objects)) and all(map(zipfile.is_zipfile, archives))


# --- the output folder ----------------------------------------------------------------------------------


def _folder(output: Path) -> RunFolder:
    return RunFolder(
        output, "fine-tuning", SETTINGS_FILE, (CHECKPOINTS, METRICS_FILE), "another --output-dir"
    )


def _prepare_folder(output: Path, settings: Settings, overwrite: bool) -> None:
    """Make the folder ours, without what an earlier run left there if it is to be overwritten."""
    try:
        shutil.rmtree(output / _STAGING, ignore_errors=True)
        begun = versions() if overwrite else _begun(output)
        if overwrite:
            files = _result_files(output)
            shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
            for name in (METRICS_FILE, *files):
                (output / name).unlink(missing_ok=True)
        _folder(output).claim({**settings.to_dict(), BEGUN: begun})
    except OSError as error:
        raise UsageError(f"cannot write to {str(output)!r}: {error.strerror or error}") from error
    for path in _checkpoints(output / CHECKPOINTS):
        if not _is_complete(path):
            shutil.rmtree(path, ignore_errors=True)


def _begun(output: Path) -> dict[str, str]:
    """The versions that a run was begun with; these, where it begins now."""
    found = _read_json(output / SETTINGS_FILE)
    before = found.get(BEGUN, found.get(VERSIONS))
    if last_checkpoint(output / CHECKPOINTS) is None or not isinstance(before, dict):
        return versions()
    return before


def _notes(output: Path, damaged: bool) -> list[str]:
    """Lines on what was found damaged, and on a run that other versions began."""
    notes = [f"{METRICS_FILE} or a file that it lists was damaged or gone; made again"] if damaged else []
    begun, now = _read_json(output / SETTINGS_FILE).get(BEGUN), versions()
    if begun != now:
        by, goes_on = (", ".join(f"{k} {v}" for k, v in dict(each or {}).items()) for each in (begun, now))
        notes.append(f"begun by {by or 'versions that were not recorded'}; went on by {goes_on}")
    return notes


def _result_files(output: Path) -> list[str]:
    """The names of the files that an earlier run wrote there; files of other origin stay."""
    names = _read_json(output / METRICS_FILE).get("files")
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name]


def _finished(output: Path) -> FineTuned | None:
    """What a run left there that came to its end, if all of it is still there."""
    metrics, files = _read_json(output / METRICS_FILE), _result_files(output)
    try:
        labels, whole = tuple(metrics["labels"]), all("loss" in of for of in metrics["splits"].values())
    except (LookupError, TypeError, AttributeError):
        return None
    if not whole or not files or not all((output / name).is_file() for name in files):
        return None
    return FineTuned(output, labels, metrics, already_done=True)


def _write_result(
    output: Path, settings: Settings, trainer: Trainer, data: TextDataset, metrics: dict[str, Any]
) -> None:
    """The folder's files, all written beside their place first: a full disk leaves the checkpoints."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if settings.lora:
        model = model.merge_and_unload()
    tokenizer: Any = trainer.processing_class
    tokenizer.backend_tokenizer.no_truncation()  # state of the last call, not a setting
    tokenizer.backend_tokenizer.no_padding()
    # What cuts texts when the model is used is what cut them here, so that its scores come out again.
    tokenizer.model_max_length = settings.max_seq_length
    staging = output / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    (staging / "README.md").write_text(_model_card(settings, data, metrics), encoding="utf-8")
    files = sorted(path.name for path in staging.iterdir())
    for name in files:
        os.replace(staging / name, output / name)
    staging.rmdir()
    _write_json(output / METRICS_FILE, {**metrics, "files": files})  # last: it says that the run is done
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where it cannot be read, or holds something else."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_json(path: Path, value: Any) -> None:
    write_json(path, value, indent=2, sort_keys=True)


def score_table(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The scores of a run as the heads of columns and, for each split, its name and cells."""
    splits: Mapping[str, Mapping[str, Any]] = metrics["splits"]
    names = [name for name in MEASURES if any(name in split for split in splits.values())]
    rows = [
        [name, str(split["rows"]), *(f"{split[each]:.4f}" if each in split else "-" for each in names)]
        for name, split in splits.items()
    ]
    return ["texts", *(MEASURES[name] for name in names)], rows


def _model_card(settings: Settings, data: TextDataset, metrics: Mapping[str, Any]) -> str:
    heads, rows = score_table(metrics)
    table = "\n".join(
        f"| {' | '.join(cells)} |" for cells in (("split", *heads), ["---"] * (len(heads) + 1), *rows)
    )
    best = MEASURES[BEST[data.problem_type]]
    sort = "the least" if BEST[data.problem_type] in LEAST_IS_BEST else "the best"
    recipe = "\n".join(
        f"| {name} | `{value}` |" for name, value in settings.to_dict().items() if value is not None
    )
    encoder = "The built-in MiniLM encoder" if settings.model == BUILTIN else f"`{settings.model}`"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
---
# {data.name} classifier

{encoder}, fine-tuned on `{data.name}` ({metrics["train_rows"]} texts) with whybert {__version__}.
Labels ({data.problem_type}): {", ".join(data.labels)}.
Texts are cut to {settings.max_seq_length} tokens, as in training.

{table}

The checkpoint is the one with {sort} {best} on the validation split.

| setting | value |
|---|---|
{recipe}
"""


# --- data and model --------------------------------------------------------------------------------------


def _check_batch(settings: Settings, processes: int) -> None:
    parts = processes * settings.gradient_accumulation_steps
    if settings.train_batch_size % parts:
        raise UsageError(
            f"expected train_batch_size to be a multiple of {parts} ({processes} processes times "
            f"{settings.gradient_accumulation_steps} accumulation steps), found {settings.train_batch_size}"
        )


def _load_data(settings: Settings) -> TextDataset:
    from whybert.datasets import load, with_validation
    from whybert.datasets.problems import read_as, told

    data = load(
        settings.task,
        settings.data_dir,
        text_column=settings.text_column,
        pair_column=settings.pair_column,
        label_column=settings.label_column,
    )
    if settings.train_split != "train":
        others = {k: v for k, v in data.splits.items() if k not in {settings.train_split, "train"}}
        data = dataclasses.replace(data, splits={"train": data.split(settings.train_split), **others})
    train = data.split("train")
    for name in ("train", "validation", *(["test"] if settings.eval_test else [])):
        if name in data.splits and "label" not in data.split(name).column_names:
            way_out = "leave eval_test out" if name == "test" else "name the column (--label-column)"
            raise InputError(f"expected labels in the {name} split of {data.name}, found none; {way_out}")
    if settings.eval_test and "test" not in data.splits:
        raise InputError(
            f"expected a test split in {data.name}, found only {', '.join(data.splits)}; leave eval_test out"
        )
    if settings.train_limit is not None and settings.train_limit < len(train):
        train = train.shuffle(seed=settings.seed).select(range(settings.train_limit))
        data = dataclasses.replace(data, splits={**data.splits, "train": train})
    looks_like, note = told(data)
    name, separator = settings.label_column or "score", settings.label_separator
    data = read_as(data, settings.problem_type or looks_like, separator=separator, name=name)
    if note and settings.problem_type is None:
        data = dataclasses.replace(data, notes=(*data.notes, note))
    check_labels(data)
    class_weights(settings.class_weights, data)  # for its errors, before anything is loaded
    if "validation" not in data.splits:
        data = with_validation(data, settings.validation_fraction, settings.seed)
    check_labels(data, "validation", *(["test"] if settings.eval_test else []))
    return data


def _load_model(settings: Settings, data: TextDataset) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import transformers

    transformers.set_seed(settings.seed)  # before the head's weights are drawn
    source = str(encoder_folder()) if settings.model == BUILTIN else settings.model
    numbers = (0.0, 1.0)
    if data.problem_type == REGRESSION:
        column = torch.tensor(data.split("train")["label"][:], dtype=torch.float64)
        numbers = (float(column.mean()), float(column.std(correction=0)))
    model, tokenizer = load_encoder(
        source,
        data.labels,
        do_lower_case=settings.do_lower_case,
        problem_type=data.problem_type,
        numbers=numbers,
    )
    positions = maximum_tokens(model)
    if positions is not None and settings.max_seq_length > positions:
        raise UsageError(
            f"expected max_seq_length of at most {positions}, the positions of the model, "
            f"found {settings.max_seq_length}"
        )
    special = tokenizer.num_special_tokens_to_add(pair=data.is_pair)
    if settings.max_seq_length <= special:
        raise UsageError(
            f"expected max_seq_length above {special}, the special tokens of a text, "
            f"found {settings.max_seq_length}"
        )
    if settings.lora:
        model = _with_lora(model, settings.lora_rank)
    return model, tokenizer


def _with_lora(model: PreTrainedModel, rank: int) -> Any:
    """The model with low-rank changes of the encoder's linear layers; pooler and head are trained whole."""
    from peft import LoraConfig, TaskType, get_peft_model

    base = f"{model.base_model_prefix}."
    whole = [
        name
        for name, module in model.named_modules()
        if any(True for _ in module.parameters())
        and (name.endswith(".pooler") if name.startswith(base) else "." not in name and name + "." != base)
        and name
    ]
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(base) and "pooler" not in name.split(".")
    ]
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=rank,
            lora_alpha=2 * rank,
            target_modules=targets,
            modules_to_save=whole,
        ),
    )


def _encoded(data: TextDataset, split: str, tokenizer: Any, settings: Settings) -> Any:
    """Rows of a data set as token ids, unpadded: each batch is padded to its own longest text."""
    rows = data.split(split)

    def encode(batch: Mapping[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(
            batch["text"],
            batch.get("pair"),
            truncation=True,
            max_length=settings.max_seq_length,
            padding=False,
        )
        return {**encoded, "labels": targets(data, batch["label"])}

    return rows.map(
        encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True, desc="tokenizing"
    )


class Order(torch.utils.data.Sampler[int]):
    """The order of the training rows: each epoch another one, the same for the same seed and epoch.

    It does not depend on what else draws random numbers, so that each of several processes finds the same
    order, and a run that goes on finds that of the run that was stopped.

    lengths: of the texts, in tokens.  group: whether texts of like length share a batch, to save padding;
    the longest text is then in the first batch, where a lack of memory shows early.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, group: bool) -> None:
        self.lengths, self.batch_size, self.seed, self.group = lengths, batch_size, seed, group
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        rows = torch.randperm(len(self.lengths), generator=generator).tolist()
        if not self.group:
            yield from rows
            return
        size = self.batch_size
        batches = []
        for start in range(0, len(rows), _MEGA_BATCH * size):
            mega = sorted(rows[start : start + _MEGA_BATCH * size], key=lambda row: -self.lengths[row])
            batches += [mega[i : i + size] for i in range(0, len(mega), size)]
        rest = batches.pop() if len(batches[-1]) < size else []  # only the last batch may be a small one
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        if shuffled:
            longest = max(range(len(shuffled)), key=lambda i: self.lengths[shuffled[i][0]])
            shuffled.insert(0, shuffled.pop(longest))
        for batch in [*shuffled, rest]:
            yield from batch


# --- the Trainer -----------------------------------------------------------------------------------------


def _trainer(
    settings: Settings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextDataset,
    checkpoints: Path,
) -> Trainer:
    from accelerate import PartialState
    from transformers import DataCollatorWithPadding, IntervalStrategy, Trainer
    from transformers.trainer_callback import PrinterCallback

    class OrderedTrainer(Trainer):  # here, since it cannot be imported without the extra
        def _get_train_sampler(self, train_dataset: Any = None) -> Order:
            return order

    best = BEST[data.problem_type]
    splits = {name: _encoded(data, name, tokenizer, settings) for name in ("train", "validation")}
    order = Order(
        [len(ids) for ids in splits["train"]["input_ids"]],
        settings.train_batch_size,
        settings.seed,
        group=settings.group_by_length,
    )
    arguments = _arguments(settings, len(order), best, checkpoints)
    callbacks: list[TrainerCallback] = [_Watch()]
    if arguments.eval_strategy == IntervalStrategy.STEPS:
        callbacks.append(_EpochEnds())
    if settings.early_stopping is not None:
        callbacks.append(_EarlyStopping(settings.early_stopping, best))
    if PartialState().is_main_process:
        callbacks.append(_Progress(data.notes))
    trainer = OrderedTrainer(
        model=model,
        args=arguments,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=partial(loss, data.problem_type, class_weights(settings.class_weights, data)),
        compute_metrics=partial(scores, data),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    return trainer


def _arguments(settings: Settings, rows: int, best: str, checkpoints: Path) -> TrainingArguments:
    """The settings as the Trainer has them, for so many training rows."""
    from accelerate import PartialState
    from transformers import TrainingArguments

    steps_per_epoch = math.ceil(rows / settings.train_batch_size)
    steps = steps_per_epoch * settings.num_train_epochs
    every = math.ceil(steps_per_epoch / settings.evaluations_per_epoch)
    interval = "epoch" if every == steps_per_epoch else "steps"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.train_batch_size
        // (PartialState().num_processes * settings.gradient_accumulation_steps),
        per_device_eval_batch_size=settings.eval_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.rate,
        num_train_epochs=settings.num_train_epochs,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        eval_strategy=interval,
        save_strategy=interval,
        eval_steps=every,
        save_steps=every,
        save_total_limit=2,  # the best and the last
        load_best_model_at_end=True,
        metric_for_best_model=best,
        greater_is_better=best not in LEAST_IS_BEST,
        logging_steps=max(1, int(steps / _LOGGED_LOSSES)),
        logging_nan_inf_filter=False,
        disable_tqdm=True,  # `_Progress` shows it, on stderr
        report_to="none",
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=_has_bf16() if settings.bf16 is None else settings.bf16,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
        ddp_find_unused_parameters=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one process, one device; several come from accelerate launch
    return arguments


def _has_bf16() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


class _EarlyStopping(TrainerCallback):
    """Stop after so many evaluations without a better score.

    It counts in the history of the run, which a checkpoint keeps; transformers' own callback counts by
    itself, and would begin anew in a run that goes on.
    """

    def __init__(self, patience: int, score: str) -> None:
        self.patience, self.key = patience, f"eval_{score}"
        self.best = min if score in LEAST_IS_BEST else max

    def is_over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        scores = [entry[self.key] for entry in history if self.key in entry]
        return bool(scores) and len(scores) - 1 - scores.index(self.best(scores)) >= self.patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.is_over(state.log_history):
            control.should_training_stop = True


class _EpochEnds(TrainerCallback):
    """Score and save at the end of an epoch too, where that is done every so many steps."""

    def __init__(self) -> None:
        self.scored = 0

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.scored = state.global_step

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.scored != state.global_step:
            control.should_evaluate = control.should_save = True


class _Watch(TrainerCallback):
    """Stop at a loss that is not a number: nothing good comes after it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(value):
                what = "loss" if name == "loss" else "norm of the gradient"
                raise TrainingError(
                    f"the {what} is {value} at step {state.global_step}; use a lower --learning-rate, "
                    "or --no-bf16, with --overwrite"
                )


class _Progress(TrainerCallback):
    """A bar on stderr if it is a terminal, and a line for each note on the data and each evaluation."""

    def __init__(self, notes: Sequence[str]) -> None:
        self.notes = notes
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for note in self.notes if sys.stderr is not None else ():
            print(note, file=sys.stderr)
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm  # type: ignore[import-untyped]

            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", file=sys.stderr)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self.bar is not None and "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        scores = {
            name: (metrics or {}).get(f"eval_{key}") for key, name in {"loss": "loss", **MEASURES}.items()
        }
        if scores["loss"] is None or sys.stderr is None:
            return
        said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if value is not None)
        line = f"epoch {state.epoch:.2f}: validation {said}"
        if self.bar is None:
            print(line, file=sys.stderr)
        else:
            self.bar.write(line, file=sys.stderr)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@contextlib.contextmanager
def _progress_of_datasets() -> Iterator[None]:
    """The bars of the library datasets only where somebody sees them."""
    import datasets

    shown = datasets.utils.is_progress_bar_enabled()
    if sys.stderr is None or not sys.stderr.isatty():
        datasets.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.utils.enable_progress_bars()


def _train(settings: Settings, trainer: Trainer, checkpoint: Path | None, is_main_process: bool) -> None:
    """Train to the end, from the checkpoint if there is one; the trainer then has the best weights."""
    from accelerate import PartialState
    from transformers import TrainerState

    if checkpoint is None:
        trainer.train()
        return
    state_file = checkpoint / "trainer_state.json"
    if is_main_process:
        _adopt(state_file)
    PartialState().wait_for_everyone()
    state = TrainerState.load_from_json(str(state_file))
    best = str(trainer.args.metric_for_best_model)
    if settings.early_stopping and _EarlyStopping(settings.early_stopping, best).is_over(state.log_history):
        # It was stopped between its last epoch and its result.
        trainer.state = state
        trainer._load_best_model()
        return
    trainer.train(resume_from_checkpoint=str(checkpoint))


def _adopt(state_file: Path) -> None:
    """Let a checkpoint find the best one again where the folder was moved meanwhile."""
    state = _read_json(state_file)
    if state.get("best_model_checkpoint"):
        best = state_file.parents[1] / Path(state["best_model_checkpoint"]).name
        if best.is_dir() and str(best) != state["best_model_checkpoint"]:
            _write_json(state_file, {**state, "best_model_checkpoint": str(best)})


def _metrics(
    settings: Settings, trainer: Trainer, data: TextDataset, seconds: float, *, resumed: bool
) -> dict[str, Any]:
    history: list[dict[str, Any]] = list(trainer.state.log_history)
    scored = {
        "validation": next(
            {key.removeprefix("eval_"): value for key, value in entry.items()}
            for entry in history
            if "eval_loss" in entry and entry["step"] == trainer.state.best_global_step
        )
    }
    if settings.eval_test:
        test = _encoded(data, "test", trainer.processing_class, settings)
        found = trainer.evaluate(test, metric_key_prefix="test")
        scored["test"] = {key.removeprefix("test_"): value for key, value in found.items()}
    rows, weights = len(data.split("train")), class_weights(settings.class_weights, data)
    epochs = float(trainer.state.epoch or 0.0)
    return {
        "task": data.name,
        "problem_type": data.problem_type,
        "labels": list(data.labels),
        "class_weights": weights and dict(zip(data.labels, weights, strict=True)),
        "source": data.source,
        "notes": list(data.notes),
        "train_rows": rows,
        "splits": {
            name: {
                "rows": len(data.split(name)),
                **{key: scores[key] for key in scores if key in MEASURES or key == "loss" or F1_OF in key},
            }
            for name, scores in scored.items()
        },
        "epochs": epochs,
        "steps": trainer.state.global_step,
        "loss_curve": [[entry["step"], entry["loss"]] for entry in history if "loss" in entry],
        "seconds": round(seconds, 1),
        "texts_per_second": None if resumed else round(rows * epochs / seconds, 1),
        VERSIONS: versions(),
    }


@contextlib.contextmanager
def _training_errors(checkpoints: Path, is_main_process: bool) -> Iterator[None]:
    """A failure while training or saving as one line that says what is left and how to go on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the device has too little memory for this batch; give more --gradient-accumulation-steps "
            "(the same steps in smaller parts) or a smaller --max-seq-length, with --overwrite"
        ) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not _is_of_a_file(error):
            raise
        if is_main_process:
            for path in _checkpoints(checkpoints):  # what was cut off takes space, and is of no use
                if not _is_complete(path):
                    shutil.rmtree(path, ignore_errors=True)
        kept = last_checkpoint(checkpoints)
        state = (
            "no checkpoint was complete yet, the same command begins anew"
            if kept is None
            else f"the last good checkpoint is {str(kept)!r}, the same command goes on from it"
        )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TrainingError(f"saving failed: {' '.join(reason.split())[:200]}; {state}") from error


def _is_of_a_file(error: RuntimeError) -> bool:
    """Whether it is torch's own error for a file that cannot be written."""
    text = str(error).lower()
    return any(sign in text for sign in ("no space", "file write failed", "inline_container", "parent dir"))
