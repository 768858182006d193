"""What docs/which-method.md says is what its numbers say, and every method that it names exists."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from whybert.methods import METHODS, create

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "which-method.md").read_text(encoding="utf-8")
NUMBERS = ROOT / "docs" / "results" / "which-method.csv"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with NUMBERS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def choosing() -> Iterator[ModuleType]:
    """The script that measured, which imports its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("choosing")


def test_the_tables_are_those_of_the_numbers(choosing: ModuleType, rows: list[dict[str, str]]) -> None:
    tables = list(choosing.tables(rows))
    assert len(tables) == len(choosing.LENGTHS)
    for table in tables:
        assert table in PAGE, f"expected this table in the page:\n{table}"


def test_the_numbers_are_of_what_the_script_measures(choosing: ModuleType, rows: list[dict[str, str]]) -> None:
    measured = {(row["length"], row["method"]) for row in rows}
    assert measured == {
        (name, spec)
        for name in choosing.LENGTHS
        for spec in [*choosing.wanted(name, 0, dear=False), *choosing.wanted(name, 0, dear=True)]
    }
    for row in rows:
        assert create(row["method"]).passes == row["passes"]
