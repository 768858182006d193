"""whybert: why did a transformer decide as it did about a text?

    import whybert

    classifier = whybert.Classifier.load("builtin")
    [explanation] = whybert.explain(classifier, "it 's a charming and often affecting journey .")
    explanation.top(3)

`explain` works on texts and returns frozen `Explanation`s, `attribute` works on tensors and returns an
`Attribution`.  Every error that whybert raises on purpose is a `WhybertError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> module, or module:name there.  Loaded on first use: torch and transformers take seconds to import,
# and neither `whybert --help` nor reading a saved explanation needs them.
_PUBLIC = {
    "Attribution": "attribution",
    "Audit": "auditing",
    "BlackBox": "black_box",
    "Classifier": "classifier",
    "Comparison": "comparing",
    "Comparisons": "comparing",
    "Encoder": "encoders",
    "Completeness": "explanation",
    "Explanation": "explanation",
    "Explanations": "explanation",
    "FileError": "errors",
    "Flip": "changing",
    "Flips": "changing",
    "InputError": "errors",
    "Interactions": "interacting",
    "METHODS": "methods",
    "STANDARD": "methods",
    "METRICS": "evaluation.metrics",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelLoadError": "errors",
    "NonFiniteError": "errors",
    "Place": "explanation",
    "Prediction": "classifier",
    "Removal": "changing",
    "Sentence": "explanation",
    "Target": "explanation",
    "TargetError": "errors",
    "Token": "explanation",
    "TokenPairs": "explanation",
    "TrainingError": "errors",
    "UnknownNameError": "errors",
    "UnsupportedModelError": "errors",
    "UnsupportedOperationError": "errors",
    "UsageError": "errors",
    "WhybertError": "errors",
    "Window": "explanation",
    "Word": "explanation",
    "attribute": "attribution",
    "audit": "auditing",
    "compare": "comparing",
    "evaluate": "evaluation.bench",
    "explain": "explaining",
    "flips": "changing",
    "html": "saving",
    "interactions": "interacting",
    "load": "saving",
    "load_data": "datasets:load",
    "plot_deletion": "evaluation.plots",
    "plot_methods": "render.plot",
    "plot_word_scores": "evaluation.plots",
    "save": "saving",
    "serve": "web",
    "similarity": "similarities",
    "smallest_removal": "changing",
    "zero_shot": "entailing",
}

if TYPE_CHECKING:
    from whybert.attribution import Attribution, attribute
    from whybert.auditing import Audit, audit
    from whybert.black_box import BlackBox
    from whybert.changing import Flip, Flips, Removal, flips, smallest_removal
    from whybert.classifier import Classifier, Prediction
    from whybert.comparing import Comparison, Comparisons, compare
    from whybert.datasets import load as load_data
    from whybert.encoders import Encoder
    from whybert.entailing import zero_shot
    from whybert.errors import (
        FileError,
        InputError,
        MissingExtraError,
        ModelError,
        ModelLoadError,
        NonFiniteError,
        TargetError,
        TrainingError,
        UnknownNameError,
        UnsupportedModelError,
        UnsupportedOperationError,
        UsageError,
        WhybertError,
    )
    from whybert.evaluation.bench import evaluate
    from whybert.evaluation.metrics import METRICS
    from whybert.evaluation.plots import plot_deletion, plot_word_scores
    from whybert.explaining import explain
    from whybert.explanation import (
        Completeness,
        Explanation,
        Explanations,
        Place,
        Sentence,
        Target,
        Token,
        TokenPairs,
        Window,
        Word,
    )
    from whybert.interacting import Interactions, interactions
    from whybert.methods import METHODS, STANDARD
    from whybert.render.plot import plot_methods
    from whybert.saving import html, load, save
    from whybert.similarities import similarity
    from whybert.web import serve

__all__ = [
    "METHODS",
    "METRICS",
    "STANDARD",
    "Attribution",
    "Audit",
    "BlackBox",
    "Classifier",
    "Comparison",
    "Comparisons",
    "Completeness",
    "Encoder",
    "Explanation",
    "Explanations",
    "FileError",
    "Flip",
    "Flips",
    "InputError",
    "Interactions",
    "MissingExtraError",
    "ModelError",
    "ModelLoadError",
    "NonFiniteError",
    "Place",
    "Prediction",
    "Removal",
    "Sentence",
    "Target",
    "TargetError",
    "Token",
    "TokenPairs",
    "TrainingError",
    "UnknownNameError",
    "UnsupportedModelError",
    "UnsupportedOperationError",
    "UsageError",
    "WhybertError",
    "Window",
    "Word",
    "__version__",
    "attribute",
    "audit",
    "compare",
    "evaluate",
    "explain",
    "flips",
    "html",
    "interactions",
    "load",
    "load_data",
    "plot_deletion",
    "plot_methods",
    "plot_word_scores",
    "save",
    "serve",
    "similarity",
    "smallest_removal",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'whybert' has no attribute {name!r}")
    place, _, attribute = module.partition(":")
    value = getattr(importlib.import_module(f".{place}", __name__), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_PUBLIC))
