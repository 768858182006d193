"""What a shell offers where an option takes one of a set of names.  It is asked at each Tab, so: no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

# The names of metrics, whose modules take seconds to import; tests hold them equal.
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

_NAME: Final = re.compile(r'^    name: ClassVar\[str\] = "(\w+)"', re.MULTILINE)

Complete = Callable[[str], list[str]]


def one_of(names: Iterable[str] | Callable[[], Iterable[str]], several: bool = False) -> Complete:
    """What completes one of the names, or where there may be several, with commas, the last one."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        known = names() if callable(names) else names
        return [f"{before}{comma}{name}" for name in known if name.startswith(last)]

    return complete


def methods() -> list[str]:
    """The names of methods, read from the source: importing `whybert.methods` takes seconds."""
    folder = Path(__file__).parent.parent / "methods"
    found = (re.findall(_NAME, path.read_text(encoding="utf-8")) for path in folder.glob("*.py"))
    return sorted({name for names in found for name in names})


def _data_sets() -> Iterable[str]:
    from whybert.datasets import DATASETS

    return DATASETS


COMPLETIONS: Final[Mapping[str, Complete]] = {
    "--data": one_of(_data_sets),
    "--device": one_of(("cpu", "cuda", "mps")),
    "--dtype": one_of(("float32", "float64", "bfloat16", "float16")),
    "--method": one_of(lambda: ("all", "standard", *methods()), several=True),
    "--metric": one_of(("all", *GROUPS, *METRICS), several=True),
    "--model": one_of(("builtin",)),
    "--split": one_of(("train", "validation", "test")),
    "--task": one_of(_data_sets),
}
"""By the name of an option; the names of files are completed by the shell itself."""
