"""Tiny random classifiers of every supported family, made without any download."""

from __future__ import annotations

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


def configs() -> dict[str, PreTrainedConfig]:
    return {
        "bert": BertConfig(**_COMMON),
        "roberta": RobertaConfig(**_COMMON, pad_token_id=1),
        "xlm-roberta": XLMRobertaConfig(**_COMMON, pad_token_id=1),
        "camembert": CamembertConfig(**_COMMON, pad_token_id=1),
        "distilbert": DistilBertConfig(
            vocab_size=VOCABULARY,
            dim=32,
            n_layers=2,
            n_heads=4,
            hidden_dim=48,
            max_position_embeddings=40,
            num_labels=LABELS,
            initializer_range=0.2,
        ),
        "electra": ElectraConfig(**_COMMON, embedding_size=16),
        "albert": AlbertConfig(**_COMMON, embedding_size=16, hidden_act="gelu_new"),
        "deberta": DebertaConfig(**_COMMON, **_RELATIVE, max_relative_positions=-1),
        "deberta-v2": DebertaV2Config(
            **_COMMON, **_RELATIVE, position_buckets=8, share_att_key=True, norm_rel_ebd="layer_norm"
        ),
        "mpnet": MPNetConfig(**_COMMON, pad_token_id=1),
        "modernbert": ModernBertConfig(
            **_COMMON,
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
    family: str | PreTrainedConfig, attention: str = "eager", dtype: torch.dtype = torch.float64, **changes: Any
) -> nn.Module:
    """A classifier with random weights, biases and LayerNorm weights included, in eval mode."""
    config = configs()[family] if isinstance(family, str) else family
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name.lower():
                parameter.uniform_(0.5, 1.5)
    return model.to(dtype).eval()


def pre_norm() -> nn.Module:
    """A family of transformers in which LayerNorm stands before each sub-layer, with an ordinary MLP."""
    return make(RobertaPreLayerNormConfig(**_COMMON, pad_token_id=1))


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
