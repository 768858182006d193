"""`explain`: texts in, explanations out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from torch import Tensor

from whybert.anatomy import check_model
from whybert.attribution import Attribution, attribute, method_names
from whybert.classifier import BATCH_SIZE, Classifier, batches, normalise_texts, probabilities
from whybert.encoding import EncodedText, Text
from whybert.errors import NonFiniteError, TargetError
from whybert.explanation import Completeness, Explanation, Target, Token
from whybert.methods import create_all
from whybert.targets import TargetLike, from_tensor

Texts = Text | Sequence[str] | Sequence[tuple[str, str]]


@overload
def explain(
    classifier: Classifier,
    texts: Texts,
    method: str = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> list[Explanation]: ...


@overload
def explain(
    classifier: Classifier,
    texts: Texts,
    method: Sequence[str],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> dict[str, list[Explanation]]: ...


def explain(
    classifier: Classifier,
    texts: Texts,
    method: str | Sequence[str] = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> list[Explanation] | dict[str, list[Explanation]]:
    """Say which tokens and words made the classifier decide as it did.

    texts: a str, a list of str, a tuple `(text, pair)`, or a list of such tuples.
    method: a name of `whybert.methods.METHODS`, or several, which then share each forward pass.
    target: None (the predicted class of each text), a class as an int or a label, a tuple `(a, b)` for
        logit[a] - logit[b], or a list with one of these for each text.
    batch_size: texts in one forward pass.  options: the method's own, see `attribute`.

    Returns one `Explanation` a text, in order; for a list of methods, a dict of such lists by name.

    Raises what `attribute` raises, and InputError for a text that cannot be encoded; both it and
    NonFiniteError name the text that they are about and have its `index`.
    """
    listed, _ = normalise_texts(texts)
    single = isinstance(method, str)
    names = method_names(method)
    found: dict[str, dict[int, Explanation]] = {m.name: {} for m in create_all(names, options)}
    for indices, explanations in explain_batches(
        classifier, listed, names, target, batch_size=batch_size, **options
    ):
        for name, rows in explanations.items():
            found[name].update(zip(indices, rows, strict=True))
    ordered = {name: [rows[i] for i in range(len(listed))] for name, rows in found.items()}
    return next(iter(ordered.values())) if single else ordered


def explain_batches(
    classifier: Classifier,
    texts: Sequence[Text],
    methods: Sequence[str],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Explanation]]]]:
    """`explain` batch by batch, for callers that show progress: indices into `texts`, and by method.

    Batches hold texts of like length, so they come out of order.
    """
    check_model(classifier.model)
    targets = _per_text(target, len(texts))
    for indices, batch in batches(classifier, texts, batch_size):
        wanted = target if targets is None else [targets[i] for i in indices]
        try:
            attributions = attribute(classifier.model, batch.inputs, list(methods), wanted, **options)
        except NonFiniteError as error:
            if error.index is None:
                raise
            text = indices[error.index]
            raise error.at(f"text {text}", text) from error
        yield (
            indices,
            {name: _explanations(classifier, batch.rows, each) for name, each in attributions.items()},
        )


def _per_text(target: TargetLike, count: int) -> list[Any] | None:
    """One target a text, or None if the same holds for all."""
    if isinstance(target, Tensor):
        target = from_tensor(target)
    if not isinstance(target, list):
        return None
    if len(target) != count:
        raise TargetError(
            f"expected one target for each of the {count} texts, found {len(target)}; "
            "a contrast of two classes is a tuple (a, b)"
        )
    return target


def _explanations(
    classifier: Classifier, rows: Sequence[EncodedText], attribution: Attribution
) -> list[Explanation]:
    """The rows of a batch as frozen values; the only place where tensors become numbers."""
    logits = attribution.logits.double().cpu()
    likely = probabilities(logits, classifier.model.config).tolist()
    scores = attribution.scores.double().cpu().tolist()
    targets = attribution.target.tolist()
    sums = None if attribution.relevance_sum is None else attribution.relevance_sum.tolist()
    outputs = attribution.output.tolist()
    labels = classifier.labels
    explanations = []
    for i, row in enumerate(rows):
        tokens = tuple(
            Token(text, start, end, sequence, word, special, scores[i][position])
            for text, (start, end), sequence, word, special, position in zip(
                row.tokens,
                row.offsets,
                row.sequence_ids,
                row.word_ids,
                row.special,
                row.positions,
                strict=True,
            )
        )
        explanations.append(
            Explanation(
                text=row.text,
                pair=row.pair,
                tokens=tokens,
                word_spans=row.word_spans,
                prediction=labels[int(logits[i].argmax())],
                probabilities=tuple(likely[i]),
                logits=tuple(logits[i].tolist()),
                labels=labels,
                target=_target(targets[i], labels),
                method=attribution.method,
                options=attribution.options,
                signed=attribution.signed,
                truncated=row.truncated,
                completeness=None if sums is None else Completeness(sums[i], outputs[i]),
            )
        )
    return explanations


def _target(target: int | list[int], labels: Sequence[str]) -> Target:
    index, against = target if isinstance(target, list) else (target, -1)
    if against < 0:
        return Target(index, labels[index])
    return Target(index, labels[index], against, labels[against])
