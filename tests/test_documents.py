"""What the documents show works: the README's Python runs, and each command line is understood."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import tiny
import whybert
from whybert import errors
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


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reviews.csv").write_text("text\na good film\na bad film\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
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
    assert {value.method for value in names["found"].values} > {"attnlrp", "gi"}


def public() -> dict[str, Callable[..., Any]]:
    """What `whybert` exports, and the methods and properties of its classes, by their names."""
    found: dict[str, Callable[..., Any]] = {}
    for name in whybert.__all__:
        value = getattr(whybert, name)
        if callable(value):
            found[name] = value
        for part, own in vars(value).items() if inspect.isclass(value) else ():
            own = own.fget if isinstance(own, property) else getattr(own, "__func__", own)
            if inspect.isfunction(own) and not part.startswith("_"):
                found[f"{name}.{part}"] = own
    return found


def sections(docstring: str) -> dict[str, list[str]]:
    """The entries of each section of a docstring: what stands before the colon, at its first indentation."""
    parts = re.split(r"^(\w+):\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    bodies = zip(parts[1::2], parts[2::2], strict=True)
    return {name: re.findall(r"^    (\w[\w, ]*):", body, re.MULTILINE) for name, body in bodies}


@pytest.mark.parametrize("name", public())
def test_docstrings_are_in_one_dialect(name: str) -> None:
    found = public()[name]
    assert found.__doc__
    assert found.__doc__.split("\n")[0].strip().endswith((".", "?"))
    said = sections(found.__doc__)
    assert list(said) == [each for each in ("Fields", "Args", "Returns", "Raises") if each in said]
    assert not re.search(r"\b[Rr]aises? [A-Z]|:param|:return|^-{3,}", found.__doc__)
    for error in said.get("Raises", ()):
        assert issubclass(getattr(errors, error), whybert.WhybertError)
    listed = ", ".join(said.get("Args", []) + said.get("Fields", []))
    named = set(listed.split(", ")) - {""}
    if not (inspect.isclass(found) and issubclass(found, Exception)):
        assert named == set(inspect.signature(found).parameters) - {"self", "cls"}
    if inspect.isfunction(found) and "." not in name:
        assert {"Args", "Returns", "Raises"} <= set(said)


@pytest.mark.parametrize("name", whybert.METHODS)
def test_methods_name_their_source(name: str) -> None:
    method = whybert.METHODS[name]
    assert "Source: " in (method.__doc__ or "")
    assert method.source
