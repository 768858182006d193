"""`zero_shot`: why a model of natural language inference takes a text for one of the labels it is offered.

Each label makes a hypothesis ("This example is sport."), and the model says whether the text entails it.
What speaks for a label is the logit of entailment, of which there is a softmax over the labels; where
several may hold, it is that logit less the one of contradiction, whose sigmoid is the label's probability.
(Yin, Hay and Roth 2019, arXiv 1909.00161, and the zero-shot-classification pipeline of transformers.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, overload

import torch

from whybert.classifier import BATCH_SIZE, Classifier, ClassifierLike
from whybert.datasets.base import SINGLE
from whybert.errors import InputError, UnsupportedModelError, UsageError, quoted
from whybert.explaining import Texts, explain
from whybert.explanation import Explanation, Explanations, Target
from whybert.methods import Method
from whybert.targets import TargetLike, per_row, resolve_each
from whybert.texts import normalise_texts

TEMPLATE: Final = "This example is {}."


@overload
def zero_shot(
    classifier: ClassifierLike,
    texts: Texts,
    labels: str | Sequence[str] | None = None,
    method: str | Method = "attnlrp",
    target: TargetLike = None,
    *,
    template: str | None = None,
    multi_label: bool | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Explanations: ...


@overload
def zero_shot(
    classifier: ClassifierLike,
    texts: Texts,
    labels: str | Sequence[str] | None = None,
    method: Sequence[str | Method] = ...,
    target: TargetLike = None,
    *,
    template: str | None = None,
    multi_label: bool | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> dict[str, Explanations]: ...


def zero_shot(
    classifier: ClassifierLike,
    texts: Texts,
    labels: str | Sequence[str] | None = None,
    method: str | Method | Sequence[str | Method] = "attnlrp",
    target: TargetLike = None,
    *,
    template: str | None = None,
    multi_label: bool | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Explanations | dict[str, Explanations]:
    """Say which words of a text, and of the hypothesis, made the model choose a label that it was offered.

    Args:
        classifier: a `transformers.pipeline("zero-shot-classification")`, which is asked for its own answer
            to the first text, to see that nothing gets lost; or a classifier of natural language inference, a
            label of which begins with "entail", as `Classifier.of` takes it.
        texts: as for `explain`, but no pairs.
        labels: the candidates, as a list or with commas between; None takes the pipeline's own.
        method: as for `explain`.
        target: None (the label chosen for each text), a label as its name or index, or a list with one of
            these for each text; "all" explains each label.
        template: of the hypotheses, with {} where the label goes; None is the pipeline's, and else "This
            example is {}.".
        multi_label: whether several labels may hold; None is what the pipeline says, and else no.  A
            single label always may or may not.
        batch_size: pairs in one forward pass.
        options: of the method.

    Returns:
        What `explain` returns, of explanations whose text is the text, whose pair is the hypothesis of the
        explained label, and whose labels are the candidates.

    Raises:
        InputError: a text, the labels or the template cannot be.
        UsageError: the pipeline answers otherwise, or has settings that would be lost.
        WhybertError: what `explain` raises.
    """
    if others := sorted(options.keys() & {"quantity", "long", "stride"}):
        raise UsageError(
            f"what is explained is a logit of the whole text beside a hypothesis: leave {others[0]} out"
        )
    nli, asked = _held(classifier)
    listed, _ = normalise_texts(texts)
    if any(not isinstance(each, str) for each in listed):
        raise InputError("expected texts by themselves, found a pair: the hypotheses are their pairs")
    offered = _Offered.of(
        asked.get("candidate_labels") if labels is None else labels,
        str(asked.get("hypothesis_template", TEMPLATE)) if template is None else template,
        bool(asked.get("multi_label", False)) if multi_label is None else multi_label,
    )
    entails, contradicts = _classes(nli)
    pairs = [(str(text), hypothesis) for text in listed for hypothesis in offered.hypotheses]
    found = torch.tensor([each.logits for each in nli.predict(pairs, batch_size=batch_size)]).double()
    found = found.reshape(len(listed), len(offered.labels), len(nli.labels))
    logits = found[..., entails] - (found[..., contradicts] if offered.independent else 0.0)
    shares = logits.sigmoid() if offered.independent else logits.softmax(1)
    if asked and listed:
        _check_answer(classifier, str(listed[0]), offered, shares[0])
    per_row(target, len(listed), "texts")
    targets = [each.index.tolist() for each in resolve_each(target, logits, offered.labels)] if listed else []
    if isinstance(target, tuple):
        raise UsageError("a label that is offered has a hypothesis of its own: explain one after the other")
    chosen = [(row, label) for row, own in enumerate(zip(*targets, strict=True)) for label in own]
    made = explain(
        nli,
        [pairs[row * len(offered.labels) + label] for row, label in chosen],
        [method] if isinstance(method, str | Method) else method,
        (entails, contradicts) if offered.independent else entails,
        batch_size=batch_size,
        **options,
    )
    named = {
        spec: Explanations(
            _of_labels(each, offered.labels, logits[row].tolist(), shares[row].tolist(), label)
            for each, (row, label) in zip(explanations, chosen, strict=True)
        )
        for spec, explanations in made.items()
    }
    return next(iter(named.values())) if isinstance(method, str | Method) else named


@dataclass(frozen=True)
class _Offered:
    """The labels, their hypotheses, and whether several may hold."""

    labels: tuple[str, ...]
    template: str
    hypotheses: tuple[str, ...]
    independent: bool

    @classmethod
    def of(cls, labels: Any, template: str, multi_label: bool) -> _Offered:
        names = tuple(each.strip() for each in labels.split(",")) if isinstance(labels, str) else labels
        is_list = isinstance(names, Sequence) and bool(names) and all(isinstance(each, str) for each in names)
        if not is_list or not all(each.strip() for each in names) or len(set(names)) < len(names):
            raise InputError(
                f"expected labels that the text may have, each once, found {quoted(labels)}; pass their "
                "names: labels=['sport', 'politics']"
            )
        try:
            hypotheses = tuple(template.format(name) for name in names)
        except (LookupError, ValueError, AttributeError):
            hypotheses = (template,)
        if len(set(hypotheses)) < len(names) or (len(names) == 1 and hypotheses[0] == template):
            raise InputError(
                f"expected a template with {{}} where the label goes, found {quoted(template)}; the usual "
                f"one is {TEMPLATE!r}"
            )
        return cls(tuple(names), template, hypotheses, multi_label or len(names) == 1)


def _held(classifier: Any) -> tuple[Classifier, Mapping[str, Any]]:
    """The classifier of entailment, and what a pipeline is set to, empty for no pipeline."""
    if getattr(classifier, "task", None) != "zero-shot-classification":
        return Classifier.of(classifier), {}
    asked = {
        "multi_label": False,
        **getattr(classifier, "_preprocess_params", {}),
        **getattr(classifier, "_postprocess_params", {}),
    }
    name = getattr(classifier.model, "name_or_path", "")
    return Classifier(classifier.model, classifier.tokenizer, name=name, problem_type=SINGLE), asked


def _classes(nli: Classifier) -> tuple[int, int]:
    """The classes of entailment and of contradiction, told as the pipeline tells them."""
    entails = [index for index, each in enumerate(nli.labels) if each.lower().startswith("entail")]
    if not entails or len(nli.labels) < 2:
        raise UnsupportedModelError(
            f"expected a model of natural language inference, with a label that begins with 'entail', found "
            f"{', '.join(nli.labels[:10])}; name them: Classifier(model, tokenizer, labels=['contradiction', "
            "'neutral', 'entailment'])"
        )
    return entails[0], len(nli.labels) - 1 if entails[0] == 0 else 0


def _check_answer(pipeline: Any, text: str, offered: _Offered, shares: torch.Tensor) -> None:
    """Raise UsageError where the pipeline answers another thing."""
    answer = pipeline(
        text,
        candidate_labels=list(offered.labels),
        hypothesis_template=offered.template,
        multi_label=offered.independent,
    )
    theirs = dict(zip(answer["labels"], answer["scores"], strict=True))
    apart = max(abs(theirs[label] - float(own)) for label, own in zip(offered.labels, shares, strict=True))
    if not apart <= 0.01:
        raise UsageError(
            f"the pipeline gives a label another probability than its model does here, {apart:.2g} apart: it "
            "makes something else of its texts; pass (pipeline.model, pipeline.tokenizer)"
        )


def _of_labels(
    explanation: Explanation,
    labels: tuple[str, ...],
    logits: list[float],
    shares: list[float],
    label: int,
) -> Explanation:
    best = max(range(len(labels)), key=logits.__getitem__)
    return replace(
        explanation,
        labels=labels,
        logits=tuple(logits),
        probabilities=tuple(shares),
        prediction=labels[best],
        predicted=best,
        target=Target(label, labels[label]),
        windows=(),
    )
