"""Studies: their settings, a whole one with tiny models, what a stop costs, and functions of the result."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import scipy.stats
import typer

import tiny
from commands import Run, caller, one_error
from whybert import Classifier, explain
from whybert.cli.study import study_command
from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.evaluation.agreement import WordScore, word_correlation, word_scores
from whybert.evaluation.given import RANDOM
from whybert.methods import STANDARD
from whybert.study import report
from whybert.study import work as studies
from whybert.study.findings import (
    PUBLISHED,
    Correlation,
    Finding,
    comparable_correlations,
    data_correlations,
    deletion_means,
    findings,
    mean_correlation,
    seed_correlations,
    top_words,
)
from whybert.study.grids import Facts
from whybert.study.power import order_needed, texts_needed, words_needed
from whybert.study.settings import StudyRun, StudySettings, read_settings, settings_dict
from whybert.study.work import Study, study

WORDS = sorted({word for line in tiny.CORPUS[:2] for word in line.replace(",", "").split()})
METRICS = ("deletion-paper", "deletion-mask", "abpc", "loo-kendall")
ARGUMENTS = {"limit": 6, "word_limit": 70, "methods": ("gs", "gi", "lat", "attnlrp"), "metrics": METRICS}


def rows(seed: int, count: int) -> list[tuple[str, str]]:
    generator = np.random.default_rng(seed)
    return [
        (" ".join(generator.choice(WORDS, 4 + index % 12)), ("bad", "good")[index % 2])
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `one`, `two` and `other`, and tables `a.csv` and `b.csv`."""
    folder = tmp_path_factory.mktemp("study")
    tokenizer = tiny.wordpiece()
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    for seed, name in enumerate(("one", "two", "other")):
        tiny.save(folder / name, tiny.bert(tokenizer, seed, **labels), tokenizer)
    for seed, name in enumerate("ab"):
        lines = [f'"{text}",{label}' for text, label in rows(seed, 80)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    other_names = (folder / "b.csv").read_text().replace(",good", ",+").replace(",bad", ",-")
    (folder / "other names").mkdir()
    (folder / "other names" / "b.csv").write_text(other_names)
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> StudySettings:
    runs = (
        StudyRun("first", str(place / "one"), str(place / "a.csv"), second_model=str(place / "other")),
        StudyRun(
            "second",
            str(place / "two"),
            str(place / "other names" / "b.csv"),
            label_map={"+": "good", "-": 0},
            word_limit=30,
        ),
    )
    return StudySettings(runs, **ARGUMENTS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def found(settings: StudySettings, folder: Path) -> Study:
    return study(settings, folder)


# Settings


def yaml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


RUNS = "runs:\n- {name: a, model: builtin, data: sst2}\n"


def test_settings_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "x.csv").touch()
    path = yaml(
        tmp_path,
        "title: A study\nmethods: gs, LRP:residual=once,alpha=1, gi\nmetrics: [abpc]\n"
        "limit: 5\nexamples: [a film]\nruns:\n"
        "- {name: a, model: model, data: x.csv, text_column: t, limit: 3}\n"
        "- {name: b, model: org/model, data: sst2, data_dir: SST2, second_model: ./gone, split: dev}\n",
    )
    read = read_settings(path)
    assert read == StudySettings(
        title="A study",
        methods=("gs", "lrp:residual=once,alpha=1", "gi"),
        metrics=("abpc",),
        limit=5,
        examples=("a film",),
        runs=(
            StudyRun("a", str(tmp_path / "model"), str(tmp_path / "x.csv"), text_column="t", limit=3),
            StudyRun(
                "b",
                "org/model",
                "sst2",
                str(tmp_path / "SST2"),
                "dev",
                second_model=str(tmp_path / "gone"),
            ),
        ),
    )


def test_a_folder_called_like_a_known_name(tmp_path: Path) -> None:
    for name in ("sst2", "builtin"):
        (tmp_path / name).mkdir()
    path = yaml(
        tmp_path, "runs:\n- {name: a, model: sst2, data: sst2}\n- {name: b, model: builtin, data: x}\n"
    )
    first, second = read_settings(path).runs
    assert (first.model, first.data) == (str(tmp_path / "sst2"), "sst2")
    assert (second.model, second.data) == ("builtin", "x")


def test_defaults(tmp_path: Path) -> None:
    read = read_settings(yaml(tmp_path, RUNS))
    assert read.methods == tuple(STANDARD)
    assert (read.limit, read.word_limit, read.minimum_count, read.examples) == (200, 1000, 2, 2)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("limmit: 3\n" + RUNS, "did you mean 'limit' or"),
        ("runs:\n- {name: a, modle: builtin, data: sst2}\n", "did you mean 'model'?"),
        ("limit: many\n" + RUNS, "expected 'limit' in"),
        ("limit: true\n" + RUNS, "whole number"),
        ("limit: 0\n" + RUNS, "expected limit of at least 1, found 0"),
        ("seed: -1\n" + RUNS, "expected seed of at least 0"),
        ("title: 3\n" + RUNS, "expected 'title' in"),
        ("methods: 3\n" + RUNS, "expected 'methods' in"),
        ("methods: [gs, 3]\n" + RUNS, "expected method 2 in"),
        ("methods: gss\n" + RUNS, "did you mean 'gs'?"),
        ("methods: gs, gs\n" + RUNS, "each method once"),
        ("metrics: abcp\n" + RUNS, "did you mean 'abpc'"),
        ("examples: x\n" + RUNS, "a whole number or a list"),
        ("runs: {a: b}\n", "expected 'runs' in"),
        ("runs: [a]\n", "expected keys and values in run 1"),
        ("runs: []\n", "at least one entry in 'runs'"),
        ("title: x\n", "expected 'runs' in"),
        ("runs:\n- {name: a, model: builtin}\n", "expected 'data' in run 1"),
        ("runs:\n- {name: a, model: builtin, data: 3}\n", "expected 'data' in run 1"),
        (
            "runs:\n- {name: a, model: builtin, data: sst2, label_map: a=b}\n",
            "to be keys and values, found 'a=b'",
        ),
        ("runs:\n- {name: a/b, model: builtin, data: sst2}\n", "name of a folder"),
        (RUNS + "- {name: A, model: builtin, data: sst2}\n", "each name of a run once"),
        ("", "expected keys and values"),
        ("- a\n", "expected keys and values"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(UsageError) as error:
        read_settings(yaml(tmp_path, text))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_settings(tmp_path / "none.yaml")
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\x80\x81")
    with pytest.raises(InputError, match="is not YAML"):
        read_settings(path)


def test_settings_are_read_as_they_were_written(tmp_path: Path, settings: StudySettings) -> None:
    for each in (settings, dataclasses.replace(settings, examples=("a\nfilm", "שלום"))):
        assert read_settings(yaml(tmp_path, json.dumps(settings_dict(each)))) == each


# A whole study


def test_a_whole_study(found: Study, folder: Path) -> None:
    assert [run.run.name for run in found.runs] == ["first", "second"]
    first, second = found.runs
    assert first.evaluation.methods == found.methods == ("gs", "gi", "lat", "attnlrp", RANDOM)
    assert len(first.evaluation.rows) == 6
    assert (first.words.texts, second.words.texts) == (70, 30)
    assert first.data_set == "a"
    assert first.second is not None
    assert second.second is None
    for method, kinds in first.words.scores.items():
        assert set(kinds) == ({"magnitude"} if method in ("gs", "gi", "lat") else {"magnitude", "signed"})
    assert (folder / "first" / "results.json").is_file()
    assert hash(first.run)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.data_set = "b"  # type: ignore[misc]


def test_word_scores_are_those_of_all_texts_at_once(found: Study, place: Path) -> None:
    classifier = Classifier.load(place / "one")
    texts = [text for text, _ in rows(0, 80)]
    order = np.random.default_rng(0).permutation(80)[:70]
    explanations = explain(classifier, [texts[row] for row in order], "attnlrp")
    for kind, normalise in (("magnitude", True), ("signed", "signed")):
        expected = word_scores(explanations, minimum_count=2, normalise=normalise)  # type: ignore[arg-type]
        scores = found.runs[0].words.scores["attnlrp"][kind]  # type: ignore[index]
        assert list(scores) == list(expected)
        for word, score in scores.items():
            assert score.count == expected[word].count
            assert score.mean == pytest.approx(expected[word].mean, rel=1e-4, abs=1e-7)


def test_examples_are_clear_cases(found: Study, place: Path) -> None:
    truth = dict(rows(0, 80))
    for explanations in found.runs[0].examples:
        assert [each.method for each in explanations] == list(found.settings.methods)
        assert len({each.text for each in explanations}) == 1
    right = [example for example in found.runs[0].examples if truth[example[0].text] == example[0].prediction]
    assert len(found.runs[0].examples) == 2
    assert right


def test_labels_of_one_name_are_told_apart(place: Path, settings: StudySettings, tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    labels = {"id2label": {0: "same", 1: "same"}, "label2id": {"same": 1}}
    tiny.save(tmp_path / "model", tiny.bert(tokenizer, 11, **labels), tokenizer)
    (tmp_path / "data.csv").write_text("text\n" + "\n".join(text for text, _ in rows(0, 40)) + "\n")
    run = StudyRun("a", str(tmp_path / "model"), str(tmp_path / "data.csv"))
    small = dataclasses.replace(settings, runs=(run,), metrics=("abpc",), limit=40, word_limit=10)
    [result] = study(small).runs
    assert {example[0].predicted for example in result.examples} == {0, 1}


def test_given_examples(place: Path, settings: StudySettings) -> None:
    few = dataclasses.replace(
        settings, examples=("a good film", "bad"), runs=settings.runs[1:], metrics=("abpc",), limit=2
    )
    [run] = study(few).runs
    assert [example[0].text for example in run.examples] == ["a good film", "bad"]
    assert study(dataclasses.replace(few, examples=0)).runs[0].examples == ()


def test_variants_of_a_method_stand_side_by_side(
    place: Path, settings: StudySettings, tmp_path: Path
) -> None:
    specs = ("gi", "gi:reduction=sum", "lrp:residual=once,alpha=1")
    few = dataclasses.replace(settings, methods=specs, metrics=("abpc", "deletion-paper"), limit=3)
    done = study(few)
    assert done.methods == (*specs, RANDOM)
    assert all(run.evaluation.methods == done.methods for run in done.runs)
    assert "signed" in done.runs[0].words.scores["gi:reduction=sum"]
    assert "signed" not in done.runs[0].words.scores["gi"]
    report.write(done, tmp_path)
    assert all(spec in (tmp_path / "report.html").read_text(encoding="utf-8") for spec in specs)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts calls of what costs time."""
    from whybert.evaluation import bench

    calls: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        before = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[f"{module.__name__.rpartition('.')[2]}.{name}"] += 1
            return before(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    count(studies, "explain")
    count(bench, "explain")
    count(bench, "run")
    return calls


def test_what_is_done_is_not_done_again(
    found: Study, settings: StudySettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    again = study(settings, folder)
    assert not calls
    assert again.runs == found.runs


def test_a_stop_costs_one_part(
    settings: StudySettings, tmp_path: Path, found: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)

    def stop(what: str, done: int, total: int) -> None:
        if what == "first: words of the second model" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(settings, tmp_path, stop)
    # 70 texts are two parts of word scores; the examples are one more call.
    assert calls == {"bench.explain": 1, "bench.run": 1, "work.explain": 4}
    calls.clear()
    again = study(settings, tmp_path)
    assert calls == {"bench.explain": 1, "bench.run": 1, "work.explain": 3}
    for one, other in zip(again.runs, found.runs, strict=True):
        assert (one.words, one.second, one.examples) == (other.words, other.second, other.examples)
        assert [value[:3] for value in one.evaluation.values] == [
            value[:3] for value in other.evaluation.values
        ]


@pytest.mark.parametrize(
    "content", ["null", '{"seconds": 1.0, "scores": {}, "explanations": []}', '{"seconds": 1.0']
)
def test_damaged_parts_are_named_and_computed_again(
    content: str, settings: StudySettings, found: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "words/parts/texts-00001",
        "words-of-the-second-model/parts/texts-00000",
        "examples/parts/examples",
    ):
        (folder / "first" / f"{name}.json").write_text(content)
    calls = counted(monkeypatch)
    again = study(settings, folder)
    assert calls == {"work.explain": 3}
    for one, other in zip(again.runs, found.runs, strict=True):
        assert (one.words, one.second, one.examples) == (other.words, other.second, other.examples)
    notes = "\n".join(again.runs[0].notes)
    for part in ("words: part texts-00001", "second model: part texts-00000", "examples: part examples"):
        assert f"{part} was damaged and is computed again" in notes
    assert not study(settings, folder).runs[0].notes


def test_a_stop_at_the_first_write_locks_no_folder(settings: StudySettings, tmp_path: Path) -> None:
    small = dataclasses.replace(settings, metrics=("abpc",), limit=2, word_limit=20, examples=0)
    for place in ("first", "first/words", "first/examples"):
        (tmp_path / place).mkdir()
        (tmp_path / place / ".evaluation.json.tmp").touch()
    (tmp_path / "first" / "evaluation.json").touch()
    assert study(dataclasses.replace(small, runs=small.runs[:1]), tmp_path).runs[0].words.texts == 20


def test_parts_of_another_version_are_named(settings: StudySettings, found: Study, folder: Path) -> None:
    path = folder / "first" / "words" / "parts" / "texts-00000.json"
    before = path.read_bytes()
    part = json.loads(before)
    part["versions"]["whybert"] = "0.0.1"
    path.write_text(json.dumps(part))
    [note] = study(settings, folder).runs[0].notes
    path.write_bytes(before)
    assert note.startswith("words: 1 of 2 parts were computed by whybert 0.0.1, torch ")


def test_other_settings_are_not_mixed_in(settings: StudySettings, folder: Path, found: Study) -> None:
    with pytest.raises(UsageError, match=r"other settings: minimum_words 1 \(now 3\)"):
        study(dataclasses.replace(settings, minimum_words=3), folder)
    with pytest.raises(UsageError, match=r"other settings: .*seed 0 \(now 1\)"):
        study(dataclasses.replace(settings, seed=1), folder)


def test_the_second_model_is_another(settings: StudySettings, place: Path, tmp_path: Path) -> None:
    small = dataclasses.replace(settings, metrics=("abpc",), limit=2, word_limit=20, examples=1)
    run = dataclasses.replace(settings.runs[0], second_model=str(place / "one"))
    [result] = study(dataclasses.replace(small, runs=(run,)), tmp_path).runs
    correlations = seed_correlations(result)
    assert correlations["gi"].r == pytest.approx(1.0)
    assert abs(correlations[RANDOM].r) < 0.999  # the control is drawn anew


# Functions of the result


def test_two_variants_of_a_method_stand_side_by_side(settings: StudySettings) -> None:
    small = dataclasses.replace(
        settings,
        methods=("gi", "gi:reduction=sum", "gi:reduction=absolute"),
        metrics=("abpc",),
        limit=2,
        word_limit=20,
        examples=("a good film",),
    )
    result = study(small)
    for run in result.runs:
        assert tuple(run.words.scores) == run.evaluation.methods == (*small.methods, RANDOM)
        assert set(run.words.scores["gi:reduction=sum"]) == {"magnitude", "signed"}
        assert set(run.words.scores["gi"]) == {"magnitude"}
        assert [each.method for each in run.examples[0]] == ["gi"] * 3
        assert [each.options["reduction"] for each in run.examples[0]] == ["squared_norm", "sum", "absolute"]
    page = report.html(Facts(result))
    assert page.count("gi:reduction=absolute") > 5
    assert len(set(re.findall('id="(words-[0-9]+)-title"', page))) == 4


def test_correlations_are_those_of_numpy(found: Study) -> None:
    first, second = (run.words.scores["attnlrp"]["signed"] for run in found.runs)
    shared = [word for word in first if word in second]
    expected = np.corrcoef([first[w].mean for w in shared], [second[w].mean for w in shared])[0, 1]
    [pair] = data_correlations(found, "attnlrp", "signed")
    assert (pair.first, pair.second, pair.words) == ("first", "second", len(shared))
    assert pair.r == pytest.approx(expected)
    assert data_correlations(found, "gs", "signed") == ()
    run = found.runs[0]
    assert run.second is not None
    expected_r, words = word_correlation(
        run.words.scores["lat"]["magnitude"], run.second.scores["lat"]["magnitude"]
    )
    assert seed_correlations(run)["lat"][2:] == (pytest.approx(expected_r), words)
    assert seed_correlations(found.runs[1]) == {}


def test_mean_correlations_leave_out_what_is_not_defined() -> None:
    pairs = [Correlation("a", "b", r, 5) for r in (0.5, float("nan"), 0.7)]
    assert mean_correlation(pairs) == pytest.approx(0.6)
    assert np.isnan(mean_correlation([]))


def test_only_the_papers_data_sets_are_held_against_its_numbers(found: Study) -> None:
    every = data_correlations(found, "gs")
    assert comparable_correlations(found, "gs") == every  # none is the paper's
    sets = ["sst5", "other", "imdb"]
    runs = [replace(found.runs[0], run=replace(found.runs[0].run, name=name), data_set=name) for name in sets]
    three = replace(found, runs=tuple(runs))
    assert len(data_correlations(three, "gs")) == 3
    assert [(c.first, c.second) for c in comparable_correlations(three, "gs")] == [("sst5", "imdb")]


def test_top_words(found: Study) -> None:
    run = found.runs[0]
    scores = run.words.scores["attnlrp"]["signed"]
    top = top_words(run, "attnlrp", 3, "signed")
    assert [score.mean for _, score in top] == sorted((s.mean for s in scores.values()), reverse=True)[:3]
    assert top_words(run, "attnlrp", 1, "signed", lowest=True)[0][1].mean == min(
        s.mean for s in scores.values()
    )
    equal = MappingProxyType({"b": WordScore(1.0, 2), "a": WordScore(1.0, 2)})
    words = dataclasses.replace(run.words, scores={"gi": {"magnitude": equal}})
    assert [word for word, _ in top_words(dataclasses.replace(run, words=words), "gi")] == ["a", "b"]
    assert top_words(run, "gs", 3, "signed") == ()


def test_deletion_means(found: Study) -> None:
    means = deletion_means(found, "abpc")
    values = [value.value for value in found.runs[1].evaluation.cell("gi", "abpc")]
    assert means["second"]["gi"].mean == pytest.approx(np.mean(values))
    assert deletion_means(found, "no-such-metric") == {}


def test_the_published_numbers_are_fixed() -> None:
    assert PUBLISHED.deletion["sst5"][RANDOM] == 0.616
    assert set(PUBLISHED.deletion) == {"sst5", "semeval", "imdb", "yelp5"}
    with pytest.raises(TypeError):
        PUBLISHED.correlation["gs"] = 1.0  # type: ignore[index]


def scored(
    found: Study,
    means: dict[str, float],
    data_set: str = "sst5",
    metric: str = "deletion-paper",
    texts: int = 40,
    width: float = 0.05,
) -> Study:
    """The study with other values of one metric: these means over so many texts, a little spread."""
    run = found.runs[0]
    spread = np.random.default_rng(0).uniform(-width, width, texts)
    values = tuple(
        type(run.evaluation.values[0])(row, method, metric, mean + float(noise))
        for method, mean in means.items()
        for row, noise in enumerate(spread * (1 if method == RANDOM else -1))
    )
    evaluation = dataclasses.replace(run.evaluation, values=values, methods=tuple(means))
    return dataclasses.replace(
        found, runs=(dataclasses.replace(run, evaluation=evaluation, data_set=data_set),)
    )


def verdicts(listed: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.claim.split("'")[0]: finding.verdict for finding in listed}


def test_findings_follow_the_numbers(found: Study) -> None:
    as_published = scored(found, dict(PUBLISHED.deletion["sst5"]))
    listed = findings(as_published)
    assert {finding.verdict for finding in listed} == {"reproduces"}
    assert any("Kendall's tau +1.00 over 5" in finding.here for finding in listed)
    other = scored(found, {RANDOM: 0.4, "gs": 0.6, "gi": 0.4, "lrp": 0.2, "lat": 0.1})
    by_claim = verdicts(findings(other))
    assert by_claim["Deleting gs"] == "does not reproduce"
    assert by_claim["Deleting gi"] == "not told apart"
    assert by_claim["Deleting lrp"] == "reproduces"
    assert by_claim["Deleting lat"] == "does not reproduce"
    assert not any("order of random" in f.claim for f in findings(scored(found, {RANDOM: 0.5}, "mine")))


@pytest.mark.parametrize("metric", ["aopc", "abpc"])
def test_newer_methods_are_held_against_each_older_one(found: Study, metric: str) -> None:
    def judged(**means: float) -> list[Finding]:
        return list(findings(scored(found, means, "mine", metric)))

    older = {"gs": 0.3, "gi": 0.2, "lrp": 0.25}
    [finding] = judged(**older, attnlrp=0.5, cp_lrp=0.4)
    assert finding.claim == f"attnlrp is better than each of gs, gi, lrp by {metric}"
    assert (finding.run, finding.verdict) == (found.runs[0].run.name, "reproduces")
    assert finding.here.startswith("attnlrp 0.")
    assert "not better" not in finding.here
    [finding] = judged(**older, cp_lrp=0.25)
    assert finding.verdict == "in part"
    assert finding.here.endswith("; not better than gs, lrp")
    [finding] = judged(**older, cp_lrp=0.1)
    assert finding.verdict == "does not reproduce"
    [finding] = judged(gs=0.3, attnlrp=0.3)
    assert finding.verdict == "not told apart"
    assert judged(**older) == judged(attnlrp=0.5) == []


def test_a_sample_that_cannot_tell_gets_no_verdict(found: Study) -> None:
    published = dict(PUBLISHED.deletion["sst5"])
    [few] = {finding.said for finding in findings(scored(found, published, texts=20))}
    assert few == "too few texts to tell; 30 needed"
    by_claim = {f.claim.split("'")[0]: f for f in findings(scored(found, published, width=0.5))}
    gs, order = (
        by_claim["Deleting gs"],
        by_claim["The order of random, gs, gi, lrp and lat under deletion is that of the paper"],
    )
    pairs = 2 * np.random.default_rng(0).uniform(-0.5, 0.5, 40)
    spread = pairs.std(ddof=1) * (39 / scipy.stats.chi2.ppf(0.2, 39)) ** 0.5
    assert gs.needed == np.ceil((2.8016 * spread / (published[RANDOM] - published["gs"])) ** 2)
    assert (gs.verdict, gs.sample) == ("too few to tell", 40)
    assert gs.said == f"too few texts to tell; {gs.needed} needed"
    assert order.needed is not None
    assert order.needed >= gs.needed
    many = findings(scored(found, published, width=0.5, texts=order.needed * 2))
    assert {finding.verdict for finding in many if "lat" not in finding.claim} == {"reproduces"}
    # Equal in the paper: no sample can say that the order is the same.
    same = scored(found, dict.fromkeys((RANDOM, "gs", "gi"), 0.5), "mine")
    other = scored(found, dict.fromkeys((RANDOM, "gs", "gi"), 0.5), "mine", "deletion-mask")
    both = (*same.runs[0].evaluation.values, *other.runs[0].evaluation.values)
    evaluation = dataclasses.replace(same.runs[0].evaluation, values=both)
    run = dataclasses.replace(same.runs[0], evaluation=evaluation)
    for finding in findings(dataclasses.replace(same, runs=(run,))):
        if "stays" in finding.claim:
            assert finding.said == "cannot be told by any number of texts"


def test_what_a_claim_needs_is_what_the_tables_say() -> None:
    differences = np.random.default_rng(1).normal(0, 0.4, 20_000)
    needed = texts_needed(differences, 0.1)
    assert needed is not None
    for size, enough in ((needed + 3, True), (needed - 10, False)):  # the t test's own power
        noncentral = scipy.stats.nct(size - 1, 0.1 / 0.4 * size**0.5)
        limit = scipy.stats.t.ppf(0.975, size - 1)
        assert (noncentral.sf(limit) + noncentral.cdf(-limit) > 0.8) == enough
    assert texts_needed([0.1, float("nan"), 0.1], 0.1) == texts_needed([0.1], 0.1) == 30
    assert texts_needed(differences, 0) is None
    few, many = (texts_needed([-0.4, 0.4] * count, 0.1) for count in (5, 500))
    assert few is not None
    assert many is not None
    assert few > many  # a small sample does not promise too much
    assert words_needed(0.3) == 85  # Cohen 1988, table 3.4.1
    assert words_needed(0.5, 0.2) == pytest.approx(
        2 * (2.8016 / (np.arctanh(0.5) - np.arctanh(0.2))) ** 2 + 3, abs=1
    )
    assert words_needed(0.9) == 30
    assert words_needed(0.4, 0.4) is None
    assert order_needed([10, 20, 30, None, 50], 0.6) == 50
    assert order_needed([10, 20, 30, None, None], 0.6) is None
    assert order_needed([10, 20, 30, None, None], 0.2) == 30


# The command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "120")
    call = caller(monkeypatch, capsys)
    return lambda *arguments: call("study", *arguments)


def test_the_command(run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    arguments = [
        *(
            "--run",
            f"one={place / 'one'},{place / 'a.csv'}",
            "--run",
            f"two={place / 'two'},{place / 'b.csv'}",
        ),
        *(
            "--method",
            "gi,lat",
            "--metric",
            "abpc",
            "--limit",
            "3",
            "--word-limit",
            "12",
            "--title",
            "My study",
        ),
        *("-o", str(out)),
    ]
    result = run(*arguments)
    assert result.code == 0, result.err
    assert "best by abpc" in result.out
    assert f"wrote {out / 'report.html'}" in result.err
    page = (out / "report.html").read_bytes()
    assert b"<h1>My study</h1>" in page
    written = {str(path.relative_to(out)) for path in out.glob("*.*")}
    assert written == {"report.html", "report.tex", "study.json", "study.yaml"}
    for name in ("runs", "metrics", "curves", "words", "data_correlations", "findings"):
        for suffix in ("csv", "parquet"):
            assert (out / "tables" / f"{name}.{suffix}").is_file(), name
    calls = counted(monkeypatch)
    assert run(str(out / "study.yaml"), "-o", str(out)).code == 0
    assert not calls
    assert (out / "report.html").read_bytes() == page
    one_error(run(*arguments, "--seed", "1"), 2, "other settings")
    assert run(*arguments, "--seed", "1", "--overwrite").code == 0


def test_settings_in_the_folder_of_the_report_stay_as_they_were_written(
    run: Run, place: Path, tmp_path: Path
) -> None:
    config = tmp_path / "study.yaml"
    text = f"# mine\nruns:\n- {{name: a, model: {place / 'one'}, data: {place / 'a.csv'}}}\nlimit: 2\n"
    config.write_text(text)
    arguments = ["--method", "gi", "--metric", "abpc", "--word-limit", "8", "-o", str(tmp_path)]
    assert run(str(config), *arguments).code == 0
    assert config.read_text() == text
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "expected CONFIG.yaml or --run"),
        (["--run", "a"], "expected --run NAME=MODEL,DATA"),
        (["--run", "a=builtin"], "expected --run NAME=MODEL,DATA"),
        (["--run", "a=builtin,x,y,z,more"], "expected --run NAME=MODEL,DATA"),
        (["--run", "a=builtin,sst2", "--method", "lpr"], "did you mean 'lrp'?"),
        (["none.yaml"], "none.yaml"),
    ],
)
def test_wrong_use(run: Run, tmp_path: Path, arguments: list[str], part: str) -> None:
    one_error(run(*arguments, "-o", str(tmp_path / "out")), 2, part)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_found_before_the_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    result = run("--run", "a=builtin,sst2", "-o", str(tmp_path / "out"))
    assert result.code == 1
    assert result.err == "error: a report needs an optional package: pip install 'whybert[evaluate]'\n"


def test_the_output_is_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one_error(run("--run", "a=builtin,sst2", "-o", str(tmp_path / "file")), 2, "expected a folder")


def test_an_unknown_data_set_is_one_line(run: Run, tmp_path: Path) -> None:
    one_error(run("--run", "a=builtin,ssst2", "-o", str(tmp_path / "out")), 2, "did you mean 'sst2'")


def test_the_command_reads_parts_of_a_run() -> None:
    from whybert.cli.study import _parts

    assert _parts("a = m, d,,dev") == {"name": "a", "model": "m", "data": "d", "split": "dev"}
    assert isinstance(typer.Typer().command()(study_command), type(study_command))


def test_a_name_that_is_unknown_lists_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'abpc'"):
        StudySettings((StudyRun("a", "builtin", "sst2"),), metrics=("abpcc",))
