"""The bench: what it computes, what it keeps, and how results are told."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

import tiny
from whybert import Classifier, explain
from whybert.datasets import TextDataset
from whybert.datasets.annotated import AnnotatedTexts, Annotation
from whybert.errors import InputError, TargetError, UnknownNameError, UsageError
from whybert.evaluation import bench, results
from whybert.evaluation.agreement import AGREEMENT
from whybert.evaluation.bench import Evaluation, EvaluationData, PairValue, Value, evaluate
from whybert.evaluation.faithfulness import FAITHFULNESS
from whybert.evaluation.given import RANDOM, random_explanations
from whybert.evaluation.metrics import METRICS, resolve_metrics
from whybert.evaluation.plausibility import PLAUSIBILITY
from whybert.evaluation.sanity import SANITY
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.methods import STANDARD

# The bench puts texts together in other batches than a metric by itself; the models are in float64.
ALIKE = 1e-9
SETTINGS, PARTS = "evaluation.json", "parts"

TOKENIZER = tiny.wordpiece()
TEXTS = (
    "the film was good",
    "the actors were great",
    "a bad film.",
    "so",
    "don't you think so?",
    "a well-made film, a bad film.",
    "good",
    "the film was bad and the actors were good",
)
MANY = tuple(f"{first} film {second} good" for first in "abcd" for second in "efghi")  # 20: three parts
PAIRS = tuple(zip(TEXTS, reversed(TEXTS), strict=True))


def classifier_of(seed: int = 0, **options: Any) -> Classifier:
    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    return Classifier(tiny.bert(TOKENIZER, seed, **{**names, **options}).double(), TOKENIZER)


CLASSIFIER = classifier_of()


def data_set(texts: Sequence[Any] = TEXTS, labels: Sequence[int] | None = None, **more: Any) -> TextDataset:
    """A data set of one split, its labels in another order than the model's; None for a withheld label."""
    pairs = isinstance(texts[0], tuple)
    columns: dict[str, list[Any]] = {"text": [text[0] for text in texts] if pairs else list(texts)}
    if pairs:
        columns["pair"] = [text[1] for text in texts]
    if labels is not None:
        columns["label"] = list(labels)
    split = datasets.Dataset.from_dict(columns)
    return TextDataset("mine", ("positive", "negative"), {"test": split}, "made up", **more)


def data_of(
    texts: Sequence[Any] = TEXTS, labels: Sequence[int] | None = None, classifier: Classifier = CLASSIFIER
) -> EvaluationData:
    labels = [index % 2 for index in range(len(texts))] if labels is None else labels
    return EvaluationData.of_dataset(data_set(texts, labels), None, classifier)


DATA = data_of()


def annotated(kind: Any = "rationale") -> AnnotatedTexts:
    rows = []
    for number, text in enumerate(TEXTS):
        spans, start = [], 0
        for word in text.split():
            spans.append((start, start + len(word)))
            start += len(word) + 1
        marks = [float((place + number) % 2) if kind == "rationale" else (place + number) % 5 - 2.0
                 for place in range(len(spans))]  # fmt: skip
        rows.append(Annotation(text, ("Positive", "neutral", None)[number % 3], tuple(spans), tuple(marks)))
    return AnnotatedTexts("marked", kind, ("neutral", "Positive"), tuple(rows), "made up", ("a note",))


def same(first: float, second: float, tolerance: float = 0.0) -> bool:
    return (math.isnan(first) and math.isnan(second)) or abs(first - second) <= tolerance


def timeless(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, seconds=0.0)


def rendered(evaluation: Evaluation, width: int = 100, **options: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(results.terminal(evaluation))
    return stream.getvalue()


# The data.


def test_a_data_set_with_labels_in_another_order() -> None:
    assert DATA.texts == TEXTS
    assert DATA.labels == (1, 0) * 4
    assert (DATA.name, DATA.source, DATA.notes) == ("mine/test", "made up", ())
    assert (DATA.annotations, DATA.kind) == (None, None)


def test_labels_matched_by_index_are_noted() -> None:
    other = Classifier(tiny.bert(TOKENIZER), TOKENIZER)
    data = EvaluationData.of_dataset(data_set(labels=[0] * 8, notes=("left out",)), "test", other)
    assert data.labels == (0,) * 8
    assert data.notes[0] == "left out"
    assert "matched by index: positive is LABEL_0" in data.notes[1]
    assert evaluate(other, data, metrics=["aopc"], methods=["gi"], limit=1).notes == data.notes
    with pytest.raises(UnknownNameError, match="split of mine"):
        EvaluationData.of_dataset(data_set(labels=[0] * 8), "tset", other)
    with pytest.raises(
        InputError, match=r"mine \(positive, negative\) are not those of the model \(a, b, c\)"
    ):
        EvaluationData.of_dataset(data_set(labels=[0] * 8), None, classifier_of(
            id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2}))  # fmt: skip


def test_labels_by_a_mapping() -> None:
    other = classifier_of(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    data = EvaluationData.of_dataset(
        data_set(labels=[0, 1] * 4), None, other, {"positive": "yes", "negative": 0}
    )
    assert (data.labels, data.notes) == ((1, 0) * 4, ())
    marked = EvaluationData.of_annotations(annotated(), other)
    assert set(marked.labels) == {None}
    mapped = EvaluationData.of_annotations(annotated(), other, {"Positive": "yes"})
    assert mapped.labels == EvaluationData.of_annotations(annotated(), CLASSIFIER).labels
    with pytest.raises(UnknownNameError, match="label of the model to map 'Positive' to 'up'"):
        EvaluationData.of_annotations(annotated(), other, {"Positive": "up"})


def test_a_number_has_no_labels() -> None:
    config = {
        "num_labels": 1,
        "id2label": {0: "stars"},
        "label2id": {"stars": 0},
        "problem_type": "regression",
    }
    model = classifier_of(**config)
    data = EvaluationData.of_dataset(data_set(labels=[0, 1] * 4), None, model)
    assert data.labels == (None,) * 8
    assert data.notes == ("the model answers a number, and the labels of mine are not used",)
    assert set(EvaluationData.of_annotations(annotated(), model).labels) == {None}


def test_annotated_texts() -> None:
    data = EvaluationData.of_annotations(annotated(), CLASSIFIER)
    assert data.texts == TEXTS
    assert data.labels == (1, None, None) * 2 + (1, None)  # "Positive" is the model's "positive"
    unknown = "labels that the model does not have are taken as not known: neutral"
    assert (data.kind, data.notes) == ("rationale", ("a note", unknown))


def test_data_that_is_none() -> None:
    with pytest.raises(InputError, match="found none"):
        EvaluationData("nothing", (), ())
    with pytest.raises(InputError, match="a label for each of 2 texts"):
        EvaluationData("one", ("a", "b"), (None,))


def test_a_sample_is_drawn_by_the_seed() -> None:
    data = data_of(MANY)
    whole = data.sample(None, 0)
    assert sorted(whole) == list(range(20))
    assert whole != tuple(range(20))
    assert data.sample(None, 0) == whole
    assert len({data.sample(None, seed) for seed in range(5)}) == 5
    for limit in (1, 7, 20, 100):
        assert data.sample(limit, 0) == whole[:limit]


def test_the_sample_is_what_is_evaluated() -> None:
    data = data_of(MANY)
    found = evaluate(CLASSIFIER, data, methods=["gi"], metrics=["aopc"], limit=3, seed=5)
    assert found.rows == data.sample(3, 5)
    assert [value.row for value in found.cell("gi", "aopc")] == list(found.rows)
    assert (found.settings["texts"], found.settings["of"], found.settings["seed"]) == (3, 20, 5)
    assert found != evaluate(CLASSIFIER, data, methods=["gi"], metrics=["aopc"], limit=3, seed=6)


# The numbers.


@pytest.mark.parametrize("target", [None, "negative", 1])
def test_faithfulness_is_that_of_each_metric_by_itself(target: Any) -> None:
    methods = ["gi", "attnlrp"]
    found = evaluate(CLASSIFIER, DATA, methods=methods, metrics=["faithfulness"], seed=2, target=target)
    listed = make_subjects(
        CLASSIFIER,
        [TEXTS[row] for row in found.rows],
        [DATA.labels[row] for row in found.rows],
        target=target,
        seed=2,
        indices=found.rows,
    )
    assert target is None or {subject.target for subject in listed} == {0 if target == "negative" else 1}
    texts = [str(subject.row.text) for subject in listed]
    explanations = explain(CLASSIFIER, texts, methods, [subject.target for subject in listed])
    explanations[RANDOM] = random_explanations(listed, CLASSIFIER.labels)
    assert found.methods == tuple(explanations)
    assert [metric.name for metric in found.metrics] == list(FAITHFULNESS)
    defined = 0
    for name, metric in FAITHFULNESS.items():
        for method in explanations:
            expected = metric(CLASSIFIER, listed, explanations[method])
            cell = found.cell(method, name)
            assert [value.row for value in cell] == list(found.rows)
            for value, score in zip(cell, expected, strict=True):
                assert same(value.value, score.value, ALIKE)
                assert value.curve == pytest.approx(score.curve, abs=ALIKE, nan_ok=True)
                defined += not math.isnan(value.value)
    assert defined > len(FAITHFULNESS) * 3 * len(TEXTS) / 2


def test_sanity_and_agreement_are_those_of_each_metric_by_itself() -> None:
    methods = ["gi", "attnlrp"]
    names = ["random-logit", "completeness-error", "agreement"]
    found = evaluate(CLASSIFIER, DATA, methods=methods, metrics=names)
    texts = [TEXTS[row] for row in found.rows]
    listed = make_subjects(CLASSIFIER, texts, indices=found.rows)
    explanations = explain(CLASSIFIER, texts, methods)
    for name in names[:2]:
        for method, scores in SANITY[name](CLASSIFIER, listed, explanations).items():
            cell = found.cell(method, name)
            assert len(cell) == len(scores) == len(TEXTS)
            assert all(
                same(value.value, score.value, 1e-7) for value, score in zip(cell, scores, strict=True)
            )
        assert found.cell(RANDOM, name) == []
    explanations[RANDOM] = random_explanations(listed, CLASSIFIER.labels)
    expected = {
        (subject.index, first, second, name): metric(subject, explanations[first][i], explanations[second][i])
        for name, metric in AGREEMENT.items()
        for first, second in combinations(explanations, 2)
        for i, subject in enumerate(listed)
    }
    assert len(found.pairs) == len(expected)
    for pair in found.pairs:
        assert same(pair.value, expected[pair[:4]], ALIKE)
    assert any(not math.isnan(pair.value) for pair in found.pairs)
    assert any(math.isnan(pair.value) for pair in found.pairs)  # texts of one word


@pytest.mark.parametrize("kind", ["rationale", "sentiment"])
def test_plausibility_is_that_of_each_metric_by_itself(kind: str) -> None:
    data = EvaluationData.of_annotations(annotated(kind), CLASSIFIER)
    found = evaluate(CLASSIFIER, data, methods=["attnlrp"], metrics=["plausibility"])
    # Of rationales, as many words are chosen as the mean share of the data set says: ERASER's rule.
    share = annotated(kind).rationale_share if kind == "rationale" else None
    chosen = [metric.of_length(share) for metric in PLAUSIBILITY.values() if metric.kind == kind]
    assert list(found.metrics) == chosen
    assert [getattr(metric, "length", None) for metric in chosen][:1] == [share]
    texts = [TEXTS[row] for row in found.rows]
    listed = make_subjects(CLASSIFIER, texts, indices=found.rows)
    explanations = {
        "attnlrp": explain(CLASSIFIER, texts),
        RANDOM: random_explanations(listed, CLASSIFIER.labels),
    }
    for metric in chosen:
        for method, rows in explanations.items():
            for value, subject, explanation in zip(
                found.cell(method, metric.name), listed, rows, strict=True
            ):
                assert data.annotations is not None
                score = metric(subject, explanation, data.annotations[subject.index])
                assert same(value.value, score.value, ALIKE)
        assert any(not math.isnan(value.value) for value in found.cell("attnlrp", metric.name))
    left_out = [note.split()[0] for note in found.notes if "left out" in note]
    assert left_out == [name for name, metric in PLAUSIBILITY.items() if metric.kind != kind]


def test_options_reach_the_methods() -> None:
    plain = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"])
    signless = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"], options={"reduction": "absolute"})
    assert signless.methods == ("gi:reduction=absolute", RANDOM)
    assert signless.settings["methods"] == list(signless.methods)
    one, other = ([value.value for value in each.cell(each.methods[0], "aopc")] for each in (plain, signless))
    assert one != pytest.approx(other, abs=1e-3)
    one, other = ([value.value for value in each.cell(RANDOM, "aopc")] for each in (plain, signless))
    assert one == pytest.approx(other, abs=ALIKE)


def test_accuracy() -> None:
    predicted = [CLASSIFIER.labels.index(each.label) for each in CLASSIFIER.predict(list(TEXTS))]
    assert set(predicted) == {0, 1}
    found = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"], limit=5)
    right = [predicted[row] == DATA.labels[row] for row in found.rows]
    assert found.accuracy == sum(right) / 5
    known = dataclasses.replace(DATA, labels=(None, *predicted[1:]))
    assert evaluate(CLASSIFIER, known, methods=["gi"], metrics=["aopc"]).accuracy == 1.0


def test_without_labels() -> None:
    data = EvaluationData.of_dataset(data_set(), None, CLASSIFIER)
    assert data.labels == (None,) * 8
    found = evaluate(CLASSIFIER, data, methods=["gi"], metrics=["deletion-paper", "aopc"])
    assert found.accuracy is None
    assert all(math.isnan(value.value) for value in found.cell("gi", "deletion-paper"))
    assert len(found.cell("gi", "deletion-paper")) == 8
    assert not any(math.isnan(value.value) for value in found.cell("gi", "aopc"))
    table = rendered(found)
    assert "accuracy" not in table
    assert next(line for line in table.splitlines() if "deletion-paper" in line).split()[2:] == [
        "n=0",
        "-",
        "-",
    ]
    cell = results.to_dict(found)["metrics"]["deletion-paper"]["methods"]["gi"]
    assert (cell["mean"], cell["texts"], cell["undefined"]) == (None, 0, 8)
    assert not cell["best"]


def test_pairs() -> None:
    found = evaluate(
        CLASSIFIER, data_of(PAIRS), methods=["attnlrp"], metrics=["aopc", "random-logit", "agreement-top"]
    )
    assert [value.row for value in found.cell("attnlrp", "aopc")] == list(found.rows)
    listed = make_subjects(CLASSIFIER, [PAIRS[row] for row in found.rows], indices=found.rows)
    texts: Any = [PAIRS[row] for row in found.rows]
    scores = FAITHFULNESS["aopc"](CLASSIFIER, listed, explain(CLASSIFIER, texts))
    assert [value.value for value in found.cell("attnlrp", "aopc")] == pytest.approx(
        [score.value for score in scores], abs=ALIKE
    )
    alone = evaluate(CLASSIFIER, DATA, methods=["attnlrp"], metrics=["aopc"])
    assert [value.value for value in found.cell("attnlrp", "aopc")] != pytest.approx(
        [value.value for value in alone.cell("attnlrp", "aopc")], abs=1e-3
    )
    assert len(found.cell("attnlrp", "random-logit")) == len(found.pairs) == 8


def test_texts_of_one_word() -> None:
    data = data_of(("was", "good", "x", "film"))
    names = ["faithfulness", "agreement", "random-logit"]
    found = evaluate(CLASSIFIER, data, methods=["gi", "lat"], metrics=names)
    for name in ("comprehensiveness", "aopc", "morf"):
        values = {value.value for method in found.methods for value in found.cell(method, name)}
        assert len(values) == 4  # whatever the scores: there is one order
    assert all(math.isnan(value.value) for value in found.cell("gi", "loo-kendall"))
    assert all(math.isnan(pair.value) for pair in found.pairs)
    assert json.dumps(results.to_dict(found), allow_nan=False)
    assert "=" in rendered(found)


def test_ties_are_counted(tmp_path: Path) -> None:
    def given(name: str, scores: Callable[[int], list[float]]) -> Path:
        path = tmp_path / f"{name}.jsonl"
        rows = [{"index": i, "words": text.split(), "scores": scores(len(text.split()))}
                for i, text in enumerate(("a film so", "film so", "so"))]  # fmt: skip
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    files = {
        "flat": given("flat", lambda count: [1.0] * count),
        "steep": given("steep", lambda count: [float(place) for place in range(count)]),
        "half": given("half", lambda count: [0.0, 1.0, 0.0][:count]),
    }
    data = data_of(("a film so", "film so", "so"))
    found = evaluate(CLASSIFIER, data, methods=[], metrics=["aopc"], given=files)
    assert found.ties == {"flat": 2, "steep": 0, "half": 1, RANDOM: 0}  # one word ties with no other
    assert "draws: flat in 2 texts, half in 1 texts" in " ".join(rendered(found).split())


def test_slow_limit() -> None:
    names = ["aopc", "naopc", "random-logit", "completeness-error"]
    bounds = {name: METRICS[name].texts for name in names}
    assert bounds["aopc"] is bounds["completeness-error"] is None
    assert bounds["naopc"] == bounds["random-logit"] == 25
    found = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=names, slow_limit=3)
    for name in names:
        rows = found.rows if bounds[name] is None else found.rows[:3]
        assert [value.row for value in found.cell("gi", name)] == list(rows)
    assert found.settings["bounds"] == {"naopc": 3, "random-logit": 3}
    assert {metric.name: metric.texts for metric in found.metrics} == {
        **bounds,
        "naopc": 3,
        "random-logit": 3,
    }
    for limit in ({"limit": 0}, {"slow_limit": 0}, {"limit": -1}):
        with pytest.raises(UsageError, match="at least 1"):
            evaluate(CLASSIFIER, DATA, **limit)


def test_the_bound_of_a_metric_counts_over_all_parts() -> None:
    found = evaluate(CLASSIFIER, data_of(MANY), methods=[], metrics=["naopc"], slow_limit=18)
    assert [value.row for value in found.cell(RANDOM, "naopc")] == list(found.rows[:18])


def test_the_model_is_untouched() -> None:
    classifier = classifier_of(3)
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    flags = [(parameter.requires_grad, parameter.grad) for parameter in classifier.model.parameters()]
    config = classifier.model.config.to_dict()
    evaluate(classifier, DATA, methods=["attnlrp", "lat"], metrics=["all"], limit=3, slow_limit=2)
    after = classifier.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [(p.requires_grad, p.grad) for p in classifier.model.parameters()] == flags
    assert classifier.model.config.to_dict() == config
    assert not classifier.model.training
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in classifier.model.modules()]
    assert not any(hooks)


# What can be asked for.


def test_names_of_metrics() -> None:
    def names(*wanted: str) -> list[str]:
        return [metric.name for metric in resolve_metrics(wanted)]

    assert names("aopc") == ["aopc"]
    assert names(" AOPC ", "Deletion_Mask", "aopc") == ["aopc", "deletion-mask"]
    assert names("faithfulness") == list(FAITHFULNESS)
    assert names("sanity", "random-logit", "agreement") == [*SANITY, *AGREEMENT]
    assert names("all") == list(METRICS)
    with pytest.raises(UsageError, match="at least one metric"):
        names()


def test_a_metric_with_another_perturbation() -> None:
    [metric] = resolve_metrics(["aopc@delete"])
    own = FAITHFULNESS["aopc"]
    assert own.perturbation != "delete"
    assert metric.name == "aopc@delete"
    assert "perturbation: delete" in metric.summary
    assert metric == dataclasses.replace(
        own, name="aopc@delete", perturbation="delete", summary=metric.summary
    )
    asked = ["aopc", f"aopc@{own.perturbation}", "aopc@delete"]
    found = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=asked, control=False)
    plain, again, other = ([value.value for value in found.cell("gi", name)] for name in asked)
    assert plain == again
    assert other != plain


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aopcc", "unknown metric 'aopcc'; did you mean 'aopc'"),
        ("faithfullness", "did you mean 'faithfulness'"),
        ("aopc@maskk", "unknown perturbation 'maskk'; did you mean 'mask'"),
        ("aopc@", "unknown perturbation ''"),
        ("seconds@mask", "unknown faithfulness metric 'seconds'"),
        ("faithfulness@mask", "unknown faithfulness metric 'faithfulness'"),
    ],
)
def test_unknown_names_of_metrics(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve_metrics(["aopc", name])
    assert message in str(caught.value)


def test_methods() -> None:
    found = evaluate(CLASSIFIER, DATA, metrics=["aopc"], limit=1)
    assert found.methods == (*STANDARD, RANDOM)
    found = evaluate(CLASSIFIER, DATA, methods=["lat"], metrics=["aopc"], limit=1, control=False)
    assert found.methods == ("lat",)
    assert {value.method for value in found.values} == {"lat"}
    with pytest.raises(UnknownNameError, match="did you mean 'attnlrp'"):
        evaluate(CLASSIFIER, DATA, methods=["atnlrp"])
    with pytest.raises(UsageError, match="at least one, found none"):
        evaluate(CLASSIFIER, DATA, methods=[], control=False)
    with pytest.raises(UsageError):
        evaluate(CLASSIFIER, DATA, methods=["gi", "gi"])
    for target in ("neutral", 2):
        with pytest.raises((UnknownNameError, TargetError)):
            evaluate(CLASSIFIER, DATA, methods=["gi"], target=target)


def test_metrics_that_cannot_be_computed_are_left_out_with_a_note() -> None:
    found = evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["token-f1", "sentiment-ap", "aopc"])
    assert [metric.name for metric in found.metrics] == ["aopc"]
    assert [note.split(":")[0] for note in found.notes] == ["token-f1 left out", "sentiment-ap left out"]
    assert "rationales" in found.notes[0]
    assert "word labels" in found.notes[1]
    assert all(note in " ".join(rendered(found).split()) for note in found.notes)
    with pytest.raises(UsageError, match=r"token-f1 left out: .*; auprc left out: ") as caught:
        evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["token-f1", "auprc"])
    assert "\n" not in str(caught.value)
    found = evaluate(CLASSIFIER, DATA, methods=[], metrics=["seconds", "aopc"])
    assert found.notes == ("seconds left out: explains the texts again, which needs a method of whybert",)


# Explanations of other tools.


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """What attnlrp says, written down word by word as another tool would."""
    path = tmp_path / "theirs.jsonl"
    rows = []
    for index, explanation in enumerate(explain(CLASSIFIER, list(TEXTS))):
        words = explanation.words()
        spans = [[word.start, word.end] for word in words]
        rows.append({"index": index, "spans": spans, "scores": [word.score for word in words]})
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_given_explanations_beside_methods_and_alone(theirs: Path) -> None:
    names = ["comprehensiveness", "random-logit", "agreement-spearman"]
    found = evaluate(CLASSIFIER, DATA, methods=["attnlrp", "gi"], metrics=names, given={"theirs": theirs})
    assert found.methods == ("attnlrp", "gi", "theirs", RANDOM)
    own, given = ([v.value for v in found.cell(name, "comprehensiveness")] for name in ("attnlrp", "theirs"))
    assert own == pytest.approx(given, abs=ALIKE)
    assert found.cell("theirs", "random-logit") == []
    alike = {pair.value for pair in found.pairs if (pair.first, pair.second) == ("attnlrp", "theirs")}
    assert any(value == pytest.approx(1.0, abs=ALIKE) for value in alike)
    assert all(math.isnan(value) or value == pytest.approx(1.0, abs=ALIKE) for value in alike)
    alone = evaluate(
        CLASSIFIER, DATA, methods=[], metrics=names[::2], given={"theirs": theirs}, control=False
    )
    assert alone.methods == ("theirs",)
    assert {(value.method, value.metric) for value in alone.values} == {("theirs", "comprehensiveness")}
    assert [value.value for value in alone.values] == pytest.approx(given, abs=ALIKE)
    assert alone.pairs == ()


def test_given_explanations_need_names_of_their_own(theirs: Path) -> None:
    for name, more in (("gi", {"methods": ["gi"]}), (RANDOM, {"methods": []})):
        with pytest.raises(UsageError, match="each method once"):
            evaluate(CLASSIFIER, DATA, metrics=["aopc"], given={name: theirs}, **more)
    found = evaluate(CLASSIFIER, DATA, methods=[], metrics=["aopc"], given={RANDOM: theirs}, control=False)
    assert found.methods == (RANDOM,)


def test_given_explanations_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        evaluate(CLASSIFIER, DATA, methods=[], given={"theirs": tmp_path / "nowhere.jsonl"})


# Stopping and going on.

RUN: dict[str, Any] = {
    "methods": ["gi", "attnlrp"],
    "metrics": ["aopc", "morf", "agreement-top", "random-logit", "completeness-error"],
    "slow_limit": 4,
}
TEXT_PARTS = {"texts-00000.json", "texts-00001.json", "texts-00002.json"}
ALL_PARTS = {
    *TEXT_PARTS,
    "model-random-logit.json",
    "model-completeness-error.json",
}


class Counted:
    """What the bench does: forward passes of texts, texts explained, walks of metrics, model metrics."""

    def __init__(self, classifier: Classifier, patch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self.explain, self.run = bench.explain, bench.run
        self.stop_in_run = 0  # the call of `run` that is stopped
        classifier.model.register_forward_hook(self.forward)
        patch.setattr(bench, "explain", self.explained)
        patch.setattr(bench, "run", self.ran)

    def forward(self, module: Any, inputs: Any, output: Any) -> None:
        self.counts["forward"] += len(output.logits)

    def explained(self, classifier: Any, texts: Any, *more: Any, **options: Any) -> Any:
        self.counts["explained"] += len(texts)
        return self.explain(classifier, texts, *more, **options)

    def ran(self, classifier: Any, jobs: Any, **options: Any) -> Any:
        self.counts["runs"] += 1
        if self.counts["runs"] == self.stop_in_run:
            raise KeyboardInterrupt
        self.counts["walks"] += len(jobs)
        return self.run(classifier, jobs, **options)

    def taken(self) -> Counter[str]:
        found, self.counts = self.counts, Counter()
        return found


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Classifier, Counted]:
    classifier = classifier_of()
    assert not classifier.reads_padding  # which it is asked once, before anything is counted
    return classifier, Counted(classifier, monkeypatch)


def stop_at(what: str, done: int) -> Callable[[str, int, int], None]:
    def progress(name: str, count: int, total: int) -> None:
        assert 0 <= count <= total
        if (name, count) == (what, done):
            raise KeyboardInterrupt

    return progress


def parts(folder: Path) -> set[str]:
    assert not list(folder.rglob("*.tmp"))
    return {path.name for path in (folder / PARTS).iterdir()}


@pytest.mark.parametrize(
    ("stop", "kept", "explained_again"),
    [
        # The parts have 8, 8 and 4 of the 20 texts; a metric that explains again has them explained first.
        (("texts", 0), set(), 0),
        (("texts", 8), {"texts-00000.json"}, 0),
        (("texts", 16), TEXT_PARTS - {"texts-00002.json"}, 0),
        (("texts", 20), TEXT_PARTS, 0),
        (("random-logit", 0), TEXT_PARTS, 4),
        (("completeness-error", 0), ALL_PARTS - {"model-completeness-error.json"}, 20),
    ],
)
def test_a_run_that_was_stopped_goes_on(
    counted: tuple[Classifier, Counted],
    tmp_path: Path,
    stop: tuple[str, int],
    kept: set[str],
    explained_again: int,
) -> None:
    classifier, counter = counted
    data = data_of(MANY)
    whole = evaluate(classifier, data, **RUN)
    cost = counter.taken()
    assert cost["explained"] == 20 + 4 + 20
    assert cost["walks"] == 20 * 3 * 2
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, data, folder=folder, progress=stop_at(*stop), **RUN)
    assert parts(folder) == kept
    before = {path: path.read_bytes() for path in (folder / PARTS).iterdir()}
    first = counter.taken()
    assert timeless(evaluate(classifier, data, folder=folder, **RUN)) == timeless(whole)
    second = counter.taken()
    assert parts(folder) == ALL_PARTS
    assert all(path.read_bytes() == content for path, content in before.items())
    assert first["explained"] + second["explained"] == cost["explained"] + explained_again
    assert first["walks"] + second["walks"] == cost["walks"]
    # Twice are only what is predicted for each text, and what was explained for the part that was stopped.
    twice = first["forward"] + second["forward"] - cost["forward"]
    assert 20 <= twice <= 20 + 2 * explained_again
    again = evaluate(classifier, data, folder=folder, **RUN)
    assert counter.taken() == {"forward": 20}  # the predictions
    assert timeless(again) == timeless(whole)
    assert again == evaluate(classifier, data, folder=folder, **RUN)


def test_a_run_that_was_stopped_in_the_middle_of_a_part_goes_on(
    counted: tuple[Classifier, Counted], tmp_path: Path
) -> None:
    classifier, counter = counted
    data = data_of(MANY)
    whole = evaluate(classifier, data, **RUN)
    counter.taken()
    counter.stop_in_run = 2
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, data, folder=tmp_path, **RUN)
    assert parts(tmp_path) == {"texts-00000.json"}
    assert counter.taken()["walks"] == 8 * 3 * 2
    counter.stop_in_run = 0
    assert timeless(evaluate(classifier, data, folder=tmp_path, **RUN)) == timeless(whole)
    assert counter.taken()["walks"] == 12 * 3 * 2


def test_without_a_folder_nothing_is_kept(
    counted: tuple[Classifier, Counted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier, counter = counted
    first = evaluate(classifier, DATA, methods=["gi"], metrics=["aopc"])
    cost = counter.taken()
    assert timeless(evaluate(classifier, DATA, methods=["gi"], metrics=["aopc"])) == timeless(first)
    assert counter.taken() == cost
    assert list(tmp_path.iterdir()) == []


def test_progress() -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(CLASSIFIER, data_of(MANY), progress=lambda *what: told.append(what), **RUN)
    texts = [(done, total) for what, done, total in told if what == "texts"]
    assert texts == [(0, 20), (8, 20), (16, 20), (20, 20)]
    for name in ("random-logit", "completeness-error"):
        counts = [(done, total) for what, done, total in told if what == name]
        assert [done for done, _ in counts] == list(range(len(counts)))
        assert {total for _, total in counts} == {len(counts) - 1}
        assert (len(counts) > 1) == (name == "random-logit")  # the other one explains nothing again


def rewritten(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def rewrite(content: bytes) -> bytes:
        part = json.loads(content)
        change(part)
        return json.dumps(part).encode()

    return rewrite


@pytest.mark.parametrize(
    "damage",
    [
        *(
            lambda _, content=content: content
            for content in (
                b"",
                b"{",
                b'{"values": [',
                b"\x00" * 50,
                b"\xff\xfe",
                b"null",
                b"[]",
                b"{}",
                b"3",
            )
        ),
        lambda _: b"[" * 100_000,
        lambda content: content[:-20],
        rewritten(lambda part: part.update(values=[])),
        rewritten(lambda part: part["values"].pop()),
        rewritten(lambda part: part["values"].append(part["values"][0][:2])),
        rewritten(lambda part: part["values"][3].__setitem__(3, "0.5")),
        rewritten(lambda part: part["values"][3].__setitem__(4, None)),
        rewritten(lambda part: part["values"][3].__setitem__(0, 10**6)),
        rewritten(lambda part: part.pop("ties")),
        rewritten(lambda part: part.update(ties=None)),
        rewritten(lambda part: part.update(seconds=None)),
        rewritten(lambda part: part.update(pairs=None)),
    ],
)
def test_a_damaged_part_is_computed_again(
    counted: tuple[Classifier, Counted], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    classifier, counter = counted
    data = data_of(MANY)
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "folder": tmp_path}
    whole = evaluate(classifier, data, **asked)
    counter.taken()
    damaged = tmp_path / PARTS / "texts-00001.json"
    good = json.loads(damaged.read_text())
    damaged.write_bytes(damage(damaged.read_bytes()))
    again = evaluate(classifier, data, **asked)
    assert again.notes == (*whole.notes, "part texts-00001 was damaged and is computed again")
    assert timeless(dataclasses.replace(again, notes=whole.notes)) == timeless(whole)
    assert counter.taken()["explained"] == 8
    assert json.loads(damaged.read_text())["values"] == good["values"]


# Folders that hold something else.


def written(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 1}, "seed 0 (now 1)"),
        ({"methods": ["lat"]}, "methods gi, random (now lat, random)"),
        ({"control": False}, "methods gi, random (now gi)"),
        ({"metrics": ["morf"]}, "metrics aopc (now morf)"),
        ({"metrics": ["aopc@delete"]}, "metrics aopc (now aopc@delete)"),
        ({"target": "negative"}, "target None (now negative)"),
        ({"options": {"reduction": "absolute"}}, "(now gi:reduction=absolute"),
        ({"limit": 2}, "texts 8 (now 2)"),
        ({"metrics": ["aopc", "naopc"], "slow_limit": 2}, "bounds {} (now {'naopc': 2})"),
        ({"classifier": classifier_of(1)}, "model_digest "),
        ({"classifier": Classifier(classifier_of().model.float(), TOKENIZER)}, "dtype float64 (now float32)"),
        ({"classifier": Classifier(CLASSIFIER.model, TOKENIZER, 5)}, "max_length 40 (now 5)"),
        ({"data": data_of((*TEXTS[:-1], "another text"))}, "texts_digest "),
        ({"data": data_of(labels=[0] * 8)}, "texts_digest "),
        ({"data": dataclasses.replace(DATA, name="other")}, "data mine/test (now other)"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    asked: dict[str, Any] = {"classifier": CLASSIFIER, "data": DATA, "methods": ["gi"], "metrics": ["aopc"]}
    first = evaluate(folder=tmp_path, **asked)
    before = written(tmp_path)
    with pytest.raises(UsageError) as caught:
        evaluate(folder=tmp_path, **{**asked, **changes})
    assert name in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert written(tmp_path) == before
    assert evaluate(folder=tmp_path, **asked) == first
    anew = evaluate(folder=tmp_path, overwrite=True, **{**asked, **changes})
    assert timeless(anew) == timeless(evaluate(**{**asked, **changes}))
    with pytest.raises(UsageError, match="other settings"):
        evaluate(folder=tmp_path, **asked)


def test_other_given_explanations_are_refused(tmp_path: Path, theirs: Path) -> None:
    asked: dict[str, Any] = {"methods": [], "metrics": ["aopc"], "given": {"theirs": theirs}}
    evaluate(CLASSIFIER, DATA, folder=tmp_path / "run", **asked)
    theirs.write_text(theirs.read_text() + "\n")
    with pytest.raises(UsageError, match="other settings: given "):
        evaluate(CLASSIFIER, DATA, folder=tmp_path / "run", **asked)


def test_other_versions_are_no_other_settings(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "folder": tmp_path}
    first = evaluate(CLASSIFIER, DATA, **asked)
    mark = tmp_path / SETTINGS
    settings = json.loads(mark.read_text())
    settings["versions"]["torch"] = "1.0"
    mark.write_text(json.dumps(settings))
    assert evaluate(CLASSIFIER, DATA, **asked) == first


def test_overwrite_begins_anew(counted: tuple[Classifier, Counted], tmp_path: Path) -> None:
    classifier, counter = counted
    asked: dict[str, Any] = {"methods": ["gi"], "folder": tmp_path, "overwrite": True}
    evaluate(classifier, data_of(MANY), metrics=["aopc", "random-logit"], **asked)
    assert parts(tmp_path) == {*TEXT_PARTS, "model-random-logit.json"}
    counter.taken()
    found = evaluate(classifier, DATA, metrics=["aopc"], **asked)
    assert parts(tmp_path) == {"texts-00000.json"}
    assert counter.taken()["explained"] == len(TEXTS)
    assert timeless(found) == timeless(evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"]))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_refused_and_untouched(tmp_path: Path, overwrite: bool) -> None:
    foreign = tmp_path / "foreign"
    (foreign / PARTS).mkdir(parents=True)
    (foreign / PARTS / "texts-00000.json").write_text("precious")
    (foreign / "notes.txt").write_text("mine")
    before = written(foreign)
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "overwrite": overwrite}
    with pytest.raises(UsageError, match="foreign' holds something that no evaluation wrote"):
        evaluate(CLASSIFIER, DATA, folder=foreign, **asked)
    assert written(foreign) == before
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match="expected a folder to write to, found the file"):
        evaluate(CLASSIFIER, DATA, folder=file, **asked)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"\0\0\0", b"\xff", b"null", b"[]", b"[" * 100_000])
def test_damaged_settings_lock_no_folder(tmp_path: Path, content: bytes) -> None:
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "folder": tmp_path}
    (tmp_path / SETTINGS).write_bytes(content)
    whole = evaluate(CLASSIFIER, DATA, **asked)  # nothing but the mark is there
    settings = (tmp_path / SETTINGS).read_bytes()
    (tmp_path / SETTINGS).write_bytes(content)
    before = written(tmp_path)
    with pytest.raises(UsageError, match=r"evaluation\.json' cannot be read .*; use --overwrite or"):
        evaluate(CLASSIFIER, DATA, **asked)
    assert written(tmp_path) == before
    assert timeless(evaluate(CLASSIFIER, DATA, overwrite=True, **asked)) == timeless(whole)
    assert json.loads((tmp_path / SETTINGS).read_bytes()) == json.loads(settings)


def test_settings_of_something_else_are_left_alone(tmp_path: Path) -> None:
    for content, more in ((b"[1, 2]", False), (b"", True)):
        (tmp_path / SETTINGS).write_bytes(content)
        if more:
            (tmp_path / "mine.txt").write_text("precious")
        for overwrite in (False, True):
            with pytest.raises(UsageError, match=r"evaluation\.json' cannot be read .*; name another folder"):
                evaluate(CLASSIFIER, DATA, methods=["gi"], folder=tmp_path, overwrite=overwrite)
        assert (tmp_path / SETTINGS).read_bytes() == content


@pytest.mark.parametrize("writes", range(3))
def test_a_full_disk_at_any_write_locks_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "folder": tmp_path / "run"}
    left = writes
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(CLASSIFIER, data_of(MANY), **asked)
    assert len([path for path in (tmp_path / "run").rglob("*") if path.is_file()]) == writes
    monkeypatch.undo()
    found = evaluate(CLASSIFIER, data_of(MANY), **asked)
    assert timeless(found) == timeless(evaluate(CLASSIFIER, data_of(MANY), **{**asked, "folder": None}))


@pytest.mark.parametrize("left", [[], ["parts"], [".evaluation.json.tmp"], ["parts", ".whybert-00.tmp"]])
def test_what_a_kill_at_the_first_write_leaves_locks_no_folder(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).mkdir() if name == PARTS else (tmp_path / name).write_text('{"mod')
    evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"], folder=tmp_path)
    assert (tmp_path / PARTS / "texts-00000.json").is_file()


def test_parts_name_the_versions_that_computed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"methods": ["gi"], "metrics": ["aopc"], "folder": tmp_path}
    whole = evaluate(CLASSIFIER, data_of(MANY), **asked)
    assert whole.notes == ()
    path = tmp_path / PARTS / "texts-00001.json"
    part = json.loads(path.read_text())
    assert part["versions"] == whole.settings["versions"]
    part["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(part))
    [note] = evaluate(CLASSIFIER, data_of(MANY), **asked).notes
    assert note.startswith("1 of 3 parts were computed by whybert ")
    assert "torch 1.0, " in note
    assert f"torch {torch.__version__}" in note.split("(now ")[1]
    del part["versions"]
    path.write_text(json.dumps(part))
    [note] = evaluate(CLASSIFIER, data_of(MANY), **asked).notes
    assert "versions that were not recorded" in note


def test_an_empty_folder_and_one_that_is_not_there_are_taken(tmp_path: Path) -> None:
    for folder in (tmp_path / "empty", tmp_path / "deep" / "er"):
        if folder.name == "empty":
            folder.mkdir()
        evaluate(CLASSIFIER, DATA, methods=["gi"], metrics=["aopc"], folder=folder)
        assert parts(folder) == {"texts-00000.json"}


# Results.


def made(
    values: dict[str, dict[str, Sequence[float]]],
    pairs: Sequence[PairValue] = (),
    methods: Sequence[str] | None = None,
    **more: Any,
) -> Evaluation:
    """An evaluation with values that were made up: by metric and method, one for each text."""
    names = tuple(methods or dict.fromkeys(method for cells in values.values() for method in cells))
    rows = max((len(listed) for cells in values.values() for listed in cells.values()), default=2)
    fields: dict[str, Any] = {
        "model": "model",
        "data": "data",
        "rows": tuple(range(rows)),
        "methods": names,
        "metrics": resolve_metrics([*values, *dict.fromkeys(pair.metric for pair in pairs)]),
        "values": tuple(
            Value(row, method, metric, float(value))
            for metric, cells in values.items()
            for method, listed in cells.items()
            for row, value in enumerate(listed)
        ),
        "pairs": tuple(pairs),
        "ties": MappingProxyType(dict.fromkeys(names, 0)),
        "accuracy": 0.5,
        "settings": MappingProxyType({"seed": 0}),
        "seconds": 1.0,
    }
    return Evaluation(**{**fields, **more})


def marks(evaluation: Evaluation, metric: str) -> dict[str, str]:
    return {
        summary.method: "best" if summary.best else "tied" if summary.tied else "worse"
        for summary in results.summaries(evaluation)
        if summary.metric == metric
    }


HIGH = [5.0, 6.0, 7.0, 8.0] * 5
SHIFTED = [value - 0.25 for value in HIGH]  # the mean difference is 0.25 in each resample
AROUND = [value + (3.0 if place % 2 else -3.25) for place, value in enumerate(HIGH)]  # 0.125 lower, +- 3


def test_best_and_tied() -> None:
    cells = {"a": SHIFTED, "b": HIGH, "c": AROUND, "d": HIGH, RANDOM: [math.nan] * 20}
    evaluation = made({"aopc": cells, "morf": cells})
    # The first one of equal ones is the best, the other is tied with it.
    assert marks(evaluation, "aopc") == {"a": "worse", "b": "best", "c": "tied", "d": "tied", RANDOM: "worse"}
    assert marks(evaluation, "morf") == {
        "a": "best",
        "b": "worse",
        "c": "tied",
        "d": "worse",
        RANDOM: "worse",
    }
    best = {each.metric: each.method for each in results.summaries(evaluation) if each.best}
    assert best == {"aopc": "b", "morf": "a"}
    assert not METRICS["morf"].higher_is_better
    summary = next(s for s in results.summaries(evaluation) if (s.metric, s.method) == ("aopc", "b"))
    assert summary.interval.mean == 6.5
    assert 5.5 < summary.interval.low < 6.5 < summary.interval.high < 7.5


def test_the_control_can_be_the_best() -> None:
    evaluation = made({"aopc": {"gi": [0.0] * 8, RANDOM: [1.0] * 8}})
    assert marks(evaluation, "aopc") == {"gi": "worse", RANDOM: "best"}


def test_undefined_values_are_left_out_and_counted() -> None:
    evaluation = made({"aopc": {"a": [1.0, math.nan, 3.0, math.nan], "b": [math.nan] * 4}})
    one, other = results.summaries(evaluation)
    assert (one.interval.mean, one.interval.size, one.interval.undefined, one.best) == (2.0, 2, 2, True)
    assert (other.interval.size, other.interval.undefined, other.best, other.tied) == (0, 4, False, False)
    nothing = made({"aopc": {"a": [math.nan], "b": [math.nan]}})
    assert marks(nothing, "aopc") == {"a": "worse", "b": "worse"}
    assert not any(each.best for each in results.summaries(nothing))
    # Of the pairs, those that are defined on both sides decide.
    half = made({"aopc": {"a": [2.0] * 10 + [math.nan] * 10, "b": [math.nan] * 5 + [1.0] * 15}})
    assert marks(half, "aopc") == {"a": "best", "b": "worse"}


def test_methods_that_a_metric_did_not_judge_have_no_summary() -> None:
    evaluation = made({"aopc": {"a": [1.0], RANDOM: [2.0]}, "random-logit": {"a": [0.5]}})
    assert marks(evaluation, "random-logit") == {"a": "best"}
    assert "random" not in results.to_dict(evaluation)["metrics"]["random-logit"]["methods"]


@pytest.fixture(scope="module")
def everything() -> Evaluation:
    data = EvaluationData.of_annotations(annotated(), CLASSIFIER)
    return evaluate(CLASSIFIER, data, metrics=["all", "abpc@delete"], slow_limit=2)


@pytest.fixture(scope="module")
def everything_told(everything: Evaluation) -> dict[str, Any]:
    return results.to_dict(everything)


def test_as_json(everything: Evaluation, everything_told: dict[str, Any]) -> None:
    found = everything_told
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["metrics"]) + list(found["agreement"]) == [
        *(metric.name for metric in everything.metrics if metric.group != "agreement"),
        *AGREEMENT,
    ]
    for summary in results.summaries(everything):
        cell = found["metrics"][summary.metric]["methods"][summary.method]
        values = [value.value for value in everything.cell(summary.method, summary.metric)]
        known = [value for value in values if not math.isnan(value)]
        assert (cell["texts"], cell["undefined"]) == (len(known), len(values) - len(known))
        assert cell["mean"] == (pytest.approx(np.mean(known), abs=ALIKE) if known else None)
        assert (cell["best"], cell["tied"]) == (summary.best, summary.tied)
    assert found["ties"] == dict(everything.ties)
    assert found["notes"] == list(everything.notes)
    assert found["settings"]["seed"] == 0


def test_mean_curves(everything: Evaluation, everything_told: dict[str, Any]) -> None:
    found = everything_told["metrics"]
    with_curve = [
        name for name, metric in METRICS.items() if getattr(metric, "curve_of", "") and name in found
    ]
    assert {"morf", "abpc", "deletion-mask", "randomisation-cascading"} <= set(with_curve)
    for name in with_curve:
        for method in everything.methods:
            rows = [value.curve for value in everything.cell(method, name) if value.curve]
            if not rows:
                assert method not in found[name]["curves"]
                continue
            points = results.curve(everything, method, METRICS[name])  # type: ignore[arg-type]
            assert len(points) == len(rows[0])
            means = np.nanmean(np.array(rows), axis=0)
            assert [point.mean for point in points] == pytest.approx(means.tolist(), abs=ALIKE)
            assert found[name]["curves"][method] == [point.mean for point in points]
            assert all(
                point.low <= point.mean + 1e-12 and point.mean <= point.high + 1e-12 for point in points
            )
            assert len(found[name]["grid"] or points) == len(points)
    assert "curves" not in found["comprehensiveness"]


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row["row"] = int(row["row"])
        for name in ("x", "value"):
            if name in row:
                row[name] = float(row[name]) if row[name] else None
    return rows


def test_tables(everything: Evaluation, everything_told: dict[str, Any], tmp_path: Path) -> None:
    files = results.write(everything, tmp_path / "out")
    assert {path.name for path in files} == {
        "results.json",
        *(f"{name}.{ending}" for name in ("scores", "curves", "agreement") for ending in ("csv", "parquet")),
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in files}
    tables = {}
    for name in ("scores", "curves", "agreement"):
        tables[name] = read_csv(tmp_path / "out" / f"{name}.csv")
        assert pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist() == tables[name]

    def cell(value: float) -> float | None:
        return None if math.isnan(value) else value

    assert [tuple(row.values()) for row in tables["scores"]] == [
        (value.row, value.method, value.metric, cell(value.value)) for value in everything.values
    ]
    assert [tuple(row.values()) for row in tables["agreement"]] == [
        (*pair[:4], cell(pair.value)) for pair in everything.pairs
    ]
    curves: dict[tuple[Any, ...], list[tuple[float, float | None]]] = {}
    for row in tables["curves"]:
        curves.setdefault((row["row"], row["method"], row["metric"]), []).append((row["x"], row["value"]))
    assert {key: [y for _, y in points] for key, points in curves.items()} == {
        value[:3]: [cell(y) for y in value.curve] for value in everything.values if value.curve
    }
    grid = list(FAITHFULNESS["morf"].grid)
    assert [x for x, _ in curves[everything.rows[0], "gi", "morf"]] == grid
    assert any(row["value"] is None for row in tables["scores"])
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == everything_told


def test_tables_without_rows_are_not_written_and_old_ones_go(tmp_path: Path) -> None:
    pair = PairValue(0, "a", "b", "agreement-top", 0.5)
    results.write(made({"aopc": {"a": [1.0], "b": [1.0]}}, [pair]), tmp_path)
    assert (tmp_path / "agreement.csv").is_file()
    (tmp_path / "mine.csv").write_text("mine")
    files = results.write(made({"aopc": {"a": [1.0], "b": [1.0]}}), tmp_path)
    assert {path.name for path in files} == {"scores.csv", "scores.parquet", "results.json"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files} | {"mine.csv"}


def test_hostile_names_in_tables(tmp_path: Path) -> None:
    name = 'a,"b"\n[red]\x1b[31m\u2028é'
    results.write(made({"aopc": {name: [1.0]}}, notes=(name,)), tmp_path)
    [row] = read_csv(tmp_path / "scores.csv")
    assert row["method"] == name
    assert pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pylist() == [row]
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["notes"] == [name]


def test_agreement_does_not_depend_on_the_order_of_names() -> None:
    first, second = (
        evaluate(CLASSIFIER, DATA, methods=methods, metrics=["agreement"], control=False)
        for methods in (["gi", "lat", "attnlrp"], ["attnlrp", "gi", "lat"])
    )
    for name in AGREEMENT:
        one, other = results.agreement(first, name), results.agreement(second, name)
        assert list(one) == [("gi", "lat"), ("gi", "attnlrp"), ("lat", "attnlrp")]
        assert list(other) == [("attnlrp", "gi"), ("attnlrp", "lat"), ("gi", "lat")]
        for (a, b), interval in one.items():
            turned = other.get((a, b)) or other[b, a]
            assert interval == pytest.approx(turned, abs=ALIKE)
            values = [p.value for p in first.pairs if p[1:4] == (a, b, name) and not math.isnan(p.value)]
            assert interval.mean == pytest.approx(np.mean(values), abs=ALIKE)


# For the terminal.


def lines_of(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.strip()]


def test_seven_methods_fit_into_100_columns(everything: Evaluation) -> None:
    assert len(everything.methods) == 7
    table = rendered(everything)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert "…" not in table
    headers = [line.split() for line in lines if line.split()[:1] and line.split()[0] in METRICS]
    assert headers
    for metric in everything.metrics:
        if metric.group == "agreement":
            continue
        [line] = [line for line in lines if line.split()[:1] == [metric.name]]
        cells = line.split()[2:]
        cells = cells[1:] if cells[0].startswith("n=") else cells
        judged = sum(bool(everything.cell(method, metric.name)) for method in everything.methods)
        assert len(cells) in (judged, 6, 7)  # a number is on one line, whole
        assert line.split()[1] == ("↑" if metric.higher_is_better else "↓")


@pytest.mark.parametrize("metric", ["comprehensiveness", "morf"])
@pytest.mark.parametrize("winner", range(7))
def test_the_star_is_on_the_winner(metric: str, winner: int) -> None:
    methods = [*STANDARD, RANDOM]
    assert len(methods) == 7
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    values = {
        method: [place % 3 + 0.1 * number + (10.0 * sign if number == winner else 0.0) for place in range(6)]
        for number, method in enumerate(methods)
    }
    lines = lines_of(rendered(made({metric: values})))
    header = next(line for line in lines if line.startswith("faithfulness")).split()
    cells = next(line for line in lines if line.startswith(metric)).split()
    assert header[1:] == methods
    starred = [method for method, cell in zip(methods, cells[2:], strict=True) if cell.endswith("★")]
    assert starred == [methods[winner]]
    assert [float(cell.rstrip("★=")) for cell in cells[2:]] == pytest.approx(
        [np.mean(listed) for listed in values.values()], abs=6e-4
    )
    assert "=" not in cells[2 + winner]


def test_what_the_terminal_says() -> None:
    cells = {"a": [*SHIFTED, math.nan], "b": [*HIGH, math.nan], "c": [*AROUND, math.nan]}
    evaluation = made(
        {"aopc": cells, "seconds": {"a": [12345.6] * 21, "b": [0.0] * 21, "c": [1e-7] * 21}},
        [PairValue(0, "a", "b", "agreement-top", 0.25), PairValue(1, "a", "b", "agreement-top", 0.75)],
        notes=("one note", "another note"),
        ties={"a": 2, "b": 0, "c": 0},
    )
    lines = lines_of(rendered(evaluation))
    assert lines[0] == "model on data: 21 texts · accuracy 0.500 · seed 0"
    row = next(place for place, line in enumerate(lines) if line.startswith("aopc"))
    assert lines[row].split() == ["aopc", "↑", "n=20", "6.250", "6.500★", "6.375="]
    intervals = [s.interval for s in results.summaries(evaluation) if s.metric == "aopc"]
    halves = [f"±{(interval.high - interval.low) / 2:.3f}" for interval in intervals]
    assert lines[row + 1].split() == halves
    assert next(line for line in lines if line.startswith("seconds")).split() == [
        "seconds", "↓", "1.2e+04", "0.000★", "1.0e-07"]  # fmt: skip
    assert lines[-2:] == ["one note", "another note"]
    row = next(place for place, line in enumerate(lines) if line.startswith("agreement-top"))
    assert [line.split() for line in (lines[row], lines[row + 2])] == [
        ["agreement-top", "b", "c"],
        ["a", "0.500"],
    ]
    assert "equal scores, whose order the seed draws: a in 2 texts" in lines


@pytest.mark.parametrize("width", [30, 40, 80, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 12, 20])
def test_no_column_is_lost_and_no_number_broken(width: int, count: int) -> None:
    names = ["attnlrp", "gi:reduction=sum", "lrp:residual=once,alpha=1", *(f"method_{i}" for i in range(17))]
    draw = np.random.default_rng(count)
    scale = 10.0 ** draw.integers(-5, 6, 60)
    values = {
        metric.name: {name: list(draw.normal(size=3) * draw.choice(scale)) for name in names[:count]}
        for metric in resolve_metrics(["all"])
        if metric.group != "agreement"
    }
    pairs = [PairValue(0, *both, "agreement-top", draw.normal()) for both in combinations(names[:count], 2)]
    evaluation = made(values, pairs)
    table = rendered(evaluation, width)
    assert all(cell_len(line) <= width for line in table.splitlines())
    expected: list[float] = []
    for summary in results.summaries(evaluation):
        expected += [summary.interval.mean, (summary.interval.high - summary.interval.low) / 2]
    expected += [interval.mean for interval in results.agreement(evaluation, "agreement-top").values()]
    written = Counter(re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?=[★=\s]|$)", table.split("seed 0", 1)[1]))
    missing = Counter(results._figure(value) for value in expected) - written
    assert not missing


HOSTILE = ("[red]b[/red]", "\x1b[31mred\x07", "[/]", "x\x1b]0;title\x07\r\n\u202e", "[link=http://x]y")


@pytest.mark.parametrize("markup", [True, False])
def test_hostile_names_have_no_effect(markup: bool) -> None:
    pairs = [
        PairValue(0, first, second, "agreement-top", 0.5) for first, second in combinations(HOSTILE[:3], 2)
    ]
    evaluation = made(
        {"aopc": {name: [1.0, 2.0] for name in HOSTILE}},
        pairs,
        model="\x1b[2J[bold]m",
        data="[blue]d\x9b",
        notes=("labels \x1b[8m [dim]hidden",),
        ties=dict.fromkeys(HOSTILE, 1),
    )
    table = rendered(evaluation, width=200, markup=markup)
    assert not [character for character in table if character != "\n" and not character.isprintable()]
    plain = " ".join(table.split())
    for words in ("[red]b[/red]", "␛[31mred␇", "[/]", "[link=http://x]y", "␛[2J[bold]m", "[dim]hidden"):
        assert words in plain
    assert "\x1b[31mred" not in rendered(evaluation, force_terminal=True, markup=markup)


def test_long_names_fit_too() -> None:
    names = [f"{letter * 70}" for letter in "abcdefg"]
    table = rendered(made({"randomisation-independent": {name: [0.5] * 3 for name in names}}))
    assert max(map(len, table.splitlines())) <= 100
    assert sum(table.count(letter) for letter in "b") >= 70


# What a folder is claimed for, and how rows are named.


def test_other_marks_of_the_annotators_are_another_run(tmp_path: Path) -> None:
    def run(marks: tuple[float, ...], **options: Any) -> float:
        row = Annotation("a bad film", "negative", ((0, 1), (2, 5), (6, 10)), marks)
        data = EvaluationData.of_annotations(
            AnnotatedTexts("m", "rationale", ("negative",), (row,), "made up", ()), CLASSIFIER
        )
        found = evaluate(
            CLASSIFIER, data, methods=["gi"], metrics=["auprc"], control=False, folder=tmp_path, **options
        )
        return found.cell("gi", "auprc")[0].value

    first = run((1.0, 0.0, 0.0))
    with pytest.raises(UsageError, match="texts_digest"):
        run((0.0, 1.0, 0.0))
    assert run((0.0, 1.0, 0.0), overwrite=True) != first


def test_errors_name_the_row_of_the_data_and_not_the_place_in_the_sample() -> None:
    texts = ("a film", "so", "good", "bad", "was", "\u200b")  # the last one has no token
    data = EvaluationData("m", texts, (None,) * 6)
    assert data.sample(None, 0).index(5) != 5
    with pytest.raises(InputError, match="row 5 has no character") as caught:
        evaluate(CLASSIFIER, data, methods=["gi"], metrics=["abpc"])
    assert caught.value.index == 5


def test_a_corrected_line_of_given_explanations_needs_no_overwriting(tmp_path: Path) -> None:
    folder, path = tmp_path / "out", tmp_path / "theirs.jsonl"
    data = EvaluationData("m", ("a film",), (None,))

    def run() -> Evaluation:
        return evaluate(
            CLASSIFIER, data, methods=["gi"], metrics=["abpc"], given={"theirs": path}, folder=folder
        )

    path.write_text("{\n", "utf-8")
    with pytest.raises(InputError, match="line 1"):
        run()
    path.write_text('{"index": 0, "words": ["a", "film"], "scores": [0, 1]}\n', "utf-8")
    assert run().methods == ("gi", "theirs", RANDOM)


def test_wrong_seeds() -> None:
    with pytest.raises(UsageError, match="seed of at least 0, found -1"):
        evaluate(CLASSIFIER, DATA, seed=-1)
