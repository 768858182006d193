"""One text as a question, for what is asked beside attributions."""

from __future__ import annotations

from types import MappingProxyType

from whybert.anatomy import check_finite, check_model, model_inputs, plain
from whybert.black_box import quantity_of
from whybert.classifier import Classifier, batches
from whybert.encoding import Text
from whybert.errors import UsageError
from whybert.methods.question import Prepared, Question
from whybert.targets import TargetLike, resolve
from whybert.texts import normalise_texts


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
