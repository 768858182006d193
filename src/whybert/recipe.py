"""The recipe of a fine-tuning: what `whybert.training` is told, and what the command line offers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal

from whybert.typed import check

LARGEST_SEED: Final = 2**32 - 1  # that numpy takes
_WITHOUT_EFFECT: Final = ("output_dir", "eval_batch_size", "push_to_hub")  # on what comes out
_DATA, _MODEL, _RUN, _SCORES, _OUTPUT = "Data", "Model", "Training", "Scores", "Output"
SWITCHES: Final = "Switches"  # apart, since their two names each take much room


def _field(panel: str, help_: str, default: Any = dataclasses.MISSING, *names: str, **bounds: float) -> Any:
    """A field, which is an option of the command line too.

    Args:
        panel: of the help.
        help_: its line there.
        default: its value unless another is given.
        names: of the option, before that of the field.
        bounds: see `whybert.typed`.
    """
    metadata = {"panel": panel, "help": help_, "names": names, **bounds}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is made of.  Two runs with equal settings on the same data give the same weights on a CPU.

    A batch is an optimiser step's, over all devices and accumulation steps together, so that a run on two
    devices takes the same steps as one on one.

    Raises:
        UsageError: a value that cannot be.
    """

    task: str = _field(
        _DATA,
        "A data set of `whybert datasets list`, or a CSV, TSV, JSON lines or Parquet file.",
        dataclasses.MISSING,
        "task",
        "task-name",
    )
    output_dir: str = _field(_OUTPUT, "The folder of the result.")
    data_dir: str | None = _field(_DATA, "The data set's folder; without it, the hub.", None)
    text_column: str | None = _field(_DATA, "The column of the text.", None)
    pair_column: str | None = _field(_DATA, "The column of a second text.", None)
    label_column: str | None = _field(
        _DATA, "The column of the label; A,B,C: columns of 0 and 1 that are labels.", None
    )
    label_separator: str | None = _field(
        _DATA, "Stands between labels in a cell; default: the one of | ; , that occurs.", None
    )
    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = _field(
        _DATA,
        "single_label_classification, multi_label_classification or regression; default: as the labels look.",
        None,
    )
    class_weights: str | None = _field(
        _DATA, "Of rare labels more: balanced, A=2,B=1 (others: 1) or none, the default.", None
    )
    validation_fraction: float = _field(
        _DATA, "Of the training rows, where there is no such split.", 0.1, above=0, below=1
    )
    train_split: str = _field(_DATA, "The split to learn from, where none is called train.", "train")
    train_limit: int | None = _field(_DATA, "Use so many training rows, drawn at random.", None, least=2)
    model: str = _field(
        _MODEL,
        "The encoder: 'builtin', a folder or a hub id; a classifier's head is replaced.",
        "builtin",
        "model",
        "init-checkpoint",
        "m",
    )
    max_seq_length: int = _field(_MODEL, "Tokens a text, special ones included.", 128, least=1)
    do_lower_case: bool | None = _field(SWITCHES, "Lower-case texts; default: as the tokenizer says.", None)
    lora: bool = _field(SWITCHES, "Train low-rank changes only; the result is merged.", False)
    lora_rank: int = _field(_MODEL, "The rank of these changes.", 16, least=1)
    train_batch_size: int = _field(_RUN, "Texts a step, over all devices.", 32, least=1)
    eval_batch_size: int = _field(_SCORES, "Texts a batch when scoring.", 64, least=1)
    learning_rate: float | None = _field(_RUN, "Default: 5e-5, with --lora 6e-4.", None, above=0)
    num_train_epochs: float = _field(_RUN, "Passes over the data.", 3.0, above=0)
    warmup_ratio: float = _field(
        _RUN,
        "The part of the steps in which the learning rate grows.",
        0.1,
        "warmup",
        "warmup-proportion",
        least=0,
        below=1,
    )
    weight_decay: float = _field(_RUN, "AdamW's weight decay.", 0.01, least=0)
    gradient_accumulation_steps: int = _field(_RUN, "Parts in which a batch is computed.", 1, least=1)
    evaluations_per_epoch: int = _field(
        _SCORES, "Scored checkpoints an epoch; the best one is kept.", 1, least=1
    )
    early_stopping: int | None = _field(
        _SCORES, "Stop after so many evaluations without a better score.", None, least=1
    )
    seed: int = _field(_RUN, "For weights, order and dropout.", 42, least=0, most=LARGEST_SEED)
    bf16: bool | None = _field(SWITCHES, "bfloat16; default: on a GPU that has it.", None)
    group_by_length: bool = _field(SWITCHES, "Texts of like length share a batch.", True)
    push_to_hub: str | None = _field(
        _OUTPUT, "Then copy the result to this repository (owner/name) of the Hugging Face hub.", None
    )
    eval_test: bool = _field(SWITCHES, "Score the test split at the end.", False)

    def __post_init__(self) -> None:
        check(self)

    @property
    def rate(self) -> float:
        """The learning rate, or its default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 6e-4 if self.lora else 5e-5

    def to_dict(self) -> dict[str, Any]:
        """The settings that decide about the result, as JSON types."""
        values = dataclasses.asdict(self) | {"learning_rate": self.rate}
        return {name: value for name, value in values.items() if name not in _WITHOUT_EFFECT}
