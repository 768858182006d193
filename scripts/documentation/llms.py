"""`llms.txt` and `llms-full.txt`, as https://llmstxt.org has them: what a language model reads first."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from documentation import api

SUMMARY = (
    "whybert is a Python library and command line that says why a transformer text classifier decided as "
    "it did: which words spoke for the decision and which against it, for Hugging Face models from BERT to "
    "Llama."
)
NOTES = """\
* Install with `pip install 'whybert[builtin]'`; `whybert.explain("builtin", ["a text"])` needs no network.
* `whybert.explain` takes texts and returns frozen explanations; `whybert.attribute` takes tensors.
* Scores are raw and signed: parts of the explained logit. The default method is `attnlrp`, one backward pass.
* What cannot be explained rightly is an error that names the way out, never a wrong answer."""


class Page(NamedTuple):
    """A page of the navigation: its section, its title there and its file."""

    section: str
    title: str
    path: str


def pages(root: Path) -> list[Page]:
    """The pages of zensical.toml, in the order of the navigation."""
    configuration = tomllib.loads((root / "zensical.toml").read_text(encoding="utf-8"))
    return list(_pages(configuration["project"]["nav"], ()))


def _pages(entries: Sequence[Any], sections: tuple[str, ...]) -> Iterator[Page]:
    for entry in entries:
        [(title, below)] = entry.items() if isinstance(entry, dict) else [("", entry)]
        if isinstance(below, str):
            yield Page(sections[0] if sections else "", title, below)
        else:
            yield from _pages(below, (*sections, title))


def write(root: Path, source: Path, site: Path) -> None:
    """Write both files into the site, and every page as Markdown beside its HTML, where they link to."""
    index, full, last = [f"# whybert\n\n> {SUMMARY}\n\n{NOTES}"], [f"# whybert\n\n> {SUMMARY}\n"], None
    for section, title, path in pages(root):
        if not (source / path).exists():
            continue
        text = (source / path).read_text(encoding="utf-8")
        text = api.in_plain_text(text)
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, encoding="utf-8")
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        title = title or (heading[1] if heading else path)
        if section != last:
            index.append(f"\n## {section or 'Pages'}\n")
            last = section
        index.append(f"- [{title}]({path}): {_first_sentence(text)}")
        full.append(text)
    (site / "llms.txt").write_text("\n".join(index) + "\n", encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(full) + "\n", encoding="utf-8")


def _first_sentence(text: str) -> str:
    """The first sentence of the first paragraph of prose."""
    text = re.sub(r"^(```|~~~).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        if re.match(r"[\w\"'*`\[]", paragraph) and not paragraph.startswith(("* ", "[![")):
            plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            return re.split(r"(?<=[.:?]) ", plain)[0]
    return ""
