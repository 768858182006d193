"""The attribution methods, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .attention import LayerwiseAttentionTracing
from .base import Method, create, create_all
from .gradient import GradientSensitivity, GradientTimesInput
from .relevance import CPLRP, AttnLRP, ReleasedLRP

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
