"""The report of a study, as one HTML file, as LaTeX tables and as tables for other programs.

Numbers stand in a `Grid`, which HTML and LaTeX show alike; `whybert.study.pictures` draws the rest.
The same study gives the same bytes.
"""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from whybert.errors import MissingExtraError
from whybert.evaluation import results
from whybert.evaluation.faithfulness import Deletion, FaithfulnessMetric, PerturbationCurve
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metric import Metric
from whybert.evaluation.results import Summary, summaries
from whybert.evaluation.statistics import Interval
from whybert.files import write_bytes, write_csv, write_parquet
from whybert.render import number, shorten, visible
from whybert.render.html import fragment
from whybert.render.latex import escape as escape_latex
from whybert.study import pictures
from whybert.study.pictures import Line
from whybert.study.work import (
    KINDS,
    PAPER_DELETION,
    PUBLISHED,
    Correlation,
    Finding,
    Kind,
    RunResult,
    Study,
    comparable_correlations,
    data_correlations,
    deletion_means,
    findings,
    mean_correlation,
    seed_correlations,
    settings_dict,
    top_words,
)

TEMPLATE: Final = "report.html.jinja"
BEST, TIED = "\u2605", "="
_TOP: Final = 10  # words of a list
_LEVEL_NOTE: Final = f"{PUBLISHED.model} in the paper, so compare the order, not the level"
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
class _Facts:
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
                lines = []
                for method in run.evaluation.methods:
                    points = tuple(results.curve(run.evaluation, method, metric))
                    if points:
                        grid = metric.grid or tuple(float(step) for step in range(1, len(points) + 1))
                        lines.append(Line(method, grid, points))
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


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else number(value, sign=False)


def _short_figure(value: float) -> str:
    """A correlation."""
    return "-" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no -0.00


def _range(interval: Interval) -> str:
    """The ends of an interval, with more decimals where both are small; nothing where there is none."""
    if not interval.size:
        return ""
    ends = interval.low, interval.high
    if max(map(abs, ends)) < 0.01 or max(map(abs, ends)) >= 1e5:
        return " to ".join(_figure(end) for end in ends)
    return " to ".join(f"{round(end, 2) + 0.0:.2f}" for end in ends)


# Tables for people.


def summary_grid(study: Study) -> Grid:
    """Runs: model, data, how many texts, accuracy, seconds."""
    rows = []
    for run in study.runs:
        evaluation = run.evaluation
        accuracy = "-" if evaluation.accuracy is None else f"{evaluation.accuracy:.3f}"
        rows.append(
            (
                Cell(run.run.name),
                Cell(_place(run.run.model)),
                Cell(_place(run.run.second_model or "-")),
                Cell(evaluation.data),
                Cell(str(len(evaluation.rows))),
                Cell(str(run.words.texts)),
                Cell(accuracy),
                Cell(f"{evaluation.seconds:.0f}"),
            )
        )
    columns = ("run", "model", "second model", "data", "texts", "texts for words", "accuracy", "seconds")
    return Grid("Models and data", columns, "llllrrrr", tuple(rows))


def _place(model: str) -> str:
    """The end of a path, which says enough; the settings below have the whole one."""
    return "\u2026/" + Path(model).name if Path(model).is_absolute() else model


def wins_grid(facts: _Facts) -> Grid:
    """How often each method is best or not told apart from the best, over runs and metrics."""
    found = [summary for listed in facts.summaries.values() for summary in listed if summary.interval.size]
    rows = []
    for method in facts.study.methods:
        own = [summary for summary in found if summary.method == method]
        best, tied = sum(summary.best for summary in own), sum(summary.tied for summary in own)
        rows.append(
            (Cell(method), Cell(str(best)), Cell(str(tied)), Cell(str(best + tied)), Cell(str(len(own))))
        )
    rows.sort(key=lambda row: (-int(row[3].text), -int(row[1].text)))
    columns = ("method", "best", "not told apart from the best", "either", "of")
    return Grid("How often a method is best, over all runs and metrics", columns, "lrrrr", tuple(rows))


def faithfulness_grid(facts: _Facts, run: RunResult) -> Grid:
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
            cells.append(Cell(_figure(interval.mean), note, mark))
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
            _short_figure(mean_correlation(comparable_correlations(study, method, kind))) for kind in KINDS
        ]
        published = PUBLISHED.correlation.get(method)
        rows.append(
            (
                Cell(method),
                Cell("-" if published is None else f"{published:.3f}"),
                *(Cell(mean) for mean in means),
                *(Cell(_short_figure(pair.r), f"{pair.words} words") for pair in pairs["magnitude"]),
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
            cells.append(Cell("-") if pair is None else Cell(_short_figure(pair.r), f"{pair.words} words"))
        rows.append(tuple(cells))
    caption = "Pearson's r of word scores between two models trained with other seeds"
    return Grid(caption, tuple(columns), "l" + "r" * (len(columns) - 1), tuple(rows))


def published_grid(facts: _Facts) -> Grid:
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
        rows.append(
            (
                Cell(f"{run.run.name}, here"),
                *(
                    Cell("-") if each is None else Cell(_figure(each.mean), _range(each))
                    for each in intervals
                ),
            )
        )
    caption = "Accuracy after deletion, mean over k = 1 to 10 tokens"
    return Grid(caption, ("run", *study.methods), "l" + "r" * len(study.methods), tuple(rows))


def findings_grid(facts: _Facts) -> Grid:
    """Claims of the papers against what was found."""
    rows = tuple(
        (Cell(found.run or "all runs"), Cell(found.claim), Cell(found.here), Cell(found.verdict))
        for found in facts.findings
    )
    return Grid(
        "Claims of the papers, and what was found here", ("run", "claim", "here", "so it"), "lppl", rows
    )


def metrics_grid(facts: _Facts) -> Grid:
    """What each metric says."""
    rows = tuple(
        (
            Cell(metric.name),
            Cell(metric.summary),
            Cell("higher" if metric.higher_is_better else "lower"),
            Cell(metric.source),
        )
        for metric in facts.metrics
    )
    return Grid("What the metrics say", ("metric", "what it is", "better", "source"), "lpll", rows)


# HTML.


class _Picture(NamedTuple):
    caption: str
    svg: Any


def html(study: Study) -> str:
    """The report as one HTML file that needs no script and no network.

    Raises MissingExtraError if jinja2, matplotlib or PyYAML is not installed.
    """
    return _html(_Facts(study))


def _html(facts: _Facts) -> str:
    study = facts.study
    try:
        jinja = importlib.import_module("jinja2")
        markup = importlib.import_module("markupsafe").Markup
    except ImportError as error:
        raise MissingExtraError("a report", "evaluate") from error

    def shown(value: object) -> object:
        return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)

    environment = jinja.Environment(
        autoescape=True,
        undefined=jinja.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = importlib.resources.files("whybert.study").joinpath(TEMPLATE).read_text(encoding="utf-8")
    grids = [_picture_of_words(study, method) for method in study.methods if len(study.runs) > 1]
    context = {
        "study": study,
        "summary": summary_grid(study),
        "wins": wins_grid(facts),
        "faithfulness": [faithfulness_grid(facts, run) for run in study.runs],
        "metrics": metrics_grid(facts),
        "deletion": _curve_sections(facts, Deletion, markup),
        "perturbation": _curve_sections(facts, PerturbationCurve, markup),
        "words": [_word_grids(run) for run in study.runs],
        "heat_maps": [_heat_maps(run, markup) for run in study.runs],
        "word_pictures": [_Picture(caption, markup(svg)) for caption, svg in grids],
        "correlations": correlation_grid(study) if len(study.runs) > 1 else None,
        "seeds": seed_grid(study) if any(run.second for run in study.runs) else None,
        "published": published_grid(facts),
        "published_source": PUBLISHED.source,
        "level_note": _LEVEL_NOTE,
        "findings": findings_grid(facts),
        "samples": _samples(study),
        "versions": _versions(study),
        "settings": _settings_lines(study),
        "notes": [(run.run.name, note) for run in study.runs for note in run.evaluation.notes],
        "BEST": BEST,
        "TIED": TIED,
    }
    return str(environment.from_string(source).render(context))


class _CurveSection(NamedTuple):
    name: str
    summary: str
    pictures: list[_Picture]


def _curve_sections(facts: _Facts, kind: type[Metric], markup: Any) -> list[_CurveSection]:
    sections = []
    for metric in facts.metrics:
        if not isinstance(metric, kind) or not isinstance(metric, FaithfulnessMetric):
            continue
        drawn = []
        for number_, run in enumerate(facts.study.runs):
            lines = facts.curves.get((run.run.name, metric.name))
            if not lines:
                continue
            svg = pictures.curves(
                f"{metric.name}-{number_}",
                f"{run.run.name}: {metric.name}",
                lines,
                x_label=_axis(metric),
                y_label=metric.curve_of,
                text=_curve_text(lines),
            )
            drawn.append(_Picture(run.run.name, markup(svg)))
        if drawn:
            sections.append(_CurveSection(metric.name, metric.summary, drawn))
    return sections


def _axis(metric: FaithfulnessMetric) -> str:
    unit = f"{metric.level}s"
    return f"{unit} taken away" if isinstance(metric, Deletion) else f"share of {unit} taken away"


def _curve_text(lines: Sequence[Line]) -> str:
    said = [
        f"{line.method} from {_figure(line.points[0].mean)} at {line.x[0]:g} "
        f"to {_figure(line.points[-1].mean)} at {line.x[-1]:g}"
        for line in lines
    ]
    return "; ".join(said)


def _picture_of_words(study: Study, method: str) -> tuple[str, str]:
    pairs = data_correlations(study, method)
    scores = {run.run.name: run.words.scores[method]["magnitude"] for run in study.runs}
    said = "; ".join(f"{pair.first} and {pair.second} r {_short_figure(pair.r)}" for pair in pairs)
    title = f"{method}: word scores on each pair of data sets"
    return method, pictures.word_grid(f"words-{method}", title, scores, method, text=said)


class _WordSection(NamedTuple):
    run: str
    grid: Grid
    more: list[Grid]


def _word_grids(run: RunResult) -> _WordSection:
    signed = [words_grid(run, "signed"), words_grid(run, "signed", lowest=True)]
    return _WordSection(run.run.name, words_grid(run, "magnitude"), [grid for grid in signed if grid.rows])


class _HeatMaps(NamedTuple):
    run: str
    examples: list[tuple[str, list[Any]]]


def _heat_maps(run: RunResult, markup: Any) -> _HeatMaps:
    listed = []
    for explanations in run.examples:
        text = " ".join(explanations[0].text.split())
        heading = f"{explanations[0].prediction}: {shorten(text, 90)}"
        listed.append((heading, [markup(fragment(explanation)) for explanation in explanations]))
    return _HeatMaps(run.run.name, listed)


def _samples(study: Study) -> list[tuple[str, str]]:
    settings = study.settings
    listed = [
        ("seed", str(settings.seed)),
        ("methods", ", ".join(settings.methods)),
        (
            "words need",
            f"{settings.minimum_count} occurrences, in texts of {settings.minimum_words} words or more",
        ),
    ]
    for run in study.runs:
        facts = run.evaluation.settings
        listed.append(
            (
                run.run.name,
                f"{facts['texts']} of {facts['of']} texts for metrics, {run.words.texts} for word scores, "
                f"at most {facts['max_length']} tokens",
            )
        )
        ties = {method: count for method, count in run.evaluation.ties.items() if count}
        if ties:
            named = ", ".join(f"{method} in {count} texts" for method, count in ties.items())
            listed.append((f"{run.run.name}, equal scores", f"{named}; the seed draws their order"))
    return listed


def _versions(study: Study) -> str:
    found: dict[str, str] = {}
    for run in study.runs:
        found.update(run.evaluation.settings["versions"])
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _settings_lines(study: Study) -> list[str]:
    return settings_text(study).rstrip("\n").split("\n")


def settings_text(study: Study) -> str:
    """The settings as the YAML that `read_settings` reads.

    Raises MissingExtraError if PyYAML is not installed.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise MissingExtraError("a YAML file", "evaluate") from error
    return str(
        yaml.safe_dump(settings_dict(study.settings), sort_keys=False, default_flow_style=None, width=100)
    )


# LaTeX.


def latex(study: Study) -> str:
    r"""The tables of the report as a snippet to ``\input``; it needs booktabs.

    Intervals stand below their means.  A star marks the best mean, an equals sign one that is not told apart
    from it.
    """
    return _latex(_Facts(study))


def _latex(facts: _Facts) -> str:
    study = facts.study
    grids = {"summary": summary_grid(study), "wins": wins_grid(facts)}
    for number_, run in enumerate(study.runs, 1):
        grids[f"metrics-{number_}"] = faithfulness_grid(facts, run)
    for number_, run in enumerate(study.runs, 1):
        grids[f"words-{number_}"] = words_grid(run, "magnitude")
    if len(study.runs) > 1:
        grids["correlations"] = correlation_grid(study)
    if any(run.second for run in study.runs):
        grids["seeds"] = seed_grid(study)
    published = published_grid(facts)
    if published.rows:
        grids["published"] = published
    claims = findings_grid(facts)
    if claims.rows:
        grids["claims"] = claims
    head = "% needs \\usepackage{booktabs}\n% letters beyond Latin need lualatex and a font that has them\n"
    return head + "\n".join(_booktabs(f"tab:study-{name}", grid) for name, grid in grids.items())


def _booktabs(label: str, grid: Grid) -> str:
    kinds = {"l": "l", "r": "r", "p": "p{.3\\linewidth}"}
    heading = " & ".join(map(escape_latex, grid.columns))
    lines = [_latex_row(row) for row in grid.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            f"\\caption{{{escape_latex(grid.caption)}}}\\label{{{label}}}",
            f"\\begin{{tabular}}{{{''.join(kinds[letter] for letter in grid.align)}}}",
            r"\toprule",
            heading + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_row(row: Sequence[Cell]) -> str:
    line = " & ".join(map(_latex_cell, row)) + r" \\"
    return "{}" + line if line[0] in "[*" else line  # the end of the row before would take it for an argument


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
    text += {BEST: r"\,$\star$", TIED: r"\,$=$", "": ""}[cell.mark]
    if not cell.note:
        return text
    return f"\\begin{{tabular}}{{@{{}}r@{{}}}}{text}\\\\{{\\tiny {escape_latex(cell.note)}}}\\end{{tabular}}"


# Tables for other programs.

Rows = list[tuple[Any, ...]]


def tables(study: Study) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Tidy tables by name: columns and rows.  NaN stands for what is not defined."""
    return _tables(_Facts(study))


def _tables(facts: _Facts) -> dict[str, tuple[tuple[str, ...], Rows]]:
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
            ("run", "claim", "here", "verdict"),
            [(found.run, found.claim, found.here, found.verdict) for found in facts.findings],
        ),
    }


def _pairs(study: Study) -> Iterator[tuple[Any, ...]]:
    for method in study.methods:
        for kind in KINDS:
            for pair in data_correlations(study, method, kind):
                yield method, kind, *pair


def to_dict(study: Study) -> dict[str, Any]:
    """The study in plain JSON types; NaN becomes None.  Word scores are in the tables."""
    return _to_dict(study, tables(study))


def _to_dict(study: Study, listed: Mapping[str, tuple[tuple[str, ...], Rows]]) -> dict[str, Any]:
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


def require_libraries() -> None:
    """Raise MissingExtraError unless all that `write` needs is installed; for before the work."""
    for name in ("jinja2", "matplotlib", "pyarrow", "scipy", "yaml"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError("a report", "evaluate")


def write(study: Study, folder: str | Path) -> list[Path]:
    """Write report.html, report.tex, study.json, study.yaml and tables/; each file appears as a whole.

    study.yaml holds the settings, for `read_settings`.  A table without rows is not written.

    Raises MissingExtraError where a library of the extra is not installed.
    """
    place = Path(folder)
    (place / "tables").mkdir(parents=True, exist_ok=True)
    facts = _Facts(study)
    listed = _tables(facts)
    text = json.dumps(_to_dict(study, listed), indent=2, allow_nan=False) + "\n"
    files = {
        "report.html": _html(facts),
        "report.tex": _latex(facts),
        "study.json": text,
        "study.yaml": settings_text(study),
    }
    written = []
    for name, content in files.items():
        # A lone surrogate, which UTF-8 cannot hold, is escaped.
        data = content.encode("utf-8", "backslashreplace")
        written.append(write_bytes(place / name, data))
    for name, (columns, rows) in listed.items():
        if rows:
            written.append(write_csv(place / "tables" / f"{name}.csv", columns, rows))
            written.append(write_parquet(place / "tables" / f"{name}.parquet", columns, rows))
    return written


def terminal(study: Study) -> Any:
    """A short summary: runs with, for each, the best method by the two deletions and the area between."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    facts = _Facts(study)
    shown = [
        name
        for name in (PAPER_DELETION, "deletion-mask", "abpc")
        if any(m.name == name for m in facts.metrics)
    ]
    shown = shown or [metric.name for metric in facts.metrics[:3]]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("run", "texts", "accuracy", *(f"best by {name}" for name in shown)):
        table.add_column(heading, justify="left" if heading == "run" else "right", overflow="fold")
    for run in study.runs:
        accuracy = run.evaluation.accuracy
        cells = [run.run.name, str(len(run.evaluation.rows)), "-" if accuracy is None else f"{accuracy:.3f}"]
        for metric in shown:
            best = next((s for s in facts.summaries[run.run.name] if s.metric == metric and s.best), None)
            chance = facts.cell(run.run.name, metric, RANDOM)
            cells.append(
                "-"
                if best is None or chance is None
                else f"{best.method} {_figure(best.interval.mean)} (random {_figure(chance.interval.mean)})"
            )
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table
