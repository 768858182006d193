"""How far explanations of one text agree, and what each one's output is made of: tables as HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whybert.comparing import compare
from whybert.explanation import Explanation, Level
from whybert.render import check_one_text, number, output_name, own_name, short_name
from whybert.render.html import table

__all__ = ["agreement", "books"]


def agreement(explanations: Sequence[Explanation], level: Level = "word", k: int = 5) -> str:
    """Who agrees with whom: rank correlations, shared units among the k strongest, and which these are.

    Raises:
        InputError: they are of several texts.
        UnknownNameError: no such level.
    """
    check_one_text(explanations)
    names = [own_name(each, explanations) for each in explanations]
    tops = [[unit for unit in each.top(k, level) if unit.score] for each in explanations]
    places = [{(unit.sequence, unit.start, unit.end) for unit in top} for top in tops]

    def correlation(first: int, second: int) -> str:
        found = compare(explanations[first], explanations[second], level).rank_correlation
        return "-" if found is None else f"{found:+.2f}"

    def shared(first: int, second: int) -> str:
        return f"{len(places[first] & places[second])} of {min(k, len(places[first]))}"

    everywhere = set.intersection(*places) if places else set()
    listed = [
        (name, *(f"{short_name(unit)}{'*' * (_place(unit) in everywhere)}" for unit in top))
        for name, top in zip(names, tops, strict=True)
    ]
    most = max((len(row) for row in listed), default=1)
    return (
        _matrix(
            f"Rank correlation of the {level}s (Spearman): 1 is one order, 0 none in common, -1 the reverse; "
            "of magnitudes where one of two has no signs",
            names,
            correlation,
        )
        + _matrix(f"How many of the {k} strongest {level}s two methods share", names, shared)
        + table(
            f"The {k} strongest {level}s of each, the strongest first; * stands in all rows",
            ("method", *map(str, range(1, most))),
            [(*row, *[""] * (most - len(row))) for row in listed],
        )
    )


def books(explanations: Sequence[Explanation]) -> str:
    """What the explained output is made of by each method, as far as it keeps books."""
    rows = []
    for each in explanations:
        found = each.completeness
        name = own_name(each, explanations)
        if found is None:
            rows.append((name, *["-"] * 5, "promises no sum"))
            continue
        verdict = "exact" if found.is_exact else f"{number(found.remainder, True, 2)} not accounted for"
        parts = (found.relevance_sum, found.biases, found.elsewhere)
        said = ["-" if part is None else number(part, True, 2) for part in parts]
        rows.append((name, *said, number(found.logit, True, 2), f"{output_name(each)}", verdict))
    heads = ("method", "tokens", "biases or baseline", "other positions", "sum to", "which is", "books")
    return table("What the output is made of, by each method", heads, rows)


def _place(unit: object) -> tuple[object, ...]:
    return tuple(getattr(unit, name) for name in ("sequence", "start", "end"))


def _matrix(caption: str, names: Sequence[str], said: Callable[[int, int], str]) -> str:
    rows = [
        (name, *("" if row == column else said(row, column) for column in range(len(names))))
        for row, name in enumerate(names)
    ]
    return table(caption, ("method", *names), rows)
