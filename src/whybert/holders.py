"""What people hold a classifier in: which model and tokenizer it holds, and what else it says of them.

Such objects are recognised by what they have, so that the libraries that they are of are never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from whybert.errors import UsageError

PIPELINE_TASKS: Final = ("text-classification", "sentiment-analysis")

_PROBLEM_TYPES: Final = {
    "none": "regression",
    "sigmoid": "multi_label_classification",
    "softmax": "single_label_classification",
}
"""What a pipeline makes of logits, and the problem type of which probabilities are made so."""

_MEANT: Final = {"truncation", "max_length", "padding"}
"""Settings of a pipeline's tokenizer that do not change what it makes of a text that is not cut."""


@dataclass(frozen=True)
class Held:
    """A model, its tokenizer, and the other arguments of `Classifier` that what held them says."""

    model: Any
    tokenizer: Any
    options: Mapping[str, Any]


def held(value: object) -> Held:
    """The parts of what holds a classifier.

    Raises:
        UsageError: it holds none, or one that would be read otherwise here.
    """
    for is_one, parts in _HOLDERS:
        if is_one(value):
            return parts(value)
    kind = type(value).__name__
    if isinstance(value, nn.Module):
        way = "a model needs its tokenizer beside it: (model, tokenizer)"
    elif hasattr(value, "model") and (hasattr(value, "tokenizer") or hasattr(value, "processing_class")):
        tokenizer = "tokenizer" if hasattr(value, "tokenizer") else "processing_class"
        way = f"pass its parts, if that is what it asks: (it.model, it.{tokenizer})"
    else:
        way = (
            "pass a Classifier, a name or a folder, a text-classification pipeline, or a pair "
            "(model, tokenizer)"
        )
    raise UsageError(f"expected a classifier, found {kind}; {way}")


# --- a pair ----------------------------------------------------------------------------------------------


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _of_pair(value: Any) -> Held:
    kinds = ", ".join(type(each).__name__ for each in value)
    if len(value) == 2 and isinstance(value[1], nn.Module) and not isinstance(value[0], nn.Module):
        raise UsageError(f"expected a pair (model, tokenizer), found ({kinds}); the model comes first")
    if len(value) != 2 or not isinstance(value[0], nn.Module):
        raise UsageError(
            f"expected a pair (model, tokenizer), found ({kinds}); texts come after the classifier"
        )
    return Held(value[0], value[1], {})


# --- transformers.pipeline ---------------------------------------------------------------------------------


def _is_pipeline(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("task", "model", "tokenizer", "preprocess", "postprocess"))


def _of_pipeline(value: Any) -> Held:
    """Its max_length and function_to_apply hold; how many labels it lists (top_k) changes no answer."""
    if value.task not in PIPELINE_TASKS:
        way = "use a text-classification pipeline"
        if value.task == "zero-shot-classification":
            way = (
                "ask its model about pairs of a text and a hypothesis: (pipeline.model, pipeline.tokenizer), "
                "('a text', 'This example is sport.')"
            )
        raise UsageError(f"expected a pipeline that classifies texts, found one for {value.task}; {way}")
    settings = dict(getattr(value, "_preprocess_params", {}))
    if others := sorted(settings.keys() - _MEANT):
        raise UsageError(
            f"the pipeline gives its tokenizer {', '.join(others)}, which would be lost here; pass "
            "(pipeline.model, pipeline.tokenizer) to do without"
        )
    options: dict[str, Any] = {"name": getattr(value.model, "name_or_path", "")}
    if settings.get("truncation") and settings.get("max_length"):
        options["max_length"] = settings["max_length"]
    config = value.model.config
    applied = getattr(value, "_postprocess_params", {}).get("function_to_apply")
    if applied is not None:
        options["problem_type"] = _PROBLEM_TYPES[str(getattr(applied, "value", applied)).lower()]
    elif config.num_labels == 1 and config.problem_type != "regression":
        options["problem_type"] = _PROBLEM_TYPES["sigmoid"]
    return Held(value.model, value.tokenizer, options)


_HOLDERS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], Held]], ...]] = (
    (_is_pair, _of_pair),
    (_is_pipeline, _of_pipeline),
)
