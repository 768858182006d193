"""The attribution methods, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from whybert.methods.attention import LayerwiseAttentionTracing
from whybert.methods.base import Method, create, create_all
from whybert.methods.gradient import GradientSensitivity, GradientTimesInput
from whybert.methods.relevance import CPLRP, AttnLRP, ReleasedLRP

METHODS: Final[Mapping[str, type[Method]]] = MappingProxyType(
    {
        method.name: method
        for method in (
            GradientSensitivity,
            GradientTimesInput,
            ReleasedLRP,
            LayerwiseAttentionTracing,
            AttnLRP,
            CPLRP,
        )
    }
)

__all__ = ["METHODS", "Method", "create", "create_all"]
