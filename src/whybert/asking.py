"""One text as a question, for what is asked beside attributions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from whybert.anatomy import check_finite, check_model, model_inputs, plain
from whybert.black_box import quantity_of
from whybert.classifier import Classifier, batches
from whybert.encoding import EncodedText, Text
from whybert.errors import UsageError
from whybert.files import write_json
from whybert.methods.question import Prepared, Question, Unit
from whybert.schema import write
from whybert.targets import TargetLike, resolve
from whybert.texts import normalise_texts


class Saved:
    """What of a frozen value is written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        found: dict[str, Any] = write(self)
        return found

    def save(self, path: str | Path) -> Path:
        """Write it to a file of JSON.

        Args:
            path: of the file; its folder must exist.

        Returns:
            The path.

        Raises:
            FileError: there can be no such file.
        """
        return write_json(Path(path), self.to_dict())


def asked(
    classifier: Classifier, text: Text, target: TargetLike = None, quantity: str | None = None
) -> Question:
    """The question why the classifier answers a text, or a pair, as it does; long ones are cut.

    Args:
        target, quantity: as for `explain`, of one text.

    Raises:
        InputError: it is no text, or one that cannot be encoded.
        WhybertError: what `explain` raises.
    """
    [listed], is_one = normalise_texts(text) if isinstance(text, str | tuple) else ([text], False)
    if not is_one:
        raise UsageError(
            f"expected one text, or a tuple (text, pair), found {type(text).__name__}; ask about one "
            "text after another"
        )
    check_model(classifier.model)
    [(_, batch)] = batches(classifier, [listed], 1)
    tensors = model_inputs(classifier.model, batch.inputs)
    with plain(classifier.model, backward=True):
        prepared = Prepared.of(classifier.model, tensors)
    logits = prepared.forward.logits.detach()
    classifier.check_labels(logits.double().cpu())
    check_finite(classifier.model, logits)
    quantity = quantity_of(classifier.model, quantity)
    resolved = resolve(target, logits, classifier.labels, quantity, classifier.link)
    return Question(
        classifier.model,
        MappingProxyType(tensors),
        resolved,
        prepared,
        tokenizer=classifier.tokenizer,
        rows=batch.rows,
    )


def spans_of(row: EncodedText, units: Sequence[Sequence[int]], unit: Unit) -> list[tuple[str, int, int, int]]:
    """The text, start, end and sequence of each of `Question.units`."""
    token_at = {place: token for token, place in enumerate(row.positions)}
    found = []
    for members in units:
        first, last = token_at[members[0]], token_at[members[-1]]
        if unit == "token":
            found.append((row.tokens[first], *row.offsets[first], row.sequence_ids[first] or 0))
            continue
        (sequence, start, _), (_, _, end) = (
            row.word_spans[row.word_ids[each] or 0] for each in (first, last)
        )
        found.append(((row.text, row.pair or "")[sequence][start:end], start, end, sequence))
    return found
