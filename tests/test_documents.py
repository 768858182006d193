"""What the documents show works: the README's Python runs, and each command line is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

import tiny
import whybert
from whybert.cli.application import application

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def command_lines() -> list[tuple[str, str]]:
    found = []
    for path in DOCUMENTS:
        for block in blocks(path, "sh"):
            for line in block.replace("\\\n", " ").split("\n"):
                command = re.search(r"(?:^|\| |-m )whybert(?:\.cli\.finetune)? .*", line)
                if command is not None:
                    shell = command[0].removeprefix("| ")
                    found.append((path.name, shell.replace("-m whybert.cli.finetune", "whybert finetune")))
    return found


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_command_lines_are_understood(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if ">" in words:
        words = words[: words.index(">")]
    command = typer.main.get_command(application())
    with command.make_context("whybert", words[:1]) as context:
        name, found, _ = command.resolve_command(context, words)  # type: ignore[attr-defined]
        if hasattr(found, "commands"):
            name, found = words[1], found.commands[words[1]]
            words = words[1:]
        found.make_context(name, words[1:])


def test_there_are_command_lines() -> None:
    assert len(command_lines()) > 25


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.wordpiece()
    labels = {"id2label": {0: "entailment", 1: "contradiction"}}
    model = tiny.bert(tokenizer, 0, **labels, label2id={"entailment": 0, "contradiction": 1}).eval()
    small = whybert.Classifier(model, tokenizer)
    monkeypatch.setattr(whybert.Classifier, "load", lambda name: small)
    names = {"texts": ["a good film", "bad"], "nli": small, "model": model, "tokenizer": tokenizer}
    found = blocks(ROOT / "README.md", "python")
    assert len(found) >= 3
    for block in found:
        exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["explanation"], whybert.Explanation)
