"""The report of a study: well-formed, the same each time, and nothing in it that takes effect unasked."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from whybert.evaluation.agreement import WordScore
from whybert.evaluation.bench import Evaluation, Value
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metrics import resolve_metrics
from whybert.evaluation.plots import Line, method_style
from whybert.evaluation.statistics import bootstrap
from whybert.explanation import Explanation, Target, Token
from whybert.methods import STANDARD
from whybert.render.figures import COLOURS
from whybert.study import pictures, report
from whybert.study.grids import Facts, tables
from whybert.study.settings import StudyRun, StudySettings, read_settings, settings_text
from whybert.study.work import RunResult, Study, Words

VOID = {"meta", "br", "link", "img", "input", "hr"}
METHOD_NAMES = ("gi", "lat", "attnlrp")
METRIC_NAMES = ("deletion-paper", "deletion-mask", "morf", "abpc", "loo-kendall")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\\input{x}%$_#&~^{}",
    "right\u202eleft\u2066",
    "$x_1^{",
    "\x1b[31m\x00",
    "{{ 7 * 7 }}{% raw %}",
    "不错",
    "\ud83d",
)


def explanation(text: str, method: str, label: str) -> Explanation:
    words = text.split()
    starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words))]
    return Explanation(
        text=text,
        pair=None,
        tokens=tuple(
            Token(word, start, start + len(word), 0, place, False, 0.5 * place)
            for place, (word, start) in enumerate(zip(words, starts, strict=True))
        ),
        word_spans=tuple((0, start, start + len(word)) for word, start in zip(words, starts, strict=True)),
        prediction=label,
        probabilities=(0.9, 0.1),
        logits=(1.0, -1.0),
        labels=(label, "other"),
        target=Target(0, label),
        method=method,
        options={},
        signed=method == "attnlrp",
        truncated=False,
        completeness=None,
    )


def run_result(number: int, name: str, words: tuple[str, ...], label: str, data_set: str) -> RunResult:
    metrics = resolve_metrics(METRIC_NAMES)
    methods = (*METHOD_NAMES, RANDOM)
    values = []
    for metric in metrics:
        grid = getattr(metric, "grid", ())
        for place, method in enumerate(methods):
            for row in range(12):
                value = 0.1 * place + 0.01 * row + 0.02 * number
                values.append(Value(row, method, metric.name, value, tuple(value for _ in grid)))
    evaluation = Evaluation(
        model="model",
        data=f"{data_set}/test",
        rows=tuple(range(12)),
        methods=methods,
        metrics=metrics,
        values=tuple(values),
        pairs=(),
        ties=MappingProxyType({"lat": 3}),
        accuracy=0.75,
        settings=MappingProxyType(
            {"seed": 0, "texts": 12, "of": 90, "max_length": 40, "versions": {"whybert": "1", "torch": "2"}}
        ),
        seconds=12.3,
        notes=(f"a note about {words[0]}",),
    )
    scores = {word: WordScore(math.sin(place + number), 2 + place) for place, word in enumerate(words)}
    kinds: dict[str, Any] = {
        method: {"magnitude": scores, **({"signed": scores} if method in ("attnlrp", RANDOM) else {})}
        for method in methods
    }
    text = " ".join(words)
    return RunResult(
        run=StudyRun(name, f"/models/{label}", data_set, second_model="x" if number else None),
        data_set=data_set,
        evaluation=evaluation,
        words=Words("model", 20, kinds),
        second=Words("second", 20, kinds) if number else None,
        examples=(tuple(explanation(text, method, label) for method in METHOD_NAMES),),
    )


def made(words: tuple[str, ...], names: tuple[str, ...], label: str, title: str) -> Study:
    runs = tuple(
        run_result(number, name, words, label, data_set)
        for number, (name, data_set) in enumerate(zip(names, ("sst5", "semeval", "mine"), strict=False))
    )
    settings = StudySettings(
        tuple(run.run for run in runs), title=title, methods=METHOD_NAMES, metrics=METRIC_NAMES
    )
    return Study(settings, runs)


@pytest.fixture(scope="module")
def study() -> Study:
    return made(("good", "bad", "film", "actors"), ("first", "second", "third"), "positive", "A study")


@pytest.fixture(scope="module")
def hostile() -> Study:
    names = ("<b>bold<b>", "$x_1^{ \u202e", "[ends}%&#_")
    return made(HOSTILE, names, "<script>alert(2)<script>", "</title><script>alert(3)</script>")


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def written(study: Study) -> str:
    return report.html(Facts(study))


@pytest.fixture(scope="module")
def page(written: str) -> Page:
    return Page(written)


def checked(page: Page) -> None:
    """Nothing is loaded, nothing runs, and each id is there once."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.tags:
        assert tag not in {"script", "img", "link", "iframe", "object", "base", "form", "image", "b"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "action"}
            if name in ("href", "xlink:href"):
                assert value is not None
                assert value[0] == "#"
                assert value[1:] in ids
            if name != "xmlns":
                assert "http" not in (value or "")
            if name in ("aria-labelledby",):
                assert set((value or "").split()) <= set(ids)
            for reference in re.findall(r"url\(([^)]*)\)", value or ""):
                assert reference[1:] in ids


def test_the_page_is_well_formed_and_closed_to_the_world(page: Page) -> None:
    checked(page)
    policy = [attributes for tag, attributes in page.tags if attributes.get("http-equiv")]
    assert policy[0]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert dict(page.tags)["html"] == {"lang": "en"}


def test_the_page_says_what_was_found(page: Page, study: Study) -> None:
    text = " ".join(" ".join(page.text).split())
    for part in (
        "A study",
        "sst5/test",
        "0.616",  # the paper's
        "compare the order, not the level",
        "Kendall's tau",
        "deletion-paper ↓",
        "★",
        "12 of 90 texts for metrics, 20 for word scores, at most 40 tokens",
        "lat in 3 texts",
        "whybert 1, torch 2",
        "a note about good",
        "whybert study study.yaml",
    ):
        assert part in text, part


def test_pictures_have_a_title_and_words(page: Page) -> None:
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    # Three curves of deletion and of perturbation for three runs, and word scores for four methods.
    assert len(drawings) == 4 * 3 + 4
    assert all(attributes["role"] == "img" for attributes in drawings)
    assert sum(tag == "desc" for tag, _ in page.tags) == len(drawings)


def test_points_of_a_picture_lie_where_they_should() -> None:
    """Places of marks are a linear function of the scores, to the hundredth that is written."""
    first = {f"word{i}": WordScore(math.sin(i), 5) for i in range(40)}
    second = {f"word{i}": WordScore(math.cos(3 * i), 5) for i in range(40)}
    names = {"one": first, 'x="0.123456"': second}
    svg = pictures.word_grid("key", "title", names, "gi", ["gi"], text="said")
    [marks] = re.findall(r'<g style="[^"]*">((?:<use [^>]*/>\s*)+)</g>', svg)
    places = np.array(re.findall(r'x="([\d.]+)" y="([\d.]+)"', marks), dtype=float)
    words = sorted(first)  # as text, which is the order of the marks
    for column, scores in ((0, first), (1, second)):
        means = [scores[word].mean for word in words]
        slope, offset = np.polyfit(means, places[:, column], 1)
        np.testing.assert_allclose(slope * np.array(means) + offset, places[:, column], atol=0.01)
    assert 'x="0.123456"' in html.unescape(svg)  # what only looks like an attribute stays


def test_contents_lead_to_the_sections(page: Page) -> None:
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    headings = [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert [target[1:] for target in targets if target] == headings


def test_the_same_study_gives_the_same_bytes(study: Study, written: str) -> None:
    copy = dataclasses.replace(study, runs=tuple(dataclasses.replace(run) for run in study.runs))
    assert report.html(Facts(copy)) == written
    assert report.latex(Facts(study)) == report.latex(Facts(copy))


def test_hostile_words_take_no_effect(hostile: Study) -> None:
    raw = report.html(Facts(hostile))
    page = Page(raw)
    checked(page)
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "</title><script>alert(3)</script>" in text
    assert "{{ 7 * 7 }}{% raw %}" in text
    assert not set("\u202e\u2066\x1b\x00\ud83d") & set(text)
    drawn = "".join(raw.split("<svg")[1:])
    assert "&lt;b&gt;bold&lt;b&gt;" in drawn
    assert "$x_1^{" in drawn  # no formula


def test_a_study_of_one_run_has_no_pairs(study: Study) -> None:
    one = dataclasses.replace(study, runs=study.runs[2:])
    text = report.html(Facts(one))
    checked(Page(text))
    assert "Word scores across data sets" not in text
    assert "Word scores with another seed" in text
    assert "The paper's numbers beside these</h2>" not in text
    assert "tab:study-correlations" not in report.latex(Facts(one))


# LaTeX


def test_latex_has_the_tables(study: Study) -> None:
    text = report.latex(Facts(study))
    for label in ("summary", "wins", "metrics-1", "words-3", "correlations", "seeds", "published", "claims"):
        assert f"\\label{{tab:study-{label}}}" in text
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}")
    assert text.count("\\toprule") == text.count("\\bottomrule") == text.count("\\begin{table}")
    assert "0.616" in text
    assert "$\\star$" in text


def test_hostile_words_are_text_in_latex(hostile: Study) -> None:
    text = report.latex(Facts(hostile))
    assert "\\input" not in text
    depth = 0
    for character in re.sub(r"\\[\\{}]", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    body = "\n".join(line for line in text.split("\n") if not line.startswith("% "))
    rest = re.sub(r"\$(\\uparrow|\\downarrow|\\star|=)\$", "", body)
    rest = re.sub(r"\\[a-zA-Z]+|\\[^a-zA-Z]", " ", rest)
    assert not set("%$#_^~") & set(rest)
    assert not re.search(r"\\\\\s*[\[*]", text)  # an argument of the end of a row
    assert not set("\u202e\u2066\x1b\x00\ud83d") & set(text)


def test_rows_have_as_many_cells_as_the_head(hostile: Study) -> None:
    for table in re.findall(r"\\toprule(.*?)\\bottomrule", report.latex(Facts(hostile)), re.DOTALL):
        counts = set()
        for line in table.split("\n"):
            if line.endswith(r"\\"):
                counts.add(len(re.findall(r"(?<!\\)&", re.sub(r"\\\\", "", line))))
        assert len(counts) == 1


# Tables and files


def test_tables_are_tidy(study: Study) -> None:
    for name, (columns, rows) in tables(Facts(study)).items():
        assert len(set(columns)) == len(columns), name
        assert rows, name
        assert {len(row) for row in rows} == {len(columns)}, name
    columns, rows = tables(Facts(study))["metrics"]
    first = dict(zip(columns, rows[0], strict=True))
    values = [value.value for value in study.runs[0].evaluation.cell("gi", "deletion-paper")]
    assert first["mean"] == pytest.approx(sum(values) / len(values))
    columns, rows = tables(Facts(study))["published"]
    assert ("first", "sst5", "lat", 0.640) in {row[:4] for row in rows}


@pytest.mark.parametrize("name", ["study", "hostile"])
def test_files(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from pyarrow import parquet

    found: Study = request.getfixturevalue(name)
    written = report.write(found, tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(written)
    record = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in record["runs"]] == [run.run.name for run in found.runs]
    table = parquet.read_table(tmp_path / "tables" / "words.parquet")
    with open(tmp_path / "tables" / "words.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert table.column("word").to_pylist() == [row["word"] for row in rows]
    assert [str(kind) for kind in table.schema.types] == ["string", "bool"] + ["string"] * 3 + [
        "double",
        "int64",
    ]


def test_the_settings_are_read_again(study: Study, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(settings_text(study.settings), encoding="utf-8")
    assert read_settings(tmp_path / "study.yaml") == study.settings


def test_what_is_not_defined_is_no_number(study: Study, tmp_path: Path) -> None:
    run = study.runs[0]
    values = tuple(value._replace(value=math.nan, curve=()) for value in run.evaluation.values)
    evaluation = dataclasses.replace(run.evaluation, values=values, accuracy=None)
    words = dataclasses.replace(
        run.words, scores={method: {kind: {} for kind in kinds} for method, kinds in run.words.scores.items()}
    )
    empty = dataclasses.replace(run, evaluation=evaluation, words=words, examples=())
    bare = dataclasses.replace(study, runs=(empty, study.runs[1]))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "seed_correlations.csv").write_text("of another study")
    report.write(dataclasses.replace(bare, runs=(empty,)), tmp_path)
    assert not (tmp_path / "tables" / "seed_correlations.csv").exists()
    report.write(bare, tmp_path)
    checked(Page((tmp_path / "report.html").read_text(encoding="utf-8")))
    assert "NaN" not in (tmp_path / "study.json").read_text()
    assert "nan" not in report.latex(Facts(bare))


# Pictures


def test_a_picture_is_the_same_each_time_and_needs_no_state() -> None:
    import matplotlib

    settings = dict(matplotlib.rcParams)
    points = (bootstrap([1.0, 2.0]), bootstrap([0.5, 1.0]))
    methods = (*STANDARD, "other", RANDOM)
    lines = [Line(method, (1.0, 2.0), points) for method in methods]

    def draw(name: str) -> str:
        return pictures.curves(name, "a < b", lines, methods, x_label="$x$", y_label="y", text="so & so")

    first = draw("one")
    assert first == draw("one")
    assert dict(matplotlib.rcParams) == settings
    assert '<title id="one-title">a &lt; b</title>' in first
    assert '<desc id="one-text">so &amp; so</desc>' in first
    assert ">$x$<" in first
    assert "currentColor" in first
    assert pictures._INK not in first
    assert "<style" not in first
    ids = [set(re.findall(' id="([^"]*)"', drawn)) for drawn in (first, draw("two"))]
    assert not ids[0] & ids[1]


def test_methods_are_told_apart_without_colours_too() -> None:
    methods = [*STANDARD, RANDOM, *(f"gi:reduction={number}" for number in range(20 - len(STANDARD)))]
    styles = [method_style(method, methods) for method in methods]
    assert len(methods) == 21
    assert len({(colour, *map(str, style.values())) for colour, style in styles}) == 21
    without = {
        (str(style["linestyle"]), style.get("marker"), style.get("markerfacecolor") == "none")
        for _, style in styles
    }
    assert len(without) == 21
    assert len(set(COLOURS)) == len(COLOURS)


@pytest.mark.parametrize("count", [2, 7, 20])
@pytest.mark.parametrize("name", ["m{}", "expected_gradients:samples={}", "x" * 90 + "{}"])
def test_a_legend_stays_in_the_picture_and_leaves_the_curves_room(
    count: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(pictures, "_svg", lambda figure, *_: figures.append(figure))
    methods = [name.format(number) for number in range(count)]
    points = (bootstrap([1.0, 2.0]), bootstrap([0.5, 1.0]))
    lines = [Line(method, (1.0, 2.0), points) for method in methods]
    pictures.curves("key", "title", lines, methods, x_label="x", y_label="y", text="said")
    [figure] = figures
    figure.draw_without_rendering()
    [legend] = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert box.x0 >= 0
    assert box.x1 <= whole.x1
    [axes] = figure.axes
    assert axes.get_window_extent().height > 2.2 * figure.dpi
    assert not box.overlaps(axes.get_tightbbox())
