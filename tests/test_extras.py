"""What needs an optional package says so in one line, with the command that installs it, before any work.

Tables have a row for each feature that an extra brings; and pyproject.toml is held against what the sources
import, constraints.txt against pyproject.toml.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import whybert
from commands import Run, caller, one_error
from test_explanation import example
from test_imports import IMPORTS, MODULES
from whybert import scoring, training, web
from whybert.errors import MissingExtraError
from whybert.evaluation import bench, statistics
from whybert.recipe import Settings
from whybert.study import report, settings

ROOT: Final = Path(__file__).resolve().parents[1]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]

DATA: Final = "reviews.csv"
LABELS: Final = ("negative", "positive")
DRAWN: Final = ("matplotlib",)
SCORED: Final = ("sklearn", "scipy")
REPORTED: Final = ("jinja2", "matplotlib", "scipy", "sklearn", "yaml")
TRAINED: Final = ("accelerate", "peft", "scipy", "sklearn")
SERVED: Final = ("duckdb", "fastapi", "gradio", "matplotlib", "uvicorn")

CALLS: Final[dict[str, tuple[Callable[[], object], tuple[str, ...], str]]] = {
    "plot": (lambda: example().plot(), DRAWN, "plot"),
    "save png": (lambda: example().save("why.png"), DRAWN, "plot"),
    "save pdf": (lambda: example().save("why.pdf"), DRAWN, "plot"),
    "plot_methods": (lambda: whybert.plot_methods([example()]), DRAWN, "plot"),
    "plot_word_scores": (lambda: whybert.plot_word_scores([example()], minimum_count=1), DRAWN, "plot"),
    "plot_deletion": (lambda: whybert.plot_deletion({"gi": [[0.5] * 11]}), DRAWN, "plot"),
    "classification": (lambda: scoring.classification_report(LABELS, [0], [0]), ("sklearn",), "train"),
    "several labels": (lambda: scoring.multi_label_report(LABELS, [[0]], [[0]]), ("sklearn",), "train"),
    "regression": (lambda: scoring.regression_report([0.0], [1.0]), SCORED, "train"),
    "finetune": (lambda: training.finetune(Settings(task=DATA, output_dir="out")), TRAINED, "train"),
    "evaluate": (lambda: bench.evaluate("builtin", whybert.load_data(DATA)), SCORED, "evaluate"),
    "interval": (lambda: statistics.bootstrap([1.0, 2.0]), ("scipy",), "evaluate"),
    "report": (report.require_libraries, REPORTED, "evaluate"),
    "settings": (lambda: settings.read_settings("study.yaml"), ("yaml",), "evaluate"),
    "serve": (lambda: web.serve("builtin"), SERVED, "web"),
}
"""A feature, the packages that it cannot do without, and the extra that brings them."""

COMMANDS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    f"predict --data {DATA} --report": (SCORED, "train"),
    f"finetune --task {DATA} --output-dir out": (TRAINED, "train"),
    f"evaluate --data {DATA} -o out": (SCORED, "evaluate"),
    f"study --run reviews=builtin,{DATA} -o out": (REPORTED, "evaluate"),
    "serve --port 0": (SERVED, "web"),
    "convert --tf-checkpoint-path google/bert_model.ckpt --output-dir out": (("tensorflow",), "tensorflow"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / DATA).write_text("text,label\nA charming film.,positive\nA dull mess.,negative\n")
    (tmp_path / "study.yaml").write_text("runs:\n- {name: a, model: builtin, data: reviews.csv}\n")
    google = tmp_path / "google"
    google.mkdir()
    sizes = '{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8'
    (google / "bert_config.json").write_text(
        sizes + ', "vocab_size": 6, "max_position_embeddings": 8, "type_vocab_size": 2}'
    )
    (google / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        (google / name).touch()
    return tmp_path


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed."""
    for name in [*sys.modules, package]:
        if name == package or name.startswith(f"{package}."):
            monkeypatch.setitem(sys.modules, name, None)


def rows(table: Any) -> list[Any]:
    return [
        pytest.param(name, package, id=f"{name} without {package}")
        for name, (*_, packages, _extra) in table.items()
        for package in packages
    ]


@pytest.mark.parametrize(("name", "package"), rows(CALLS))
def test_a_call_names_the_extra(
    name: str, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, _, extra = CALLS[name]
    before = sorted(folder.iterdir())
    hide(package, monkeypatch)
    with pytest.raises(MissingExtraError) as caught:
        call()
    assert re.fullmatch(rf".+ needs an optional package: pip install 'whybert\[{extra}\]'", str(caught.value))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("name", "package"), rows(COMMANDS))
def test_a_command_names_the_extra(
    name: str,
    package: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run: Run = caller(monkeypatch, capsys)
    monkeypatch.setattr(whybert.Classifier, "load", None)  # no model is loaded before
    hide(package, monkeypatch)
    one_error(run(*name.split()), 1, f"pip install 'whybert[{COMMANDS[name][1]}]'\n")
    assert not (folder / "out").exists()


# What is declared


def names(requirements: list[str]) -> set[str]:
    """The distributions of requirements, with those of whybert's own extras."""
    found = set()
    for each in map(Requirement, requirements):
        if each.name == PROJECT["name"]:
            found |= {name for extra in each.extras for name in names(EXTRAS[extra])}
        else:
            found.add(canonicalize_name(each.name))
    return found


CORE: Final = names(PROJECT["dependencies"])
DISTRIBUTIONS: Final = {
    module: {canonicalize_name(name) for name in found} for module, found in packages_distributions().items()
}
GUARDED: Final = ("whybert.web.", "whybert.render.figures")
"""What is imported after `require`, or does without: here an import of the module may be of an extra."""


def is_in(module: str, declared: set[str]) -> bool:
    top = module.partition(".")[0]
    return not DISTRIBUTIONS.get(top, {top}).isdisjoint(declared)


def foreign(module: str) -> bool:
    return module.partition(".")[0] not in {*sys.stdlib_module_names, "whybert"}


def test_what_is_imported_is_declared() -> None:
    somewhere = CORE.union(*map(names, EXTRAS.values()))
    for each in IMPORTS:
        if foreign(each.imported):
            optional = not each.at_import or each.module.startswith(GUARDED)
            assert is_in(each.imported, somewhere if optional else CORE), str(each)


def guards() -> Iterator[tuple[str, str, str]]:
    """Where `require` and `require_all` are called: the source, a module, and the extra that is named."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("require", "require_all"):
                wanted, _, extra = node.args
                for each in wanted.elts if isinstance(wanted, ast.Tuple) else [wanted]:
                    text = each.values[0] if isinstance(each, ast.JoinedStr) else each
                    yield module, ast.literal_eval(text), ast.literal_eval(extra)


def test_an_extra_has_what_is_asked_for_by_its_name() -> None:
    found = list(guards())
    assert len(found) > 15
    for source, module, extra in found:
        assert is_in(module, names(EXTRAS[extra])), f"{source}: {module} is not in [{extra}]"
        assert not is_in(module, CORE), f"{source}: {module} is always there"


def test_dev_has_every_extra() -> None:
    assert names(EXTRAS["dev"]) >= set().union(*map(names, EXTRAS.values()))


def test_documents_name_extras_that_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*")]
    named = set()
    for page in [*pages, *MODULES.values()]:
        for each in re.findall(r"whybert\[([a-z,]+)\]", page.read_text(encoding="utf-8")):
            named |= set(each.split(","))
    assert {"builtin", "train", "evaluate", "plot", "tensorflow"} <= named <= set(EXTRAS)


def test_the_constraints_fit_the_ranges() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    for each in map(
        Requirement, [*PROJECT["dependencies"], *(one for some in EXTRAS.values() for one in some)]
    ):
        if each.name != PROJECT["name"] and (each.marker is None or each.marker.evaluate()):
            assert each.specifier.contains(versions[canonicalize_name(each.name)]), str(each)
