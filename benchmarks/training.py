"""How much faster does whybert fine-tune than a loop that pads every text to the longest allowed length?

    python benchmarks/training.py --data SST2
    python benchmarks/training.py                 # random texts with the lengths of SST-2's

Both fine-tune the same model (MiniLM: the built-in encoder where it is installed, else random weights of
its size) in float32 on the same rows, for one epoch, at a maximum of 128 tokens a text, batches of 32.

padded: the loop of the 2020 code, written out below: every row is padded to 128 tokens; AdamW, a linear
    schedule with warm-up, gradients clipped at 1.
whybert: `whybert.training`, the Trainer as `whybert finetune` sets it up, with dynamic padding and texts of
    like length in a batch.

What is measured is the time from the first optimiser step to the end of the last one, batches and padding
included; tokenizing, evaluation and writing checkpoints, which both would need, are not.  The figure is
the ratio of texts a second.  The two take turns for --rounds, and the median of the rounds' ratios counts.

Padding alone must not change what is learnt: with dropout off and the same order of rows, the losses of
the first 20 steps (of 8 texts) of both are compared, and may differ by 1e-4.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    TrainerCallback,
    get_linear_schedule_with_warmup,
)

import whybert
from whybert.builtin import encoder_folder
from whybert.datasets import TextDataset, load
from whybert.errors import MissingExtraError
from whybert.loading import load_encoder, quiet
from whybert.recipe import Settings
from whybert.training import Order, _encoded, _progress_of_datasets, _trainer

LENGTH, BATCH = 128, 32  # tokens a text, texts a step
AIM = 3.0
COMPARED_STEPS, COMPARED_BATCH = 20, 8
TOLERANCE = 1e-4
# Words a text in the training split of SST-2 (67,349 rows): the share of rows with up to so many.
SST2_LENGTHS = (
    (1, 0.063),
    (2, 0.171),
    (4, 0.357),
    (6, 0.485),
    (9, 0.627),
    (13, 0.755),
    (20, 0.891),
    (30, 0.975),
    (52, 1.0),
)
VOCABULARY = 2000
SIZE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def random_texts(folder: Path, rows: int, vocabulary: list[str]) -> None:
    """A data set in the format of SST-2, of words that are one token each."""
    chosen = random.Random(0)
    words = sorted(word for word in vocabulary if word.isalnum())[:VOCABULARY]

    def text() -> str:
        share, low = chosen.random(), 1
        for high, up_to in SST2_LENGTHS:
            if share <= up_to:
                break
            low = high + 1
        return " ".join(chosen.choice(words) for _ in range(chosen.randint(low, high)))

    for name, count in (("train", rows), ("dev", 8)):
        lines = [f"{text()}\t{number % 2}" for number in range(count)]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n", encoding="utf-8")


def make_encoder(folder: Path) -> str:
    """The built-in encoder, or one of its size with random weights."""
    try:
        return str(encoder_folder())
    except MissingExtraError:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(VOCABULARY))]
        tokenizer = transformers.BertTokenizer({word: index for index, word in enumerate(words)})
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig(vocab_size=len(words), **SIZE)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock(TrainerCallback):
    """The time from the first step to the end of the last, and the loss of each step."""

    def __init__(self) -> None:
        self.started = self.seconds = 0.0
        self.losses: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.seconds = time.perf_counter() - self.started

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.losses.append(logs["loss"])


def model_of(settings: Settings, data: TextDataset, dropout: bool) -> tuple[Any, Any]:
    transformers.set_seed(settings.seed)
    model, tokenizer = load_encoder(settings.model, data.labels)
    if not dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
    return model, tokenizer


def padded(settings: Settings, data: TextDataset, *, dropout: bool) -> tuple[float, list[float]]:
    """Seconds and losses of the plain loop."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = model_of(settings, data, dropout)
    model.to(device).train()
    rows = data.split("train")
    encoded = tokenizer(rows["text"][:], truncation=True, max_length=LENGTH, padding="max_length")
    columns = {name: torch.tensor(encoded[name]) for name in ("input_ids", "attention_mask")}
    labels = torch.tensor(rows["label"][:])
    size = settings.train_batch_size
    order = list(Order([0] * len(rows), size, settings.seed, group=False))
    steps = math.ceil(len(order) / size)
    plain = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in model.named_parameters() if not n.endswith(plain)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if n.endswith(plain)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate)
    warmup = math.ceil(steps * settings.warmup_ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    losses: list[Tensor] = []
    synchronize()
    started = time.perf_counter()
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        batch = {name: column[chosen].to(device) for name, column in columns.items()}
        logits = model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits, labels[chosen].to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    synchronize()
    return time.perf_counter() - started, [float(loss) for loss in losses]


def ours(settings: Settings, data: TextDataset, *, dropout: bool) -> tuple[float, list[float]]:
    """Seconds and losses of whybert's way."""
    with quiet(), tempfile.TemporaryDirectory() as place:
        model, tokenizer = model_of(settings, data, dropout)
        trainer = _trainer(settings, model, tokenizer, data, Path(place))
        trainer.args.eval_strategy = trainer.args.save_strategy = transformers.IntervalStrategy.NO
        trainer.args.load_best_model_at_end = False
        trainer.args.logging_steps = trainer.state.logging_steps = 1
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        return clock.seconds, clock.losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder of SST-2; without it, random texts")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

    with tempfile.TemporaryDirectory() as place, _progress_of_datasets():
        folder = Path(place)
        encoder = make_encoder(folder / "encoder")
        with quiet():
            tokenizer = load_encoder(encoder, ["negative", "positive"])[1]
        if args.data is None:
            random_texts(folder, args.rows, [*tokenizer.get_vocab()])
        data = load("sst2", args.data or folder)
        train = data.split("train")
        rows = train.shuffle(seed=0).select(range(min(args.rows, len(train))))
        data = TextDataset(data.name, data.labels, {"train": rows, "validation": rows.select([0, 1])}, "")
        settings = Settings(
            task="sst2",
            output_dir="",
            model=encoder,
            max_seq_length=LENGTH,
            train_batch_size=BATCH,
            num_train_epochs=1,
            bf16=False,
        )
        tokens = sum(len(ids) for ids in _encoded(rows, tokenizer, settings)["input_ids"]) / len(rows)
        print(
            f"whybert {whybert.__version__}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}, {device}, {args.threads} threads; {len(rows)} rows of "
            f"{tokens:.1f} tokens on average, {data.name if args.data else 'random texts'}"
        )

        few = min(len(rows), COMPARED_STEPS * COMPARED_BATCH)
        short = TextDataset(
            data.name, data.labels, {**data.splits, "train": rows.select(range(few))}, data.source
        )
        still = replace(settings, train_batch_size=COMPARED_BATCH, group_by_length=False)
        _, theirs = padded(still, short, dropout=False)
        _, mine = ours(still, short, dropout=False)
        gap = max(abs(one - other) for one, other in zip(theirs, mine, strict=True))
        print(
            f"losses of {len(mine)} steps without dropout ({mine[0]:.3f} to {mine[-1]:.3f}): largest "
            f"difference {gap:.1e} (aim: at most {TOLERANCE:.0e}: {'ok' if gap <= TOLERANCE else 'OVER'})"
        )

        speeds: dict[str, list[float]] = {"padded": [], "whybert": []}
        for _ in range(args.rounds):
            speeds["padded"].append(len(rows) / padded(settings, data, dropout=True)[0])
            speeds["whybert"].append(len(rows) / ours(settings, data, dropout=True)[0])
        ratio = statistics.median(b / a for a, b in zip(*speeds.values(), strict=True))
        for name, values in speeds.items():
            print(f"  {name:8} {statistics.median(values):7.1f} texts a second")
        print(f"  ratio    {ratio:7.2f}  (aim: at least {AIM:.1f}: {'ok' if ratio >= AIM else 'UNDER'})")
    if args.output:
        figures = {
            "ratio": round(ratio, 3),
            "texts_per_second": {name: statistics.median(values) for name, values in speeds.items()},
            "loss_gap": gap,
            "rows": len(rows),
            "tokens_per_row": round(tokens, 2),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "device": device,
            "threads": args.threads,
        }
        args.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
