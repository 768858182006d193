#!/usr/bin/env python3
"""Fine-tune the models of the experiments: MiniLM on five sentiment data sets, on a CPU, within two hours.

    python scripts/experiments.py --data DATA --output MODELS
    python scripts/experiments.py --data DATA --output MODELS --only sst5 imdb

`--data` holds the folders SST2, SST5, SemEval, Yelp5 and IMDb (or IMDb.tar.gz).  Each model becomes a Hugging
Face folder under `--output`.  What is done is not done again, and what was stopped goes on.  The figures end
up in MODELS/experiments.json and are printed as a table for the documentation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from whybert.training import Settings, finetune

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
    "sst2": {"folder": "SST2", "num_train_epochs": 2, "learning_rate": 3e-5},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="builtin", help="the encoder (default: the built-in MiniLM)")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--no-bf16", action="store_true", help="train in float32")
    args = parser.parse_args()

    results = {}
    for name in args.only:
        recipe = dict(RECIPES[name])
        folder = args.data / str(recipe.pop("folder"))
        if not folder.exists() and folder.with_name(folder.name + ".tar.gz").exists():
            folder = folder.with_name(folder.name + ".tar.gz")
        result = finetune(
            Settings(
                task=name,
                data_dir=str(folder),
                model=args.model,
                output_dir=str(args.output / name),
                seed=args.seed,
                bf16=not args.no_bf16,
                eval_test=name != "sst2",  # its test labels were never published
                **recipe,  # type: ignore[arg-type]
            )
        )
        results[name] = dict(result.metrics)
        (args.output / "experiments.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

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
