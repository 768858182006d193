"""The pages of the repository in the site: where each stands there, and their links made to fit."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

PULLED: Final = {
    "benchmarks/README.md": "reference/speed.md",
    "CHANGELOG.md": "reference/changelog.md",
    "CONTRIBUTING.md": "reference/contributing.md",
    "LICENSE": "reference/licence.md",
    "examples/README.md": "examples/index.md",
    "src/whybert/builtin/README.md": "reference/builtin.md",
    "README.md": "index.md",
}
"""Files outside of docs/ -> their place in the site; for README.md docs/index.md stands there."""

_MADE: Final = (re.compile(r"examples/(\w+)\.py"), r"examples/\1.md")  # by a generator
_LINK: Final = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_CODE: Final = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def copy_pages(root: Path, folder: Path) -> None:
    """Copy docs/ and the pages of PULLED into a folder, as pages of the site."""
    shutil.copytree(root / "docs", folder)
    for path in folder.rglob("*.md"):
        place = path.relative_to(folder).as_posix()
        path.write_text(moved(path.read_text(encoding="utf-8"), f"docs/{place}", place), encoding="utf-8")
    for origin, place in PULLED.items():
        if (root / origin).exists() and not (folder / place).exists():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            text = (root / origin).read_text(encoding="utf-8")
            text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.DOTALL | re.MULTILINE)  # a model card's
            if not origin.endswith(".md"):
                text = f"# Licence\n\n```text\n{text.strip()}\n```\n"
            (folder / place).write_text(moved(text, origin, place), encoding="utf-8")


def place_of(path: str) -> str:
    """The place in the site of a file of the repository.

    Args:
        path: relative to the root of the repository, with slashes.
    """
    if path in PULLED:
        return PULLED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return _MADE[0].sub(_MADE[1], path)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """A page with what is no code in it changed."""
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def moved(text: str, origin: str, place: str) -> str:
    """A page with its links to files of the repository made links to pages of the site.

    Args:
        text: the page.
        origin: the path in the repository of the file that it comes from.
        place: the path of the page in the site.
    """

    def link(found: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(origin).parent / found[1])
        return os.path.relpath(place_of(PurePosixPath(target).as_posix()), PurePosixPath(place).parent)

    return outside_code(text, lambda part: _LINK.sub(link, part))
