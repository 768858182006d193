"""Which label of a data set is which of a model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whybert.errors import InputError, UnknownNameError
from whybert.targets import match_labels


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
        # Data may have a part of the model's labels only, or none.
        (("a", "b", "c"), ("c", "a"), (2, 0)),
        (("a",), (), ()),
        # A name comes before an index.
        (("1", "0"), ("0", "1"), (1, 0)),
        (("1", "2", "3", "4", "5"), ("1", "2", "3", "4", "5"), (0, 1, 2, 3, 4)),
    ],
)
def test_by_name(model: tuple[str, ...], data: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert match_labels(model, data, "mine") == (expected, "")
    for index, label in zip(expected, data, strict=True):
        assert model[index].casefold() == label.casefold()


@pytest.mark.parametrize(
    ("model", "data", "ordered", "pairs"),
    [
        (("good", "bad"), ("0", "1"), False, "0 is good, 1 is bad"),
        (("good", "bad", "so"), ("0", "2"), False, "0 is good, 2 is so"),
        (("good", "bad"), ("LABEL_0", "LABEL_1"), False, "LABEL_0 is good, LABEL_1 is bad"),
        (("LABEL_0", "LABEL_1"), ("0", "1"), False, "0 is LABEL_0, 1 is LABEL_1"),
        # The data set says which label comes first, and the model has no other names.
        (("LABEL_0", "LABEL_1"), ("good", "bad"), True, "good is LABEL_0, bad is LABEL_1"),
        (("0", "1"), ("good", "bad"), True, "good is 0, bad is 1"),
    ],
)
def test_by_index_with_a_note(
    model: tuple[str, ...], data: tuple[str, ...], ordered: bool, pairs: str
) -> None:
    table, note = match_labels(model, data, "mine", ordered=ordered)
    assert [f"{there} is {model[here]}" for there, here in zip(data, table, strict=True)] == pairs.split(", ")
    assert note == f"the labels of mine and of the model are matched by index: {pairs}"


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    ("model", "data"),
    [
        (("negative", "positive"), ("bad", "good")),
        (("good", "other"), ("bad", "good")),
        (("a", "A"), ("a", "b")),
        (("a", "a"), ("a", "b")),
        (("a", "b"), ("a", "b", "c")),
        # Counted from 1, or a part of what is counted from 0: nobody knows.
        (("1 star", "2 stars", "3 stars"), ("1", "2")),
        (("1 star", "2 stars"), ("1", "2")),
        (("no", "yes"), ("-1", "1")),
        (("a", "b"), ("0", "b c")),
        (("LABEL_1", "LABEL_0"), ("bad", "good")),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("bad", "good")),
    ],
)
def test_never_by_order(model: tuple[str, ...], data: tuple[str, ...], ordered: bool) -> None:
    with pytest.raises(InputError) as caught:
        match_labels(model, data, "mine", ordered=ordered)
    message = str(caught.value)
    assert (
        f"the labels of mine ({', '.join(data)}) are not those of the model ({', '.join(model)})" in message
    )
    assert "--label-map" in message
    assert "\n" not in message


def test_sorted_labels_say_nothing_about_a_model_without_names() -> None:
    with pytest.raises(InputError, match=r"--label-map bad=\.\.\.,good=\.\.\. \(in .* label_map={'bad': "):
        match_labels(("LABEL_0", "LABEL_1"), ("bad", "good"), "mine")


@pytest.mark.parametrize(
    ("label_map", "expected"),
    [
        ({"pos": "positive", "neg": "negative"}, (0, 1, 1)),
        ({"pos": "POSITIVE", "neg": 0}, (0, 1, 1)),
        ({"pos": "1", "neg": "LABEL_0"}, (0, 1, 1)),
        ({"pos": "negative", "neg": "negative", "positive": "negative"}, (0, 0, 0)),
    ],
)
def test_by_a_mapping(label_map: dict[str, Any], expected: tuple[int, ...]) -> None:
    data = ("neg", "pos", "positive")
    assert match_labels(("negative", "positive"), data, "mine", label_map) == (expected, "")


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"up": "positive"}, "unknown label of mine to map 'up'; known: neg, pos"),
        ({"pos": "up"}, "unknown label of the model to map 'pos' to 'up'"),
        ({"pos": "2"}, "unknown label of the model to map 'pos' to '2'"),
        ({"pos": -1}, "unknown label of the model to map 'pos' to -1"),
        ({"pos": True}, "unknown label of the model to map 'pos' to True"),
    ],
)
def test_mappings_that_do_not_fit(label_map: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        match_labels(("negative", "positive"), ("neg", "pos"), "mine", label_map)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="--label-map neg="):
        match_labels(("negative", "positive"), ("neg", "pos"), "mine", {"pos": 1})


def test_a_message_about_many_labels_is_short() -> None:
    with pytest.raises(InputError) as caught:
        match_labels([f"model {i}" for i in range(1000)], [f"data {i}" for i in range(999)], "mine")
    assert "model 19" in str(caught.value)
    assert "model 20" not in str(caught.value)
    assert len(str(caught.value)) < 1000


NAMES = st.lists(st.sampled_from(["a", "A", "b", "0", "1", "2", "LABEL_0", "LABEL_1", "x"]), max_size=4)


@given(NAMES, NAMES.map(lambda names: list(dict.fromkeys(names))), st.randoms())
def test_the_order_of_the_data_decides_nothing(model: Sequence[str], data: list[str], random: Any) -> None:
    def found(labels: Sequence[str]) -> dict[str, int] | None:
        try:
            return dict(zip(labels, match_labels(model, labels, "mine")[0], strict=True))
        except InputError:
            return None

    assume(data)
    mixed = list(data)
    random.shuffle(mixed)
    assert found(mixed) == found(data)
