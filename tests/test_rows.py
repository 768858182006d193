"""Saved explanations as rows: each answer against what Python counts over the explanations themselves."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from whybert import Explanation, Explanations, save
from whybert.errors import FileError, InputError, UnknownNameError, UsageError
from whybert.explanation import Target, Token
from whybert.web.rows import Filter, Rows

WORDS = ("good", "Good", "bad", "film", "<b>", "'", "straße", "STRASSE", "电影", ".", "\u202eodd")


def _explanation(number: int) -> Explanation:
    drawn = random.Random(number)
    words = [drawn.choice(WORDS) for _ in range(drawn.randint(1, 6))]
    spans, text = [], ""
    for word in words:
        text += " " if text else ""
        spans.append((0, len(text), len(text) + len(word)))
        text += word
    tokens = tuple(
        Token(word, start, end, 0, index, False, drawn.choice((0.0, drawn.gauss(0, 1))))
        for index, (word, (_, start, end)) in enumerate(zip(words, spans, strict=True))
    )
    sure = drawn.random()
    probabilities = (sure, 1 - sure)
    predicted = int(sure < 0.5)
    labels = ("no", "yes")
    target = drawn.choice((Target(0, "no"), Target(1, "yes"), Target(1, "yes", 0, "no")))
    return Explanation(
        text=text,
        pair=None,
        tokens=tokens,
        word_spans=tuple(spans),
        prediction=labels[predicted],
        probabilities=probabilities,
        logits=(sure, 1 - sure),
        labels=labels,
        target=target,
        method=drawn.choice(("attnlrp", "gi")),
        options={},
        signed=True,
        truncated=False,
        completeness=None,
        predicted=predicted,
        truth=drawn.choice((None, "no", "yes", "of another data set")),
    )


EXPLANATIONS = Explanations(map(_explanation, range(60)))


@pytest.fixture(scope="module", params=[".jsonl", ".parquet"])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    path = tmp_path_factory.mktemp("rows") / f"it's a *file*{request.param}"
    save(EXPLANATIONS, path)
    with Rows.open(path) as found:
        path.unlink()
        yield found


FILTERS = [
    Filter(),
    Filter(method="gi"),
    Filter(prediction="yes", verdict="wrong"),
    Filter(verdict="right", target="yes - no"),
    Filter(low=0.6, high=0.9),
    Filter(word=" GOOD "),
    Filter(word="'", method="attnlrp"),
    Filter(word="' OR 1=1 --"),
    Filter(prediction="'; DROP VIEW texts; --"),
]


def _is_wanted(explanation: Explanation, wanted: Filter) -> bool:
    known = explanation.truth in explanation.labels
    is_right = explanation.truth == explanation.prediction
    return (
        wanted.method in ("", explanation.method)
        and wanted.prediction in ("", explanation.prediction)
        and wanted.target in ("", explanation.target.name)
        and wanted.low <= explanation.probabilities[explanation.predicted] <= wanted.high
        and {"all": True, "wrong": known and not is_right, "right": known and is_right}[wanted.verdict]
        and (
            not wanted.word
            or wanted.word.strip().lower() in {word.text.lower() for word in explanation.words()}
        )
    )


def _chosen(wanted: Filter) -> list[int]:
    return [number for number, each in enumerate(EXPLANATIONS) if _is_wanted(each, wanted)]


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
def test_texts_are_those_that_python_finds(rows: Rows, wanted: Filter) -> None:
    numbers = _chosen(wanted)
    assert rows.count(wanted) == len(numbers)
    assert [each.row for each in rows.texts(wanted, limit=1000)] == numbers
    assert [each.row for each in rows.texts(wanted, limit=2, offset=1)] == numbers[1:3]


def test_a_filter_of_each_kind_leaves_some_and_takes_some_away() -> None:
    assert all(0 < len(_chosen(each)) < len(EXPLANATIONS) for each in FILTERS[1:7])


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
def test_words_are_counted_as_python_counts(rows: Rows, wanted: Filter) -> None:
    texts, scores, shares = defaultdict(set), defaultdict(list), defaultdict(list)
    for number in _chosen(wanted):
        explanation = EXPLANATIONS[number]
        largest = max(abs(word.score) for word in explanation.words())
        for word in explanation.words():
            key = word.text.lower(), explanation.target.name
            if re.search(r"\w", word.text):
                texts[key].add(number)
                scores[key].append(word.score)
                shares[key].append(word.score / largest if largest else 0.0)
    found = {(each.word, each.target): each for each in rows.words(wanted, limit=1000)}
    assert found.keys() == texts.keys()
    for key, each in found.items():
        assert each.texts == len(texts[key])
        assert each.score == pytest.approx(sum(scores[key]) / len(scores[key]), abs=1e-12)
        assert each.share == pytest.approx(sum(shares[key]) / len(shares[key]), abs=1e-12)


def test_orders_and_the_least_number_of_texts(rows: Rows) -> None:
    for_it = [each.share for each in rows.words(Filter(), "most for")]
    assert for_it == sorted(for_it, reverse=True)
    against = [each.share for each in rows.words(Filter(), "most against")]
    assert against == sorted(against)
    assert all(each.texts >= 3 for each in rows.words(Filter(), least=3))
    sure = [each.confidence for each in rows.texts(Filter(), "surest first", 100)]
    assert sure == sorted(sure, reverse=True)


def test_a_row_is_the_explanation_that_was_saved(rows: Rows) -> None:
    assert [rows.explanation(number) for number in (0, 7, 59)] == [EXPLANATIONS[each] for each in (0, 7, 59)]
    with pytest.raises(InputError, match="no row 60"):
        rows.explanation(60)


def test_facts(rows: Rows) -> None:
    facts = rows.facts()
    assert (facts.count, facts.methods, facts.predictions) == (60, ("attnlrp", "gi"), ("no", "yes"))
    assert facts.has_truth
    assert facts.has_confidence


def test_unknown_orders_are_named(rows: Rows) -> None:
    with pytest.raises(UnknownNameError, match="order"):
        rows.texts(Filter(), "row; DROP VIEW texts")
    with pytest.raises(UnknownNameError, match="verdict"):
        rows.count(Filter(verdict="true OR true"))


def test_a_query_reads_no_other_file(rows: Rows, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    save(EXPLANATIONS[0], other)
    with pytest.raises(FileError):
        rows._asked(f"SELECT * FROM read_parquet('{other}')")


def test_a_regression_has_no_confidence(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    one = replace(
        EXPLANATIONS[0], probabilities=(), logits=(0.3,), labels=("score",), prediction="score",
        predicted=0, target=Target(0, "score"), truth=None,
    )  # fmt: skip
    save(one, path)
    with Rows.open(path) as found:
        assert found.texts(Filter())[0].confidence is None
        assert not found.facts().has_confidence
        assert found.count(Filter(low=0.1)) == 0


def _cut(path: Path) -> None:
    save(EXPLANATIONS, path)
    path.write_bytes(path.read_bytes()[:-200])


def _of_another_kind(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "words": [1]}), path)


def _without_rows(path: Path) -> None:
    save(EXPLANATIONS[0], path)
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(0, 0), path)


def _with_an_odd_line(path: Path) -> None:
    save(EXPLANATIONS[:2], path)
    path.write_text(path.read_text() + '{"text": 1}\n')


def _without(column: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        save(EXPLANATIONS[:3], path)
        table = pyarrow.parquet.read_table(path)
        rows = table.to_pylist()
        rows[1][column] = None
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), path)

    return make


def _huge(path: Path) -> None:
    save(EXPLANATIONS[0], path)
    table = pyarrow.parquet.read_table(path)
    [row] = table.to_pylist()
    huge = pyarrow.Table.from_pylist([row | {"text": "a" * 300_000_000}], schema=table.schema)
    pyarrow.parquet.write_table(huge, path, compression="zstd")
    assert path.stat().st_size < 1e6


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        *(
            (f"no {each}.parquet", _without(each), "row 2, is no explanation")
            for each in ("text", "prediction", "target", "method")
        ),
        ("huge.parquet", _huge, "too large to be looked through"),
        ("cut.parquet", _cut, "no Parquet file of explanations"),
        ("other.parquet", _of_another_kind, "no Parquet file of explanations"),
        ("empty.parquet", _without_rows, "holds no explanations"),
        ("empty.jsonl", lambda path: path.write_text("\n"), "holds no explanations"),
        ("text.jsonl", lambda path: path.write_text("a text\n"), "line 1, is no JSON"),
        ("odd.jsonl", _with_an_odd_line, "line 3, is no explanation"),
        ("many.jsonl", lambda path: save(EXPLANATIONS, path), "at most 50 explanations"),
        ("many.parquet", lambda path: save(EXPLANATIONS, path), "at most 50 explanations"),
        ("none.parquet", lambda path: None, "No such file"),
    ],
)
def test_what_is_no_file_of_explanations_is_refused_by_name(
    name: str, make: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    make(tmp_path / name)
    with pytest.raises(FileError, match=said) as caught:
        Rows.open(tmp_path / name, "the file", 50).facts()
    assert str(tmp_path) not in str(caught.value)
    assert not list(folder.iterdir())


def test_a_score_that_is_no_number_takes_the_share_of_no_other_word(tmp_path: Path) -> None:
    save(EXPLANATIONS[:1], path := tmp_path / "odd.parquet")
    table = pyarrow.parquet.read_table(path)
    [row] = table.to_pylist()
    row["words"] = [{**row["words"][0], "text": text, "score": score} for text, score in _SCORES.items()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row], schema=table.schema), path)
    with Rows.open(path) as found:
        assert {each.word: each.share for each in found.words(Filter())} == {"good": 1.0, "bad": -0.5}


_SCORES = {"good": 2.0, "bad": -1.0, "none": float("nan"), "all": float("inf")}


def test_a_text_of_very_many_words_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(EXPLANATIONS[:1], path := tmp_path / "long.parquet")
    table = pyarrow.parquet.read_table(path)
    [row] = table.to_pylist()
    row["words"] *= 100_000  # each with every other would be more than can be done in the time
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row], schema=table.schema), path)
    monkeypatch.setattr("whybert.web.rows._SECONDS", 10)
    with Rows.open(path) as found:
        assert found.words(Filter())
        monkeypatch.setattr("whybert.web.rows._SECONDS", 0.001)
        with pytest.raises(FileError, match="too large to be looked through"):
            found.words(Filter())


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    with pytest.raises(UsageError, match=r"\.parquet"):
        Rows.open(tmp_path / "table.csv")
