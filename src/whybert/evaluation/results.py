"""What an evaluation found, as summaries, tables and files: functions of a frozen `Evaluation`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whybert.evaluation.bench import Evaluation
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metric import GROUPS, Metric
from whybert.evaluation.statistics import Interval, bootstrap, differs
from whybert.files import Rows, write_json, write_tables

if TYPE_CHECKING:
    from rich.console import RenderableType

RESULTS_FILE: Final = "results.json"


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric over all texts, for one method.

    Fields:
        interval: the mean, and its 95 % bootstrap interval over texts.
        best: whether no method's mean is better; the random control can be the best one.
        tied: whether the 95 % bootstrap interval of the paired difference from the best one holds 0.
    """

    metric: str
    method: str
    interval: Interval
    best: bool
    tied: bool


def summaries(evaluation: Evaluation) -> tuple[Summary, ...]:
    """One summary for each metric and method that was judged by it."""
    found = []
    seed = int(evaluation.settings["seed"])
    for metric in evaluation.metrics:
        values = {
            method: [value.value for value in evaluation.cell(method, metric.name)]
            for method in evaluation.methods
            if evaluation.cell(method, metric.name)
        }
        intervals = {method: bootstrap(listed, seed) for method, listed in values.items()}
        sign = 1.0 if metric.higher_is_better else -1.0
        ranked = [method for method, interval in intervals.items() if interval.size]
        best = max(ranked, key=lambda method: sign * intervals[method].mean) if ranked else None
        for method, interval in intervals.items():
            tied = (
                best is not None
                and interval.size > 0
                and method != best
                and not differs(values[method], values[best], seed)
            )
            found.append(Summary(metric.name, method, interval, method == best, tied))
    return tuple(found)


def agreement(evaluation: Evaluation, metric: str) -> dict[tuple[str, str], Interval]:
    """For each pair of methods the mean agreement over texts, with its interval."""
    values: dict[tuple[str, str], list[float]] = {}
    for pair in evaluation.pairs:
        if pair.metric == metric:
            values.setdefault((pair.first, pair.second), []).append(pair.value)
    seed = int(evaluation.settings["seed"])
    return {names: bootstrap(listed, seed) for names, listed in values.items()}


def curve(evaluation: Evaluation, method: str, metric: Metric) -> list[Interval]:
    """The mean curve of a method over texts, an interval for each point of the metric's grid."""
    rows = [value.curve for value in evaluation.cell(method, metric.name) if value.curve]
    seed = int(evaluation.settings["seed"])
    return [bootstrap(point, seed) for point in zip(*rows, strict=True)]


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Settings, versions and summaries in plain JSON types; NaN becomes None."""
    listed = summaries(evaluation)
    return {
        "settings": dict(evaluation.settings),
        "accuracy": evaluation.accuracy,
        "seconds": round(evaluation.seconds, 1),
        "ties": dict(evaluation.ties),
        "ties_rule": "equal scores are ordered by a random order that the seed draws for each text",
        "interval": "95 % percentile bootstrap over texts",
        "notes": list(evaluation.notes),
        "metrics": {
            metric.name: {
                "group": metric.group,
                "summary": metric.summary,
                "source": metric.source,
                "higher_is_better": metric.higher_is_better,
                "methods": {
                    summary.method: {
                        **_interval(summary.interval),
                        "best": summary.best,
                        "tied": summary.tied,
                    }
                    for summary in listed
                    if summary.metric == metric.name
                },
                **_curves(evaluation, metric),
            }
            for metric in evaluation.metrics
            if metric.group != "agreement"
        },
        "agreement": {
            metric.name: [
                {"first": first, "second": second, **_interval(interval)}
                for (first, second), interval in agreement(evaluation, metric.name).items()
            ]
            for metric in evaluation.metrics
            if metric.group == "agreement"
        },
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "mean": _finite(interval.mean),
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "texts": interval.size,
        "undefined": interval.undefined,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _curves(evaluation: Evaluation, metric: Metric) -> dict[str, Any]:
    if not metric.curve_of:
        return {}
    curves = {method: curve(evaluation, method, metric) for method in evaluation.methods}
    return {
        "grid": list(metric.grid),
        "curve_of": metric.curve_of,
        "curves": {
            method: [_finite(point.mean) for point in points] for method, points in curves.items() if points
        },
    }


def write(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write `results.json` and the tidy tables as Parquet and CSV; each file appears as a whole.

    scores: row, method, metric, value.  curves: row, method, metric, x, value.  agreement: row, first,
    second, metric, value.  A table without rows is not written.  NaN is empty in the CSV, null in Parquet.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written = write_tables(place, _tables(evaluation))
    how = {"indent": 2, "ensure_ascii": False, "allow_nan": False}
    return [*written, write_json(place / RESULTS_FILE, to_dict(evaluation), **how)]


def _tables(evaluation: Evaluation) -> dict[str, tuple[tuple[str, ...], Rows]]:
    grids = {metric.name: metric.grid for metric in evaluation.metrics}
    points = [
        (value.row, value.method, value.metric, x, y)
        for value in evaluation.values
        if value.curve
        for x, y in zip(grids.get(value.metric) or range(1, len(value.curve) + 1), value.curve, strict=True)
    ]
    return {
        "scores": (("row", "method", "metric", "value"), [value[:4] for value in evaluation.values]),
        "curves": (("row", "method", "metric", "x", "value"), points),
        "agreement": (("row", "first", "second", "metric", "value"), list(evaluation.pairs)),
    }


# For the terminal.


def terminal(evaluation: Evaluation) -> RenderableType:
    """Tables for people: a row for each metric, a column for each method, the winner marked."""
    from rich.console import Group
    from rich.text import Text

    from whybert.render import visible

    count = len(evaluation.rows)
    head = Text(visible(f"{evaluation.model} on {evaluation.data}: {count} texts"), style="bold")
    if evaluation.accuracy is not None:
        head.append(f" · accuracy {evaluation.accuracy:.3f}", "not bold")
    head.append(f" · seed {evaluation.settings['seed']}", "not bold")
    parts: list[RenderableType] = [head]
    listed = summaries(evaluation)
    for group in GROUPS:
        metrics = [metric for metric in evaluation.metrics if metric.group == group]
        if group == "agreement":
            tables = [_agreement_table(evaluation, metric) for metric in metrics]
        else:
            tables = [_group_table(evaluation, group, metrics, listed)] if metrics else []
        for table in tables:
            parts += [Text(), table]
    parts += [Text(), Text(_legend(evaluation), style="dim")]
    return Group(*parts)


def _legend(evaluation: Evaluation) -> str:
    from whybert.render import visible

    lines = [
        "↑ higher is better, ↓ lower is better; ± half of the 95 % bootstrap interval over texts; "
        "★ best mean, = not told apart from it (paired bootstrap)"
    ]
    ties = {method: count for method, count in evaluation.ties.items() if count}
    if ties:
        named = ", ".join(f"{method} in {count} texts" for method, count in ties.items())
        lines.append(f"equal scores, whose order the seed draws: {named}")
    return "\n".join(visible(line) for line in [*lines, *evaluation.notes])


def _group_table(
    evaluation: Evaluation, group: str, metrics: Sequence[Metric], listed: Sequence[Summary]
) -> RenderableType:
    from rich.text import Text

    from whybert.render.tables import NumberTable

    cells = {(summary.metric, summary.method): summary for summary in listed}
    methods = [m for m in evaluation.methods if any((metric.name, m) in cells for metric in metrics)]
    rows = []
    for metric in metrics:
        sizes = {cells[metric.name, m].interval.size for m in methods if (metric.name, m) in cells}
        name = Text(f"{metric.name} {'↑' if metric.higher_is_better else '↓'}")
        if sizes != {len(evaluation.rows)}:
            name.append(f" n={max(sizes, default=0)}", "dim")
        rows.append((name, [_cell(cells.get((metric.name, method)), method) for method in methods]))
    return NumberTable(group, methods, rows)


def _cell(summary: Summary | None, method: str) -> Any:
    from rich.text import Text

    if summary is None or not summary.interval.size:
        return Text("-", "dim")
    interval = summary.interval
    mark = "★" if summary.best else "=" if summary.tied else " "
    style = "bold green" if summary.best else "dim" if method == RANDOM else ""
    cell = Text(f"{_figure(interval.mean)}{mark}", style)
    half = (interval.high - interval.low) / 2
    return cell.append(f"\n±{_figure(half)} ", "not bold dim")


def _figure(value: float) -> str:
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _agreement_table(evaluation: Evaluation, metric: Metric) -> RenderableType:
    from whybert.render.tables import NumberTable

    found = agreement(evaluation, metric.name)
    rows = []
    for first in evaluation.methods[:-1]:
        intervals = [found.get((first, second)) for second in evaluation.methods[1:]]
        cells = ["" if each is None or not each.size else _figure(each.mean) for each in intervals]
        rows.append((first, cells))
    return NumberTable(metric.name, evaluation.methods[1:], rows)
