"""What many texts say, as matplotlib figures: curves of deletion by method, and the scores of words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from whybert.errors import InputError, UnknownNameError
from whybert.evaluation import results
from whybert.evaluation.agreement import Normalise, word_occurrences
from whybert.evaluation.bench import Evaluation
from whybert.evaluation.faithfulness import FAITHFULNESS, Deletion, FaithfulnessMetric
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metric import Metric
from whybert.evaluation.statistics import Interval, bootstrap
from whybert.explanation import Explanation
from whybert.render import as_sequence, ends, shorten, visible
from whybert.render.figures import INK, WIDTH, drawing, font_note, headed, style
from whybert.render.plot import HATCH, end_colour, name_rows, sign_legend, unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME: Final = 40  # letters of a method's name
INTERVALS: Final = 6  # methods whose intervals can be told apart
_WHAT: Final = {
    "probability": "probability of the explained class",
    "logit": "logit of the explained class",
    "predictions that stay": "share of predictions that stay",
}
_DOTS: Final = 200  # occurrences of a word that are drawn; more would hide each other


# Curves.


@dataclass(frozen=True)
class Line:
    """A method's curve: `points` are means with their intervals at the places `x`."""

    method: str
    x: tuple[float, ...]
    points: tuple[Interval, ...]


def method_style(method: str, methods: Sequence[str], ink: str = INK) -> tuple[str, dict[str, Any]]:
    """The colour of a method, and how its line is drawn; by its place, as methods have any name."""
    if method == RANDOM:
        return style(None, ink)
    return style([each for each in methods if each != RANDOM].index(method), ink)


def draw_lines(
    axes: Any,
    lines: Sequence[Line],
    methods: Sequence[str],
    names: Sequence[str],
    intervals: bool = False,
    ink: str = INK,
) -> None:
    """One curve a method with its 95 % interval at each point, and a band for that of the control."""
    for place, (line, label) in enumerate(zip(lines, names, strict=True)):
        colour, how = method_style(line.method, methods, ink)
        low, high = [point.low for point in line.points], [point.high for point in line.points]
        means = [point.mean for point in line.points]
        if line.method == RANDOM:
            axes.fill_between(line.x, low, high, color=colour, alpha=0.13, linewidth=0)
        elif intervals:  # beside each other
            shift = (place - len(lines) / 2) * 0.06 * (line.x[1] - line.x[0] if len(line.x) > 1 else 1.0)
            axes.vlines([x + shift for x in line.x], low, high, color=colour, linewidth=0.7, alpha=0.8)
        axes.plot(line.x, means, color=colour, label=label, markersize=4, **how)
    axes.grid(color=ink, alpha=0.15, linewidth=0.6)


def columns_of_legend(names: Iterable[str]) -> int:
    """How many names stand side by side under the curves."""
    return max(1, min(4, 74 // (max(map(len, names), default=0) + 8)))  # 8 for the piece of a line


def line_of(evaluation: Evaluation, method: str, metric: Metric) -> Line | None:
    """The curve of a method along the grid of a metric; None where there is none."""
    points = tuple(results.curve(evaluation, method, metric))
    return (
        Line(method, metric.grid or tuple(map(float, range(1, len(points) + 1))), points) if points else None
    )


def axis_of(metric: FaithfulnessMetric) -> str:
    """What is along the curve of a metric, with its unit."""
    kind = f"{metric.level}s"
    return f"{kind} taken away" if isinstance(metric, Deletion) else f"share of {kind} taken away"


def plot_deletion(
    found: Evaluation | Mapping[str, Sequence[Sequence[float]]],
    metrics: str | Sequence[str] | None = None,
) -> Figure:
    """A picture of what the model still says as the words of its texts are taken away, for each method.

    A panel for each metric, a curve for each method: the mean over the texts.  Upright lines are 95 %
    bootstrap intervals over texts; with more than six methods only the random control has them, as a band.

    Args:
        found: what `evaluate` returned, or for each method the curve of each text at the grid of one metric,
            as a metric of `whybert.evaluation.faithfulness` gives them.
        metrics: which curves, such as "morf", "lerf" or "deletion-mask"; None takes MoRF and LeRF of the
            probability, or all curves where these were not computed.  For curves it says whose they are, and
            None takes "morf".

    Returns:
        The figure.

    Raises:
        InputError: there is no curve, or curves do not have the metric's points.
        UnknownNameError: no such metric, or none with a curve.
        MissingExtraError: matplotlib or scipy is not installed.
    """
    asked = [metrics] if isinstance(metrics, str) else list(metrics or ())
    if isinstance(found, Evaluation):
        panels, note = _panels(found, asked), f"{found.model} on {found.data}, {len(found.rows):,} texts"
    elif not isinstance(cast(object, found), Mapping):
        raise InputError(
            f"expected what evaluate() returned, or curves by method, got {type(found).__name__}"
        )
    else:
        panels = {_metric(asked[0] if asked else "morf"): _given_lines(found, asked)}
        note = f"{max(len(rows) for rows in found.values()):,} texts"
    methods = list(dict.fromkeys(line.method for lines in panels.values() for line in lines))
    return _curves(panels, methods, note)


def _metric(name: str) -> FaithfulnessMetric:
    with_curves = {each: metric for each, metric in FAITHFULNESS.items() if metric.curve_of}
    if name not in with_curves:
        raise UnknownNameError("metric with a curve", name, tuple(with_curves))
    return with_curves[name]


def _panels(found: Evaluation, asked: Sequence[str]) -> dict[FaithfulnessMetric, list[Line]]:
    known = {
        each.name: each for each in found.metrics if isinstance(each, FaithfulnessMetric) and each.curve_of
    }
    if not known:
        raise InputError(
            "expected an evaluation with a metric that has a curve, got one with "
            f"{', '.join(metric.name for metric in found.metrics) or 'none'}; evaluate with 'morf' and 'lerf'"
        )
    for name in asked:
        if name not in known:
            raise UnknownNameError("curve in this evaluation", name, tuple(known))
    names = asked or [name for name in ("morf", "lerf") if name in known] or list(known)
    panels = {}
    for name in names:
        lines = [line_of(found, method, known[name]) for method in found.methods]
        panels[known[name]] = [line for line in lines if line is not None]
    if not any(panels.values()):
        raise InputError(f"expected curves, but no text has one of {', '.join(names)}; take longer texts")
    return panels


def _given_lines(found: Mapping[str, Sequence[Sequence[float]]], asked: Sequence[str]) -> list[Line]:
    if len(asked) > 1:
        raise InputError(
            f"expected one metric whose curves these are, got {', '.join(asked)}; draw each by itself"
        )
    metric = _metric(asked[0] if asked else "morf")
    lines = []
    for method, rows in found.items():
        for place, row in enumerate(rows):
            if len(row) != len(metric.grid):
                raise InputError(
                    f"expected {len(metric.grid)} points on each curve of {metric.name}, got {len(row)} on "
                    f"number {place} of {method!r}; pass one curve for each text"
                )
        if len(rows):
            lines.append(
                Line(method, metric.grid, tuple(bootstrap(point) for point in zip(*rows, strict=True)))
            )
    if not lines:
        raise InputError(
            "expected a curve of each text for each method, got none; pass {method: [curve, ...]}"
        )
    return lines


def _curves(panels: Mapping[FaithfulnessMetric, Sequence[Line]], methods: Sequence[str], note: str) -> Figure:
    names = {method: shorten(visible(method), NAME) for method in methods}
    per_row = columns_of_legend(names.values())
    across = min(2, len(panels))
    down = math.ceil(len(panels) / across)
    intervals = sum(method != RANDOM for method in methods) <= INTERVALS
    shown = ["lines"] * intervals + [f"the band of {RANDOM}"] * (RANDOM in methods)
    said = f"{' and '.join(shown)}: 95 % bootstrap interval over texts" if shown else ""
    note = visible(" · ".join(filter(None, (note, said))))
    with drawing("".join((*names.values(), note))) as figure_of:
        width = WIDTH if across > 1 else 380.0
        height = 210 * down + 14 * math.ceil(len(methods) / per_row) + 12
        figure = headed(figure_of, note, height, width=width, room=width - 20)
        grid: Any = figure.subplots(down, across, squeeze=False)
        for axes, (metric, lines) in zip(grid.flat, panels.items(), strict=False):
            draw_lines(axes, lines, methods, [names[line.method] for line in lines], intervals)
            better = "higher" if metric.higher_is_better else "lower"
            axes.set_title(f"{metric.name} ({better} is better)", fontsize=10)
            axes.set_xlabel(axis_of(metric))
            axes.set_ylabel(_WHAT.get(metric.curve_of, metric.curve_of))
            if not isinstance(metric, Deletion):
                axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        drawn = {each.get_label(): each for axes in grid.flat for each in axes.get_legend_handles_labels()[0]}
        how: dict[str, Any] = {"loc": "outside lower center", "ncols": per_row, "handlelength": 3.2}
        figure.legend(handles=list(drawn.values()), fontsize=8.5, **how)
        return figure


# Words.


def plot_word_scores(
    explanations: Iterable[Explanation],
    kind: str = "bar",
    *,
    k: int = 20,
    minimum_count: int = 2,
    normalise: Normalise = False,
) -> Figure:
    """A picture of the words that matter most over many texts.

    Upper and lower case are one word.  Words are ranked by the mean size of their scores, over all places
    where they stand.  A word's score is what it did in its own texts, not what it would do in others.

    Args:
        explanations: of many texts by one method.
        kind: "bar" for the mean |score| of each word, with how often it occurs and the share of its scores
            above 0, "swarm" for a dot at the score of each place where it stands.
        k: how many words.
        minimum_count: words that occur less often are left out.
        normalise: what becomes of the scores of a text first, see
            `whybert.evaluation.agreement.word_scores`; False leaves them as they are.

    Returns:
        The figure.

    Raises:
        InputError: there are no explanations, several methods, no word that occurs often enough, or a score
            that is not finite.
        UnknownNameError: no such kind.
        MissingExtraError: matplotlib is not installed.
    """
    if kind not in _KINDS:
        raise UnknownNameError("kind", kind, tuple(_KINDS))
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InputError(f"expected k to be an integer >= 1, got {k!r}; it is how many words are drawn")
    rows = as_sequence(explanations)
    if len(methods := {row.method for row in rows}) > 1:
        raise InputError(
            f"expected explanations by one method, got {', '.join(sorted(methods))}; draw each by itself"
        )
    found = word_occurrences(rows, normalise=normalise)
    often = {word: scores for word, scores in found.items() if len(scores) >= minimum_count}
    if not often:
        raise InputError(
            f"expected words that occur {minimum_count} times or more in {len(rows)} texts, found none; "
            "explain more texts, or pass minimum_count=1"
        )
    sizes = {word: math.fsum(map(abs, scores)) / len(scores) for word, scores in often.items()}
    strongest = sorted(sizes, key=lambda word: (-sizes[word], word))[:k]
    words = _Words({word: often[word] for word in strongest}, len(often), rows, minimum_count, normalise)
    return _draw_words(words, kind)


@dataclass(frozen=True)
class _Words:
    scores: Mapping[str, Sequence[float]]
    often: int  # how many words occur often enough
    explanations: Sequence[Explanation]
    minimum_count: int
    normalise: Normalise

    @property
    def signed(self) -> bool:
        return self.explanations[0].signed and self.normalise is not True

    @property
    def unit(self) -> str:
        if self.normalise is True:
            return "(share of its text: softmax of the sizes)"
        return "(share of its text's sum of sizes)" if self.normalise else unit(self.explanations[0])

    @property
    def sides(self) -> tuple[str, str]:
        """What the lower and the upper end mean; texts may be explained for different classes."""
        if not self.signed:
            return "0", "more relevant"
        if len({row.target for row in self.explanations}) == 1:
            return ends(self.explanations[0])
        return "against the explained class", "supports the explained class"

    @property
    def note(self) -> str:
        first = self.explanations[0]
        said = [f"{first.method}, {len(self.explanations):,} texts"]
        said.append(
            f"the {len(self.scores)} strongest of {self.often:,} words that occur {self.minimum_count}+ times"
        )
        targets = Counter(row.explained for row in self.explanations)
        if len(targets) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in targets.most_common(4))
            said.append(f"explained classes differ ({listed}{', …' if len(targets) > 4 else ''})")
        return visible(" · ".join(said))


def _draw_words(words: _Words, kind: str) -> Figure:
    said = "".join((*words.scores, words.note, *words.sides))
    missing = font_note(said)
    note = f"{words.note} · {missing}" if missing else words.note
    with drawing(said) as figure_of:
        figure = headed(figure_of, note, 90 + 16 * max(8, len(words.scores)), room=430)
        axes: Any = figure.subplots()
        handles = _KINDS[kind](axes, words)
        named = {word: shorten(visible(word) or "␣", 28) for word in words.scores}
        name_rows(axes, [f"{named[word]}  ({len(scores)})" for word, scores in words.scores.items()])
        axes.set_ylabel("words (how often they occur)")
        for handle, end in zip(handles, reversed(words.sides), strict=False):
            handle.set_label(shorten(visible(end)))
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
        return figure


def _bars(axes: Any, words: _Words) -> list[Any]:
    """The mean size of a word's scores, split into what supports and what speaks against."""
    for place, scores in enumerate(words.scores.values()):
        above = math.fsum(score for score in scores if score > 0) / len(scores)
        below = -math.fsum(score for score in scores if score < 0) / len(scores)
        how = {"height": 0.72, "edgecolor": INK, "linewidth": 0.6}
        axes.barh(place, above, color=end_colour(words.signed, False), **how)
        if below:
            axes.barh(place, below, left=above, color=end_colour(words.signed, True), hatch=HATCH, **how)
    axes.set_xlabel(f"mean |score| {words.unit}")
    return sign_legend(words.signed, "", "")


def _swarm(axes: Any, words: _Words) -> list[Any]:
    """A dot for each score; those that would lie on each other are moved up and down."""
    taken = {word: _thinned(scores) for word, scores in words.scores.items()}
    low = min(0.0, *(scores[0] for scores in taken.values()))
    high = max(0.0, *(scores[-1] for scores in taken.values()))
    width = (high - low) / 70 or 1.0
    marks: dict[bool, tuple[list[float], list[float]]] = {False: ([], []), True: ([], [])}
    for place, scores in enumerate(taken.values()):
        for score, shift in zip(scores, _shifts(scores, width), strict=True):
            xs, ys = marks[score < 0]
            xs.append(score)
            ys.append(place + shift)
        axes.axhline(place, color="#d0d0d0", linewidth=0.5, zorder=0)
    how: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 4,
        "markeredgecolor": INK,
        "markeredgewidth": 0.4,
    }
    handles = [
        axes.plot(
            *marks[against],
            marker="v" if against else "o",
            markerfacecolor=end_colour(words.signed, against),
            **how,
        )[0]
        for against in (False, True)
    ]
    axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
    axes.set_xlabel(f"score {words.unit}, a mark for each place")
    return handles if words.signed else handles[:1]


def _thinned(scores: Sequence[float]) -> list[float]:
    """The scores in order; of many, some evenly taken, the ends among them."""
    ordered = sorted(scores)
    if len(ordered) <= _DOTS:
        return ordered
    return [ordered[round(place)] for place in np.linspace(0, len(ordered) - 1, _DOTS)]


def _shifts(scores: Sequence[float], width: float) -> list[float]:
    """How far each of some ordered scores is moved, so that those in one `width` stand above each other."""
    columns: dict[int, list[int]] = {}
    for place, score in enumerate(scores):
        columns.setdefault(round(score / width), []).append(place)
    shifts = [0.0] * len(scores)
    for places in columns.values():
        step = min(0.16, 0.8 / len(places))
        for number, place in enumerate(places):
            shifts[place] = (number - (len(places) - 1) / 2) * step
    return shifts


_KINDS: Final[Mapping[str, Callable[[Any, _Words], list[Any]]]] = {"bar": _bars, "swarm": _swarm}
