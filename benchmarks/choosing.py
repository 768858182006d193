#!/usr/bin/env python3
"""What each method buys for its cost, by the length of the text: the numbers of docs/which-method.md.

    python benchmarks/choosing.py --data sst2=SST2 imdb=IMDb.tar.gz --out choosing
    python benchmarks/choosing.py --data sst2=SST2 imdb=IMDb.tar.gz --out choosing --dear
    python benchmarks/choosing.py --report --out choosing --table docs/results/which-method.csv

A length (`LENGTHS`) is a sample of real texts of about so many tokens: sentences of SST-2, and reviews of
IMDb from their beginning to the end of a sentence.  Each text is explained alone by each method, and timed
in units of one plain forward and one plain backward pass of that text, run right before (time of the
process, so that other work of the machine does not count).  Words are taken away by masking and by deletion,
for all methods together, and with --judge bfloat16 in that precision.  On the shortest texts the scores are
compared with exact Shapley values, again of both ways.

What is found is written to the folder after each text, a line for each text and method: a run that was
stopped goes on.  --report makes the table of all that is there: of each length, method and measure the mean
over the texts with its 95 % bootstrap interval, and the same of the difference to `attnlrp` on the same
texts, turned so that above 0 is better; of the time the median and the middle half; of the texts' sizes, in
lines without a method, the mean, the least and the most.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from few_passes import read
from speed import plain
from whybert import Classifier, explain
from whybert.datasets import load
from whybert.encoding import collate
from whybert.evaluation.bench import EvaluationData
from whybert.evaluation.faithfulness import FaithfulnessMetric
from whybert.evaluation.metrics import METRICS, resolve_metrics
from whybert.evaluation.statistics import bootstrap, spearman
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.evaluation.walks import run
from whybert.methods import Method, create, create_all
from whybert.sentences import split_sentences

REFERENCE = "attnlrp"
WAYS = ("mask", "delete")
FIGURES = ("value", "low", "high", "better_by", "better_low", "better_high")
FIELDS = ("length", "method", "passes", "measure", "texts", *FIGURES)
SHORT = (re.compile(r" (f|b)(?:or|ack)ward(?: for (?:n \w+))?"), r" \1")
"""How the page writes passes."""
SIZES = ("tokens", "words", "correct")
"""What is said of the texts themselves: the mean, the least and the most."""
MEASURES = tuple(f"{name}@{way}" for name in ("abpc", "comprehensiveness", "sufficiency") for way in WAYS)


@dataclass(frozen=True)
class Length:
    """Texts of about one length.

    Fields:
        data, split: where they are from.
        texts: how many. dear: how many of them, the first ones, are explained by methods of many passes too.
        least, most: their tokens, special ones included.  words: how many words they may have at most.
        cut: whether they are the beginnings of longer texts.
    """

    data: str
    split: str | None
    texts: int
    dear: int
    least: int
    most: int
    words: int | None = None
    cut: bool = False


LENGTHS = {
    "10": Length("sst2", "validation", 40, 24, 7, 14, words=9),
    "25": Length("sst2", "validation", 40, 16, 20, 30),
    "60": Length("imdb", None, 24, 6, 50, 70, cut=True),
    "120": Length("imdb", None, 12, 6, 105, 135, cut=True),
    "250": Length("imdb", None, 6, 0, 225, 275, cut=True),
}
EXACT = "10"
"""The length whose scores are compared with exact Shapley values."""

FEW_PASSES = (
    "attnlrp",
    "cp_lrp",
    "lrp",
    "gi",
    "input_x_gradient",
    "gim",
    "deeplift",
    "integrated_gradients:n_steps=20",
    "smoothgrad:samples=20,reduction=input",
    "sampled_attnlrp",
    "iterative_attnlrp",
    "iterative_attnlrp:by=delete",
    "lat",
    "rollout",
    "gradient_attention",
    "attcat",
    "random",
)
MANY_PASSES = {
    "decompx": 120,
    "integrated_gradients": 120,
    "leave_one_out:by=delete": 120,
    "lime:samples=200,by=delete": 120,
    "partition_shap:samples=200,by=delete": 120,
    "leave_one_out": 60,
    "lime:samples=200": 60,
    "partition_shap:samples=200": 60,
    "kernel_shap:samples=200": 60,
    "guided_shap": 60,
    "alti": 60,
    "shapley_sampling:samples=8": 25,
    "lime": 25,
    "partition_shap": 25,
    "kernel_shap": 10,
}
"""And the longest texts that they are measured on, in tokens."""
SPECS = tuple(create(spec).spec for spec in (*FEW_PASSES, *MANY_PASSES))


def seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def beginning(classifier: Classifier, text: str, length: Length) -> str:
    """The text up to the end of the sentence that is nearest the middle of the length, if one is in it."""
    middle = (length.least + length.most) / 2
    found = []
    for _, end in split_sentences(text):
        tokens = len(classifier.tokenize([text[:end]])[0].tokens)
        if tokens > length.most:
            break
        if tokens >= length.least:
            found.append((abs(tokens - middle), end))
    return text[: min(found)[1]] if found else ""


def sample(
    classifier: Classifier, length: Length, places: Mapping[str, str], seed: int
) -> Iterator[tuple[str, int | None]]:
    """Texts of the length, in an order that the seed draws, and their true classes."""
    data = EvaluationData.of_dataset(load(length.data, places[length.data]), length.split, classifier)
    for row in data.sample(None, seed):
        text = str(data.texts[row])
        if length.cut:
            text = beginning(classifier, text, length)
        if text:
            [subject] = make_subjects(classifier, [text])
            words = len(subject.units("word"))
            if length.least <= len(subject.row.tokens) <= length.most and words <= (length.words or words):
                yield text, data.labels[row]


def wanted(name: str, number: int, dear: bool) -> list[str]:
    """The methods that explain the text of this number."""
    if not dear:
        return [create(spec).spec for spec in FEW_PASSES]
    if number >= LENGTHS[name].dear:
        return []
    return [create(spec).spec for spec, most in MANY_PASSES.items() if int(name) <= most]


def judged(
    classifier: Classifier,
    judge: Classifier,
    text: str,
    label: int | None,
    methods: Sequence[Method],
    exact: bool,
) -> list[dict[str, Any]]:
    """What is found of one text, for each method.  exact: whether Shapley values are compared with."""
    [subject] = make_subjects(judge, [text], [label])
    batch = collate(classifier.tokenizer, classifier.tokenize([text]))
    unit = statistics.median([seconds(lambda: plain(classifier.model, batch.inputs)) for _ in range(4)][1:])
    truth = {}
    for way in WAYS if exact else ():
        [values] = explain(classifier, [text], "exact_shapley", target=[subject.target], by=way)
        truth[f"shapley@{way}"] = subject.unit_scores(values, "word")
    metrics = [metric for metric in resolve_metrics(MEASURES) if isinstance(metric, FaithfulnessMetric)]
    records: list[dict[str, Any]] = []
    jobs = []
    for method in methods:
        started = time.process_time()
        [explanation] = explain(classifier, [text], method, target=[subject.target])
        taken = time.process_time() - started
        scores = subject.unit_scores(explanation, "word")
        record = {"method": method.spec, "options": method.options, "correct": subject.prediction == label}
        record |= {"tokens": len(explanation.tokens), "words": len(scores), "unit": unit}
        agreement = {key: spearman(scores, values) for key, values in truth.items()}
        records.append({**record, "values": {"time": taken / unit, **agreement}})
        jobs += [metric.job(subject, explanation) for metric in metrics]
    found = iter(run(judge, jobs))
    for record in records:
        record["values"] |= {metric.name: next(found).value for metric in metrics}
    return records


def measure(args: argparse.Namespace) -> None:
    classifier = Classifier.load("builtin")
    judge = Classifier.load("builtin", dtype=args.judge)
    places = dict(pair.split("=", 1) for pair in args.data)
    known = read(args.out)
    for method in create_all([*MANY_PASSES] if args.dear else FEW_PASSES):  # none is timed that warms up
        explain(classifier, "a first text.", method)
    for name in args.lengths:
        length = LENGTHS[name]
        texts = islice(
            sample(classifier, length, places, args.seed), length.dear if args.dear else length.texts
        )
        for number, (text, label) in enumerate(texts):
            specs = [spec for spec in wanted(name, number, args.dear) if (name, number, spec) not in known]
            if not specs:
                continue
            records = judged(classifier, judge, text, label, create_all(specs), name == EXACT)
            with (args.out / f"{name}.jsonl").open("a", encoding="utf-8") as file:
                for record in records:
                    file.write(json.dumps({"data": name, "number": number, **record}) + "\n")
            print(f"{name}: {number + 1}, {time.process_time():.0f} s so far", flush=True)


def rows(found: Mapping[tuple[str, int, str], Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The table: a row for each length, method and measure."""
    for name in LENGTHS:
        by_method: dict[str, dict[int, Mapping[str, Any]]] = {}
        for (length, number, spec), record in found.items():
            if length == name:
                by_method.setdefault(spec, {})[number] = record
        for size in SIZES if by_method else ():
            values = [float(record[size]) for record in by_method[REFERENCE].values()]
            figures = (statistics.fmean(values), min(values), max(values))
            line = {"length": name, "measure": size, "texts": len(values)}
            yield line | {key: f"{figure:.3g}" for key, figure in zip(FIGURES, figures, strict=False)}
        for spec in [spec for spec in SPECS if spec in by_method]:
            records = by_method[spec]
            for kind in dict.fromkeys(key for record in records.values() for key in record["values"]):
                values = {number: record["values"][kind] for number, record in records.items()}
                yield {
                    "length": name,
                    "method": spec,
                    "passes": create(spec).passes,
                    "measure": kind,
                    "texts": len(values),
                    **(spread(values) if kind == "time" else against(values, by_method[REFERENCE], kind)),
                }


def spread(values: Mapping[int, float]) -> dict[str, str]:
    """Median and middle half."""
    low, middle, high = statistics.quantiles(values.values(), n=4)
    return {key: f"{figure:.3g}" for key, figure in zip(FIGURES, (middle, low, high), strict=False)}


def against(
    values: Mapping[int, float], reference: Mapping[int, Mapping[str, Any]], kind: str
) -> dict[str, str]:
    """Mean and interval, and those of the difference to the reference on the same texts."""
    metric = METRICS.get(kind.partition("@")[0])
    sign = -1.0 if metric is not None and not metric.higher_is_better else 1.0
    both = [number for number in values if number in reference]
    own = bootstrap([*values.values()])
    better = bootstrap([sign * (values[n] - reference[n]["values"][kind]) for n in both])
    figures = (own.mean, own.low, own.high, better.mean, better.low, better.high)
    return {key: f"{figure:.3f}" for key, figure in zip(FIGURES, figures, strict=True)}


def tables(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The tables of the page, from the rows of the file; the cheapest method stands on top."""
    cells = {(row["length"], row["method"], row["measure"]): row for row in found}
    lengths = list(dict.fromkeys(row["length"] for row in found))
    cost: dict[str, float] = {}
    for row in found:
        if row["measure"] == "time":
            cost[row["method"]] = max(cost.get(row["method"], 0.0), float(row["value"]))
    methods = [REFERENCE, *sorted(cost.keys() - {REFERENCE}, key=lambda method: (cost[method], method))]
    passes = {row["method"]: row["passes"] for row in found}

    def compared(columns: Mapping[str, tuple[str, str]]) -> str:
        """By column a length and a measure."""
        lines = [
            [f"`{spec}`", *(cell(cells.get((name, spec, kind)), spec) for name, kind in columns.values())]
            for spec in methods
        ]
        return markdown(["method", *columns], [line for line in lines if any(line[1:])])

    sizes = [
        [
            name,
            cells[name, REFERENCE, "time"]["texts"],
            cells.get((name, next(iter(MANY_PASSES)), "time"), {}).get("texts", "none"),
            *(f"{float(cells[name, '', size]['value']):.0f}" for size in SIZES[:2]),
            f"{float(cells[name, '', SIZES[2]]['value']):.0%}".replace("%", " %"),
        ]
        for name in lengths
    ]
    times = [
        [
            f"`{spec}`",
            SHORT[0].sub(SHORT[1], passes[spec]),
            *(cells.get((name, spec, "time"), {}).get("value", "") for name in lengths),
        ]
        for spec in methods
    ]
    heads = ["length", "texts", "of them by methods of many passes", "tokens", "words", "decided rightly"]
    by_way = {way: compared({f"{name} tokens": (name, f"abpc@{way}") for name in lengths}) for way in WAYS}
    return {
        "texts": markdown(heads, sizes),
        "time": markdown(["method", "passes", *(f"{name} tokens" for name in lengths)], times),
        **by_way,
        "shapley": compared(
            {
                f"words {done}": (EXACT, f"shapley@{way}")
                for way, done in zip(WAYS, ("masked", "deleted"), strict=True)
            }
        ),
    }


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    parts = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*parts, *(f"| {' | '.join(line)} |" for line in lines)])


def cell(row: Mapping[str, str] | None, method: str) -> str:
    """Of the reference its value, of others how much better they are; * where the interval leaves 0 out."""
    if row is None:
        return ""
    keys = ("value", "low", "high") if method == REFERENCE else ("better_by", "better_low", "better_high")
    value, low, high = (float(row[key]) for key in keys)
    if method == REFERENCE:
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"
    return f"{value:+.2f}{'' if low <= 0 <= high else '*'} [{low:.2f}, {high:.2f}]"


def report(args: argparse.Namespace) -> None:
    found = read(args.out)
    table = list(rows(found))
    with args.table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    lines = [{key: str(row.get(key, "")) for key in FIELDS} for row in table]
    print("\n\n".join(tables(lines).values()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=[], help="NAME=PLACE: sst2=SST2 imdb=IMDb.tar.gz")
    parser.add_argument("--lengths", nargs="+", default=[*LENGTHS], choices=[*LENGTHS])
    parser.add_argument("--dear", action="store_true", help="the methods of many passes, after the others")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the lines")
    parser.add_argument("--judge", default="float32", help="the precision of the removals")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="draws the texts")
    parser.add_argument("--report", action="store_true", help="only make the table")
    parser.add_argument("--table", type=Path, default=Path("docs/results/which-method.csv"))
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        return report(args)
    torch.set_num_threads(args.threads)
    measure(args)
    return None


if __name__ == "__main__":
    main()
