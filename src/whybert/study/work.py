"""A study: several models on their data sets, explained and judged side by side.

These are the experiments of Wu and Ong 2020, "On Explaining Your Explanations of BERT" (arXiv 2101.00196):
deletion of the words that a method calls important, the words that it calls important over a whole data set,
how well these agree between data sets and between two trainings of one model, and heat maps.  Newer methods
and metrics stand beside those of the paper, and so do scores that know nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from whybert import __version__
from whybert.classifier import BATCH_SIZE
from whybert.encoding import Text
from whybert.errors import InputError, MissingExtraError, UnknownNameError, UsageError, one_line
from whybert.evaluation import results
from whybert.evaluation.agreement import Normalise, WordScore, word_correlation, word_scores
from whybert.evaluation.bench import DEFAULT_METRICS, Evaluation, EvaluationData, Progress, evaluate, silent
from whybert.evaluation.given import RANDOM, random_explanations
from whybert.evaluation.metric import Subject
from whybert.evaluation.metrics import resolve_metrics
from whybert.evaluation.statistics import Interval, bootstrap, differs, kendall, mean
from whybert.explaining import explain
from whybert.explanation import Explanation
from whybert.methods import METHODS, create_all
from whybert.store import Store, model_digest

if TYPE_CHECKING:
    from whybert.classifier import Classifier

PAPER_DELETION: Final = "deletion-paper"
SOUND_DELETION: Final = "deletion-mask"
OLDER: Final = ("gs", "gi", "lrp", "lat")
"""The methods of the paper."""
NEWER: Final = ("attnlrp", "cp_lrp")

Kind = Literal["magnitude", "signed"]
"""How the scores of a text's words are normalised: softmax(|s|) as in the paper, or s / sum |s|."""

KINDS: Final[tuple[Kind, ...]] = ("magnitude", "signed")
_NORMALISE: Final[Mapping[Kind, Normalise]] = MappingProxyType({"magnitude": True, "signed": "signed"})
_PART: Final = 64  # texts whose word scores are kept together
_LONG_ENOUGH, _SHORT_ENOUGH = 8, 25  # words of an example
_SURE: Final = 0.9  # the probability of a decision that an example shows


@dataclass(frozen=True)
class Published:
    """What a paper reports.

    Fields:
        source: the paper.  model: what it explains.
        deletion: for each data set and method the accuracy after deletion, mean over k = 1 to 10 tokens.
        correlation: for each method Pearson's r of word scores, mean over all pairs of the data sets.
    """

    source: str
    model: str
    deletion: Mapping[str, Mapping[str, float]]
    correlation: Mapping[str, float]


def _by_method(*values: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip((RANDOM, *OLDER), values, strict=True)))


PUBLISHED: Final = Published(
    source="Wu and Ong 2020 (arXiv 2101.00196)",
    model="BERT-base",
    deletion=MappingProxyType(
        {
            "sst5": _by_method(0.616, 0.400, 0.398, 0.403, 0.640),
            "semeval": _by_method(0.821, 0.629, 0.633, 0.622, 0.824),
            "imdb": _by_method(0.977, 0.915, 0.918, 0.903, 0.968),
            "yelp5": _by_method(0.909, 0.737, 0.742, 0.778, 0.908),
        }
    ),
    correlation=MappingProxyType({"gs": 0.630, "gi": 0.655, "lrp": 0.707, "lat": 0.773}),
)


# Settings.


@dataclass(frozen=True)
class StudyRun:
    """One model on one data set.

    Fields:
        name: for tables and files.
        model: "builtin", a folder or a hub id.
        data: a known data set or the path of a table; data_dir: the folder of a known one's files.
        split: None takes "test", or the only one.
        text_column, pair_column, label_column: of a table.
        limit, word_limit: instead of those of the study.
        max_length: the most tokens of a text; longer ones are cut.
        second_model: a model that was trained on the same data with another seed.
    """

    name: str
    model: str
    data: str
    data_dir: str | None = None
    split: str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    limit: int | None = None
    word_limit: int | None = None
    max_length: int | None = None
    second_model: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name.startswith(".") or any(c in '/\\:\0\n\r\t"' for c in self.name):
            raise UsageError(
                f"expected a name of a run that can be the name of a folder, found {self.name!r}; "
                "use letters, digits and hyphens"
            )
        for field in ("model", "data"):
            if not getattr(self, field).strip():
                raise UsageError(f"expected {field!r} of run {self.name!r}, found nothing; name one")
        for field in ("limit", "word_limit", "max_length"):
            _at_least(field, getattr(self, field), 1)


@dataclass(frozen=True)
class StudySettings:
    """All that decides about the numbers of a study.

    Fields:
        runs: models and their data, at least one.
        title: of the report.
        methods: names of `whybert.methods.METHODS`; metrics: see `resolve_metrics`.
        limit: texts of each run that the metrics are computed on; word_limit: that word scores come from.
        minimum_count: words that occur less often get no score.
        minimum_words: texts with fewer words add nothing to word scores.
        examples: how many texts of each run are shown, drawn by the seed among those of 8 to 25 words that
            the model decides rightly and surely; or texts, which every model explains.
        seed: draws texts, ties, controls and resamples.
        batch_size: texts in one forward pass.

    Raises UsageError, and UnknownNameError for methods and metrics that do not exist.
    """

    runs: tuple[StudyRun, ...]
    title: str = "Explanations of BERT-style classifiers, compared"
    methods: tuple[str, ...] = tuple(METHODS)
    metrics: tuple[str, ...] = DEFAULT_METRICS
    limit: int = 200
    word_limit: int = 1000
    minimum_count: int = 2
    minimum_words: int = 1
    examples: int | tuple[str, ...] = 2
    seed: int = 0
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        for field in ("runs", "methods", "metrics"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
            if not getattr(self, field):
                raise UsageError(f"expected at least one entry in {field!r}, found none; name one")
        names = [run.name.casefold() for run in self.runs]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"expected each name of a run once, found {name!r} twice; rename one")
        if len(set(self.methods)) < len(self.methods):
            raise UsageError(f"expected each method once, found {', '.join(self.methods)}")
        create_all(list(self.methods), {})
        resolve_metrics(self.metrics)
        for field in ("limit", "word_limit", "minimum_count", "minimum_words", "batch_size"):
            _at_least(field, getattr(self, field), 1)
        _at_least("seed", self.seed, 0)
        if isinstance(self.examples, int):
            _at_least("examples", self.examples, 0)
        else:
            object.__setattr__(self, "examples", tuple(self.examples))


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"expected {name!r} to be at least {least}, found {value}; give a higher number")


def read_settings(path: str | Path) -> StudySettings:
    """The settings in a YAML file: the fields of `StudySettings`, and under `runs` a list of `StudyRun`.

    Paths are relative to the file: `data_dir`, and `model`, `second_model` and `data` where such a file or
    folder exists or the value starts with a dot.

    Raises InputError for a file that cannot be read or a value of a wrong type, UnknownNameError for a key
    that does not exist, and what `StudySettings` raises; MissingExtraError if PyYAML is not installed.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise MissingExtraError("a YAML file", "evaluate") from error
    place = Path(path)
    try:
        given = yaml.safe_load(place.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not YAML: {one_line(error)}; mend it there") from error
    where = repr(str(path))
    values = _read(given, where, _STUDY_READERS)
    runs = []
    for number, entry in enumerate(values.pop("runs", []), 1):
        there = f"run {number} in {where}"
        run = _read(entry, there, _RUN_READERS)
        for key in ("name", "model", "data"):
            if key not in run:
                raise InputError(f"expected {key!r} in {there}, found none; add it")
        runs.append(StudyRun(**_beside(run, place.parent)))
    return StudySettings(runs=tuple(runs), **values)


def settings_dict(settings: StudySettings) -> dict[str, Any]:
    """The settings in plain JSON types, as `read_settings` reads them; what is not set is left out."""
    given = {field.name: getattr(settings, field.name) for field in fields(settings)}
    runs = [{key: value for key, value in asdict(run).items() if value is not None} for run in settings.runs]
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    return {"title": plain.pop("title"), **plain, "runs": runs}


_Reader = Callable[[object, str], Any]


def _read(given: object, where: str, readers: Mapping[str, _Reader]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(
            f"expected keys and values in {where}, found {_shown(given)}; known keys: {', '.join(readers)}"
        )
    found = {}
    for key, value in given.items():
        if key not in readers:
            raise UnknownNameError("key", key, readers, f" (in {where})")
        if value is not None:
            found[key] = readers[key](value, f"{key!r} in {where}")
    return found


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"expected {where} to be text, found {_shown(value)}; put it in quotes")
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"expected {where} to be a whole number, found {_shown(value)}")
    return value


def _entries(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"expected {where} to be a list, found {_shown(value)}; start each entry with '- '")
    return value


def _names(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(_text(entry, f"an entry of {where}") for entry in _entries(value, where))


def _examples(value: object, where: str) -> int | tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(entry, f"an entry of {where}") for entry in value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"expected {where} to be a whole number or a list of texts, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_STUDY_READERS: Final[Mapping[str, _Reader]] = MappingProxyType(
    {
        "title": _text,
        "runs": _entries,
        "methods": _names,
        "metrics": _names,
        "limit": _whole,
        "word_limit": _whole,
        "minimum_count": _whole,
        "minimum_words": _whole,
        "examples": _examples,
        "seed": _whole,
        "batch_size": _whole,
    }
)
_RUN_READERS: Final[Mapping[str, _Reader]] = MappingProxyType(
    {
        field.name: _whole if field.name in ("limit", "word_limit", "max_length") else _text
        for field in fields(StudyRun)
    }
)


def _beside(run: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a run with the paths in them taken from the folder."""
    from whybert.datasets import DATASETS

    found = dict(run)
    for key in ("model", "second_model", "data", "data_dir"):
        value = run.get(key)
        if value is None or (key == "data" and value.casefold() in DATASETS):
            continue
        if key != "data_dir" and value == "builtin":
            continue
        path = folder / Path(value).expanduser()
        if key == "data_dir" or value.startswith(".") or path.exists():
            found[key] = str(path)
    return found


# Results.

WordScores = Mapping[str, WordScore]
"""The score of each word, by the word."""


@dataclass(frozen=True)
class Words:
    """The word scores of one model over many texts.

    Fields:
        model: its name.
        texts: how many texts were explained.
        scores: by method and kind; "signed" only for methods whose scores have signs, the control last.
    """

    model: str
    texts: int
    scores: Mapping[str, Mapping[Kind, WordScores]]


@dataclass(frozen=True)
class RunResult:
    """What a study found about one model on one data set.

    Fields:
        run: its settings.
        data_set: the name of the data set, without its split.
        evaluation: what the metrics say.
        words, second: the word scores of the model, and of the one with another seed if there is one.
        examples: for each text that is shown one explanation by each method.
    """

    run: StudyRun
    data_set: str
    evaluation: Evaluation
    words: Words
    second: Words | None
    examples: tuple[tuple[Explanation, ...], ...]


@dataclass(frozen=True)
class Study:
    """What a study found; a frozen value, see `whybert.study.report` for what can be made of it."""

    settings: StudySettings
    runs: tuple[RunResult, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods and, last, the random control."""
        return (*self.settings.methods, RANDOM)


def study(
    settings: StudySettings,
    folder: str | Path | None = None,
    progress: Progress = silent,
    *,
    overwrite: bool = False,
) -> Study:
    """Do everything that the settings ask for, run by run.

    folder: each run keeps what it found in a folder of its name there, part by part, so that the same call
        goes on after a stop; None keeps nothing.
    progress: called as that of `evaluate`, with the name of the run in what is being done.
    overwrite: begin anew where a folder holds a run with other settings.

    Raises what `Classifier.load`, `whybert.datasets.load` and `evaluate` raise.
    """
    found = []
    for run in settings.runs:
        place = None if folder is None else Path(folder) / run.name
        found.append(_Work(settings, run, place, progress, overwrite).result())
    return Study(settings, tuple(found))


class _Work:
    """The work on one run."""

    def __init__(
        self,
        settings: StudySettings,
        run: StudyRun,
        folder: Path | None,
        progress: Progress,
        overwrite: bool,
    ) -> None:
        self.settings, self.run, self.folder, self.overwrite = settings, run, folder, overwrite
        self.progress: Progress = lambda what, done, total: progress(f"{run.name}: {what}", done, total)

    def result(self) -> RunResult:
        from whybert.datasets import load

        run, settings = self.run, self.settings
        rows = load(
            run.data,
            run.data_dir,
            text_column=run.text_column,
            pair_column=run.pair_column,
            label_column=run.label_column,
        )
        classifier = self._classifier(run.model)
        data = EvaluationData.of_dataset(rows, run.split, classifier)
        evaluation = evaluate(
            classifier,
            data,
            methods=settings.methods,
            metrics=settings.metrics,
            limit=run.limit or settings.limit,
            seed=settings.seed,
            folder=self.folder,
            overwrite=self.overwrite,
            batch_size=settings.batch_size,
            progress=self.progress,
        )
        if self.folder is not None:
            results.write(evaluation, self.folder)
        digest = model_digest(classifier)
        words = self._words(classifier, digest, data, "words", settings.seed)
        examples = self._examples(classifier, digest, data)
        second = None
        if run.second_model is not None:
            classifier = self._classifier(run.second_model)
            # Its control is drawn anew: the same scores for the same texts would agree perfectly.
            second = self._words(
                classifier, model_digest(classifier), data, "words of the second model", settings.seed + 1
            )
        return RunResult(run, rows.name, evaluation, words, second, examples)

    def _classifier(self, model: str) -> Classifier:
        from whybert.classifier import Classifier

        return Classifier.load(model, max_length=self.run.max_length)

    def _store(self, what: str, classifier: Classifier, digest: str, settings: Mapping[str, Any]) -> Store:
        """Parts of what was found, in a folder of its own; they hold for one model and these settings."""
        checked = {
            "model_digest": digest,
            "max_length": classifier.max_length,
            "methods": list(self.settings.methods),
            "seed": self.settings.seed,
            **settings,
            "versions": {"whybert": __version__},
        }
        folder = None if self.folder is None else self.folder / what.replace(" ", "-")
        return Store(folder, checked, self.overwrite)

    def _words(
        self, classifier: Classifier, digest: str, data: EvaluationData, what: str, seed: int
    ) -> Words:
        rows = data.sample(self.run.word_limit or self.settings.word_limit, self.settings.seed)
        texts = [data.texts[row] for row in rows]
        store = self._store(
            what,
            classifier,
            digest,
            {"texts_digest": _texts_digest(texts), "minimum_words": self.settings.minimum_words},
        )
        parts = []
        for number, start in enumerate(range(0, len(rows), _PART)):
            places = range(start, min(start + _PART, len(rows)))
            self.progress(what, start, len(rows))
            parts.append(
                store.part(
                    f"texts-{number:05d}",
                    lambda p=places: self._word_part(  # type: ignore[misc]
                        classifier, [texts[i] for i in p], [rows[i] for i in p], seed
                    ),
                )
            )
        self.progress(what, len(rows), len(rows))
        scores: dict[str, Mapping[Kind, WordScores]] = {}
        for method in (*self.settings.methods, RANDOM):
            kinds: dict[Kind, WordScores] = {}
            for kind in KINDS:
                listed = [part["scores"][method][kind] for part in parts if kind in part["scores"][method]]
                if listed:
                    kinds[kind] = _merged(listed, self.settings.minimum_count)
            scores[method] = MappingProxyType(kinds)
        return Words(classifier.name, len(rows), MappingProxyType(scores))

    def _word_part(
        self, classifier: Classifier, texts: Sequence[Text], rows: Sequence[int], seed: int
    ) -> dict[str, Any]:
        explanations = explain(
            classifier,
            texts,  # type: ignore[arg-type]
            list(self.settings.methods),
            batch_size=self.settings.batch_size,
        )
        first = explanations[self.settings.methods[0]]
        explanations[RANDOM] = _controls(classifier, texts, rows, first, seed)
        scores: dict[str, dict[str, dict[str, list[float]]]] = {}
        for method, listed in explanations.items():
            kinds = KINDS if all(explanation.signed for explanation in listed) else KINDS[:1]
            scores[method] = {}
            for kind in kinds:
                found = word_scores(
                    listed,
                    minimum_count=1,
                    minimum_words=self.settings.minimum_words,
                    normalise=_NORMALISE[kind],
                )
                scores[method][kind] = {word: [score.mean, score.count] for word, score in found.items()}
        return {"scores": scores}

    def _examples(
        self, classifier: Classifier, digest: str, data: EvaluationData
    ) -> tuple[tuple[Explanation, ...], ...]:
        wanted = self.settings.examples
        rows = data.sample(self.run.limit or self.settings.limit, self.settings.seed)
        texts = [data.texts[row] for row in rows] if isinstance(wanted, int) else list(wanted)
        store = self._store(
            "examples",
            classifier,
            digest,
            {
                "texts_digest": _texts_digest(texts),
                "examples": wanted if isinstance(wanted, int) else len(wanted),
            },
        )

        def compute() -> dict[str, Any]:
            chosen: Sequence[Text] = texts
            if isinstance(wanted, int):
                labels = [data.labels[row] for row in rows]
                chosen = [texts[i] for i in self._clear_cases(classifier, texts, labels, wanted)]
            if not chosen:
                return {"explanations": []}
            found = explain(
                classifier,
                chosen,  # type: ignore[arg-type]
                list(self.settings.methods),
                batch_size=self.settings.batch_size,
            )
            return {
                "explanations": [
                    [found[method][place].to_dict() for method in self.settings.methods]
                    for place in range(len(chosen))
                ]
            }

        self.progress("examples", 0, 1)
        part = store.part("examples", compute)
        self.progress("examples", 1, 1)
        return tuple(
            tuple(Explanation.from_dict(explanation) for explanation in listed)
            for listed in part["explanations"]
        )

    def _clear_cases(
        self, classifier: Classifier, texts: Sequence[Text], labels: Sequence[int | None], count: int
    ) -> list[int]:
        """Places of texts that are right, sure and neither short nor long, of several classes if there are.

        Where there are too few, the surest of what is left is taken, wrong or of another length.
        """
        predictions = classifier.predict(list(texts), self.settings.batch_size)  # type: ignore[arg-type]
        rows = classifier.tokenize(texts)
        order = np.random.default_rng([self.settings.seed, 2]).permutation(len(texts)).tolist()

        def rank(place: int) -> tuple[bool, bool, float]:
            prediction, label = predictions[place], labels[place]
            length = len(rows[place].word_spans)
            probability = max(prediction.probabilities)
            return (
                label is not None and classifier.labels[label] != prediction.label,
                not _LONG_ENOUGH <= length <= _SHORT_ENOUGH,
                -min(probability, _SURE),
            )

        best = sorted(order, key=rank)  # sorting is stable, so the seed decides between equal ones
        chosen: list[int] = []
        while len(chosen) < min(count, len(best)):
            seen: set[str] = set()
            ranks = [rank(place) for place in best if place not in chosen]
            for place in best:
                label = predictions[place].label
                # Another class is worth it only among texts that are as good.
                if place not in chosen and label not in seen and rank(place)[:2] == ranks[0][:2]:
                    seen.add(label)
                    chosen.append(place)
        return chosen[:count]


def _controls(
    classifier: Classifier,
    texts: Sequence[Text],
    rows: Sequence[int],
    explanations: Sequence[Explanation],
    seed: int,
) -> list[Explanation]:
    """Random scores of the texts; what the model decides is taken from explanations that there are."""
    subjects = [
        Subject(row, encoded, made.logits, made.probabilities, made.target.index, None, seed)
        for row, encoded, made in zip(rows, classifier.tokenize(texts), explanations, strict=True)
    ]
    return random_explanations(subjects, classifier.labels)


def _texts_digest(texts: Sequence[Text]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _merged(parts: Sequence[Mapping[str, Sequence[float]]], minimum_count: int) -> Mapping[str, WordScore]:
    """The word scores of all texts from those of parts of them."""
    found: dict[str, list[Sequence[float]]] = {}
    for part in parts:
        for word, score in part.items():
            found.setdefault(word, []).append(score)
    merged = {}
    for word, scores in sorted(found.items()):
        count = sum(int(times) for _, times in scores)
        if count >= minimum_count:
            merged[word] = WordScore(math.fsum(mean * times for mean, times in scores) / count, count)
    return MappingProxyType(merged)


# Functions of what was found.


def top_words(
    run: RunResult, method: str, k: int = 10, kind: Kind = "magnitude", *, lowest: bool = False
) -> tuple[tuple[str, WordScore], ...]:
    """The k words of the highest mean score, or of the lowest; equal ones in the order of the alphabet."""
    scores = run.words.scores.get(method, {}).get(kind, {})
    sign = 1.0 if lowest else -1.0
    return tuple(sorted(scores.items(), key=lambda item: (sign * item[1].mean, item[0]))[:k])


class Correlation(NamedTuple):
    """Pearson's r between the word scores of `first` and `second`, over `words` that both have."""

    first: str
    second: str
    r: float
    words: int


def data_correlations(found: Study, method: str, kind: Kind = "magnitude") -> tuple[Correlation, ...]:
    """How well a method's word scores agree between the data sets of each pair of runs.

    Source: Wu and Ong 2020.  NaN where fewer than 3 words are shared; empty where the kind is not there.
    """
    listed = []
    for one, other in combinations(found.runs, 2):
        scores = [run.words.scores.get(method, {}).get(kind) for run in (one, other)]
        if scores[0] is not None and scores[1] is not None:
            listed.append(Correlation(one.run.name, other.run.name, *word_correlation(scores[0], scores[1])))
    return tuple(listed)


def comparable_correlations(found: Study, method: str, kind: Kind = "magnitude") -> tuple[Correlation, ...]:
    """Those of `data_correlations` between data sets that the paper has too; all of them if none is."""
    known = {run.run.name for run in found.runs if run.data_set in PUBLISHED.deletion}
    listed = data_correlations(found, method, kind)
    return tuple(pair for pair in listed if {pair.first, pair.second} <= known) or listed


def mean_correlation(correlations: Sequence[Correlation]) -> float:
    """The mean r of those that are defined; NaN without any."""
    return mean([each.r for each in correlations])


def seed_correlations(run: RunResult, kind: Kind = "magnitude") -> Mapping[str, Correlation]:
    """For each method how well the word scores of the two models of a run agree; empty without a second."""
    if run.second is None:
        return {}
    return {
        method: Correlation(
            run.words.model, run.second.model, *word_correlation(kinds[kind], run.second.scores[method][kind])
        )
        for method, kinds in run.words.scores.items()
        if kind in kinds
    }


def deletion_means(found: Study, metric: str = PAPER_DELETION) -> Mapping[str, Mapping[str, Interval]]:
    """For each run and method the mean of a deletion metric, with its interval; runs without are left out."""
    means: dict[str, dict[str, Interval]] = {}
    for run in found.runs:
        for method in run.evaluation.methods:
            values = [value.value for value in run.evaluation.cell(method, metric)]
            if values:
                interval = bootstrap(values, found.settings.seed)
                means.setdefault(run.run.name, {})[method] = interval
    return means


Verdict = Literal["reproduces", "does not reproduce", "in part", "not told apart"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim of a paper, or one about it, held against what was found.

    Fields:
        run: None where it is about all runs.
        claim: in words.  here: the numbers that decide.
        verdict: see `findings`.
    """

    run: str | None
    claim: str
    here: str
    verdict: Verdict


def findings(found: Study) -> tuple[Finding, ...]:
    """What of the papers' claims holds here, as far as the methods and metrics were computed.

    A difference counts where the 95 % bootstrap interval of the paired difference leaves 0 out.  An order
    reproduces from Kendall's tau 0.6 on, in part above 0.  Source of the claims: Wu and Ong 2020; that newer
    rules of relevance propagation are more faithful: Achtibat et al. 2024 (AttnLRP).
    """
    listed: list[Finding] = []
    for run in found.runs:
        listed += _against_random(run, found.settings.seed)
        listed += _orders(run)
        listed += _newer_against_older(run, found.settings.seed)
    return (*listed, *_correlation_findings(found))


def _values(run: RunResult, metric: str) -> dict[str, list[float]]:
    """For each method the values of the texts; methods without one that is defined are left out."""
    found = {
        method: [value.value for value in run.evaluation.cell(method, metric)]
        for method in run.evaluation.methods
    }
    return {method: values for method, values in found.items() if not all(map(math.isnan, values))}


def _against_random(run: RunResult, seed: int) -> Iterator[Finding]:
    values = _values(run, PAPER_DELETION)
    if RANDOM not in values:
        return
    chance = mean(values[RANDOM])
    for method in OLDER:
        if method not in values:
            continue
        own = mean(values[method])
        told_apart, lower = differs(values[method], values[RANDOM], seed), own < chance
        here = f"{method} {own:.3f}, random {chance:.3f}" + ("" if told_apart else ", not told apart")
        verdict: Verdict
        if method == "lat":
            claim = "Deleting lat's tokens hurts no more than deleting random ones"
            verdict = "does not reproduce" if told_apart and lower else "reproduces"
        else:
            claim = f"Deleting {method}'s tokens hurts more than deleting random ones"
            verdict = "not told apart"
            if told_apart:
                verdict = "reproduces" if lower else "does not reproduce"
        yield Finding(run.run.name, claim, here, verdict)


def _orders(run: RunResult) -> Iterator[Finding]:
    means = {
        metric: {method: mean(values) for method, values in _values(run, metric).items()}
        for metric in (PAPER_DELETION, SOUND_DELETION)
    }
    paper = PUBLISHED.deletion.get(run.data_set, {})
    yield from _order(
        run.run.name,
        "The order of random, gs, gi, lrp and lat under deletion is that of the paper",
        paper,
        means[PAPER_DELETION],
    )
    yield from _order(
        run.run.name,
        "The order of all methods stays when words are masked instead of given the id 0",
        means[PAPER_DELETION],
        means[SOUND_DELETION],
    )


def _newer_against_older(run: RunResult, seed: int) -> Iterator[Finding]:
    """The better of the newer methods against each of the older ones that were computed."""
    for metric in ("aopc", "abpc"):
        values = _values(run, metric)
        means = {method: mean(listed) for method, listed in values.items()}
        older = [method for method in OLDER if method in means]
        best = max((method for method in NEWER if method in means), key=means.__getitem__, default=None)
        if best is None or not older:
            continue
        told_apart = [method for method in older if differs(values[best], values[method], seed)]
        beaten = [method for method in told_apart if means[best] > means[method]]
        verdict: Verdict = "not told apart"
        if told_apart:
            verdict = "in part" if beaten else "does not reproduce"
        if beaten == older:
            verdict = "reproduces"
        shown = ", ".join(f"{method} {means[method]:.3f}" for method in (best, *older))
        if beaten != older:
            shown += f"; not better than {', '.join(method for method in older if method not in beaten)}"
        claim = f"{best} is better than each of {', '.join(older)} by {metric}"
        yield Finding(run.run.name, claim, shown, verdict)


def _order(
    run: str | None, claim: str, first: Mapping[str, float], second: Mapping[str, float]
) -> Iterator[Finding]:
    shared = [name for name in first if not math.isnan(first[name] + second.get(name, math.nan))]
    if len(shared) < 3:
        return
    tau = kendall([first[name] for name in shared], [second[name] for name in shared])
    if math.isnan(tau):
        return
    verdict: Verdict = "reproduces" if tau >= 0.6 else "in part" if tau > 0 else "does not reproduce"
    yield Finding(run, claim, f"Kendall's tau {tau:+.2f} over {len(shared)} methods", verdict)


def _correlation_findings(found: Study) -> Iterator[Finding]:
    means = {method: mean_correlation(comparable_correlations(found, method)) for method in found.methods}
    known = {method: r for method, r in means.items() if not math.isnan(r)}
    yield from _order(
        None,
        "The order of gs, gi, lrp and lat by how well word scores agree between data sets is the paper's",
        PUBLISHED.correlation,
        known,
    )
    chance = known.get(RANDOM)
    best = max((r for method, r in known.items() if method in PUBLISHED.correlation), default=None)
    if chance is None or best is None:
        return
    least = min(r for method, r in known.items() if method in PUBLISHED.correlation)
    verdict: Verdict = "does not reproduce"
    if best > chance:
        verdict = "reproduces" if least > chance else "in part"
    yield Finding(
        None,
        "Word scores agree between data sets more than scores that know nothing do",
        f"mean r {least:.3f} to {best:.3f}, random {chance:.3f}",
        verdict,
    )
