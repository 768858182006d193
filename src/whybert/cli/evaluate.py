"""`whybert evaluate`: which explanation to trust, on a model and data of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from whybert.cli import options
from whybert.cli.data import DataOptions
from whybert.cli.options import INPUT_PANEL, METHOD_PANEL, OUTPUT_PANEL, told
from whybert.cli.output import console_for, note, opened, show
from whybert.cli.progress import bars
from whybert.corpus import sinks
from whybert.errors import UsageError
from whybert.files import json_line
from whybert.saving import Format

if TYPE_CHECKING:
    from whybert.classifier import Classifier
    from whybert.evaluation.bench import Evaluation, EvaluationData


def _document(evaluation: Evaluation, stream: TextIO) -> None:
    from whybert.evaluation import results

    stream.write(json_line(results.to_dict(evaluation)))


def _scores(evaluation: Evaluation, stream: TextIO, form: str) -> None:
    rows = [dict(zip(_SCORES, value, strict=False)) for value in evaluation.values]
    sinks.PREDICTIONS[form].write([rows], _SCORES, stream)


_SCORES: Final = {"row": int, "method": str, "metric": str, "value": float}
FORMATS: Final = {
    "json": Format((".json",), _document),
    "csv": Format((".csv",), partial(_scores, form="csv")),
    "parquet": Format((".parquet",), partial(_scores, form="parquet"), in_files_only=True),
}


@dataclass(frozen=True)
class JudgedOptions(DataOptions):
    """The data of which some is drawn."""

    limit: int | None = told(INPUT_PANEL, "So many texts, drawn by the seed.", "N", min=1)


@options.spread
def evaluate_command(
    given_data: JudgedOptions,
    model: options.ModelOptions,
    annotations: str | None = told(
        INPUT_PANEL,
        "Texts that people annotated, instead of --data: an ERASER folder or archive, SST trees, or "
        "JSON lines with text and rationale.",
        "PATH",
    ),
    slow_limit: int | None = told(
        INPUT_PANEL,
        "Texts for the metrics that are slow (naopc, sanity, cost); default: 25, see whybert list metrics.",
        "N",
        min=1,
    ),
    seed: int = told(INPUT_PANEL, "Draws texts, ties, resamples and controls.", "N", 0, min=0),
    method: options.MethodOption = None,
    explanations: list[str] | None = told(
        METHOD_PANEL,
        "Explanations of another tool: JSON lines with text or index, words or tokens or spans, and scores.",
        "NAME=FILE",
    ),
    control: bool = told(METHOD_PANEL, "Judge random scores too.", None, True, "control/--no-control"),
    target: str | None = told(
        METHOD_PANEL, "The label to explain; default: what the model predicts.", "LABEL|INDEX"
    ),
    metric: list[str] | None = told(
        METHOD_PANEL,
        "A metric, a group (faithfulness, plausibility, sanity, agreement, cost), all, or "
        "NAME@PERTURBATION; see whybert list metrics. Several: repeat it, or use commas.",
        "NAME",
        show_default="twelve of faithfulness",
    ),
    batch_size: options.BatchSizeOption = 32,
    format: Annotated[str | None, options.format_option(FORMATS)] = None,
    output: Path | None = told(
        OUTPUT_PANEL,
        "A folder for results.json and tidy tables, where the same command goes on after a stop; or a "
        "file: .json, or the scores as .csv or .parquet.",
        "FOLDER|FILE",
        None,
        "output",
        "o",
    ),
    overwrite: bool = told(OUTPUT_PANEL, "Begin anew in the folder of another run.", default=False),
    long: Annotated[options.LongOption, typer.Option("--long", hidden=True)] = options.LongOption.TRUNCATE,
) -> None:
    """Judge attribution methods on a model and data: faithfulness, plausibility, sanity, agreement, cost."""
    if (given_data.data is None) == (annotations is None):
        raise UsageError("expected --data or --annotations, one of them (see whybert evaluate --help)")
    if long is options.LongOption.WINDOWS:
        raise UsageError(
            "--long windows is for explain and predict: evaluate takes words away and asks again, and judges "
            "what the model reads at once; leave --long out, and longer texts are cut to --max-length"
        )
    file = None if output is None or _is_folder(output) else output
    folder = output if file is None else None
    wanted_format = sinks.chosen(FORMATS, format, file)
    if overwrite and folder is None:
        raise UsageError("--overwrite is for the folder of -o; leave it out")
    given = _given(explanations)
    mapping = given_data.mapping

    from whybert.cli.explain import find_target
    from whybert.evaluation import results
    from whybert.evaluation.bench import DEFAULT_METRICS, evaluate, require_libraries
    from whybert.evaluation.metrics import resolve_metrics
    from whybert.methods import create_all

    require_libraries()
    metrics = DEFAULT_METRICS if metric is None else options.listed(metric)
    resolve_metrics(metrics)  # a wrong name is found before anything is loaded
    wanted = create_all(options.methods(method)) if method is not None else [] if given else None
    with opened(file, [*given_data.files, annotations, *given.values()]) as stream:
        classifier = model.load()
        found = find_target(classifier, target, None)
        rows = _rows(classifier, annotations, given_data, mapping)
        for line in rows.notes:
            note(line, dim=True)
        with bars() as progress:
            evaluation = evaluate(
                classifier,
                rows,
                methods=wanted,
                metrics=metrics,
                limit=given_data.limit,
                slow_limit=slow_limit,
                seed=seed,
                target=found if isinstance(found, int | str) else None,
                given=given,
                control=control,
                folder=folder,
                overwrite=overwrite,
                batch_size=batch_size,
                progress=progress,
            )
        if folder is not None:
            results.write(evaluation, folder)
        if wanted_format == sinks.TERMINAL:
            show(console_for(stream), results.terminal(evaluation))
        else:
            FORMATS[wanted_format].write(evaluation, stream)


def _is_folder(path: Path) -> bool:
    """Whether it is one, or will be: its name has no suffix, but for a number."""
    return path.is_dir() or not re.fullmatch(r"\.[A-Za-z]\w*", path.suffix)


def _given(explanations: list[str] | None) -> dict[str, str]:
    given: dict[str, str] = {}
    for entry in explanations or []:
        name, equals, path = entry.partition("=")
        if not (name.strip() and equals and path):
            raise UsageError(f"expected --explanations NAME=FILE, found {entry!r}")
        if name.strip() in given:
            raise UsageError(f"expected each name of --explanations once, found {name.strip()!r} twice")
        given[name.strip()] = path
    return given


def _rows(
    classifier: Classifier,
    annotations: str | None,
    given: DataOptions,
    mapping: dict[str, str] | None,
) -> EvaluationData:
    from whybert.datasets.annotated import load_annotations
    from whybert.evaluation.bench import EvaluationData

    if annotations is not None:
        return EvaluationData.of_annotations(load_annotations(annotations, given.split), classifier, mapping)
    return EvaluationData.of_dataset(given.load(given.data or ""), given.split, classifier, mapping)
