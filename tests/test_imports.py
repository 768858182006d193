"""Imports run downwards: the table of layers, held against the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

import whybert

SOURCE: Final = Path(whybert.__file__).parent

LAYERS: Final = (
    "errors",
    "words files typed progress",
    "sentences alignment",
    "tokenizers",
    "encoding schema foreign black_box",
    "explanation targets texts anatomy recipe windows",
    "comparing",
    "render datasets lrp builtin positions adapters folders quantised",
    "saving points",
    "interception loading holders finding heads",
    "classifier",
    "perturbation store encoders",
    "infilling",
    "methods",
    "attribution asking",
    "explaining",
    "corpus evaluation scoring conversion auditing interacting changing similarities entailing",
    "objective study",
    "training",
    "web",
    "whybert",
    "cli",
    "__main__",
)
"""The rooms of the house, each a module or a package of `whybert`, from the bottom up; "whybert" is its door.

A room imports itself and what stands in lines above its own here, under TYPE_CHECKING and in functions too.
"""

UPWARDS: Final = {
    ("explanation", "render"),  # in functions: an explanation shows itself
    ("explanation", "saving"),  # and saves itself
    ("comparing", "render"),
    ("comparing", "saving"),
}

ONLY: Final = {
    "render": {"comparing", "errors", "explanation"},
    "datasets": {"errors", "words", "files", "encoding"},
}
"""Rooms that know less of the house than their layer would let them."""

NEVER: Final = {("render", "torch"), ("render", "transformers"), ("lrp", "transformers")}
"""Rooms, and libraries that they do without."""

HEAVY: Final = {"torch", "transformers", "datasets", "numpy", "scipy"}
"""What takes long to import: the commands do that when they run."""


@dataclass(frozen=True)
class Import:
    module: str
    imported: str
    at_import: bool  # when the module is imported: not in a function, not for the type checker

    def __str__(self) -> str:
        return f"{self.module} imports {self.imported}"


def names() -> dict[str, Path]:
    return {
        ".".join(("whybert", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


MODULES: Final = names()


def room(module: str) -> str:
    return "whybert" if module == "whybert" else module.split(".")[1]


def imports_of(module: str) -> Iterator[Import]:
    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, alias.name, at_import)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: a relative import"
                for alias in child.names:
                    name = f"{child.module}.{alias.name}"
                    if name != "whybert.__version__":  # which the door knows by itself
                        yield Import(module, name if name in MODULES else str(child.module), at_import)
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checked = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from walk(child, at_import and not later and not checked)

    return walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


IMPORTS: Final = [each for module in MODULES for each in imports_of(module)]
INSIDE: Final = [each for each in IMPORTS if each.imported in MODULES]


def looked_at(each: Import) -> bool:
    return (room(each.module), room(each.imported)) not in UPWARDS


def height(name: str) -> int:
    found = [place for place, line in enumerate(LAYERS) if name in line.split()]
    assert len(found) == 1, f"the room {name!r} has no place in LAYERS"
    return found[0]


def test_imports_run_downwards() -> None:
    rooms = {(each, room(each.module), room(each.imported)) for each in INSIDE}
    wrong = [
        str(each)
        for each, one, other in rooms
        if one != other
        and looked_at(each)
        and (height(one) <= height(other) or other not in ONLY.get(one, {other}))
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_what_may_run_upwards_does_so_in_functions() -> None:
    for each in INSIDE:
        if (room(each.module), room(each.imported)) in UPWARDS:
            assert not each.at_import, str(each)


def test_rooms_do_without_some_libraries() -> None:
    for each in IMPORTS:
        assert (room(each.module), each.imported.partition(".")[0]) not in NEVER, str(each)


def test_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for each in INSIDE:
        if looked_at(each):
            graph[each.module].add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' imports '.join(error.args[1])}") from None


def test_commands_import_nothing_heavy_before_they_run() -> None:
    at_import: dict[str, list[Import]] = {module: [] for module in MODULES}
    for each in IMPORTS:
        if each.at_import:
            at_import[each.module].append(each)
    for command in MODULES:
        if room(command) != "cli":
            continue
        reached, waiting = {command}, [command]
        while waiting:
            module = waiting.pop()
            for each in at_import[module]:
                assert each.imported.partition(".")[0] not in HEAVY, f"{command}, as {each}"
                parts = each.imported.split(".")
                for name in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
                    if name in MODULES and name not in reached:
                        reached.add(name)
                        waiting.append(name)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_constant_has_one_value(path: Path) -> None:
    """A table that two changes name alike would lose what the first of them says of it."""
    assigned = [
        statement.target.id
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    ]
    assert sorted(assigned) == sorted(set(assigned))
