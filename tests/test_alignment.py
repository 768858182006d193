"""Tokenizers that exist in Python alone: where their tokens are is found by spelling, or refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

import tiny
from whybert import Classifier, audit, explain
from whybert.alignment import aligned
from whybert.encoding import encode, tokenize
from whybert.errors import InputError, UnsupportedModelError

FAST = {"wordpiece": tiny.wordpiece(), "byte_level": tiny.byte_level(), "metaspace": tiny.metaspace()}

ODD = "ABÉéüßİıŒœﬁ½…¨´ñ中国ｆ한ก😀\x00\ufffd\u200d\u00a0\u3000क्षςΣ²№\n\t.,'-!?#@\u2581\u0301"
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*"abcdefgh  ", *ODD, "a\u0301", "👍🏽", "[UNK]", "[SEP]", "##a", "@@", " film ", "good "]
        ),
        st.characters(codec="utf-8"),
    ),
    min_size=1,
    max_size=20,
).map("".join)


def seen(text: str, span: tuple[int, int]) -> tuple[int, int] | None:
    """The span without what stands at its ends and is not seen: marks, blanks and invisible characters."""
    places = [
        place
        for place in range(*span)
        if not text[place].isspace()
        and unicodedata.category(text[place]) not in ("Mn", "Mc", "Me", "Cc", "Cf", "Co", "Cs")
        and text[place] != "\ufffd"
    ]
    return (places[0], places[-1] + 1) if places else None


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS)
def test_spans_found_by_spelling_are_those_that_a_fast_tokenizer_says(name: str, text: str) -> None:
    tokenizer = FAST[name]
    try:
        (row,) = tokenize(tokenizer, [text])
    except InputError:
        return
    columns = [column for column, special in enumerate(row.special) if not special]
    tokens = [row.tokens[column] for column in columns]
    found = aligned(text, tokens, tokenizer.unk_token, tokenizer.tokenize)
    if found is not None:
        for token, span, column in zip(tokens, found, columns, strict=True):
            if token != "\u2581":  # of a blank put before the text, which the fast one gives a letter
                assert seen(text, span) == seen(text, row.offsets[column]), (token, span)


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """BERT's tokenizer in Python, with the vocabulary of the fast one."""
    path = tmp_path_factory.mktemp("legacy") / "vocab.txt"
    vocabulary = FAST["wordpiece"].get_vocab()
    path.write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = BertTokenizerLegacy(str(path), model_input_names=names)
    assert not tokenizer.is_fast
    tokenizer.path = str(path)
    return tokenizer


PLAIN = st.text(alphabet=" abcdefghÉü.,'-!?中", min_size=1, max_size=25).filter(str.strip)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=PLAIN, pair=st.one_of(st.none(), PLAIN), length=st.one_of(st.none(), st.integers(5, 30)))
def test_a_slow_tokenizer_reads_as_the_fast_one(
    legacy: Any, text: str, pair: str | None, length: int | None
) -> None:
    given_text = text if pair is None else (text, pair)
    (expected,) = tokenize(FAST["wordpiece"], [given_text], length)
    try:
        (found,) = tokenize(legacy, [given_text], length)
    except InputError:  # unknown words that could stand in several places
        assert "[UNK]" in expected.tokens or expected.truncated
        return
    if found.features == expected.features:  # of two parts of one length the two do not cut the same
        assert found == expected
    else:
        assert length is not None
        assert expected.truncated


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["good", "film", "a", "b", "xyz"]), min_size=1, max_size=20), rest=PLAIN
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_too_long_is_cut_as_the_tokenizer_cuts_it(
    legacy: Any, words: list[str], rest: str, side: str
) -> None:
    legacy.truncation_side = side
    for texts in ([" ".join(words)], [" ".join(words), rest]):
        for length in (5, 8, 13):
            try:
                (row,) = tokenize(legacy, [texts[0] if len(texts) == 1 else tuple(texts)], length)
            except InputError:
                continue
            expected = legacy(*texts, truncation=True, max_length=length)
            assert {name: list(values) for name, values in row.features.items()} == dict(expected)


def _files(folder: Path) -> dict[str, Any]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = {"<unk>": 0, **{letter: i for i, letter in enumerate(letters, 1)}}
    for index, letter in enumerate(letters, 100):
        vocabulary[f"{letter}@@"] = index
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\no o\n")
    (folder / "vocab.txt").write_text("good 5\nf@@ 3\nilm 4\n")
    (folder / "bpe.codes").write_text("t h 5\nth e</w> 4\n")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "the", "良", "##い", "映"]
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    return {
        "CanineTokenizer": lambda: transformers.CanineTokenizer(),
        "ByT5Tokenizer": lambda: transformers.ByT5Tokenizer(),
        "CTRLTokenizer": lambda: transformers.CTRLTokenizer(folder / "vocab.json", folder / "merges.txt"),
        "PhobertTokenizer": lambda: transformers.PhobertTokenizer(
            str(folder / "vocab.txt"), str(folder / "bpe.codes")
        ),
        "BertweetTokenizer": lambda: transformers.BertweetTokenizer(
            str(folder / "vocab.txt"), str(folder / "bpe.codes")
        ),
        "BertJapaneseTokenizer": lambda: transformers.BertJapaneseTokenizer(
            str(folder / "words.txt"), word_tokenizer_type="basic", subword_tokenizer_type="wordpiece"
        ),
    }


@pytest.mark.filterwarnings("ignore")  # of emojis that Bertweet would like to write as words
@pytest.mark.parametrize(
    "name",
    [
        "CanineTokenizer",
        "ByT5Tokenizer",
        "CTRLTokenizer",
        "PhobertTokenizer",
        "BertweetTokenizer",
        "BertJapaneseTokenizer",
    ],
)
@pytest.mark.parametrize("text", ["the good film", "The film, 良い 映", "naïve  café!", ("the film", "ö b")])
def test_tokenizers_of_transformers_that_are_no_fast_ones(name: str, text: Any, tmp_path: Path) -> None:
    tokenizer = _files(tmp_path)[name]()
    assert not tokenizer.is_fast
    (row,) = encode(tokenizer, [text]).rows
    texts = (text,) if isinstance(text, str) else text
    expected = tokenizer(*texts)
    assert {each: list(values) for each, values in row.features.items()} == dict(expected)
    for sequence, part in enumerate(texts):
        covered = set()
        for span, of in zip(row.offsets, row.sequence_ids, strict=True):
            covered |= set(range(*span)) if of == sequence else set()
        assert covered == {place for place, letter in enumerate(part) if not letter.isspace()}
        spans = [span for span, of in zip(row.offsets, row.sequence_ids, strict=True) if of == sequence]
        assert spans == sorted(spans)


@pytest.mark.parametrize(
    ("text", "tokens", "spans"),
    [
        ("The film", ["the</w>", "fi", "lm</w>"], [(0, 3), (4, 6), (6, 8)]),  # XLM, FlauBERT
        ("a@@ b", ["a@@</w>", "b</w>"], [(0, 3), (4, 5)]),
        ("été", ["e", "##t", "##e"], [(0, 1), (1, 2), (2, 3)]),
        ("##a b", ["#", "#", "a", "b"], [(0, 1), (1, 2), (2, 3), (4, 5)]),
        ("ａ ½", ["\u2581a", "\u2581", "1⁄2"], [(0, 1), (2, 2), (2, 3)]),
        ("x y z", ["<u>", "<u>", "<u>"], [(0, 1), (2, 3), (4, 5)]),
        ("x, y.", ["<u>", ",", "<u>", "."], [(0, 1), (1, 2), (3, 4), (4, 5)]),
        ("Straße", ["strasse"], [(0, 6)]),
        ("ab", ["a"], None),  # a letter is left over
        ("ab", ["a", "c"], None),
        ("ab", ["b", "a"], None),
        ("xyzw", ["<u>", "<u>"], None),  # in which of three places is the first?
        ("it &amp; is", ["it", "&", "is"], None),
        ("a b", [], None),
    ],
)
def test_spellings(text: str, tokens: list[str], spans: list[tuple[int, int]] | None) -> None:
    assert aligned(text, tokens, "<u>", lambda word: ["<u>"] * len(word)) == spans


def test_what_cannot_be_placed_is_refused_and_named(legacy: Any) -> None:
    class Rewriting(BertTokenizerLegacy):
        def tokenize(self, text: str, **options: Any) -> list[str]:
            return super().tokenize(text.replace("film", "good"), **options)

    class Shuffling(BertTokenizerLegacy):
        def build_inputs_with_special_tokens(self, token_ids_0: Any, token_ids_1: Any = None) -> Any:
            return sorted(super().build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    rewriting = Rewriting(legacy.path)
    assert len(tokenize(rewriting, ["a bad day"])) == 1
    with pytest.raises(
        InputError, match=r"cannot be told by their spelling where in text 1 .*Rewriting"
    ) as caught:
        tokenize(rewriting, ["good", "a film"])
    assert caught.value.index == 1
    with pytest.raises(UnsupportedModelError, match="Shuffling puts its tokens together"):
        tokenize(Shuffling(legacy.path), ["a bad film"])
    with pytest.raises(UnsupportedModelError, match=r"a tokenizer of transformers is needed.*not function"):
        Classifier(tiny.bert(FAST["wordpiece"]), lambda text: text.split())  # type: ignore[arg-type]


def test_a_classifier_with_a_slow_tokenizer(legacy: Any, tmp_path: Path) -> None:
    fast = FAST["wordpiece"]
    model = tiny.bert(fast)
    texts = ["the film was good", "a bad film", "don't you think so?"]
    slow = Classifier(model, legacy)
    assert slow.predict(texts) == Classifier(model, fast).predict(texts)
    assert explain(slow, texts) == explain((model, fast), texts)
    assert audit(slow, texts, ["gi", "cp_lrp"]).passed
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    transformers.PhobertTokenizer(
        *[str(_files(tmp_path) and tmp_path / name) for name in ("vocab.txt", "bpe.codes")]
    ).save_pretrained(folder)
    assert explain(str(folder), "good film")[0].words()[0].text == "good"
