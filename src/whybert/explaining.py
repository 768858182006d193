"""`explain`: texts in, explanations out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, overload

from torch import Tensor

from whybert.anatomy import check_model
from whybert.attribution import Attribution, attribute_all
from whybert.classifier import BATCH_SIZE, Classifier, ClassifierLike, batches, normalise_texts
from whybert.encoding import EncodedText, Text
from whybert.errors import NonFiniteError, PaddingWarning
from whybert.explanation import Completeness, Explanation, Explanations
from whybert.methods import Method, create_all
from whybert.progress import reported
from whybert.targets import TargetLike, per_row

Texts = Text | Sequence[str] | Sequence[tuple[str, str]]


@overload
def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: str | Method = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
    **options: Any,
) -> Explanations: ...


@overload
def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: Sequence[str | Method],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
    **options: Any,
) -> dict[str, Explanations]: ...


def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: str | Method | Sequence[str | Method] = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
    **options: Any,
) -> Explanations | dict[str, Explanations]:
    """Say which tokens and words made the classifier decide as it did.

    Args:
        classifier: the model and its tokenizer; anything that `Classifier.of` takes.
        texts: a str, a list of str, a tuple `(text, pair)`, or a list of such tuples.
        method: a name of `whybert.METHODS`, with options "gi:reduction=sum", or a `Method`; or several of
            these, which then share each forward pass.
        target: None (the predicted class of each text), a class as an int or a label, a tuple `(a, b)` for
            logit[a] - logit[b], or a list with one of these for each text.
        batch_size: texts in one forward pass.
        progress: whether a bar on stderr shows how many texts are done.
        options: of the method, see `attribute`.

    Returns:
        `Explanations`, a list of one `Explanation` a text, in order; for several methods a dict of such lists
        by spec, see `attribute`.

    Raises:
        InputError: a text that cannot be encoded.
        WhybertError: what `attribute` raises.  Errors about a text name it and have its `index`.
    """
    classifier = Classifier.of(classifier)
    listed, _ = normalise_texts(texts)
    methods = create_all(method, options)
    found: dict[str, dict[int, Explanation]] = {each.spec: {} for each in methods}
    done = 0
    with reported(progress) as report:
        for indices, explanations in explain_batches(
            classifier, listed, methods, target, batch_size=batch_size
        ):
            for spec, rows in explanations.items():
                found[spec].update(zip(indices, rows, strict=True))
            done += len(indices)
            report("texts", done, len(listed))
    ordered = {spec: Explanations(rows[i] for i in range(len(listed))) for spec, rows in found.items()}
    return next(iter(ordered.values())) if isinstance(method, str | Method) else ordered


def explain_batches(
    classifier: Classifier,
    texts: Sequence[Text],
    methods: Sequence[Method],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Explanation]]]]:
    """`explain` batch by batch, for callers that show progress: indices into `texts`, and by spec.

    Batches hold texts of like length, so they come out of order.
    """
    check_model(classifier.model)
    targets = per_row(target, len(texts), "texts")
    for indices, batch in batches(classifier, texts, batch_size):
        wanted = target if targets is None else [targets[i] for i in indices]
        try:
            attributions = attribute_all(
                classifier.model,
                batch.inputs,
                methods,
                wanted,
                tokenizer=classifier.tokenizer,
                labels=classifier.labels,
            )
        except NonFiniteError as error:
            if error.index is None:
                raise
            text = indices[error.index]
            raise error.at(f"text {text}", text) from error
        mask = batch.inputs.get("attention_mask")
        if mask is not None and any(_reads_padding(each, mask) for each in attributions.values()):
            warnings.warn(
                f"{classifier.name} reads padding, so its answer to a text depends on the texts beside it; "
                "explain its texts one by one, with batch_size=1",
                PaddingWarning,
                stacklevel=3,
            )
        yield (
            indices,
            {spec: _explanations(classifier, batch.rows, each) for spec, each in attributions.items()},
        )


def _reads_padding(attribution: Attribution, mask: Tensor) -> bool:
    """Whether relevance arrives at padding; a method that has none may score it as it likes."""
    return attribution.relevance is not None and bool(
        attribution.scores[mask.to(attribution.scores.device) == 0].any()
    )


def _explanations(
    classifier: Classifier, rows: Sequence[EncodedText], attribution: Attribution
) -> list[Explanation]:
    """The rows of a batch as frozen values; the only place where tensors become numbers."""
    logits = attribution.logits.double().cpu()
    classifier.check_labels(logits)
    likely = [()] * len(rows) if classifier.is_regression else classifier.probabilities(logits).tolist()
    scores = attribution.scores.double().cpu().tolist()
    targets = attribution.target.tolist()
    sums = attribution.relevance_sum
    books = (sums, attribution.output, attribution.biases, None if sums is None else attribution.elsewhere)
    accounts = zip(*([None] * len(rows) if each is None else each.tolist() for each in books), strict=True)
    explanations = []
    for i, (row, account) in enumerate(zip(rows, accounts, strict=True)):
        index, against = targets[i] if isinstance(targets[i], list) else (targets[i], -1)
        explanations.append(
            Explanation.of_row(
                row,
                [scores[i][position] for position in row.positions],
                labels=classifier.labels,
                logits=logits[i].tolist(),
                probabilities=likely[i],
                target=(index, None if against < 0 else against),
                method=attribution.method,
                options=attribution.options,
                signed=attribution.signed,
                completeness=None if sums is None else Completeness(*account),
                classifier=classifier.name,
            )
        )
    return explanations
