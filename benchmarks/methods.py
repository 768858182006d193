"""What does each method cost, in plain forward and backward passes of the same texts?

    python benchmarks/methods.py --threads 2

The unit is one plain forward pass and one plain backward pass to the output of the embedding block, weights
frozen: the built-in model, `--batch` texts of `--tokens` tokens, no padding.  The unit and a method take
turns, and a figure is the median over rounds of the ratio within the round; on a CPU it is the time of the
process, so that other work of the machine does not count.  A row of `ASKED` is a spec and what it may cost:
n steps may cost 1.1 n.

For the methods that take words away, rows of `ONLY_ASKING`, the figure is their speed: the time of the same
batches, run plainly one after another without a graph, over the time of the explanation of one text.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch

from speed import plain
from speed import seconds as seconds_on_the_wall
from whybert import Classifier, explain
from whybert.attribution import attribute_all
from whybert.encoding import collate
from whybert.methods import create

ASKED = {
    "input_x_gradient": 1.1,
    "saliency": 1.1,
    "integrated_gradients:n_steps=16": 1.1 * 16,
    "integrated_gradients": 1.1 * 50,
    "gradient_shap": 1.1 * 50,
    "smoothgrad": 1.1 * 50,
    "vargrad": 1.1 * 50,
    "sequential_ig": 1.1 * 10,
    "deeplift": 6.0,
    # A stabiliser is a product and a sum a layer; three products of matrices take the place of one.
    "epsilon": 1.5,
    "gamma": 4.0,
    "alpha_beta": 4.0,
    "mixed_lrp": 1.2,
    "libragrad": 1.2,
    "gim": 1.2,
}
A_TOKEN = ("sequential_ig",)
"""What it may cost is for each token that is no special one."""
ONLY_ASKING = {
    ("lime", 25): 0.8,
    ("lime:by=delete", 25): 0.8,
    ("partition_shap", 25): 0.8,
    ("lime:samples=200", 300): 0.8,
    ("lime:samples=200,by=delete", 300): 0.8,
}
"""Methods and the tokens of the text, and the least that their speed may be."""
WORDS = "the film is well made and the actors are good but the story does not hold together at all"


def seconds(function: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        return seconds_on_the_wall(function)
    started = time.process_time()
    function()
    return time.process_time() - started


def speed(classifier: Classifier, spec: str, tokens: int, rounds: int) -> list[float]:
    """The time of the batches that the method asks about, alone, over its own, in each round."""
    words = WORDS.split()
    text = " ".join((words * 40)[: tokens - 2])
    asked: list[dict[str, torch.Tensor]] = []
    handle = classifier.model.register_forward_pre_hook(
        lambda module, args, kwargs: asked.append(kwargs), with_kwargs=True
    )
    explain(classifier, text, spec)
    handle.remove()

    def alone() -> None:
        with torch.no_grad():
            for inputs in asked:
                classifier.model(**inputs)

    ratios = []
    for _ in range(rounds):
        before = seconds(alone)
        taken = seconds(lambda: explain(classifier, text, spec))
        ratios.append((before + seconds(alone)) / 2 / taken)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specs", nargs="*", help="default: all")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    classifier = Classifier.load("builtin")
    model = classifier.model.requires_grad_(False)
    words = WORDS.split()
    texts = [" ".join((words[row:] + words * 40)[: args.tokens - 2]) for row in range(args.batch)]
    batch = collate(classifier.tokenizer, classifier.tokenize(texts)).to(model.device)
    length = batch.inputs["input_ids"].shape[1]
    print(
        f"torch {torch.__version__}, {model.device}, {args.threads} threads, {args.batch} x {length} tokens"
    )
    for (spec, tokens), aim in ONLY_ASKING.items():
        if not args.specs or spec in args.specs:
            ratios = speed(classifier, spec, tokens, args.rounds)
            ratio = statistics.median(ratios)
            print(
                f"  {spec:36} {ratio:7.2f}  ({min(ratios):.2f} to {max(ratios):.2f}; speed on "
                f"{tokens} tokens; aim: at least {aim:.1f})"
            )
    only_asking = {spec for spec, _ in ONLY_ASKING}
    for spec in [spec for spec in args.specs or ASKED if spec not in only_asking]:
        method = create(spec)
        ratios = []
        for round_ in range(args.rounds + 1):  # the first warms up
            before = statistics.median(seconds(lambda: plain(model, batch.inputs)) for _ in range(3))
            taken = seconds(
                lambda method=method: attribute_all(
                    model, batch.inputs, [method], tokenizer=classifier.tokenizer, rows=batch.rows
                )
            )
            after = statistics.median(seconds(lambda: plain(model, batch.inputs)) for _ in range(3))
            if round_:
                ratios.append(taken / ((before + after) / 2))
        aim = ASKED.get(spec, math.inf) * (length - 2 if spec in A_TOKEN else 1)
        ratio = statistics.median(ratios)
        print(f"  {spec:36} {ratio:7.2f}  ({min(ratios):.2f} to {max(ratios):.2f}; aim: at most {aim:.1f})")


if __name__ == "__main__":
    main()
