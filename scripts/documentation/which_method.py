"""The figure of docs/which-method.md, from its numbers: what a method costs, and what it buys by length."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from whybert.render.figures import COLOURS, drawing, write

REFERENCE: Final = "attnlrp"
WAYS: Final = {"mask": (COLOURS[0], "o", "words masked"), "delete": (COLOURS[4], "s", "words deleted")}
"""A way of removal: its colour, its marker, and what the legend says."""
PLACE: Final = "<!-- the figure -->"
"""Where the figure goes in the page: it is made with the site, and is no file of the repository."""
ALT: Final = (
    "A row for each method, the cheapest on top: its time in plain forward and backward passes, and for each "
    "length of text how much better or worse than AttnLRP it is, by masking and by deletion, with 95 % "
    "intervals. The same numbers stand in the tables below."
)
PICTURE: Final = "images/which-method.svg"
ROW, HEAD, NAMES, PANEL = 16.0, 66.0, 130.0, 105.0  # points
LONG: Final = 24  # letters of a name that stands in one line
LEAST, MOST = -0.45, 0.45
"""What lies below the least is an arrow at the edge: how much worse a bad method is would hide all else."""


def generate(folder: Path) -> None:
    page = folder / "which-method.md"
    text = page.read_text(encoding="utf-8")
    if PLACE not in text:
        raise ValueError(f"expected the line {PLACE} in {page.name}, where its figure goes")
    page.write_text(text.replace(PLACE, f"[![{ALT}]({PICTURE}){{ .wide }}]({PICTURE})"), encoding="utf-8")
    with (folder / "results" / "which-method.csv").open(encoding="utf-8", newline="") as file:
        picture = figure(list(csv.DictReader(file)))
    with (folder / PICTURE).open("wb") as stream:
        write(picture, stream, "svg")


def figure(rows: Iterable[Mapping[str, str]]) -> Figure:
    """A row for each method, the cheapest on top: its time, and by length what it is better by."""
    found = {(row["length"], row["method"], row["measure"]): row for row in rows}
    lengths = list(dict.fromkeys(length for length, _, _ in found))
    times: dict[str, list[float]] = {}
    for (_, method, measure), row in found.items():
        if measure == "time":
            times.setdefault(method, []).append(float(row["value"]))
    methods = sorted(times.keys() - {REFERENCE}, key=lambda method: (max(times[method]), method))
    with drawing(" ".join(methods)) as make:
        picture = make(NAMES + PANEL * (len(lengths) + 1), HEAD + ROW * len(methods))
        costs, *panels = picture.subplots(1, len(lengths) + 1, sharey=True)
        for place, method in enumerate(methods):
            costs.hlines(place, min(times[method]), max(times[method]), color="#8a8a8a", linewidth=2.5)
            costs.plot(times[method], [place] * len(times[method]), "|", color="black", markersize=6)
        costs.set(xscale="log", ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
        costs.set_yticklabels(map(label, methods), family="monospace", size=7.5, linespacing=0.9)
        costs.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        costs.set_title("time of a text", size=9.5)
        costs.set_xlabel("forward + backward passes,\na mark for each length", size=8.5)
        for length, panel in zip(lengths, panels, strict=True):
            panel.axvline(0, color="black", linewidth=0.8)
            for shift, (way, (colour, marker, name)) in zip((-0.17, 0.17), WAYS.items(), strict=True):
                panel.plot([], [], marker, color=colour, markersize=4.5, label=name)
                for place, method in enumerate(methods):
                    row = found.get((length, method, f"abpc@{way}"))
                    if row is not None:
                        draw(panel, row, place + shift, colour, marker)
            panel.set_title(f"{length} tokens", size=9.5)
            panel.set_xlim(LEAST, MOST)
            panel.set_xticks((-0.4, 0, 0.4))
        panels[len(panels) // 2].set_xlabel(f"better than {REFERENCE} by (area LeRF - MoRF)", size=8.5)
        for axes in (costs, *panels):
            axes.tick_params(axis="x", labelsize=8.5)
            for place in range(0, len(methods), 2):
                axes.axhspan(place - 0.5, place + 0.5, color="#f0f0f0", zorder=0)
        picture.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8.5
        )
    return picture


def label(method: str) -> str:
    return method.replace(":", ":\n", 1) if len(method) > LONG else method


def draw(panel: Any, row: Mapping[str, str], place: float, colour: str, marker: str) -> None:
    """A difference with its interval, hollow where that holds 0; an arrow for what lies off the panel."""
    value, low, high = (float(row[key]) for key in ("better_by", "better_low", "better_high"))
    if value < LEAST:
        panel.plot(LEAST + 0.02, place, "<", color=colour, markersize=4.5, zorder=3)
        return
    panel.hlines(place, low, high, color=colour, linewidth=1.2, zorder=2)
    filling = "white" if low <= 0 <= high else colour
    panel.plot(value, place, marker, color=colour, markerfacecolor=filling, markersize=4.5, zorder=3)
