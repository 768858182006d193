#!/usr/bin/env python3
"""What the LRP of the released code is like: the figures of docs/released-lrp.md.

    python benchmarks/released_lrp.py --data SST2 --texts 872

On the first so many sentences of SST-2's development set and the built-in model: the share of all relevance
that [CLS] has, the rank correlation of token scores with those of gradients, and the sum of the signed
relevance as a share of the logit.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import spearmanr

from whybert import Classifier, explain, load_data
from whybert.datasets import texts

UNSIGNED = ("gs", "gi", "lrp", "lrp:residual=once")
SIGNED = ("lrp:reduction=sum", "lrp:residual=once,reduction=sum")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="SST2", help="the folder of SST-2")
    parser.add_argument("--texts", type=int, default=872)
    args = parser.parse_args()
    split = load_data("sst2", args.data).split("validation")
    listed = texts(split.select(range(min(args.texts, len(split)))))
    found = explain(Classifier.load("builtin"), listed, [*UNSIGNED, *SIGNED], progress=True)
    scores = {
        spec: [np.array([token.score for token in each.tokens]) for each in found[spec]] for spec in UNSIGNED
    }
    for spec in UNSIGNED:
        print(f"{spec:32} [CLS] has {np.mean([each[0] / each.sum() for each in scores[spec]]):.0%}")
    for one, other in (("lrp", "gs"), ("lrp", "gi"), ("lrp:residual=once", "gs")):
        pairs = zip(scores[one], scores[other], strict=True)
        print(
            f"{one}, {other}: rank correlation {np.mean([spearmanr(*pair).statistic for pair in pairs]):.2f}"
        )
    for spec in SIGNED:
        books = [each.completeness for each in found[spec]]
        shares = [
            each.relevance_sum / each.logit for each in books if each and each.relevance_sum is not None
        ]
        low, middle, high = np.percentile(shares, [5, 50, 95])
        print(f"{spec:32} sums to {middle:.1%} of the logit, {low:.1%} to {high:.1%} in nine of ten")


if __name__ == "__main__":
    main()
