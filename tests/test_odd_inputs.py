"""Bad and odd inputs: each gives one clear line and its exit code, or the right answer."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
import warm
from commands import Result, Run, caller
from odd_inputs import DONE, GOOD, PIPES, PYTHON, SHELL, SOME_FAILED, Python, Shell, namespace
from whybert import Classifier

LONGEST = 500  # characters of a line for people


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny.wordpiece()
    labels = {0: "negative", 1: "positive"}
    made = tiny.bert(tokenizer, id2label=labels, label2id={name: index for index, name in labels.items()})
    return tiny.save(tmp_path_factory.mktemp("odd") / "model", made, tokenizer)


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier.load(model)


@pytest.fixture
def place(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, but for what every row may use."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "reviews.csv").write_text(GOOD, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def rows(listed: Sequence[Any]) -> list[Any]:
    """The rows as parameters; those with a flaw are expected to fail."""
    return [
        pytest.param(row, id=row.name, marks=[pytest.mark.xfail(reason=row.flaw)] if row.flaw else [])
        for row in listed
    ]


def listed(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


def test_there_are_many_and_each_has_a_name() -> None:
    for table in (SHELL, PYTHON):
        names = [row.name for row in table]
        assert len(names) >= 200
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", rows(SHELL))
def test_at_the_shell(row: Shell, place: Path, run: Run, classifier: Classifier) -> None:
    for name, content in row.files.items():
        path = place / name
        if callable(content):
            content(path)
        else:
            path.write_bytes(
                content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            )
    before = holdings(place)
    result = run(*shlex.split(row.line), stdin=row.stdin)
    assert result.code == row.code, result.err
    assert "Traceback" not in result.err
    if row.code in (DONE, SOME_FAILED):
        for word in listed(row.words):
            assert word in result.out + result.err
        if row.texts is not None:
            check_answers(result, row, classifier)
    else:
        errors = [line for line in result.err.split("\n")[:-1] if line.startswith("error: ")]
        assert len(errors) == 1, result.err
        assert result.err.endswith(f"{errors[0]}\n")
        assert result.out == ""
        for word in listed(row.words):
            assert word in errors[0]
        assert len(errors[0]) < LONGEST
    if row.code != DONE or "-o" not in row.line:
        assert holdings(place) == before


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with warm.serving(tmp_path_factory.mktemp("warm")) as environment:
        yield environment


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(PIPES))
def test_in_a_pipe(row: Shell, place: Path, shell: dict[str, str]) -> None:
    line = ["bash", "-o", "pipefail", "-c", row.line]
    done = subprocess.run(line, env=shell, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == row.code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") <= 1
    for word in listed(row.words):
        assert word in done.stdout + done.stderr
    assert not list(place.glob(".whybert-*"))


def holdings(place: Path) -> dict[str, bytes | None]:
    """What is in the folder, the content of files too."""
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else None
        for path in place.rglob("*")
    }


def check_answers(result: Result, row: Shell, classifier: Classifier) -> None:
    """The records of stdout are about the row's texts, and they are what the classifier says of each."""
    texts = row.texts or []
    found = [(each["text"], each["pair"]) for each in result.records]
    assert found == [text if isinstance(text, tuple) else (text, None) for text in texts]
    for record, expected in zip(result.records, classifier.predict(texts), strict=True):
        likely = record.get("probabilities") or [record[f"probability_{each}"] for each in classifier.labels]
        same = likely == pytest.approx(list(expected.probabilities), abs=1e-5)
        assert same or row.approximate


@pytest.mark.parametrize("row", rows(PYTHON))
def test_in_python(row: Python, place: Path, classifier: Classifier) -> None:
    names = {**namespace(), "C": classifier}
    if row.raises is None:
        assert eval(row.expression, names) == row.gives
        return
    with pytest.raises(eval(row.raises, names)) as raised:
        eval(row.expression, names)
    message = str(raised.value)
    assert "\n" not in message
    assert 0 < len(message) < LONGEST
    for word in listed(row.words):
        assert word in message
