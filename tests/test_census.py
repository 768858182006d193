"""Every sequence classifier of transformers keeps the promises, or is refused by name; see `census`."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import transformers

from census import FAMILIES, PAGE, Examined, row


def test_the_page_has_every_family_and_counts_them() -> None:
    """What it says of each is held against what is found in `test_a_family`."""
    text = PAGE.read_text(encoding="utf-8")
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [each[0].removeprefix("| ") for each in cells] == list(FAMILIES), "python tests/census.py --write"
    assert f"transformers {transformers.__version__}" in text
    statuses = Counter(each[2] for each in cells)
    counted = re.search(
        r"of (\d+) families AttnLRP serves (\d+), CP-LRP only (\d+), gradients only (\d+); (\d+) are refused",
        text,
    )
    assert counted is not None
    names = ("AttnLRP", "CP-LRP only", "gradients only", "refused")
    assert [int(count) for count in counted.groups()] == [len(cells), *(statuses[each] for each in names)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family(family: str) -> None:
    found = Examined(family).all()
    assert not found.faults
    assert row(found) in PAGE.read_text(encoding="utf-8").splitlines(), "python tests/census.py --write"
