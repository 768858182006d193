#!/usr/bin/env python3
"""What the faithfulness metrics cost, and what it saves to answer them together.

    python benchmarks/evaluation.py --threads 2 --data SST2 --texts 500

The default metrics of `whybert evaluate`, or others, judge six methods on the first sentences of SST-2's
development set, with the built-in model: once as the bench does it, in parts of 8 texts whose removals are
answered together (equal inputs once, inputs of one length in one batch), and, for a few of the texts, metric
by metric, method by method and text by text.  The ratio is that of the seconds a text.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from whybert import STANDARD, Classifier, explain
from whybert.datasets import load, texts
from whybert.evaluation.bench import DEFAULT_METRICS
from whybert.evaluation.faithfulness import FaithfulnessMetric
from whybert.evaluation.metric import Subject
from whybert.evaluation.metrics import resolve_metrics
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.evaluation.walks import Job, run
from whybert.explanation import Explanation

PART = 8


def jobs_of(
    metrics: Sequence[FaithfulnessMetric], subjects: Sequence[Subject], found: dict[str, list[Explanation]]
) -> list[Job]:
    return [
        metric.job(subject, explanation)
        for metric in metrics
        for listed in found.values()
        for subject, explanation in zip(subjects, listed, strict=True)
    ]


def together(
    classifier: Classifier, metrics: Sequence[FaithfulnessMetric], wanted: list[str], labels: list[int]
) -> tuple[float, int]:
    """Seconds, explanations included, and the number of inputs that the model was asked about."""
    asked = 0

    def count(number: int) -> None:
        nonlocal asked
        asked += number

    started = time.perf_counter()
    for start in range(0, len(wanted), PART):
        part = wanted[start : start + PART]
        subjects = make_subjects(classifier, part, labels[start : start + PART])
        bounded = [m for m in metrics if m.texts is None or start < m.texts]
        run(classifier, jobs_of(bounded, subjects, explain(classifier, part, list(STANDARD))), advance=count)
    return time.perf_counter() - started, asked


def one_by_one(
    classifier: Classifier, metrics: Sequence[FaithfulnessMetric], wanted: list[str], labels: list[int]
) -> tuple[float, int]:
    """The same without anything shared."""
    asked = 0

    def count(number: int) -> None:
        nonlocal asked
        asked += number

    started = time.perf_counter()
    for text, label in zip(wanted, labels, strict=True):
        for name in STANDARD:
            for metric in metrics:
                subjects = make_subjects(classifier, [text], [label])
                found = {name: explain(classifier, [text], name)}
                run(classifier, jobs_of([metric], subjects, found), advance=count)
    return time.perf_counter() - started, asked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", required=True)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--metric", nargs="+", default=list(DEFAULT_METRICS), help="names or groups")
    parser.add_argument("--dtype", default="float32", help="of the model: float32 or bfloat16")
    parser.add_argument("--alone", type=int, default=8, help="texts that are also judged one by one")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    classifier = Classifier.load("builtin", dtype=args.dtype)
    rows = load("sst2", args.data).split("validation")
    # In the order of the file: the sentences of the development set are in no order.
    wanted = [str(text) for text in texts(rows)][: args.texts]
    labels = list(rows["label"][: args.texts])
    metrics = [m for m in resolve_metrics(args.metric) if isinstance(m, FaithfulnessMetric)]
    plain = [metric for metric in metrics if metric.texts is None]
    normalised = [metric for metric in metrics if metric.texts is not None]
    together(classifier, plain, wanted[:PART], labels[:PART])  # warm up

    seconds, asked = together(classifier, plain, wanted, labels)
    print(
        f"{len(plain)} metrics, {len(STANDARD)} methods, {len(wanted)} texts: "
        f"{seconds:.0f} s, {asked:,} inputs"
    )
    if normalised:
        count = min(normalised[0].texts or 0, len(wanted))
        more, asked_more = together(classifier, normalised, wanted[:count], labels[:count])
        print(f"naopc on {count} texts: {more:.0f} s, {asked_more:,} inputs")
        print(f"together: {seconds + more:.0f} s")
    if args.alone:
        few = slice(0, args.alone)
        shared, shared_asked = together(classifier, plain, wanted[few], labels[few])
        alone, alone_asked = one_by_one(classifier, plain, wanted[few], labels[few])
        print(
            f"{args.alone} texts one by one: {alone:.1f} s, {alone_asked:,} inputs; "
            f"together: {shared:.1f} s, {shared_asked:,} inputs; ratio {alone / shared:.1f}"
        )


if __name__ == "__main__":
    main()
