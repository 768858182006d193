"""The pages of what `whybert` exports, each name in a group; mkdocstrings fills them from the docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import whybert


class Group(NamedTuple):
    """A page: its title, what stands above, and the public names on it, in an order for reading."""

    title: str
    text: str
    names: tuple[str, ...]


GROUPS: Final = {
    "explaining": Group(
        "Explaining texts",
        "Texts in, explanations out. Guides: [your model](../../models.md), [targets](../../targets.md), "
        "[long texts](../../long-texts.md).",
        (
            "explain", "Classifier", "Prediction", "BlackBox", "Encoder", "similarity", "zero_shot",
            "METHODS", "STANDARD",
        ),
    ),
    "explanations": Group(
        "What comes out",
        "Frozen values. Guides: [what comes out](../../output.md), [pictures](../../pictures.md).",
        (
            "Explanation", "Explanations", "Token", "Word", "Sentence", "TokenPairs", "Target", "Place",
            "Window", "Completeness", "save", "load", "html", "plot_methods",
        ),
    ),
    "comparing": Group(
        "Comparing and changing",
        "Guides: [interactions and changes](../../interactions.md), [methods](../../methods.md).",
        (
            "compare", "Comparison", "Comparisons", "interactions", "Interactions", "smallest_removal",
            "Removal", "flips", "Flip", "Flips",
        ),
    ),
    "judging": Group(
        "Judging methods",
        "Guides: [audit](../../audit.md), [evaluation](../../evaluation.md).",
        (
            "audit", "Audit", "evaluate", "METRICS", "load_data", "plot_deletion", "plot_word_scores",
        ),
    ),
    "serving": Group(
        "A page for the browser",
        "What `whybert serve` starts.",
        ("serve",),
    ),
    "tensors": Group(
        "Tensors",
        "The level below texts: a model, what its tokenizer made, and scores as tensors.",
        ("attribute", "Attribution"),
    ),
}  # fmt: skip
"""File -> its page.  The errors have a page of their own."""


def generate(folder: Path) -> None:
    named = [name for group in GROUPS.values() for name in group.names]
    errors = {name for name, place in whybert._PUBLIC.items() if place == "errors"}
    if sorted([*named, *errors]) != sorted(whybert._PUBLIC):
        strange = set(named).symmetric_difference(set(whybert._PUBLIC) - errors)
        raise SystemExit(f"api.py: in no group, in two, or not public: {', '.join(sorted(strange)) or named}")
    pages = folder / "reference" / "api"
    pages.mkdir(parents=True)
    lines = ["# Python", "", "Everything public is a name of `whybert` itself; `import whybert` is all.", ""]
    for file, group in GROUPS.items():
        lines += [f"## [{group.title}]({file}.md)", "", group.text, ""]
        lines += [f"* [`whybert.{name}`]({file}.md#{_path(name)})" for name in group.names]
        lines.append("")
        parts = [f"# {group.title}", "", group.text, ""]
        for name in group.names:
            parts += [
                f"::: {_path(name)}",
                "    options:",
                "      heading_level: 2",
                f"      heading: whybert.{name}",
                "",
            ]
        (pages / f"{file}.md").write_text("\n".join(parts), encoding="utf-8")
    lines += ["## [Errors](../errors.md)", "", "Each with an example of its message and the way out."]
    (pages / "index.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def in_plain_text(page: str) -> str:
    """A page of this module with signatures and docstrings where mkdocstrings would put them."""
    block = re.compile(r"^::: \S+\n(?: .*\n)*      heading: whybert\.(\w+)\n", re.MULTILINE)
    return block.sub(
        lambda found: "\n".join(_described(f"whybert.{found[1]}", getattr(whybert, found[1]))), page
    )


def _described(name: str, value: object) -> Iterator[str]:
    if not callable(value):
        yield f"## {name}\n"
        return
    yield f"## {name}\n\n```text\n{name}{inspect.signature(value)}\n\n{inspect.getdoc(value)}\n```\n"
    for part, own in vars(value).items() if inspect.isclass(value) else ():
        own = own.fget if isinstance(own, property) else getattr(own, "__func__", own)
        if inspect.isfunction(own) and not part.startswith("_"):
            yield f"```text\n{name}.{part}{inspect.signature(own)}\n\n{inspect.getdoc(own)}\n```\n"


def _path(name: str) -> str:
    """The full name of a public name, where it is defined."""
    place, _, attribute = whybert._PUBLIC[name].partition(":")
    return f"whybert.{place}.{attribute or name}"
