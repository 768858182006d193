"""What docs/which-method.md says is what its numbers say, and every method that it names exists."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from whybert.methods import METHODS, create

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "which-method.md").read_text(encoding="utf-8")
with (ROOT / "docs" / "results" / "which-method.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
LENGTHS = list(dict.fromkeys(row["length"] for row in ROWS))
AREAS = ("abpc@mask", "abpc@delete")
PARTITION = "partition_shap:by=delete,samples=200"
WEAK = ("rollout", "lat", "gi", "lrp", "input_x_gradient", "smoothgrad:samples=20,reduction=input")


class Better(NamedTuple):
    """How much better than `attnlrp`."""

    by: float
    low: float
    high: float


BETTER = {
    (row["length"], row["method"], row["measure"]): Better(
        *(float(row[f"better_{figure}"]) for figure in Better._fields)
    )
    for row in ROWS
    if row["better_by"]
}
TIME = {(row["length"], row["method"]): float(row["value"]) for row in ROWS if row["measure"] == "time"}


def of(method: str, *areas: str, lengths: list[str] = LENGTHS) -> list[Better]:
    """What is known of a method, at each length and by each way."""
    keys = [(length, method, area) for length in lengths for area in areas or AREAS]
    return [BETTER[key] for key in keys if key in BETTER]


def value(method: str, measure: str) -> float:
    [row] = [row for row in ROWS if (row["method"], row["measure"]) == (method, measure)]
    return float(row["value"])


ONE_PASS = [method for method in METHODS if create(method).passes in ("1 forward", "1 forward, 1 backward")]
CLAIMS: dict[str, Callable[[], bool]] = {
    "No method of one pass is better than `attnlrp`, at any length, by either way.": lambda: all(
        each.low <= 0 for method in ONE_PASS if method != "attnlrp" for each in of(method)
    ),
    "`iterative_attnlrp` and `sampled_attnlrp` are never clearly worse than `attnlrp`": lambda: all(
        each.high >= 0 for method in ("iterative_attnlrp", "sampled_attnlrp") for each in of(method)
    ),
    "on sentences both are clearly better, by masking and by deletion": lambda: all(
        each.low >= 0
        for method in ("iterative_attnlrp", "sampled_attnlrp")
        for each in of(method, lengths=["25"])
    ),
    "`deeplift` is ahead of `attnlrp` by masking on sentences, and nowhere by deletion.": lambda: (
        all(each.low > 0 for each in of("deeplift", "abpc@mask", lengths=["10", "25"]))
        and all(each.low <= 0 for each in of("deeplift", "abpc@delete"))
    ),
    "at half of the time or less": lambda: all(
        TIME[length, "deeplift"] <= TIME[length, "integrated_gradients:n_steps=20"] / 2 for length in LENGTHS
    ),
    "Its means are at least those of `integrated_gradients:n_steps=20`": lambda: all(
        mine.by >= its.by
        for mine, its in zip(of("deeplift"), of("integrated_gradients:n_steps=20"), strict=True)
    ),
    "`integrated_gradients` is clearly behind by deletion on all but the shortest texts.": lambda: all(
        each.high < 0 for each in of("integrated_gradients:n_steps=20", "abpc@delete", lengths=LENGTHS[1:])
    ),
    "are nearer to random scores than to `attnlrp`": lambda: all(
        abs(each.by - control.by) < abs(each.by)
        for method in WEAK
        for each, control in zip(of(method), of("random"), strict=True)
    ),
    "agree with exact ones that delete no better than `attnlrp` agrees with them": lambda: (
        create("kernel_shap").passes == "at most 1000 forward"
        and value("kernel_shap", "shapley@mask") > 0.999
        and not of("kernel_shap", "shapley@delete")[0].low > 0
    ),
    "is ahead by deletion and not behind by masking on texts of 10 and of 25 tokens": lambda: (
        all(each.low > 0 for each in of(PARTITION, "abpc@delete", lengths=["10", "25"]))
        and all(each.high > 0 for each in of(PARTITION, "abpc@mask", lengths=["10", "25"]))
    ),
    "`leave_one_out`, by either way, is behind by deletion on those of 25": lambda: all(
        each.high < 0
        for method in ("leave_one_out", "leave_one_out:by=delete")
        for each in of(method, "abpc@delete", lengths=["25"])
    ),
    "no method of 200 samples is ahead of `attnlrp`, by either way, at 30 times its time": lambda: (
        all(each.low <= 0 for method in many() for each in of(method, lengths=LENGTHS[2:]))
        and all(
            time >= 30 * TIME[length, "attnlrp"]
            for (length, method), time in TIME.items()
            if length in LENGTHS[2:] and method in set(many())
        )
    ),
    "have clearly better Shapley values that mask than `attnlrp`, and no better ones that delete": lambda: (
        all(
            of(method, "shapley@mask")[0].low > 0 >= of(method, "shapley@delete")[0].low
            for method in ("lime:samples=200", "kernel_shap:samples=200", "partition_shap:samples=200")
        )
    ),
    "only `guided_shap`, which does both, gains by both": lambda: (
        {
            method
            for method in {row["method"] for row in ROWS} & {create(m).spec for m in many()}
            if all(each.low > 0 for each in of(method, "shapley@mask", "shapley@delete"))
        }
        == {"guided_shap"}
    ),
}
"""Sentences of the page, and whether the numbers bear them out."""


def many() -> Iterator[str]:
    """The methods that ask 200 times or more."""
    for method in {row["method"] for row in ROWS if row["method"]}:
        if max(map(int, re.findall(r"\d+", create(method).passes)), default=0) >= 200:
            yield method


@pytest.mark.parametrize("sentence", CLAIMS)
def test_what_the_page_says_is_what_was_measured(sentence: str) -> None:
    assert sentence in re.sub(r"\s+", " ", PAGE.replace("**", ""))
    assert CLAIMS[sentence]()


@pytest.fixture(scope="module")
def choosing() -> Iterator[ModuleType]:
    """The script that measured, which imports its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("choosing")


def test_the_tables_are_those_of_the_numbers(choosing: ModuleType) -> None:
    for table in choosing.tables(ROWS).values():
        assert table in PAGE, f"expected this table in the page:\n{table}"


def test_the_numbers_are_of_what_the_script_measures(choosing: ModuleType) -> None:
    assert list(choosing.LENGTHS) == LENGTHS
    for length in LENGTHS:
        specs = [*choosing.wanted(length, 0, dear=False), *choosing.wanted(length, 0, dear=True)]
        assert {method for name, method in TIME if name == length} == set(specs)
    for row in ROWS:
        assert not row["method"] or create(row["method"]).passes == row["passes"]


def test_every_method_that_is_named_exists() -> None:
    cases = PAGE[: PAGE.index("## What this does not say")]
    named = re.findall(r"`([a-z_]+(?::[\w=,.]+)?)`", cases)
    specs = [each for each in named if each.partition(":")[0] in METHODS or ":" in each]
    assert len(specs) > 15
    for spec in specs:
        create(spec)


def test_the_figure_goes_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    figures = importlib.import_module("documentation.which_method")
    for name in ("which-method.md", "results/which-method.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / "docs" / name).read_bytes())
    (tmp_path / "images").mkdir()
    figures.generate(tmp_path)
    page = (tmp_path / "which-method.md").read_text(encoding="utf-8")
    assert f"![{figures.ALT}]({figures.PICTURE})" in page
    assert "<svg" in (tmp_path / figures.PICTURE).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="where its figure goes"):
        figures.generate(tmp_path)
