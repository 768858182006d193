"""Tiny random classifiers of every supported family, made without any download."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    RobertaPreLayerNormConfig,
    XLMRobertaConfig,
)

VOCABULARY, LABELS = 60, 3
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_labels": LABELS,
    "initializer_range": 0.2,
}
_RELATIVE: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
}


def configs(**changes: Any) -> dict[str, PreTrainedConfig]:
    """A config of each family; `changes` in BERT's own names, such as num_hidden_layers=1."""
    common = {**_COMMON, **changes}
    return {
        "bert": BertConfig(**common),
        "roberta": RobertaConfig(**common, pad_token_id=1),
        "xlm-roberta": XLMRobertaConfig(**common, pad_token_id=1),
        "camembert": CamembertConfig(**common, pad_token_id=1),
        "distilbert": DistilBertConfig(
            vocab_size=VOCABULARY,
            dim=common["hidden_size"],
            n_layers=common["num_hidden_layers"],
            n_heads=common["num_attention_heads"],
            hidden_dim=common["intermediate_size"],
            max_position_embeddings=40,
            num_labels=common["num_labels"],
            initializer_range=0.2,
        ),
        "electra": ElectraConfig(**common, embedding_size=16),
        "albert": AlbertConfig(**common, embedding_size=16, hidden_act="gelu_new"),
        "deberta": DebertaConfig(**common, **_RELATIVE, max_relative_positions=-1),
        "deberta-v2": DebertaV2Config(
            **common, **_RELATIVE, position_buckets=8, share_att_key=True, norm_rel_ebd="layer_norm"
        ),
        "mpnet": MPNetConfig(**common, pad_token_id=1),
        "modernbert": ModernBertConfig(
            **common,
            initializer_cutoff_factor=2.0,
            pad_token_id=0,
            bos_token_id=1,
            cls_token_id=1,
            eos_token_id=2,
            sep_token_id=2,
            local_attention=8,
            global_attn_every_n_layers=2,
        ),
    }


PRE_NORM = ("modernbert",)
EAGER_ONLY = ("deberta", "deberta-v2", "mpnet")
FAMILIES = tuple(configs())
CASES = [
    (family, attention)
    for family in FAMILIES
    for attention in ("sdpa", "eager")
    if attention == "eager" or family not in EAGER_ONLY
]


def make(
    family: str | PreTrainedConfig,
    attention: str = "eager",
    dtype: torch.dtype = torch.float64,
    biases: bool = True,
    **changes: Any,
) -> nn.Module:
    """A classifier with random weights, biases and LayerNorm weights included, in eval mode.

    biases: False sets every bias, LayerNorm's included, to 0.
    """
    config = configs(**changes)[family] if isinstance(family, str) else family
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
                parameter.mul_(biases)
            elif "norm" in name.lower():
                parameter.uniform_(0.5, 1.5)
    return model.to(dtype).eval()


@cache
def shared_model(family: str, attention: str = "eager", dtype: torch.dtype = torch.float64) -> nn.Module:
    """The same as `make`, made once for all tests: look, don't touch."""
    return make(family, attention, dtype)


def working_dtype(family: str, attention: str) -> torch.dtype:
    """float64, where transformers itself can.

    ModernBERT's eager attention takes its softmax in float32: a float64 mask (its lowest number stands
    for a masked key) becomes -inf there, and a row of nothing but -inf is NaN.
    """
    return torch.float32 if (family, attention) == ("modernbert", "eager") else torch.float64


def pre_norm(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A family of transformers in which LayerNorm stands before each sub-layer, with an ordinary MLP."""
    return make(RobertaPreLayerNormConfig(**_COMMON, pad_token_id=1), dtype=dtype)


class _Embeddings(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, hidden)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.words(input_ids)


class Toy(nn.Module):
    """Embeddings, `body` (batch, seq, hidden) -> the same or (batch, hidden), masked mean, linear layer."""

    def __init__(
        self, body: Callable[[Tensor], Tensor] = lambda x: x, hidden: int = 6, labels: int = 2
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.config = SimpleNamespace(id2label={i: f"LABEL_{i}" for i in range(labels)}, pad_token_id=0)
        self.embeddings = _Embeddings(hidden)
        self.dense = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, labels, bias=False)
        self.body = body
        self.double().eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        h = self.body(self.embeddings(input_ids))
        if h.dim() == 3:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            mask = mask.to(h.dtype)[:, :, None]
            h = (h * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=self.head(h))


def inputs(model: nn.Module, lengths: tuple[int, ...] = (9, 6, 4), left: bool = False) -> dict[str, Tensor]:
    """Random token ids padded to the longest row."""
    generator = torch.Generator().manual_seed(11)
    width = max(lengths)
    ids = torch.randint(5, VOCABULARY, (len(lengths), width), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, width - length :] = 1 if left else 0
        if not left:
            mask[row, :length] = 1
    ids[mask == 0] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}
