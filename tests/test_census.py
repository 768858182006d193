"""Every sequence classifier of transformers keeps the promises, or is refused by name; see `census`."""

from __future__ import annotations

import pytest
import transformers

from census import FAMILIES, PAGE, Examined, page, row, rows


def test_the_page_has_every_family_and_counts_them() -> None:
    """What it says of each is held against what is found in `test_a_family`."""
    text = PAGE.read_text(encoding="utf-8")
    assert list(rows()) == list(FAMILIES), "python tests/census.py --write"
    assert page(rows()) == text, "python tests/census.py --write"
    assert f"transformers {transformers.__version__}" in text


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family(family: str) -> None:
    found = Examined(family).all()
    assert not found.faults
    assert row(found) == rows().get(family), f"python tests/census.py {family} --write"
