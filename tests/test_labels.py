"""Which label of a data set is which of a model's."""

from __future__ import annotations

import pytest

from whybert.errors import InputError
from whybert.labels import match_labels


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        (("bad", "good"), ("bad", "good"), (0, 1)),
        (("good", "bad"), ("bad", "good"), (1, 0)),
        (("c", "a", "b"), ("a", "b", "c"), (1, 2, 0)),
        (("POSITIVE", "Negative"), ("negative", "positive"), (1, 0)),
        (("only",), ("ONLY",), (0,)),
        # As they are spelled where that decides, whatever their case where it does not.
        (("a", "A"), ("A", "a"), (1, 0)),
        (("STRASSE", "b"), ("b", "straße"), (1, 0)),
    ],
)
def test_by_name(model: tuple[str, ...], data: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert match_labels(model, data, "mine") == (expected, "")
    for index, label in zip(expected, data, strict=True):
        assert model[index].casefold() == label.casefold()


@pytest.mark.parametrize(
    ("model", "data", "pairs"),
    [
        (("LABEL_0", "LABEL_1"), ("bad", "good"), "bad is LABEL_0, good is LABEL_1"),
        # One name in common says nothing about the other.
        (("good", "other"), ("bad", "good"), "bad is good, good is other"),
        # Names that differ in case only cannot be told apart by it.
        (("a", "A"), ("a", "b"), "a is a, b is A"),
        (("a", "a"), ("a", "b"), "a is a, b is a"),
    ],
)
def test_by_index_with_a_note(model: tuple[str, ...], data: tuple[str, ...], pairs: str) -> None:
    table, note = match_labels(model, data, "mine")
    assert table == (0, 1)
    assert note == f"the labels of mine and of the model have other names and are matched by index: {pairs}"


@pytest.mark.parametrize(
    ("model", "data"), [(("a", "b", "c"), ("a", "b")), (("a", "b"), ("a", "b", "c")), (("a",), ())]
)
def test_another_number_of_labels(model: tuple[str, ...], data: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        match_labels(model, data, "mine")
    message = str(caught.value)
    assert f"the model has {len(model)} labels ({', '.join(model)})" in message
    assert f"mine has {len(data)} ({', '.join(data)})" in message
    assert "\n" not in message


def test_a_message_about_many_labels_is_short() -> None:
    with pytest.raises(InputError) as caught:
        match_labels([f"model {i}" for i in range(1000)], [f"data {i}" for i in range(999)], "mine")
    assert "model 19" in str(caught.value)
    assert "model 20" not in str(caught.value)
    assert len(str(caught.value)) < 600
