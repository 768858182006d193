"""The table of all metrics, and how the command line names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from whybert.errors import UnknownNameError, UsageError
from whybert.evaluation.agreement import AGREEMENT
from whybert.evaluation.cost import COST
from whybert.evaluation.faithfulness import FAITHFULNESS, FaithfulnessMetric
from whybert.evaluation.metric import GROUPS, Metric
from whybert.evaluation.plausibility import PLAUSIBILITY
from whybert.evaluation.sanity import SANITY
from whybert.perturbation import perturbation

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {**FAITHFULNESS, **PLAUSIBILITY, **SANITY, **AGREEMENT, **COST}
)


def resolve_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names, each once.

    A name is one of `METRICS`, a group of them ("faithfulness"), "all", or `NAME@PERTURBATION` for a
    faithfulness metric that takes words away in another way.

    Raises:
        UnknownNameError: a name is none of these.
        UsageError: there is nothing to compute.
    """
    found: dict[str, Metric] = {}
    for name in names:
        wanted = name.strip().casefold().replace("_", "-")
        base, at, how = wanted.partition("@")
        if at:
            metric = METRICS.get(base)
            if not isinstance(metric, FaithfulnessMetric):
                raise UnknownNameError("faithfulness metric", base, FAITHFULNESS)
            changed = f"{metric.summary} (perturbation: {perturbation(how).name})"
            found[wanted] = replace(metric, name=wanted, perturbation=how, summary=changed)
        elif wanted in METRICS:
            found[wanted] = METRICS[wanted]
        elif wanted == "all" or wanted in GROUPS:
            found.update((m.name, m) for m in METRICS.values() if wanted in ("all", m.group))
        else:
            raise UnknownNameError("metric", name, [*GROUPS, "all", *METRICS])
    if not found:
        raise UsageError(f"expected at least one metric; groups of them are {', '.join(GROUPS)}")
    return tuple(found.values())
