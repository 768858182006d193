"""`whybert study`: the experiments of a paper on models and data of one's own, and a report of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whybert.cli import options
from whybert.cli.options import INPUT_PANEL, METHOD_PANEL, MODEL_PANEL, OUTPUT_PANEL, told
from whybert.cli.output import note, show_result
from whybert.errors import UsageError

if TYPE_CHECKING:
    from whybert.study.settings import StudyRun, StudySettings

RUNS = "runs"


@options.spread
def study_command(
    output: Path = told(
        OUTPUT_PANEL,
        "Where report.html, report.tex, study.json and tables go; the same command goes on after a stop.",
        "FOLDER",
        MISSING,
        "output",
        "o",
    ),
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG.yaml", help="The settings of the study.", show_default=False),
    ] = None,
    run: list[str] | None = told(
        INPUT_PANEL, "A model and its data; repeat it for several.", "NAME=MODEL,DATA[,DATA_DIR[,SPLIT]]"
    ),
    limit: int | None = told(INPUT_PANEL, "Texts a run for metrics.", "N", min=1),
    word_limit: int | None = told(INPUT_PANEL, "Texts a run for word scores.", "N", min=1),
    seed: int | None = told(INPUT_PANEL, "Draws texts, ties, resamples and controls.", "N", min=0),
    method: options.MethodOption = None,
    metric: list[str] | None = told(
        METHOD_PANEL,
        "A metric or a group, see whybert list metrics; several: repeat it, or use commas.",
        "NAME",
    ),
    batch_size: int | None = told(MODEL_PANEL, "Texts at a time.", "N", min=1),
    title: str | None = told(OUTPUT_PANEL, "Of the report.", "TEXT"),
    overwrite: bool = told(OUTPUT_PANEL, "Begin anew in the folder of another study.", default=False),
) -> None:
    """Explain and judge several models on their data, and write one report of all."""
    if config is None and not run:
        raise UsageError("expected CONFIG.yaml or --run, found neither (see whybert study --help)")
    if output.exists() and not output.is_dir():
        raise UsageError(f"expected a folder to write to, found the file {str(output)!r}; name a folder")
    named = [_parts(entry) for entry in run or []]

    from whybert.cli.progress import bars
    from whybert.study import report
    from whybert.study.work import study

    report.require_libraries()
    given = {
        "limit": limit,
        "word_limit": word_limit,
        "seed": seed,
        "methods": tuple(options.methods(method)) if method else None,
        "metrics": tuple(options.listed(metric)) if metric else None,
        "batch_size": batch_size,
        "title": title,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    settings = _settings(config, named, changes)
    with bars() as progress:
        found = study(settings, output / RUNS, progress, overwrite=overwrite)
    for each in found.runs:
        for line in each.notes:
            note(f"{each.run.name}: {line}", dim=True)
    report.write(found, output, leave=config)
    show_result(report.terminal(found))
    note(f"wrote {output / 'report.html'}")


def _parts(entry: str) -> dict[str, Any]:
    """What `--run` names."""
    name, equals, rest = entry.partition("=")
    values = [value.strip() for value in rest.split(",")]
    if not name.strip() or not equals or not 2 <= len(values) <= 4 or not all(values[:2]):
        raise UsageError(f"expected --run NAME=MODEL,DATA[,DATA_DIR[,SPLIT]], found {entry!r}")
    keys = ("model", "data", "data_dir", "split")
    # An empty part stands for the default: NAME=MODEL,DATA,,SPLIT.
    return {"name": name.strip(), **{key: value for key, value in zip(keys, values, strict=False) if value}}


def _settings(config: Path | None, named: Sequence[dict[str, Any]], changes: dict[str, Any]) -> StudySettings:
    """The settings of the file, with the runs and values of the command line instead where it has some."""
    from dataclasses import replace

    from whybert.study.settings import StudyRun, StudySettings, read_settings

    runs: tuple[StudyRun, ...] = tuple(StudyRun(**each) for each in named)
    if config is None:
        return StudySettings(runs=runs, **changes)
    if runs:
        changes = {**changes, "runs": runs}
    return replace(read_settings(config), **changes)
