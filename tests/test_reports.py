"""Classification reports, against counts made by hand."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from whybert.errors import InputError
from whybert.scoring import classification_report

LABELS = ("negative", "neutral", "positive")


def printed(renderable: object) -> str:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(renderable)
    return out.getvalue()


def test_scores_and_confusion() -> None:
    report = classification_report(LABELS, [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])
    assert report.accuracy == pytest.approx(4 / 6)
    assert report.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    assert [score.support for score in report.scores] == [3, 2, 1]
    assert [score.precision for score in report.scores] == pytest.approx([1, 1 / 2, 1 / 2])
    assert [score.recall for score in report.scores] == pytest.approx([2 / 3, 1 / 2, 1])
    assert [score.f1 for score in report.scores] == pytest.approx([4 / 5, 1 / 2, 2 / 3])
    assert report.macro_f1 == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert (report.labels, report.count) == (LABELS, 6)


def test_a_label_that_does_not_occur_has_zeros_and_is_not_in_the_mean() -> None:
    report = classification_report(LABELS, [0, 0, 2], [0, 0, 2])
    assert report.scores[1].support == 0
    assert report.scores[1].f1 == 0
    assert report.macro_f1 == 1


def test_a_label_that_is_only_predicted_is_in_the_mean() -> None:
    report = classification_report(LABELS, [0, 0], [0, 1])
    assert report.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


def test_one_text_of_one_label() -> None:
    report = classification_report(("only",), [0], [0])
    assert (report.accuracy, report.macro_f1, report.confusion) == (1, 1, ((1,),))


def test_dict_survives_json() -> None:
    report = classification_report(LABELS, [0, 1, 2], [0, 1, 1])
    found = json.loads(json.dumps(report.to_dict()))
    assert found["count"] == 3
    assert found["labels"][2] == {"label": "positive", "precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_tables_show_the_numbers_and_no_markup_takes_effect() -> None:
    text = printed(classification_report(("[red]a[/]", "b\x1b[31m"), [0, 1, 1], [0, 1, 0]))
    assert "accuracy 0.6667" in text
    assert "[red]a[/]" in text
    assert "\x1b" not in text
    assert text.count("[red]a[/]") == 3  # scores, and row and column of the confusions


def test_many_labels_show_no_confusions() -> None:
    names = [f"label{index}" for index in range(30)]
    assert "predicted" not in printed(classification_report(names, [3, 4], [4, 4]))


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([], [], "at least one text"),
        ([0], [0, 1], "2 predictions for 1 texts"),
        ([0, 3], [0, 1], r"true\[1\] is 3"),
        ([0, 1], [0, -1], r"predicted\[1\] is -1"),
    ],
)
def test_wrong_input(true: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        classification_report(LABELS, true, predicted)


@pytest.mark.parametrize("width", [40, 80])
def test_a_report_on_many_labels_breaks_no_number(width: int) -> None:
    labels = [f"a long name of label {index}" for index in range(12)]
    count = [10007 + index for index in range(12)]
    true = [index for index, many in enumerate(count) for _ in range(many)]
    stream = io.StringIO()
    Console(file=stream, width=width).print(classification_report(labels, true, true))
    words = stream.getvalue().split()
    assert all(words.count(str(each)) == 2 for each in count)
    assert max(map(len, stream.getvalue().splitlines())) <= width
