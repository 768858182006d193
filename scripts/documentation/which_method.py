"""The figure of the page "which method": what a method costs against what it buys, by the length of the text."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from whybert.render.figures import COLOURS, drawing

REFERENCE = "attnlrp"
WAYS = {"mask": (COLOURS[0], "o", "words masked"), "delete": (COLOURS[4], "s", "words deleted")}
"""A way of removal: its colour, its marker, and what the legend says."""
GREY = "#8a8a8a"
ROW, MARGIN, NAMES, PANEL = 15.0, 62.0, 210.0, 118.0  # points


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figure(rows: Iterable[Mapping[str, str]]) -> Figure:
    """A row for each method, the cheapest on top; its time, and for each length how much better than AttnLRP."""
    found = {(row["length"], row["method"], row["measure"]): row for row in rows}
    lengths = list(dict.fromkeys(length for length, _, _ in found))
    times: dict[str, list[float]] = {}
    for (_, method, measure), row in found.items():
        if measure == "time":
            times.setdefault(method, []).append(float(row["value"]))
    methods = sorted((method for method in times if method != REFERENCE), key=lambda method: max(times[method]))
    width, height = NAMES + PANEL * (len(lengths) + 1), MARGIN + ROW * len(methods)
    with drawing(" ".join(methods)) as make:
        picture = make(width, height)
        costs, *panels = picture.subplots(1, len(lengths) + 1, sharey=True)
        for place, method in enumerate(methods):
            costs.plot([min(times[method]), max(times[method])], [place, place], color=GREY, linewidth=2.5)
            costs.plot(times[method], [place] * len(times[method]), "|", color="black", markersize=6)
        costs.set_xscale("log")
        costs.set_yticks(range(len(methods)), methods, family="monospace", size=8.5)
        costs.set_ylim(len(methods) - 0.4, -0.6)
        costs.set_title("time of a text", size=9.5)
        costs.set_xlabel("forward + backward\npasses, a mark a length", size=8.5)
        for length, panel in zip(lengths, panels, strict=True):
            panel.axvline(0, color="black", linewidth=0.8)
            for step, (way, (colour, marker, name)) in enumerate(WAYS.items()):
                for place, method in enumerate(methods):
                    row = found.get((length, method, f"abpc@{way}"))
                    if row is not None:
                        draw(panel, row, place - 0.17 + 0.34 * step, colour, marker, name if place == 0 else None)
            panel.set_title(f"{length} tokens", size=9.5)
        for panel in (costs, *panels):
            panel.tick_params(axis="x", labelsize=8.5)
            for place in range(0, len(methods), 2):
                panel.axhspan(place - 0.5, place + 0.5, color="#f2f2f2", zorder=0)
        panels[len(panels) // 2].set_xlabel(f"better than {REFERENCE} by", size=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside lower right", ncols=2, fontsize=8.5)
    return picture


def draw(panel: Any, row: Mapping[str, str], y: float, colour: str, marker: str, label: str | None) -> None:
    """A difference with its interval, hollow where that leaves the sign open."""
    value, low, high = (float(row[key]) for key in ("better_by", "better_low", "better_high"))
    panel.plot([low, high], [y, y], color=colour, linewidth=1.2, zorder=2)
    filling = "white" if low <= 0 <= high else colour
    panel.plot([value], [y], marker, color=colour, markerfacecolor=filling, markersize=4.5, label=label, zorder=3, linestyle="none")
