"""The numbers of a study as tables: a `Grid` for people, which HTML and LaTeX show alike, and tidy tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from whybert.evaluation import results
from whybert.evaluation.metric import Metric
from whybert.evaluation.plots import Line, line_of
from whybert.evaluation.results import Summary, summaries
from whybert.evaluation.statistics import Interval
from whybert.render import number, shorten
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
from whybert.study.settings import settings_dict
from whybert.study.work import KINDS, Kind, RunResult, Study

BEST, TIED = "\u2605", "="
_TOP: Final = 10  # words of a list
_BETTER: Final = {True: "higher", False: "lower"}
_KIND_NAMES: Final[Mapping[Kind, str]] = {
    "magnitude": "size of the score, softmax(|s|) over a text's words",
    "signed": "signed score, s / sum |s| over a text's words",
}


class Cell(NamedTuple):
    """A cell of a table.

    text: what it says.  note: a smaller second line.  mark: BEST, TIED or nothing.  word: whether the text is
    a word of the data, whose direction and language are not known.
    """

    text: str
    note: str = ""
    mark: str = ""
    word: bool = False


@dataclass(frozen=True)
class Grid:
    """A table for people.

    Fields:
        caption: one line.
        columns: their headings; the first column names the rows.
        align: a letter for each column: "l" left, "r" right, "p" text that wraps.
        rows: a cell for each column.
    """

    caption: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Facts:
    """A study with what several sections need, computed once."""

    study: Study

    @cached_property
    def summaries(self) -> Mapping[str, tuple[Summary, ...]]:
        return {run.run.name: summaries(run.evaluation) for run in self.study.runs}

    @cached_property
    def curves(self) -> Mapping[tuple[str, str], tuple[Line, ...]]:
        """By run and metric a line for each method."""
        found = {}
        for run in self.study.runs:
            for metric in run.evaluation.metrics:
                if not metric.curve_of:
                    continue
                drawn = (line_of(run.evaluation, method, metric) for method in run.evaluation.methods)
                lines = [line for line in drawn if line is not None]
                if lines:
                    found[run.run.name, metric.name] = tuple(lines)
        return found

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        return findings(self.study)

    @cached_property
    def deletion_means(self) -> Mapping[str, Mapping[str, Interval]]:
        return deletion_means(self.study)

    def cell(self, run: str, metric: str, method: str) -> Summary | None:
        return self._cells.get((run, metric, method))

    @cached_property
    def _cells(self) -> Mapping[tuple[str, str, str], Summary]:
        return {
            (run, summary.metric, summary.method): summary
            for run, listed in self.summaries.items()
            for summary in listed
        }

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """All that any run was judged by, but for agreement, which judges pairs."""
        named = {metric.name: metric for run in self.study.runs for metric in run.evaluation.metrics}
        return tuple(metric for metric in named.values() if metric.group != "agreement")


def figure(value: float) -> str:
    return "-" if math.isnan(value) else number(value, sign=False)


def short_figure(value: float) -> str:
    """A correlation."""
    return "-" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no -0.00


def _range(interval: Interval) -> str:
    """The ends of an interval, with more decimals where both are small; nothing where there is none."""
    if not interval.size:
        return ""
    ends = interval.low, interval.high
    if max(map(abs, ends)) < 0.01 or max(map(abs, ends)) >= 1e5:
        return " to ".join(figure(end) for end in ends)
    return " to ".join(f"{round(end, 2) + 0.0:.2f}" for end in ends)


# Tables for people.


def summary_grid(study: Study) -> Grid:
    """Runs: model, data, how many texts, accuracy, seconds."""
    rows = []
    for run in study.runs:
        evaluation = run.evaluation
        accuracy = "-" if evaluation.accuracy is None else f"{evaluation.accuracy:.3f}"
        models = map(_place, (run.run.model, run.run.second_model or "-"))
        counts = str(len(evaluation.rows)), str(run.words.texts)
        cells = (run.run.name, *models, evaluation.data, *counts, accuracy, f"{evaluation.seconds:.0f}")
        rows.append(tuple(map(Cell, cells)))
    columns = ("run", "model", "second model", "data", "texts", "texts for words", "accuracy", "seconds")
    return Grid("Models and data", columns, "llllrrrr", tuple(rows))


def _place(model: str) -> str:
    """The end of a path, which says enough; the settings below have the whole one."""
    return "\u2026/" + Path(model).name if Path(model).is_absolute() else model


def wins_grid(facts: Facts) -> Grid:
    """How often each method is best or not told apart from the best, over runs and metrics."""
    found = [summary for listed in facts.summaries.values() for summary in listed if summary.interval.size]
    rows = []
    for method in facts.study.methods:
        own = [summary for summary in found if summary.method == method]
        best, tied = sum(summary.best for summary in own), sum(summary.tied for summary in own)
        rows.append(tuple(Cell(str(each)) for each in (method, best, tied, best + tied, len(own))))
    rows.sort(key=lambda row: (-int(row[3].text), -int(row[1].text)))
    columns = ("method", "best", "not told apart from the best", "either", "of")
    return Grid("How often a method is best, over all runs and metrics", columns, "lrrrr", tuple(rows))


def faithfulness_grid(facts: Facts, run: RunResult) -> Grid:
    """A row for each metric, a column for each method: mean, 95 % interval, winner marked."""
    methods = run.evaluation.methods
    rows = []
    for metric in facts.metrics:
        cells = [Cell(f"{metric.name} {'↑' if metric.higher_is_better else '↓'}")]
        sizes = set()
        for method in methods:
            summary = facts.cell(run.run.name, metric.name, method)
            if summary is None or not summary.interval.size:
                cells.append(Cell("-"))
                continue
            interval = summary.interval
            sizes.add(interval.size)
            mark = BEST if summary.best else TIED if summary.tied else ""
            note = _range(interval)
            cells.append(Cell(figure(interval.mean), note, mark))
        if sizes:
            texts = str(max(sizes)) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
            cells[0] = cells[0]._replace(note=f"{texts} texts")
        rows.append(tuple(cells))
    align = "l" + "r" * len(methods)
    return Grid(f"{run.run.name}: metrics by method", ("metric", *methods), align, tuple(rows))


def words_grid(run: RunResult, kind: Kind, *, lowest: bool = False) -> Grid:
    """The words of the highest or lowest mean scores, a column for each method."""
    methods = [name for name, kinds in run.words.scores.items() if kind in kinds]
    lists = {name: top_words(run, name, _TOP, kind, lowest=lowest) for name in methods}
    rows = []
    for rank in range(max((len(words) for words in lists.values()), default=0)):
        cells = [Cell(str(rank + 1))]
        for name in methods:
            if rank < len(lists[name]):
                word, score = lists[name][rank]
                shown = number(score.mean, sign=kind == "signed")
                cells.append(Cell(shorten(word, 24), f"{shown}, {score.count} times", word=True))
            else:
                cells.append(Cell(""))
        rows.append(tuple(cells))
    what = {False: "highest", True: "lowest"}[lowest]
    caption = f"{run.run.name}: words of the {what} mean scores ({_KIND_NAMES[kind]})"
    return Grid(caption, ("rank", *methods), "r" + "l" * len(methods), tuple(rows))


def correlation_grid(study: Study) -> Grid:
    """Mean r of word scores between data sets for each method, beside the paper's; each pair of runs."""
    rows = []
    for method in study.methods:
        pairs = {kind: data_correlations(study, method, kind) for kind in KINDS}
        means = [
            short_figure(mean_correlation(comparable_correlations(study, method, kind))) for kind in KINDS
        ]
        published = PUBLISHED.correlation.get(method)
        rows.append(
            (
                Cell(method),
                Cell("-" if published is None else f"{published:.3f}"),
                *(Cell(mean) for mean in means),
                *(Cell(short_figure(pair.r), f"{pair.words} words") for pair in pairs["magnitude"]),
            )
        )
    names = [f"{pair.first} / {pair.second}" for pair in data_correlations(study, study.methods[0])]
    count = len(comparable_correlations(study, study.methods[0]))
    here = f"here, mean of {count} pairs" if count != 1 else "here"
    columns = ("method", "paper, mean of 6 pairs", here, f"{here}, signed", *names)
    caption = "Pearson's r of word scores between data sets"
    return Grid(caption, columns, "l" + "r" * (len(columns) - 1), tuple(rows))


def seed_grid(study: Study) -> Grid:
    """r of word scores between the two models of each run that has two."""
    columns = ["method"]
    lists: list[Mapping[str, Correlation]] = []
    for run in study.runs:
        if run.second is not None:
            columns += [run.run.name, f"{run.run.name}, signed"]
            lists += [seed_correlations(run, kind) for kind in KINDS]
    rows = []
    for method in study.methods:
        cells = [Cell(method)]
        for found in lists:
            pair = found.get(method)
            cells.append(Cell("-") if pair is None else Cell(short_figure(pair.r), f"{pair.words} words"))
        rows.append(tuple(cells))
    caption = "Pearson's r of word scores between two models trained with other seeds"
    return Grid(caption, tuple(columns), "l" + "r" * (len(columns) - 1), tuple(rows))


def published_grid(facts: Facts) -> Grid:
    """Accuracy after deletion: the paper's, and what was found here on the same data set."""
    study, here = facts.study, facts.deletion_means
    rows = []
    for run in study.runs:
        paper = PUBLISHED.deletion.get(run.data_set)
        if paper is None or run.run.name not in here:
            continue
        own = here[run.run.name]
        shown = [f"{paper[method]:.3f}" if method in paper else "-" for method in study.methods]
        rows.append((Cell(f"{run.run.name}, paper"), *map(Cell, shown)))
        intervals = [own.get(method) for method in study.methods]
        cells = [Cell("-") if each is None else Cell(figure(each.mean), _range(each)) for each in intervals]
        rows.append((Cell(f"{run.run.name}, here"), *cells))
    caption = "Accuracy after deletion, mean over k = 1 to 10 tokens"
    return Grid(caption, ("run", *study.methods), "l" + "r" * len(study.methods), tuple(rows))


def findings_grid(facts: Facts) -> Grid:
    """Claims of the papers against what was found."""
    rows = tuple(
        tuple(map(Cell, (found.run or "all runs", found.claim, found.here, _sample(found), found.said)))
        for found in facts.findings
    )
    columns = ("run", "claim", "here", "sample, and what could tell", "so it")
    return Grid("Claims of the papers, and what was found here", columns, "lpplp", rows)


def _sample(found: Finding) -> str:
    needed = "no number" if found.needed is None else f"{found.needed:,}"
    return f"{found.sample:,} {found.unit}, {needed} needed"


def metrics_grid(facts: Facts) -> Grid:
    """What each metric says."""
    rows = tuple(
        tuple(map(Cell, (each.name, each.summary, _BETTER[each.higher_is_better], each.source)))
        for each in facts.metrics
    )
    return Grid("What the metrics say", ("metric", "what it is", "better", "source"), "lpll", rows)


# Tables for other programs.

Rows = list[tuple[Any, ...]]


def tables(facts: Facts) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Tidy tables by name: columns and rows.  NaN stands for what is not defined."""
    study = facts.study
    return {
        "runs": (
            ("run", "model", "second_model", "data", "texts", "word_texts", "accuracy", "seconds"),
            [
                (
                    run.run.name,
                    run.run.model,
                    run.run.second_model,
                    run.evaluation.data,
                    len(run.evaluation.rows),
                    run.words.texts,
                    math.nan if run.evaluation.accuracy is None else run.evaluation.accuracy,
                    run.evaluation.seconds,
                )
                for run in study.runs
            ],
        ),
        "metrics": (
            ("run", "metric", "method", "mean", "low", "high", "texts", "undefined", "best", "tied"),
            [
                (run, each.metric, each.method, *each.interval, each.best, each.tied)
                for run, listed in facts.summaries.items()
                for each in listed
            ],
        ),
        "curves": (
            ("run", "metric", "method", "x", "mean", "low", "high"),
            [
                (run, metric, line.method, x, point.mean, point.low, point.high)
                for (run, metric), lines in facts.curves.items()
                for line in lines
                for x, point in zip(line.x, line.points, strict=True)
            ],
        ),
        "words": (
            ("run", "second_model", "method", "kind", "word", "mean", "count"),
            [
                (run.run.name, second, method, kind, word, score.mean, score.count)
                for run in study.runs
                for second, words in ((False, run.words), (True, run.second))
                if words is not None
                for method, kinds in words.scores.items()
                for kind, scores in kinds.items()
                for word, score in scores.items()
            ],
        ),
        "data_correlations": (("method", "kind", "first", "second", "r", "words"), list(_pairs(study))),
        "seed_correlations": (
            ("run", "method", "kind", "r", "words"),
            [
                (run.run.name, method, kind, pair.r, pair.words)
                for run in study.runs
                for kind in KINDS
                for method, pair in seed_correlations(run, kind).items()
            ],
        ),
        "published": (
            ("run", "data_set", "method", "paper", "here"),
            [
                (run.run.name, run.data_set, method, value, means[method].mean)
                for run in study.runs
                if (means := facts.deletion_means.get(run.run.name))
                for method, value in PUBLISHED.deletion.get(run.data_set, {}).items()
                if method in means
            ],
        ),
        "findings": (
            ("run", "claim", "here", "verdict", "sample", "unit", "needed"),
            [
                (each.run, each.claim, each.here, each.verdict, each.sample, each.unit, each.needed)
                for each in facts.findings
            ],
        ),
    }


def _pairs(study: Study) -> Iterator[tuple[Any, ...]]:
    for method in study.methods:
        for kind in KINDS:
            for pair in data_correlations(study, method, kind):
                yield method, kind, *pair


def to_dict(facts: Facts) -> dict[str, Any]:
    """The study in plain JSON types; NaN becomes None.  Word scores are in the tables."""
    study, listed = facts.study, tables(facts)
    found = {
        "settings": settings_dict(study.settings),
        "runs": [
            {
                "name": run.run.name,
                "data_set": run.data_set,
                "evaluation": results.to_dict(run.evaluation),
                "word_texts": run.words.texts,
                "top_words": {
                    method: {
                        kind: [
                            {"word": word, "mean": score.mean, "count": score.count}
                            for word, score in top_words(run, method, _TOP, kind)
                        ]
                        for kind in kinds
                    }
                    for method, kinds in run.words.scores.items()
                },
                "examples": [[each.to_dict() for each in listed] for listed in run.examples],
            }
            for run in study.runs
        ],
    }
    for name in ("data_correlations", "seed_correlations", "published", "findings"):
        columns, rows = listed[name]
        found[name] = [
            {
                column: None if isinstance(value, float) and not math.isfinite(value) else value
                for column, value in zip(columns, row, strict=True)
            }
            for row in rows
        ]
    return found
