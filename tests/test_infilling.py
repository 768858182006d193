"""Masked language models: how they are loaded, what they are held against, and what they would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

import tiny
from whybert import Classifier, ModelLoadError, UnsupportedModelError, UsageError
from whybert.infilling import MaskedLanguageModel, cased_like, written

TEXTS = ["the film was good and the actors were great", "a bad film", "good"]


def masked_bert(tokenizer: Any = None) -> BertForMaskedLM:
    torch.manual_seed(1)
    return BertForMaskedLM(tiny.bert_config(tokenizer or tiny.wordpiece(), initializer_range=0.3)).eval()


@pytest.fixture
def masked_lm() -> MaskedLanguageModel:
    tokenizer = tiny.wordpiece()
    return MaskedLanguageModel(masked_bert(tokenizer).double(), tokenizer)


def test_candidates_are_those_of_the_plain_model(masked_lm: MaskedLanguageModel) -> None:
    tokenizer, model = masked_lm.tokenizer, masked_lm.model
    rows = [tokenizer(text) for text in [*TEXTS, TEXTS[0]]]
    positions = [[1, 4], [2], [1], [9, 4, 1]]
    found = masked_lm.candidates(rows, positions, 7)
    special = torch.tensor(tokenizer.all_special_ids)
    for row, places, own in zip(rows, positions, found, strict=True):
        ids = torch.tensor([row["input_ids"]])
        ids[0, places] = tokenizer.mask_token_id
        logits = model(input_ids=ids).logits[0, places].detach()
        logits[:, special] = -torch.inf
        chances = logits.exp() / logits.exp().sum(-1, keepdim=True)
        expected = chances.sort(-1, descending=True)
        assert torch.equal(own.ids, expected.indices[:, :7])
        torch.testing.assert_close(own.probabilities, expected.values[:, :7], rtol=1e-9, atol=1e-12)
        assert own.probabilities.dtype == torch.float64
    everything = masked_lm.candidates(rows[:1], [[3]], 10**6)[0]
    assert len(everything.ids[0]) == len(tokenizer) - 5
    assert float(everything.probabilities.sum()) == pytest.approx(1)
    assert masked_lm.candidates([], []) == []
    assert masked_lm.candidates(rows[:1], [[]])[0].ids.shape == (0, 0)


def test_what_is_equal_is_asked_once_and_nothing_is_padded(masked_lm: MaskedLanguageModel) -> None:
    shapes: list[tuple[int, ...]] = []
    masked_lm.model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rows = [masked_lm.tokenizer(text) for text in TEXTS]
    together = masked_lm.candidates([*rows, *rows], [[1]] * 6, 3)
    assert shapes == [(1, 11), (1, 5), (1, 3)]
    for row, one, other in zip(rows, together[:3], together[3:], strict=True):
        alone = masked_lm.candidates([row], [[1]], 3, batch_size=1)[0]
        assert torch.equal(one.ids, alone.ids)
        assert torch.equal(one.ids, other.ids)
        torch.testing.assert_close(one.probabilities, alone.probabilities, rtol=1e-10, atol=1e-14)


def test_words_are_whole_and_other_than_those_they_replace(masked_lm: MaskedLanguageModel) -> None:
    text = "The film was GOOD, and the Actors were great"
    spans = [(0, 0, 3), (0, 13, 17), (0, 19, 22), (0, 27, 33)]
    found = masked_lm.words(text, spans, 5)
    tokenizer = masked_lm.tokenizer
    for span, words in zip(spans, found, strict=True):
        old = text[span[1] : span[2]]
        assert 0 < len(words) <= 5
        assert [w.probability for w in words] == sorted((w.probability for w in words), reverse=True)
        changed = str(written(text, {span: tokenizer.mask_token}))
        ids = tokenizer(changed, return_tensors="pt")
        place = ids["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        logits = masked_lm.model(**ids).logits[0, place].detach()
        logits[tokenizer.all_special_ids] = -torch.inf
        chances = logits.softmax(-1)
        for word in words:
            assert word.word.casefold() != old.casefold()
            [token] = tokenizer.tokenize(word.word)
            assert not token.startswith("##")
            number = tokenizer.convert_tokens_to_ids(token)
            assert word.probability == pytest.approx(float(chances[number]), rel=1e-9)
    assert all(word.word[0].isupper() or not word.word[0].isalpha() for word in found[0])
    assert all(word.word.isupper() or not word.word.isalpha() for word in found[1])
    # what would grow together with its neighbours is no word
    [beside] = masked_lm.words(text, [(0, 17, 18)], 100)
    assert {word.word for word in beside} == {*"'?.-!"}
    second = masked_lm.words((TEXTS[1], text), [(1, 0, 3), (0, 2, 5)], 2)
    assert [len(words) for words in second] == [2, 2]


@pytest.mark.parametrize("kind", ["byte_level", "metaspace"])
def test_words_of_tokenizers_that_keep_the_blank(kind: str) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=42, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    masked_lm = MaskedLanguageModel(RobertaForMaskedLM(config).eval(), tokenizer)
    for words in masked_lm.words("a bad film was good", [(0, 2, 5), (0, 15, 19)], 100):
        for word in words:
            assert word.word == word.word.strip()
            assert word.word not in tokenizer.all_special_tokens


def test_a_folder_is_loaded_without_code_of_its_own(tmp_path: Path, offline: None) -> None:
    tokenizer = tiny.wordpiece()
    folder = tiny.save(tmp_path / "masked", masked_bert(tokenizer), tokenizer)
    loaded = MaskedLanguageModel.of(folder)
    assert (loaded.name, loaded.model.training) == ("masked", False)
    rows = [tokenizer(TEXTS[0])]
    expected = MaskedLanguageModel.of((masked_bert(tokenizer), tokenizer)).candidates(rows, [[2]])[0]
    found = MaskedLanguageModel.of(str(folder)).candidates(rows, [[2]])[0]
    assert torch.equal(found.ids, expected.ids)
    torch.testing.assert_close(found.probabilities, expected.probabilities)
    assert MaskedLanguageModel.of(loaded) is loaded
    classifier = tiny.save(tmp_path / "classifier", tiny.bert(tokenizer), tokenizer)
    with pytest.raises(ModelLoadError, match="has no head that predicts tokens: cls") as caught:
        MaskedLanguageModel.of(classifier)
    assert "fine-tuned from" in str(caught.value)
    with pytest.raises(ModelLoadError, match="'builtin' is a classifier, and predicts no tokens"):
        MaskedLanguageModel.of("builtin")
    with pytest.raises(ModelLoadError, match=r"there is no folder '\./nothing'"):
        MaskedLanguageModel.of("./nothing")


def test_what_is_no_masked_language_model() -> None:
    tokenizer = tiny.wordpiece()
    with pytest.raises(UsageError, match=r"a folder, a hub id or a pair \(model, tokenizer\), found 3"):
        MaskedLanguageModel.of(3)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModelError, match="train mode"):
        MaskedLanguageModel(masked_bert().train(), tokenizer)
    maskless = tiny.wordpiece()
    maskless.mask_token = None
    with pytest.raises(UnsupportedModelError, match="needs a tokenizer with a mask token"):
        MaskedLanguageModel(masked_bert(), maskless)
    classifier = MaskedLanguageModel(tiny.bert(tokenizer), tokenizer)
    with pytest.raises(UnsupportedModelError, match=r"found BertForSequenceClassification with logits of"):
        classifier.candidates([tokenizer(TEXTS[0])], [[1]])
    masked_lm = MaskedLanguageModel(masked_bert(), tokenizer)
    with pytest.raises(UsageError, match="positions from 0 to 2, found 3"):
        masked_lm.candidates([tokenizer("good")], [[3]])
    with pytest.raises(UsageError, match="k to be a whole number of at least 1, found 0"):
        masked_lm.candidates([tokenizer("good")], [[1]], 0)


def test_vocabularies_are_the_same_or_refused(masked_lm: MaskedLanguageModel) -> None:
    masked_lm.check_fits(tiny.wordpiece())
    classifier = Classifier(tiny.bert(), tiny.wordpiece())
    masked_lm.check_fits(classifier.tokenizer)
    other = tiny.wordpiece()
    other.add_tokens(["marvellous"])
    with pytest.raises(UsageError, match="found 1 entries that only one of them has, 'marvellous' with"):
        masked_lm.check_fits(other)
    with pytest.raises(UsageError, match="to have the vocabulary of the classifier"):
        masked_lm.check_fits(tiny.byte_level())
    with pytest.raises(UsageError, match="to have the vocabulary of the classifier"):
        masked_lm.check_fits(None)


def test_words_are_written_like_those_they_replace() -> None:
    for word, old, expected in [
        ("bad", "good", "bad"),
        ("bad", "Good", "Bad"),
        ("bad", "GOOD", "BAD"),
        ("bad", "A", "Bad"),
        ("Bad", "good", "Bad"),
        ("bad", "iPhone", "bad"),
        ("bad", "5", "bad"),
    ]:
        assert cased_like(word, old) == expected
    assert written("a bad film", {(0, 2, 5): "good", (0, 6, 10): "play"}) == "a good play"
    assert written(("a b", "c d"), {(0, 2, 3): "x", (1, 0, 1): "why"}) == ("a x", "why d")
