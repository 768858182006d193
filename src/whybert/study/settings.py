"""The settings of a study: a frozen value, and the YAML file that holds one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from whybert.classifier import BATCH_SIZE
from whybert.errors import InputError, UsageError, one_line, require
from whybert.evaluation.bench import DEFAULT_METRICS
from whybert.evaluation.metrics import resolve_metrics
from whybert.methods import STANDARD, create_all, split
from whybert.typed import check, read


def _at_least(least: int, default: int | None = None) -> Any:
    return field(default=default, metadata={"least": least})


@dataclass(frozen=True)
class StudyRun:
    """One model on one data set.

    Fields:
        name: for tables and files.
        model: "builtin", a folder or a hub id.
        data: a known data set or the path of a table; data_dir: the folder of a known one's files.
        split: None takes "test", or the only one.
        text_column, pair_column, label_column: of a table.
        label_map: for labels of the data the model's, where they have other names.
        limit, word_limit: instead of those of the study.
        max_length: the most tokens of a text; longer ones are cut.
        second_model: a model that was trained on the same data with another seed.

    Raises:
        UsageError: a value that cannot be.
    """

    name: str
    model: str
    data: str
    data_dir: str | None = None
    split: str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    label_map: dict[str, str | int] | None = None
    limit: int | None = _at_least(1)
    word_limit: int | None = _at_least(1)
    max_length: int | None = _at_least(1)
    second_model: str | None = None

    def __post_init__(self) -> None:
        check(self, f" of run {self.name!r}")
        if not self.name.strip() or self.name.startswith(".") or any(c in '/\\:\0\n\r\t"' for c in self.name):
            raise UsageError(
                f"expected a name of a run that can be the name of a folder, found {self.name!r}; "
                "use letters, digits and hyphens"
            )
        for name in ("model", "data"):
            if not getattr(self, name).strip():
                raise UsageError(f"expected {name!r} of run {self.name!r}, found nothing; name one")


@dataclass(frozen=True)
class StudySettings:
    """All that decides about the numbers of a study.

    Fields:
        runs: models and their data, at least one.
        title: of the report.
        methods: names of `whybert.METHODS`, with options "gi:reduction=sum"; metrics: see `resolve_metrics`.
        limit: texts of each run that the metrics are computed on; word_limit: that word scores come from.
        minimum_count: words that occur less often get no score.
        minimum_words: texts with fewer words add nothing to word scores.
        examples: how many texts of each run are shown, drawn by the seed among those of 8 to 25 words that
            the model decides rightly and surely; or texts, which every model explains.
        seed: draws texts, ties, controls and resamples.
        batch_size: texts in one forward pass.

    Raises:
        UsageError: a value that cannot be.
        UnknownNameError: a method or a metric that does not exist.
    """

    runs: tuple[StudyRun, ...]
    title: str = "Explanations of text classifiers, compared"
    methods: tuple[str, ...] = STANDARD
    metrics: tuple[str, ...] = DEFAULT_METRICS
    limit: int = _at_least(1, 200)
    word_limit: int = _at_least(1, 1000)
    minimum_count: int = _at_least(1, 2)
    minimum_words: int = _at_least(1, 1)
    examples: int | tuple[str, ...] = _at_least(0, 2)
    seed: int = _at_least(0, 0)
    batch_size: int = _at_least(1, BATCH_SIZE)

    def __post_init__(self) -> None:
        check(self)
        for name in ("runs", "methods", "metrics"):
            if not getattr(self, name):
                raise UsageError(f"expected at least one entry in {name!r}, found none; name one")
        names = [run.name.casefold() for run in self.runs]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"expected each name of a run once, found {name!r} twice; rename one")
        object.__setattr__(self, "methods", tuple(each.spec for each in create_all(self.methods)))
        resolve_metrics(self.metrics)


def read_settings(path: str | Path) -> StudySettings:
    """The settings in a YAML file: the fields of `StudySettings`, and under `runs` a list of `StudyRun`.

    Methods and metrics may be one text with commas.  Paths are relative to the file: `data_dir`, and `model`,
    `second_model` and `data` where such a file or folder exists or the value starts with a dot.

    Raises:
        InputError: the file cannot be read, or a value is of a wrong type.
        UnknownNameError: a key that does not exist.
        UsageError: what `StudySettings` raises.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml()
    place = Path(path)
    try:
        given = yaml.safe_load(place.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not YAML: {one_line(error)}; mend it there") from error
    for key in ("methods", "metrics"):
        if isinstance(given, dict) and isinstance(given.get(key), str):
            given[key] = split(given[key])
    settings: StudySettings = read(StudySettings, given, "", repr(str(path)))
    return replace(settings, runs=tuple(_beside(run, place.parent) for run in settings.runs))


def settings_dict(settings: StudySettings) -> dict[str, Any]:
    """The settings in plain JSON types, as `read_settings` reads them; what is not set is left out."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()
    }
    runs = [{key: value for key, value in run.items() if value is not None} for run in plain.pop("runs")]
    return {"title": plain.pop("title"), **plain, "runs": runs}


def settings_text(settings: StudySettings) -> str:
    """The settings as the YAML that `read_settings` reads.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    plain = settings_dict(settings)
    return str(_yaml().safe_dump(plain, sort_keys=False, default_flow_style=None, width=100))


def _yaml() -> Any:
    return require("yaml", "a YAML file", "evaluate")


def _beside(run: StudyRun, folder: Path) -> StudyRun:
    """The run with the paths in it taken from the folder."""
    from whybert.datasets import DATASETS

    found: dict[str, Any] = {}
    for key in ("model", "second_model", "data", "data_dir"):
        value = getattr(run, key)
        named = value == "builtin" if key != "data" else str(value).casefold() in DATASETS
        if value is None or (named and key != "data_dir"):
            continue
        path = folder / Path(value).expanduser()
        if key == "data_dir" or value.startswith(".") or path.exists():
            found[key] = str(path)
    return replace(run, **found)
