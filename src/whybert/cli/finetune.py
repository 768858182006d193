"""`whybert finetune`, and the module that `accelerate launch -m whybert.cli.finetune ...` runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from whybert.training import FineTuned

_DATA, _RUN, _MODEL = "Data", "Training", "Model"


def _option(name: str, help_: str, panel: str, *, flag: bool = False) -> object:
    """An option under its name with hyphens and, as the paper's code spells it, with underscores."""
    plain, seed = f"--{name}", f"--{name.replace('-', '_')}"
    if flag:
        names = [f"{plain}/--no-{name}", *([seed] if seed != plain else [])]
    else:
        names = [plain, *([seed] if seed != plain else [])]
    return typer.Option(*names, help=help_, rich_help_panel=panel)


def finetune_command(
    task: Annotated[
        str,
        typer.Option(
            "--task",
            "--task-name",
            "--task_name",
            help="A data set of `whybert datasets list`, or a CSV, TSV, JSON lines or Parquet file.",
            rich_help_panel=_DATA,
        ),
    ],
    output_dir: Annotated[str, _option("output-dir", "The folder of the result.", _RUN)],
    data_dir: Annotated[
        str | None, _option("data-dir", "The data set's folder; without it, the hub.", _DATA)
    ] = None,
    text_column: Annotated[str | None, _option("text-column", "The column of the text.", _DATA)] = None,
    pair_column: Annotated[str | None, _option("pair-column", "The column of a second text.", _DATA)] = None,
    label_column: Annotated[str | None, _option("label-column", "The column of the label.", _DATA)] = None,
    validation_fraction: Annotated[
        float, _option("validation-fraction", "Of the training rows, where there is no such split.", _DATA)
    ] = 0.1,
    train_split: Annotated[str, _option("train-split", "The split to learn from.", _DATA)] = "train",
    train_limit: Annotated[
        int | None, _option("train-limit", "Use so many training rows, drawn at random.", _DATA)
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            "--init-checkpoint",
            "--init_checkpoint",
            help="The encoder: 'builtin', a folder or a hub id.",
            rich_help_panel=_MODEL,
        ),
    ] = "builtin",
    max_seq_length: Annotated[int, _option("max-seq-length", "Tokens a text.", _MODEL)] = 128,
    do_lower_case: Annotated[
        bool | None,
        _option("do-lower-case", "Lower-case texts; default: as the tokenizer says.", _MODEL, flag=True),
    ] = None,
    lora: Annotated[
        bool, _option("lora", "Train low-rank changes only; the result is merged.", _MODEL, flag=True)
    ] = False,
    lora_rank: Annotated[int, _option("lora-rank", "The rank of these changes.", _MODEL)] = 16,
    train_batch_size: Annotated[
        int, _option("train-batch-size", "Texts a step, over all devices.", _RUN)
    ] = 32,
    eval_batch_size: Annotated[int, _option("eval-batch-size", "Texts a batch when scoring.", _RUN)] = 64,
    learning_rate: Annotated[
        float | None, _option("learning-rate", "Default: 5e-5, with --lora 6e-4.", _RUN)
    ] = None,
    num_train_epochs: Annotated[float, _option("num-train-epochs", "Passes over the data.", _RUN)] = 3.0,
    warmup: Annotated[
        float,
        typer.Option(
            "--warmup",
            "--warmup-proportion",
            "--warmup_proportion",
            help="The part of the steps in which the learning rate grows.",
            rich_help_panel=_RUN,
        ),
    ] = 0.1,
    weight_decay: Annotated[float, _option("weight-decay", "AdamW's weight decay.", _RUN)] = 0.01,
    gradient_accumulation_steps: Annotated[
        int, _option("gradient-accumulation-steps", "Parts in which a batch is computed.", _RUN)
    ] = 1,
    evaluations_per_epoch: Annotated[
        int, _option("evaluations-per-epoch", "Scored checkpoints an epoch; the best one is kept.", _RUN)
    ] = 1,
    early_stopping: Annotated[
        int | None,
        _option("early-stopping", "Stop after so many evaluations without a better macro-F1.", _RUN),
    ] = None,
    seed: Annotated[int, _option("seed", "For weights, order and dropout.", _RUN)] = 42,
    bf16: Annotated[
        bool | None, _option("bf16", "bfloat16; default: on a GPU that has it.", _RUN, flag=True)
    ] = None,
    group_by_length: Annotated[
        bool, _option("group-by-length", "Texts of like length share a batch.", _RUN, flag=True)
    ] = True,
    eval_test: Annotated[
        bool, _option("eval-test", "Score the test split at the end.", _RUN, flag=True)
    ] = False,
    overwrite: Annotated[
        bool, _option("overwrite", "Begin anew in an output folder of an earlier run.", _RUN, flag=True)
    ] = False,
) -> None:
    """Fine-tune an encoder on a data set; the same command again goes on where it was stopped."""
    from whybert.training import Settings, finetune

    result = finetune(
        Settings(
            task=task,
            output_dir=output_dir,
            data_dir=data_dir,
            text_column=text_column,
            pair_column=pair_column,
            label_column=label_column,
            validation_fraction=validation_fraction,
            train_split=train_split,
            train_limit=train_limit,
            model=model,
            max_seq_length=max_seq_length,
            do_lower_case=do_lower_case,
            lora=lora,
            lora_rank=lora_rank,
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            learning_rate=learning_rate,
            num_train_epochs=num_train_epochs,
            warmup_ratio=warmup,
            weight_decay=weight_decay,
            gradient_accumulation_steps=gradient_accumulation_steps,
            evaluations_per_epoch=evaluations_per_epoch,
            early_stopping=early_stopping,
            seed=seed,
            bf16=bf16,
            group_by_length=group_by_length,
            eval_test=eval_test,
        ),
        overwrite=overwrite,
    )
    if _is_first_process():
        from whybert.cli.output import console_for, note, opened, show

        for line in result.metrics.get("notes", ()):
            note(line, dim=True)
        with opened(None) as stream:
            show(console_for(stream), _summary(result))
    _leave_the_group()


def _leave_the_group() -> None:
    """Tell the other processes that this one is done, where there are others."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _is_first_process() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _summary(result: FineTuned) -> Table:
    from rich.table import Table
    from rich.text import Text

    state = "already done" if result.already_done else "done, after a stop" if result.resumed else "done"
    table = Table(title=Text(f"{result.folder}: {state}"), title_justify="left", show_edge=False)
    table.add_column("split")
    for heading in ("texts", "accuracy", "macro-F1"):
        table.add_column(heading, justify="right")
    for name, split in result.metrics["splits"].items():
        table.add_row(name, str(split["rows"]), f"{split['accuracy']:.4f}", f"{split['macro_f1']:.4f}")
    return table


if __name__ == "__main__":
    from whybert.cli import main

    main(["finetune", *sys.argv[1:]])
