"""How much more than one forward and backward pass does an explanation cost?

    python benchmarks/speed.py

Every figure is a ratio within one run: the time of `whybert.attribute` over the time of the limit, a
plain forward pass of the same model and a plain backward pass to the output of the embedding block,
weights frozen; those of every class at once, and of all layers and heads, are over the time of one
explanation by attnlrp.  The limit
and the methods take turns, round by round, so that a machine that slows down slows all of them; the
figure is the median over rounds of the ratio within the round.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig, PreTrainedConfig

import whybert
from whybert.attribution import attribute
from whybert.finding import is_clear, made_known

SIZES: dict[str, tuple[type[PreTrainedConfig], dict[str, int]]] = {
    "MiniLM": (
        BertConfig,
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    # a decoder of as many weights: three matrices of a gate in the place of two
    "decoder": (
        LlamaConfig,
        {
            "vocab_size": 30522,
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1024,
            "pad_token_id": 0,
        },
    ),
    "BERT-base": (
        BertConfig,
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
}
PAPER = ("gs", "gi", "lrp", "lat")
LIMITS = {
    "gs": 1.05,
    "gi": 1.05,
    "attnlrp": 1.2,
    "cp_lrp": 1.2,
    "lrp": 3.0,
    "lat": 0.75,
    "+".join(PAPER): 3.5,
}
LABELS = 5
MORE: dict[str, tuple[dict[str, Any], float]] = {
    "every class": ({"target": "all"}, 1 + 0.6 * LABELS),
    "layers and heads": ({"layers": True, "heads": True}, 1.3),
}
"""What else is asked of attnlrp, and how often the time of one explanation by it that may take."""
POST_NORM = ("lrp", "+".join(PAPER))
"""What is for models of BERT's kind alone."""


def plain(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    """The limit: one forward pass and one backward pass to the embeddings."""
    leaf: list[torch.Tensor] = []

    def cut(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        leaf.append(output.detach().requires_grad_())
        return leaf[0]

    base = model.base_model
    handle = getattr(base, "embeddings", base.get_input_embeddings()).register_forward_hook(cut)
    logits = model(**inputs).logits
    handle.remove()
    torch.autograd.grad(logits.max(-1).values.sum(), leaf[0])


def seconds(function: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(size: str, args: argparse.Namespace, device: str) -> dict[str, float]:
    """The ratio of each method for one model size, printed as it is found."""
    torch.manual_seed(0)
    kind, sizes = SIZES[size]
    model = AutoModelForSequenceClassification.from_config(kind(**sizes, num_labels=LABELS))
    plain_model = model.eval().requires_grad_(False).to(device)
    limits = {name: asked for name, asked in LIMITS.items() if kind is BertConfig or name not in POST_NORM}
    inputs = {
        "input_ids": torch.randint(1000, 20000, (args.batch, args.tokens), device=device),
        "attention_mask": torch.ones(args.batch, args.tokens, dtype=torch.long, device=device),
    }

    # what a Classifier holds: a decoder is asked once where it embeds its words
    model = plain_model if is_clear(plain_model, lambda: inputs) else made_known(plain_model, inputs)

    def limit() -> None:
        plain(plain_model, inputs)

    def explain(name: str) -> None:
        attribute(model, inputs, name.split("+") if "+" in name else name)

    def explain_more(name: str) -> None:
        attribute(model, inputs, "attnlrp", **MORE[name][0])

    times: dict[str, list[float]] = {name: [] for name in ("limit", *limits, *MORE)}
    for round_ in range(args.rounds + 2):  # the first two warm up
        taken = {"limit": seconds(limit)}
        taken |= {name: seconds(functools.partial(explain, name)) for name in limits}
        taken |= {name: seconds(functools.partial(explain_more, name)) for name in MORE}
        # the limit stands on both sides of the methods, so that a drift within a round cancels
        taken["limit"] = (taken["limit"] + seconds(limit)) / 2
        if round_ >= 2:
            for name, value in taken.items():
                times[name].append(value)
    print(f"\n{size}: the limit takes {statistics.median(times['limit']) * 1000:.0f} ms")
    results = {}
    if model is not plain_model:
        asking = seconds(functools.partial(attribute, plain_model, inputs, "attnlrp")) - statistics.median(
            times["attnlrp"]
        )
        print(f"  asking it once takes {asking / statistics.median(times['limit']):.2f} of that more")
    for name, asked in (limits | {name: asked for name, (_, asked) in MORE.items()}).items():
        base = times["limit" if name in limits else "attnlrp"]
        ratios = sorted(t / limit for t, limit in zip(times[name], base, strict=True))
        ratio, quarter = statistics.median(ratios), len(ratios) // 4
        results[name] = round(ratio, 3)
        print(
            f"  {name:16} {ratio:5.2f}  (middle half {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}; "
            f"aim: at most {asked:.2f}: {'ok' if ratio <= asked else 'OVER'})"
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, action="append", help="default: all")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    print(
        f"whybert {whybert.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{device}, {args.threads} threads, batch {args.batch} x {args.tokens} tokens, {args.rounds} rounds"
    )
    results = {size: measure(size, args, device) for size in args.size or SIZES}
    if args.output:
        meta = {
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": args.threads,
            "device": device,
        }
        args.output.write_text(json.dumps({"ratios": results, **meta}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
