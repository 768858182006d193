"""The labels of a model and those of a data set: which is which."""

from __future__ import annotations

from collections.abc import Sequence

from whybert.errors import InputError


def match_labels(model: Sequence[str], data: Sequence[str], name: str) -> tuple[tuple[int, ...], str]:
    """For each label of the data set the index of the model's: by name, else by index.

    name: of the data set, for messages.  The second value is a line about labels that were matched by index,
    empty where the names are the same.

    Raises InputError where the numbers of labels differ.
    """
    for fold in (str, str.casefold):
        known = {fold(label): index for index, label in enumerate(model)}
        if len(known) == len(model) == len(data) and {fold(label) for label in data} == set(known):
            return tuple(known[fold(label)] for label in data), ""
    if len(model) != len(data):
        raise InputError(
            f"the model has {len(model)} labels ({', '.join(model[:20])}), but {name} has {len(data)} "
            f"({', '.join(data[:20])}); give a model that was trained for these, or another data set"
        )
    pairs = ", ".join(f"{there} is {here}" for there, here in zip(data, model, strict=True))
    return (
        tuple(range(len(data))),
        f"the labels of {name} and of the model have other names and are matched by index: {pairs}",
    )
