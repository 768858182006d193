"""Checkpoints are written here as Google's code and the PyTorch code after it did, and converted.

What the converted models compute is compared with a forward pass in NumPy, written from Google's
definitions (`modeling.py` of https://github.com/google-research/bert) on the variables of the checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)

from whybert import cli
from whybert.classifier import Classifier
from whybert.conversion import Conversion, convert_pytorch, convert_tensorflow
from whybert.errors import MissingExtraError, ModelLoadError, UsageError

Variables = dict[str, np.ndarray]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNCASED = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "film", "."]
CASED = [*UNCASED, "é", "##é", "The", "##É", *LETTERS.upper(), *(f"##{letter}" for letter in LETTERS.upper())]
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
}
GOOGLE_SETTINGS = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}


# Checkpoints.


def settings(tokens: list[str], **options: Any) -> dict[str, Any]:
    return {"vocab_size": len(tokens), **SIZES, **GOOGLE_SETTINGS, **options}


def encoder_variables(tokens: list[str] = UNCASED) -> Variables:
    """Google's variables of the encoder, with weights at which every one of them matters."""
    random = np.random.default_rng(0)
    hidden, inner = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (len(tokens), hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
        "bert/embeddings/position_embeddings": (16, hidden),
        "bert/embeddings/LayerNorm/beta": (hidden,),
        "bert/embeddings/LayerNorm/gamma": (hidden,),
        "bert/pooler/dense/kernel": (hidden, hidden),
        "bert/pooler/dense/bias": (hidden,),
    }
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = f"bert/encoder/layer_{layer}"
        for name in ("query", "key", "value"):
            shapes[f"{prefix}/attention/self/{name}/kernel"] = (hidden, hidden)
            shapes[f"{prefix}/attention/self/{name}/bias"] = (hidden,)
        for name, inputs, outputs in (
            ("attention/output/dense", hidden, hidden),
            ("intermediate/dense", hidden, inner),
            ("output/dense", inner, hidden),
        ):
            shapes[f"{prefix}/{name}/kernel"] = (inputs, outputs)
            shapes[f"{prefix}/{name}/bias"] = (outputs,)
        for name in ("attention/output/LayerNorm", "output/LayerNorm"):
            shapes[f"{prefix}/{name}/beta"] = (hidden,)
            shapes[f"{prefix}/{name}/gamma"] = (hidden,)
    return {name: random.normal(0, 0.5, shape).astype("float32") for name, shape in shapes.items()}


def pretraining_variables() -> Variables:
    random, hidden = np.random.default_rng(1), SIZES["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "cls/predictions/transform/dense/kernel": (hidden, hidden),
        "cls/predictions/transform/dense/bias": (hidden,),
        "cls/predictions/transform/LayerNorm/beta": (hidden,),
        "cls/predictions/transform/LayerNorm/gamma": (hidden,),
        "cls/predictions/output_bias": (len(UNCASED),),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
    }
    return {name: random.normal(0, 0.5, shape).astype("float32") for name, shape in shapes.items()}


def classifier_variables(labels: int = 3) -> Variables:
    random = np.random.default_rng(2)
    return {
        "output_weights": random.normal(0, 0.5, (labels, SIZES["hidden_size"])).astype("float32"),
        "output_bias": random.normal(0, 0.5, labels).astype("float32"),
    }


def with_training(variables: Variables) -> Variables:
    """With what the optimizers of Google's and NVIDIA's code leave in a checkpoint."""
    slots = {f"{name}/{slot}": values for name, values in variables.items() for slot in ("adam_m", "adam_v")}
    counters = {
        "global_step": np.array(343, "int64"),
        "beta1_power": np.array(0.9, "float32"),
        "beta2_power": np.array(0.999, "float32"),
    }
    others = {
        "output_bias/AdamWeightDecayOptimizer": np.zeros(3, "float32"),
        "output_bias/AdamWeightDecayOptimizer_1": np.zeros(3, "float32"),
        "output_bias/LAMB": np.zeros(3, "float32"),
        "output_bias/LAMB_1": np.zeros(3, "float32"),
    }
    return {**variables, **slots, **counters, **others}


def write_side_files(folder: Path, tokens: list[str] = UNCASED, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bert_config.json").write_text(json.dumps(settings(tokens, **options)))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow, which writes the checkpoints, is not here")


Save = Callable[..., Path]


@pytest.fixture
def save(tensorflow: Any, tmp_path: Path) -> Save:
    """Writes a TensorFlow checkpoint with its side files, and returns its prefix."""

    def write(
        variables: Variables,
        name: str = "bert_model.ckpt",
        folder: Path | None = None,
        tokens: list[str] = UNCASED,
        shards: int = 1,
        **options: Any,
    ) -> Path:
        folder = write_side_files(folder or tmp_path / "google", tokens, **options)
        prefix, names = folder / name, sorted(variables)
        parts = [str(prefix)] if shards == 1 else [str(tmp_path / f"part{n}/x") for n in range(shards)]
        for number, part in enumerate(parts):
            own = names[number::shards]
            tensorflow.raw_ops.SaveV2(
                prefix=part,
                tensor_names=own,
                shape_and_slices=[""] * len(own),
                tensors=[tensorflow.constant(variables[each]) for each in own],
            )
        if shards > 1:
            tensorflow.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix))
        return prefix

    return write


# Google's forward pass.


def google_forward(
    variables: Variables, ids: np.ndarray, types: np.ndarray, mask: np.ndarray
) -> SimpleNamespace:
    """Hidden states (texts, tokens, hidden), pooled output, and the logits of the heads there are."""
    v = {name: values.astype("float64") for name, values in variables.items()}
    heads, layers = SIZES["num_attention_heads"], SIZES["num_hidden_layers"]
    size = SIZES["hidden_size"] // heads

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ v[f"{name}/kernel"] + v[f"{name}/bias"]

    def layer_norm(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-12) * v[f"{name}/gamma"] + v[f"{name}/beta"]

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))

    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], heads, size).transpose(0, 2, 1, 3)

    x = v["bert/embeddings/word_embeddings"][ids] + v["bert/embeddings/token_type_embeddings"][types]
    x = x + v["bert/embeddings/position_embeddings"][: ids.shape[1]]
    x = layer_norm(x, "bert/embeddings/LayerNorm")
    states = [x]
    for layer in range(layers):
        prefix = f"bert/encoder/layer_{layer}"
        query, key, value = (
            split(dense(x, f"{prefix}/attention/self/{name}")) for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(size)
        scores = scores + (1.0 - mask[:, None, None, :]) * -10000.0
        context = (softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        attended = layer_norm(
            dense(context, f"{prefix}/attention/output/dense") + x, f"{prefix}/attention/output/LayerNorm"
        )
        inner = gelu(dense(attended, f"{prefix}/intermediate/dense"))
        x = layer_norm(dense(inner, f"{prefix}/output/dense") + attended, f"{prefix}/output/LayerNorm")
        states.append(x)
    pooled = np.tanh(dense(x[:, 0], "bert/pooler/dense"))
    found = SimpleNamespace(states=states, pooled=pooled)
    if "output_weights" in v:
        found.logits = pooled @ v["output_weights"].T + v["output_bias"]
    if "cls/predictions/output_bias" in v:
        predicted = layer_norm(
            gelu(dense(x, "cls/predictions/transform/dense")), "cls/predictions/transform/LayerNorm"
        )
        found.words = predicted @ v["bert/embeddings/word_embeddings"].T + v["cls/predictions/output_bias"]
        found.next = (
            pooled @ v["cls/seq_relationship/output_weights"].T + v["cls/seq_relationship/output_bias"]
        )
    return found


def batch() -> dict[str, torch.Tensor]:
    """Two rows of 9 tokens, the second with 3 of padding, with both token types."""
    ids = torch.randint(6, len(UNCASED), (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    types = torch.tensor([[0] * 5 + [1] * 4] * 2)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


def load_without_report(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    model, info = kind.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


PRECISIONS = ((torch.float32, 1e-6), (torch.float64, 1e-12))


def check_forward(kind: Any, folder: Path, variables: Variables) -> None:
    """What the folder's model computes is what Google's definitions say."""
    inputs = batch()
    expected = google_forward(
        variables, *(inputs[name].numpy() for name in ("input_ids", "token_type_ids", "attention_mask"))
    )
    real = inputs["attention_mask"].bool()
    for dtype, tolerance in PRECISIONS:
        model = load_without_report(kind, folder, dtype)
        with torch.no_grad():
            output = model(**inputs, output_hidden_states=True)
        pairs = [
            (found[real], state[real])
            for found, state in zip(output.hidden_states, expected.states, strict=True)
        ]
        for name, wanted in (
            ("pooler_output", "pooled"),
            ("logits", "logits"),
            ("seq_relationship_logits", "next"),
        ):
            if hasattr(output, name):
                pairs.append((getattr(output, name), getattr(expected, wanted)))
        if hasattr(output, "prediction_logits"):
            pairs.append((output.prediction_logits[real], expected.words[real]))
        assert len(pairs) > len(expected.states)
        for found, wanted in pairs:
            assert found.dtype == dtype
            np.testing.assert_allclose(found.numpy(), wanted, atol=tolerance, rtol=tolerance)


def contents(folder: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}


def check_untouched(output: Path) -> None:
    """Nothing was written, not even beside the output."""
    assert not output.exists()
    assert not [each for each in output.parent.iterdir() if each.name.startswith(".whybert")]


# TensorFlow: what is converted.


def test_fine_tuned_checkpoint_computes_what_google_defines(save: Save, tmp_path: Path) -> None:
    variables = {**encoder_variables(), **classifier_variables()}
    prefix = save(with_training(variables))
    done = convert_tensorflow(prefix, tmp_path / "out", labels=["bad", "mixed", "good"])

    assert done == Conversion(
        folder=tmp_path / "out",
        architecture="BertForSequenceClassification",
        read=len(variables),
        skipped=(("counters of the training", 3), ("slots of the optimizer", 2 * len(variables) + 4)),
        labels=("bad", "mixed", "good"),
        lower_case=True,
        vocabulary_size=len(UNCASED),
    )
    assert done.skipped_count == 2 * len(variables) + 7
    check_forward(BertForSequenceClassification, done.folder, variables)

    config = json.loads((done.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "bad", "1": "mixed", "2": "good"}
    assert config["label2id"] == {"bad": 0, "mixed": 1, "good": 2}
    assert {name: config[name] for name in SIZES} == SIZES
    assert load_file(done.folder / "model.safetensors")["classifier.weight"].dtype == torch.float32

    classifier = Classifier.load(done.folder)
    assert classifier.labels == ("bad", "mixed", "good")
    assert classifier.max_length == 16
    [prediction] = classifier.predict("The film.")
    ids = np.array([[UNCASED.index(token) for token in ("[CLS]", "the", "film", ".", "[SEP]")]])
    expected = google_forward(variables, ids, np.zeros_like(ids), np.ones_like(ids)).logits[0]
    assert prediction.logits == pytest.approx(expected.tolist(), abs=1e-6)
    assert prediction.label == ("bad", "mixed", "good")[int(expected.argmax())]


def test_labels_have_their_usual_names_unless_given(save: Save, tmp_path: Path) -> None:
    prefix = save({**encoder_variables(), **classifier_variables(4)})
    done = convert_tensorflow(prefix, tmp_path / "out")
    assert done.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert Classifier.load(done.folder).labels == done.labels


def test_pretrained_checkpoint_with_its_heads(save: Save, tmp_path: Path) -> None:
    variables = {**encoder_variables(), **pretraining_variables()}
    done = convert_tensorflow(save({**variables, "global_step": np.array(1)}), tmp_path / "out")
    assert (done.architecture, done.read, done.skipped_count) == ("BertForPreTraining", len(variables), 1)
    assert done.labels == ()
    check_forward(BertForPreTraining, done.folder, variables)
    with pytest.raises(ModelLoadError, match="no classification head"):
        Classifier.load(done.folder)


def test_pretrained_checkpoint_without_heads(save: Save, tmp_path: Path) -> None:
    variables = encoder_variables()
    done = convert_tensorflow(save(variables), tmp_path / "out")
    assert (done.architecture, done.read, done.skipped) == ("BertModel", len(variables), ())
    check_forward(BertModel, done.folder, variables)


@pytest.mark.parametrize("heads", [{}, pretraining_variables()], ids=["bare", "with heads"])
def test_pretrained_folder_starts_a_fine_tuning(save: Save, tmp_path: Path, heads: Variables) -> None:
    variables = {**encoder_variables(), **heads}
    folder = convert_tensorflow(save(variables), tmp_path / "out").folder
    base = AutoModel.from_pretrained(folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=5, output_loading_info=True
    )
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    kernel = torch.from_numpy(variables["bert/encoder/layer_1/intermediate/dense/kernel"])
    assert torch.equal(base.encoder.layer[1].intermediate.dense.weight, kernel.T)
    assert torch.equal(model.bert.encoder.layer[1].intermediate.dense.weight, kernel.T)
    assert torch.equal(model.bert.pooler.dense.bias, torch.from_numpy(variables["bert/pooler/dense/bias"]))


def test_one_head_of_two_is_left_out_and_counted(save: Save, tmp_path: Path) -> None:
    heads = pretraining_variables()
    one = {name: values for name, values in heads.items() if "predictions" in name}
    done = convert_tensorflow(save({**encoder_variables(), **one}), tmp_path / "out")
    assert (done.architecture, done.skipped) == ("BertModel", (("heads of another task", 5),))


def test_more_than_nine_layers_keep_their_order(save: Save, tmp_path: Path) -> None:
    variables = encoder_variables()
    for layer in range(2, 12):
        for name in [name for name in variables if "/layer_1/" in name]:
            variables[name.replace("/layer_1/", f"/layer_{layer}/")] = np.full_like(variables[name], layer)
    prefix = save(variables, num_hidden_layers=12)
    weights = load_file(convert_tensorflow(prefix, tmp_path / "out").folder / "model.safetensors")
    for layer in range(2, 12):
        assert (weights[f"encoder.layer.{layer}.output.dense.weight"] == layer).all()


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001", None])
def test_checkpoint_by_prefix_file_or_folder(save: Save, tmp_path: Path, suffix: str | None) -> None:
    prefix = save(encoder_variables())
    place = prefix.parent if suffix is None else prefix.with_name(prefix.name + suffix)
    assert convert_tensorflow(place, tmp_path / "out").read == len(encoder_variables())


def test_folder_with_several_checkpoints_has_a_newest(save: Save, tmp_path: Path) -> None:
    variables = encoder_variables()
    prefix = save({**variables, "bert/pooler/dense/bias": np.full(8, 1, "float32")}, "model.ckpt-100")
    save({**variables, "bert/pooler/dense/bias": np.full(8, 2, "float32")}, "model.ckpt-20")
    with pytest.raises(
        ModelLoadError, match=r"expected one .* found 2 of them: model.ckpt-100, model.ckpt-20"
    ):
        convert_tensorflow(prefix.parent, tmp_path / "out")
    state = 'model_checkpoint_path: "/home/x/model.ckpt-100"\nall_model_checkpoint_paths: "model.ckpt-20"\n'
    (prefix.parent / "checkpoint").write_text(state)
    done = convert_tensorflow(prefix.parent, tmp_path / "out")
    assert (load_file(done.folder / "model.safetensors")["pooler.dense.bias"] == 1).all()


def test_shards_are_read_together_and_a_missing_one_is_named(save: Save, tmp_path: Path) -> None:
    variables = encoder_variables()
    prefix = save(variables, shards=2)
    done = convert_tensorflow(prefix, tmp_path / "out")
    check_forward(BertModel, done.folder, variables)
    prefix.with_name(f"{prefix.name}.data-00001-of-00002").unlink()
    with pytest.raises(ModelLoadError, match=r"1 of 2 files.*'bert_model.ckpt.data-00001-of-00002'"):
        convert_tensorflow(prefix, tmp_path / "other")
    check_untouched(tmp_path / "other")


def test_half_precision_is_written_as_float32(save: Save, tmp_path: Path) -> None:
    variables = {name: values.astype("float16") for name, values in encoder_variables().items()}
    done = convert_tensorflow(save(variables), tmp_path / "out")
    check_forward(BertModel, done.folder, variables)
    assert {w.dtype for w in load_file(done.folder / "model.safetensors").values()} == {torch.float32}


# The vocabulary and its letter case.


@pytest.mark.parametrize(
    ("name", "tokens", "given", "expected"),
    [
        ("uncased_L-2_H-8_A-2", UNCASED, None, True),
        ("cased_L-2_H-8_A-2", CASED, None, False),
        ("multi_cased_L-2", CASED, None, False),
        ("results", UNCASED, None, True),
        ("results", CASED, None, False),
        ("uncased_after_cased", CASED, None, False),
        ("results", [*UNCASED, *(f"word{n}" for n in range(100)), "\u2126"], None, True),
        ("results", [*UNCASED, *(f"word{n}" for n in range(100)), "\u2126", "Word"], None, False),
        ("uncased_L-2_H-8_A-2", CASED, True, True),
        ("uncased_L-2_H-8_A-2", UNCASED, False, False),
    ],
)
def test_letter_case_by_option_name_or_vocabulary(
    tmp_path: Path, name: str, tokens: list[str], given: bool | None, expected: bool
) -> None:
    path = write_state(tmp_path / name, tiny_state(tokens), tokens=tokens)
    done = convert_pytorch(path, tmp_path / "out", lower_case=given)
    assert done.lower_case is expected
    assert json.loads((done.folder / "tokenizer_config.json").read_text())["do_lower_case"] is expected


@pytest.mark.parametrize(
    ("name", "tokens", "told"),
    [("uncased_L-2", CASED, "'The'"), ("cased_L-2", UNCASED, "no token with capitals")],
)
def test_letter_case_is_not_guessed_against_the_name(
    tmp_path: Path, name: str, tokens: list[str], told: str
) -> None:
    path = write_state(tmp_path / name, tiny_state(tokens), tokens=tokens)
    with pytest.raises(UsageError, match=rf"{told}.*--do-lower-case or --no-do-lower-case"):
        convert_pytorch(path, tmp_path / "out")
    check_untouched(tmp_path / "out")


def test_tokens_are_those_of_google(tmp_path: Path) -> None:
    """Uncased: lower case without accents.  Cased: as it is.  Both: Chinese characters by themselves."""
    folders = {}
    for name, tokens in (("uncased", UNCASED), ("cased", CASED)):
        path = write_state(tmp_path / f"{name}_L-2", tiny_state(tokens), tokens=tokens)
        folders[name] = convert_pytorch(path, tmp_path / name).folder
    uncased, cased = (AutoTokenizer.from_pretrained(folders[name]) for name in ("uncased", "cased"))
    text = "The CAFÉ\x00 film.\u6c34"
    assert uncased.tokenize(text) == ["the", "c", "##a", "##f", "##e", "film", ".", "[UNK]"]
    assert cased.tokenize(text) == ["The", "C", "##A", "##F", "##É", "film", ".", "[UNK]"]
    for tokenizer in (uncased, cased):
        assert tokenizer.is_fast
        assert tokenizer.model_max_length == 16
        encoded = tokenizer("a", "b")
        assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
        assert encoded.token_type_ids == [0, 0, 0, 1, 1]
        assert tokenizer.pad_token_id == 0
        assert tokenizer.tokenize("a [MASK]") == ["a", "[MASK]"]
    assert uncased.convert_tokens_to_ids(UNCASED) == list(range(len(UNCASED)))
    assert len(uncased) == len(UNCASED)


def test_tokens_may_hold_any_white_space_but_a_line_end(tmp_path: Path) -> None:
    tokens = [*UNCASED, "\u2028", "\x85"]
    path = write_state(tmp_path / "old", tiny_state(tokens), tokens=tokens)
    (tmp_path / "old" / "vocab.txt").write_bytes("\r\n".join(["\ufeff" + tokens[0], *tokens[1:]]).encode())
    assert convert_pytorch(path, tmp_path / "out").vocabulary_size == len(tokens)


# What does not fit is named, and nothing is written.


def without(name: str) -> Variables:
    return {each: values for each, values in encoder_variables().items() if each != name}


def two_layers_and_a_half() -> Variables:
    name = "bert/encoder/layer_2/output/dense/bias"
    return {**encoder_variables(), name: np.zeros(8, "float32")}


CHECKPOINT_ERRORS: dict[str, tuple[Variables, str]] = {
    "unknown variable": (
        {**encoder_variables(), "cls/squad/output_weights": np.zeros((2, 8), "float32")},
        r"'cls/squad/output_weights', which is not one of BERT",
    ),
    "name with a sign of the table": (
        {**encoder_variables(), "bert/encoder/layer_#/output/dense/bias": np.zeros(8, "float32")},
        r"'bert/encoder/layer_#/output/dense/bias', which is not one of BERT",
    ),
    "missing parameter": (
        without("bert/encoder/layer_1/output/LayerNorm/gamma"),
        r"lacks 'bert/encoder/layer_1/output/LayerNorm/gamma', which BertModel needs",
    ),
    "missing embeddings": (
        without("bert/embeddings/word_embeddings"),
        r"lacks 'bert/embeddings/word_embeddings', which BertModel needs",
    ),
    "missing weights of the classifier": (
        {**encoder_variables(), "output_bias": np.zeros(2, "float32")},
        r"lacks 'output_weights', which BertForSequenceClassification needs",
    ),
    "more layers": (two_layers_and_a_half(), r"has 3 layers, but '.*bert_config.json' says 2"),
    "wrong shape": (
        {
            **encoder_variables(),
            "bert/encoder/layer_0/intermediate/dense/kernel": np.zeros((12, 8), "float32"),
        },
        r"'bert/encoder/layer_0/intermediate/dense/kernel' has the shape \(12, 8\), but .* \(8, 12\)",
    ),
    "not finite": (
        {**encoder_variables(), "bert/pooler/dense/bias": np.array([0.0, np.nan] * 4, "float32")},
        r"'bert/pooler/dense/bias' in .* has values that are not finite",
    ),
    "another scope": (
        {f"model/{name}": values for name, values in encoder_variables().items()},
        r"'model/bert/embeddings/LayerNorm/beta', where BERT's is 'bert/embeddings/LayerN\S+: .* renamed",
    ),
    "another model": (
        {name.replace("bert/", "electra/", 1): values for name, values in encoder_variables().items()},
        r"'electra/embeddings/LayerNorm/beta', where BERT's is 'bert/embeddings/LayerNorm/beta'",
    ),
    "object-based": (
        {"model/layer-0/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(2, "float32")},
        r"object-based checkpoint of TensorFlow 2",
    ),
    "not BERT": ({"global_step": np.array(1)}, r"has no variable of BERT"),
}


@pytest.mark.parametrize("name", CHECKPOINT_ERRORS)
def test_checkpoint_that_is_no_bert(save: Save, tmp_path: Path, name: str) -> None:
    variables, message = CHECKPOINT_ERRORS[name]
    prefix = save(variables)
    with pytest.raises(ModelLoadError, match=message) as caught:
        convert_tensorflow(prefix, tmp_path / "out")
    assert "\n" not in str(caught.value)
    check_untouched(tmp_path / "out")


def test_counts_of_missing_parameters(save: Save, tmp_path: Path) -> None:
    variables = {name: values for name, values in encoder_variables().items() if "layer_0/output" not in name}
    with pytest.raises(ModelLoadError, match=r"lacks 'bert/encoder/layer_0/output/\S+' and 3 more"):
        convert_tensorflow(save(variables), tmp_path / "out")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut short"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], id="one bit"),
    ],
)
def test_damaged_weights(save: Save, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    prefix = save(encoder_variables())
    shard = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(
        ModelLoadError, match=r"cannot be read as a TensorFlow checkpoint at bert/.*again"
    ) as caught:
        convert_tensorflow(prefix, tmp_path / "out")
    assert "\n" not in str(caught.value)
    check_untouched(tmp_path / "out")


def test_damaged_index(save: Save, tmp_path: Path) -> None:
    prefix = save(encoder_variables())
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(ModelLoadError, match="cannot be read as a TensorFlow checkpoint"):
        convert_tensorflow(prefix, tmp_path / "out")


def test_labels_that_do_not_fit(save: Save, tmp_path: Path) -> None:
    prefix = save({**encoder_variables(), **classifier_variables()})
    with pytest.raises(
        UsageError, match="expected 3 labels, as many as 'output_weights' has rows, found 2: a, b"
    ):
        convert_tensorflow(prefix, tmp_path / "out", labels=["a", "b"])
    with pytest.raises(UsageError, match="has no classifier"):
        convert_tensorflow(
            save(encoder_variables(), folder=tmp_path / "pretrained"), tmp_path / "out", labels=["a", "b"]
        )
    check_untouched(tmp_path / "out")


def test_no_checkpoint_there(tmp_path: Path) -> None:
    write_side_files(tmp_path / "google")
    with pytest.raises(ModelLoadError, match=r"no file 'bert_model.ckpt.index' in"):
        convert_tensorflow(tmp_path / "google" / "bert_model.ckpt", tmp_path / "out")
    with pytest.raises(ModelLoadError, match=r"expected one TensorFlow checkpoint in .*google', found none"):
        convert_tensorflow(tmp_path / "google", tmp_path / "out")
    (tmp_path / "google" / "bert_model.ckpt.index").touch()
    with pytest.raises(ModelLoadError, match=r"1 of 1 files .*'bert_model.ckpt.data-00000-of-00001'"):
        convert_tensorflow(tmp_path / "google", tmp_path / "out")
    with pytest.raises(ModelLoadError, match=r"there is no file .*none\.bin"):
        convert_pytorch(tmp_path / "none.bin", tmp_path / "out")
    check_untouched(tmp_path / "out")


@pytest.mark.parametrize("level", [None, "1"])
def test_without_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], level: str | None
) -> None:
    folder = write_side_files(tmp_path / "google")
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        (folder / name).touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with pytest.raises(MissingExtraError, match=r"pip install 'whybert\[tensorflow\]'"):
        convert_tensorflow(folder, tmp_path / "out")
    check_untouched(tmp_path / "out")
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level
    os.write(2, b"stderr works")
    assert capfd.readouterr().err == "stderr works"


@pytest.mark.slow
def test_tensorflow_is_silent(save: Save, tmp_path: Path) -> None:
    """In a process of its own, where it is imported for the first time."""
    prefix = save(encoder_variables())
    code = (
        "import sys\n"
        "from whybert.conversion import convert_tensorflow\n"
        "convert_tensorflow(*sys.argv[1:])\n"
        "print('stderr works', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(prefix), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("stderr works\n", "")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, r"has 2 layers, but '.*bert_config.json' says 3"),
        (
            {"intermediate_size": 13},
            r"has the shape \(12, 8\), but by '.*bert_config.json' it should have \(13, 8\)",
        ),
        ({"vocab_size": 60}, r"word_embeddings.weight' has the shape \(61, 8\), but by .* \(60, 8\)"),
        ({"num_attention_heads": 3}, r"hidden_size 8 in .* is not a multiple of num_attention_heads 3"),
        ({"num_attention_heads": None}, r"expected a whole number .* 'num_attention_heads' .* found None"),
        (
            {"hidden_size": True},
            r"expected a whole number from 1 to 16777216 as 'hidden_size' in .* found True",
        ),
        ({"intermediate_size": 10**30}, r"as 'intermediate_size' in .* found 1000"),
        ({"hidden_size": 0}, r"expected a whole number from 1 to 16777216 as 'hidden_size' in .* found 0"),
        ({"hidden_act": "gloo"}, r"hidden_act 'gloo' in .* is not an activation"),
        (
            {"hidden_dropout_prob": "much"},
            r"transformers does not take the settings of .*hidden_dropout_prob",
        ),
    ],
)
def test_configuration_that_does_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_state(tmp_path / "old", tiny_state(), **change)
    with pytest.raises(ModelLoadError, match=message) as caught:
        convert_pytorch(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    check_untouched(tmp_path / "out")


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.none())


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted({**SIZES, **GOOGLE_SETTINGS, "layer_norm_eps": 0})), value=SIMPLE)
def test_a_configuration_of_any_values(tmp_path: Path, name: str, value: Any) -> None:
    path = write_state(tmp_path / "old", tiny_state(), **{name: value})
    with contextlib.suppress(ModelLoadError):
        convert_pytorch(path, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is not JSON"),
        ("[]", r"expected an object .* found list"),
        ("[" * 100_000, r"is not JSON"),
        ("{}", r"expected a whole number from 1 to 16777216 as 'vocab_size' in .* found nothing"),
        (None, r"there is no configuration .*; pass the file bert_config.json"),
    ],
)
def test_configuration_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    config = path.with_name("bert_config.json")
    config.unlink()
    if text is not None:
        config.write_text(text)
    with pytest.raises(ModelLoadError, match=message):
        convert_pytorch(path, tmp_path / "out")
    check_untouched(tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            UNCASED[:-1],
            r"has 60 tokens, but 'bert.embeddings.word_embeddings.weight' has the shape \(61, 8\)",
        ),
        ([*UNCASED, "one", "more"], r"has 63 tokens, but"),
        ([*UNCASED[:-1], "the"], r"has 'the' in line 59 and in line 61"),
        (["x" if token == "[MASK]" else token for token in UNCASED[:6]], r"has no \[MASK\]"),
        ([], r"has no \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        (None, r"there is no vocabulary .*; pass the file vocab.txt"),
    ],
)
def test_vocabulary_that_does_not_fit(tmp_path: Path, lines: list[str] | None, message: str) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    vocabulary = path.with_name("vocab.txt")
    vocabulary.unlink()
    if lines is not None:
        vocabulary.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ModelLoadError, match=message):
        convert_pytorch(path, tmp_path / "out")
    check_untouched(tmp_path / "out")


def test_vocabulary_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    path.with_name("vocab.txt").write_bytes(b"[PAD]\n\xe9\n")
    with pytest.raises(ModelLoadError, match="is not UTF-8: byte 0xe9 at position 6"):
        convert_pytorch(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "a"], "'a' is there 2 times"),
        (["a", " ", "b"], "none of them empty"),
        ([], "there is none"),
        ("abc", "a list of names"),
    ],
)
def test_labels_that_are_no_names(tmp_path: Path, labels: Any, message: str) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    with pytest.raises(UsageError, match=message):
        convert_pytorch(path, tmp_path / "out", labels=labels)


# PyTorch state dicts.

State = dict[str, torch.Tensor]


def tiny_model(kind: Any = BertForSequenceClassification, tokens: list[str] = UNCASED) -> Any:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokens), num_labels=3, initializer_range=0.5, **SIZES)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # of which a new model has only ones and zeros
                parameter.normal_()
    return model


def tiny_state(tokens: list[str] = UNCASED) -> State:
    return dict(tiny_model(tokens=tokens).state_dict())


def write_state(folder: Path, state: Any, tokens: list[str] = UNCASED, **options: Any) -> Path:
    write_side_files(folder, tokens, **options)
    torch.save(state, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def with_old_names(state: State) -> State:
    def old(name: str) -> str:
        name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
        return re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)

    return {old(name): values for name, values in state.items()}


STATE_DICTS: dict[str, tuple[Callable[[State], Any], tuple[tuple[str, int], ...]]] = {
    "as today": (lambda state: state, ()),
    "gamma and beta": (with_old_names, ()),
    "DataParallel": (lambda state: {f"module.{name}": v for name, v in with_old_names(state).items()}, ()),
    "no prefix": (
        lambda state: {name.removeprefix("bert."): v for name, v in with_old_names(state).items()},
        (),
    ),
    "in a model": (lambda state: {"model": state}, ()),
    "in a state_dict": (
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": [1e-5]}},
        (("other entries of the training state", 2),),
    ),
    "with a buffer": (
        lambda state: {**state, "bert.embeddings.position_ids": torch.arange(16)[None]},
        (("buffers", 1),),
    ),
    "with heads of pre-training": (
        lambda state: {**dict(tiny_model(BertForPreTraining).state_dict()), **state},
        (("heads of another task", 9),),
    ),
    "parameters": (lambda state: {name: torch.nn.Parameter(v) for name, v in state.items()}, ()),
    "ordered, in double precision": (
        lambda state: {name: values.double() for name, values in reversed(state.items())},
        (),
    ),
}


@pytest.mark.parametrize("name", STATE_DICTS)
def test_pytorch_classifier(tmp_path: Path, name: str) -> None:
    change, skipped = STATE_DICTS[name]
    model = tiny_model()
    path = write_state(tmp_path / "old", change(dict(model.state_dict())))
    done = convert_pytorch(path, tmp_path / "out", labels=["a", "b", "c"])
    assert done.architecture == "BertForSequenceClassification"
    assert (done.read, done.skipped) == (len(model.state_dict()), skipped)
    assert done.labels == ("a", "b", "c")
    converted = load_without_report(BertForSequenceClassification, done.folder, torch.float32)
    with torch.no_grad():
        assert torch.equal(converted(**batch()).logits, model(**batch()).logits)
    assert Classifier.load(done.folder).labels == ("a", "b", "c")


def test_pytorch_file_in_the_format_of_2020(tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", {})
    torch.save(with_old_names(tiny_state()), path, _use_new_zipfile_serialization=False)
    assert convert_pytorch(path, tmp_path / "out").read == len(tiny_state())


def test_pytorch_encoder_without_prefix(tmp_path: Path) -> None:
    """What the conversion script of 2020 wrote of Google's checkpoints."""
    model = tiny_model(BertModel)
    path = write_state(tmp_path / "old", with_old_names(dict(model.state_dict())))
    done = convert_pytorch(path, tmp_path / "out")
    assert (done.architecture, done.labels) == ("BertModel", ())
    converted = load_without_report(BertModel, done.folder, torch.float32)
    with torch.no_grad():
        assert torch.equal(converted(**batch()).pooler_output, model(**batch()).pooler_output)


def test_pytorch_heads_of_pretraining(tmp_path: Path) -> None:
    model = tiny_model(BertForPreTraining)
    state = dict(model.state_dict())
    done = convert_pytorch(write_state(tmp_path / "old", state), tmp_path / "out")
    assert (done.architecture, done.read) == ("BertForPreTraining", len(state))
    converted = load_without_report(BertForPreTraining, done.folder, torch.float32)
    with torch.no_grad():
        assert torch.equal(converted(**batch()).prediction_logits, model(**batch()).prediction_logits)

    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    path = write_state(tmp_path / "untied", state)
    with pytest.raises(ModelLoadError, match=r"'cls.predictions.decoder.weight' in .* is not the same as"):
        convert_pytorch(path, tmp_path / "other")
    check_untouched(tmp_path / "other")


def holding_itself(depth: int) -> Any:
    outer: dict[str, Any] = {}
    inner = outer
    for _ in range(depth - 1):
        inner["state_dict"] = {}
        inner = inner["state_dict"]
    inner["model"] = outer
    return outer


STATE_ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (
        lambda: {**tiny_state(), "bert.hook.weight": torch.zeros(1)},
        r"'bert.hook.weight', which is not",
    ),
    "unknown, its own name": (
        lambda: {f"module.{name}": v for name, v in {**tiny_state(), "crf.beta": torch.zeros(1)}.items()},
        r"'module.crf.beta', which is not",
    ),
    "missing": (
        lambda: {name: v for name, v in tiny_state().items() if name != "classifier.bias"},
        r"lacks 'classifier.bias', which BertForSequenceClassification needs",
    ),
    "twice": (
        lambda: {**tiny_state(), "module.classifier.bias": torch.zeros(3)},
        r"has classifier.bias twice, as 'classifier.bias' and 'module.classifier.bias'",
    ),
    "no tensor": (
        lambda: {**tiny_state(), "note": "x"},
        r"expected only tensors .*, found str as 'note'",
    ),
    "a list": (lambda: [1, 2], r"expected a state dict in .*, found list"),
    "empty": (dict, r"expected a state dict in .*, found an empty dict"),
    "of itself": (lambda: holding_itself(1), "found a dict that holds itself"),
    "of itself in turn": (lambda: holding_itself(3), "found a dict that holds itself"),
    "complex": (
        lambda: {**tiny_state(), "classifier.bias": torch.zeros(3, dtype=torch.complex64)},
        "expected 'classifier.bias' in .* in floating point, found torch.complex64",
    ),
    "integers": (
        lambda: {**tiny_state(), "classifier.bias": torch.zeros(3, dtype=torch.int8)},
        "expected 'classifier.bias' in .* in floating point, found torch.int8",
    ),
    "sparse": (
        lambda: {**tiny_state(), "classifier.weight": torch.zeros(3, 8).to_sparse()},
        "expected 'classifier.weight' in .*torch.sparse_coo",
    ),
    "a layer of that number": (
        lambda: {**tiny_state(), f"bert.encoder.layer.{'9' * 5000}.output.dense.bias": torch.zeros(8)},
        "which is not one of BERT",
    ),
}


@pytest.mark.parametrize("name", STATE_ERRORS)
def test_state_dict_that_is_no_bert(tmp_path: Path, name: str) -> None:
    make, message = STATE_ERRORS[name]
    path = write_state(tmp_path / "old", make())
    with pytest.raises(ModelLoadError, match=message) as caught:
        convert_pytorch(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    check_untouched(tmp_path / "out")


@pytest.mark.parametrize("size", [1, 100, -100])
def test_state_dict_that_is_cut_short(tmp_path: Path, size: int) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        ModelLoadError, match=r"cannot be read as a PyTorch state dict.*copy or download"
    ) as caught:
        convert_pytorch(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    check_untouched(tmp_path / "out")


def save_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


OTHER_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a model": (
        lambda path: torch.save(tiny_model(), path),
        r"it holds transformers\.\S+\.BertForSeq.* alone",
    ),
    "arrays": (lambda path: torch.save({"a": np.ones(2)}, path), r"it holds numpy\S+, and only tensors"),
    "arguments": (
        lambda path: torch.save({"model": tiny_state(), "args": SimpleNamespace(lr=1)}, path),
        r"it holds types\.SimpleNamespace, and only tensors are read",
    ),
    "a script": (save_script, "it is a TorchScript archive"),
    "safetensors": (lambda path: safetensors.torch.save_file(tiny_state(), path), "it is a safetensors file"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "it is an HDF5 file of Keras"),
    "a pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n"),
        "it is the pointer of Git LFS",
    ),
    "a page": (lambda path: path.write_text("<!DOCTYPE html>"), "it is a web page"),
    "JSON": (lambda path: path.write_text('{"a": 1}'), "it is JSON"),
    "nothing": (lambda path: path.write_bytes(b""), "it is an empty file"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_what_a_file_is_instead_of_a_state_dict(tmp_path: Path, name: str) -> None:
    write, message = OTHER_FILES[name]
    path = write_state(tmp_path / "old", {})
    write(path)
    with pytest.raises(ModelLoadError, match=f"cannot be read as a PyTorch state dict: {message}") as caught:
        convert_pytorch(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    check_untouched(tmp_path / "out")


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "archive"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, plain: bool) -> None:
    trace = tmp_path / "it ran"
    path = write_state(tmp_path / "old", {**tiny_state(), "x": Malicious(trace)})
    if plain:
        path.write_bytes(pickle.dumps({"x": Malicious(trace)}))
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    trace.rmdir()  # it would run

    with pytest.raises(ModelLoadError, match="cannot be read as a PyTorch state dict") as caught:
        convert_pytorch(path, tmp_path / "out")
    assert not trace.exists()
    assert "\n" not in str(caught.value)


# The folder that is written.


def test_the_same_again(tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    out = tmp_path / "new" / "out"
    first = convert_pytorch(path, out)
    before = contents(out)
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    } == set(before)
    with pytest.raises(UsageError, match="is there already, from an earlier conversion; pass --overwrite"):
        convert_pytorch(path, out)
    inode = (out / "model.safetensors").stat().st_ino
    assert convert_pytorch(path, out, overwrite=True) == first
    assert contents(out) == before
    assert (out / "model.safetensors").stat().st_ino != inode
    assert [each.name for each in out.parent.iterdir()] == ["out"]

    done = convert_pytorch(path, out, labels=["x", "y", "z"], overwrite=True)
    assert Classifier.load(out).labels == done.labels == ("x", "y", "z")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["other file", "model of somebody", "conversion with a file", "file"])
def test_output_that_holds_something_else(tmp_path: Path, kind: str, overwrite: bool) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    out, name = tmp_path / "out", "notes.txt"
    if kind == "conversion with a file":
        convert_pytorch(path, out)
    elif kind == "file":
        out.write_text("text")
    else:
        out.mkdir()
    if kind == "model of somebody":
        tiny_model().save_pretrained(out)
        (out / "README.md").write_text("mine")
        name = "README.md"
    elif kind != "file":
        (out / name).write_text("mine")
    before = out.read_bytes() if kind == "file" else contents(out)
    with pytest.raises(
        UsageError, match="is a file" if kind == "file" else f"holds something else, '{name}'"
    ):
        convert_pytorch(path, out, overwrite=overwrite)
    assert (out.read_bytes() if kind == "file" else contents(out)) == before


def test_empty_output_is_used_and_a_link_is_followed(tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert convert_pytorch(path, tmp_path / "link").folder == tmp_path / "real"
    assert (tmp_path / "link").is_symlink()
    assert Classifier.load(tmp_path / "link").labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    convert_pytorch(path, tmp_path / "earlier")
    before = contents(tmp_path / "earlier")

    def fail(weights: State, place: Path, **_: Any) -> None:
        place.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="No space"):
        convert_pytorch(path, tmp_path / "out")
    check_untouched(tmp_path / "out")
    with pytest.raises(OSError, match="No space"):
        convert_pytorch(path, tmp_path / "earlier", overwrite=True)
    assert contents(tmp_path / "earlier") == before


def test_failure_to_take_the_place_keeps_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    out = tmp_path / "out"
    convert_pytorch(path, out)
    before, rename = contents(out), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(PermissionError):
        convert_pytorch(path, out, labels=["x", "y", "z"], overwrite=True)
    assert contents(out) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["old", "out"]


def test_model_card(tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", {"model": tiny_state(), "epoch": 1})
    done = convert_pytorch(path, tmp_path / "out", labels=["a", "b", "c"])
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n---\n")
    for file in (path, path.with_name("bert_config.json"), path.with_name("vocab.txt")):
        assert f"| {file.name} | {hashlib.sha256(file.read_bytes()).hexdigest()} |" in card
    assert "- architecture: BertForSequenceClassification\n" in card
    assert f"- read: {done.read} variables; left out: 1 other entries of the training state\n" in card
    assert "- labels: a, b, c\n" in card
    assert "- vocabulary: 61 tokens, lower case, accents stripped\n" in card
    assert str(tmp_path) not in card


def test_summary(tmp_path: Path) -> None:
    done = Conversion(tmp_path, "BertModel", 39, (("buffers", 1),), ("\x1b[31m",), False, 61)
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(done)
    text = console.export_text()
    for part in (
        str(tmp_path),
        "BertModel",
        "39 variables; left out: 1 buffers",
        "61 tokens, case and accents kept",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "\u241b[31m" in text


# The command.


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> SimpleNamespace:
        code = cli.run(["convert", *map(str, arguments)])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call


def test_command_converts(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    side = write_side_files(tmp_path / "side")
    (path.parent / "vocab.txt").unlink()
    (path.parent / "bert_config.json").unlink()
    done = run(
        *("--pytorch-checkpoint-path", path, "--output-dir", tmp_path / "out", "--labels", "bad, mixed,good"),
        *("--bert-config-file", side / "bert_config.json", "--vocab-file", side / "vocab.txt"),
        "--no-do-lower-case",
    )
    assert (done.code, done.err) == (0, "")
    assert re.search(r"architecture +BertForSequenceClassification\n", done.out)
    assert re.search(r"labels +bad, mixed, good\n", done.out)
    assert re.search(r"vocabulary +61 tokens, case and accents kept\n", done.out)
    assert Classifier.load(tmp_path / "out").labels == ("bad", "mixed", "good")


def test_command_of_2020(
    run: Callable[..., SimpleNamespace], save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of the original README, which names a file beside the checkpoint."""
    variables = encoder_variables()
    save(variables, folder=tmp_path / "uncased_L-12_H-768_A-12")
    monkeypatch.chdir(tmp_path)
    folder = "uncased_L-12_H-768_A-12"
    line = (
        *("--tf_checkpoint_path", f"{folder}/bert_model.ckpt"),
        *("--bert_config_file", f"{folder}/bert_config.json"),
        *("--pytorch_dump_path", f"{folder}/pytorch_model.bin"),
    )
    done = run(*line)
    assert done.code == 0
    assert done.err == (
        "a folder with model.safetensors is written instead of the file pytorch_model.bin: "
        "uncased_L-12_H-768_A-12/pytorch_model\n"
    )
    check_forward(BertModel, tmp_path / "uncased_L-12_H-768_A-12" / "pytorch_model", variables)
    again = run(*line)
    assert again.code == 2
    assert "pass --overwrite" in again.err
    assert run(*line, "--overwrite").code == 0


def test_dump_path_with_a_folder_for_itself(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    path = write_state(tmp_path / "old", tiny_state())
    line = ("--pytorch_checkpoint_path", path, "--pytorch_dump_path", tmp_path / "new" / "pytorch_model.bin")
    done = run(*line, "--do_lower_case")
    assert done.code == 0
    assert done.err.rstrip().endswith(f"pytorch_model.bin: {tmp_path / 'new'}")
    assert (tmp_path / "new" / "model.safetensors").is_file()
    assert run(*line).code == 2  # its own folder, and not another one in it
    assert not (tmp_path / "new" / "pytorch_model").exists()
    assert run(*line[:3], tmp_path / "folder").code == 0
    assert (tmp_path / "folder" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to convert"),
        (("--pytorch-checkpoint-path", "x.bin"), "no place to write to"),
        (("--pytorch-checkpoint-path", "x", "--tf-checkpoint-path", "y"), "exclude each other"),
        (
            ("--pytorch-checkpoint-path", "x", "--output-dir", "y", "--pytorch-dump-path", "z"),
            "--output-dir and --pytorch-dump-path are the same; give one",
        ),
    ],
)
def test_wrong_use(run: Callable[..., SimpleNamespace], arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_errors_are_one_line(run: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    done = run("--tf-checkpoint-path", tmp_path / "none.ckpt", "--output-dir", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: there is no TensorFlow checkpoint")
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_the_command_does_not_import_torch_before_it_runs() -> None:
    code = "import sys, whybert.cli.convert; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
