"""What `Classifier.load` makes of folders: adapters with their bases, and folders without a classifier."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, BertModel

import models
import tiny
from whybert import STANDARD, Classifier, explain
from whybert.errors import MissingExtraError, ModelError, ModelLoadError, UsageError
from whybert.loading import load_encoder

TEXTS = ["the film was good", "don't you think so?", "bad"]
# peft asks transformers for an attribute that transformers is about to rename
pytestmark = [
    pytest.mark.usefixtures("offline"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny.wordpiece()
    return tiny.save(tmp_path_factory.mktemp("models") / "whole", tiny.bert(tokenizer), tokenizer)


def load_error(source: Path | str, **options: Any) -> str:
    with pytest.raises(ModelLoadError) as caught:
        Classifier.load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Adapters

LINEAR = ["query", "value", "attention.output.dense"]
KINDS: dict[str, Callable[..., Any]] = {
    "lora": lambda **o: peft.LoraConfig(**o, r=3, target_modules=LINEAR),
    "lora of words": lambda **o: peft.LoraConfig(**o, r=3, target_modules=["word_embeddings", "query"]),
    "dora": lambda **o: peft.LoraConfig(**o, r=3, use_dora=True, target_modules=LINEAR),
    "ia3": lambda **o: peft.IA3Config(
        **o, target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]
    ),
    "adalora": lambda **o: peft.AdaLoraConfig(**o, init_r=3, total_step=9, target_modules=LINEAR),
    "oft": lambda **o: peft.OFTConfig(**o, oft_block_size=4, target_modules=["query"]),
    "prompts": lambda **o: peft.PromptTuningConfig(**o, num_virtual_tokens=3),
    "prefixes": lambda **o: peft.PrefixTuningConfig(**o, num_virtual_tokens=3),
    "encoded prompts": lambda **o: peft.PromptEncoderConfig(**o, num_virtual_tokens=3, encoder_hidden_size=8),
}
VIRTUAL = {"prompts", "prefixes", "encoded prompts"}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """The base model: an encoder without a head."""
    tokenizer = tiny.wordpiece()
    return tiny.save(tmp_path / "encoder", tiny.bert(tokenizer).bert, tokenizer)


def adapted(base: Path, kind: str = "lora", labels: int = 3, seed: int = 1, **options: Any) -> Any:
    """A model as a training with peft leaves it: random numbers in all that is trained."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=labels, ignore_mismatched_sizes=True
        )
        model = peft.get_peft_model(model, KINDS[kind](**{"task_type": "SEQ_CLS", **options}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def adapter(encoder: Path, kind: str = "lora", **options: Any) -> Path:
    folder = encoder.parent / "adapter"
    adapted(encoder, kind, **options).save_pretrained(folder)
    return folder


def change(path: Path, **values: Any) -> None:
    """Other values in a file of JSON; None takes one out."""
    found = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


def reweigh(path: Path, of: Callable[[str], str | None]) -> None:
    """Other names for the weights; None takes one out."""
    weights = {of(name): tensor for name, tensor in load_file(path).items()}
    weights.pop(None, None)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_answers_as_in_peft(encoder: Path, kind: str) -> None:
    theirs = adapted(encoder, kind)
    theirs.save_pretrained(encoder.parent / "adapter")
    state = torch.random.get_rng_state()
    ours = Classifier.load(encoder.parent / "adapter")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert ours.name == "adapter"
    assert ours.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert ours.max_length == (37 if kind in VIRTUAL else 40)
    assert (type(ours.model).__name__ == "BertForSequenceClassification") == (kind not in VIRTUAL)
    assert ours.model.training is False
    texts = [*TEXTS, "a film " * 30]
    for text, prediction in zip(texts, ours.predict(texts), strict=True):
        inputs = ours.tokenizer(text, truncation=True, max_length=ours.max_length, return_tensors="pt")
        with torch.no_grad():
            (expected,) = theirs(**inputs).logits.tolist()
        assert prediction.logits == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_explained(encoder: Path, kind: str) -> None:
    """By all methods; where the model is peft's own, or the merged one, it is the same."""
    theirs = adapted(encoder, kind)
    theirs.save_pretrained(encoder.parent / "adapter")
    ours = Classifier.load(encoder.parent / "adapter")
    around = Classifier(theirs, ours.tokenizer)
    for method in STANDARD:
        if kind == "prefixes" and method == "lat":
            with pytest.raises(ModelError, match="prefix"):
                explain(ours, TEXTS[0], method)
            continue
        [found] = explain(ours, TEXTS[:1], method)
        try:
            [expected] = explain(around, TEXTS[:1], method)
        except ModelError:  # layers beside layers: the released LRP knows no such block
            assert method == "lrp"
            continue
        if method == "lrp" and kind not in VIRTUAL:
            continue  # its epsilon is taken once for each layer, of which there are more
        scores = [token.score for token in expected.tokens]
        assert [token.score for token in found.tokens] == pytest.approx(scores, rel=1e-3, abs=1e-5)


def test_an_adapter_in_another_data_type(encoder: Path) -> None:
    folder = adapter(encoder)
    single, double, half = (
        Classifier.load(folder, dtype=kind) for kind in ("float32", "float64", "bfloat16")
    )
    assert [each.model.dtype for each in (single, double, half)] == [
        torch.float32,
        torch.float64,
        torch.bfloat16,
    ]
    assert double.predict("bad")[0].logits == pytest.approx(single.predict("bad")[0].logits, abs=1e-5)
    for name, value in half.model.state_dict().items():  # merged in float32, and rounded once
        assert torch.equal(value, single.model.state_dict()[name].to(value.dtype)), name


def test_weights_of_an_adapter_in_a_pickle(encoder: Path, tmp_path: Path) -> None:
    folder = adapter(encoder)
    expected = Classifier.load(folder).predict(TEXTS)
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(weights, folder / "adapter_model.bin")
    assert Classifier.load(folder).predict(TEXTS) == expected

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({**weights, "x": Payload()}, folder / "adapter_model.bin")
    assert "a pickle that holds more than weights" in load_error(folder)
    assert not (tmp_path / "ran").exists()
    torch.save(list(weights.values()), folder / "adapter_model.bin")
    assert "holds no weights by name" in load_error(folder)


def test_where_the_base_model_is(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter(encoder)
    expected = Classifier.load(folder).predict(TEXTS)
    for base in ("../encoder", os.path.relpath(encoder)):
        change(folder / "adapter_config.json", base_model_name_or_path=base)
        assert Classifier.load(folder).predict(TEXTS) == expected
    shutil.copytree(encoder, folder / "base")
    change(folder / "adapter_config.json", base_model_name_or_path="base")
    assert Classifier.load(folder).predict(TEXTS) == expected
    monkeypatch.chdir(encoder.parent)
    shutil.move(folder / "base", "beside")
    change(folder / "adapter_config.json", base_model_name_or_path="beside")
    assert Classifier.load("adapter").predict(TEXTS) == expected


def on_the_hub(cache: Path, repository: str, folder: Path) -> None:
    """The folder as the hub's client keeps it once it was downloaded."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")


def test_an_adapter_and_its_base_from_the_hub(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter(encoder)
    expected = Classifier.load(folder).predict(TEXTS)
    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    change(folder / "adapter_config.json", base_model_name_or_path="nobody/base")
    assert load_error(folder).startswith(
        f"the base model of the adapter {str(folder)!r}: could not reach the"
    )
    on_the_hub(cache, "nobody/base", encoder)
    assert Classifier.load(folder).predict(TEXTS) == expected
    on_the_hub(cache, "nobody/adapter", folder)
    ours = Classifier.load("nobody/adapter")
    assert ours.name == "nobody/adapter"
    assert ours.predict(TEXTS) == expected


def test_the_tokenizer_is_the_adapters_own_where_it_has_one(encoder: Path) -> None:
    folder = adapter(encoder)
    assert len(Classifier.load(folder).tokenizer) == len(tiny.wordpiece())
    tokenizer = tiny.wordpiece(model_max_length=11)
    tokenizer.save_pretrained(folder)
    assert Classifier.load(folder).max_length == 11


def test_the_labels_of_an_adapter(encoder: Path) -> None:
    whole = tiny.bert(id2label={0: "no", 1: "maybe", 2: "yes"}, label2id={"no": 0, "maybe": 1, "yes": 2})
    base = tiny.save(encoder.parent / "whole", whole, tiny.wordpiece())
    folder = adapter(base)
    assert Classifier.load(folder).labels == ("no", "maybe", "yes")  # the base's, of which there are as many
    shutil.rmtree(folder)
    adapter(base, labels=5)
    assert Classifier.load(folder).labels == tuple(f"LABEL_{i}" for i in range(5))
    config = AutoModelForSequenceClassification.from_pretrained(base).config
    config.id2label = dict(enumerate("abcde"))
    config.save_pretrained(folder)
    assert Classifier.load(folder).labels == tuple("abcde")
    config.id2label = dict(enumerate("abcd"))
    config.save_pretrained(folder)
    assert "does not fit its base model" in load_error(folder)


def test_a_head_that_the_base_brings(encoder: Path) -> None:
    """An adapter for no task in particular keeps no head: that of the base is the model's."""
    base = tiny.save(encoder.parent / "whole", tiny.bert(num_labels=3), tiny.wordpiece())
    theirs = adapted(base, task_type=None)
    theirs.save_pretrained(encoder.parent / "adapter")
    (found,) = Classifier.load(encoder.parent / "adapter").predict("bad")
    with torch.no_grad():
        (expected,) = theirs(**tiny.wordpiece()("bad", return_tensors="pt")).logits.tolist()
    assert found.logits == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", ["deberta-v2", "modernbert", "distilbert", "roberta", "electra"])
def test_parts_of_a_head_that_peft_does_not_save(tmp_path: Path, family: str) -> None:
    """In some families a layer before the output was drawn at random for the training, and is nowhere."""
    tokenizer = tiny.wordpiece()
    config = models.configs()[family]
    config.vocab_size = len(tokenizer)
    whole = AutoModelForSequenceClassification.from_config(config)
    target = {"deberta-v2": "query_proj", "modernbert": "Wqkv", "distilbert": "q_lin"}.get(family, "query")
    for name, model in (("whole", whole), ("encoder", whole.base_model)):
        tiny.save(tmp_path / name, model, tokenizer)
        theirs = peft.get_peft_model(
            AutoModelForSequenceClassification.from_pretrained(tmp_path / name, num_labels=3),
            peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=[target], init_lora_weights=False),
        ).eval()
        theirs.save_pretrained(tmp_path / f"{name}-adapter")
        if name == "encoder" and family in ("deberta-v2", "modernbert"):
            message = load_error(tmp_path / f"{name}-adapter")
            assert re.search(r"neither the adapter .* has (pooler|head)\.", message)
            continue
        ours = Classifier.load(tmp_path / f"{name}-adapter")
        inputs = ours.tokenizer("bad", return_tensors="pt")
        if family in ("distilbert", "modernbert"):
            inputs.pop("token_type_ids")
        with torch.no_grad():
            (expected,) = theirs(**inputs).logits.tolist()
        assert ours.predict("bad")[0].logits == pytest.approx(expected, abs=1e-5)


def test_an_adapter_with_more_words_than_its_base(encoder: Path) -> None:
    tokenizer = tiny.wordpiece()
    tokenizer.add_tokens(["whybert"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model = peft.get_peft_model(model, KINDS["lora"](task_type="SEQ_CLS")).eval()
        folder = encoder.parent / "adapter"
        model.save_pretrained(folder, save_embedding_layers=True)
    tokenizer.save_pretrained(folder)
    ours = Classifier.load(folder)
    (found,) = ours.predict("bad whybert")
    with torch.no_grad():
        (expected,) = model(**tokenizer("bad whybert", return_tensors="pt")).logits.tolist()
    assert found.logits == pytest.approx(expected, abs=1e-5)


def test_an_adapter_without_peft(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter(encoder)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"the adapter .* needs .*whybert\[train\]"):
        Classifier.load(folder)


def test_an_adapter_is_no_start_of_a_fine_tuning(encoder: Path) -> None:
    folder = adapter(encoder)
    with pytest.raises(ModelLoadError, match=r"holds an adapter; save the whole model first"):
        load_encoder(str(folder), ["a", "b"])
    Classifier.load(folder).model.save_pretrained(folder / "whole")
    tiny.wordpiece().save_pretrained(folder / "whole")
    assert Classifier.load(folder / "whole").predict(TEXTS) == Classifier.load(folder).predict(TEXTS)


def without_head(name: str) -> str | None:
    return None if "classifier" in name else name


SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "settings that are no JSON": (lambda f: (f / SETTINGS).write_text("{"), "cannot be read"),
    "settings that are a list": (lambda f: (f / SETTINGS).write_text("[]"), "is not one of peft"),
    "settings of another library": (
        lambda f: (f / SETTINGS).write_text('{"architecture": "pfeiffer", "hidden_size": 16}'),
        "is not one of peft",
    ),
    "a kind of the future": (
        lambda f: change(f / SETTINGS, peft_type="TELEPATHY"),
        "'TELEPATHY'.*update peft",
    ),
    "no name of a base": (lambda f: change(f / SETTINGS, base_model_name_or_path=None), "of which model"),
    "an empty name of a base": (lambda f: change(f / SETTINGS, base_model_name_or_path=""), "of which model"),
    "a base that is nowhere": (
        lambda f: change(f / SETTINGS, base_model_name_or_path="/no/where"),
        "the base model of the adapter .*'/no/where'",
    ),
    "a base that is no name": (
        lambda f: change(f / SETTINGS, base_model_name_or_path="a b"),
        "the base model of the adapter .*no folder and no model on the hub",
    ),
    "a base that is an adapter": (
        lambda f: change(f / SETTINGS, base_model_name_or_path=str(f)),
        "is an adapter too",
    ),
    "a base without weights": (
        lambda f: (f.parent / "encoder" / "model.safetensors").unlink(),
        "the base model of the adapter .*has no weights",
    ),
    "a base of another size": (
        lambda f: tiny.save(
            f.parent / "encoder", BertModel(tiny.bert_config(tiny.wordpiece(), hidden_size=8))
        ),
        "does not fit its base model",
    ),
    "a base with fewer layers": (
        lambda f: tiny.save(
            f.parent / "encoder", BertModel(tiny.bert_config(tiny.wordpiece(), num_hidden_layers=1))
        ),
        "holds what has no place in its base model: .*layer.1",
    ),
    "a base without its pooler": (
        lambda f: tiny.save(f.parent / "encoder", BertForMaskedLM(tiny.bert_config(tiny.wordpiece()))),
        "neither the adapter .* has bert.pooler.dense.bias, bert.pooler.dense.weight: drawn at random",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no weights: neither"),
    "damaged weights": (lambda f: (f / WEIGHTS).write_bytes(b"x" * 99), "is damaged"),
    "a head that is not there": (
        lambda f: reweigh(f / WEIGHTS, without_head),
        "neither the adapter .* has classifier.bias, classifier.weight: drawn at random.*modules_to_save",
    ),
    "half of a change": (
        lambda f: reweigh(f / WEIGHTS, lambda name: None if "lora_B" in name else name),
        "lacks .*lora_B",
    ),
    "names of something else": (
        lambda f: reweigh(f / WEIGHTS, lambda name: name if "classifier" in name else name + ".x"),
        "lacks .*lora_A",
    ),
    "another rank": (lambda f: change(f / SETTINGS, r=4), "does not fit its base model"),
    "layers that the base does not have": (
        lambda f: change(f / SETTINGS, target_modules=["q_proj"]),
        "does not fit its base model.*No modules were targeted",
    ),
    "a whole model beside it": (
        lambda f: shutil.copytree(f.parent / "encoder", f, dirs_exist_ok=True),
        "both a whole model and an adapter",
    ),
    "a configuration of another family": (
        lambda f: (f / "config.json").write_text('{"model_type": "roberta"}'),
        "the base model of the adapter",
    ),
    "only slow words": (
        lambda f: [
            (f.parent / "encoder" / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")
        ],
        "has no tokenizer",
    ),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_a_broken_adapter(encoder: Path, case: str) -> None:
    folder = adapter(encoder)
    spoil, message = ADAPTERS[case]
    spoil(folder)
    with pytest.raises(ModelLoadError, match=message) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)


# Folders without a classifier

MODEL = "model.safetensors"


def renamed(name: str) -> Callable[[Path], Any]:
    """The weights under another name."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / MODEL).rename(folder / name)

    return change


def instead(*names: str, configuration: bool = True) -> Callable[[Path], Any]:
    """Other files in the place of the weights."""

    def change(folder: Path) -> None:
        (folder / MODEL).unlink()
        if not configuration:
            (folder / "config.json").unlink()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x" * 9)

    return change


def inside(*names: str) -> Callable[[Path], Any]:
    """The whole folder in others inside of it."""

    def change(folder: Path) -> None:
        files = list(folder.iterdir())
        for name in names:
            (folder / name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, folder / name)
        for file in files:
            file.unlink()

    return change


def pickled(content: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """The weights, or what is made of them, as PyTorch writes it."""

    def change(folder: Path) -> None:
        torch.save(content(load_file(folder / MODEL)), folder / "pytorch_model.bin")
        (folder / MODEL).unlink()

    return change


def configured(**values: Any) -> Callable[[Path], Any]:
    return lambda folder: change(folder / "config.json", **values)


def replaced(name: str, content: str | bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(
        content.encode("utf-8") if isinstance(content, str) else content
    )


def beside(name: str, tensor: torch.Tensor) -> Callable[[Path], Any]:
    """One more tensor among the weights."""
    return lambda folder: save_file(
        {**load_file(folder / MODEL), name: tensor}, folder / MODEL, metadata={"format": "pt"}
    )


def quantised(method: str, **values: Any) -> Callable[[Path], Any]:
    return configured(quantization_config={"quant_method": method, **values})


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 437955512\n"
QUERY = "bert.encoder.layer.0.attention.self.query"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], "is empty"),
    "TensorFlow": (instead("tf_model.h5"), r"tf_model.h5 is weights of TensorFlow.*from_tf=True"),
    "Flax": (instead("flax_model.msgpack"), r"flax_model.msgpack is weights of Flax.*from_flax=True"),
    "a checkpoint of TensorFlow": (
        instead("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", configuration=False),
        "whybert convert --tf-checkpoint-path",
    ),
    "a checkpoint of an estimator": (
        instead("model.ckpt-1000.index", "model.ckpt-1000.meta"),
        "whybert convert --tf-checkpoint-path",
    ),
    "BERT of 2019": (
        lambda f: (f / "config.json").rename(f / "bert_config.json"),
        "BERT from before config.json; whybert convert",
    ),
    "ONNX": (instead("model.onnx"), "model.onnx is an exported graph without derivatives"),
    "ONNX of optimum": (instead("onnx/model_quantized.onnx"), "exported graph without derivatives"),
    "OpenVINO": (instead("openvino_model.xml", "openvino_model.bin"), "exported graph"),
    "a SavedModel": (instead("saved_model.pb", configuration=False), "exported graph"),
    "TFLite": (instead("model.tflite"), "exported graph"),
    "GGUF": (instead("model-q4.gguf", configuration=False), "weights of llama.cpp"),
    "rust-bert": (instead("rust_model.ot"), "weights of rust-bert"),
    "Lightning": (instead("epoch=3.ckpt", configuration=False), "Lightning's.*call save_pretrained"),
    "a bare state_dict": (renamed("weights.pt"), r"weights.pt is no model.*whybert convert --pytorch"),
    "another name of weights": (renamed("bert.safetensors"), "call them model.safetensors"),
    "a variant": (renamed("model.fp16.safetensors"), "rename the file to model.safetensors"),
    "a variant in a pickle": (renamed("pytorch_model.fp16.bin"), "rename the file to pytorch_model.bin"),
    "DeepSpeed": (instead("zero_to_fp32.py", "global_step9/x.pt"), "a checkpoint of DeepSpeed"),
    "parts of several processes": (
        instead("pytorch_model_fsdp_0/__0_0.distcp"),
        "accelerate merge-weights",
    ),
    "an adapter without its settings": (instead(WEIGHTS), "no adapter_config.json"),
    "checkpoints": (
        inside("checkpoint-90", "checkpoint-1000", "checkpoint-200"),
        r"checkpoints of a training; the newest is '[^']*/checkpoint-1000'",
    ),
    "checkpoints of an adapter": (
        instead("checkpoint-5/adapter_config.json", "checkpoint-40/adapter_config.json", configuration=False),
        r"the newest is '[^']*/checkpoint-40'",
    ),
    "an adapter inside": (
        instead("other/adapter_config.json", configuration=False),
        r"pass the one inside of it: '[^']*/other'",
    ),
    "a model inside": (inside("final"), r"pass the one inside of it: '[^']*/final'"),
    "models inside": (inside("one", "two"), "has no config.json and no weights"),
    "what a training left": (
        instead("training_args.bin", "optimizer.pt", configuration=False),
        r"only what a training left \(optimizer.pt\)",
    ),
    "no configuration": (lambda f: (f / "config.json").unlink(), "has weights, but no config.json"),
    "no weights": (lambda f: (f / MODEL).unlink(), "has no weights: none of model.safetensors"),
    "a pointer to weights": (
        replaced(MODEL, POINTER),
        "no model.safetensors but only a pointer.*git lfs pull",
    ),
    "a pointer to a tokenizer": (replaced("tokenizer.json", POINTER), "no tokenizer.json but only a pointer"),
    "an index of parts that are not there": (
        lambda f: (
            (f / MODEL).unlink(),
            (f / f"{MODEL}.index.json").write_text(
                '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
            ),
        ),
        "lacks model-00002-of-00002.safetensors",
    ),
    "an index that is none": (
        lambda f: ((f / MODEL).unlink(), (f / f"{MODEL}.index.json").write_text("[]")),
        "could not be loaded|damaged",
    ),
    "a module that was saved whole": (pickled(lambda _: tiny.bert()), "more than weights"),
    "training state around": (
        pickled(lambda weights: {"state_dict": weights, "epoch": 3}),
        "none of the weights.*'state_dict'; save the state_dict itself",
    ),
    "weights in a list": (
        pickled(lambda weights: list(weights.values())),
        "the model of .* could not be loaded",
    ),
    "a page instead of weights": (replaced(MODEL, "<!doctype html><html>" * 9), "is damaged"),
    "names with module.": (
        lambda f: reweigh(f / MODEL, lambda name: f"module.{name}"),
        "begin with 'module.'.*DataParallel",
    ),
    "names of another family": (
        lambda f: reweigh(f / MODEL, lambda name: name.replace("bert.", "roberta.")),
        "incomplete|none of the weights|no classification head|begin with",
    ),
    "no head": (
        lambda f: tiny.save(f, BertModel(tiny.bert_config(tiny.wordpiece()))),
        "no classification head.*saved as BertModel",
    ),
    "a head of words that is not there": (
        lambda f: (
            tiny.save(f, BertForMaskedLM(tiny.bert_config(tiny.wordpiece()))),
            reweigh(f / MODEL, lambda name: None if "cls" in name else name),
        ),
        "cls.predictions.* missing.*saved as BertForMaskedLM",
    ),
    "an encoder of sentences": (
        lambda f: (
            tiny.save(f, BertModel(tiny.bert_config(tiny.wordpiece()))),
            (f / "modules.json").write_text("[]"),
        ),
        "no classification head.*an encoder of sentence-transformers",
    ),
    "an encoder of sentences of old": (
        lambda f: (inside("0_Transformer")(f), (f / "modules.json").write_text("[]")),
        r"sentence-transformers, which gives vectors.*'[^']*/0_Transformer'",
    ),
    "SetFit": (replaced("model_head.pkl", pickle.dumps(0)), "SetFit model, whose head is a pickle"),
    "8 bits that nobody announced": (beside(f"{QUERY}.SCB", torch.ones(16)), "query.SCB in a layer that has"),
    "scales of 8-bit floats": (beside(f"{QUERY}.weight_scale", torch.ones(1)), "they are quantised"),
    "an adapter among the weights": (
        beside(f"{QUERY}.lora_A.default.weight", torch.ones(2, 16)),
        "query.lora_A.default.weight in a layer.*or with an adapter",
    ),
    "bitsandbytes that is not there": (
        quantised("bitsandbytes", load_in_8bit=True),
        "quantised model.*bitsandbytes.*install what is missing",
    ),
    "GPTQ that is not there": (quantised("gptq", bits=4), "quantised model.*GPTQ.*before it was quantised"),
    "a kind of quantisation without a name": (
        configured(quantization_config={"bits": 4}),
        "quantised model.*quant_method",
    ),
    "quantisation that is a word": (configured(quantization_config="int8"), "the configuration of"),
    "a configuration cut short": (replaced("config.json", '{"model_type": "be'), "the configuration of"),
    "a configuration of bytes": (replaced("config.json", b"\xff\xfe\x00"), "the configuration of"),
    "a family of the future": (configured(model_type="bert9000"), "the configuration of"),
    "no family": (configured(model_type=None), "the configuration of"),
    "an image model": (
        configured(model_type="vit", architectures=["ViTModel"]),
        "could not be loaded: it is a ViTModel of the kind 'vit', of which",
    ),
    "other sizes": (configured(hidden_size=32), "do not fit its config.json"),
    "heads that do not divide": (configured(num_attention_heads=3), "could not be loaded: .*multiple"),
    "labels for another head": (
        configured(id2label={str(i): str(i) for i in range(7)}, label2id=None),
        "do not fit its config.json: classifier",
    ),
    "layers that were not saved": (configured(num_hidden_layers=3), "incomplete: bert.encoder.layer.2"),
    "no tokenizer": (
        lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        "has no tokenizer",
    ),
    "a tokenizer cut short": (replaced("tokenizer.json", '{"version": "1.0"'), "the tokenizer of"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_without_a_classifier(saved: Path, tmp_path: Path, case: str) -> None:
    """One line that says the cause.  One more is one more row."""
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    spoil, message = BROKEN[case]
    spoil(folder)
    with pytest.raises(ModelLoadError, match=message) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 700


def test_layer_norms_of_old_names_are_read(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    with torch.no_grad():
        weights = load_file(folder / MODEL)
        weights = {
            name: each + torch.rand_like(each) if "LayerNorm" in name else each
            for name, each in weights.items()
        }
    save_file(weights, folder / MODEL, metadata={"format": "pt"})
    expected = Classifier.load(folder).predict(TEXTS)

    def old(name: str) -> str:
        for new, former in names.items():
            name = name.replace(new, former)
        return name

    reweigh(folder / MODEL, old)
    assert any("gamma" in name for name in load_file(folder / MODEL))
    assert Classifier.load(folder).predict(TEXTS) == expected


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "auto", "complex64", torch.float8_e5m2, torch.complex128])
def test_types_that_no_model_runs_in(saved: Path, kind: Any) -> None:
    with pytest.raises(UsageError, match="dtype must be float32, float64, bfloat16 or float16"):
        Classifier.load(saved, dtype=kind)


def test_an_encoder_is_a_start_whose_own_weights_are_whole(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    (folder / "model_head.pkl").write_bytes(b"")  # a head is drawn anew
    load_encoder(str(folder), ["a", "b"])
    beside(f"{QUERY}.SCB", torch.ones(16))(folder)
    with pytest.raises(ModelLoadError, match=r"query.SCB in a layer that has none such: they are quantised"):
        load_encoder(str(folder), ["a", "b"])
