"""What a study found, held against what the papers report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from whybert.evaluation.agreement import WordScore, word_correlation
from whybert.evaluation.given import RANDOM
from whybert.evaluation.statistics import Interval, bootstrap, differs, kendall, mean
from whybert.study.power import order_needed, texts_needed, words_needed
from whybert.study.work import Kind, RunResult, Study

PAPER_DELETION: Final = "deletion-paper"
SOUND_DELETION: Final = "deletion-mask"
OLDER: Final = ("gs", "gi", "lrp", "lat")
"""The methods of the paper."""
NEWER: Final = ("attnlrp", "cp_lrp")
LEAD: Final = 0.635 - 0.416
"""The smallest lead by AOPC that Modarressi et al. 2023 (DecompX) report: of the rule that equals CP-LRP over
ALTI, on SST-2 with BERT-base."""
_SAME_ORDER: Final = 0.6  # the tau from which on an order reproduces


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


Verdict = Literal["reproduces", "does not reproduce", "in part", "not told apart", "too few to tell"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim of a paper, or one about it, held against what was found.

    Fields:
        run: None where it is about all runs.
        claim: in words.  here: the numbers that decide.
        verdict: see `findings`; "too few to tell" where the sample is smaller than what is needed.
        sample: how many texts, or words, there are.  needed: how many could tell, None if no number does.
        unit: which of them, "texts" or "words".
    """

    run: str | None
    claim: str
    here: str
    verdict: Verdict
    sample: int
    needed: int | None
    unit: str = "texts"

    def __post_init__(self) -> None:
        if self.needed is None or self.sample < self.needed:
            object.__setattr__(self, "verdict", "too few to tell")

    @property
    def said(self) -> str:
        """The verdict for people."""
        if self.verdict != "too few to tell":
            return self.verdict
        if self.needed is None:
            return f"cannot be told by any number of {self.unit}"
        return f"too few {self.unit} to tell; {self.needed:,} needed"


def findings(found: Study) -> tuple[Finding, ...]:
    """What of the papers' claims holds here, as far as the methods and metrics were computed.

    A difference counts where the 95 % bootstrap interval of the paired difference leaves 0 out.  An order
    reproduces from Kendall's tau 0.6 on, in part above 0.  Source of the claims: Wu and Ong 2020; that newer
    rules of relevance propagation are more faithful: Achtibat et al. 2024 (AttnLRP).

    There is a verdict only where the sample could tell a difference of the claimed size, see
    `whybert.study.power`.  That size is, for a method against random, the difference that the paper reports
    on the same data set, or else its mean over the paper's data sets; that a method is no worse than random
    is told where half the smallest of these would be found; for newer methods against older ones it is
    `LEAD`; for an order the differences of its pairs, of which enough must be told apart for a tau of 0.6.
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


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Those of the texts for which both are defined."""
    found = [one - other for one, other in zip(first, second, strict=True)]
    return [each for each in found if not math.isnan(each)]


def _published_lead(data_set: str, method: str) -> float:
    """By how much the paper's method is ahead of random there, or in the mean over its data sets."""
    paper = PUBLISHED.deletion
    leads = [values[RANDOM] - values[method] for name, values in paper.items() if name == data_set]
    return mean(leads or [values[RANDOM] - values[method] for values in paper.values()])


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
            effect = min(_published_lead(run.data_set, each) for each in OLDER if each != "lat") / 2
            verdict = "does not reproduce" if told_apart and lower else "reproduces"
        else:
            claim = f"Deleting {method}'s tokens hurts more than deleting random ones"
            effect = _published_lead(run.data_set, method)
            verdict = "not told apart"
            if told_apart:
                verdict = "reproduces" if lower else "does not reproduce"
        pairs = _differences(values[method], values[RANDOM])
        yield Finding(run.run.name, claim, here, verdict, len(pairs), texts_needed(pairs, effect))


def _orders(run: RunResult) -> Iterator[Finding]:
    values = {metric: _values(run, metric) for metric in (PAPER_DELETION, SOUND_DELETION)}
    means = {
        metric: {method: mean(listed) for method, listed in found.items()} for metric, found in values.items()
    }
    for claim, first, metric in (
        (
            "The order of random, gs, gi, lrp and lat under deletion is that of the paper",
            PUBLISHED.deletion.get(run.data_set, {}),
            PAPER_DELETION,
        ),
        (
            "The order of all methods stays when words are masked instead of given the id 0",
            means[PAPER_DELETION],
            SOUND_DELETION,
        ),
    ):
        pairs = {
            (one, other): _differences(values[metric][one], values[metric][other])
            for one, other in combinations(_shared(first, means[metric]), 2)
        }
        needed = [texts_needed(found, first[one] - first[other]) for (one, other), found in pairs.items()]
        sample = min(map(len, pairs.values()), default=0)
        yield from _order(run.run.name, claim, first, means[metric], sample, needed)


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
        pairs = [_differences(values[best], values[method]) for method in older]
        needed = max(texts_needed(each, LEAD) or 0 for each in pairs)
        yield Finding(run.run.name, claim, shown, verdict, min(map(len, pairs)), needed)


def _shared(first: Mapping[str, float], second: Mapping[str, float]) -> list[str]:
    return [name for name in first if not math.isnan(first[name] + second.get(name, math.nan))]


def _order(
    run: str | None,
    claim: str,
    first: Mapping[str, float],
    second: Mapping[str, float],
    sample: int,
    pairs: Sequence[int | None],
    unit: str = "texts",
) -> Iterator[Finding]:
    """The finding about an order; `pairs` says how many texts or words each pair of its methods needs."""
    shared = _shared(first, second)
    if len(shared) < 3:
        return
    tau = kendall([first[name] for name in shared], [second[name] for name in shared])
    if math.isnan(tau):
        return
    verdict: Verdict = "reproduces" if tau >= _SAME_ORDER else "in part" if tau > 0 else "does not reproduce"
    here = f"Kendall's tau {tau:+.2f} over {len(shared)} methods"
    yield Finding(run, claim, here, verdict, sample, order_needed(pairs, _SAME_ORDER), unit)


def _correlation_findings(found: Study) -> Iterator[Finding]:
    listed = {method: comparable_correlations(found, method) for method in found.methods}
    means = {method: mean_correlation(correlations) for method, correlations in listed.items()}
    known = {method: r for method, r in means.items() if not math.isnan(r)}
    paper = PUBLISHED.correlation
    words = min((pair.words for method in known for pair in listed[method]), default=0)
    yield from _order(
        None,
        "The order of gs, gi, lrp and lat by how well word scores agree between data sets is the paper's",
        paper,
        known,
        words,
        [words_needed(paper[one], paper[other]) for one, other in combinations(_shared(paper, known), 2)],
        "words",
    )
    chance = known.get(RANDOM)
    best = max((r for method, r in known.items() if method in paper), default=None)
    if chance is None or best is None:
        return
    least = min(r for method, r in known.items() if method in paper)
    verdict: Verdict = "does not reproduce"
    if best > chance:
        verdict = "reproduces" if least > chance else "in part"
    yield Finding(
        None,
        "Word scores agree between data sets more than scores that know nothing do",
        f"mean r {least:.3f} to {best:.3f}, random {chance:.3f}",
        verdict,
        words,
        words_needed(min(paper.values())),
        "words",
    )
