"""`whybert list`: the methods, the metrics, and the models at hand."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whybert.cli.options import OutputOption, format_option
from whybert.cli.output import console_for, opened, show
from whybert.corpus.sinks import PREDICTIONS, chosen

if TYPE_CHECKING:
    from rich.console import RenderableType


FORMATS = {"json": PREDICTIONS["json"]}


class Listed(StrEnum):
    METHODS = "methods"
    METRICS = "metrics"
    MODELS = "models"


def list_command(
    what: Annotated[Listed, typer.Argument(help="What to list.", show_default=False)],
    format: Annotated[str | None, format_option(FORMATS)] = None,
    output: OutputOption = None,
) -> None:
    """List the attribution methods, the metrics that judge them, or the models at hand, without network."""
    wanted = chosen(FORMATS, format, output)
    with opened(output) as stream:
        find_rows, table = _LISTS[what]
        rows = find_rows()
        if wanted in FORMATS:
            FORMATS[wanted].write([rows], {}, stream)
        else:
            show(console_for(stream), table(rows))


def _method_rows() -> list[dict[str, Any]]:
    from whybert.methods import METHODS
    from whybert.typed import bounds_of, choices_of, expected, hinted

    rows = []
    for name, method in METHODS.items():
        plain, options = method(), list(hinted(method))
        # the specs of magnitudes that become signed scores by one choice
        variants = [method(**{field.name: choice}) for field, hint in options for choice in choices_of(hint)]
        rows.append(
            {
                "name": name,
                "summary": method.summary,
                "source": method.source,
                "kind": method.kind,
                "passes": plain.passes,
                "needs": method.needs,
                "signed": plain.is_signed,
                "signed_with": [] if plain.is_signed else [each.spec for each in variants if each.is_signed],
                "options": [
                    {
                        "name": field.name,
                        "default": field.default,
                        "choices": list(choices_of(hint)),
                        "what": f"{expected(hint)} {bounds_of(field)}".strip(),
                    }
                    for field, hint in options
                ],
            }
        )
    return rows


def _methods_table(rows: list[dict[str, Any]]) -> RenderableType:
    """By kind; of each what it shows, in dim letters what it costs and rests on, and its options."""
    from rich.console import Group
    from rich.text import Text as RichText

    from whybert.methods.base import KINDS
    from whybert.render.tables import TextTable
    from whybert.typed import written

    room = max(len(row["name"]) for row in rows)
    parts: list[RenderableType] = []
    for kind in KINDS:
        cells: list[list[Any]] = []
        for row in (row for row in rows if row["kind"] == kind):
            what = RichText(row["summary"])
            signed = [
                "signed" if row["signed"] else "unsigned",
                *(f"{spec} is" for spec in row["signed_with"]),
            ]
            needs = f"needs {row['needs']}" if row["needs"] else ""
            facts = ("; ".join(signed), row["passes"], needs, row["source"])
            what.append(f"\n{' · '.join(filter(None, facts))}", "dim")
            options = []
            for option in row["options"]:
                others = [choice for choice in option["choices"] if choice != option["default"]]
                values = " | ".join(map(written, [option["default"], *others]))
                options.append(f"{option['name']}={values}" + ("" if others else f" ({option['what']})"))
            what.append("\n" + "; ".join(options) if options else "")
            cells.append([row["name"].ljust(room), what])
        if cells:
            parts += [TextTable((kind, "what it shows"), cells), RichText()]
    how = "Options follow a colon, several methods a comma: --method lrp:residual=once,alpha=0.3,lat"
    return Group(*parts, RichText(how))


def _metric_rows() -> list[dict[str, Any]]:
    from whybert.evaluation.metrics import METRICS

    return [
        {
            "name": name,
            "group": metric.group,
            "summary": metric.summary,
            "source": metric.source,
            "higher_is_better": metric.higher_is_better,
            "texts": metric.texts,
        }
        for name, metric in METRICS.items()
    ]


def _metrics_table(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text as RichText

    from whybert.render.tables import TextTable

    cells: list[list[Any]] = []
    for row in rows:
        what = RichText(row["summary"]).append(f"\n{row['source']}", "dim")
        if row["texts"] is not None:
            what.append(f"; on at most {row['texts']} texts", "dim")
        cells.append([row["name"], row["group"], what, "higher" if row["higher_is_better"] else "lower"])
    return TextTable(("name", "group", "what it says, and its source", "better"), cells)


def _model_rows() -> list[dict[str, Any]]:
    return [_builtin_row(), *_cached_rows()]


def _builtin_row() -> dict[str, Any]:
    from huggingface_hub import try_to_load_from_cache

    from whybert import builtin

    spec = importlib.util.find_spec(builtin.PACKAGE)
    places = [Path(place) / "model" for place in (spec.submodule_search_locations or ())] if spec else []
    installed = any((place / builtin.WEIGHTS).is_file() for place in places)
    cached = isinstance(try_to_load_from_cache(builtin.REPOSITORY, builtin.WEIGHTS), str)
    return {
        "name": "builtin",
        "kind": "builtin",
        "summary": "MiniLM encoder, six layers, fine-tuned for the sentiment of English sentences",
        "source": f"the adapter comes with whybert, the encoder is {builtin.REPOSITORY}",
        "architecture": "BertForSequenceClassification",
        "labels": list(builtin.LABELS.values()),
        "encoder": "installed" if installed else "in the hub's cache" if cached else "missing",
    }


def _cached_rows() -> list[dict[str, Any]]:
    """The sequence classifiers in the local cache of the hub."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError, ValueError):
        return []
    rows = {}
    for repository in repositories:
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            config = next(
                (file.file_path for file in revision.files if file.file_name == "config.json"), None
            )
            if config is None:
                continue
            try:
                settings = json.loads(config.read_text(encoding="utf-8"))
                kinds = [str(kind) for kind in settings.get("architectures") or []]
                labels = [str(label) for label in (settings.get("id2label") or {}).values()]
            except (OSError, ValueError, AttributeError, TypeError):
                continue
            kind = next((kind for kind in kinds if kind.endswith("ForSequenceClassification")), None)
            if kind is not None:
                rows[repository.repo_id] = {
                    "name": repository.repo_id,
                    "kind": "cached",
                    "summary": "in the local cache of the hub",
                    "source": f"https://huggingface.co/{repository.repo_id}",
                    "architecture": kind,
                    "labels": labels,
                    "encoder": None,
                }
    return [rows[name] for name in sorted(rows)]


def _models_table(rows: list[dict[str, Any]]) -> RenderableType:
    from whybert.render import shorten
    from whybert.render.tables import TextTable

    cells = []
    for row in rows:
        state = row["summary"] if row["encoder"] is None else f"encoder {row['encoder']}"
        if row["encoder"] == "missing":
            state = "encoder missing: pip install 'whybert[builtin]'"
        what = row["architecture"] if row["kind"] == "cached" else f"{row['summary']}; {row['source']}"
        labels = ", ".join(shorten(label, 24) for label in row["labels"][:5])
        labels += ", ..." if len(row["labels"]) > 5 else ""
        cells.append([row["name"], what, labels, state])
    cells.append(["FOLDER", "what save_pretrained wrote, with its tokenizer: ./my-model"])
    cells.append(["OWNER/NAME", "a sequence classifier of the hub, downloaded once"])
    return TextTable(("--model", "what it is", "labels", "state"), cells)


_LISTS: dict[Listed, tuple[Callable[[], list[dict[str, Any]]], Callable[..., RenderableType]]] = {
    Listed.METHODS: (_method_rows, _methods_table),
    Listed.METRICS: (_metric_rows, _metrics_table),
    Listed.MODELS: (_model_rows, _models_table),
}
