"""The bench: explanations of many texts, by many methods, judged by many metrics.

Texts are worked on in small parts, each of which is written to the folder of the run as soon as it is done,
so that a run that was stopped goes on where it was.  What a part holds depends on the settings alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import numpy as np

from whybert.anatomy import dtype_of
from whybert.classifier import BATCH_SIZE, Classifier, ClassifierLike
from whybert.datasets import TextDataset
from whybert.datasets.annotated import AnnotatedTexts, Annotation
from whybert.encoding import Text
from whybert.errors import InputError, NonFiniteError, UsageError, require_all
from whybert.evaluation.agreement import AgreementMetric
from whybert.evaluation.faithfulness import FaithfulnessMetric
from whybert.evaluation.given import RANDOM, random_explanations, read_explanations
from whybert.evaluation.metric import Explanations, Metric, ModelMetric, Subject
from whybert.evaluation.metrics import resolve_metrics
from whybert.evaluation.plausibility import PlausibilityMetric
from whybert.evaluation.statistics import has_ties
from whybert.evaluation.subjects import subjects as make_subjects
from whybert.evaluation.walks import run
from whybert.explaining import explain
from whybert.explanation import Explanation
from whybert.methods import STANDARD, Method, create_all
from whybert.progress import Progress, reported
from whybert.store import VERSIONS, Store, file_digest, model_digest, versions
from whybert.targets import match_labels, named_label

DEFAULT_METRICS: Final = (
    "deletion-paper",
    "deletion-mask",
    "deletion-mask-probability",
    "comprehensiveness",
    "sufficiency",
    "aopc",
    "morf",
    "lerf",
    "abpc",
    "abpc-logit",
    "naopc",
    "loo-kendall",
)
"""Each question about faithfulness once; the group "faithfulness" asks it in other ways too."""

_PART: Final = 8  # texts; at most so many are worked on again after a stop


@dataclass(frozen=True)
class EvaluationData:
    """Texts to evaluate on.

    Fields:
        name: for reports.
        texts: or pairs.
        labels: the true class of each text as an index of the model's labels; None where it is not known.
        annotations: what people marked in each text; None without.
        kind: of the annotations, "rationale" or "sentiment".
        rationale_share: the mean share of a text's units that people marked, which ERASER takes for the
            length of every rationale; None takes the share that they marked in each text.
        source: where the texts came from.
        notes: what was left out and why, a line each.
    """

    name: str
    texts: tuple[Text, ...]
    labels: tuple[int | None, ...]
    annotations: tuple[Annotation, ...] | None = None
    kind: str | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    rationale_share: float | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError(f"expected texts to evaluate on in {self.name}, found none")
        if len(self.labels) != len(self.texts):
            raise InputError(f"expected a label for each of {len(self.texts)} texts, or None for it")

    @classmethod
    def of_dataset(
        cls,
        data: TextDataset,
        split: str | None,
        classifier: Classifier,
        label_map: Mapping[str, str | int] | None = None,
    ) -> EvaluationData:
        """A split of a data set; None takes "test", or the only one.

        Args:
            data: the data set.
            split: the name of one of its splits.
            classifier: whose labels those of the data are matched with, see `match_labels`.
            label_map: for labels of the data the model's, where they have other names.

        Raises:
            UnknownNameError: there is no such split.
            InputError: a label is none of the model's.
        """
        from whybert.datasets import texts
        from whybert.datasets.base import MULTI

        chosen = split or data.default_split
        rows = data.split(chosen)
        labels: list[int | None] = [None] * len(rows)
        notes = list(data.notes)
        if "label" in rows.column_names and classifier.is_regression:
            notes.append(f"the model answers a number, and the labels of {data.name} are not used")
        elif data.problem_type == MULTI:
            notes.append(f"a text of {data.name} may have several labels, and they are not used")
        elif "label" in rows.column_names:
            table, message = match_labels(
                classifier.labels, data.labels, data.name, label_map, ordered=data.labels_are_ordered
            )
            labels = [table[label] for label in rows["label"][:]]
            notes += [message] if message else []
        name = f"{data.name}/{chosen}"
        return cls(name, tuple(texts(rows)), tuple(labels), None, None, data.source, tuple(notes))

    @classmethod
    def of_annotations(
        cls, data: AnnotatedTexts, classifier: Classifier, label_map: Mapping[str, str | int] | None = None
    ) -> EvaluationData:
        """Texts that people annotated; labels that the model does not have are taken as not known.

        Raises:
            UnknownNameError: `label_map` has a label that the data or the model have not.
        """
        own, mapped = () if classifier.is_regression else classifier.labels, label_map or {}
        known = [each for each in data.labels if each in mapped or named_label(each, own) is not None]
        indices = dict(zip(known, match_labels(own, known, data.name, label_map)[0], strict=True))
        labels = tuple(None if row.label is None else indices.get(row.label) for row in data.rows)
        texts = tuple(row.text for row in data.rows)
        share = data.rationale_share if data.kind == "rationale" else None
        notes = data.notes
        if unknown := [each for each in data.labels if each not in known]:
            notes += (
                f"labels that the model does not have are taken as not known: {', '.join(unknown[:20])}",
            )
        return cls(data.name, texts, labels, data.rows, data.kind, data.source, notes, share)

    def sample(self, limit: int | None, seed: int) -> tuple[int, ...]:
        """Rows in an order that the seed draws, at most `limit` of them.

        Data sets are often sorted by label, and metrics with a bound of their own take the first ones.
        """
        order = np.random.default_rng(seed).permutation(len(self.texts))
        return tuple(int(row) for row in order[:limit])


class Value(NamedTuple):
    """A tidy row: what a metric says about the explanation of a text by a method.

    row: of the data.  curve: the values along the metric's grid, empty for most metrics.
    """

    row: int
    method: str
    metric: str
    value: float
    curve: tuple[float, ...] = ()


class PairValue(NamedTuple):
    """A tidy row of agreement: two methods on one text."""

    row: int
    first: str
    second: str
    metric: str
    value: float


@dataclass(frozen=True)
class Evaluation:
    """What the bench found; a frozen value, see `whybert.evaluation.results` for its tables and files.

    Fields:
        rows: of the data, in the order they were sampled.
        methods: in the order they were asked for, the control and given explanations last.
        metrics: what was computed.
        values, pairs: tidy.
        ties: for each method the number of texts with equal scores, whose order the seed drew.
        settings: all that decides about the numbers.
        seconds: that the run took, over all its parts.
        notes: what was left out and why, a line each.
    """

    model: str
    data: str
    rows: tuple[int, ...]
    methods: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: tuple[Value, ...]
    pairs: tuple[PairValue, ...]
    ties: Mapping[str, int]
    accuracy: float | None
    settings: Mapping[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()
    _cells: dict[tuple[str, str], list[Value]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cells: dict[tuple[str, str], list[Value]] = {}
        for value in self.values:
            cells.setdefault((value.method, value.metric), []).append(value)
        object.__setattr__(self, "_cells", cells)

    def cell(self, method: str, metric: str) -> list[Value]:
        """The values of a method and a metric in the order of the texts; empty if it was not computed."""
        return self._cells.get((method, metric), [])


def require_libraries() -> None:
    """Raise MissingExtraError unless all that `evaluate` needs is installed; for before the work."""
    require_all(("scipy", "sklearn"), "an evaluation", "evaluate")


def evaluate(
    classifier: ClassifierLike,
    data: EvaluationData | TextDataset,
    *,
    methods: Sequence[str | Method] | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    limit: int | None = None,
    slow_limit: int | None = None,
    seed: int = 0,
    target: int | str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    given: Mapping[str, str | Path] = MappingProxyType({}),
    control: bool = True,
    folder: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int = BATCH_SIZE,
    progress: bool | Progress = False,
) -> Evaluation:
    """Judge explanations of a classifier's decisions.

    Args:
        classifier: what decides; anything that `Classifier.of` takes.
        data: on which texts: of a data set, its split "test", or the only one.
        methods: names of `whybert.METHODS`, with options "gi:reduction=sum", or objects; None takes the
            `STANDARD` ones.
        metrics: names, groups or "all", see `resolve_metrics`.
        limit: how many texts, drawn by `seed`; None for all.
        slow_limit: how many of them for metrics that have a bound of their own; None takes that bound.
        seed: draws texts, ties and controls.
        target: the class to explain; None takes what the model predicts for each text.
        options: of methods that have them and are given by name.
        given: explanations of other tools: for each name the file that `read_explanations` reads.
        control: whether random scores are judged too, those of the method `random` with the seed.
        folder: where parts are kept, so that the same call goes on after a stop; None keeps nothing.
        overwrite: begin anew in the folder of a run with other settings.
        batch_size: texts of 64 tokens that a batch is as large as.
        progress: True shows a bar on stderr; a function is called with what is being done, how much of it is
            done, and how much there is.

    Returns:
        What was found; methods go by their specs.

    Raises:
        UsageError: settings that cannot be, or a folder that holds something else.
        InputError: texts, annotations or given explanations; the row is named.
        MissingExtraError: the extra `evaluate` is not installed.
        WhybertError: what `explain` raises.
    """
    require_libraries()
    classifier = Classifier.of(classifier)
    if not isinstance(data, EvaluationData):
        _check_data(data)
        data = EvaluationData.of_dataset(data, None, classifier)
    wanted = STANDARD if methods is None else methods
    own = create_all(wanted, options) if wanted else []
    control = control and RANDOM not in [each.spec for each in own]  # else it is asked for already
    names = (*(each.spec for each in own), *given, *([RANDOM] if control else []))
    if len(set(names)) < len(names) or not names:
        raise UsageError(f"expected each method once and at least one, found {', '.join(names) or 'none'}")
    for name, number in (("limit", limit), ("slow_limit", slow_limit)):
        if number is not None and number < 1:
            raise UsageError(f"expected {name} of at least 1, found {number}")
    chosen, notes = _applicable(resolve_metrics(metrics), data, own)
    if slow_limit is not None:
        chosen = tuple(m if m.texts is None else replace(m, texts=slow_limit) for m in chosen)
    if seed < 0:
        raise UsageError(f"expected seed of at least 0, found {seed}")
    rows = data.sample(limit, seed)
    with _rows_named(rows):
        subjects = make_subjects(
            classifier,
            [data.texts[row] for row in rows],
            [data.labels[row] for row in rows],
            target=target,
            seed=seed,
            indices=rows,
            batch_size=batch_size,
        )
    read = {name: read_explanations(path, subjects, classifier.labels, name) for name, path in given.items()}
    settings = _settings(classifier, data, rows, names, chosen, seed, target, given)
    if classifier.is_black_box:  # it has no weights that tell it from another function of this name
        answers = [[f"{value:.4g}" for value in subject.answers] for subject in subjects]
        settings["model_digest"] = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    store = Store(None if folder is None else Path(folder), settings, overwrite)
    with reported(progress) as report:
        job = _Run(classifier, data, chosen, own, read, control, batch_size, store, report)
        values, pairs, ties, seconds = job.run(subjects)
    known = [subject for subject in subjects if subject.label is not None]
    right = sum(subject.label == subject.prediction for subject in known)
    return Evaluation(
        model=classifier.name,
        data=data.name,
        rows=rows,
        methods=names,
        metrics=chosen,
        values=values,
        pairs=pairs,
        ties=MappingProxyType(dict(ties)),
        accuracy=right / len(known) if known else None,
        settings=MappingProxyType(settings),
        seconds=seconds,
        notes=(*data.notes, *notes, *store.notes),
    )


def _check_data(data: object) -> None:
    """Raise UsageError, with the way out, for what is no data set."""
    if not isinstance(data, TextDataset):
        place = repr(os.fspath(data)) if isinstance(data, str | os.PathLike) else "'reviews.csv'"
        raise UsageError(
            f"expected a data set to evaluate on, found {type(data).__name__}; load it: "
            f"whybert.load_data({place}), or make one: EvaluationData(name, texts, labels)"
        )


@contextlib.contextmanager
def _rows_named(rows: Sequence[int]) -> Iterator[None]:
    """Errors about one of the texts that were drawn name its row of the data instead of its place."""
    try:
        yield
    except (InputError, NonFiniteError) as error:
        if error.index is None or error.index >= len(rows):
            raise
        raise error.at(f"row {rows[error.index]}", rows[error.index]) from error


def _applicable(
    metrics: Sequence[Metric], data: EvaluationData, own: Sequence[Method]
) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
    """The metrics that can be computed, and a line about those that cannot."""
    chosen: list[Metric] = []
    notes: list[str] = []
    for metric in metrics:
        missing = ""
        if isinstance(metric, PlausibilityMetric) and metric.kind != data.kind:
            what = "word labels (SST trees)" if metric.kind == "sentiment" else "rationales (ERASER)"
            missing = f"needs texts with human {what}, see --annotations"
        elif isinstance(metric, ModelMetric) and not own:
            missing = "explains the texts again, which needs a method of whybert"
        if missing:
            notes.append(f"{metric.name} left out: {missing}")
        elif isinstance(metric, PlausibilityMetric):
            chosen.append(metric.of_length(data.rationale_share))
        else:
            chosen.append(metric)
    if not chosen:
        raise UsageError("; ".join(notes))
    return tuple(chosen), tuple(notes)


class _Run:
    """The work: part by part, each taken from the store where it is there."""

    def __init__(
        self,
        classifier: Classifier,
        data: EvaluationData,
        metrics: Sequence[Metric],
        own: Sequence[Method],
        given: Mapping[str, list[Explanation]],
        control: bool,
        batch_size: int,
        store: Store,
        progress: Progress,
    ) -> None:
        self.classifier, self.data, self.own, self.given = classifier, data, list(own), given
        self.control, self.batch_size = control, batch_size
        self.store, self.progress = store, progress
        self.faithfulness = [m for m in metrics if isinstance(m, FaithfulnessMetric)]
        self.plausibility = [m for m in metrics if isinstance(m, PlausibilityMetric)]
        self.agreement = [m for m in metrics if isinstance(m, AgreementMetric)]
        self.model_metrics = [m for m in metrics if isinstance(m, ModelMetric)]

    def run(
        self, subjects: Sequence[Subject]
    ) -> tuple[tuple[Value, ...], tuple[PairValue, ...], Counter[str], float]:
        values: list[Value] = []
        pairs: list[PairValue] = []
        ties: Counter[str] = Counter()
        seconds = 0.0
        for part in self._parts(subjects):
            found = _parsed(part)
            values += found[0]
            pairs += found[1]
            ties.update(part["ties"])
            seconds += part["seconds"]
        return tuple(values), tuple(pairs), ties, seconds

    def _parts(self, subjects: Sequence[Subject]) -> Iterator[dict[str, Any]]:
        if self.faithfulness or self.plausibility or self.agreement:
            for number, start in enumerate(range(0, len(subjects), _PART)):
                places = range(start, min(start + _PART, len(subjects)))
                self.progress("texts", start, len(subjects))
                yield self.store.part(
                    f"texts-{number:05d}",
                    lambda p=places: self._texts([subjects[i] for i in p], p),  # type: ignore[misc]
                    lambda part, p=places: self._is_of_texts(part, [subjects[i] for i in p], p),  # type: ignore[misc]
                )
            self.progress("texts", len(subjects), len(subjects))
        for metric in self.model_metrics:
            yield self.store.part(
                f"model-{metric.name}",
                lambda m=metric: self._model(m, subjects),  # type: ignore[misc]
                lambda part, m=metric: self._is_of_model(part, m, subjects),  # type: ignore[misc]
            )

    def _is_of_texts(self, part: Any, subjects: Sequence[Subject], places: Sequence[int]) -> bool:
        """Whether a part that was read holds each value that `_texts` would compute."""
        names = [*(each.spec for each in self.own), *self.given, *([RANDOM] if self.control else [])]
        values, pairs = _parsed(part)
        return (
            {value[:3] for value in values}
            == {
                (subject.index, method, metric.name)
                for metric in (*self.faithfulness, *self.plausibility)
                for _, subject in _judged(metric, subjects, places)
                for method in names
            }
            and {pair[:4] for pair in pairs}
            == {
                (subject.index, *both, measure.name)
                for measure in self.agreement
                for both in combinations(names, 2)
                for subject in subjects
            }
            and set(part["ties"]) == set(names)
            and all(isinstance(count, int) for count in part["ties"].values())
        )

    def _is_of_model(self, part: Any, metric: ModelMetric, subjects: Sequence[Subject]) -> bool:
        """Whether a part that was read holds each value that `_model` would compute."""
        expected = {
            (subject.index, method.spec, metric.name)
            for subject in subjects[: metric.texts]
            for method in self.own
        }
        return {value[:3] for value in _parsed(part)[0]} == expected and part["ties"] == {}

    def _explanations(
        self, subjects: Sequence[Subject], places: Sequence[int]
    ) -> dict[str, list[Explanation]]:
        found: dict[str, list[Explanation]] = {}
        if self.own:
            found.update(self._explained(subjects))
        for name, explanations in self.given.items():
            found[name] = [explanations[place] for place in places]
        if self.control:
            found[RANDOM] = random_explanations(subjects, self.classifier.labels)
        return found

    def _explained(self, subjects: Sequence[Subject]) -> Mapping[str, list[Explanation]]:
        with _rows_named([subject.index for subject in subjects]):
            return explain(
                self.classifier,
                cast("list[str]", [subject.text for subject in subjects]),
                self.own,
                [subject.target for subject in subjects],
                batch_size=self.batch_size,
            )

    def _texts(self, subjects: Sequence[Subject], places: Sequence[int]) -> dict[str, Any]:
        explanations = self._explanations(subjects, places)
        values: list[Value] = []
        keys, jobs = [], []
        for metric in self.faithfulness:
            for method, listed in explanations.items():
                for index, subject in _judged(metric, subjects, places):
                    keys.append((subject.index, method, metric.name))
                    jobs.append(metric.job(subject, listed[index]))
        scores = run(self.classifier, jobs, batch_size=self.batch_size)
        values += [Value(*key, score.value, score.curve) for key, score in zip(keys, scores, strict=True)]
        for judge in self.plausibility:
            annotations = cast("Sequence[Annotation]", self.data.annotations)
            for method, listed in explanations.items():
                for index, subject in _judged(judge, subjects, places):
                    score = judge(subject, listed[index], annotations[subject.index])
                    values.append(Value(subject.index, method, judge.name, score.value, score.curve))
        pairs = [
            PairValue(subject.index, first, second, measure.name, measure(subject, one, other))
            for measure in self.agreement
            for first, second in combinations(explanations, 2)
            for subject, one, other in zip(subjects, explanations[first], explanations[second], strict=True)
        ]
        ties = {
            method: sum(
                has_ties(subject.unit_scores(explanation, "word"))
                for subject, explanation in zip(subjects, listed, strict=True)
            )
            for method, listed in explanations.items()
        }
        return _part(values, pairs, ties)

    def _model(self, metric: ModelMetric, subjects: Sequence[Subject]) -> dict[str, Any]:
        judged = subjects[: metric.texts]
        explanations: Explanations = self._explained(judged)
        total = metric.steps(self.classifier, self.own)
        done = 0
        self.progress(metric.name, done, total)

        def advance() -> None:
            nonlocal done
            done += 1
            self.progress(metric.name, done, total)

        found = metric(
            self.classifier,
            judged,
            explanations,
            methods=self.own,
            batch_size=self.batch_size,
            advance=advance,
        )
        values = [
            Value(subject.index, method, metric.name, score.value, score.curve)
            for method, scores in found.items()
            for subject, score in zip(judged, scores, strict=True)
        ]
        return _part(values, [], {})


def _judged(
    metric: Metric, subjects: Sequence[Subject], places: Sequence[int]
) -> Iterator[tuple[int, Subject]]:
    """The subjects of a part that the metric judges, each with its index in the part."""
    for index, (place, subject) in enumerate(zip(places, subjects, strict=True)):
        if metric.texts is None or place < metric.texts:
            yield index, subject


def _part(values: Sequence[Value], pairs: Sequence[PairValue], ties: Mapping[str, int]) -> dict[str, Any]:
    return {
        "values": [
            [*each[:3], _json_number(each.value), list(map(_json_number, each.curve))] for each in values
        ],
        "pairs": [[*pair[:4], _json_number(pair.value)] for pair in pairs],
        "ties": dict(ties),
    }


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _parsed(part: Any) -> tuple[list[Value], list[PairValue]]:
    """What `_part` made plain; raises what Python raises for something of another shape."""
    values = [
        Value(row, method, metric, _number(value), tuple(map(_number, curve)))
        for row, method, metric, value, curve in part["values"]
    ]
    pairs = [PairValue(*key, _number(value)) for *key, value in part["pairs"]]  # type: ignore[call-arg]
    return values, pairs


def _number(value: object) -> float:
    if not isinstance(value, float | int | None):
        raise TypeError(f"expected a number, found {value!r}")
    return math.nan if value is None else value


def _settings(
    classifier: Classifier,
    data: EvaluationData,
    rows: Sequence[int],
    methods: Sequence[str],
    metrics: Sequence[Metric],
    seed: int,
    target: int | str | None,
    given: Mapping[str, str | Path],
) -> dict[str, Any]:
    """All that decides about the numbers, in JSON types."""
    digest = hashlib.sha256()
    for row in rows:
        marked = None if data.annotations is None else data.annotations[row]
        entry = (data.texts[row], data.labels[row], None if marked is None else (marked.spans, marked.marks))
        digest.update(json.dumps(entry).encode())
    return {
        "model": classifier.name,
        "model_digest": model_digest(classifier),
        "dtype": str(dtype_of(classifier.model)).removeprefix("torch."),
        "labels": list(classifier.labels),
        "max_length": classifier.max_length,
        "data": data.name,
        "texts_digest": digest.hexdigest(),
        "rationale_share": data.rationale_share,
        "texts": len(rows),
        "of": len(data.texts),
        "part": _PART,
        "seed": seed,
        "target": target,
        "methods": list(methods),
        "metrics": [metric.name for metric in metrics],
        "bounds": {metric.name: metric.texts for metric in metrics if metric.texts is not None},
        "given": {name: file_digest(path) for name, path in given.items()},
        VERSIONS: versions(),
    }
