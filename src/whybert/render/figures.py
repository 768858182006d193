"""Matplotlib in one style: figures without pyplot, so that no state is left and no display is needed.

Words are drawn as they are (a "$" starts no formula), methods differ in line, marker and filling as well as
in colour (Okabe and Ito's, safe for colour-blind people), and letters that no font has are no warning.
"""

from __future__ import annotations

import io
import math
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from whybert.errors import require

try:
    from matplotlib.figure import Figure
except ImportError:  # `drawing` says what to install
    Figure = object  # type: ignore[assignment, misc]

COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
MARKERS: Final = "osD^vPX*<>"  # filled, and after the last one from the first on hollow
LINES: Final = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)))
INK: Final = "#000000"
WIDTH: Final = 468.0  # points: 6.5 inches, the text of a page
MARGIN: Final = 8.0

STYLE: Final[Mapping[str, Any]] = {
    "text.parse_math": False,
    "text.usetex": False,  # a word could be a command
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "legend.frameon": False,
}
_IN_INK: Final = (
    *("axes.edgecolor", "axes.labelcolor", "axes.titlecolor"),
    *("text.color", "xtick.color", "ytick.color"),
)
_ON_PAPER: Final = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
_FILES: Final = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "whybert"}  # 42: fonts venues take
_NO_DATE: Final = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}

# Common fonts for what the usual one lacks; an installed one of them is asked after it.
_MORE_FONTS: Final = (
    "Noto Sans CJK SC,Noto Sans CJK JP,Noto Sans CJK KR,Noto Sans CJK TC,Noto Sans SC,Source Han Sans SC,"
    "PingFang SC,Hiragino Sans,Hiragino Sans GB,Apple SD Gothic Neo,Microsoft YaHei,Yu Gothic,Malgun Gothic,"
    "SimHei,WenQuanYi Zen Hei,WenQuanYi Micro Hei,IPAexGothic,NanumGothic,Noto Sans,Noto Sans Arabic,"
    "Noto Sans Hebrew,Noto Sans Devanagari,Noto Sans Bengali,Noto Sans Tamil,Noto Sans Telugu,Noto Sans Thai,"
    "Noto Sans Georgian,Noto Sans Armenian,Noto Sans Ethiopic,Geeza Pro,Nirmala UI,Leelawadee UI,"
    "Lohit Devanagari,FreeSans,Noto Emoji,Noto Sans Symbols,Noto Sans Symbols 2,Segoe UI Emoji,"
    "Segoe UI Symbol,Symbola,Arial Unicode MS,Unifont"
)


def matplotlib(part: str = "") -> Any:
    """Matplotlib, or a module of it.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require(f"matplotlib{part}", "a picture", "plot")


class Picture(Figure):
    """A figure that shows itself in notebooks also where pyplot was never imported."""

    def draw(self, renderer: Any) -> None:
        with _quiet():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        with matplotlib().rc_context(_FILES):
            super().savefig(fname, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=192)
        width, height = self.get_size_inches() * 96  # sharp on fine screens, at the size of a usual one
        return stream.getvalue(), {"width": round(width), "height": round(height)}


def write(figure: Figure, stream: Any, kind: str) -> None:
    """Write a figure to a stream of bytes; the same figure gives the same bytes.

    Args:
        figure: the figure.
        stream: what takes bytes.
        kind: "png", "svg" or "pdf".
    """
    figure.savefig(stream, format=kind, dpi=200, metadata=_NO_DATE[kind])


@contextmanager
def drawing(
    text: str = "", ink: str = INK, paper: str = "#ffffff", **settings: Any
) -> Iterator[Callable[[float, float], Picture]]:
    """What makes a figure of a width and height in points; inside, all is drawn in one style.

    Args:
        text: all words that are drawn, whose letters choose the fonts.
        ink, paper: colours of lines and letters, and of the ground, whatever the style of the user's own
            figures: white is a score of 0.
        settings: matplotlib's, which go before the style.
    """
    colours = {**dict.fromkeys(_IN_INK, ink), **dict.fromkeys(_ON_PAPER, paper)}
    style = {**colours, **STYLE, "font.family": fonts(text)[0], **settings}
    with matplotlib().rc_context(style), _quiet():
        yield lambda width, height: Picture(figsize=(width / 72, height / 72), layout="constrained")


def headed(
    figure_of: Callable[[float, float], Picture],
    heading: str,
    height: float,
    *,
    width: float = WIDTH,
    room: float = 440.0,
    size: float = 8.0,
    bold: bool = False,
) -> Picture:
    """A figure with a heading on top, for which it is higher.

    Args:
        figure_of: what `drawing` gives.
        heading: is broken at blanks.
        height: of all else.
        width: of the figure.
        room: the width of a line of the heading.
        size, bold: of its letters.
    """
    lines = wrapped(heading, room, size, bold)
    figure = figure_of(width, height + (13 if bold else 12) * len(lines))
    weight = "bold" if bold else "normal"
    figure.suptitle("\n".join(lines), fontsize=size, fontweight=weight, x=0.01, ha="left")
    return figure


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the picture says so itself
        yield


def style(place: int | None, ink: str = INK) -> tuple[str, dict[str, Any]]:
    """The colour of a method by its place among all, and how its line is drawn; None is a control."""
    if place is None:
        return ink, {"linestyle": ":", "linewidth": 2.0}
    colour = COLOURS[place % len(COLOURS)]
    return colour, {
        "linestyle": LINES[place % len(LINES)],
        "marker": MARKERS[place % len(MARKERS)],
        "markerfacecolor": "none" if place // len(MARKERS) % 2 else colour,
        "linewidth": 1.6,
    }


def fonts(text: str) -> tuple[list[str], str]:
    """Families that have the letters of a text, the usual ones first, and the letters that none has."""
    font_manager = matplotlib(".font_manager")
    families = list(matplotlib().rcParams["font.family"])
    missing = {
        letter for letter in text if ord(letter) > 127 and unicodedata.category(letter)[0] not in "CMZ"
    }
    installed = {entry.name for entry in font_manager.fontManager.ttflist} if missing else set()
    for name in (*families, *(each for each in _MORE_FONTS.split(",") if each in installed)):
        if not missing:
            break
        font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[name])))
        found = {letter for letter in missing if font.get_char_index(ord(letter))}
        if found and name not in families:
            families.append(name)
        missing -= found
    return families, "".join(sorted(missing))


def font_note(text: str) -> str | None:
    """What to say of letters that are drawn as boxes; None where there are none."""
    missing = fonts(text)[1]
    if not missing:
        return None
    codes = ", ".join(f"U+{ord(letter):04X}" for letter in missing[:3]) + (", …" if len(missing) > 3 else "")
    return f"no installed font has {len(missing)} of the letters ({codes}): they are drawn as boxes"


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a text in points."""
    properties = matplotlib(".font_manager").FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = matplotlib(".textpath").text_to_path.get_text_width_height_descent(text, properties, False)
    return float(width)


def wrapped(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """The lines of a text that is broken at blanks, and where a word is longer than a line inside it."""
    lines: list[str] = []
    for word in text.split():
        for part in broken(word, width, size, bold):
            if lines and text_width(f"{lines[-1]} {part}", size, bold) <= width:
                lines[-1] += f" {part}"
            else:
                lines.append(part)
    return lines


def broken(word: str, width: float, size: float, bold: bool = False) -> list[str]:
    """A word in parts that are no wider than a width each."""
    whole = text_width(word, size, bold)
    if whole <= width:
        return [word]
    step = max(1, math.floor(len(word) * width / whole * 0.9))
    parts = [word[start : start + step] for start in range(0, len(word), step)]
    return [
        smaller for part in parts for smaller in (broken(part, width, size, bold) if step > 1 else [part])
    ]


class Sheet:
    """A page that grows downwards; places are in points from its upper left corner.

    Fields:
        width: of the page.
        y: where the next thing goes.
    """

    def __init__(self, width: float = WIDTH) -> None:
        self.width, self.y = width, MARGIN
        self._artists: list[Callable[[Any], Any]] = []

    @property
    def room(self) -> float:
        """The width between the margins."""
        return self.width - 2 * MARGIN

    def text(self, x: float, y: float, text: str, size: float, **how: Any) -> None:
        """A line of text whose baseline begins at a place."""
        self._artists.append(lambda axes: axes.text(x, y, text, fontsize=size, **how))

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A rectangle from its upper left corner."""
        shape = matplotlib(".patches").Rectangle((x, y), width, height, facecolor=fill, linewidth=0)
        self._artists.append(lambda axes: axes.add_patch(shape))

    def say(self, text: str, size: float = 8.0, bold: bool = False) -> None:
        """A paragraph over the whole width."""
        for line in wrapped(text, self.room, size, bold):
            self.y += 1.3 * size
            self.text(MARGIN, self.y, line, size, weight="bold" if bold else "normal")
        self.y += 0.4 * size

    def figure(self, figure_of: Callable[[float, float], Picture]) -> Picture:
        """The page as a figure."""
        height = self.y + MARGIN
        figure = figure_of(self.width, height)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0.0, self.width)
        axes.set_ylim(height, 0.0)
        for artist in self._artists:
            artist(axes)
        return figure
