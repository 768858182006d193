"""Explanations that no method of whybert made: the random control, and those that a file holds."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from whybert import Classifier, explain
from whybert.encoding import Text
from whybert.errors import InputError
from whybert.evaluation.given import RANDOM, explanation_of, random_explanations, read_explanations
from whybert.evaluation.metric import Subject, check_explanation
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.explanation import Explanation

# Sums of at most a few dozen numbers of size 1 in float64.
EXACT = 1e-12

TEXTS = ("The film was good", "don't you think so?", "a well-made film, a bad film.")
ROWS = (7, 0, 3)  # the subjects' own indices, in no order


def classifier_of(name: str) -> Classifier:
    tokenizer = tiny.TOKENIZERS[name]()
    model = tiny.bert(tokenizer) if name == "wordpiece" else tiny.roberta(tokenizer)
    return Classifier(model, tokenizer)


CLASSIFIERS = {name: classifier_of(name) for name in tiny.TOKENIZERS}
WORDPIECE = CLASSIFIERS["wordpiece"]
LABELS = WORDPIECE.labels


def subjects(
    texts: Sequence[Text] = TEXTS,
    indices: Sequence[int] | None = ROWS,
    classifier: Classifier = WORDPIECE,
    **options: Any,
) -> list[Subject]:
    return make_subjects(classifier, list(texts), indices=indices, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "theirs.jsonl"


def write(path: Path, *lines: dict[str, Any] | str) -> None:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8"
    )


def read(path: Path, *lines: dict[str, Any] | str, given: Sequence[Subject] | None = None) -> list[Any]:
    """The scores of what the lines say about the subjects."""
    write(path, *lines)
    listed = subjects() if given is None else list(given)
    found = read_explanations(path, listed, LABELS, "theirs")
    for subject, explanation in zip(listed, found, strict=True):
        check_explanation(subject, explanation)
        assert explanation.method == "theirs"
        assert (explanation.target.index, explanation.labels) == (subject.target, LABELS)
        assert explanation.logits == subject.logits
    return [list(explanation.scores) for explanation in found]


def of_spans(subject: Subject, score: float = 1.0) -> dict[str, Any]:
    """A line with one unit that is the whole text."""
    return {"index": subject.index, "spans": [[0, len(subject.row.text)]], "scores": [score]}


# The control.


def test_random_scores_are_those_of_the_seed() -> None:
    first, again = (random_explanations(subjects(seed=3), LABELS) for _ in range(2))
    assert first == again
    other = random_explanations(subjects(seed=4), LABELS)
    for one, two in zip(first, other, strict=True):
        assert not set(one.scores) & set(two.scores)


def test_random_scores_know_the_text_alone() -> None:
    """Not the batch, the order, the row or the class."""
    together = random_explanations(subjects(), LABELS)
    for index, text in enumerate(TEXTS):
        [alone] = random_explanations(subjects([text], [99], target=1), LABELS)
        assert alone.scores == together[index].scores
    backwards = random_explanations(subjects(TEXTS[::-1], ROWS[::-1]), LABELS)
    assert backwards[::-1] == together


def test_random_scores_are_uniform_and_differ_from_text_to_text() -> None:
    texts = [f"a film so {first} {second}" for first in "abcdefghij" for second in "klmnopqrst"]
    found = random_explanations(subjects(texts, None), LABELS)
    scores = [score for explanation in found for score in explanation.scores]
    assert all(-1 <= score <= 1 for score in scores)
    assert len(set(scores)) == len(scores) == 100 * len(found[0].tokens)
    # The mean of n uniform numbers from -1 to 1 has the deviation 1 / sqrt(3 n), their squares' one
    # sqrt(4 / 45 / n) around 1 / 3.
    count = len(scores)
    assert abs(math.fsum(scores) / count) < 4 / math.sqrt(3 * count)
    assert abs(math.fsum(score**2 for score in scores) / count - 1 / 3) < 4 * math.sqrt(4 / 45 / count)


def test_random_scores_belong_to_the_subject() -> None:
    for subject, explanation in zip(subjects(), random_explanations(subjects(), LABELS), strict=True):
        check_explanation(subject, explanation)
        assert (explanation.method, explanation.signed) == (RANDOM, True)
        assert explanation.target.index == subject.target
        assert explanation.prediction == LABELS[subject.prediction]
        assert explanation.probabilities == subject.probabilities


def test_an_explanation_needs_a_score_for_each_token() -> None:
    [subject] = subjects(TEXTS[:1], [0])
    with pytest.raises(ValueError, match="one score for each of the"):
        explanation_of(subject, LABELS, [1.0], "theirs")


# What a line holds.


def test_words(path: Path) -> None:
    [subject] = subjects(TEXTS[:1], [0])
    assert subject.row.tokens == ("[CLS]", "the", "film", "was", "good", "[SEP]")
    for words in (["The", "film", "was", "good"], ["the", "FILM", "was", "Good"]):
        line = {"index": 0, "words": words, "scores": [1, -2.5, 3, 1e-3]}
        assert read(path, line, given=[subject]) == [[0, 1, -2.5, 3, 1e-3, 0]]


def test_words_of_white_space_keep_their_punctuation(path: Path) -> None:
    given = subjects()
    lines = [
        {"index": subject.index, "words": text.split(), "scores": list(range(1, len(text.split()) + 1))}
        for subject, text in zip(given, TEXTS, strict=True)
    ]
    for text, subject, scores in zip(TEXTS, given, read(path, *lines, given=given), strict=True):
        row = subject.row
        start = 0
        for number, word in enumerate(text.split(), 1):
            end = start + len(word)
            own = [i for i, (first, last) in enumerate(row.offsets) if start <= first < last <= end]
            assert own
            assert math.fsum(scores[i] for i in own) == pytest.approx(number, abs=EXACT)
            for i in own:  # by characters
                share = (row.offsets[i][1] - row.offsets[i][0]) / len(word)
                assert scores[i] == pytest.approx(number * share, abs=EXACT)
            start = end + 1


def test_a_word_twice_is_the_next_one(path: Path) -> None:
    given = subjects(["a bad film a bad film"], [0])
    names = ["a", "bad", "film"] * 2
    [scores] = read(path, {"index": 0, "words": names, "scores": [1, 2, 3, 4, 5, 6]}, given=given)
    assert scores == [0, 1, 2, 3, 4, 5, 6, 0]


def test_words_may_end_before_the_text(path: Path) -> None:
    given = subjects(TEXTS[:1], [0])
    assert read(path, {"index": 0, "words": ["The", "film"], "scores": [1, 2]}, given=given) == [
        [0, 1, 2, 0, 0, 0]
    ]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("marked", [True, False])
def test_the_models_own_tokens(path: Path, name: str, marked: bool) -> None:
    """With the marks of word pieces; special tokens may be among them, and have no place in the text."""
    given = subjects([text.lower() for text in TEXTS], classifier=CLASSIFIERS[name])
    marks = {"wordpiece": "##", "byte_level": "\u0120", "metaspace": "\u2581"}
    assert any(token.startswith(marks[name]) for subject in given for token in subject.row.tokens)
    lines, expected = [], []
    for subject in given:
        row = subject.row
        scores = [float(2**place) for place in range(row.token_count)]
        expected.append([0 if special else score for score, special in zip(scores, row.special, strict=True)])
        chosen = [i for i in range(row.token_count) if marked or not row.special[i]]
        names = [row.tokens[i] for i in chosen]
        if not marked:
            names = [token.removeprefix(marks[name]) for token in names]
        lines.append({"index": subject.index, "tokens": names, "scores": [scores[i] for i in chosen]})
    assert read(path, *lines, given=given) == expected


def test_spans(path: Path) -> None:
    given = subjects(TEXTS[:1], [0])  # The film was good
    line = {"index": 0, "spans": [[4, 8], [0, 3], [8, 13]], "scores": [1, 2, 4]}
    # " was " covers one token, the blanks are in none; "good" has no unit.
    assert read(path, line, given=given) == [[0, 2, 1, 4, 0, 0]]
    across = {"index": 0, "spans": [[0, 8], [10, 12], [9, 12]], "scores": [7, 1, 2]}
    assert read(path, across, given=given) == [[0, 3, 4, 3, 0, 0]]


def test_sums_are_kept_where_units_and_tokens_do_not_coincide(path: Path) -> None:
    """Against sharing each unit's score among its characters that are in some token."""
    draw = random.Random(5)
    given = subjects()
    for _ in range(30):
        lines, expected = [], []
        for subject in given:
            text, row = subject.row.text, subject.row
            owner = {
                character: token
                for token, (start, end) in enumerate(row.offsets)
                for character in range(start, end)
            }
            cuts = [0, *sorted(draw.sample(range(1, len(text)), draw.randint(1, 9))), len(text)]
            spans = [
                [start, end]
                for start, end in itertools.pairwise(cuts)
                if any(character in owner for character in range(start, end))
            ]
            scores = [draw.uniform(-1, 1) for _ in spans]
            totals = [0.0] * row.token_count
            for (start, end), score in zip(spans, scores, strict=True):
                own = [character for character in range(start, end) if character in owner]
                for character in own:
                    totals[owner[character]] += score / len(own)
            expected.append(totals)
            lines.append({"index": subject.index, "spans": spans, "scores": scores})
        found = read(path, *lines, given=given)
        for line, mine, theirs in zip(lines, found, expected, strict=True):
            assert mine == pytest.approx(theirs, abs=EXACT)
            assert math.fsum(mine) == pytest.approx(math.fsum(line["scores"]), abs=EXACT)


def own_lines(texts: Sequence[Text], classifier: Classifier = WORDPIECE, **options: Any) -> list[Explanation]:
    given: Any = list(texts)
    return explain(classifier, given, "attnlrp", **options)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_lines_of_whybert_itself(path: Path, name: str) -> None:
    given = subjects(classifier=CLASSIFIERS[name])
    explanations = own_lines(TEXTS, CLASSIFIERS[name])
    write(path, *[{"index": row, **each.to_dict()} for row, each in zip(ROWS, explanations, strict=True)])
    assert read_explanations(path, given, LABELS, "attnlrp") == explanations
    write(path, *[each.to_dict() for each in reversed(explanations)])
    assert read_explanations(path, given, LABELS, "attnlrp") == explanations


# Which text a line is about.


def test_by_index_or_by_text_in_any_order(path: Path) -> None:
    given = subjects()
    by_index = [of_spans(subject, score) for score, subject in enumerate(given, 1)]
    by_text = [
        {**{k: v for k, v in line.items() if k != "index"}, "text": subject.row.text}
        for line, subject in zip(by_index, given, strict=True)
    ]
    both = [{**line, "text": subject.row.text} for line, subject in zip(by_index, given, strict=True)]
    expected = read(path, *by_index, given=given)
    assert [math.fsum(scores) for scores in expected] == pytest.approx([1, 2, 3], abs=EXACT)
    for lines in (by_index[::-1], by_text, by_text[::-1], both, [by_text[0], by_index[1], both[2]]):
        assert read(path, *lines, given=given) == expected


def test_a_text_wins_over_an_index_of_no_row(path: Path) -> None:
    """As in the lines of a tool that counts another way."""
    given = subjects()
    lines = [
        {**of_spans(subject, score), "text": subject.row.text, "index": 1000 + score}
        for score, subject in enumerate(given, 1)
    ]
    assert read(path, *lines, given=given) == read(path, *[of_spans(s, i) for i, s in enumerate(given, 1)])


def test_what_is_about_something_else_is_left_out(path: Path) -> None:
    given = subjects()
    wanted = [of_spans(subject) for subject in given]
    expected = read(path, *wanted, given=given)
    others = [
        {"index": 5, "words": ["whatever"], "scores": [1]},  # rows that are not evaluated
        {"text": "another text", "words": ["nowhere"], "scores": [1]},
        {"text": TEXTS[0], "pair": "of another pair", "words": ["x"], "scores": [1]},
        {**wanted[0], "method": "another", "scores": [99]},  # methods that are not asked for
        {"method": "another"},
        "",
        "   ",
    ]
    named = [{**line, "method": "theirs"} for line in wanted]
    assert read(path, *others, *named, *others, given=given) == expected


def test_a_text_in_several_rows(path: Path) -> None:
    given = subjects([TEXTS[0], TEXTS[1], TEXTS[0]], [0, 1, 2])
    lines = [{**of_spans(subject, subject.index + 1), "text": subject.row.text} for subject in given]
    found = read(path, *lines, given=given)
    assert [math.fsum(scores) for scores in found] == pytest.approx([1, 2, 3], abs=EXACT)


def test_a_byte_order_mark_and_line_ends_of_windows(path: Path) -> None:
    given = subjects()
    lines = [json.dumps(of_spans(subject)) for subject in given]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = read_explanations(path, given, LABELS, "theirs")
    assert [list(each.scores) for each in found] == read(path, *lines, given=given)


# Pairs.

PAIR = ("The film was good", "don't you think so?")


def test_words_of_a_pair(path: Path) -> None:
    given = subjects([PAIR], [0])
    names = ["The", "film", "was", "good", "don't", "you", "think", "so", "?"]
    [scores] = read(path, {"index": 0, "words": names, "scores": [2**i for i in range(9)]}, given=given)
    row = given[0].row
    assert sum(scores) == pytest.approx(2**9 - 1, abs=1e-9)
    assert scores[:6] == [0, 1, 2, 4, 8, 0]
    of_word = {
        word: math.fsum(
            score
            for score, (start, end), sequence in zip(scores, row.offsets, row.sequence_ids, strict=True)
            if sequence == 1 and PAIR[1].index(word) <= start < end <= PAIR[1].index(word) + len(word)
        )
        for word in names[4:]
    }
    assert of_word == pytest.approx({word: 2.0**i for i, word in enumerate(names[4:], 4)}, abs=1e-9)


def test_a_word_of_both_texts_is_that_of_the_text_first(path: Path) -> None:
    given = subjects([("a film", "a film")], [0])
    line = {"index": 0, "words": ["a", "film", "a", "film"], "scores": [1, 2, 3, 4]}
    assert read(path, line, given=given) == [[0, 1, 2, 0, 3, 4, 0]]


def test_spans_are_of_the_first_text(path: Path) -> None:
    given = subjects([("a film", "a film")], [0])
    assert read(path, {"index": 0, "spans": [[0, 6]], "scores": [5]}, given=given) == [[0, 1, 4, 0, 0, 0, 0]]


def test_a_pair_is_another_text_than_its_first_half(path: Path) -> None:
    given = subjects([PAIR, (PAIR[0], "so")], [0, 1])
    lines = [
        {"text": pair[0], "pair": pair[1], "spans": [[0, 17]], "scores": [score]}
        for pair, score in ((PAIR, 1.0), ((PAIR[0], "so"), 2.0))
    ]
    found = read(path, *reversed(lines), given=given)
    assert [math.fsum(scores) for scores in found] == pytest.approx([1, 2], abs=EXACT)
    with pytest.raises(InputError, match="has no explanation by 'theirs' of row 0"):
        read(path, lines[1], {"text": PAIR[0], "spans": [[0, 17]], "scores": [1]}, given=given)


def test_lines_of_whybert_itself_about_pairs(path: Path) -> None:
    given = subjects([PAIR, (PAIR[0], "so")], [0, 1])
    explanations = own_lines([PAIR, (PAIR[0], "so")])
    write(path, *[each.to_dict() for each in explanations])
    assert read_explanations(path, given, LABELS, "attnlrp") == explanations


# What is wrong.

GOOD = {"index": 0, "words": ["The", "film"], "scores": [1, 2]}
OWN: dict[str, Any] = {"index": 0, **own_lines(TEXTS[:1])[0].to_dict(), "method": None}


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "; expected one JSON object a line"),
        (
            '{"index": 0, "words": ["The"], "scores": [1]} {}',
            "; expected one JSON object a line",
        ),
        ("[" * 100_000, "; expected one JSON object a line"),
        ("[1]", "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
        (without(GOOD, "index"), "expected 'index' (the row) or 'text'"),
        ({**GOOD, "index": True}, "expected 'index' (the row) or 'text'"),
        ({**GOOD, "index": "0"}, "expected 'index' (the row) or 'text'"),
        ({**without(GOOD, "index"), "text": TEXTS[0], "pair": ["x"]}, "expected 'index' (the row) or 'text'"),
        (without(GOOD, "scores"), "expected 'scores', a list of numbers"),
        ({**GOOD, "scores": 1}, "expected 'scores', a list of numbers"),
        ({**GOOD, "scores": [1, "2"]}, "expected 'scores', a list of numbers"),
        ({**GOOD, "scores": [1, None]}, "expected 'scores', a list of numbers"),
        ({**GOOD, "scores": [1, True]}, "expected 'scores', a list of numbers"),
        ({**GOOD, "scores": [1, math.nan]}, "finite numbers, found nan at place 1"),
        ({**GOOD, "scores": [math.inf, 1]}, "finite numbers, found inf at place 0"),
        ({**GOOD, "scores": [1, -math.inf]}, "finite numbers, found -inf at place 1"),
        ({**GOOD, "scores": [1, 10**400]}, "expected scores that are finite numbers"),
        ({**GOOD, "scores": [1]}, "expected as many scores as words, found 1 and 2"),
        ({**GOOD, "scores": [1, 2, 3]}, "expected as many scores as words, found 3 and 2"),
        ({**without(GOOD, "words"), "spans": [[0, 1]]}, "expected as many scores as spans, found 2 and 1"),
        (without(GOOD, "words"), "expected one of 'words', 'tokens' and 'spans'"),
        ({**GOOD, "spans": [[0, 3], [4, 8]]}, "expected one of 'words', 'tokens' and 'spans'"),
        ({**GOOD, "words": 2}, "that are a list"),
        ({**GOOD, "words": "ab"}, "that are a list"),
        ({**GOOD, "words": ["The", "movie"]}, "'movie' (place 1) does not follow in the text of row 0"),
        ({**GOOD, "words": ["film", "The"]}, "'film' (place 0) does not follow"),  # not in order
        ({**GOOD, "words": ["The", "was"]}, "goes on with ' film was good'"),  # one is left out
        ({**GOOD, "words": ["Thefilm", "was"]}, "'Thefilm' (place 0) does not follow"),
        *(
            ({"index": 0, "spans": [span], "scores": [1]}, "expected spans [start, end] inside the text")
            for span in ([0, 18], [-1, 3], [3, 3], [4, 3], [0], [0, 1, 2], [0.0, 3.0], [None, 3], "ab", 3)
        ),
        ({**GOOD, "text": "another text"}, "row 0 is 'The film was good', but the line is about 'another"),
        ({**OWN, "schema": 99}, "expected an explanation with schema 1, got schema 99"),
        (without(OWN, "logits"), "expected the key 'logits'"),
        ({**OWN, "method": None}, "'method'"),
    ],
)
def test_a_bad_line_is_named(path: Path, line: dict[str, Any] | str, message: str) -> None:
    given = subjects(TEXTS[:2], [0, 1])
    with pytest.raises(InputError) as caught:
        read(path, of_spans(given[1]), "", line, given=given)
    assert f"{str(path)!r}, line 3: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_of_another_tokenizer_are_refused(path: Path) -> None:
    given = subjects(TEXTS[:1], [4])
    write(path, *[each.to_dict() for each in own_lines(TEXTS[:1], CLASSIFIERS["byte_level"])])
    with pytest.raises(InputError, match=r"line 1: .* the model's 6 tokens") as caught:
        read_explanations(path, given, LABELS, "attnlrp")
    assert caught.value.index == 4


def test_nan_in_a_line_of_whybert_itself_is_refused(path: Path) -> None:
    record = own_lines(TEXTS[:1])[0].to_dict()
    record["tokens"][2]["score"] = "nan"  # type: ignore[index]
    write(path, record)
    with pytest.raises(InputError, match=r"line 1: .*found NaN for the token 'film'"):
        read_explanations(path, subjects(TEXTS[:1], [0]), LABELS, "attnlrp")


def test_a_missing_row_is_named(path: Path) -> None:
    given = subjects()
    with pytest.raises(InputError) as caught:
        read(path, *[of_spans(subject) for subject in given[:2]], given=given)
    assert f"{str(path)!r} has no explanation by 'theirs' of row 3 ('a well-made film" in str(caught.value)
    assert caught.value.index == 3
    write(path)
    with pytest.raises(InputError, match="no explanation by 'theirs' of row 7"):
        read_explanations(path, given, LABELS, "theirs")


def test_errors_about_a_text_carry_its_row(path: Path) -> None:
    given = subjects()
    for line in ({"scores": [math.nan]}, {"scores": None}, {"spans": None, "words": ["zebra"]}):
        with pytest.raises(InputError) as caught:
            read(path, {**of_spans(given[0]), **line}, given=given)
        assert caught.value.index == 7


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nowhere.jsonl", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=reason) as caught:
            read_explanations(path, subjects(), LABELS, "theirs")
        assert repr(str(path)) in str(caught.value)
    (tmp_path / "latin.jsonl").write_bytes('{"text": "café"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jsonl', line 1: byte 13 .* is not UTF-8"):
        read_explanations(tmp_path / "latin.jsonl", subjects(), LABELS, "theirs")


def test_one_line_by_text_is_for_all_rows_of_that_text(path: Path) -> None:
    given = subjects(["a film", "so", "a film"], [4, 5, 6])
    line = {"text": "a film", "words": ["a", "film"], "scores": [1, 2]}
    assert read(path, line, {"index": 5, "words": ["so"], "scores": [3]}, given=given) == [
        [0, 1, 2, 0],
        [0, 1.5, 1.5, 0],  # "so" is two tokens
        [0, 1, 2, 0],
    ]


def test_an_explanation_of_another_class_is_refused(path: Path) -> None:
    [subject] = subjects(["a film"], [0])
    [other] = explain(WORDPIECE, ["a film"], "gi", 1 - subject.target)
    write(path, {"index": 0, **other.to_dict(), "method": "theirs"})
    with pytest.raises(InputError, match=r"line 1: expected an explanation of .*found one of .*--target"):
        read_explanations(path, [subject], LABELS, "theirs")
    [unsure] = explain(WORDPIECE, ["a film"], "gi", quantity="entropy")
    write(path, {"index": 0, **unsure.to_dict(), "method": "theirs"})
    with pytest.raises(InputError, match=r"line 1: expected an explanation of .*found one of 'entropy'"):
        read_explanations(path, [subject], LABELS, "theirs")


@pytest.mark.parametrize("name", tiny.TOKENIZERS)
def test_tokens_as_the_model_spells_them_need_not_stand_in_the_text(path: Path, name: str) -> None:
    classifier = CLASSIFIERS[name]
    [subject] = subjects(["caf\u00e9 \u4e2d film \u2581"], [0], classifier)
    scores = [float(2**place) for place in range(subject.row.token_count)]
    write(path, {"index": 0, "tokens": list(subject.row.tokens), "scores": scores})
    [found] = read_explanations(path, [subject], classifier.labels, "theirs")
    flags = zip(scores, subject.row.special, strict=True)
    assert list(found.scores) == [0.0 if special else score for score, special in flags]
