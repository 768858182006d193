#!/usr/bin/env python3
"""How far the numbers of shap, transformers-interpret and LXT are from whybert's where both compute the same.

    pip install shap transformers-interpret lxt
    python benchmarks/other_tools.py

The figures of docs/coming-from.  A tool that is not installed is left out; captum's are in the tests.  LXT is
run last: it changes the classes of transformers' Llama in this process.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import whybert

TEXT = "a charming film, but a dull plot"


def token_scores(explanation: whybert.Explanation) -> Tensor:
    return torch.tensor([token.score for token in explanation.tokens])


def shap_values() -> None:
    """The exact Shapley values of seven words, by shap's KernelExplainer and by ours; both hierarchies."""
    import shap
    from transformers import pipeline

    classifier = whybert.Classifier.load("builtin")
    text = TEXT.replace(",", "")
    words = text.split()

    def logits(sets: Any) -> Any:
        texts = [
            " ".join(word if is_kept else "[MASK]" for word, is_kept in zip(words, row, strict=True))
            for row in sets
        ]
        return np.array([found.logits[1] for found in classifier.predict(texts)])

    explainer = shap.KernelExplainer(logits, np.zeros((1, len(words))))
    theirs = explainer.shap_values(np.ones(len(words)), nsamples=1000, silent=True)
    [ours] = whybert.explain(classifier, text, "kernel_shap", target="positive")
    difference = max(abs(word.score - value) for word, value in zip(ours.words(), theirs, strict=True))
    print(f"shap {shap.__version__}, KernelExplainer: largest difference {difference:.0e}")

    pipe = pipeline("text-classification", model=classifier.model, tokenizer=classifier.tokenizer, top_k=None)
    found = shap.Explainer(pipe)([text], silent=True)
    place = list(found.output_names).index("positive")
    values = found.values[0][:, place]
    [own] = whybert.explain(classifier, text, "partition_shap", target="positive", quantity="probability")
    tokens = zip(found.data[0], values, strict=True)
    print("  Partition:", *(f"{token.strip()} {value:.3f}" for token, value in tokens if token))
    print("  ours:", *(f"{word.text} {word.score:.3f}" for word in own.words()))
    print(f"  sums {values.sum():.4f}, {sum(word.score for word in own.words()):.4f}")


def transformers_interpret_scores() -> None:
    """Integrated gradients at the words' lookup from padding, of the probability, divided by their norm."""
    from transformers_interpret import SequenceClassificationExplainer

    classifier = whybert.Classifier.load("builtin")
    model, tokenizer = classifier.model, classifier.tokenizer
    at_words = whybert.Classifier(model, tokenizer, embedding="bert.embeddings.word_embeddings")
    how: Any = {"target": "positive", "quantity": "probability", "baseline": "pad", "n_steps": 50}
    ours = token_scores(whybert.explain(at_words, TEXT, "integrated_gradients", **how)[0])
    explainer = SequenceClassificationExplainer(model, tokenizer)

    def largest() -> float:
        theirs = torch.tensor([score for _, score in explainer(TEXT, class_name="positive")])
        return float((theirs - ours / ours.norm()).abs().max())

    print(f"transformers-interpret: largest difference {largest():.0e}")

    def of_one_text(self: Any, ids: Tensor, separator: int = 0) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(ids), torch.zeros_like(ids)

    explainer._make_input_reference_token_type_pair = MethodType(of_one_text, explainer)
    print(f"  once the last [SEP] has token type 0: {largest():.0e}")


def lxt_relevance() -> None:
    """AttnLRP and CP-LRP of a small Llama of random weights, by LXT's functions put in by hand."""
    from transformers import LlamaConfig, LlamaForSequenceClassification
    from transformers.models.llama import modeling_llama as llama

    try:
        importlib.import_module("lxt.efficient")
    except ImportError as error:
        print(f"lxt.efficient does not import: {error}")
        found = importlib.util.find_spec("lxt")
        assert found is not None
        for name in ("lxt.efficient", "lxt.efficient.models"):  # without what their __init__ imports
            module = ModuleType(name)
            module.__path__ = [
                str(Path(each, *name.split(".")[1:])) for each in found.submodule_search_locations or ()
            ]
            sys.modules[name] = module
    patches = importlib.import_module("lxt.efficient.patches")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=60,
        num_key_value_heads=2,
        num_labels=3,
        pad_token_id=0,
        attn_implementation="eager",
        **sizes,
    )
    model = LlamaForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    ids = torch.randint(3, 60, (1, 9))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    ours = whybert.attribute(model, inputs, ["attnlrp", "cp_lrp"], target=1)
    eager = llama.eager_attention_forward
    llama.LlamaRMSNorm.forward = patches.rms_norm_forward
    for spec, feed_forward, attention in (
        ("attnlrp", patches.gated_mlp_forward, patches.wrap_attention_forward),
        ("cp_lrp", patches.cp_gated_mlp_forward, patches.cp_wrap_attention_forward),
    ):
        llama.LlamaMLP.forward = feed_forward
        llama.eager_attention_forward = attention(eager)
        embedding = model.get_input_embeddings()(ids).detach().requires_grad_()
        model(inputs_embeds=embedding).logits[0, 1].backward()
        theirs = (embedding * embedding.grad).sum(-1).detach()
        scores = ours[spec].scores
        difference = float((theirs - scores).abs().max() / scores.abs().max())
        print(f"lxt, {spec}: {difference:.0e} of the largest score")


TOOLS = {
    "shap": shap_values,
    "transformers_interpret": transformers_interpret_scores,
    "lxt": lxt_relevance,
}


def main() -> None:
    for name, compare in TOOLS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed")
        else:
            compare()


if __name__ == "__main__":
    main()
