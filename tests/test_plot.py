"""Pictures: what they say, that they say it without colours too, and that they look as they did."""

from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from PIL import Image

import whybert
from test_render import HOSTILE, explain, hostile_everywhere
from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.evaluation.bench import Evaluation, Value
from whybert.evaluation.given import RANDOM
from whybert.evaluation.metrics import resolve_metrics
from whybert.explanation import Completeness, Explanation, Target
from whybert.render import figures
from whybert.render.plot import BARS, ROWS, SHOWN, picture

REFERENCE = Path(__file__).parent / "pictures"
TOLERANCE = 3.0  # of the root mean square, of 255; the references have few colours
SENTENCE = "The plot is thin , but the cast is charming and costs $5 or $6 ."
SCORES = [0.01, -0.2, 0.1, -0.9, 0.05, -0.15, 0.0, 0.3, 0.12, 1.6, 0.1, -0.3, 0.2, 0.0, -0.1, 0.4]


def one(**changes: Any) -> Explanation:
    changes = {"completeness": Completeness(1.13, 3.5, 2.37)} | changes
    return explain(SENTENCE, list(map(abs, SCORES)) if not changes.get("signed", True) else SCORES, **changes)


def others(count: int, explanation: Explanation | None = None) -> dict[str, Explanation]:
    """So many methods that differ a little, every third with magnitudes."""
    first = explanation or one()
    found = {}
    for number in range(count):
        draw = random.Random(number)
        signed = number % 3 != 2
        tokens = [
            dataclasses.replace(
                token, score=(token.score if signed else abs(token.score)) * draw.uniform(0, 2)
            )
            for token in first.tokens
        ]
        found[f"method_{number}"] = dataclasses.replace(first, tokens=tuple(tokens), signed=signed)
    return found


def evaluation(methods: int = 3, texts: int = 12, names: tuple[str, ...] = ("morf", "lerf")) -> Evaluation:
    metrics = resolve_metrics(names)
    named = (*(f"method_{number}" for number in range(methods)), RANDOM)
    values = []
    for place, method in enumerate(named):
        for metric in metrics:
            for row in range(texts):
                draw = random.Random(1000 * place + row)
                steps = len(metric.grid)
                falls = 0.2 + 0.8 * place / methods if metric.name == "morf" else 1.6 - place / methods
                curve = tuple(max(0.0, 1 - (x / steps) ** falls * draw.uniform(0.8, 1)) for x in range(steps))
                values.append(Value(row, method, metric.name, sum(curve) / steps, curve))
    return Evaluation(
        model="model",
        data="reviews",
        rows=tuple(range(texts)),
        methods=named,
        metrics=metrics,
        values=tuple(values),
        pairs=(),
        ties={},
        accuracy=None,
        settings={"seed": 0},
        seconds=1.0,
    )


def many() -> list[Explanation]:
    """Texts of a few words, whose scores differ from place to place."""
    words = ["good", "bad", "film", "plot", "$money$", "the"]
    found = []
    for number in range(20):
        draw = random.Random(number)
        text = draw.sample(words, 5)
        scores = [(words.index(word) - 2.5) * draw.uniform(-0.5, 2) for word in text]
        found.append(explain(" ".join(text), scores, completeness=Completeness(1.0, 1.0)))
    return found


PICTURES: dict[str, Callable[[], Figure]] = {
    "heat": lambda: one().plot(),
    "bar": lambda: one().plot("bar"),
    "magnitudes": lambda: one(signed=False, completeness=None).plot(),
    "methods": lambda: whybert.plot_methods(others(4)),
    "dots": lambda: whybert.plot_methods(others(20), "dot"),
    "deletion": lambda: whybert.plot_deletion(evaluation()),
    "words": lambda: whybert.plot_word_scores(many()),
    "swarm": lambda: whybert.plot_word_scores(many(), "swarm"),
}
every_picture = pytest.mark.parametrize("name", PICTURES)


def texts(figure: Figure) -> list[str]:
    """What the figure says, in no order; ticks and labels are there once it was drawn."""
    figure.draw_without_rendering()
    found = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return [text for text in found if text]


def said(figure: Figure) -> str:
    return "\n".join(texts(figure))


def saved(figure: Figure, kind: str) -> bytes:
    stream = io.BytesIO()
    figures.write(figure, stream, kind)
    return stream.getvalue()


def without_text(figure: Figure) -> Figure:
    """The marks and colours, at places that do not depend on the width of letters, as fonts change."""
    figure.set_layout_engine("none")
    for legend in list(figure.legends):
        legend.remove()
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        text.set_alpha(0)
    return figure


def difference(name: str, figure: Figure, folder: Path) -> float:
    drawn = folder / f"{name}.png"
    without_text(figure).savefig(drawn, dpi=50)
    found = compare_images(str(REFERENCE / f"{name}.png"), str(drawn), 0, in_decorator=True)
    return found["rms"] if found else 0.0


@every_picture
def test_a_picture_looks_as_it_did(name: str, tmp_path: Path) -> None:
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        assert difference(name, PICTURES[name](), tmp_path) < TOLERANCE


def test_the_references_tell_signs_and_methods_apart(tmp_path: Path) -> None:
    def turned(explanation: Explanation) -> Explanation:
        tokens = [dataclasses.replace(token, score=-token.score) for token in explanation.tokens]
        return dataclasses.replace(explanation, tokens=tuple(tokens)) if explanation.signed else explanation

    assert difference("heat", turned(one()).plot(), tmp_path) > 3 * TOLERANCE
    assert difference("bar", turned(one()).plot("bar"), tmp_path) > 3 * TOLERANCE
    rows = {name: turned(row) for name, row in others(4).items()}
    assert difference("methods", whybert.plot_methods(rows), tmp_path) > 3 * TOLERANCE
    back = dataclasses.replace(evaluation(), methods=evaluation().methods[::-1])
    assert difference("deletion", whybert.plot_deletion(back), tmp_path) > 3 * TOLERANCE


def test_references_are_small() -> None:
    files = sorted(REFERENCE.iterdir())
    assert {path.stem for path in files} == set(PICTURES)
    assert max(path.stat().st_size for path in files) < 20_000


@every_picture
def test_a_picture_changes_no_state_and_is_the_same_each_time(name: str) -> None:
    settings = dict(matplotlib.rcParams)
    first, second = PICTURES[name](), PICTURES[name]()
    for kind in ("png", "svg"):
        assert saved(first, kind) == saved(second, kind)
    assert dict(matplotlib.rcParams) == settings


@every_picture
def test_a_picture_shows_itself_in_a_notebook(name: str) -> None:
    figure = PICTURES[name]()
    content, size = figure._repr_png_()  # type: ignore[attr-defined]
    assert content.startswith(b"\x89PNG")
    assert abs(size["width"] - figure.get_figwidth() * 96) < 1


@every_picture
def test_all_text_lies_in_the_picture(name: str) -> None:
    figure = PICTURES[name]()
    figure.draw_without_rendering()
    beyond = {text for axes in figure.axes for text in axes.get_xticklabels()}  # ticks past the end
    for text in set(figure.findobj(Text)) - beyond:
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= -1, text.get_text()
            assert box.y0 >= -1, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert box.y1 <= figure.bbox.y1 + 1, text.get_text()


def test_a_heat_map_says_what_was_decided_and_what_its_colours_mean() -> None:
    lines = texts(one().plot())
    assert lines[0] == "positive 0.998 · attnlrp"
    assert SENTENCE.split() == [line for line in lines if line in SENTENCE.split()]
    assert "against positive  -1.600" in lines
    assert "+1.600  supports positive" in lines
    assert any(line.startswith("score (part of the logit)") for line in lines)
    assert any(line.startswith("tokens 1.13 + biases 2.37 = logit 3.50") for line in lines)


def test_a_heat_map_tells_signs_apart_without_colours() -> None:
    def inks(score: float) -> list[Rectangle]:
        """The lines under the word, of ink; the legend stands below them."""
        figure = explain("word", [score]).plot()
        boxes = [box for box in figure.findobj(Rectangle) if box.get_facecolor()[:3] == (0, 0, 0)]
        top = min((box.get_y() for box in boxes), default=0)
        return [box for box in boxes if box.get_y() == top and box.get_x() < 40]

    whole, broken = inks(1.0), inks(-1.0)
    assert len(whole) == 1
    assert len(broken) > 2
    assert {box.get_height() for box in broken} == {whole[0].get_height()}


def test_a_pair_is_named_and_tokens_are_shown() -> None:
    figure = explain("a b", [1.0, 2.0], pair="c d").plot(level="token")
    assert {"Text", "Pair", "[CLS]", "[SEP]", "c"} <= set(texts(figure))
    assert "Text" not in texts(one().plot())


def test_sentences_are_a_level() -> None:
    assert said(one().plot("bar", level="sentence")).count("sentences") == 1


def test_bars_are_the_strongest_words_and_one_for_the_rest() -> None:
    explanation = explain(" ".join(f"w{number}" for number in range(60)), [float(n) for n in range(60)])
    figure = explanation.plot("bar")
    [axes] = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels[:2] == ["w59", "w58"]
    assert labels[BARS] == "35 other words, sum"
    assert len(axes.patches) == BARS + 1
    assert axes.patches[-1].get_width() == sum(range(35))
    assert axes.get_xlabel() == "score (raw, of attnlrp)"
    assert axes.get_ylabel() == "words, strongest first"


def test_bars_against_are_hatched_and_the_legend_says_so() -> None:
    figure = one().plot("bar")
    for bar in figure.axes[0].patches:
        assert bool(bar.get_hatch()) == (bar.get_width() < 0)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["supports positive", "against positive"]
    assert [bool(patch.get_hatch()) for patch in legend.get_patches()] == [False, True]
    [legend] = one(signed=False).plot("bar").legends
    assert [text.get_text() for text in legend.get_texts()] == ["more relevant"]


def test_a_long_text_is_limited_and_says_so() -> None:
    figure = explain("word " * 2000, [1.0] * SHOWN).plot()
    assert texts(figure).count("word") == SHOWN
    assert "the last 1,700 of 2,000 words are not shown; they hold 0% of the sizes of all scores" in said(
        figure
    ).replace("\n", " ")
    assert figure.get_figheight() < 20
    rows = whybert.plot_methods({str(n): explain("word " * 2000) for n in range(ROWS)})
    assert "words are not shown" in said(rows)
    assert rows.get_figheight() < 40


def test_a_word_longer_than_the_line_is_broken() -> None:
    word = "x" * 500
    drawn = [line for line in texts(explain(f"{word} end", [1.0]).plot()) if set(line) == {"x"}]
    assert "".join(drawn) == word
    assert len(drawn) > 3


def test_a_sentence_longer_than_the_line_is_broken_at_blanks() -> None:
    text = " ".join(f"word{number}" for number in range(60)) + " ."
    drawn = [line for line in texts(explain(text, [1.0]).plot(level="sentence")) if "word" in line]
    assert len(drawn) > 3
    assert " ".join(drawn) == text


def test_unknown_words_are_marked_in_every_picture() -> None:
    tokens = [dataclasses.replace(token, unknown=token.text == "thin") for token in one().tokens]
    unknown = dataclasses.replace(one(), tokens=tuple(tokens))
    for figure in (
        unknown.plot(),
        unknown.plot("bar"),
        whybert.plot_methods([unknown]),
        whybert.plot_methods([unknown], "dot"),
    ):
        assert "thin?" in texts(figure)
        assert "1 word is unknown" in said(figure)


def test_what_was_cut_off_is_grey() -> None:
    figure = explain("seen not seen", [1.0], covered=4).plot()
    colours = {text.get_text(): text.get_color() for text in figure.findobj(Text)}
    assert colours["not"] != figures.INK


def test_hebrew_runs_from_right_to_left() -> None:
    explanation = explain("שלום עולם טוב", [1.0, 2.0, 3.0])
    places = {text.get_text(): text.get_position()[0] for text in explanation.plot().findobj(Text)}
    assert places["שלום"] > places["עולם"] > places["טוב"]


def test_letters_without_a_font_are_named_and_no_warning() -> None:
    figure = explain("\U00012000 word", [1.0, 2.0]).plot()  # cuneiform; warnings are errors here
    saved(figure, "png")
    saved(figure, "pdf")
    assert "no installed font has 1 of the letters (U+12000)" in said(figure).replace("\n", " ")
    assert "no installed font" not in said(one().plot())


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_text_holds_is_drawn(text: str) -> None:
    assert "\u202e" not in said(hostile_everywhere(text).plot(level="token"))


def test_a_font_is_found_for_letters_that_the_usual_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with matplotlib.rc_context({"font.family": ["DejaVu Sans Mono"]}):
        assert figures.fonts("a plain word") == (["DejaVu Sans Mono"], "")
        monkeypatch.setattr(figures, "_MORE_FONTS", "No Such Font")
        assert figures.fonts("שלום") == (["DejaVu Sans Mono"], "".join(sorted("שלום")))
        monkeypatch.setattr(figures, "_MORE_FONTS", "No Such Font,DejaVu Sans")
        assert figures.fonts("שלום") == (["DejaVu Sans Mono", "DejaVu Sans"], "")
        [text] = [each for each in explain("שלום", [1.0]).plot().findobj(Text) if each.get_text() == "שלום"]
        assert text.get_fontfamily() == ["DejaVu Sans Mono", "DejaVu Sans"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_whatever_texts_hold_is_saved(kind: str) -> None:
    text = " ".join(HOSTILE)
    hostile = hostile_everywhere(text)
    assert saved(hostile.plot(), kind)
    for draw in (
        lambda: hostile.plot("bar"),
        lambda: whybert.plot_methods({text: hostile, "other": hostile}),
        lambda: whybert.plot_methods([hostile] * 2, "dot"),
        lambda: whybert.plot_word_scores([hostile]),
        lambda: whybert.plot_deletion({text: [[0.5] * 11]}),
    ):
        if kind == "png":
            assert "\u202e" not in said(draw())


def test_a_dollar_starts_no_formula() -> None:
    explanation = explain("$x_1$ \\$5 $\\frac{1}{2}$", [1.0, 2.0, 3.0])
    for figure in (
        explanation.plot(),
        explanation.plot("bar"),
        whybert.plot_word_scores([explanation], minimum_count=1),
        whybert.plot_methods([explanation] * 2, "dot"),
    ):
        figure.draw_without_rendering()
        words = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert words
        assert not any(text.get_parse_math() for text in words)


def test_the_users_own_style_does_not_turn_words_into_tex() -> None:
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black"}):
        figure = one().plot()
    assert not any(text.get_usetex() for text in figure.findobj(Text))
    assert figure.get_facecolor()[:3] == (1, 1, 1)


@pytest.mark.parametrize("scores", [[0.0], [float("nan")], [float("inf"), 1.0], []])
def test_odd_scores_are_drawn(scores: list[float]) -> None:
    explanation = explain("a b" if scores else "", scores)
    for figure in (explanation.plot(), explanation.plot("bar"), whybert.plot_methods([explanation] * 2)):
        assert saved(figure, "png")
    assert saved(whybert.plot_methods([explanation], "dot"), "png")


def test_twenty_methods_are_told_apart_without_colours() -> None:
    figure = whybert.plot_methods(others(20), "dot")
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    marks = {(line.get_marker(), line.get_markerfacecolor() == "none") for line in lines}
    assert len(lines) == len(marks) == 20
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(others(20))
    assert "the 15 strongest of 16 words" in said(figure)
    curves = [
        line for line in whybert.plot_deletion(evaluation(20)).axes[0].lines if len(line.get_xdata()) > 2
    ]
    looks = {
        (str(line._dash_pattern), line.get_marker(), line.get_markerfacecolor() == "none") for line in curves
    }
    assert len(curves) == len(looks) == 21


def test_methods_are_rows_with_a_legend_of_each_kind() -> None:
    lines = texts(whybert.plot_methods(others(4)))
    assert {"method_0", "method_3", "-1", "+1  supports positive", "1  more relevant"} <= {
        line.removeprefix("against positive  ") for line in lines
    }
    assert lines.count("charming") == 1


def test_what_is_to_say_of_the_text_is_said_of_several_methods_once() -> None:
    cut = one(truncated=True)
    for kind in ("heat", "dot"):
        lines = said(whybert.plot_methods([cut, dataclasses.replace(cut, method="gi")], kind))
        assert lines.replace("\n", " ").count("did not read the rest") == 1


def test_methods_are_named_by_what_differs() -> None:
    first = one()
    same = whybert.plot_methods([first, dataclasses.replace(first, options={"reduction": "sum"})])
    assert {"attnlrp", "attnlrp (reduction=sum)"} <= set(texts(same))
    against = dataclasses.replace(first, target=Target(0, "negative"))
    assert {"attnlrp for positive", "attnlrp for negative"} <= set(
        texts(whybert.plot_methods([first, against]))
    )
    assert {"attnlrp", "attnlrp (2)"} <= set(texts(whybert.plot_methods([first, first])))


def test_methods_take_what_explain_returns() -> None:
    assert "gi" in texts(whybert.plot_methods({"gi": [one()], "gs": [one()]}))
    with pytest.raises(InputError, match="expected explanations of one text, got 2 for 'gi'"):
        whybert.plot_methods({"gi": [one(), one()]})
    with pytest.raises(InputError, match="got different texts"):
        whybert.plot_methods([one(), explain("another")])
    with pytest.raises(InputError, match="at least one"):
        whybert.plot_methods({})
    different = dataclasses.replace(one(), tokens=one().tokens[:-3])
    for kind in ("heat", "dot"):
        with pytest.raises(InputError, match="the same tokens"):
            whybert.plot_methods([one(), different], kind, "token")


def test_several_explanations_are_one_picture() -> None:
    lines = texts(picture([explain("first", [1.0]), explain("second", [-1.0])]))
    assert {"first", "second"} <= set(lines)
    assert lines.count("positive 0.998 · attnlrp") == 2
    assert texts(picture([one(), one()])).count("charming") == 1
    with pytest.raises(UsageError, match=r"at most 20 explanations for one picture, got 21; .*\.html"):
        picture([one()] * (ROWS + 1))


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_of_a_file_makes_a_picture(suffix: str, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"why.{suffix}"
    one().save(path)
    first = path.read_bytes()
    assert first.startswith(start)
    whybert.save({"gi": [one()], "gs": [one()]}, path, level="token")
    assert path.read_bytes().startswith(start)
    assert path.read_bytes() != first
    with pytest.raises(UsageError, match=r"\.html"):
        whybert.save([one()] * (ROWS + 1), tmp_path / f"many.{suffix}")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_unknown_kinds_and_levels_are_refused() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: one().plot("heatmap"),
        lambda: one().plot(level="letter"),  # type: ignore[arg-type]
        lambda: one().plot("bar", level="letter"),  # type: ignore[arg-type]
        lambda: whybert.plot_methods([one()], "bars"),
        lambda: whybert.plot_word_scores(many(), "violin"),
        lambda: whybert.plot_deletion(evaluation(), "abpc"),
        lambda: whybert.plot_deletion({"gi": [[0.5] * 11]}, "aopc"),
    ]
    for call in calls:
        with pytest.raises(UnknownNameError, match=r"unknown|did you mean|known"):
            call()


def test_deletion_has_a_panel_for_each_metric_with_titles_and_units() -> None:
    figure = whybert.plot_deletion(evaluation(names=("morf", "lerf", "deletion-mask")))
    morf, lerf = figure.axes
    assert morf.get_title() == "morf (lower is better)"
    assert lerf.get_title() == "lerf (higher is better)"
    assert morf.get_xlabel() == "share of words taken away"
    assert morf.get_ylabel() == "probability of the explained class"
    figure.draw_without_rendering()
    assert "20%" in [tick.get_text() for tick in morf.get_xticklabels()]
    assert "model on reviews, 12 texts" in said(figure)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["method_0", "method_1", "method_2", RANDOM]
    one_panel = whybert.plot_deletion(evaluation(names=("morf", "deletion-mask")), "deletion-mask")
    one_panel.draw_without_rendering()
    assert one_panel._suptitle.get_window_extent().x1 < one_panel.bbox.x1  # type: ignore[attr-defined]
    [axes] = one_panel.axes
    assert axes.get_xlabel() == "words taken away"
    assert axes.get_ylabel() == "share of predictions that stay"


def test_deletion_has_intervals_where_they_can_be_told_apart() -> None:
    few, lot = whybert.plot_deletion(evaluation(3)), whybert.plot_deletion(evaluation(7))
    assert len(few.axes[0].collections) == 4
    assert len(lot.axes[0].collections) == 1
    assert "lines and the band of random: 95 % bootstrap interval" in said(few)
    assert "the band of random: 95 %" in said(lot)
    assert "lines" not in said(lot)


def test_deletion_takes_curves() -> None:
    curves = {"mine": [[1 - step / 10 for step in range(11)], [0.5] * 11], "theirs": [[0.0] * 11]}
    [axes] = whybert.plot_deletion(curves, "lerf").axes
    assert axes.get_title() == "lerf (higher is better)"
    assert [line.get_label() for line in axes.lines] == ["mine", "theirs"]
    assert list(axes.lines[0].get_ydata())[:2] == [0.75, 0.7]
    for bad in ({}, {"mine": []}, {"mine": [[0.5] * 10]}):
        with pytest.raises(InputError, match="expected"):
            whybert.plot_deletion(bad)
    with pytest.raises(InputError, match="one metric"):
        whybert.plot_deletion(curves, ["morf", "lerf"])


def test_deletion_needs_curves() -> None:
    without = dataclasses.replace(evaluation(), metrics=resolve_metrics(("loo-kendall",)), values=())
    with pytest.raises(InputError, match="a metric that has a curve, got one with loo-kendall"):
        whybert.plot_deletion(without)
    with pytest.raises(InputError, match="no text has one"):
        whybert.plot_deletion(dataclasses.replace(evaluation(), values=()))


def test_word_scores_are_means_with_counts() -> None:
    explanations = [explain("Good film", [2.0, -1.0]), explain("good plot", [-1.0, 9.0])]
    figure = whybert.plot_word_scores(explanations)
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["good  (2)"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.5]
    assert axes.get_xlabel() == "mean |score| (raw, of attnlrp)"
    assert "attnlrp, 2 texts · the 1 strongest of 1 words that occur 2+ times" in said(figure)
    two = whybert.plot_word_scores(explanations, k=2, minimum_count=1)
    assert [tick.get_text() for tick in two.axes[0].get_yticklabels()] == ["plot  (1)", "good  (2)"]


def test_a_swarm_has_a_mark_for_each_place() -> None:
    explanations = many()
    [axes] = whybert.plot_word_scores(explanations, "swarm").axes
    supports, against = (line for line in axes.lines if line.get_linestyle() == "None")
    scores = [word.score for explanation in explanations for word in explanation.words()]
    assert sorted([*supports.get_xdata(), *against.get_xdata()]) == sorted(scores)
    assert max(against.get_xdata()) < 0 <= min(supports.get_xdata())
    assert supports.get_marker() != against.get_marker()
    places = list(zip(supports.get_xdata(), supports.get_ydata(), strict=True))
    assert len(set(places)) == len(places)
    [axes] = whybert.plot_word_scores([explain("word " * 3000, [1.0] * 3000)], "swarm").axes
    assert len(axes.lines[1].get_xdata()) == 200


def test_word_scores_say_where_classes_differ() -> None:
    other = dataclasses.replace(many()[0], target=Target(0, "negative"))
    figure = whybert.plot_word_scores([*many(), other])
    assert "explained classes differ (positive 20, negative 1)" in said(figure).replace("\n", " ")
    [legend] = figure.legends
    assert legend.get_texts()[0].get_text() == "supports the explained class"


@pytest.mark.parametrize(
    ("normalise", "unit"), [(True, "softmax of the sizes"), ("signed", "share of its text's sum of sizes")]
)
def test_word_scores_can_be_normalised(normalise: Any, unit: str) -> None:
    figure = whybert.plot_word_scores(many(), normalise=normalise)
    assert unit in figure.axes[0].get_xlabel()
    ends = ["more relevant"] if normalise is True else ["supports positive", "against positive"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ends


def test_word_scores_are_refused_where_they_would_say_nothing() -> None:
    for given, options, message in (
        ([], {}, "at least one"),
        ([one(), one(method="gi")], {}, "by one method, got attnlrp, gi"),
        ([explain("all words differ")], {}, "words that occur 2 times or more"),
        (many(), {"k": 0}, "k to be an integer"),
        ([explain("a a", [float("nan")])], {}, "finite"),
    ):
        with pytest.raises(InputError, match=message):
            whybert.plot_word_scores(given, **options)  # type: ignore[arg-type]


if __name__ == "__main__":  # draws the references anew; look at each of them
    REFERENCE.mkdir(exist_ok=True)
    for name_, draw_ in PICTURES.items():
        stream_ = io.BytesIO()
        without_text(draw_()).savefig(stream_, dpi=50)
        small = Image.open(stream_).convert("RGB").quantize(96, dither=Image.Dither.NONE)
        small.save(REFERENCE / f"{name_}.png", optimize=True)
