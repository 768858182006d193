#!/usr/bin/env python3
"""What a few more passes buy: methods judged by masking and by deletion, in pairs against one of them.

    python benchmarks/few_passes.py --data sst2=SST2 --texts 0:300 --out few
    python benchmarks/few_passes.py --data imdb=IMDb.tar.gz --texts 0:50 --out few
    python benchmarks/few_passes.py --report --out few

Each text is explained by each method once, and the removals that the metrics ask for are answered for all
methods together.  What is found is written to the folder after every few texts, a line for each text and
method: a run that was stopped goes on, other texts or methods add to it, and several processes may share the
folder if their --texts do not overlap.  --report makes `results.json` and `results.md` of all that is there:
the mean of each metric and the difference to the reference (--against) on the same texts, turned so that
above 0 is better, with its 95 % bootstrap interval.  Texts are numbered in an order that --seed draws; those
of a report are --texts too.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from whybert import METHODS, Classifier, explain
from whybert.datasets import load
from whybert.evaluation.bench import EvaluationData
from whybert.evaluation.faithfulness import FaithfulnessMetric
from whybert.evaluation.metrics import resolve_metrics
from whybert.evaluation.statistics import bootstrap, mean
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.evaluation.walks import run
from whybert.methods import Method, create, create_all

METRICS = ("aopc", "abpc@mask", "abpc", "comprehensiveness", "sufficiency")
SPECS = (
    "attnlrp",
    "cp_lrp",
    "sampled_attnlrp",
    "sampled_attnlrp:samples=16",
    "sampled_attnlrp:samples=32",
    "integrated_attnlrp",
    "iterative_attnlrp",
    "iterative_attnlrp:by=delete",
    "guided_shap:samples=32",
    "guided_shap",
)
Found = dict[tuple[str, int, str], dict[str, Any]]


def read(folder: Path) -> Found:
    """The lines of the folder by data, number of the text and method; of two about the same both metrics."""
    found: Found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # the end of a run that was stopped
                continue
            key = record["data"], record["number"], record["method"]
            before = found.get(key, {})
            if before.get("options") == record.setdefault("options", {}):
                record["values"] = {**before["values"], **record["values"]}
            found[key] = record
    return found


def measure(args: argparse.Namespace, first: int, last: int) -> None:
    classifier = Classifier.load(args.model)
    name, _, place = args.data.partition("=")
    split = args.split or ("validation" if name == "sst2" else None)
    data = EvaluationData.of_dataset(load(name, place or None), split, classifier)
    numbers = range(first, min(last, len(data.texts)))
    order = data.sample(None, args.seed)
    methods = create_all(args.methods)
    metrics = [m for m in resolve_metrics(args.metrics) if isinstance(m, FaithfulnessMetric)]
    known = read(args.out)

    def is_known(record: dict[str, Any] | None, method: Method) -> bool:
        """A default may have been another when it was written."""
        return (
            record is not None
            and record["options"] == method.options
            and record["values"].keys() >= {metric.name for metric in metrics}
        )

    path = args.out / f"{name}.{first}-{last}.jsonl"
    explain(classifier, "a first text, so that none is timed that warms up", methods)
    spent = {method.spec: 0.0 for method in methods}
    for start in range(0, len(numbers), args.part):
        part = numbers[start : start + args.part]
        missing = {
            method: [
                number for number in part if not is_known(known.get((name, number, method.spec)), method)
            ]
            for method in methods
        }
        wanted = sorted({number for rows in missing.values() for number in rows})
        if not wanted:
            continue
        texts = {number: data.texts[order[number]] for number in wanted}
        judged = dict(
            zip(wanted, make_subjects(classifier, list(texts.values()), seed=args.seed), strict=True)
        )
        records, jobs = [], []
        for method, rows in missing.items():
            for number in rows:
                started = time.perf_counter()
                [explanation] = explain(classifier, [texts[number]], method)
                seconds = time.perf_counter() - started
                spent[method.spec] += seconds
                record = {"data": name, "number": number, "method": method.spec, "options": method.options}
                records.append({**record, "seconds": seconds, "tokens": len(explanation.tokens)})
                jobs += [metric.job(judged[number], explanation) for metric in metrics]
        started = time.perf_counter()
        scores = iter(run(classifier, jobs))
        judging = time.perf_counter() - started
        with path.open("a", encoding="utf-8") as file:
            for record in records:
                values = {metric.name: next(scores).value for metric in metrics}
                file.write(json.dumps({**record, "values": values}) + "\n")
        times = ", ".join(f"{spec} {seconds:.1f}" for spec, seconds in spent.items())
        print(
            f"{name} {part[-1] + 1 - first}/{len(numbers)}: metrics {judging:.1f} s; so far {times} s",
            flush=True,
        )


def table(found: Found, name: str, args: argparse.Namespace, first: int, last: int) -> dict[str, Any]:
    """By method: the number of its texts, its seconds a text, and of each metric mean and difference."""
    by_method: dict[str, dict[int, dict[str, Any]]] = {}
    for (data, number, spec), record in found.items():
        if data == name and first <= number < last and (args.methods is None or spec in args.methods):
            by_method.setdefault(spec, {})[number] = record
    reference = by_method.get(args.against, {})
    rows: dict[str, Any] = {}
    for spec, records in by_method.items():
        both = sorted(records.keys() & reference.keys())
        seconds = [records[number]["seconds"] for number in both]
        row: dict[str, Any] = {
            "texts": len(records),
            "passes": create(spec).passes if spec.partition(":")[0] in METHODS else "",
            "seconds": mean([record["seconds"] for record in records.values()]),
            "times the reference": sum(seconds) / sum(reference[n]["seconds"] for n in both)
            if both
            else math.nan,
            "metrics": {},
        }
        for metric in resolve_metrics(args.metrics):
            values = {
                n: record["values"][metric.name]
                for n, record in records.items()
                if metric.name in record["values"]
            }
            sign = 1.0 if metric.higher_is_better else -1.0
            differences = [
                sign * (values[number] - reference[number]["values"][metric.name])
                for number in both
                if number in values and metric.name in reference[number]["values"]
            ]
            interval = bootstrap(differences)
            row["metrics"][metric.name] = {
                "mean": mean(list(values.values())),
                "better by": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "pairs": interval.size,
            }
        rows[spec] = row
    return rows


def markdown(name: str, rows: dict[str, Any], args: argparse.Namespace) -> Iterator[str]:
    metrics = [metric.name for metric in resolve_metrics(args.metrics)]
    texts = max((row["texts"] for row in rows.values()), default=0)
    yield f"\n{name}, {texts} texts; differences to `{args.against}`, above 0 is better, * excludes 0:\n"
    yield f"| method | passes | time | {' | '.join(metrics)} |"
    yield "|---" * (3 + len(metrics)) + "|"
    for spec, row in rows.items():
        cells = [f"`{spec}`", row["passes"], f"{row['times the reference']:.1f}"]
        for metric in metrics:
            cell = row["metrics"][metric]
            star = "*" if not cell["low"] <= 0 <= cell["high"] else ""
            difference = f"{cell['better by']:+.3f}{star} [{cell['low']:.3f}, {cell['high']:.3f}]"
            cells.append(
                f"{cell['mean']:.3f}" if spec == args.against else f"{cell['mean']:.3f} {difference}"
            )
        texts_of = "" if row["texts"] == texts else f" ({row['texts']} texts)"
        yield "| " + " | ".join([cells[0] + texts_of, *cells[1:]]) + " |"


def report(args: argparse.Namespace, first: int, last: int) -> None:
    found = read(args.out)
    tables = {name: table(found, name, args, first, last) for name in dict.fromkeys(key[0] for key in found)}
    lines = [line for name, rows in tables.items() for line in markdown(name, rows, args)]
    (args.out / "results.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")
    (args.out / "results.md").write_text("\n".join(lines).lstrip() + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="NAME=PLACE, such as sst2=SST2 or imdb=IMDb.tar.gz")
    parser.add_argument("--split", help="of the data; validation of sst2, else its default")
    parser.add_argument("--texts", default="0:", metavar="A:B", help="the numbers of the texts; 0:300")
    parser.add_argument("--methods", nargs="+", help="specs; of a report None is all that are there")
    parser.add_argument("--metrics", nargs="+", default=list(METRICS), help="of the group faithfulness")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the lines and the report")
    parser.add_argument("--against", default="attnlrp", help="the reference of the differences")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", type=int, default=4, help="texts that are judged together and then written")
    parser.add_argument("--seed", type=int, default=0, help="draws the order of the texts, and ties")
    parser.add_argument("--report", action="store_true", help="only make the report")
    args = parser.parse_args()
    start, _, stop = args.texts.partition(":")
    first, last = int(start or 0), int(stop or 10**9)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        return report(args, first, last)
    if args.data is None:
        parser.error("expected --data NAME=PLACE, or --report")
    torch.set_num_threads(args.threads)
    args.methods = args.methods or list(SPECS)
    measure(args, first, last)
    return None


if __name__ == "__main__":
    main()
