"""What the documents show works: their snippets run as they are written, in order, each page in a folder.

A reader has the files and models of `stand_ins`, small ones here.  A shell block whose first line begins with
`# needs ` wants more than a test has, such as the network, and says what; its command lines are still parsed.
A YAML block that begins with `# NAME` is the file of that name.  What is fenced as `py` are calls of other
tools, which are not here: it only has to be Python.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import warm
import whybert
from stand_ins import STAND_INS
from whybert import errors
from whybert.cli.application import application

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
NEEDS, MOST_THAT_NEED = "# needs ", 11
# Lines that are not for a folder of the reader's own: they install, or run what is in the repository.
ELSEWHERE = re.compile(r"pip install |scripts/|python (scripts|benchmarks|examples)/", re.ASCII)


class Block(NamedTuple):
    """A fenced block of a page: the line of its fence, its language and what is in it."""

    line: int
    language: str
    content: str


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[Block]:
    page = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(page.count("\n", 0, each.start()) + 1, each[1], each[2]) for each in found]


def shell_blocks(path: Path) -> list[Block]:
    return [block for block in blocks(path) if block.language in ("sh", "bash")]


def command_lines() -> list[tuple[str, str]]:
    found = []
    for path in DOCUMENTS:
        for block in shell_blocks(path):
            for line in block.content.replace("\\\n", " ").split("\n"):
                command = re.search(r"(?:^|\| |-m )whybert(?:\.cli\.finetune)? .*", line)
                if command is not None:
                    shell = command[0].removeprefix("| ")
                    found.append(
                        (name_of(path), shell.replace("-m whybert.cli.finetune", "whybert finetune"))
                    )
    return found


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_command_lines_are_understood(document: str, line: str) -> None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    words = list(lexer)[1:]
    ends = [index for index, word in enumerate(words) if word[0] in "|>;&"]
    words = words[: min(ends, default=len(words))]
    command = typer.main.get_command(application())
    with command.make_context("whybert", words[:1]) as context:
        name, found, _ = command.resolve_command(context, words)  # type: ignore[attr-defined]
        if hasattr(found, "commands"):
            name, found = words[1], found.commands[words[1]]
            words = words[1:]
        found.make_context(name, words[1:], parent=context)


def test_there_are_command_lines() -> None:
    assert len(command_lines()) > 25


def test_few_blocks_need_more_than_a_test_has() -> None:
    found = [
        f"{name_of(path)}, line {block.line}: {block.content.splitlines()[0].removeprefix(NEEDS)}"
        for path in DOCUMENTS
        for block in shell_blocks(path)
        if block.content.startswith(NEEDS)
    ]
    assert len(found) <= MOST_THAT_NEED, found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_what_is_installed_and_what_is_run_in_the_repository_is_there(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for block in shell_blocks(path):
        for extras in re.findall(r"whybert\[([\w,]+)\]", block.content):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
        for script in re.findall(r"(?:^|\s)((?:scripts|benchmarks|examples)/[\w./-]+)", block.content):
            assert (ROOT / script).is_file()
            source = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(rf"{script} .*?(--[\w-]+)", block.content):
                assert option in source


def test_calls_of_other_tools_are_python() -> None:
    found = [(path, block) for path in DOCUMENTS for block in blocks(path) if block.language == "py"]
    assert found
    for path, block in found:
        compile("\n" * block.line + block.content, name_of(path), "exec", dont_inherit=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell in which `whybert` starts at once, see `warm`."""
    with warm.serving(tmp_path_factory.mktemp("warm")) as environment:
        yield environment


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand_ins")
    for name, make in STAND_INS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_page_works_as_it_is_written(
    path: Path, stand_ins: Path, bench: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(stand_ins, folder)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks(path):
        where = f"{name_of(path)}, line {block.line}"
        if block.language in ("sh", "bash"):
            run_shell(block.content, bench, where)
        elif block.language == "python":
            code = compile("\n" * block.line + block.content, name_of(path), "exec", dont_inherit=True)
            exec(code, names)
        elif block.language == "yaml" and (name := re.match(r"# ([\w-]+\.yaml)\n", block.content)):
            Path(name[1]).write_text(block.content, encoding="utf-8")


def run_shell(content: str, environment: dict[str, str], where: str) -> None:
    """The lines one by one, so that it is known which of them failed."""
    if content.startswith(NEEDS):
        return
    for line in content.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#") or ELSEWHERE.match(line):
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{where}: $ {line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr


def public() -> dict[str, Callable[..., Any]]:
    """What `whybert` exports, and the methods and properties of its classes, by their names."""
    found: dict[str, Callable[..., Any]] = {}
    for name in whybert.__all__:
        value = getattr(whybert, name)
        if callable(value):
            found[name] = value
        kinds = value.__mro__ if inspect.isclass(value) else ()
        ours = [vars(kind) for kind in kinds if kind.__module__.startswith("whybert")]
        for part, own in (item for each in reversed(ours) for item in each.items()):
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
