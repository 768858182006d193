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

# For terminals, whose background may be light or dark: letters that are readable on both, then a dull and a
# vivid background, all about as light, so that what is vivid stands out on either.
_LETTERS, _DULL, _VIVID = range(3)
TERMINAL_SUPPORTS = ("#c64e3e", "#8c5a55", "#d7301f")
TERMINAL_AGAINST = ("#2f78c4", "#5a6b80", "#1668d0")
TERMINAL_RELEVANT = ("#9a6a00", "#80705a", "#f7a400")

# Shares of the maximum: below the first a score has no colour, below the second its letters have one; signs
# come singly from the third on and doubly from the last.
FAINT, MEDIUM, SIGN, SIGNS = 0.1, 0.3, 0.2, 0.5

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

    @property
    def stops(self) -> tuple[str, ...]:
        """The colours from end to end, for a gradient."""
        return (*reversed(AGAINST), *SUPPORTS[1:]) if self.signed else RELEVANT

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
        return Colour(background, _readable_on(background))

    def on_any_at(self, position: float) -> tuple[str | None, str | None]:
        """Background and text colour at a position on a page of unknown colour; None leaves it."""
        strength = min(1.0, abs(position))
        colours = (
            (TERMINAL_SUPPORTS if position >= 0 else TERMINAL_AGAINST) if self.signed else TERMINAL_RELEVANT
        )
        if strength < MEDIUM:
            return None, None if strength < FAINT else colours[_LETTERS]
        background = _mix(colours[_DULL], colours[_VIVID], (strength - MEDIUM) / (1.0 - MEDIUM))
        return background, _readable_on(background)

    def mark(self, score: float) -> str:
        """The score without colours: "+" and "-", twice where it is strong, "" for next to nothing."""
        position = self.position(score)
        if abs(position) < SIGN:
            return ""
        sign = ("-" if position < 0 else "+") if self.signed else "*"
        return sign * 2 if abs(position) >= SIGNS else sign


def _readable_on(background: str) -> str:
    # The better of black and white always reaches sqrt(21) = 4.58, above the 4.5 of WCAG AA.
    return max((_BLACK, _WHITE), key=lambda colour: contrast(colour, background))


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
