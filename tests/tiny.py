"""Tiny tokenizers and models, made on the fly: random weights, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

CORPUS = [
    "the film was good and the actors were great",
    "don't you think so? a well-made film, a bad film.",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
] * 3


def wordpiece(**options: Any) -> PreTrainedTokenizerFast:
    """In the manner of BERT: lower case, [CLS] A [SEP] B [SEP], token types."""
    words = sorted({word for line in CORPUS for word in line.split()})
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz" for prefix in ("", "##")]
    listed = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"'?,.-!", *letters, *words]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(listed))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{**names, **options},
    )


def byte_level(**options: Any) -> PreTrainedTokenizerFast:
    """In the manner of RoBERTa: bytes, blanks as a part of the token that follows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return _with_angle_tokens(tokenizer, **options)


def metaspace(**options: Any) -> PreTrainedTokenizerFast:
    """In the manner of XLM-R: pieces of a unigram model, with a sign for the blank before them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=60,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return _with_angle_tokens(tokenizer, **options)


TOKENIZERS = {"wordpiece": wordpiece, "byte_level": byte_level, "metaspace": metaspace}


def _with_angle_tokens(tokenizer: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    names |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **{**names, **options}
    )


def bert_config(tokenizer: PreTrainedTokenizerFast, **options: Any) -> BertConfig:
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 40,
    }
    return BertConfig(**{**sizes, **options})


def bert(
    tokenizer: PreTrainedTokenizerFast | None = None, seed: int = 0, **options: Any
) -> BertForSequenceClassification:
    """A classifier with weights large enough that its answers differ from text to text."""
    torch.manual_seed(seed)
    config = bert_config(tokenizer or wordpiece(), initializer_range=0.3, **options)
    return BertForSequenceClassification(config).eval()


def roberta(tokenizer: PreTrainedTokenizerFast, seed: int = 0, **options: Any) -> Any:
    """The same with RoBERTa's positions, of which the first two are never a token's."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 42,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "initializer_range": 0.3,
    }
    return RobertaForSequenceClassification(RobertaConfig(**{**sizes, **options})).eval()


def save(folder: Path, model: Any, tokenizer: Any = None) -> Path:
    """Write the model, and a tokenizer if there is one, as `save_pretrained` does."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
