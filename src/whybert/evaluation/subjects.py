"""From texts to the subjects of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from whybert.classifier import BATCH_SIZE
from whybert.encoding import Text
from whybert.errors import InputError, TargetError
from whybert.evaluation.metric import Subject
from whybert.targets import resolve

if TYPE_CHECKING:
    from whybert.classifier import Classifier


def subjects(
    classifier: Classifier,
    texts: Sequence[Text],
    labels: Sequence[int | None] | None = None,
    *,
    target: int | str | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
) -> list[Subject]:
    """The texts as the model reads and decides them.

    labels: the true class of each text as an index of the model's, None where it is not known.
    target: the class whose explanations are judged; None takes the model's own prediction.
    seed: breaks ties between scores.  indices: the names of the texts in messages, else 0, 1, ...

    Raises what `Classifier.predict` raises, and TargetError or UnknownNameError for a class that is none.
    """
    for name, given in (("labels", labels), ("indices", indices)):
        if given is not None and len(given) != len(texts):
            raise InputError(
                f"expected {name} for each of the {len(texts)} texts, found {len(given)}; "
                "give None for a text without"
            )
    for place, label in enumerate(labels or ()):
        if label is not None and not 0 <= label < len(classifier.labels):
            raise InputError(
                f"expected labels from 0 to {len(classifier.labels) - 1}, found {label} for text {place}",
                place,
            )
    wanted = None
    if target is not None:
        resolved = resolve(target, torch.zeros(1, len(classifier.labels)), classifier.labels)
        if resolved.against is not None:
            raise TargetError(f"expected one class whose explanations are judged, found {target!r}")
        wanted = int(resolved.index[0])
    rows = classifier.tokenize(texts)
    predictions = classifier.predict(list(texts), batch_size)  # type: ignore[arg-type]
    found = []
    for place, (row, prediction) in enumerate(zip(rows, predictions, strict=True)):
        own = max(range(len(prediction.logits)), key=prediction.logits.__getitem__)  # labels can share a name
        found.append(
            Subject(
                index=place if indices is None else indices[place],
                row=row,
                logits=prediction.logits,
                probabilities=prediction.probabilities,
                target=own if wanted is None else wanted,
                label=None if labels is None else labels[place],
                seed=seed,
            )
        )
    return found
