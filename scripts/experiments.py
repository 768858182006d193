#!/usr/bin/env python3
"""Fine-tune the models of the experiments: MiniLM on five sentiment data sets, on a CPU, within two hours.

    python scripts/experiments.py --data DATA --output MODELS
    python scripts/experiments.py --data DATA --output MODELS --only sst5 imdb
    python scripts/experiments.py --data DATA --output MODELS --only sst5 --seed 43 --suffix=-seed43

`--data` holds the folders SST2, SST5, SemEval, Yelp5 and IMDb (or IMDb.tar.gz).  Each model becomes a Hugging
Face folder under `--output`.  What is done is not done again, and what was stopped goes on.  The figures end
up in MODELS/experiments.json and are printed as a table for the documentation.

SST-2 goes on from the built-in model, which knows the data set already: six fine-tunings on its whole
sentences are averaged (Wortsman et al. 2022, "Model soups"), and the average is mixed with the weights of the
built-in model (Wortsman et al. 2022, "Robust fine-tuning") in the share that is best on the development set.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from train_builtin import is_sentence, read_reference

from whybert import Classifier
from whybert.datasets import load
from whybert.loading import quiet
from whybert.recipe import Settings
from whybert.scoring import Report, classification_report
from whybert.training import finetune

# What differs from `Settings`' defaults.  IMDb and Yelp-5 are long texts: what stands at the end of a
# review is cut.
RECIPES: dict[str, dict[str, object]] = {
    "sst5": {"folder": "SST5", "num_train_epochs": 4, "learning_rate": 1e-4},
    "imdb": {"folder": "IMDb", "num_train_epochs": 4, "learning_rate": 1e-4, "max_seq_length": 256},
    "semeval": {"folder": "SemEval", "num_train_epochs": 2, "learning_rate": 1e-4},
    # The subset has no training file: its development file is what is learnt from.
    "yelp5": {
        "folder": "Yelp5",
        "train_split": "validation",
        "num_train_epochs": 2,
        "learning_rate": 1e-4,
        "max_seq_length": 128,
    },
    "sst2": {"folder": "SST2", "num_train_epochs": 2, "evaluations_per_epoch": 8},
}
SST2_INGREDIENTS = ((1, 3e-5), (2, 5e-5), (3, 3e-5), (4, 2e-5), (5, 5e-5), (6, 3e-5))  # seed, learning rate
SST2_SHARES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # of their average in the mixture

Weights = dict[str, torch.Tensor]


def trained(name: str, args: argparse.Namespace) -> Mapping[str, Any]:
    """A model of one fine-tuning."""
    recipe = dict(RECIPES[name])
    folder = args.data / str(recipe.pop("folder"))
    if not folder.exists() and folder.with_name(folder.name + ".tar.gz").exists():
        folder = folder.with_name(folder.name + ".tar.gz")
    settings = Settings(
        task=name,
        data_dir=str(folder),
        model=args.model,
        output_dir=str(args.output / f"{name}{args.suffix}"),
        seed=args.seed,
        bf16=not args.no_bf16,
        eval_test=True,
        **recipe,  # type: ignore[arg-type]
    )
    return finetune(settings).metrics


def mixed(name: str, args: argparse.Namespace) -> Mapping[str, Any]:
    """The model of SST-2: fine-tunings that go on from the built-in model, averaged and mixed with it."""
    target = args.output / f"{name}{args.suffix}"
    if (target / "mixture.json").exists():
        found: dict[str, Any] = json.loads((target / "mixture.json").read_text(encoding="utf-8"))
        return found
    started = time.perf_counter()
    recipe = dict(RECIPES[name])
    folder = args.data / str(recipe.pop("folder"))
    data = load(name, str(folder))
    work = args.output / f"{name}-ingredients"
    start = Classifier.load("builtin")
    with quiet():
        start.model.save_pretrained(work / "start")
        start.tokenizer.save_pretrained(work / "start")
    (work / "sentences").mkdir(exist_ok=True)
    rows = 0
    for split in ("train", "validation"):
        with open(work / "sentences" / f"{split}.jsonl", "w", encoding="utf-8") as stream:
            for row in data.split(split):
                if split == "validation" or is_sentence({"text": row["text"].strip()}):
                    label = data.labels[row["label"]]
                    stream.write(json.dumps({"text": row["text"], "label": label}) + "\n")
                    rows += split == "train"
    ingredients = []
    for seed, rate in SST2_INGREDIENTS:
        settings = Settings(
            task=str(work / "sentences"),
            model=str(work / "start"),
            output_dir=str(work / f"seed-{seed}"),
            learning_rate=rate,
            seed=seed,
            bf16=not args.no_bf16,
            **recipe,  # type: ignore[arg-type]
        )
        ingredients.append(finetune(settings).folder)

    before = weights(start)
    average = mean([weights(Classifier.load(path)) for path in ingredients])
    validation = data.split("validation")
    tried: dict[float, Report] = {}
    for share in SST2_SHARES:
        start.model.load_state_dict(between(before, average, share))
        tried[share] = report(start, validation["text"][:], validation["label"][:])
    best = max(tried, key=lambda share: tried[share].macro_f1)
    start.model.load_state_dict(between(before, average, best))
    scores = {"validation": tried[best]}
    reference = args.data / "SST5" / "stsa.binary.test"
    if reference.exists():  # the test labels of SST-2 were never published
        test = read_reference(reference, folder / "test.tsv")
        scores["test"] = report(start, test["text"][:], test["labels"][:])
    metrics = {
        "train_rows": rows,
        "share": best,
        "tried": {str(share): found.accuracy for share, found in tried.items()},
        "splits": {
            split: {"rows": found.count, "accuracy": found.accuracy, "macro_f1": found.macro_f1}
            for split, found in scores.items()
        },
        "seconds": round(time.perf_counter() - started, 1),
    }
    shutil.rmtree(target, ignore_errors=True)
    start.tokenizer.model_max_length = 128
    with quiet():
        start.model.save_pretrained(target)
        start.tokenizer.save_pretrained(target)
    (target / "mixture.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def weights(classifier: Classifier) -> Weights:
    return {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}


def mean(models: Sequence[Weights]) -> Weights:
    return {name: torch.stack([each[name] for each in models]).mean(0) for name in models[0]}


def between(first: Weights, second: Weights, share: float) -> Weights:
    """A straight line from the first weights (0) to the second (1)."""
    return {name: torch.lerp(tensor, second[name], share) for name, tensor in first.items()}


def report(classifier: Classifier, texts: Sequence[str], labels: Sequence[int]) -> Report:
    predicted = [found.predicted for found in classifier.predict(list(texts), 64)]
    return classification_report(classifier.labels, labels, predicted)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="builtin", help="the encoder (default: the built-in MiniLM)")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--suffix", default="", help="of the models' folders, for another seed")
    parser.add_argument("--no-bf16", action="store_true", help="train in float32")
    args = parser.parse_args()

    path = args.output / "experiments.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in args.only:
        work = mixed if name == "sst2" else trained
        results[f"{name}{args.suffix}"] = dict(work(name, args))
        path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

    table = Table("data set", "training texts", "split", "texts", "accuracy", "macro-F1", "minutes")
    for name, metrics in results.items():
        for split, scores in metrics["splits"].items():
            table.add_row(
                name,
                str(metrics["train_rows"]),
                split,
                str(scores["rows"]),
                f"{scores['accuracy']:.4f}",
                f"{scores['macro_f1']:.4f}",
                f"{metrics['seconds'] / 60:.1f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
