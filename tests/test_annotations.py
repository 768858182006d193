"""Reading what people marked, and sharing the scores of tokens out over their units."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from whybert.datasets.annotated import AnnotatedTexts, Annotation, load_annotations
from whybert.datasets.base import DatasetError
from whybert.datasets.sst import FIVE
from whybert.encoding import EncodedText, tokenize
from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.evaluation.plausibility import unit_scores
from whybert.explanation import Explanation, Target, Token

TOKENIZERS = {name: make() for name, make in tiny.TOKENIZERS.items()}


def explain(row: EncodedText, scores: Sequence[float]) -> Explanation:
    """An explanation of a text as a tokenizer splits it."""
    tokens = [
        Token(text, *row.offsets[index], row.sequence_ids[index], row.word_ids[index], special, score)
        for index, (text, special, score) in enumerate(zip(row.tokens, row.special, scores, strict=True))
    ]
    return Explanation(
        text=row.text,
        pair=row.pair,
        tokens=tuple(tokens),
        word_spans=row.word_spans,
        prediction="positive",
        probabilities=(0.1, 0.9),
        logits=(-1.0, 1.0),
        labels=("negative", "positive"),
        target=Target(1, "positive"),
        method="by hand",
        options={},
        signed=True,
        truncated=row.truncated,
        completeness=None,
    )


def by_hand(text: str, tokens: Sequence[tuple[int, int, float]]) -> Explanation:
    """Tokens at these characters, each a word of its own only in name: annotations do not ask for words."""
    listed = [Token(text[start:end], start, end, 0, None, False, score) for start, end, score in tokens]
    special = Token("[CLS]", 0, 0, None, None, True, 1000.0)
    empty = EncodedText(text, None, (), (), (), (), (), (), (), False, {})
    explanation = explain(empty, [])
    return Explanation(**{**_fields(explanation), "tokens": (special, *listed, special)})


def _fields(explanation: Explanation) -> dict[str, Any]:
    return {name: getattr(explanation, name) for name in Explanation.__dataclass_fields__}


def white_space(text: str, marks: Sequence[float] | None = None) -> Annotation:
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return Annotation(text, None, tuple(spans), tuple(marks if marks is not None else range(len(spans))))


# Scores of units.


def test_tokens_of_a_unit_are_added() -> None:
    annotation = white_space("a well-made film.", [0, 1, 0])
    tokens = [(0, 1, 1.0), (2, 6, 2.0), (6, 7, -0.5), (7, 11, 4.0), (12, 16, 8.0), (16, 17, 0.25)]
    assert unit_scores(by_hand(annotation.text, tokens), annotation) == ((1.0, 5.5, 8.25), (0, 1, 0))


def test_a_token_over_two_units_is_shared_by_its_characters() -> None:
    annotation = Annotation("do n't go", None, ((0, 2), (3, 6), (7, 9)), (1, 0, 1))
    scores, marks = unit_scores(by_hand(annotation.text, [(1, 6, 10.0), (7, 9, 1.0)]), annotation)
    assert scores == pytest.approx((2.0, 6.0, 1.0))  # 1 and 3 of 5 characters; the blank's share is no one's
    assert marks == (1, 0, 1)


def test_units_without_tokens_are_left_out() -> None:
    annotation = white_space("one two three four", [0, 1, 2, -1])
    explanation = by_hand(annotation.text, [(0, 3, 1.0), (8, 13, 3.0)])
    assert unit_scores(explanation, annotation) == ((1.0, 3.0), (0, 2))
    assert unit_scores(by_hand(annotation.text, []), annotation) == ((), ())


def test_a_token_without_characters_counts_where_it_stands() -> None:
    annotation = white_space("one two three", [0, 1, 0])
    tokens = [(0, 3, 1.0), (4, 4, 0.5), (4, 7, 2.0), (8, 8, 9.0), (13, 13, 9.0)]
    # The last unit has nothing but such a token: the model did not see it.
    assert unit_scores(by_hand(annotation.text, tokens), annotation) == ((1.0, 2.5), (0, 1))


def test_characters_between_units_count_for_none() -> None:
    annotation = Annotation("ab cd", None, ((3, 5),), (1,))
    assert unit_scores(by_hand("ab cd", [(0, 2, 5.0), (3, 5, 1.0)]), annotation) == ((1.0,), (1,))


def test_the_second_text_of_a_pair_does_not_count() -> None:
    [row] = tokenize(TOKENIZERS["wordpiece"], [("a bad film", "bad film")])
    explanation = explain(row, [1.0] * row.token_count)
    assert unit_scores(explanation, white_space("a bad film")) == ((1.0, 1.0, 1.0), (0, 1, 2))


def literal_scores(explanation: Explanation, annotation: Annotation) -> list[tuple[float, float]]:
    """Character by character."""
    found = []
    for (start, end), mark in zip(annotation.spans, annotation.marks, strict=True):
        inside, score, seen = set(range(start, end)), 0.0, False
        for token in explanation.tokens:
            characters = range(token.start, token.end)
            if token.special or token.sequence != 0:
                continue
            if not characters:
                score += token.score if token.start in inside else 0.0
            for character in characters:
                score += token.score / len(characters) if character in inside else 0.0
                seen = seen or character in inside
        if seen:
            found.append((score, mark))
    return found


@settings(deadline=None)
@given(
    st.sampled_from(sorted(TOKENIZERS)),
    st.text("abz .,-'\u00e9\u4e2d\U0001f600", min_size=1, max_size=20).filter(str.strip),
    st.none() | st.integers(5, 9),
    st.integers(0, 2**31),
)
def test_unit_scores_are_those_of_the_characters(
    name: str, text: str, max_length: int | None, seed: int
) -> None:
    try:
        [row] = tokenize(TOKENIZERS[name], [text], max_length)
    except InputError:  # white space in front leaves no room: there is nothing to explain
        return
    scores = [float((seed * (place + 3)) % 17 - 8) for place in range(row.token_count)]
    explanation, annotation = explain(row, scores), white_space(text)
    found = list(zip(*unit_scores(explanation, annotation), strict=True))
    expected = literal_scores(explanation, annotation)
    assert [mark for _, mark in found] == [mark for _, mark in expected]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected])
    if max_length is None:
        whole = sum(score for score, special in zip(scores, row.special, strict=True) if not special)
        blank = sum(
            scores[place]
            for place, (start, end) in enumerate(row.offsets)
            if start == end and (start == len(text) or text[start].isspace()) and not row.special[place]
        )
        if all(" " not in text[start:end] for start, end in row.offsets):
            assert sum(score for score, _ in found) == pytest.approx(whole - blank)


def test_another_text_is_named() -> None:
    explanation, annotation = by_hand("a film", [(0, 1, 1.0)]), white_space("the film")
    with pytest.raises(InputError, match="text 12 that was annotated") as raised:
        unit_scores(explanation, annotation, 12)
    assert raised.value.index == 12
    with pytest.raises(InputError, match="found one of 'a film'") as raised:
        unit_scores(explanation, annotation)
    assert raised.value.index is None


# The values.


@pytest.mark.parametrize(
    ("spans", "marks", "message"),
    [
        ((), (), "at least one word"),
        (((0, 1), (2, 6)), (1,), "each of 2 words, found 1"),
        (((0, 1), (2, 7)), (0, 1), "word 1 between characters 1 and 6, found 2 to 7"),
        (((-1, 1),), (0,), "word 0 between characters 0 and 6, found -1 to 1"),
        (((2, 6), (0, 1)), (0, 1), "word 1 between characters 6 and 6"),
        (((0, 3), (2, 6)), (0, 1), "word 1 between characters 3 and 6"),
        (((1, 1),), (0,), "word 0"),
        (((0, 1), (2, 6)), (0, math.nan), "found nan for word 1"),
        (((0, 1), (2, 6)), (math.inf, 0), "found inf for word 0"),
    ],
)
def test_annotations_that_contradict_themselves(spans: Any, marks: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Annotation("a film", None, spans, marks)


def test_annotations_are_values() -> None:
    annotation = Annotation("a film", "x", [[0, 1], [2, 6]], [0, 1])  # type: ignore[arg-type, list-item]
    assert annotation == Annotation("a film", "x", ((0, 1), (2, 6)), (0, 1))
    assert len({annotation, Annotation("a film", "x", ((0, 1), (2, 6)), (0, 1))}) == 1
    assert annotation.units == ("a", "film")
    with pytest.raises(FrozenInstanceError):
        annotation.text = "b"  # type: ignore[misc]


def test_rows_fit_their_kind() -> None:
    row = Annotation("a film", "good", ((0, 1), (2, 6)), (0, -2))
    assert AnnotatedTexts("x", "sentiment", ("good",), (row,), "here").rows == (row,)
    with pytest.raises(InputError, match="0 or 1 in a rationale, text 0") as raised:
        AnnotatedTexts("x", "rationale", ("good",), (row,), "here")
    assert raised.value.index == 0
    with pytest.raises(InputError, match="unknown label 'good' of text 0; known: bad"):
        AnnotatedTexts("x", "sentiment", ("bad",), (row,), "here")
    far = Annotation("a film", "good", ((0, 1), (2, 6)), (0, 3))
    with pytest.raises(InputError, match="from -2 to 2, text 1") as raised:
        AnnotatedTexts("x", "sentiment", ("good",), (row, far), "here")
    assert raised.value.index == 1


def test_the_share_is_the_mean_over_texts() -> None:
    rows = (white_space("a b c d", [1, 0, 0, 0]), white_space("a b", [1, 0]))
    assert AnnotatedTexts("x", "rationale", (), rows, "here").rationale_share == (1 / 4 + 1 / 2) / 2
    assert math.isnan(AnnotatedTexts("x", "sentiment", (), rows, "here").rationale_share)
    assert math.isnan(AnnotatedTexts("x", "rationale", (), (), "here").rationale_share)


# JSON lines.


def json_lines(folder: Path, *rows: object) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
    return path


def test_json_lines_in_both_forms(tmp_path: Path) -> None:
    path = json_lines(
        tmp_path,
        {"text": "A  really bad film.", "label": "bad", "rationale": [[3, 13]]},
        {"text": "A  really bad film.", "label": "bad", "rationale": [0, 1, 1, 0]},
        {"tokens": ["A", "really", "bad", "film", "."], "label": "awful", "rationale": [0, 1.0, True, 0, 0]},
        {"tokens": ["fine", "."], "rationale": [[0, 4]]},
        {"text": "fine .", "rationale": []},
    )
    found = load_annotations(str(path))
    assert (found.name, found.kind, found.labels) == ("mine", "rationale", ("awful", "bad"))
    assert found.source == str(path)
    first, second, third, fourth, fifth = found.rows
    assert first == second
    assert first.units == ("A", "really", "bad", "film.")
    assert first.text == "A  really bad film."
    assert first.marks == (0, 1, 1, 0)
    assert (third.text, third.marks, third.label) == ("A really bad film .", (0, 1, 1, 0, 0), "awful")
    assert (fourth.units, fourth.marks, fourth.label) == (("fine", "."), (1, 0), None)
    assert fifth.marks == (0, 0)


@settings(deadline=None)
@given(
    st.text("ab .", min_size=1, max_size=12).filter(str.strip),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=3),
)
def test_spans_mark_the_words_that_they_touch(
    tmp_path_factory: pytest.TempPathFactory, text: str, ends: list[tuple[int, int]]
) -> None:
    spans = [[start, end] for start, end in ends if start < end <= len(text) and text[start:end].strip()]
    path = json_lines(tmp_path_factory.mktemp("rows"), {"text": text, "rationale": spans})
    [row] = load_annotations(path).rows
    touched = {character for start, end in spans for character in range(start, end)}
    assert row == white_space(text, [float(any(c in touched for c in range(*span))) for span in row.spans])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a film", "rationale": [[2, 7]]}, r"between the characters 0 and 6, found \[2, 7\]"),
        ({"text": "a film", "rationale": [[-1, 2]]}, "between the characters 0 and 6"),
        ({"text": "a film", "rationale": [[3, 3]]}, "between the characters 0 and 6"),
        ({"text": "a film", "rationale": [[0, 1, 2]]}, "between the characters 0 and 6"),
        ({"text": "a film", "rationale": [[False, True]]}, "between the characters 0 and 6"),
        ({"text": "a film", "rationale": [[0, "1"]]}, "between the characters 0 and 6"),
        ({"text": "a film", "rationale": [[1, 2]]}, "no word at the characters 1 to 2"),
        ({"text": "a film", "rationale": [1]}, "each of 2 words, found 1"),
        ({"text": "a film", "rationale": [1, 0, 0]}, "each of 2 words, found 3"),
        ({"text": "a film", "rationale": [1, math.nan]}, "0 or 1, found nan at place 1"),
        ({"text": "a film", "rationale": [1, 2]}, "0 or 1, found 2 at place 1"),
        ({"text": "a film", "rationale": [1, [0, 1]]}, r"0 or 1, found \[0, 1\] at place 1"),
        ({"text": "a film", "rationale": ["1", 0]}, "0 or 1, found '1' at place 0"),
        ({"text": "a film", "rationale": "1 0"}, 'a "rationale" that is a list'),
        ({"text": "a film"}, 'a "rationale" that is a list'),
        ({"text": " ", "rationale": []}, "a text that is a string and not empty"),
        ({"text": 3, "rationale": []}, "a text that is a string"),
        ({"rationale": [1]}, 'either "text" or "tokens"'),
        ({"text": "a", "tokens": ["a"], "rationale": [1]}, 'either "text" or "tokens"'),
        ({"tokens": ["a", ""], "rationale": [1, 0]}, "tokens that are a list of strings"),
        ({"tokens": "a", "rationale": [1]}, "tokens that are a list of strings"),
        ({"tokens": [], "rationale": []}, "at least one word"),
        ({"text": "a", "rationale": [1], "label": 1.5}, "a label that is a string, found 1.5"),
        ({"text": "a", "rationale": [1], "label": True}, "a label that is a string, found True"),
        ({"annotation_id": "x", "evidences": []}, "a row of ERASER; give the folder"),
        ([1], "a JSON object, found list"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, row: object, message: str) -> None:
    path = json_lines(tmp_path, {"text": "fine", "rationale": [1]}, row)
    with pytest.raises(DatasetError, match=message) as raised:
        load_annotations(path)
    assert f"{str(path)!r}, line 2: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    for content in (b'{"text": "a", "rationale": [1]}\n{"text": ', b'\n{"text"\n', b"\n" + b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"mine.jsonl', line 2: not JSON"):
            load_annotations(path)
    path.write_bytes(b"\n\xff")
    with pytest.raises(DatasetError, match=r"line 2: .* not UTF-8"):
        load_annotations(path)
    path.write_bytes(b"\n \n")
    with pytest.raises(DatasetError, match="at least one row"):
        load_annotations(path)


# ERASER.


DOCUMENTS = {
    "negR_1.txt": "a plot :\nso dull ,  so\nlong",
    "posR_2.txt": "what a film !",
    "posR_3.txt": "no one marked this",
}


def evidence(document: str, start: Any, end: Any, **more: Any) -> dict[str, Any]:
    return {"docid": document, "start_token": start, "end_token": end, **more}


def review(document: str, *groups: list[dict[str, Any]], label: str = "NEG") -> dict[str, Any]:
    return {"annotation_id": document, "classification": label, "evidences": list(groups)}


GOOD = [
    review("negR_1.txt", [evidence("negR_1.txt", 3, 5, text="so dull"), evidence("negR_1.txt", 4, 6)]),
    review(
        "posR_2.txt", [evidence("posR_2.txt", 0, 3)], [evidence("posR_2.txt", 2, 2, text="")], label="POS"
    ),
    review("posR_3.txt", label="POS"),
]


def eraser(folder: Path, rows: Sequence[object], split: str = "test") -> Path:
    root = folder / "movies"
    (root / "docs").mkdir(parents=True, exist_ok=True)
    for name, text in DOCUMENTS.items():
        (root / "docs" / name).write_text(text, "utf-8")
    (root / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return root


def packed(root: Path, path: Path, extra: Mapping[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, "data/movies")
        for name, content in (extra or {}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def check_good(found: AnnotatedTexts, name: str) -> None:
    assert (found.name, found.kind, found.labels) == (name, "rationale", ("negative", "positive"))
    assert found.source.startswith("DeYoung et al. 2020 (ERASER): ")
    assert found.notes == ("test: 1 documents left out (nothing is marked in them)",)
    first, second = found.rows
    assert (first.text, first.label) == ("a plot : so dull , so long", "negative")
    assert first.marks == (0, 0, 0, 1, 1, 1, 0, 0)
    assert first.units == tuple(DOCUMENTS["negR_1.txt"].split())
    assert (second.label, second.marks) == ("positive", (1, 1, 1, 0))
    assert found.rationale_share == pytest.approx((3 / 8 + 3 / 4) / 2)


def test_eraser_in_a_folder_and_in_an_archive(tmp_path: Path) -> None:
    root = eraser(tmp_path / "a", GOOD)
    eraser(tmp_path / "a", GOOD[:1], "train")
    check_good(load_annotations(root), "movies")
    check_good(load_annotations(root.parent), "a")
    archive = packed(root, tmp_path / "Movies.tar.gz")
    check_good(load_annotations(archive), "Movies")
    check_good(load_annotations(archive, "test"), "Movies")
    for place in (root, archive):
        assert len(load_annotations(place, "train").rows) == 1
        with pytest.raises(UnknownNameError, match="known: train, test"):
            load_annotations(place, "validation")
    assert sorted(tmp_path.iterdir()) == [archive, tmp_path / "a"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (review("negR_1.txt", [evidence("negR_1.txt", 3, 9)]), "between the tokens 0 and 8 .* found 3 to 9"),
        (review("negR_1.txt", [evidence("negR_1.txt", 9, 9)]), "found 9 to 9"),
        (review("negR_1.txt", [evidence("negR_1.txt", 5, 4)]), "found 5 to 4"),
        (review("negR_1.txt", [evidence("negR_1.txt", -1, 4)]), "found -1 to 4"),
        (review("negR_1.txt", [evidence("negR_1.txt", None, None)]), "found None to None"),
        (review("negR_1.txt", [evidence("negR_1.txt", True, 4)]), "found True to 4"),
        (review("negR_1.txt", [evidence("negR_1.txt", 3, 5, text="so long")]), "'so long' is not .*so dull"),
        (review("x", [evidence("negR_1.txt", 0, 1), evidence("posR_2.txt", 0, 1)]), "found it in 2"),
        (review("gone.txt"), "no document 'gone.txt'"),
        (review("../test.jsonl", [evidence("../test.jsonl", 0, 1)]), "the name of a file in docs"),
        (review("negR_1.txt", label="MAYBE"), "unknown classification 'MAYBE'; known: NEG, POS"),
        ({"annotation_id": "negR_1.txt", "classification": "NEG"}, "a list of lists"),
        ({**review("negR_1.txt"), "evidences": [[3]]}, "JSON objects"),
        ({**review("negR_1.txt"), "evidences": [{"docid": "x"}]}, "a list of lists"),
        (7, "a JSON object, found int"),
    ],
)
@pytest.mark.parametrize("is_archive", [False, True])
def test_evidence_that_does_not_fit_is_named(
    tmp_path: Path, row: object, message: str, is_archive: bool
) -> None:
    place = eraser(tmp_path, [GOOD[0], row])
    name = f"{str(place / 'test.jsonl')!r}, line 2: "
    if is_archive:
        place = packed(place, tmp_path / "movies.tgz")
        name = f"{str(place)!r}, 'test.jsonl', line 2: "
    with pytest.raises(DatasetError, match=message) as raised:
        load_annotations(place)
    assert name in str(raised.value)


def test_only_regular_files_of_an_archive_are_read(tmp_path: Path) -> None:
    """A link in the archive is not followed, and no file is written."""
    secret = tmp_path / "secret.txt"
    secret.write_text("what a film !", "utf-8")
    path = tmp_path / "movies.tar"
    row = json.dumps(review("posR_2.txt", [evidence("posR_2.txt", 0, 3)])).encode()
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("../../movies/test.jsonl")
        member.size = len(row)
        archive.addfile(member, io.BytesIO(row))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("movies/docs/posR_2.txt")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"no document 'posR_2\.txt'"):
        load_annotations(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    root = eraser(tmp_path, GOOD)
    whole = packed(root, tmp_path / "whole.tar.gz").read_bytes()
    for name, content in (("text", b"no archive"), ("half", whole[: len(whole) // 2]), ("empty", b"")):
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name}.tar.gz"):
            load_annotations(path)
    twice = packed(root, tmp_path / "twice.tar.gz", {"other/test.jsonl": b"{}"})
    with pytest.raises(DatasetError, match=r"holds 'test.jsonl' twice"):
        load_annotations(twice)
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as archive:
        archive.add(root / "docs", "docs")
    with pytest.raises(DatasetError, match="expected the archive of ERASER"):
        load_annotations(other)


def test_an_archive_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(eraser(tmp_path, GOOD), tmp_path / "movies.tar.gz")
    monkeypatch.setattr("whybert.datasets.annotated._LARGEST", 100)
    with pytest.raises(DatasetError, match=r"unpacks to more than 100 bytes; .*unpack it first"):
        load_annotations(path)


def test_reviews_without_any_evidence_are_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no annotated texts"):
        load_annotations(eraser(tmp_path, GOOD[2:]))


# Trees.


def test_trees_by_hand(tmp_path: Path) -> None:
    trees = tmp_path / "deep" / "trees"
    trees.mkdir(parents=True)
    (trees / "dev.txt").write_text(
        "(3 (2 It) (4 works))\n"
        "(0 (2 (2 -LRB-) (2 and\\/or)) (1 (0 bad) (1 (2 \\*) (2 (3 1\\/2\u00a0star) (2 -RRB-)))))\n",
        "utf-8",
    )
    for place in (trees, trees.parent, trees / "dev.txt"):
        found = load_annotations(place)
        assert (found.kind, found.labels, found.notes) == ("sentiment", FIVE, ())
        first, second = found.rows
        assert first == Annotation("It works", "positive", ((0, 2), (3, 8)), (0.0, 2.0))
        assert (second.text, second.label) == ("( and/or bad * 1/2\u00a0star )", "very negative")
        assert second.units == ("(", "and/or", "bad", "*", "1/2\u00a0star", ")")
        assert second.marks == (0, 0, -2, 0, 1, 0)
    assert load_annotations(trees, "validation").rows == found.rows
    with pytest.raises(UnknownNameError, match="known: validation"):
        load_annotations(trees, "train")
    with pytest.raises(UsageError, match="without splits"):
        load_annotations(trees / "dev.txt", "train")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("(3 (2 It) works)", "a word without a label of its own"),
        ("(3 (2 It works))", "a word without a label of its own"),
        ("(3 (2 It) (5 works))", "expected a word or a bracket"),
        ("(3 (2 It)", "not closed"),
        ("It works", "opening bracket"),
    ],
)
def test_trees_that_are_none_are_named(tmp_path: Path, tree: str, message: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(f"(3 (2 It) (4 works))\n\n{tree}\n", "utf-8")
    with pytest.raises(DatasetError, match=message) as raised:
        load_annotations(path)
    assert f"{str(path)!r}, line 3: not a tree" in str(raised.value)


# Other places.


def test_places_that_hold_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no annotations in .*ERASER.*trees"):
        load_annotations(tmp_path)
    with pytest.raises(DatasetError, match="no file or folder"):
        load_annotations(tmp_path / "gone.jsonl")
    (tmp_path / "table.csv").write_text("a,b\n", "utf-8")
    with pytest.raises(UsageError, match="none of the annotations that can be read"):
        load_annotations(tmp_path / "table.csv")
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        load_annotations(tmp_path, "validaton")
    with pytest.raises(UsageError, match="without splits; leave the split 'test' out"):
        load_annotations(json_lines(tmp_path, {"text": "a", "rationale": [1]}), "test")


# The published data.


@pytest.fixture(scope="module")
def movies(shared: Path) -> Path:
    path = shared / "data" / "ERASER_movies.tar.gz"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return path


@pytest.mark.parametrize(
    ("split", "file", "documents", "evidences", "tokens"),
    [
        ("train", "train", 1600, 13878, 0.0935),
        ("validation", "val", 200, 1517, 0.0722),
        ("test", "test", 199, 2067, 0.3139),
    ],
)
def test_the_published_reviews(
    movies: Path, split: str, file: str, documents: int, evidences: int, tokens: float
) -> None:
    """All documents but the one without evidence; each span's text is what the marked units say."""
    found = load_annotations(movies, split)
    assert len(found.rows) + (split == "train") == documents
    assert found.notes == (
        ("train: 1 documents left out (nothing is marked in them)",) if split == "train" else ()
    )
    assert found.rationale_share == pytest.approx(tokens, abs=5e-5)
    with tarfile.open(movies) as archive:
        content = archive.extractfile(f"ERASER_movies/movies/{file}.jsonl")
        assert content is not None
        published = [json.loads(line) for line in content.read().decode("utf-8").splitlines()]
    published = [row for row in published if row["evidences"]]
    count = 0
    for row, annotation in zip(published, found.rows, strict=True):
        assert annotation.label == {"NEG": "negative", "POS": "positive"}[row["classification"]]
        marked = set()
        for group in row["evidences"]:
            for item in group:
                start, end = item["start_token"], item["end_token"]
                if start < end:
                    span = annotation.text[annotation.spans[start][0] : annotation.spans[end - 1][1]]
                    assert span == item["text"]
                marked |= set(range(start, end))
                count += 1
        assert marked == {unit for unit, mark in enumerate(annotation.marks) if mark}
    assert count == evidences


@pytest.mark.parametrize(
    ("split", "sentences", "words"),
    [
        ("train", 8544, (1130, 7795, 140415, 11524, 2699)),
        ("validation", 1101, (146, 992, 18231, 1511, 394)),
        ("test", 2210, (306, 2007, 36325, 3059, 708)),
    ],
)
def test_the_published_trees(shared: Path, split: str, sentences: int, words: tuple[int, ...]) -> None:
    place = shared / "data" / "SST_TREES"
    if not place.is_dir():
        pytest.skip(f"no folder {place}")
    found = load_annotations(place, split)
    assert len(found.rows) == sentences
    marks = [mark for row in found.rows for mark in row.marks]
    assert tuple(marks.count(mark) for mark in (-2, -1, 0, 1, 2)) == words
    assert not any(escape in row.text for row in found.rows for escape in ("-LRB-", "-RRB-", "\\"))
    assert all(row.text == " ".join(row.units) for row in found.rows)


def test_a_published_review_that_is_cut(movies: Path) -> None:
    """The units of a long review are those in front of the cut, and no score of a word is lost."""
    row = load_annotations(movies, "validation").rows[0]
    [encoded] = tokenize(TOKENIZERS["wordpiece"], [row.text], 64)
    explanation = explain(encoded, [1.0] * encoded.token_count)
    scores, marks = unit_scores(explanation, row)
    assert encoded.truncated
    assert 0 < len(scores) < len(row.spans)
    assert marks == row.marks[: len(marks)]
    assert sum(scores) == pytest.approx(62)
