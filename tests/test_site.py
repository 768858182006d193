"""The documentation site: its generators and checks, without building it; .ci/run builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import rich

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from documentation import (  # noqa: E402
    api,
    cards,
    checks,
    command_line,
    equations,
    errors,
    examples,
    links,
    llms,
    papers,
)


def test_every_public_name_has_a_place(tmp_path: Path) -> None:
    api.generate(tmp_path)
    index = (tmp_path / "reference" / "api" / "index.md").read_text(encoding="utf-8")
    assert "[`whybert.explain`](explaining.md#whybert.explaining.explain)" in index
    assert "::: whybert.datasets.load\n" in (tmp_path / "reference/api/judging.md").read_text(
        encoding="utf-8"
    )


def test_a_public_name_without_a_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(api.whybert._PUBLIC, "new", "explaining")
    with pytest.raises(SystemExit, match="new"):
        api.generate(tmp_path)


def test_a_page_of_names_is_readable_without_html(tmp_path: Path) -> None:
    api.generate(tmp_path)
    page = (tmp_path / "reference" / "api" / "comparing.md").read_text(encoding="utf-8")
    text = api.in_plain_text(page)
    assert ":::" not in text
    assert "\nwhybert.compare(" in text
    assert "\nwhybert.Comparison.to_html(" in text


def test_every_command_is_there_and_nothing_is_taken_for_html(tmp_path: Path) -> None:
    command_line.generate(tmp_path)
    page = (tmp_path / "reference" / "command-line.md").read_text(encoding="utf-8")
    for command in command_line.COMMANDS:
        assert f"\n## `whybert {command.name}`\n" in page
        assert f"```console\n$ {command.examples[0].split(' -o ')[0]}" in page
    assert "Each line is text&lt;TAB>pair." in page


def test_every_error_has_a_way_out() -> None:
    kinds = {name for name, place in api.whybert._PUBLIC.items() if place == "errors"}
    above = {kind.__base__.__name__ for kind in (getattr(errors.errors, name) for name in kinds)}
    assert kinds - above <= set(errors.CALLS) <= kinds
    warned = {name for name in vars(errors.errors) if name.endswith("Warning")}
    assert set(errors.WARNINGS) == warned
    assert errors._message('whybert.load("no-file.jsonl")', errors.errors.FileError).startswith(
        "FileError: cannot read"
    )
    with pytest.raises(SystemExit, match="raises nothing"):
        errors._message("1", errors.errors.FileError)


def test_an_example_is_shown_with_what_it_prints_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.py").write_text(
        "# %% [markdown]\n# # One\n#\n# A line. Not this.\n\n"
        "# %%\nprint('a < b')\n'<i>'\n\n"
        "# %%\nfrom matplotlib.figure import Figure\nfigure = Figure()\n"
        "figure.subplots().set_title('T')\nfigure\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(examples, "EXAMPLES", tmp_path)
    monkeypatch.setattr(rich, "_console", None)  # which is given another width and colours
    page = examples.notebook("one", tmp_path)
    assert page.startswith("# One\n\nA line. Not this.\n\n```python\nprint(")
    assert "<pre>a &lt; b</pre>" in page
    assert "<pre>&#x27;&lt;i&gt;&#x27;</pre>" in page
    assert 'alt="Figure: T. A line."' in page
    assert (tmp_path / "one-2.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_card_gets_the_heat_map_that_names_its_strongest_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("attnlrp", "input_marginalisation")
    monkeypatch.setattr(cards, "METHODS", {name: cards.METHODS[name] for name in names})
    (tmp_path / "cards").mkdir()
    for name in names:
        page = tmp_path / "cards" / f"{name}.md"
        page.write_text((ROOT / "docs" / "cards" / page.name).read_text(encoding="utf-8"), encoding="utf-8")
    cards.generate(tmp_path)
    for name in names:
        page = (tmp_path / "cards" / f"{name}.md").read_text(encoding="utf-8")
        before, map_, after = re.split(r"^(<div .+</div>)\n", page, flags=re.MULTILINE)
        assert before.startswith(f"# `{name}`: ")
        assert re.search(rf'aria-label="{name}[^"]* on positive; for: charming', map_)
        assert after.startswith(f"\n{cards.FIRST}\n")
        assert "<figure aria-label=" in map_  # which the style sheet knows it by
    assert "figure[aria-label]" in (ROOT / "docs/stylesheets/site.css").read_text(encoding="utf-8")


def test_links_into_the_repository_become_links_of_the_site() -> None:
    text = "[a](../benchmarks/README.md#x) [b](models.md) [c](https://x.y) `[d](../README.md)`"
    assert links.moved(text, "docs/methods.md", "methods.md") == (
        "[a](reference/speed.md#x) [b](models.md) [c](https://x.y) `[d](../README.md)`"
    )
    assert links.moved("[a](own_model.py)", "examples/README.md", "examples/index.md") == "[a](own_model.md)"


def test_equations_become_mathml(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text('<p><span class="arithmatex">\\(a &lt; b_i\\)</span></p>', encoding="utf-8")
    equations.render(tmp_path)
    written = page.read_text(encoding="utf-8")
    assert 'aria-label="a &lt; b_i"' in written
    assert "<msub><mi>b</mi><mi>i</mi></msub>" in written.replace("<mrow>", "").replace("</mrow>", "")


PAGE = """<html><head><link rel="stylesheet" href="https://fonts.example/a.css"></head><body id="top">
<a href="other/#here">x</a> <a href="other/#gone">x</a> <a href="gone/">x</a> <img src="p.png" alt="">
<p>Items:
* one</p><p>$$ x</p></body></html>"""


def test_what_is_wrong_in_a_page_is_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").touch()
    (tmp_path / "p.png").touch()
    pages = {"index.html": checks.Page(PAGE), "other/index.html": checks.Page('<h1 id="here">x</h1>')}
    assert sorted(checks._page("index.html", pages, tmp_path)) == [
        "index.html: TeX is shown as it is: $$ x",
        "index.html: a list lacks the blank line before it: * one",
        "index.html: loads https://fonts.example/a.css from another host",
        "index.html: the link gone/ leads nowhere",
        "index.html: the link other/#gone leads to no place in other/index.html",
        "index.html: the picture p.png has no alt text",
    ]


def test_a_word_that_the_search_lacks_is_told(tmp_path: Path) -> None:
    found = " ".join(word for word in checks.wanted() if word != "Zuidema")
    (tmp_path / "search.json").write_text(f'{{"items": [{{"text": "<p>{found}</p>"}}]}}', encoding="utf-8")
    assert list(checks._search(tmp_path)) == ["the search does not find 'Zuidema': no page has it"]


def test_papers_are_linked_and_name_what_is_from_them(tmp_path: Path) -> None:
    papers.generate(tmp_path)
    page = (tmp_path / "reference" / "papers.md").read_text(encoding="utf-8")
    assert "[arXiv 2402.05602](https://arxiv.org/abs/2402.05602)" in page
    assert "| Wu and Ong 2020 (" in page
    assert "| `gs`, `gi`, `lrp`, `lat` |" in page
    assert all(f"`{name}`" in page for name in papers.whybert.METHODS)


def test_every_page_of_docs_is_in_the_navigation() -> None:
    named = {page.path for page in llms.pages(ROOT)}
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert there <= named
    assert set(links.PULLED.values()) <= named
    assert {f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")} <= named
