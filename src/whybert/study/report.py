"""The report of a study, as one HTML file, as LaTeX tables and as tables for other programs.

`whybert.study.grids` makes its tables and `whybert.study.pictures` draws the rest.  The same study gives the
same bytes.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from whybert.errors import require, require_all
from whybert.evaluation.faithfulness import Deletion, FaithfulnessMetric, PerturbationCurve
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metric import Metric
from whybert.evaluation.plots import Line, axis_of
from whybert.files import write_bytes, write_tables
from whybert.render import shorten, visible
from whybert.render.html import fragment
from whybert.render.latex import escape as escape_latex
from whybert.study import pictures
from whybert.study.findings import PAPER_DELETION, PUBLISHED, data_correlations
from whybert.study.grids import (
    BEST,
    TIED,
    Cell,
    Facts,
    Grid,
    correlation_grid,
    faithfulness_grid,
    figure,
    findings_grid,
    metrics_grid,
    published_grid,
    seed_grid,
    short_figure,
    summary_grid,
    tables,
    to_dict,
    wins_grid,
    words_grid,
)
from whybert.study.settings import settings_text
from whybert.study.work import RunResult, Study

TEMPLATE: Final = "report.html.jinja"
_LEVEL_NOTE: Final = f"{PUBLISHED.model} in the paper, so compare the order, not the level"


# HTML.

_Section = dict[str, Any]
"""A section, or a picture of one, by the names that the template uses."""


def html(facts: Facts) -> str:
    """The report as one HTML file that needs no script and no network.

    Raises:
        MissingExtraError: jinja2, matplotlib or PyYAML is not installed.
    """
    study = facts.study
    jinja = require("jinja2", "a report", "evaluate")
    markup = require("markupsafe", "a report", "evaluate").Markup

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
    grids = [_picture_of_words(study, place) for place in range(len(study.methods)) if len(study.runs) > 1]
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
        "word_pictures": [{"caption": caption, "svg": markup(svg)} for caption, svg in grids],
        "correlations": correlation_grid(study) if len(study.runs) > 1 else None,
        "seeds": seed_grid(study) if any(run.second for run in study.runs) else None,
        "published": published_grid(facts),
        "published_source": PUBLISHED.source,
        "level_note": _LEVEL_NOTE,
        "findings": findings_grid(facts),
        "samples": _samples(study),
        "versions": _versions(study),
        "settings": settings_text(study.settings).rstrip("\n").split("\n"),
        "notes": [(run.run.name, note) for run in study.runs for note in run.notes],
        "BEST": BEST,
        "TIED": TIED,
    }
    return str(environment.from_string(source).render(context))


def _curve_sections(facts: Facts, kind: type[Metric], markup: Any) -> list[_Section]:
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
                facts.study.methods,
                x_label=axis_of(metric),
                y_label=metric.curve_of,
                text=_curve_text(lines),
            )
            drawn.append({"caption": run.run.name, "svg": markup(svg)})
        if drawn:
            sections.append({"name": metric.name, "summary": metric.summary, "pictures": drawn})
    return sections


def _curve_text(lines: Sequence[Line]) -> str:
    said = [
        f"{line.method} from {figure(line.points[0].mean)} at {line.x[0]:g} "
        f"to {figure(line.points[-1].mean)} at {line.x[-1]:g}"
        for line in lines
    ]
    return "; ".join(said)


def _picture_of_words(study: Study, place: int) -> tuple[str, str]:
    method = study.methods[place]
    pairs = data_correlations(study, method)
    scores = {run.run.name: run.words.scores[method]["magnitude"] for run in study.runs}
    said = "; ".join(f"{pair.first} and {pair.second} r {short_figure(pair.r)}" for pair in pairs)
    title = f"{method}: word scores on each pair of data sets"
    return method, pictures.word_grid(f"words-{place}", title, scores, method, study.methods, text=said)


def _word_grids(run: RunResult) -> _Section:
    signed = [words_grid(run, "signed"), words_grid(run, "signed", lowest=True)]
    shown = [grid for grid in signed if grid.rows]
    return {"run": run.run.name, "grid": words_grid(run, "magnitude"), "more": shown}


def _heat_maps(run: RunResult, markup: Any) -> _Section:
    listed = []
    for explanations in run.examples:
        text = " ".join(explanations[0].text.split())
        heading = f"{explanations[0].prediction}: {shorten(text, 90)}"
        listed.append((heading, [markup(fragment(explanation)) for explanation in explanations]))
    return {"run": run.run.name, "examples": listed}


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


# LaTeX.


def latex(facts: Facts) -> str:
    r"""The tables of the report as a snippet to ``\input``; it needs booktabs.

    Intervals stand below their means.  A star marks the best mean, an equals sign one that is not told apart
    from it.
    """
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


def require_libraries() -> None:
    """Raise MissingExtraError unless all that `write` needs is installed; for before the work."""
    require_all(("jinja2", "matplotlib", "scipy", "sklearn", "yaml"), "a report", "evaluate")


def write(study: Study, folder: str | Path, leave: Path | None = None) -> list[Path]:
    """Write report.html, report.tex, study.json, study.yaml and tables/; each file appears as a whole.

    study.yaml holds the settings, for `read_settings`.  A table without rows is not written.

    Args:
        study: what was found.
        folder: where they go.
        leave: a file that stays as it is: the settings that somebody wrote may lie there too.

    Raises:
        MissingExtraError: a library of the extra is not installed.
    """
    place = Path(folder)
    (place / "tables").mkdir(parents=True, exist_ok=True)
    facts = Facts(study)
    text = json.dumps(to_dict(facts), indent=2, allow_nan=False) + "\n"
    files = {
        "report.html": html(facts),
        "report.tex": latex(facts),
        "study.json": text,
        "study.yaml": settings_text(study.settings),
    }
    written = []
    for name, content in files.items():
        # A lone surrogate, which UTF-8 cannot hold, is escaped.
        data = content.encode("utf-8", "backslashreplace")
        if leave is None or (place / name).resolve() != leave.resolve():
            written.append(write_bytes(place / name, data))
    return written + write_tables(place / "tables", tables(facts))


def terminal(study: Study) -> Any:
    """A short summary: runs with, for each, the best method by the two deletions and the area between."""
    from rich.text import Text

    from whybert.render.tables import NumberTable

    facts = Facts(study)
    shown = [
        name
        for name in (PAPER_DELETION, "deletion-mask", "abpc")
        if any(m.name == name for m in facts.metrics)
    ]
    shown = shown or [metric.name for metric in facts.metrics[:3]]
    rows: list[tuple[str, list[Text | str]]] = []
    for run in study.runs:
        accuracy = run.evaluation.accuracy
        cells: list[Text | str] = [
            str(len(run.evaluation.rows)),
            "-" if accuracy is None else f"{accuracy:.3f}",
        ]
        for metric in shown:
            best = next((s for s in facts.summaries[run.run.name] if s.metric == metric and s.best), None)
            chance = facts.cell(run.run.name, metric, RANDOM)
            if best is None or chance is None:
                cells.append("-")
            else:
                said = Text(visible(f"{best.method} {figure(best.interval.mean)}"))
                cells.append(said.append(f"\n(random {figure(chance.interval.mean)})"))
        rows.append((run.run.name, cells))
    return NumberTable("run", ("texts", "accuracy", *(f"best by {name}" for name in shown)), rows)
