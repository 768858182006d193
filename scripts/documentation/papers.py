"""The page of papers: what each method and metric is from, as its docstring cites it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import whybert
from whybert.methods import Method

HEAD = """\
# Papers

What each method and each metric is from, the methods by the name that `method=` and `--method` take. A method
that a paper proposes under another name than whybert's is found here by the names of its authors.

"""


def generate(folder: Path) -> None:
    methods = cited((name, _in_full(method)) for name, method in whybert.METHODS.items())
    metrics = cited((name, metric.source) for name, metric in whybert.METRICS.items() if metric.source != "-")
    lines = [HEAD]
    for title, found in (("Methods", methods), ("Metrics", metrics)):
        lines += [f"## {title}\n\n| from | {title.lower()} |\n|---|---|\n"]
        for source, names in sorted(found.items(), key=lambda item: item[0].casefold()):
            listed = ", ".join(_name(name, folder) for name in names)
            lines.append(f"| {_linked(source)} | {listed} |\n")
        lines.append("\n")
    page = folder / "reference" / "papers.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("".join(lines), encoding="utf-8")


def cited(found: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """Names by what they are from."""
    names: dict[str, list[str]] = {}
    for name, source in found:
        names.setdefault(source, []).append(name)
    return names


def _in_full(method: type[Method]) -> str:
    """The source of a method as its docstring has it."""
    found = re.search(
        r"^Source: (.+?)(?:\n\n|\Z)", inspect.cleandoc(method.__doc__ or ""), re.DOTALL | re.MULTILINE
    )
    return method.source if found is None else " ".join(found[1].split()).removesuffix(".")


def _name(name: str, folder: Path) -> str:
    has_card = (folder / "cards" / f"{name}.md").exists()
    return f"[`{name}`](../cards/{name}.md)" if has_card else f"`{name}`"


def _linked(source: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)
