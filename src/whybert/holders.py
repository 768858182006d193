"""What people hold a classifier in: which model and tokenizer it holds, and what else it says of them.

Such objects are recognised by what they have, so that the libraries that they are of are never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whybert.black_box import Answered, BlackBox, TextModel
from whybert.datasets.base import MULTI, REGRESSION, SINGLE
from whybert.encoding import Text
from whybert.errors import UnknownNameError, UnsupportedModelError, UsageError

PIPELINE_TASKS: Final = ("text-classification", "sentiment-analysis")
"""Of pipelines of `transformers` that classify whole texts."""

_PLACED_TASKS: Final = ("token-classification", "ner", "fill-mask")
"""Of those whose models answer at each position: they put together what it says, and change none of it."""

_PROBLEM_TYPES: Final = {
    "none": REGRESSION,
    "sigmoid": MULTI,
    "softmax": SINGLE,
}
"""What a pipeline makes of logits, and the problem type of which probabilities are made so."""

_MEANT: Final = {"truncation", "max_length", "padding"}
"""Settings of a pipeline's tokenizer that do not change what it makes of a text that is not cut."""


_PAIR: Final = ("The film was good.", "The actors were great.")


@dataclass(frozen=True)
class Held:
    """A model, its tokenizer, and the other arguments of `Classifier` that what held them says.

    asked: a text, or a pair, and what was answered to it, to be held against the classifier's own answer;
        None where nothing can get lost.
    """

    model: Any
    tokenizer: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    asked: tuple[Text, list[float]] | None = None


def held(value: object) -> Held:
    """The parts of what holds a classifier.

    Raises:
        UsageError: it holds none, or one that would be read otherwise here.
    """
    for is_one, parts in _HOLDERS:
        if is_one(value):
            return parts(value)
    kind = type(value).__name__
    if isinstance(value, nn.Module) and hasattr(value, "encode"):
        way = "it makes vectors of texts, and no classes; put a head on it, as a SetFitModel has"
    elif isinstance(value, nn.Module):
        way = "a model needs its tokenizer beside it: (model, tokenizer)"
    elif hasattr(value, "model") and (hasattr(value, "tokenizer") or hasattr(value, "processing_class")):
        tokenizer = "tokenizer" if hasattr(value, "tokenizer") else "processing_class"
        way = f"pass its parts, if that is what it asks: (it.model, it.{tokenizer})"
    elif hasattr(value, "predict_proba"):
        way = "pass its function of a list of texts: it.predict_proba"
    else:
        way = (
            "pass a Classifier, a name or a folder, a text-classification pipeline, a pair "
            "(model, tokenizer), a CrossEncoder, a SetFitModel, or a function from a list of texts to "
            "probabilities"
        )
    raise UsageError(f"expected a classifier, found {kind}; {way}")


# --- a pair ----------------------------------------------------------------------------------------------


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _of_pair(value: Any) -> Held:
    kinds = ", ".join(type(each).__name__ for each in value)
    if len(value) == 2 and is_sentence_model(value[0]) and hasattr(value[1], "predict_proba"):
        return _of_sentence_model(*value)
    if len(value) == 2 and isinstance(value[1], nn.Module) and not isinstance(value[0], nn.Module):
        raise UsageError(f"expected a pair (model, tokenizer), found ({kinds}); the model comes first")
    if len(value) != 2 or not isinstance(value[0], nn.Module):
        raise UsageError(
            f"expected a pair (model, tokenizer), found ({kinds}); texts come after the classifier"
        )
    return Held(value[0], value[1])


# --- transformers.pipeline ---------------------------------------------------------------------------------


def _is_pipeline(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("task", "model", "tokenizer", "preprocess", "postprocess"))


def _of_pipeline(value: Any) -> Held:
    """Its max_length and function_to_apply hold; how many labels it lists (top_k) changes no answer."""
    if value.task in _PLACED_TASKS:
        set_ones = {name for name, each in getattr(value, "_preprocess_params", {}).items() if each}
        _check_nothing_lost(set_ones)
        return Held(value.model, value.tokenizer, {"name": getattr(value.model, "name_or_path", "")})
    if value.task not in PIPELINE_TASKS:
        way = "use a text-classification pipeline"
        if value.task == "zero-shot-classification":
            way = "whybert.zero_shot(pipeline, texts, labels) explains it"
        raise UsageError(f"expected a pipeline that classifies texts, found one for {value.task}; {way}")
    settings = dict(getattr(value, "_preprocess_params", {}))
    _check_nothing_lost(settings.keys() - _MEANT)
    options: dict[str, Any] = {"name": getattr(value.model, "name_or_path", "")}
    if settings.get("truncation") and settings.get("max_length"):
        options["max_length"] = settings["max_length"]
    config = value.model.config
    applied = getattr(value, "_postprocess_params", {}).get("function_to_apply")
    if applied is not None:
        if config.num_labels == 1 and str(getattr(applied, "value", applied)).lower() == "softmax":
            raise UsageError(
                "the pipeline makes a softmax of a single label, which is 1 for any text; give it another "
                "function_to_apply: 'sigmoid' or 'none'"
            )
        options["problem_type"] = _PROBLEM_TYPES[str(getattr(applied, "value", applied)).lower()]
    elif config.num_labels == 1 and config.problem_type != REGRESSION:
        options["problem_type"] = MULTI
    return Held(value.model, value.tokenizer, options)


def _check_nothing_lost(settings: Set[str]) -> None:
    if settings:
        raise UsageError(
            f"the pipeline gives its tokenizer {', '.join(sorted(settings))}, which would be lost here; pass "
            "(pipeline.model, pipeline.tokenizer) to do without"
        )


# --- models of sentence-transformers -----------------------------------------------------------------------


class SentenceClassifier(nn.Module):
    """The parts of a model of sentence-transformers, one after the other, and a head.

    Args:
        body: the parts: each takes what is known of a batch by name, and returns it with more.
        result: the name of what is read of it.
        normalise: whether that is scaled to length 1.
        head: from what is read to logits; None where it is them.
    """

    def __init__(
        self, body: nn.Module, result: str, *, normalise: bool = False, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body, self.head, self.result, self.normalise = body, head, result, normalise
        self.training = False

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        known = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        found: Tensor = self.body({name: each for name, each in known.items() if each is not None})[
            self.result
        ]
        if self.normalise:
            found = F.normalize(found, p=2, dim=1)
        if self.head is None:
            return found
        logits: Any = self.head(found)
        first: Tensor = logits[0] if isinstance(logits, tuple) else logits  # SetFit's adds probabilities
        return first


def check_body(body: Any, kind: str) -> None:
    prompt = (getattr(body, "prompts", None) or {}).get(getattr(body, "default_prompt_name", None))
    if prompt:
        raise UsageError(
            f"the {kind} puts the prompt {prompt!r} before each text, which would not be explained; set "
            "default_prompt_name to None and write it into the texts"
        )
    if getattr(body, "truncate_dim", None) is not None:
        raise UsageError(f"the {kind} cuts its vectors (truncate_dim), which is not served; set it to None")


def _is_cross_encoder(value: Any) -> bool:
    return isinstance(value, nn.Module) and all(
        hasattr(value, name) for name in ("activation_fn", "num_labels", "tokenizer", "rank")
    )


def _of_cross_encoder(value: Any) -> Held:
    """Several labels without an activation are logits, as a classifier of transformers has them."""
    check_body(value, "CrossEncoder")
    activation = type(value.activation_fn).__name__
    problem_type = {
        "Sigmoid": MULTI,
        "Softmax": SINGLE,
        "Identity": REGRESSION if value.num_labels == 1 else None,
    }
    if activation not in problem_type:
        raise UsageError(
            f"the CrossEncoder makes its scores by {activation}, which is no probability known here; pass "
            "(it.model, it.tokenizer) to explain its logits, with problem_type= to say what they are"
        )
    transformer, *others = value
    model, options = transformer.model, {"problem_type": problem_type[activation]}
    options["name"] = getattr(model, "name_or_path", "")
    if others:
        model = SentenceClassifier(value, "scores")
    return Held(model, value.tokenizer, options, (_PAIR, _listed(value.predict(_PAIR))))


def is_sentence_model(value: Any) -> bool:
    """Whether it is a SentenceTransformer."""
    return isinstance(value, nn.Module) and hasattr(value, "encode") and hasattr(value, "tokenizer")


def _of_sentence_model(body: Any, head: Any) -> Held:
    """A SentenceTransformer and a head of scikit-learn that was fitted to its vectors; see `_of_setfit`."""
    check_body(body, "SentenceTransformer")
    logits, many = _linear(head)
    parameter = next(body.parameters())
    answer = head.predict_proba(body.encode([_PAIR[0]], convert_to_numpy=True, show_progress_bar=False))
    if many and isinstance(answer, list):  # of each label its no and yes
        answer = [float(each[0, 1]) for each in answer]
    return Held(
        SentenceClassifier(body, "sentence_embedding", head=logits.to(parameter.device, parameter.dtype)),
        body.tokenizer,
        {
            "name": getattr(getattr(body, "model_card_data", None), "base_model", None)
            or type(body).__name__,
            "labels": None if many else list(map(str, head.classes_)),
            "problem_type": MULTI if many else SINGLE,
        },
        (_PAIR[0], _listed(answer)),
    )


def _is_setfit(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("model_body", "model_head", "predict_proba"))


def _of_setfit(value: Any) -> Held:
    """Its logits are its head's decision function: of a head with one, half of it, for and against."""
    check_body(value.model_body, "SetFitModel")
    head = value.model_head
    if isinstance(head, nn.Module):
        many = bool(getattr(head, "multitarget", False))
        logits, names = head, value.labels
    else:
        logits, many = _linear(head)
        parameter = next(value.model_body.parameters())
        logits = logits.to(parameter.device, parameter.dtype)
        names = value.labels
        classes = [] if many else list(head.classes_)
        if classes and (names is None or isinstance(classes[0], str)):
            names = list(map(str, classes))
        elif classes:
            names = [names[int(each)] for each in classes]
    return Held(
        SentenceClassifier(
            value.model_body, "sentence_embedding", normalise=value.normalize_embeddings, head=logits
        ),
        value.model_body.tokenizer,
        {
            "name": getattr(value.model_body.model_card_data, "base_model", None) or "SetFitModel",
            "labels": None if names is None else list(names),
            "problem_type": MULTI if many else SINGLE,
        },
        (_PAIR[0], _listed(value.predict_proba([_PAIR[0]]))),
    )


def _linear(head: Any) -> tuple[nn.Linear, bool]:
    """A head of scikit-learn as a layer, and whether its outputs are labels that may hold together."""
    parts = list(getattr(head, "estimators_", [head]))
    if (
        not all(hasattr(part, "coef_") and hasattr(part, "intercept_") for part in parts)
        or hasattr(head, "chain_method")  # each of its parts reads what those before it say
        or not getattr(head, "multilabel_", True)  # its probabilities are scaled to sum to 1
    ):
        kind = type(head).__name__
        raise UnsupportedModelError(
            f"expected a SetFitModel with a LogisticRegression, one of them for each of several labels that "
            f"may hold together, or a SetFitHead, found a {kind} for its head; train one of these"
        )
    many = parts[0] is not head
    weight = torch.cat([torch.as_tensor(part.coef_, dtype=torch.float64) for part in parts])
    bias = torch.cat([torch.as_tensor(part.intercept_, dtype=torch.float64).view(-1) for part in parts])
    if not many and len(weight) == 1:
        weight, bias = (torch.cat([-each / 2, each / 2]) for each in (weight, bias))
    layer = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64).eval()
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer, many


# --- a function of texts -----------------------------------------------------------------------------------


def _is_function(value: Any) -> bool:
    holds = hasattr(value, "tokenizer") or hasattr(value, "processing_class")
    return isinstance(value, BlackBox) or (
        callable(value)
        and not isinstance(value, nn.Module | type)
        and not (hasattr(value, "model") and holds)
        and not hasattr(value, "tokenize")
    )


def _of_function(value: Any) -> Held:
    black_box = value if isinstance(value, BlackBox) else BlackBox(value)
    kind = black_box.problem_type
    if kind is not None and kind not in _ANSWERED:
        raise UnknownNameError("problem_type", kind, _ANSWERED)
    names = None if black_box.labels is None else tuple(black_box.labels)
    model = TextModel(
        black_box, None if kind is None else _ANSWERED[kind], None if names is None else len(names)
    )
    found = next(name for name, answered in _ANSWERED.items() if answered == model.answered)
    return Held(model, model.tokenizer, {"name": black_box.name, "labels": names, "problem_type": found})


_ANSWERED: Final[dict[str, Answered]] = {SINGLE: "softmax", MULTI: "sigmoid", REGRESSION: "identity"}


def _listed(answer: Any) -> list[float]:
    """An answer to one text as numbers; of (label, no or yes) the share of yes."""
    numbers = torch.as_tensor(answer).detach().double().cpu()
    if numbers.dim() == 3:
        numbers = numbers[..., 1]
    return numbers.view(-1).tolist()


_HOLDERS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], Held]], ...]] = (
    (_is_pair, _of_pair),
    (_is_pipeline, _of_pipeline),
    (_is_cross_encoder, _of_cross_encoder),
    (_is_setfit, _of_setfit),
    (_is_function, _of_function),
)
