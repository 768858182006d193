"""The examples run from an empty folder, top to bottom, and are notebooks for those who open them as such."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
every_example = pytest.mark.parametrize("name", NAMES)


def cells(name: str) -> list[tuple[bool, str]]:
    """The cells of an example: whether each is prose, and what it holds."""
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    before, *parts = re.split(r"^# %%( \[markdown\])?\n", source, flags=re.MULTILINE)
    assert not before
    return [(bool(kind), text) for kind, text in zip(parts[::2], parts[1::2], strict=True)]


@every_example
def test_an_example_is_a_notebook_of_short_cells(name: str) -> None:
    found = cells(name)
    assert found[0][0]
    assert found[-1][0]  # what does not follow
    for is_prose, text in found:
        if is_prose:
            assert all(line.startswith("#") for line in text.strip().split("\n"))
        else:
            assert ast.parse(text).body
            assert len(text.strip().split("\n")) < 45


@every_example
def test_a_picture_is_shown_and_written(name: str) -> None:
    for is_prose, text in cells(name):
        if not is_prose and "savefig" in text:
            assert text.strip().endswith("\nfigure")


def test_the_index_names_every_example() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\)", index, re.MULTILINE)
    assert sorted(re.findall(r"^\| \[(\w+)\.py\]", index, re.MULTILINE)) == NAMES


def test_no_notebook_with_outputs_is_kept() -> None:
    assert not list(EXAMPLES.rglob("*.ipynb"))


@pytest.mark.slow
@every_example
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    written = {path.name for path in tmp_path.iterdir()}
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert set(re.findall(r'(?<=savefig\(")[^"]*', source)) <= written
    assert any(name.endswith((".png", ".pdf")) for name in written)
