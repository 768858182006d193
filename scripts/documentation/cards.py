"""The heat maps of the cards: one sentence, explained by every method, so that the cards compare.

They are elements and no images: they wrap on a narrow screen, and name their strongest words to those who
hear them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from transformers import BertConfig, BertForMaskedLM

import whybert
from whybert.methods import METHODS, Method

SENTENCE: Final = "The plot is thin, but the cast is charming."
FIRST: Final = "## What it computes"
"""The heading that a heat map stands before."""


def generate(folder: Path) -> None:
    classifier = whybert.Classifier.load("builtin")
    with tempfile.TemporaryDirectory() as model:
        _language_model(classifier.tokenizer, model)
        for name, kind in METHODS.items():
            method: Method = kind(**({kind.given: model} if kind.given else {}))
            [found] = whybert.explain(classifier, SENTENCE, method)
            page = folder / "cards" / f"{name}.md"
            card = page.read_text(encoding="utf-8")
            page.write_text(card.replace(FIRST, f"{found._repr_html_()}\n\n{FIRST}", 1), encoding="utf-8")


def _language_model(tokenizer: Any, folder: str) -> None:
    """What a method that asks for a masked language model is given here, where there is none.

    It knows only which words are frequent, by Zipf's law: WordPiece vocabularies list them by how frequent
    they are, from "the" on.
    """
    sizes = dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), 1)
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes))
    rank = torch.arange(len(tokenizer)) - tokenizer.convert_tokens_to_ids("the") + 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.cls.predictions.bias.copy_(-rank.where(rank > 0, len(tokenizer)).float().log())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
