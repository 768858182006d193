from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tiny
from whybert.encoding import EncodedText, collate, encode, maximum_length, tokenize
from whybert.errors import InputError
from whybert.words import split_words

TOKENIZERS = {name: make() for name, make in tiny.TOKENIZERS.items()}
# Letters, blanks, marks, ideographs, kana, emoji with joiners, controls, half surrogates, "</s>", ...
ALPHABET = (
    "abz ABZ 019 .,-'\u2019?! \t\n\u00a0\u2581\u0301\u00e9\ufb01\u0130\u4f60\u597d\u3042\u30ab\u30fc"
    "\U0001f600\U0001f468\U0001f3fd\u200d\ufe0f\U0001f1eb\U0001f1f7\u200b\x00\x1c\ud83d\ude00\ufffd</s>[SEP]"
)
texts = st.text(st.sampled_from(ALPHABET) | st.characters(), min_size=1, max_size=30)


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


@pytest.fixture(params=sorted(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest):
    return TOKENIZERS[request.param]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't like l\u2019amour.", ["I", "don't", "like", "l\u2019amour", "."]),
        ("well-made 'quoted' rock'n'roll", ["well", "-", "made", "'", "quoted", "'", "rock'n'roll"]),
        ("a''b dogs'", ["a", "'", "'", "b", "dogs", "'"]),
        ("3.5 snake_case x2", ["3", ".", "5", "snake", "_", "case", "x2"]),
        ("cafe\u0301 na\u00efve", ["cafe\u0301", "na\u00efve"]),
        ("\u4f60\u597dok", ["\u4f60", "\u597d", "ok"]),
        ("\u3053\u308c\u672c\u30ab\u30fc", ["\u3053\u308c", "\u672c", "\u30ab\u30fc"]),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", ["\u0928\u092e\u0938\u094d\u0924\u0947"]),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"],
        ),
        ("\U0001f600\U0001f600!", ["\U0001f600", "\U0001f600", "!"]),
        ("\U0001f44d\U0001f3fd\u2764\ufe0f", ["\U0001f44d\U0001f3fd", "\u2764\ufe0f"]),
        ("\U0001f468\u200d\U0001f467", ["\U0001f468\u200d\U0001f467"]),
        ("\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea", ["\U0001f1eb\U0001f1f7", "\U0001f1e9\U0001f1ea"]),
        (" \u0301a\n", ["\u0301a"]),
        # Thai, Lao, Khmer and Burmese: a letter with its vowels, marks and what is stacked under it
        (
            "\u0e40\u0e23\u0e37\u0e48\u0e2d\u0e07\u0e19\u0e35\u0e49 ok",
            ["\u0e40\u0e23\u0e37\u0e48", "\u0e2d", "\u0e07", "\u0e19\u0e35\u0e49", "ok"],
        ),
        ("\u0e19\u0e49\u0e33\u0e51\u0e52", ["\u0e19\u0e49\u0e33", "\u0e51\u0e52"]),
        ("\u0ec0\u0e87\u0ebb\u0eb2\u0e99\u0eb5\u0ec9", ["\u0ec0\u0e87\u0ebb\u0eb2", "\u0e99\u0eb5\u0ec9"]),
        ("\u1781\u17d2\u1798\u17c2\u179a", ["\u1781\u17d2\u1798\u17c2", "\u179a"]),
        ("\u1019\u103c\u1014\u103a\u1019\u102c", ["\u1019\u103c", "\u1014\u103a", "\u1019\u102c"]),
        ("  ", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(texts)
def test_split_words_covers_each_character_that_is_not_white_space_once(text: str) -> None:
    covered = [index for start, end in split_words(text) for index in range(start, end)]
    assert covered == [index for index, character in enumerate(text) if not character.isspace()]


def check_words(row: EncodedText) -> None:
    sequences = [row.text, row.pair]
    last = (0, 0, 0)
    for sequence, start, end in row.word_spans:
        assert start < end
        assert (sequence, start) >= (last[0], last[2] if sequence == last[0] else 0)
        assert sequence >= last[0]
        last = (sequence, start, end)
    columns = zip(row.special, row.sequence_ids, row.offsets, row.word_ids, strict=True)
    for special, sequence, (start, end), word in columns:
        if special:
            assert (sequence, word, start, end) == (None, None, 0, 0)
            continue
        assert word is not None
        assert row.word_spans[word][0] == sequence
        if start < end:
            holding = [
                index
                for index, (s, a, b) in enumerate(row.word_spans)
                if s == sequence and a <= start and end <= b
            ]
            assert holding == [word]
            assert sequences[sequence][start:end].strip() == sequences[sequence][start:end]
    assert set(row.word_ids) - {None} == set(range(len(row.word_spans)))
    spans = row.word_spans
    assert row.words == tuple((sequences[sequence] or "")[start:end] for sequence, start, end in spans)


def _replaced(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(max_examples=150, deadline=None)
@given(text=texts, pair=st.none() | texts, max_length=st.none() | st.integers(6, 12))
def test_each_token_belongs_to_one_word(
    name: str, text: str, pair: str | None, max_length: int | None
) -> None:
    parts = (text,) if pair is None else (text, pair)
    listed = [text if pair is None else (text, pair)]
    seen = [TOKENIZERS[name](_replaced(part)).tokens()[1:-1] for part in parts]
    if not all(part.strip() and tokens for part, tokens in zip(parts, seen, strict=True)):
        with pytest.raises(InputError, match=r"is empty|has no character"):
            encode(TOKENIZERS[name], listed, max_length)
        return
    try:
        (row,) = encode(TOKENIZERS[name], listed, max_length).rows
    except InputError:
        # All that the tokenizer kept of a part, or all that the maximum left of it, is blank.
        assert max_length is not None or any(not "".join(tokens).strip("\u2581\u0120") for tokens in seen)
        return
    assert (row.text, row.pair) == (text, pair)
    check_words(row)


def test_tokens_words_and_spans() -> None:
    (row,) = encode(TOKENIZERS["wordpiece"], ["Don't be  BAD, film"]).rows
    assert row.tokens == ("[CLS]", "d", "##o", "##n", "'", "t", "b", "##e", "bad", ",", "film", "[SEP]")
    assert row.words == ("Don't", "be", "BAD", ",", "film")
    assert row.word_ids == (None, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, None)
    assert row.word_spans[2] == (0, 10, 13)
    assert row.special == (True,) + (False,) * 10 + (True,)
    assert row.token_count == 12
    assert row.truncated is False


def test_a_token_across_words_makes_them_one() -> None:
    tokenizer = TOKENIZERS["wordpiece"]
    (row,) = encode(tokenizer, ["bad [MASK] film"]).rows
    assert row.tokens[2] == "[MASK]"
    assert row.special[2] is False
    assert row.words == ("bad", "[MASK]", "film")


def test_all_bytes_of_an_emoji_belong_to_it() -> None:
    (row,) = encode(TOKENIZERS["byte_level"], ["a  \U0001f600"]).rows
    assert row.words == ("a", "\U0001f600")
    assert row.token_count > 6
    assert row.word_ids[1] == 0
    assert set(row.word_ids[2:-1]) == {1}  # the blanks before it as well


def test_a_lone_blank_token_belongs_to_the_word_that_follows() -> None:
    (row,) = encode(TOKENIZERS["metaspace"], ["film   \u4f60"]).rows
    blanks = [i for i, token in enumerate(row.tokens) if token == "\u2581"]
    assert blanks
    assert {row.word_ids[i] for i in blanks} == {1}
    assert row.words == ("film", "\u4f60")


def test_blanks_at_the_end_belong_to_the_last_word() -> None:
    (row,) = encode(TOKENIZERS["byte_level"], ["film\n\n"]).rows
    assert row.words == ("film",)
    assert "\u010a" in row.tokens
    assert set(row.word_ids[1:-1]) == {0}


def test_nothing_but_white_space_within_the_maximum() -> None:
    text = "\n" * 30 + "film"
    assert encode(TOKENIZERS["byte_level"], [text]).rows[0].words == ("film",)
    with pytest.raises(
        InputError, match="text 0 begins with more white space than max_length=9 has room for"
    ) as caught:
        encode(TOKENIZERS["byte_level"], [text], max_length=9)
    assert caught.value.index == 0


def test_a_part_without_a_token_is_not_said_to_be_cut() -> None:
    with pytest.raises(InputError, match="second part of text 0 has no character"):
        encode(TOKENIZERS["wordpiece"], [("the film was good and great", "\x1b")], max_length=6)


def test_pairs(tokenizer) -> None:
    batch = encode(tokenizer, [("a good film", "a bad film"), ("good", "bad, bad")])
    for row, second in zip(batch.rows, ("a bad film", "bad, bad"), strict=True):
        assert row.pair == second
        assert {0, 1, None} == set(row.sequence_ids)
        check_words(row)
    assert batch.rows[0].words == ("a", "good", "film", "a", "bad", "film")
    assert [span[0] for span in batch.rows[0].word_spans] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_its_rows_one_by_one(tokenizer, side: str) -> None:
    name = next(name for name, made in TOKENIZERS.items() if made is tokenizer)
    tokenizer = tiny.TOKENIZERS[name](padding_side=side)
    listed = ["a film", "don't you think so?", "bad"]
    batch = encode(tokenizer, listed)
    expected = tokenizer(listed, padding=True, return_tensors="pt")
    assert set(batch.inputs) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(batch.inputs[key], tensor)
    for index, text in enumerate(listed):
        alone = encode(tokenizer, [text])
        row = batch.rows[index]
        assert (row.tokens, row.offsets, row.word_ids) == (
            alone.rows[0].tokens,
            alone.rows[0].offsets,
            alone.rows[0].word_ids,
        )
        for key, tensor in alone.inputs.items():
            assert torch.equal(batch.inputs[key][index, list(row.positions)], tensor[0])
        attended = batch.inputs["attention_mask"][index].nonzero().flatten()
        assert attended.tolist() == list(row.positions)


def test_truncation_is_told_for_each_row(tokenizer) -> None:
    batch = encode(tokenizer, ["a film " * 20, "a", "b c"], max_length=8)
    assert [row.truncated for row in batch.rows] == [True, False, False]
    assert batch.inputs["input_ids"].shape[1] == 8
    exact = encode(tokenizer, ["a film"]).rows[0].token_count
    assert encode(tokenizer, ["a film"], max_length=exact).rows[0].truncated is False
    assert encode(tokenizer, ["a film"], max_length=exact - 1).rows[0].truncated is True


def test_of_a_pair_the_longer_part_is_cut() -> None:
    (row,) = encode(TOKENIZERS["wordpiece"], [("bad film", "good " * 30)], max_length=10).rows
    assert row.truncated is True
    assert row.words[:2] == ("bad", "film")
    assert row.token_count == 10


def test_no_maximum_cuts_nothing(tokenizer) -> None:
    (row,) = encode(tokenizer, ["a film " * 700]).rows
    assert row.token_count > 1400
    assert row.truncated is False


def test_the_settings_of_the_tokenizer_do_not_count_and_stay() -> None:
    tokenizer = tiny.wordpiece()
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length=7, stride=1, strategy="only_first")
    backend.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    before = backend.truncation, backend.padding
    batch = encode(tokenizer, ["a film " * 10, "a"], max_length=15)
    assert [row.token_count for row in batch.rows] == [15, 3]
    assert batch.inputs["input_ids"].shape == (2, 15)
    assert (backend.truncation, backend.padding) == before
    assert encode(tokenizer, ["a film " * 10]).rows[0].token_count == 22
    assert (backend.truncation, backend.padding) == before
    backend.no_truncation()
    backend.no_padding()
    encode(tokenizer, ["a film"], max_length=3)
    assert backend.truncation is None
    assert backend.padding is None


def test_what_is_added_to_a_tokenizer_counts_and_its_cuts_do_not() -> None:
    tokenizer = tiny.wordpiece()
    assert tokenize(tokenizer, ["a filmfilm"])[0].tokens == (
        "[CLS]",
        "a",
        "film",
        "##f",
        "##i",
        "##l",
        "##m",
        "[SEP]",
    )
    tokenizer.add_tokens(["filmfilm"])
    tokenizer(["a b c"], truncation=True, max_length=3, padding="max_length")
    assert tokenize(tokenizer, ["a filmfilm [MASK]"])[0].tokens == (
        "[CLS]",
        "a",
        "filmfilm",
        "[MASK]",
        "[SEP]",
    )
    tokenizer.backend_tokenizer.normalizer.lowercase = False
    assert tokenize(tokenizer, ["A"])[0].tokens == ("[CLS]", "[UNK]", "[SEP]")


def test_added_tokens_whose_numbers_have_gaps_stay() -> None:
    state = json.loads(tiny.wordpiece().backend_tokenizer.to_str())
    state["added_tokens"].append({**state["added_tokens"][0], "id": 900, "content": "zzz"})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    [row] = tokenize(tokenizer, ["a zzz b"])
    assert row.features["input_ids"] == tuple(tokenizer("a zzz b").input_ids)


def test_one_tokenizer_in_many_threads_cuts_as_each_was_told() -> None:
    """Two classifiers on one tokenizer, and calls of its owner beside."""
    tokenizer = tiny.wordpiece()
    text = "a film " * 40

    def cut(length: int) -> set[int]:
        return {tokenize(tokenizer, [text], length)[0].token_count for _ in range(150)}

    def own(length: int) -> set[int]:
        return {len(tokenizer(text, truncation=True, max_length=length).input_ids) for _ in range(150)}

    with ThreadPoolExecutor(4) as pool:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            asked = [pool.submit(cut, 20), pool.submit(own, 9), pool.submit(cut, 60), pool.submit(cut, 7)]
            found = [each.result() for each in asked]
        finally:
            sys.setswitchinterval(interval)
    assert (found[0], found[2], found[3]) == ({20}, {60}, {7})
    assert found[1] == {9}


@pytest.mark.slow
def test_a_child_tokenizes_whatever_its_parent_did_when_it_was_forked() -> None:
    script = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
import tiny
from whybert.classifier import Classifier
tokenizer = tiny.wordpiece()
ours = Classifier(tiny.bert(tokenizer), tokenizer)
def ask():
    while True:
        ours.tokenize(["a film " * 500] * 20)
threading.Thread(target=ask, daemon=True).start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        ours.tokenize(["a film"])
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        os._exit(1)
os._exit(0)
"""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], env=environment, timeout=100, check=False
    )
    assert done.returncode == 0


def test_a_pattern_that_explodes_is_one_line_about_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny.wordpiece()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+b"), "isolated")
    for texts in (["a" * 40], ["a", "a" * 40]):
        with pytest.raises(InputError, match=f"the tokenizer fails on text {len(texts) - 1}: ") as caught:
            tokenize(tokenizer, texts)
        assert caught.value.index == len(texts) - 1
        assert "\n" not in str(caught.value)
    capfd.readouterr()  # what Rust says about it


@pytest.mark.parametrize("text", ["{}a", "a{}", "a{}b"])
def test_a_long_run_of_blanks_takes_time_in_proportion(tokenizer, text: str) -> None:
    """Twice the blanks, twice the time: the least of several runs, and far from the fourfold."""

    def seconds(count: int) -> float:
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            with contextlib.suppress(InputError):  # more blanks than there is room for
                tokenize(tokenizer, [text.format(" " * count)], 16)
            taken.append(time.perf_counter() - start)
        return min(taken)

    assert seconds(200_000) < max(0.5, 3.5 * seconds(100_000))


def test_half_a_surrogate_pair_is_replaced_for_the_model_only(tokenizer) -> None:
    text = "bad\ud83d film \ude00 good"
    row, clean = encode(tokenizer, [text, "bad\ufffd film \ufffd good"]).rows
    assert row.text == text
    assert [word for word in row.words if word.isascii()] == ["bad", "film", "good"]
    assert row.word_spans == clean.word_spans
    assert row.tokens == clean.tokens
    assert row.offsets == clean.offsets


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["a", ""], "text 1 is empty"),
        (["a", "b", " \n\u00a0"], "text 2 is empty"),
        (["a", None], "text 1 must be a str or a tuple of two, not None"),
        ([b"a"], "text 0 must be a str or a tuple of two, not bytes"),
        (["a", 3], "text 1 must be .* not int"),
        ([("a", "b"), ("a", "")], "second part of text 1 is empty"),
        ([("a", 3)], "second part of text 0 must be a str, not int"),
        ([("a", "b", "c")], "text 0 is a tuple of 3"),
        (["a", ("a", "b")], "text 1 is a pair but text 0 is a single text"),
        ([("a", "b"), "a"], "text 1 is a single text but text 0 is a pair"),
        (["a", "\u200b\x01"], "text 1 has no character that the tokenizer knows"),
        ([("a", "\x01")], "second part of text 0 has no character"),
        ([], "no text to encode"),
        ("abc", "must be a sequence of texts"),
    ],
)
def test_bad_texts(bad, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        encode(TOKENIZERS["wordpiece"], bad)
    assert "\n" not in str(caught.value)
    named = re.search(r"text (\d+)", str(caught.value))
    assert caught.value.index == (None if named is None else int(named[1]))
    assert named is None or str(caught.value.at("line 9")) == str(caught.value).replace(named[0], "line 9", 1)


@pytest.mark.parametrize(("length", "pair"), [(0, None), (2, None), (True, None), ("9", None), (4, "b")])
def test_a_maximum_without_room_for_a_token(length, pair: str | None) -> None:
    with pytest.raises(InputError, match="max_length must be a whole number of at least"):
        encode(TOKENIZERS["wordpiece"], ["a" if pair is None else ("a", pair)], max_length=length)


def test_the_least_maximum_leaves_a_token_of_each_part() -> None:
    (row,) = encode(TOKENIZERS["wordpiece"], [("bad film", "good film")], max_length=5).rows
    assert row.words == ("bad", "good")


def test_no_padding_token() -> None:
    tokenizer = tiny.wordpiece(pad_token=None)
    assert tokenizer.pad_token_id is None
    assert encode(tokenizer, ["a film"]).inputs["input_ids"].shape == (1, 4)
    with pytest.raises(InputError, match=r"no padding token.*batch_size=1"):
        encode(tokenizer, ["a film", "a"])


def test_rows_can_be_put_into_batches_later() -> None:
    tokenizer = TOKENIZERS["wordpiece"]
    rows = tokenize(tokenizer, ["a film", "bad", "good film"])
    assert [row.positions for row in rows] == [(0, 1, 2, 3), (0, 1, 2), (0, 1, 2, 3)]
    batch = collate(tokenizer, [rows[2], rows[1]])
    assert [row.text for row in batch.rows] == ["good film", "bad"]
    assert torch.equal(batch.inputs["input_ids"], encode(tokenizer, ["good film", "bad"]).inputs["input_ids"])
    assert batch.to("cpu").inputs["input_ids"].device.type == "cpu"


def test_maximum_length() -> None:
    tokenizer = tiny.wordpiece()
    assert tokenizer.model_max_length > 1e20
    assert maximum_length(tokenizer, 40) == 40
    assert maximum_length(tiny.wordpiece(model_max_length=12), 40) == 12
    assert maximum_length(tokenizer, None) is None
