"""The work of a study: several models on their data sets, explained and judged side by side.

These are the experiments of Wu and Ong 2020, "On Explaining Your Explanations of BERT" (arXiv 2101.00196):
deletion of the words that a method calls important, the words that it calls important over a whole data set,
how well these agree between data sets and between two trainings of one model, and heat maps.  Newer methods
and metrics stand beside those of the paper, and so do scores that know nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from whybert.encoding import Text
from whybert.evaluation import results
from whybert.evaluation.agreement import Normalise, WordScore, word_scores
from whybert.evaluation.bench import Evaluation, EvaluationData, evaluate
from whybert.evaluation.given import RANDOM, random_explanations
from whybert.evaluation.metric import Subject
from whybert.explaining import explain
from whybert.explanation import Explanation
from whybert.progress import Progress, silent
from whybert.store import Store, model_digest
from whybert.study.settings import StudyRun, StudySettings

if TYPE_CHECKING:
    from whybert.classifier import Classifier

Kind = Literal["magnitude", "signed"]
"""How the scores of a text's words are normalised: softmax(|s|) as in the paper, or s / sum |s|."""

KINDS: Final[tuple[Kind, ...]] = ("magnitude", "signed")
_NORMALISE: Final[Mapping[Kind, Normalise]] = MappingProxyType({"magnitude": True, "signed": "signed"})
_PART: Final = 64  # texts whose word scores are kept together
_LONG_ENOUGH, _SHORT_ENOUGH = 8, 25  # words of an example
_SURE: Final = 0.9  # the probability of a decision that an example shows


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
        parts: a line about each part of words and examples that was damaged or that other versions computed.
    """

    run: StudyRun
    data_set: str
    evaluation: Evaluation
    words: Words
    second: Words | None
    examples: tuple[tuple[Explanation, ...], ...]
    parts: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out and why, and what is to be said of parts that were there, a line each."""
        return (*self.evaluation.notes, *self.parts)


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

    Args:
        settings: models, data, methods and metrics.
        folder: each run keeps what it found in a folder of its name there, part by part, so that the same
            call goes on after a stop; None keeps nothing.
        progress: called as that of `evaluate`, with the name of the run in what is being done.
        overwrite: begin anew where a folder holds a run with other settings.

    Raises:
        WhybertError: what `Classifier.load`, `whybert.datasets.load` and `evaluate` raise.
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
        self.notes: list[str] = []
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
        data = EvaluationData.of_dataset(rows, run.split, classifier, run.label_map)
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
        return RunResult(run, rows.name, evaluation, words, second, examples, tuple(self.notes))

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
        }
        folder = None if self.folder is None else self.folder / what.replace(" ", "-")
        return Store(folder, checked, self.overwrite)

    def _noted(self, what: str, store: Store) -> None:
        self.notes += [f"{what}: {note}" for note in store.notes]

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
                    self._is_word_part,
                )
            )
        self.progress(what, len(rows), len(rows))
        self._noted(what, store)
        scores: dict[str, Mapping[Kind, WordScores]] = {}
        for method in (*self.settings.methods, RANDOM):
            kinds: dict[Kind, WordScores] = {}
            for kind in KINDS:
                listed = [part["scores"][method][kind] for part in parts if kind in part["scores"][method]]
                if listed:
                    kinds[kind] = _merged(listed, self.settings.minimum_count)
            scores[method] = MappingProxyType(kinds)
        return Words(classifier.name, len(rows), MappingProxyType(scores))

    def _is_word_part(self, part: Any) -> bool:
        return all(
            KINDS[0] in part["scores"][method]
            and all(
                len(score) == 2 and math.isfinite(score[0]) and score[1] >= 1
                for scores in part["scores"][method].values()
                for score in scores.values()
            )
            for method in (*self.settings.methods, RANDOM)
        )

    def _word_part(
        self, classifier: Classifier, texts: Sequence[Text], rows: Sequence[int], seed: int
    ) -> dict[str, Any]:
        methods, batch_size = list(self.settings.methods), self.settings.batch_size
        explanations: dict[str, list[Explanation]] = dict(
            explain(classifier, texts, methods, batch_size=batch_size)  # type: ignore[arg-type]
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

        def read(part: Any) -> tuple[tuple[Explanation, ...], ...]:
            return tuple(tuple(map(Explanation.from_dict, listed)) for listed in part["explanations"])

        def is_whole(part: Any) -> bool:
            count = min(wanted, len(texts)) if isinstance(wanted, int) else len(texts)
            return list(map(len, read(part))) == [len(self.settings.methods)] * count

        self.progress("examples", 0, 1)
        part = store.part("examples", compute, is_whole)
        self.progress("examples", 1, 1)
        self._noted("examples", store)
        return read(part)

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
            probability = max(prediction.probabilities, default=_SURE)
            return (
                label is not None and label != prediction.predicted,
                not _LONG_ENOUGH <= length <= _SHORT_ENOUGH,
                -min(probability, _SURE),
            )

        best = sorted(order, key=rank)  # sorting is stable, so the seed decides between equal ones
        chosen: list[int] = []
        while len(chosen) < min(count, len(best)):
            seen: set[int] = set()
            ranks = [rank(place) for place in best if place not in chosen]
            for place in best:
                label = predictions[place].predicted
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
