from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
)
from transformers.modeling_outputs import SequenceClassifierOutput

import tiny
from whybert import Explanation, attribute, builtin, explain
from whybert.classifier import Classifier, Prediction, batches
from whybert.encoding import collate
from whybert.errors import (
    PLACE,
    InputError,
    MissingExtraError,
    ModelLoadError,
    NonFiniteError,
    PaddingWarning,
    TargetError,
    UnsupportedModelError,
    UsageError,
)
from whybert.loading import load_encoder
from whybert.texts import normalise_texts

TEXTS = ["a film", "don't you think so?", "bad", "the film was good and the actors were great", "a film"]


pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny classifier; tests that change it take a copy."""
    tokenizer = tiny.wordpiece()
    return tiny.save(tmp_path_factory.mktemp("models") / "tiny-bert", tiny.bert(tokenizer), tokenizer)


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def classifier(**options) -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer, **options), tokenizer)


def load_error(source, **options) -> str:
    with pytest.raises(ModelLoadError) as caught:
        Classifier.load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Prediction


def test_predictions_are_those_of_a_plain_forward_in_the_given_order() -> None:
    ours = classifier(id2label={0: "bad", 1: "fair", 2: "good"})
    found = ours.predict(TEXTS, batch_size=2)
    assert [prediction.text for prediction in found] == TEXTS
    for text, prediction in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            logits = ours.model(**ours.tokenizer(text, return_tensors="pt")).logits[0]
        assert prediction.logits == pytest.approx(logits.tolist(), abs=1e-5)
        assert prediction.probabilities == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)
        best = int(logits.argmax())
        assert prediction.label == ("bad", "fair", "good")[best]
        assert prediction.probability == prediction.probabilities[best]
        assert prediction.truncated is False
    assert len({prediction.logits for prediction in found}) >= 4
    assert found[0].logits == pytest.approx(found[4].logits, abs=1e-5)


def test_one_text_one_pair_and_lists_of_them() -> None:
    ours = classifier()
    (one,) = ours.predict("a film")
    (pair,) = ours.predict(("a film", "bad"))
    two = ours.predict(["a film", "bad"])
    pairs = ours.predict([("a film", "bad"), ("bad", "a film")])
    assert one.logits == pytest.approx(two[0].logits, abs=1e-5)
    assert (pair.text, pair.pair) == ("a film", "bad")
    assert pair.logits == pytest.approx(pairs[0].logits, abs=1e-5)
    assert pair.logits != pytest.approx(pairs[1].logits, abs=1e-3)
    assert ours.predict([]) == []


def test_long_texts_are_cut_and_marked() -> None:
    ours = classifier()
    assert ours.max_length == 40
    long, short = ours.predict(["good " * 90, "good"])
    assert (long.truncated, short.truncated) == (True, False)
    assert long.text == "good " * 90


def test_left_padding_leaves_a_single_row_as_it_is() -> None:
    tokenizer = tiny.byte_level(padding_side="left")
    batch = collate(tokenizer, Classifier(tiny.roberta(tokenizer), tokenizer).tokenize(TEXTS))
    assert batch.inputs["attention_mask"][:, -1].tolist() == [1] * 5
    assert batch.inputs["attention_mask"][:, 0].sum().item() == 1  # the longest has no padding


def test_predicting_leaves_the_model_as_it_was() -> None:
    ours = classifier()
    before = {name: value.clone() for name, value in ours.model.state_dict().items()}
    ours.predict(TEXTS)
    assert ours.model.training is False
    assert all(parameter.requires_grad and parameter.grad is None for parameter in ours.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in ours.model.state_dict().items())


def test_train_mode_is_refused() -> None:
    ours = classifier()
    ours.model.train()
    with pytest.raises(UnsupportedModelError, match=r"train mode.*model\.eval\(\)"):
        ours.predict("a film")
    assert ours.model.training is True


def test_prediction_as_a_dictionary() -> None:
    (prediction,) = classifier().predict("a film")
    values = json.loads(json.dumps(prediction.to_dict()))
    assert list(values) == list(Prediction.__dataclass_fields__)
    assert values["probabilities"] == list(prediction.probabilities)
    with pytest.raises(AttributeError):
        prediction.label = "other"


def test_logits_that_are_not_numbers() -> None:
    ours = classifier()
    with torch.no_grad():
        ours.model.classifier.bias[0] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"logits of text 0 \('a film'\) are not finite.*classifier.bias"
    ) as caught:
        ours.predict("a film")
    assert caught.value.index == 0
    assert str(caught.value.at("line 3")).startswith("the logits of line 3 are not finite ([nan, ")


def overflowing(word: str):
    """A classifier whose logits are infinite for texts with that word."""
    ours = classifier()
    [number] = ours.tokenizer.convert_tokens_to_ids([word])
    assert number != ours.tokenizer.unk_token_id

    def overflow(module, arguments, options, output):
        output.logits[(options["input_ids"] == number).any(-1)] = math.inf
        return output

    ours.model.register_forward_hook(overflow, with_kwargs=True)
    return ours


def test_infinite_logits_are_those_of_a_text_and_not_of_a_row() -> None:
    texts = ["a", "a film", "good", "the film was", "bad"]  # the longest come first
    for ask in (Classifier.predict, explain):
        with pytest.raises(NonFiniteError, match="the logits of text 2 ") as caught:
            ask(overflowing("good"), texts, batch_size=2)
        assert caught.value.index == 2
        assert " row " not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_encoder_is_no_classifier() -> None:
    tokenizer = tiny.wordpiece()
    encoder = BertModel(tiny.bert_config(tokenizer)).eval()
    with pytest.raises(UnsupportedModelError, match=r"logits \(batch, labels\).*BertModel.*load it"):
        Classifier(encoder, tokenizer).predict("a film")


def test_a_tokenizer_with_more_tokens_than_the_model() -> None:
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer, vocab_size=len(tokenizer) - 10)
    with pytest.raises(InputError, match=r"token ids from 0 to .* does not belong to this model"):
        Classifier(model, tokenizer).predict("you")


def test_inputs_that_the_model_does_not_take_are_left_out() -> None:
    class Strict(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask)

    tokenizer = tiny.wordpiece()
    ours = Classifier(Strict(tiny.bert_config(tokenizer)).eval(), tokenizer)
    ((_, batch),) = batches(ours, ["a film"])
    assert "token_type_ids" in tokenizer("a film")
    assert sorted(batch.inputs) == ["attention_mask", "input_ids"]
    assert len(ours.predict(TEXTS)) == 5


def test_no_padding_token_means_one_by_one() -> None:
    tokenizer = tiny.wordpiece()
    ours, other = (
        Classifier(tiny.bert(tokenizer), each) for each in (tokenizer, tiny.wordpiece(pad_token=None))
    )
    assert [len(indices) for indices, _ in batches(other, TEXTS)] == [1] * 5
    assert other.predict(TEXTS) == [ours.predict(text)[0] for text in TEXTS]
    assert explain(other, TEXTS) == [explain(ours, text)[0] for text in TEXTS]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_padded_on_the_left_do_not_depend_on_their_neighbours(family: str) -> None:
    """Positions that are counted by columns would move, and the first token that is read would be padding."""
    make, tokenizer = {
        "bert": (tiny.bert, tiny.wordpiece(padding_side="left")),
        "roberta": (tiny.roberta, tiny.byte_level(padding_side="left")),
    }[family]
    ours = Classifier(make(tokenizer), tokenizer)
    assert any(len(indices) > 1 for indices, _ in batches(ours, [*TEXTS, *TEXTS]))
    for found, text in zip(ours.predict(TEXTS), TEXTS, strict=True):
        assert found.logits == pytest.approx(ours.predict(text)[0].logits, abs=1e-6)


class _Careless(BertForSequenceClassification):
    """Attends to padding."""

    def forward(self, input_ids, attention_mask=None, **inputs):
        return super().forward(input_ids)


class _Maskless(BertForSequenceClassification):
    """Takes no mask, as a module of someone's own may."""

    def forward(self, input_ids, token_type_ids=None):
        return super().forward(input_ids, token_type_ids=token_type_ids)


class _Mean(BertForSequenceClassification):
    """Heeds the mask in attention, and not in the mean over all positions."""

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(states.mean(1)))


class _Leaking(BertForSequenceClassification):
    """Reads of padding less than is seen by asking it."""

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        output = self.bert(input_ids, attention_mask=attention_mask)
        leak = 1e-6 * output.last_hidden_state.sum(1)
        return SequenceClassifierOutput(logits=self.classifier(output.pooler_output + leak))


@pytest.mark.parametrize("kind", [_Careless, _Maskless, _Mean, BertForSequenceClassification])
@pytest.mark.parametrize("long", ["truncate", "windows"])
def test_what_is_said_of_a_text_does_not_depend_on_its_neighbours(kind: Any, long: str) -> None:
    """Where a model reads padding, only texts of one length share a batch."""
    tokenizer = tiny.wordpiece()
    torch.manual_seed(0)
    model = kind(tiny.bert_config(tokenizer, initializer_range=0.3)).double().eval()
    ours = Classifier(model, tokenizer, max_length=9)
    assert ours.reads_padding == (kind is not BertForSequenceClassification)
    texts = [*TEXTS, "a", "a film", "b film", "a film " * 12]
    predicted = ours.predict(texts, long=long)
    for method in ("gs", "gi:reduction=sum", "cp_lrp"):
        for text, said, found in zip(texts, predicted, explain(ours, texts, method, long=long), strict=True):
            [one] = explain(ours, text, method, long=long, batch_size=1)
            assert said.logits == pytest.approx(one.logits)
            assert found.logits == pytest.approx(one.logits)
            assert found.scores == pytest.approx(one.scores)


def test_padding_that_is_read_all_the_same_is_warned_about() -> None:
    tokenizer = tiny.wordpiece()
    leaking = Classifier(_Leaking(tiny.bert(tokenizer).config).eval(), tokenizer)
    for method in ("gs", "attnlrp"):
        with pytest.warns(PaddingWarning, match="_Leaking reads padding.*batch_size=1"):
            explain(leaking, TEXTS, method)
        explain(leaking, TEXTS, method, batch_size=1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [1, 2, None])
def test_a_decoder_reads_its_answer_at_the_last_token_of_each_text(side: str, pad: int | None) -> None:
    """Whatever its config takes for padding; where it takes nothing, texts are answered one by one."""
    tokenizer = tiny.byte_level(padding_side=side)
    assert tokenizer.pad_token_id == 1
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=40,
        initializer_range=0.3,
        pad_token_id=pad,
    )
    ours = Classifier(LlamaForSequenceClassification(config).eval(), tokenizer)
    expected = [ours.predict(text)[0].logits for text in TEXTS]
    for prediction, logits in zip(ours.predict(TEXTS), expected, strict=True):
        assert prediction.logits == pytest.approx(logits, abs=1e-5)


def test_left_padding_of_ones_own_is_warned_about() -> None:
    tokenizer = tiny.wordpiece(padding_side="left")
    inputs = tokenizer(["a film", "a"], padding=True, return_tensors="pt")
    with pytest.warns(PaddingWarning, match=r"padded on the left.*pad on the right"):
        attribute(tiny.bert(tokenizer), inputs, "gi")
    inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    attribute(tiny.bert(tokenizer), inputs, "gi")


# Probabilities


def test_probabilities_by_problem_type() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    expected = {
        None: logits.softmax(-1),
        "single_label_classification": logits.softmax(-1),
        "multi_label_classification": logits.sigmoid(),
        "regression": logits,
    }
    for kind, probabilities in expected.items():
        ours = classifier(num_labels=3, problem_type=kind)
        assert torch.equal(ours.probabilities(logits), probabilities)
        said = Classifier(classifier(num_labels=3).model, ours.tokenizer, problem_type=kind)
        assert torch.equal(said.probabilities(logits), probabilities)


@pytest.mark.parametrize(("outputs", "kind"), [(1, None), (1, "regression"), (3, "regression")])
def test_a_regression_answers_a_number(outputs: int, kind: str | None) -> None:
    names = {index: f"score{index}" for index in range(outputs)}
    ours = classifier(num_labels=outputs, problem_type=kind, id2label=names)
    with torch.no_grad():
        ours.model.classifier.bias[-1] += 40.0  # far from what a probability could be
    (prediction,), (explanation,) = ours.predict("a film"), explain(ours, "a film")
    with torch.no_grad():
        number = ours.model(**ours.tokenizer("a film", return_tensors="pt")).logits[0, -1].item()
    assert number > 20
    assert prediction.label == explanation.prediction == names[outputs - 1]
    assert prediction.answer == explanation.answer == pytest.approx(number)
    assert (prediction.probability, prediction.probabilities) == (None, ())
    assert (explanation.probability, explanation.probabilities) == (None, ())
    assert Explanation.from_dict(json.loads(json.dumps(explanation.to_dict()))) == explanation
    shown = f"{names[outputs - 1]} {number:.3f}"
    console = Console(width=100, file=io.StringIO())
    console.print(explanation)
    for output in (explanation.to_html(), explanation.to_latex(), console.file.getvalue()):
        assert shown in output
        assert f"raises {names[outputs - 1]}" in output
        assert "supports" not in output


def test_a_single_output_of_a_multi_label_model_is_a_probability() -> None:
    ours = classifier(num_labels=1, problem_type="multi_label_classification", id2label={0: "score"})
    (prediction,) = ours.predict("a film")
    assert prediction.label == "score"
    assert prediction.probability == pytest.approx(1 / (1 + math.exp(-prediction.logits[0])))


# Labels


def test_labels_of_one_name_are_told_apart_by_their_index() -> None:
    ours = classifier(num_labels=3, id2label={0: "other", 1: "sport", 2: "other"})
    with torch.no_grad():
        ours.model.classifier.bias[2] += 40.0
    (prediction,), (explanation,) = ours.predict("a film"), explain(ours, "a film")
    assert (prediction.label, prediction.predicted, explanation.predicted) == ("other", 2, 2)
    assert prediction.probability == explanation.probability == prediction.probabilities[2] > 0.99
    assert prediction.to_dict()["predicted"] == explanation.to_dict()["predicted"] == 2
    assert "other (2) 1.000" in explanation.to_html()
    assert "target" not in repr(explanation)
    (first,) = explain(ours, "a film", target=0)
    assert "target other (0)" in first.to_html()
    with pytest.raises(TargetError, match=r"'other' names 2 labels: 0 .* 2 .*give the index"):
        explain(ours, "a film", target="other")


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({0: "a", 1: "b"}, ("a", "b", "LABEL_2")),
        ({1: "a", 2: "b", 3: "c"}, ("a", "b", "c")),
        ({0: "a", 1: "b", 2: "c", 3: "d"}, ("a", "b", "c")),
        ({2: "c"}, ("LABEL_0", "LABEL_1", "c")),
        ({"0": "a", "x": "b"}, ("a", "LABEL_1", "LABEL_2")),
        (["a", "b", "c"], ("a", "b", "c")),
        ({}, ("LABEL_0", "LABEL_1", "LABEL_2")),
    ],
)
def test_labels_are_those_of_the_head(given: object, labels: tuple[str, ...]) -> None:
    ours = classifier(num_labels=3)
    ours.model.config.__dict__["id2label"] = given
    again = Classifier(ours.model, ours.tokenizer)
    assert again.labels == labels
    for index in range(3):
        (explanation,) = explain(again, "a film", target=index)
        assert (explanation.labels, explanation.target.label) == (labels, labels[index])
    assert again.predict("a film")[0].label == explanation.prediction


def test_a_new_head_says_how_many_labels_there_are() -> None:
    ours = classifier(num_labels=2)
    ours.model.classifier = torch.nn.Linear(ours.model.config.hidden_size, 5)
    assert Classifier(ours.model, ours.tokenizer).labels == (*ours.labels, "LABEL_2", "LABEL_3", "LABEL_4")
    for ask in (Classifier.predict, explain):  # one that was made before
        with pytest.raises(UnsupportedModelError, match="expected one logit for each of the labels"):
            ask(ours, "a film")


def test_multi_label() -> None:
    ours = classifier(num_labels=3, problem_type="multi_label_classification")
    (prediction,) = ours.predict("a film")
    assert prediction.probabilities == pytest.approx([1 / (1 + math.exp(-x)) for x in prediction.logits])
    assert prediction.probability == max(prediction.probabilities)


# Texts and batches


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", (["a"], True)),
        (("a", "b"), ([("a", "b")], True)),
        (["a", "b"], (["a", "b"], False)),
        ([("a", "b")], ([("a", "b")], False)),
        ([], ([], False)),
    ],
)
def test_normalise_texts(given, expected) -> None:
    assert normalise_texts(given) == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "not NoneType"),
        (b"a", "not bytes"),
        (3, "not int"),
        ({"a": 1}, "not dict"),
        ({"a"}, "not set"),
        (("a", "b", "c"), "tuple of 3"),
        (("a", 2), "second part of text 0 must be a str, not int"),
        (["a", 2], "text 1 must be"),
        ([["a", "b"]], "text 0 must be a str or a tuple of two, not list"),
        (["a", " "], "text 1 is empty"),
        ("", "text 0 is empty"),
    ],
)
def test_texts_of_another_kind(bad, message: str) -> None:
    with pytest.raises(InputError, match=message):
        normalise_texts(bad)


def test_batches_are_sorted_by_length_and_hold_each_text_once() -> None:
    ours = classifier()
    found = list(batches(ours, TEXTS, batch_size=2))
    assert [indices for indices, _ in found] == [(1, 3), (0, 4), (2,)]
    for indices, batch in found:
        assert [row.text for row in batch.rows] == [TEXTS[index] for index in indices]
    assert found[1][1].inputs["attention_mask"].all()
    assert list(batches(ours, [])) == []


def test_each_text_is_tokenized_once() -> None:
    ours = classifier()
    assert not ours.reads_padding  # which is asked once, about texts of its own
    calls = []
    plain = ours.tokenizer.__class__.__call__

    class Counting(ours.tokenizer.__class__):
        def __call__(self, texts, *args, **options):
            calls.extend(texts)
            return plain(self, texts, *args, **options)

    ours.tokenizer.__class__ = Counting
    ours.predict(TEXTS, batch_size=2)
    assert calls == TEXTS


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "2"])
def test_batch_size(size) -> None:
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1"):
        classifier().predict(TEXTS, batch_size=size)


# Construction


@pytest.mark.parametrize(
    ("id2label", "labels"),
    [
        ({0: "no", 1: "yes"}, ("no", "yes")),
        ({1: "yes", 0: "no"}, ("no", "yes")),
        ({"0": "no", "1": "yes"}, ("no", "yes")),
        ({1: "yes"}, ("LABEL_0", "yes")),
        ({"2": "c", "0": "a"}, ("a", "LABEL_1")),
    ],
)
def test_labels(id2label, labels: tuple[str, ...]) -> None:
    ours = classifier()
    ours.model.config.__dict__["id2label"] = id2label
    assert Classifier(ours.model, ours.tokenizer).labels == labels


def test_attributes_and_what_cannot_be_a_classifier() -> None:
    ours = classifier()
    assert ours.name == "BertForSequenceClassification"
    assert len(repr(ours)) < 200
    assert ours.labels == ("LABEL_0", "LABEL_1")
    with pytest.raises(AttributeError):
        ours.max_length = 3
    with pytest.raises(UnsupportedModelError, match=r"not DataParallel.*model.module"):
        Classifier(torch.nn.DataParallel(ours.model), ours.tokenizer)
    with pytest.raises(UnsupportedModelError, match="not str"):
        Classifier("bert", ours.tokenizer)


def test_positions_that_a_model_reserves_for_padding() -> None:
    tokenizer = tiny.byte_level()
    model = tiny.roberta(tokenizer)
    ours = Classifier(model, tokenizer)
    assert model.config.max_position_embeddings == 42
    assert ours.max_length == 40
    (prediction,) = ours.predict("a film " * 60)  # the 41st token would have no position
    assert prediction.truncated is True
    assert Classifier(model, tokenizer, 7).max_length == 7
    assert Classifier(model, tokenizer, 40).max_length == 40
    with pytest.raises(InputError, match="at most 40, the positions of the model, not 41"):
        Classifier(model, tokenizer, 41)


# Loading


def test_load_a_folder(saved: Path) -> None:
    ours = Classifier.load(saved)
    assert ours.name == "tiny-bert"
    assert ours.model.training is False
    assert ours.model.device.type == "cpu"
    assert ours.max_length == 40
    expected = Classifier(tiny.bert(), tiny.wordpiece()).predict(TEXTS)
    assert Classifier.load(str(saved)).predict(TEXTS) == expected
    assert Classifier.load(saved, max_length=9).max_length == 9


def test_weights_are_float32_unless_asked_otherwise(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "half", tiny.bert().half(), tiny.wordpiece())
    assert Classifier.load(folder).model.dtype == torch.float32
    assert Classifier.load(folder, dtype="float64").model.dtype == torch.float64
    assert Classifier.load(folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["int8", "nn", "float33", torch.int64, 3])
def test_no_such_dtype(saved: Path, dtype) -> None:
    with pytest.raises(UsageError, match="dtype must be float32"):
        Classifier.load(saved, dtype=dtype)


@pytest.mark.parametrize("device", ["warp", "meta", "cuda:99", 3.5])
def test_no_such_device(saved: Path, device) -> None:
    with pytest.raises(UsageError, match="use device='cpu'") as caught:
        Classifier.load(saved, device=device)
    assert "\n" not in str(caught.value)


def test_loading_says_nothing_and_leaves_the_settings(saved: Path, tmp_path: Path, capfd) -> None:
    headless = tiny.save(
        tmp_path / "encoder", BertModel(tiny.bert_config(tiny.wordpiece())), tiny.wordpiece()
    )
    capfd.readouterr()
    log = transformers.utils.logging
    verbosity = log.get_verbosity()
    hub_verbosity = huggingface_hub.utils.logging.get_verbosity()
    log.enable_progress_bar()  # conftest.py switches it off
    log.set_verbosity_info()
    try:
        Classifier.load(saved)
        load_error(headless)
        assert log.get_verbosity() == transformers.logging.INFO
    finally:
        log.set_verbosity(verbosity)
    assert capfd.readouterr() == ("", "")
    assert log.is_progress_bar_enabled()
    assert not huggingface_hub.utils.are_progress_bars_disabled()
    assert huggingface_hub.utils.logging.get_verbosity() == hub_verbosity


def test_progress_bars_that_were_off_stay_off(saved: Path) -> None:
    log = transformers.utils.logging
    log.disable_progress_bar()
    try:
        Classifier.load(saved)
        assert not log.is_progress_bar_enabled()
        assert huggingface_hub.utils.are_progress_bars_disabled()
    finally:
        log.enable_progress_bar()


@pytest.mark.parametrize(
    "source", ["./nowhere", "/no/where", "~/no-where-at-all", "a/b/c", "a/", "", Path("nowhere")]
)
def test_no_such_folder(source) -> None:
    assert "there is no folder" in load_error(source)


@pytest.mark.parametrize("source", ["builtins", "buildin", "Builtin", "BUILT-IN", "built_in", "bulitin"])
def test_a_misspelt_builtin_is_not_looked_for_on_the_hub(source: str, monkeypatch) -> None:
    monkeypatch.setattr("whybert.loading.AutoConfig", None)
    assert load_error(source) == f"there is no folder {source!r}; did you mean 'builtin'?"


def test_a_file_is_no_folder(saved: Path) -> None:
    assert "is a file; pass the folder" in load_error(saved / "config.json")


def test_wrong_use(saved: Path) -> None:
    with pytest.raises(UsageError, match=r"Classifier\(model, tokenizer\)"):
        Classifier.load(tiny.bert())
    with pytest.raises(UsageError, match="revision is for models on the hub"):
        Classifier.load(saved, revision="main")


def test_a_folder_without_configuration(copied: Path) -> None:
    (copied / "config.json").unlink()
    assert "has weights, but no config.json" in load_error(copied)
    (copied / "adapter_config.json").write_text("{}")
    assert "holds both a whole model and an adapter" in load_error(copied)


@pytest.mark.parametrize("text", ["{", "{}", '{"model_type": "zork"}', '{"model_type": "clip"}', "[]"])
def test_a_configuration_that_is_none(copied: Path, text: str) -> None:
    (copied / "config.json").write_text(text)
    message = load_error(copied)
    assert "could not be loaded" in message
    assert len(message) < 600


def test_a_folder_without_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    message = load_error(copied)
    assert "has no weights: none of model.safetensors, " in message
    assert "pytorch_model.bin" in message


def test_a_checkpoint_without_a_classification_head(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    folder = tiny.save(tmp_path / "encoder", BertModel(tiny.bert_config(tokenizer)), tokenizer)
    message = load_error(folder)
    assert "has no classification head: classifier.bias, classifier.weight missing" in message
    assert "it was saved as BertModel" in message


def test_a_checkpoint_with_another_head_classifies_no_texts(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    folder = tiny.save(tmp_path / "encoder", BertForMaskedLM(tiny.bert_config(tokenizer)), tokenizer)
    with pytest.raises(UnsupportedModelError, match=r"expected a sequence classifier.*BertForMaskedLM"):
        Classifier.load(folder).predict("a good film")


def test_a_checkpoint_that_lacks_a_layer(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    left = {name: value for name, value in weights.items() if "layer.1" not in name}
    save_file(left, copied / "model.safetensors", metadata={"format": "pt"})
    message = load_error(copied)
    assert "incomplete: bert.encoder.layer.1." in message
    assert "more" in message


def test_shapes_that_do_not_fit(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"vocab_size": 333}))
    message = load_error(copied)
    assert "bert.embeddings.word_embeddings.weight has shape" in message
    assert "expected (333, 16)" in message


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_damaged_safetensors(copied: Path, part: float) -> None:
    content = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content[: int(part * len(content))])
    assert "is damaged" in load_error(copied)


def test_a_pickle_of_plain_weights(copied: Path) -> None:
    expected = Classifier.load(copied).predict(TEXTS)
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    assert Classifier.load(copied).predict(TEXTS) == expected


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_the_code_in_a_pickle_does_not_run(copied: Path, tmp_path: Path, form: str) -> None:
    (copied / "model.safetensors").unlink()
    target, other = tmp_path / "ran", tmp_path / "would-run"
    content = {"classifier.weight": Payload(target)}
    if form == "bare":
        (copied / "pytorch_model.bin").write_bytes(pickle.dumps(content))
        pickle.loads(pickle.dumps(Payload(other)))
        assert other.exists()  # the payload works where it may run
    else:
        torch.save(content, copied / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
    message = load_error(copied)
    assert "holds more than weights" in message
    assert "safetensors" in message
    assert not target.exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "classifier.model."])
def test_weights_of_a_wrapped_model(copied: Path, prefix: str) -> None:
    weights = load_file(copied / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in weights.items()}, copied / "model.safetensors")
    for load in (Classifier.load, lambda folder: load_encoder(folder, ["a", "b", "c"])):
        with pytest.raises(ModelLoadError, match=f"names of the weights of .* begin with '{prefix}'.*take"):
            load(str(copied))


def test_a_checkpoint_of_something_around_the_weights(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save({"state_dict": weights, "epoch": 3}, copied / "pytorch_model.bin")
    with pytest.raises(
        ModelLoadError, match=r"none of the weights .* it holds 'epoch', 'state_dict'; save the"
    ):
        Classifier.load(copied)


def test_a_pickle_of_a_whole_model_says_what_it_asks_for(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    torch.save(tiny.bert(), copied / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"more than weights \(transformers.*BertFor.*you trust it"):
        Classifier.load(copied)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02", bytes(100)])
def test_a_file_that_holds_no_weights(copied: Path, content: bytes) -> None:
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"damaged|no weights") as caught:
        Classifier.load(copied)
    assert "\n" not in str(caught.value)


def test_a_damaged_pickle(copied: Path) -> None:
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    content = (copied / "pytorch_model.bin").read_bytes()
    (copied / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    load_error(copied)


def test_no_tokenizer(copied: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    message = load_error(copied)
    assert "has no tokenizer" in message
    assert "save_pretrained" in message


def test_a_damaged_tokenizer(copied: Path) -> None:
    (copied / "tokenizer.json").write_text('{"version": "1.0"')
    assert "the tokenizer of" in load_error(copied)


def test_code_in_a_folder_does_not_run(copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    message = load_error(copied)
    assert "pass trust_remote_code=True" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["nobody/nothing-at-all", "nothing-at-all"])
def test_a_hub_id_without_network(source: str) -> None:
    message = load_error(source)
    assert message.startswith(f"could not reach the hub for {source!r}")
    assert "'builtin'" in message


@pytest.mark.parametrize("kind", [ConnectionError, TimeoutError, LocalEntryNotFoundError])
def test_a_connection_that_breaks(monkeypatch: pytest.MonkeyPatch, kind) -> None:
    def broken(*_args, **_options):
        raise OSError("We couldn't connect\nat all") from kind("gone")

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", broken)
    monkeypatch.setattr(AutoConfig, "from_pretrained", broken)
    assert "could not reach the hub for 'a/b'" in load_error("a/b")


def test_no_such_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(RepositoryNotFoundError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def broken(*_args, **_options):
        raise OSError("not a valid model identifier") from Gone()

    monkeypatch.setattr(AutoConfig, "from_pretrained", broken)
    assert "no model on the hub with the name 'a/b'" in load_error("a/b")
    monkeypatch.undo()
    assert "no model on the hub with the name 'a b'" in load_error("a b")


# The built-in model


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A tiny encoder in the place of the real one, and a random adapter for it, both as files."""
    tokenizer = tiny.wordpiece()
    torch.manual_seed(3)
    encoder = tiny.save(tmp_path / "encoder", BertModel(tiny.bert_config(tokenizer)), None)
    tokenizer.save_pretrained(encoder)
    digest = hashlib.sha256((encoder / builtin.WEIGHTS).read_bytes()).hexdigest()
    monkeypatch.setattr(builtin, "WEIGHTS_SHA256", digest)
    adapter = tmp_path / "adapter"
    _peft(encoder).save_pretrained(adapter)
    return adapter, encoder


def _labelled(encoder: Path) -> BertForSequenceClassification:
    return BertForSequenceClassification.from_pretrained(encoder, id2label=builtin.LABELS)


def _peft(encoder: Path):
    """The classifier with the adapter's layout of scripts/train_builtin.py, filled at random."""
    settings = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=3,
        lora_alpha=5,
        target_modules=["query", "key", "value", "dense"],
        exclude_modules=".*pooler.*",
        modules_to_save=["classifier", "pooler"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(_labelled(encoder), settings)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    return adapted


def test_the_merged_model_is_that_of_peft(parts: tuple[Path, Path]) -> None:
    adapter, encoder = parts
    model, tokenizer = builtin.load_builtin(adapter, encoder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = PeftModel.from_pretrained(_labelled(encoder), adapter).merge_and_unload().eval()
    theirs, plain = expected.state_dict(), _labelled(encoder).state_dict()
    assert model.state_dict().keys() == theirs.keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, theirs[name], msg=name)
    changed = [name for name, value in theirs.items() if not torch.allclose(value, plain[name])]
    assert len(changed) == 2 * 6 + 4
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, expected(**inputs).logits)
    assert model.training is False
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_loading_the_builtin_model_leaves_the_random_numbers(parts: tuple[Path, Path]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    builtin.load_builtin(*parts)
    assert torch.equal(torch.rand(3), expected)


def test_the_classifier_builtin(parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = builtin.load_builtin(*parts)
    monkeypatch.setattr(builtin, "load_builtin", lambda: (model, tokenizer))
    ours = Classifier.load("builtin", dtype="float64")
    assert (ours.name, ours.labels, ours.max_length) == ("builtin", ("negative", "positive"), 40)
    assert ours.model.dtype == torch.float64
    assert len(ours.predict(TEXTS)) == 5


def test_another_encoder_is_refused(parts: tuple[Path, Path]) -> None:
    adapter, encoder = parts
    content = bytearray((encoder / builtin.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (encoder / builtin.WEIGHTS).write_bytes(content)
    with pytest.raises(ModelLoadError) as caught:
        builtin.load_builtin(adapter, encoder)
    assert f"expected sha256 {builtin.WEIGHTS_SHA256}" in str(caught.value)
    assert f"found {hashlib.sha256(content).hexdigest()}" in str(caught.value)


def test_the_checksum_is_that_of_the_published_encoder() -> None:
    content = (builtin._find_encoder() / builtin.WEIGHTS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == builtin.WEIGHTS_SHA256
    assert builtin.PACKAGE not in sys.modules


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_another_adapter_is_refused(parts: tuple[Path, Path], name: str) -> None:
    """A changed byte, an empty file, and none."""
    adapter, encoder = parts
    content = (adapter / name).read_bytes()
    digest = hashlib.sha256(b"".join((adapter / each).read_bytes() for each in builtin._ADAPTER_FILES))
    builtin.merge_adapter(_labelled(encoder), adapter, digest.hexdigest())
    for damage in (
        lambda: (adapter / name).write_bytes(bytes([content[0] ^ 1]) + content[1:]),
        lambda: (adapter / name).write_bytes(b""),
        (adapter / name).unlink,
    ):
        damage()
        with pytest.raises(
            ModelLoadError, match=r"the built-in adapter (is not the one|cannot be read)"
        ) as caught:
            builtin.merge_adapter(_labelled(encoder), adapter, digest.hexdigest())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight"),
        lambda t: t.update({"base_model.model.classifier.weight": torch.zeros(3, 16)}),
        lambda t: t.update({"base_model.model.other.weight": torch.zeros(1)}),
    ],
)
def test_an_adapter_that_does_not_fit(parts: tuple[Path, Path], change) -> None:
    path = parts[0] / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ModelLoadError, match="the built-in adapter does not fit"):
        builtin.load_builtin(*parts)


@pytest.mark.parametrize("name", ["config.json", builtin.WEIGHTS])
def test_an_encoder_that_lacks_a_file(parts: tuple[Path, Path], name: str) -> None:
    (parts[1] / name).unlink()
    with pytest.raises(ModelLoadError, match=r"the built-in encoder (is incomplete|cannot be read)"):
        builtin.load_builtin(*parts)


def test_an_encoder_with_another_configuration(parts: tuple[Path, Path]) -> None:
    edited = json.loads((parts[1] / "config.json").read_text()) | {"hidden_size": 8}
    (parts[1] / "config.json").write_text(json.dumps(edited))
    with pytest.raises(ModelLoadError, match=r"does not fit its config\.json") as caught:
        builtin.load_builtin(*parts)
    assert "\n" not in str(caught.value)


def test_no_encoder_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package_of_an_encoder")
    asked = []

    def unreachable(repository, **options):
        asked.append((repository, sorted(options["allow_patterns"])))
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(builtin, "snapshot_download", unreachable)
    with pytest.raises(MissingExtraError, match=r"pip install 'whybert\[builtin\]'"):
        Classifier.load("builtin")
    assert asked[0][0] == "sentence-transformers/all-MiniLM-L6-v2"
    assert builtin.WEIGHTS in asked[0][1]
    monkeypatch.setattr(builtin, "snapshot_download", lambda *_args, **_options: str(tmp_path))
    with pytest.raises(MissingExtraError):
        Classifier.load("builtin")


def test_the_hub_is_the_second_place(parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, encoder = parts
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package_of_an_encoder")
    monkeypatch.setattr(builtin, "snapshot_download", lambda *_args, **_options: str(encoder))
    model, _ = builtin.load_builtin(adapter)
    assert model.config.hidden_size == 16


# The gate


def test_what_surrounds_a_prediction_does_not_change_it() -> None:
    ours = classifier()
    expected = [found.logits for found in ours.predict(TEXTS)]
    surroundings = (torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), torch.no_grad())
    for surrounding in surroundings:
        with surrounding:
            assert [found.logits for found in ours.predict(TEXTS)] == expected
    assert [found.logits for found in explain(ours, TEXTS)] == expected


@pytest.mark.parametrize("output", ["config", "tuple", "dict", "tensor"])
def test_logits_are_taken_from_whatever_a_model_returns(output: str) -> None:
    ours = classifier()
    expected = [found.logits for found in ours.predict(TEXTS)]
    if output == "config":
        ours.model.config.return_dict = False
    else:
        forms = {"tuple": lambda x: (x.logits,), "dict": lambda x: dict(x), "tensor": lambda x: x.logits}
        ours.model.register_forward_hook(lambda module, arguments, found: forms[output](found))
    assert [found.logits for found in ours.predict(TEXTS)] == expected
    if output in {"config", "tuple"}:
        assert [found.logits for found in explain(ours, TEXTS)] == expected


def test_a_prediction_leaves_no_inference_tensors_behind() -> None:
    """Weights that are unpacked on first use, as 8-bit ones are, are kept by the borrowed model."""

    class Unpacking(torch.nn.Linear):
        kept: torch.Tensor | None = None

        def forward(self, x):
            if self.kept is None:
                self.kept = self.weight * 1.0
            return torch.nn.functional.linear(x, self.kept.detach(), self.bias)

    ours = classifier()
    head = Unpacking(ours.model.config.hidden_size, 2).eval()
    ours.model.classifier = head
    with torch.inference_mode():
        ours.predict("a film")
    assert head.kept is not None
    assert not head.kept.is_inference()
    explain(ours, "a film")


def test_a_model_that_fails_is_one_line() -> None:
    ours = classifier()
    ours.model.register_forward_pre_hook(lambda module, arguments: {}["a\nkey"])
    for ask in (Classifier.predict, explain):
        with pytest.raises(UnsupportedModelError, match="fails on inputs of shape") as caught:
            ask(ours, "a film")
        assert "\n" not in str(caught.value)


def test_a_model_without_numbers_is_refused() -> None:
    ours = classifier()
    meta = Classifier(copy.deepcopy(ours.model).to("meta"), ours.tokenizer)
    for ask in (Classifier.predict, explain):
        with pytest.raises(UnsupportedModelError, match="device 'meta'"):
            ask(meta, "a film")


ASKED = {
    "predict": lambda ours: ours.predict("a film"),
    "explain": lambda ours: explain(ours, "a film"),
    "attribute": lambda ours: attribute(ours.model, {"input_ids": torch.tensor([[1, 2, 3]])}),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_where_no_number_can_be_had(ask) -> None:
    ours = classifier()

    def asked(x):
        ask(ours)
        return x

    with pytest.raises(UsageError, match=r"transform of torch\.func"):
        torch.func.vmap(asked)(torch.zeros(2))
    with torch.device("meta"), pytest.raises(UsageError, match="new tensors are on the device 'meta'"):
        ask(ours)


def test_a_model_that_does_not_know_its_words_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' base class raises where it finds no table of words, as in CANINE."""
    ours = classifier()
    expected = explain(ours, TEXTS)

    def unknown() -> None:
        raise NotImplementedError("not handled")

    monkeypatch.setattr(ours.model, "get_input_embeddings", unknown)
    with pytest.raises(UnsupportedModelError, match="no embedding block"):
        explain(ours, TEXTS)  # which was made of it as it was
    assert [each.scores for each in explain((ours.model, ours.tokenizer), TEXTS)] == [
        each.scores for each in expected
    ]


def test_a_new_head_in_train_mode_is_no_reason() -> None:
    """A linear layer is the same in train mode; the parts of a model where it matters are refused."""
    ours = classifier()
    ours.model.classifier = torch.nn.Sequential(torch.nn.Linear(ours.model.config.hidden_size, 2))
    assert ours.model.classifier[0].training
    assert len(explain(ours, "a film")) == len(ours.predict("a film")) == 1
    ours.model.dropout.train()
    for ask in (Classifier.predict, explain):
        with pytest.raises(UnsupportedModelError, match="'dropout' is in train mode"):
            ask(ours, "a film")


@given(st.text(max_size=30))
def test_an_error_about_a_row_is_called_as_one_likes(text: str) -> None:
    error = NonFiniteError(f"the logits of {PLACE} ({text!r}, text 3) are", 3)
    assert str(error) == f"the logits of text 3 ({text!r}, text 3) are"
    moved = error.at("row 9", 9)
    assert str(moved) == f"the logits of row 9 ({text!r}, text 3) are"
    assert (moved.index, error.index, type(moved)) == (9, 3, NonFiniteError)
    again = pickle.loads(pickle.dumps(moved))
    assert (str(again), again.index) == (str(moved), 9)


def test_what_a_softmax_made_is_no_logits() -> None:
    tokenizer = tiny.wordpiece()

    class Likely(BertForSequenceClassification):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            found = super().forward(*arguments, **options)
            return {"logits": found.logits.softmax(-1)}

    torch.manual_seed(0)
    model = Likely(tiny.bert_config(tokenizer, num_labels=3, initializer_range=0.3)).eval()
    texts = ["a film", "the film was good"]
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt"))["logits"][0].tolist() for text in texts]
    for ask in (Classifier(model, tokenizer).predict, lambda texts: explain((model, tokenizer), texts, "gi")):
        with pytest.raises(UnsupportedModelError, match="a softmax made them") as caught:
            ask(texts)
        assert "\n" not in str(caught.value)
    said = Classifier(model, tokenizer, logits=lambda found: found["logits"].log())
    for one, likely in zip(said.predict(texts), expected, strict=True):
        assert one.probabilities == pytest.approx(likely, abs=1e-6)
    numbers = Classifier(model, tokenizer, problem_type="regression")
    assert numbers.predict(texts)[1].logits == pytest.approx(expected[1], abs=1e-6)


@pytest.mark.parametrize(
    "shares", [[[0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]], [[0.3, 0.7], [0.3, 0.9]], [[-0.3, 1.3]]]
)
def test_logits_may_sum_to_1(shares: list[list[float]]) -> None:
    tokenizer = tiny.wordpiece()
    Classifier(tiny.bert(tokenizer), tokenizer).check_labels(torch.tensor(shares, dtype=torch.float64))
