"""What a shell offers where an option takes one of a set of names.  It is asked at each Tab, so: no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

METHODS: Final = ("attnlrp", "cp_lrp", "gi", "gs", "lat", "lrp")
"""The names of `whybert.methods`, which takes seconds to import, as the metrics do; tests hold them equal."""
GROUPS: Final = ("agreement", "cost", "faithfulness", "plausibility", "sanity")
METRICS: Final = (
    *("abpc", "abpc-logit", "agreement-kendall", "agreement-spearman", "agreement-top", "aopc", "auprc"),
    *("completeness-error", "comprehensiveness", "comprehensiveness-deciles", "deletion-delete"),
    *("deletion-delete-probability", "deletion-mask", "deletion-mask-probability", "deletion-pad"),
    *("deletion-pad-probability", "deletion-paper", "iou-f1", "lerf", "lerf-logit", "loo-kendall"),
    *("max-sensitivity", "morf", "morf-logit", "naopc", "peak-memory", "random-logit"),
    *("randomisation-cascading", "randomisation-independent", "seconds", "sentiment-ap"),
    *("sentiment-spearman", "sufficiency", "sufficiency-deciles", "token-f1"),
)

Complete = Callable[[str], list[str]]


def one_of(names: Iterable[str] | Callable[[], Iterable[str]], several: bool = False) -> Complete:
    """What completes one of the names, or where there may be several, with commas, the last one."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        known = names() if callable(names) else names
        return [f"{before}{comma}{name}" for name in known if name.startswith(last)]

    return complete


def _data_sets() -> Iterable[str]:
    from whybert.datasets import DATASETS

    return DATASETS


COMPLETIONS: Final[Mapping[str, Complete]] = {
    "--data": one_of(_data_sets),
    "--device": one_of(("cpu", "cuda", "mps")),
    "--dtype": one_of(("float32", "float64", "bfloat16", "float16")),
    "--method": one_of(("all", *METHODS), several=True),
    "--metric": one_of(("all", *GROUPS, *METRICS), several=True),
    "--model": one_of(("builtin",)),
    "--split": one_of(("train", "validation", "test")),
    "--task": one_of(_data_sets),
}
"""By the name of an option; the names of files are completed by the shell itself."""
