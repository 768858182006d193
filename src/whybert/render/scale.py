"""From raw scores to colours, for display only.

A scale is symmetric around 0 and ends at the largest absolute score of the units shown.  Special tokens
often dominate and would wash out the words, so they do not set the end; they are clipped to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from whybert.explanation import Explanation, Level, units_of

# White to the end of ColorBrewer's RdBu (colour-blind safe); red supports the target, blue speaks against it.
SUPPORTS = ("#ffffff", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")
AGAINST = ("#ffffff", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac")
# Magnitudes get one hue that stays lighter than either end above, so that they also differ in lightness.
RELEVANT = ("#ffffff", "#fff0c2", "#ffdb70", "#f7b731", "#d98e04")

_BLACK, _WHITE = "#000000", "#ffffff"


@dataclass(frozen=True, slots=True)
class Colour:
    """A background and the text colour that is readable on it, both as ``#rrggbb``."""

    background: str
    foreground: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps raw scores to positions and colours.

    Fields:
        maximum: the absolute score with full colour; 0 where nothing has colour.
        signed: False for magnitudes.
    """

    maximum: float
    signed: bool

    @classmethod
    def of(cls, explanation: Explanation, level: Level = "word") -> Scale:
        """The scale of an explanation's words or non-special tokens; non-finite scores are left out.

        Raises:
            UnknownNameError: no such level.
        """
        scores = [unit.score for unit in units_of(explanation, level)]
        maximum = max((abs(score) for score in scores if math.isfinite(score)), default=0.0)
        return cls(float(maximum), explanation.signed)

    def position(self, score: float) -> float:
        """Where a score lies, from -1 (or 0 for magnitudes) to 1; 0 for non-finite scores."""
        if not self.maximum or not math.isfinite(score):
            return 0.0
        return max(-1.0 if self.signed else 0.0, min(1.0, score / self.maximum))

    def colour(self, score: float) -> Colour:
        """The colour of a score; white at 0."""
        return self.colour_at(self.position(score))

    def colour_at(self, position: float) -> Colour:
        """The colour of a position from -1 to 1."""
        stops = (SUPPORTS if position >= 0 else AGAINST) if self.signed else RELEVANT
        place = min(1.0, abs(position)) * (len(stops) - 1)
        lower = min(int(place), len(stops) - 2)
        background = _mix(stops[lower], stops[lower + 1], place - lower)
        # The better of black and white always reaches sqrt(21) = 4.58, above the 4.5 of WCAG AA.
        foreground = max((_BLACK, _WHITE), key=lambda colour: contrast(colour, background))
        return Colour(background, foreground)


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two ``#rrggbb`` colours, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mix(first: str, second: str, share: float) -> str:
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB, WCAG 2.2."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
