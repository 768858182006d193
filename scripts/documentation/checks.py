"""What is wrong in a built site; an empty list is a good one.

Zensical itself checks the links of Markdown.  These checks read what a browser gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import whybert
from documentation import links, llms

FINDS: Final = (
    "AttnLRP", "Achtibat", "CP-LRP", "Ali", "Wu", "Ong", "Chefer", "Abnar", "Zuidema", "rollout",
    "Sundararajan", "integrated gradients", "Smilkov", "SmoothGrad", "VarGrad", "Adebayo", "Shrikumar",
    "DeepLIFT", "Erion", "expected gradients", "Enguehard", "LibraGrad", "GIM", "Ribeiro", "LIME", "Shapley",
    "Kernel SHAP", "Partition SHAP", "Sobol", "Fel", "Kim", "input marginalisation", "occlusion", "Qiang",
    "AttCAT", "Contrast-CAT", "Mohebbi", "value zeroing", "ALTI", "Ferrando", "DecompX", "Modarressi",
    "Layerwise attention tracing", "comprehensiveness", "sufficiency", "MoRF", "LeRF", "ERASER", "captum",
    "truncation", "counterfactual", "special tokens", "regression", "pairs",
)  # fmt: skip
"""What people look for, besides the names and authors of methods and metrics."""

_FOREIGN: Final = re.compile(r"(?:url\(|@import )\s*['\"]?(?:https?:)?//", re.ASCII)
_LOADS: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}


class Page(HTMLParser):
    """The anchors, links, pictures and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.lost_lists: list[str] = []
        self.raw_equations: list[str] = []
        self._paragraph = self._code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._code = self._code or tag == "code"
        self._paragraph = tag == "p" or (self._paragraph and tag in {"a", "em", "strong", "code"})
        self.anchors.update(found[name] or "" for name in ("id", "name") if name in found)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag == "img":
            self.pictures.append((found.get("src") or "", found.get("alt")))
        if tag in _LOADS and found.get(_LOADS[tag]):
            self.loads.append(found[_LOADS[tag]] or "")
        if tag == "link" and found.get("rel") not in {"canonical", "alternate", "prev", "next", "license"}:
            self.loads.append(found.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self._code = self._code and tag != "code"

    def handle_data(self, data: str) -> None:
        # Forges make a list of lines that follow a paragraph at once; Markdown as it was, and so the site,
        # makes them a part of the paragraph.
        if self._paragraph and (lost := re.search(r"^(?:[*+-]|1[.)]) \S.*", data, re.MULTILINE)):
            self.lost_lists.append(lost[0])
        if self._paragraph and not self._code and (raw := re.search(r"\$\$.*|\\[a-z]+\{.*", data)):
            self.raw_equations.append(raw[0])


def problems(root: Path, source: Path, site: Path) -> list[str]:
    """One line for each thing that is wrong.

    Args:
        root: the repository, with zensical.toml and README.md.
        source: the pages that were built.
        site: what they became.
    """
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if path.relative_to(site).as_posix() not in {"404.html", "results/report.html"}
    }
    return [
        *_navigation(root, source),
        *(problem for name in pages for problem in _page(name, pages, site)),
        *_stylesheets(site),
        *_readme(root, pages),
        *_search(site),
    ]


def _navigation(root: Path, source: Path) -> Iterator[str]:
    named = [page.path for page in llms.pages(root)]
    there = {path.relative_to(source).as_posix() for path in source.rglob("*.md")}
    for path in sorted(there.difference(named)):
        yield f"{path}: not in the navigation of zensical.toml"
    for path in sorted(set(named) - there):
        yield f"zensical.toml: its navigation names {path}, which is not there"
    for path in sorted({path for path in named if named.count(path) > 1}):
        yield f"zensical.toml: its navigation names {path} twice"


def _page(name: str, pages: dict[str, Page], site: Path) -> Iterator[str]:
    page = pages[name]
    for link in {*page.links, *(load for load in page.loads if not _foreign(load))}:
        if problem := _link(name, link, pages, site):
            yield f"{name}: {problem}"
    for load in page.loads:
        if _foreign(load):
            yield f"{name}: loads {load} from another host"
    for picture, alt in page.pictures:
        if not (alt or "").strip():
            yield f"{name}: the picture {picture} has no alt text"
    for line in page.raw_equations:
        yield f"{name}: TeX is shown as it is: {line[:60]}"
    for line in page.lost_lists:
        yield f"{name}: a list lacks the blank line before it: {line[:60]}"


def _link(name: str, link: str, pages: dict[str, Page], site: Path) -> str:
    """What is wrong with a link, if anything is."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "" if parts.scheme in {"https", "mailto", "data"} else f"the link {link} is not of https"
    path = unquote(urlsplit(urljoin(f"/{name}", parts.path)).path).removeprefix("/") if parts.path else name
    if path in {"", "."} or path.endswith("/"):
        path += "index.html"
    if not (site / path).is_file():
        return f"the link {link} leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and path in pages and anchor not in pages[path].anchors:
        return f"the link {link} leads to no place in {path}"
    return ""


def _foreign(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))


def _stylesheets(site: Path) -> Iterator[str]:
    for path in site.rglob("*.css"):
        if _FOREIGN.search(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: loads from another host"


def _readme(root: Path, pages: dict[str, Page]) -> Iterator[str]:
    """The README's links are for the repository; their anchors are those of the site's pages."""
    text = (root / "README.md").read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        if path and not (root / path).exists():
            yield f"README.md: the link {path} leads nowhere"
        elif anchor and path.endswith(".md"):
            page = links.place_of(path).removesuffix(".md").removesuffix("index").rstrip("/")
            found = pages.get(f"{page}/index.html" if page else "index.html")
            if found is not None and anchor not in found.anchors:
                yield f"README.md: the link {path}#{anchor} leads to no place in the page"


def wanted() -> list[str]:
    """What the site's search has to find: FINDS, each method, and whoever a method or a metric is from."""
    sources = [each.source for each in (*whybert.METHODS.values(), *whybert.METRICS.values())]
    authors = {name for source in sources for name in re.findall(r"\b[A-Z]\w+", source)}
    return list(dict.fromkeys([*FINDS, *whybert.METHODS, *sorted(authors)]))


def _search(site: Path) -> Iterator[str]:
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    text = re.sub(r"<[^>]+>", "", json.dumps(index["items"], ensure_ascii=False)).casefold()
    for words in wanted():
        if not re.search(rf"\b{re.escape(words.casefold())}\b", text):
            yield f"the search does not find {words!r}: no page has it"
