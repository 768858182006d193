"""Long texts in windows: how they are cut, and that the whole is the stated sum of its windows."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

import tiny
import whybert
from commands import caller, one_error
from whybert import windows
from whybert.classifier import Classifier, predict_batches
from whybert.encoding import EncodedText, tokenize
from whybert.errors import InputError, NonFiniteError, UnknownNameError, UsageError
from whybert.explaining import explain_batches
from whybert.explanation import Explanation
from whybert.methods import STANDARD, create_all
from whybert.render import notes
from whybert.windows import Reading, cut

TOKENIZERS = {name: make() for name, make in tiny.TOKENIZERS.items()}
TEXT = (
    "the film was good. don't you think so? a well-made film, a bad film. the actors were great, z q great!"
)
OTHER = "you were good"
SINGLE, PAIR = (TEXT, TEXT + " " + OTHER), ((TEXT, OTHER), (OTHER, TEXT))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer, 1, num_labels=3).double(), tokenizer, max_length=16)


def row_of(text: Any, name: str = "wordpiece") -> EncodedText:
    (row,) = tokenize(TOKENIZERS[name], [text])
    return row


def sides(row: EncodedText) -> list[list[int]]:
    return [[c for c, found in enumerate(row.sequence_ids) if found == side] for side in (0, 1)]


# How texts are cut.

sizes = st.integers(1, 12).flatmap(
    lambda room: st.tuples(
        st.lists(st.integers(1, room), min_size=1, max_size=40), st.just(room), st.integers(0, room - 1)
    )
)


@given(sizes)
def test_windows_cover_all_pieces_and_go_on(case: tuple[list[int], int, int]) -> None:
    pieces, room, overlap = case
    spans = windows._spans(pieces, room, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(pieces)
    for start, end in spans:
        assert 0 < sum(pieces[start:end]) <= room
    for (_, end), (start, after) in pairwise(spans):
        assert start <= end < after
        assert sum(pieces[start:end]) <= overlap
        if pieces[start - 1] + sum(pieces[start:end]) <= overlap:  # as much as may be, with room to go on
            assert pieces[start - 1] + sum(pieces[start : end + 1]) > room


letters = st.text(
    st.sampled_from("abz film. don't ,-!é好\n\t\u2581") | st.characters(codec="utf-8"), min_size=1
)


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(TOKENIZERS)))
def test_windows_are_the_texts_own_tokens(data: st.DataObject, name: str) -> None:
    text = "a " + data.draw(letters) + " film " + data.draw(letters)
    pair = data.draw(st.none() | st.just("b"))
    row = row_of(text if pair is None else (text, pair), name)
    max_length = data.draw(st.integers(8, 20))
    stride = data.draw(st.none() | st.integers(0, 2))
    reading = cut(row, max_length, stride)
    assert reading.row is row
    longer = max(sides(row), key=len)
    others = set(range(row.token_count)) - set(longer)
    covered: set[int] = set()
    for part in reading.parts:
        assert part.row.token_count == len(part.columns) <= max_length
        assert list(part.columns) == sorted(part.columns)
        assert others <= set(part.columns)
        covered |= set(part.columns)
        assert part.row.tokens == tuple(row.tokens[c] for c in part.columns)
        for own, whole in ((part.row.unknown, row.unknown), (part.row.word_ids, row.word_ids)):
            assert own == tuple(whole[c] for c in part.columns if whole)
        for feature, values in part.row.features.items():
            assert values == tuple(row.features[feature][c] for c in part.columns)
        if len(reading.parts) > 1:
            assert set(part.columns) - others == set(range(part.start, part.end))
    assert covered == set(range(row.token_count))
    assert sum(part.weight for part in reading.parts) == pytest.approx(1, abs=1e-12)
    assert (len(reading.parts) == 1) == (row.token_count <= max_length)
    room = max_length - len(others)
    words: dict[int | None, list[int]] = {}
    for column in longer:
        words.setdefault(row.word_ids[column], []).append(column)
    for columns in words.values():
        if len(columns) <= room:  # a word that fits is whole wherever it is
            for part in reading.parts:
                assert not set(columns) & set(part.columns) or set(columns) <= set(part.columns)


def test_each_token_has_one_vote() -> None:
    row = row_of("a b c d e f g h i j")
    reading = cut(row, 6, 2)  # room for 4: abcd, cdef, efgh, ghij
    assert [(part.start, part.end) for part in reading.parts] == [(1, 5), (3, 7), (5, 9), (7, 11)]
    assert [part.weight for part in reading.parts] == [0.3, 0.2, 0.2, 0.3]
    assert [part.weight for part in cut(row, 6, 0).parts] == [0.4, 0.4, 0.2]
    assert [part.weight for part in cut(row, 6).parts] == [0.35, 0.3, 0.35]  # a quarter of 4 is 1


def test_of_a_pair_the_longer_part_is_cut() -> None:
    first, second = (cut(row_of(text), 20) for text in PAIR)
    for reading, side in ((first, 0), (second, 1)):
        other = sides(reading.row)[1 - side]
        assert len(reading.parts) > 1
        for part in reading.parts:
            assert set(other) <= set(part.columns)
    assert [part.weight for part in first.parts] == [part.weight for part in second.parts]


@pytest.mark.parametrize("text", SINGLE)
def test_windows_read_what_the_cut_text_reads(classifier: Classifier, text: str) -> None:
    for part in cut(row_of(text), 16, 4).parts:
        (alone,) = classifier.tokenize([slice_of(part, text)])
        assert alone.features == part.row.features
        assert not alone.truncated


def slice_of(part: windows.Part, text: str) -> str:
    spans = [span for span, special in zip(part.row.offsets, part.row.special, strict=True) if not special]
    return text[spans[0][0] : spans[-1][1]]


# The whole is the sum of its windows: a literal twin that explains them one by one.


def twin(
    classifier: Classifier, text: Any, method: str, target: Any, stride: int | None
) -> tuple[list[float], list[float], list[float | None]]:
    """Scores, logits and books of a text from plain explanations of the cut texts, added up by hand."""
    row = row_of(text)
    longer = max(sides(row), key=len)
    reading = cut(row, classifier.max_length, stride)
    holders = [sum(column in part.columns for part in reading.parts) for column in range(row.token_count)]
    weights = [
        sum(1 / holders[column] for column in part.columns if column in longer) / len(longer)
        for part in reading.parts
    ]
    texts = []
    for part in reading.parts:
        side = row.sequence_ids[longer[0]]
        if isinstance(text, str):
            texts.append(text[row.offsets[part.start][0] : row.offsets[part.end - 1][1]])
        else:
            whole = text[side]
            piece = whole[row.offsets[part.start][0] : row.offsets[part.end - 1][1]]
            texts.append((piece, text[1]) if side == 0 else (text[0], piece))
    if target is None:
        found = torch.tensor([each.logits for each in classifier.predict(texts)], dtype=torch.float64)
        target = int((torch.tensor(weights, dtype=torch.float64)[:, None] * found).sum(0).argmax())
    scores = [0.0] * row.token_count
    logits = [0.0] * len(classifier.labels)
    books: list[float | None] = [0.0, 0.0, 0.0]
    for part, weight, piece in zip(reading.parts, weights, texts, strict=True):
        (own,) = whybert.explain(classifier, piece, method, target)
        for column, token in zip(part.columns, own.tokens, strict=True):
            assert token.text == row.tokens[column]
            scores[column] += weight * token.score
        logits = [total + weight * value for total, value in zip(logits, own.logits, strict=True)]
        if own.completeness is not None:
            values = (own.completeness.relevance_sum, own.completeness.logit, own.completeness.biases)
            books = [
                None if total is None or value is None else total + weight * value
                for total, value in zip(books, values, strict=True)
            ]
    return scores, logits, books


@pytest.mark.parametrize("method", [*STANDARD, "gi:reduction=sum", "lrp:residual=once,reduction=sum"])
@pytest.mark.parametrize("target", [None, 1, (2, 0)], ids=str)
def test_the_whole_is_the_sum_of_its_windows(classifier: Classifier, method: str, target: Any) -> None:
    for text in (SINGLE[0], *PAIR):
        (found,) = whybert.explain(classifier, text, method, target, long="windows", stride=3)
        scores, logits, books = twin(classifier, text, method, target, 3)
        assert found.scores == pytest.approx(scores, rel=1e-9, abs=1e-12)
        assert found.logits == pytest.approx(logits, rel=1e-9, abs=1e-12)
        if found.completeness is not None:
            own = found.completeness
            assert own.relevance_sum == pytest.approx(books[0], rel=1e-9, abs=1e-12)
            assert own.logit == pytest.approx(books[1], rel=1e-9, abs=1e-12)
            assert own.biases == (None if books[2] is None else pytest.approx(books[2], rel=1e-9, abs=1e-12))
        assert not found.truncated
        assert [word.text for word in found.words()] == list(row_of(text).words)


@pytest.mark.parametrize("target", [None, 1, (2, 0)], ids=str)
def test_conservation_holds_for_the_whole(classifier: Classifier, target: Any) -> None:
    for text in (SINGLE[1], *PAIR):
        (found,) = whybert.explain(classifier, text, "cp_lrp", target, long="windows")
        assert len(found.windows) > 1
        assert found.completeness is not None
        assert abs(found.completeness.remainder) < 1e-12
        explained = found.logits[found.target.index]
        explained -= 0 if found.target.against is None else found.logits[found.target.against]
        assert found.completeness.logit == pytest.approx(explained, abs=1e-12)
        assert sum(found.scores) == pytest.approx(found.completeness.relevance_sum, abs=1e-12)
        for label, logit in enumerate(found.logits):
            parts = sum(window.weight * window.logits[label] for window in found.windows)
            assert parts == pytest.approx(logit, abs=1e-12)


def test_a_text_that_fits_is_the_same_to_the_last_bit(classifier: Classifier) -> None:
    texts = ["a good film", "the film was bad", "so", "a well-made film, great!"]
    methods = [*STANDARD]
    plain = whybert.explain(classifier, texts, methods)
    assert whybert.explain(classifier, texts, methods, long="windows", stride=2) == plain
    assert classifier.predict(texts, long="windows") == classifier.predict(texts)
    unlimited = dataclasses.replace(classifier, max_length=40)
    (whole,) = whybert.explain(unlimited, TEXT[:60], long="windows")
    assert (whole,) == tuple(whybert.explain(unlimited, TEXT[:60]))
    assert whole.windows == ()


def test_none_explains_what_the_whole_is_predicted_as(classifier: Classifier) -> None:
    texts = [TEXT, *(TEXT[start:] + TEXT for start in range(0, 60, 5))]
    found = whybert.explain(classifier, texts, long="windows", stride=0)
    best = [max(range(3), key=each.logits.__getitem__) for each in found]
    assert [each.target.index for each in found] == [each.predicted for each in found] == best
    votes = [{max(range(3), key=window.logits.__getitem__) for window in each.windows} for each in found]
    assert any(len(each) > 1 for each in votes)  # some windows say something else
    predictions = classifier.predict(texts, long="windows", stride=0)
    assert [each.predicted for each in predictions] == best
    assert [each.windows for each in predictions] == [len(each.windows) for each in found]
    for each, own in zip(predictions, found, strict=True):
        assert each.logits == pytest.approx(own.logits)
        assert each.probabilities == pytest.approx(own.probabilities)
        assert not each.truncated


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batches_do_not_matter(classifier: Classifier, batch_size: int) -> None:
    texts = ["so", TEXT, "a good film", TEXT + TEXT, "bad"]
    targets = [0, None, (0, 1), (1, 2), None]
    found = whybert.explain(
        classifier, texts, ["attnlrp", "lat"], targets, long="windows", batch_size=batch_size
    )
    for index, text in enumerate(texts):
        for method in ("attnlrp", "lat"):
            (alone,) = whybert.explain(classifier, text, method, targets[index], long="windows")
            own = found[method][index]
            assert own.text == text
            assert own.scores == pytest.approx(alone.scores, rel=1e-9, abs=1e-12)
            assert own.target == alone.target


@contextmanager
def passes(model: torch.nn.Module) -> Iterator[list[int]]:
    """The number of rows of each forward pass."""
    seen: list[int] = []
    hook = model.register_forward_hook(lambda module, args, output: seen.append(len(output.logits)))
    try:
        yield seen
    finally:
        hook.remove()


def test_windows_that_no_batch_holds_cost_another_forward_pass_without_a_target(
    classifier: Classifier,
) -> None:
    long, short = TEXT + TEXT, "a good film"
    count = len(cut(row_of(long), 16).parts)
    for texts, target, expected in (
        ([short], None, [1]),
        ([long], 0, [count]),
        ([long], None, [count]),
        ([short, long, short], None, [count + 2]),
        ([TEXT, long], None, [count, len(cut(row_of(TEXT), 16).parts)]),
        ([short, long, short], [None, 1, None], [count + 2]),
    ):
        with passes(classifier.model) as seen:
            whybert.explain(classifier, texts, "attnlrp", target, long="windows", batch_size=count + 2)
        assert seen == expected
    size = count - 1
    for target, expected in ((0, [size, 1]), (None, [size, 1, size, 1])):
        with passes(classifier.model) as seen:
            whybert.explain(classifier, long, "attnlrp", target, long="windows", batch_size=size)
        assert seen == expected


def test_a_huge_text_comes_in_batches_of_its_windows(classifier: Classifier) -> None:
    huge = " ".join(["a film"] * 400)
    count = len(cut(row_of(huge), 16).parts)
    with passes(classifier.model) as seen:
        (prediction,) = classifier.predict(huge, 8, long="windows")
    assert max(seen) == 8
    assert sum(seen) == count == prediction.windows
    with passes(classifier.model) as seen:
        (found,) = whybert.explain(classifier, huge, batch_size=8, long="windows")
    assert max(seen) == 8
    assert sum(seen) == 2 * count
    assert len(found.words()) == 800


def test_a_million_characters_are_cut_in_time_that_grows_with_them() -> None:
    row = row_of("a film " * 2000)
    whole = dataclasses.replace(
        row,
        tokens=row.tokens * 60,
        offsets=row.offsets * 60,
        sequence_ids=(None, *[0] * (len(row.tokens) * 60 - 2), None),
        special=(True, *[False] * (len(row.tokens) * 60 - 2), True),
        word_ids=(None, *range(len(row.tokens) * 60 - 2), None),
        features={name: values * 60 for name, values in row.features.items()},
    )
    reading = cut(whole, 512)
    assert sum(part.end - part.start for part in reading.parts) >= whole.token_count - 2


# All kinds of models and tokenizers.


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("side", ["left", "right"])
def test_tokenizers(name: str, side: str) -> None:
    tokenizer = tiny.TOKENIZERS[name](padding_side=side)
    pad = tokenizer.pad_token_id
    ours = Classifier(tiny.bert(tokenizer, 2, pad_token_id=pad).double(), tokenizer, max_length=20)
    (found,) = whybert.explain(ours, TEXT, "cp_lrp", long="windows")
    assert len(found.windows) > 2
    assert abs(found.completeness.remainder) < 1e-12  # type: ignore[union-attr]
    assert "".join(word.text for word in found.words()) == re.sub(r"\s", "", TEXT)


def test_tokenizers_of_python_alone(tmp_path: Path, classifier: Classifier) -> None:
    vocabulary = tmp_path / "vocab.txt"
    words = sorted(classifier.tokenizer.get_vocab().items(), key=lambda item: item[1])
    vocabulary.write_text("\n".join(word for word, _ in words), encoding="utf-8")
    slow = BertTokenizerLegacy(
        str(vocabulary), model_input_names=["input_ids", "token_type_ids", "attention_mask"]
    )
    ours = Classifier(classifier.model, slow, max_length=16)
    for text in (SINGLE[0], PAIR[1]):
        (found,) = whybert.explain(ours, text, "cp_lrp", long="windows")
        (same,) = whybert.explain(classifier, text, "cp_lrp", long="windows")
        assert found.scores == pytest.approx(same.scores, rel=1e-9, abs=1e-12)
        assert (found.windows, found.words()) == (same.windows, same.words())


@pytest.mark.filterwarnings("ignore:.*pad.*")
def test_a_tokenizer_without_padding_has_a_window_a_batch() -> None:
    tokenizer = tiny.wordpiece(pad_token=None)
    ours = Classifier(tiny.bert(tokenizer, 2).double(), tokenizer, max_length=20)
    with passes(ours.model) as seen:
        (found,) = whybert.explain(ours, TEXT, target=0, long="windows")
    assert seen == [1] * len(found.windows)


def test_regression_and_several_labels() -> None:
    tokenizer = tiny.wordpiece()
    one = Classifier(tiny.bert(tokenizer, 3, num_labels=1).double(), tokenizer, max_length=16)
    (found,) = whybert.explain(one, TEXT, "cp_lrp", long="windows")
    assert found.probabilities == ()
    assert found.answer == pytest.approx(sum(each.weight * each.logits[0] for each in found.windows))
    assert abs(found.completeness.remainder) < 1e-12  # type: ignore[union-attr]
    kind = "multi_label_classification"
    many = Classifier(tiny.bert(tokenizer, 3, num_labels=3, problem_type=kind).double(), tokenizer, 16)
    (found,) = whybert.explain(many, TEXT, long="windows")
    assert found.probabilities == pytest.approx(torch.tensor(found.logits, dtype=torch.float64).sigmoid())
    (prediction,) = many.predict(TEXT, long="windows")
    assert prediction.probabilities == pytest.approx(found.probabilities)


# What is refused.


def test_ways_that_do_not_exist_are_refused(classifier: Classifier) -> None:
    for ask in (classifier.predict, lambda text, **how: whybert.explain(classifier, text, **how)):
        with pytest.raises(UnknownNameError, match="did you mean 'windows'"):
            ask(TEXT, long="window")
        with pytest.raises(UsageError, match="add long='windows'"):
            ask(TEXT, stride=3)
        for stride in (-1, 2.0, True):
            with pytest.raises(UsageError, match="whole number of tokens"):
                ask(TEXT, long="windows", stride=stride)
        with pytest.raises(InputError, match="stride must be less than the 14 tokens of a text") as caught:
            ask(TEXT, long="windows", stride=14)
        assert caught.value.index is None


def test_pairs_without_room_are_refused_by_name(classifier: Classifier) -> None:
    texts = [("a", "b"), (TEXT, TEXT)]
    with pytest.raises(InputError, match=r"the second part of text 1 has .* without windows") as caught:
        whybert.explain(classifier, texts, long="windows")
    assert caught.value.index == 1
    with pytest.raises(InputError, match="the first part of text 0"):
        cut(row_of((TEXT, TEXT + TEXT)), 16)
    with pytest.raises(InputError, match=r"stride must be less than the [0-9]+ tokens of text 0"):
        cut(row_of((TEXT, OTHER)), 16, 12)
    with pytest.raises(InputError, match="max_length must be at least 3"):
        cut(row_of(TEXT), 2)


def test_an_answer_that_is_no_number_is_of_the_text_that_has_the_window() -> None:
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer, 4)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("!")] = float("nan")
    ours = Classifier(model, tokenizer, max_length=16)
    texts = ["so", "a good film", TEXT]
    for target in (None, 0):
        with pytest.raises(NonFiniteError, match="text 2") as caught:
            whybert.explain(ours, texts, target=target, long="windows")
        assert caught.value.index == 2
    with pytest.raises(NonFiniteError, match="text 2"):
        ours.predict(texts, long="windows")
    assert len(list(predict_batches(ours, texts[:2], long="windows"))) == 1


# What is kept and shown.


def test_windows_are_kept_and_said(classifier: Classifier) -> None:
    (found,) = whybert.explain(classifier, TEXT, long="windows", stride=4)
    assert Explanation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert (
        notes(found)[-1] == f"read in {len(found.windows)} windows of up to 16 tokens that overlap by up to 4"
    )
    (apart,) = whybert.explain(classifier, TEXT, long="windows", stride=0)
    assert notes(apart)[-1].endswith("of up to 16 tokens")
    (short,) = whybert.explain(classifier, TEXT)
    assert short.truncated
    with pytest.raises(InputError, match="expected windows"):
        dataclasses.replace(short, windows=(whybert.Window(0, 99, 3, 1.0, (1.0, 2.0, 3.0)),))
    with pytest.raises(InputError, match="3 logits, got 1"):
        dataclasses.replace(short, windows=(whybert.Window(0, 9, 3, 1.0, (1.0,)),))


def test_windows_go_into_files_and_come_back(classifier: Classifier, tmp_path: Path) -> None:
    found = whybert.explain(classifier, [TEXT, "a film"], long="windows")
    for suffix in (".jsonl", ".parquet"):
        whybert.save(found, tmp_path / f"why{suffix}")
        assert whybert.load(tmp_path / f"why{suffix}") == found
    for level in ("word", "sentence"):
        assert "windows of up to 16 tokens" in found.to_html(level)  # type: ignore[arg-type]
    assert list(found.to_pandas("sentence")["sentence"][:2]) == ["the film was good.", "don't you think so?"]


def test_progress_counts_windows(classifier: Classifier) -> None:
    said: list[tuple[str, int, int | None]] = []

    def progress(*told: Any) -> None:
        said.append(told)

    count = len(cut(row_of(TEXT), 16).parts)
    for ask in (
        lambda texts: predict_batches(classifier, texts, 2, long="windows", progress=progress),
        lambda texts: explain_batches(
            classifier, texts, create_all("gi"), 0, batch_size=2, long="windows", progress=progress
        ),
    ):
        said.clear()
        list(ask(["so", TEXT]))
        assert [done for _, done, _ in said] == [
            *range(2, count + 1, 2),
            *([count + 1] if count % 2 == 0 else []),
        ]
        assert {(what, total) for what, _, total in said} == {("windows", count + 1)}
        said.clear()
        list(ask(["so", "a film"]))
        assert said == []


def test_batches_yield_texts_when_all_their_windows_are_there(classifier: Classifier) -> None:
    texts = ["so", TEXT, "a good film", TEXT + TEXT]
    methods = create_all("attnlrp")
    seen: list[int] = []
    for indices, rows in explain_batches(classifier, texts, methods, batch_size=2, long="windows"):
        assert [each.text for each in rows["attnlrp"]] == [texts[index] for index in indices]
        seen += indices
    assert sorted(seen) == [0, 1, 2, 3]


def test_the_shell_reads_long_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], classifier: Classifier
) -> None:
    call = caller(monkeypatch, capsys)
    monkeypatch.setattr(Classifier, "load", lambda *names, **how: classifier)
    how = ["--long", "windows", "--stride", "3", "--format", "json"]
    (record,) = call("explain", TEXT, *how, "--level", "sentence", "--top", "1").records
    (found,) = whybert.explain(classifier, TEXT, long="windows", stride=3)
    (best,) = found.top(1, level="sentence")
    assert Explanation.from_dict(record) == found
    assert [each["text"] for each in record["top"]] == [best.text]
    (said,) = call("predict", TEXT, *how).records
    assert (said["windows"], said["truncated"]) == (len(found.windows), False)
    one_error(call("explain", TEXT, "--stride", "3"), 2, "add --long windows")
    refused = call("evaluate", "--data", "sst2", "--long", "windows")
    one_error(refused, 2, "--long windows is for explain and predict")
    shown = call("explain", TEXT, "--long", "windows", "--level", "sentence")
    assert "windows of up to 16 tokens" in " ".join(shown.out.split())


def test_a_text_read_at_once_is_a_reading_of_one_part() -> None:
    row = row_of(TEXT)
    assert Reading.at_once(row) == cut(row, None) == cut(row, row.token_count)
    assert len(cut(row, row.token_count - 1).parts) == 2
