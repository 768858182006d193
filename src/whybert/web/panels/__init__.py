"""The tabs of the page, one a file: `PANELS` says which and in which order.

A panel is a function that is called within a tab of the page and builds what stands in it.  It gets the
`Controls`, the controls above the tabs, and the `Service`.  A further panel is a file here and a row below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from whybert.web.controls import Controls
from whybert.web.panels import change, compare, explain, inside, saved, trust
from whybert.web.service import Service

__all__ = ["PANELS", "Panel"]


@dataclass(frozen=True)
class Panel:
    """A tab: its name in a link, its title, and what builds it."""

    name: str
    title: str
    build: Callable[[Controls, Service], None]


PANELS: Final = (
    Panel("why", "Why", explain.build),
    Panel("compare", "Compare", compare.build),
    Panel("inside", "Inside", inside.build),
    Panel("trust", "Trust", trust.build),
    Panel("change", "Change", change.build),
    Panel("saved", "Saved", saved.build),
)
