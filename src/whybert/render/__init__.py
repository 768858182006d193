"""Renderers: functions from explanations to a terminal, HTML or LaTeX.

The functions are in the modules of their names (``whybert.render.terminal.terminal`` and so on), so that
nothing is imported before it is used.  Here is what they share: what is shown, in which order and words.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from whybert.comparing import Comparison, Comparisons, Pair
from whybert.errors import InputError, UnknownNameError
from whybert.explanation import (
    LEVELS,
    Completeness,
    Explanation,
    Level,
    Sentence,
    Token,
    Unit,
    Word,
    at_place,
    each_of,
    label,
    options_line,
)

# They reorder the text around them, or, as tags, carry a text that nobody sees.
_INVISIBLE = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") | {
    chr(code) for code in range(0xE0000, 0xE0080)
}
_VISIBLE_BLANK = "\u2423"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text that is shown in one style.

    Fields:
        text: raw; each renderer escapes it.
        score: raw score, or None for text that no word or token covers (cut off, or never read).
        special: whether it is a special token.
        blank: whether a blank goes before it.
        unknown: whether it is a word that the tokenizer does not know, or a token in place of one.
        unit: what is shown; None for text that nothing covers.
    """

    text: str
    score: float | None
    special: bool
    blank: bool
    unknown: bool = False
    unit: Unit | None = None


def pieces(
    explanation: Explanation, level: Level = "word", uncovered_limit: int | None = None
) -> tuple[tuple[Piece, ...], ...]:
    """What to show, in reading order: one tuple for the text, and one for the pair where there is one.

    White space between words and in sentences becomes one blank; tokens always have a blank between them.
    A run of uncovered text is cut after uncovered_limit characters.

    Raises:
        UnknownNameError: no such level.
    """
    if level not in LEVELS:
        raise UnknownNameError("level", level, LEVELS)
    texts = (explanation.text,) if explanation.pair is None else (explanation.text, explanation.pair)
    lines = [_Line(text, uncovered_limit) for text in texts]
    if level != "token":
        for unit in explanation.words() if level == "word" else explanation.sentences():
            lines[unit.sequence].passage(unit)
    else:
        current = 0  # a special token has no sequence: it is shown with the text before it
        for token in explanation.tokens:
            current = current if token.sequence is None else token.sequence
            lines[current].token(token)
    return tuple(line.finish() for line in lines)


class _Line:
    """Collects the pieces of one text from left to right."""

    def __init__(self, text: str, limit: int | None) -> None:
        self.text, self.limit = text, limit
        self.pieces: list[Piece] = []
        self.position, self.pending = 0, False

    def passage(self, unit: Word | Sentence) -> None:
        self.uncovered(unit.start)
        raw = self.text[max(unit.start, self.position) : unit.end]
        self.position = max(self.position, unit.end)
        if not raw:  # an earlier one covers it already
            return
        shown = " ".join(raw.split()) or _VISIBLE_BLANK
        unknown = isinstance(unit, Word) and unit.unknown
        self.add(shown, unit.score, False, self.pending or raw[0].isspace(), unknown, unit)
        self.pending = raw[-1].isspace()

    def token(self, token: Token) -> None:
        if token.sequence is not None and not token.special:
            self.uncovered(token.start)
            self.position = max(self.position, token.end)
        self.add(token.text or _VISIBLE_BLANK, token.score, token.special, True, token.unknown, token)
        self.pending = True

    def uncovered(self, end: int) -> None:
        raw = self.text[self.position : end]
        core = " ".join(raw.split())
        if core:
            if self.limit is not None and len(core) > self.limit:
                core = f"{core[: self.limit]}… ({len(core) - self.limit} more characters)"
            self.add(core, None, False, self.pending or raw[0].isspace())
            self.pending = raw[-1].isspace()
        elif raw:
            self.pending = True
        self.position = max(self.position, end)

    def add(
        self,
        text: str,
        score: float | None,
        special: bool,
        blank: bool,
        unknown: bool = False,
        unit: Unit | None = None,
    ) -> None:
        self.pieces.append(Piece(text, score, special, blank and bool(self.pieces), unknown, unit))

    def finish(self) -> tuple[Piece, ...]:
        self.uncovered(len(self.text))
        return tuple(self.pieces)


def visible(text: str) -> str:
    """Text that is safe to print: control characters become symbols (U+001B becomes U+241B).

    Lone surrogates, and invisible characters that reorder text or hide one, become U+FFFD; white space
    a blank.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\t\n\r" or code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    category = unicodedata.category(character)
    if category in ("Zl", "Zp"):
        return " "
    return "\ufffd" if category in ("Cc", "Cs") or character in _INVISIBLE else character


def number(value: float, sign: bool = True, digits: int = 3) -> str:
    """A raw score as shown: fixed point, or scientific where that would hide it."""
    if not math.isfinite(value):
        return str(value)
    plain = value == 0 or 10.0**-digits <= abs(value) < 1e5
    text = f"{value:+.{digits}f}" if plain else f"{value:+.2e}"
    return text if sign else text.removeprefix("+")


def shorten(text: str, limit: int = 40) -> str:
    """Text cut to a length in characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short_name(unit: Unit) -> str:
    """A word, token or sentence where it stands in a list: on one line, and not longer than fits there."""
    return shorten(" ".join(unit.text.split()), 120 if isinstance(unit, Sentence) else 40)


def prediction_line(explanation: Explanation) -> str:
    """The prediction and its probability, or the number that a regression answers."""
    name, answer = at_place(explanation, label(explanation, explanation.predicted)), explanation.answer
    return f"{name} {answer:.3f}" if explanation.probabilities else f"{name} {number(answer, False)}"


def method_line(explanation: Explanation) -> str:
    """The method and its options."""
    options = options_line(explanation, ", ")
    return f"{explanation.method} ({options})" if options else explanation.method


def target_line(explanation: Explanation) -> str | None:
    """The target, where it is not just the prediction's logit."""
    if explanation.explains_prediction and explanation.quantity == "logit":
        return None
    return f"target {explanation.explained}"


def own_name(row: Explanation, rows: Sequence[Explanation]) -> str:
    """What tells a row from the others: its method, with options or target where they differ."""
    same = [other for other in rows if other.method == row.method]
    parts = [method_line(row) if len({other.options for other in same}) > 1 else row.method]
    if len({other.explained for other in rows}) > 1:
        parts.append(f"for {row.explained}")
    return " ".join(parts)


def output_name(explanation: Explanation) -> str:
    """What the explained number is: "logit", "logit difference", "probability", "output" of a regression."""
    name = explanation.quantity.replace("_", "-")
    name = name if explanation.probabilities else "output"
    name += "" if explanation.target.against is None else " difference"
    is_mean = explanation.windows and explanation.quantity != "logit"
    return f"mean {name} of the windows" if is_mean else name


def notes(explanation: Explanation) -> tuple[str, ...]:
    """The label in the data, what the output is made of, windows and unknown words, where there is some."""
    lines = [] if explanation.truth is None else [f"label in the data {explanation.truth}"]
    if explanation.completeness is not None:
        lines.append(_account(explanation, explanation.completeness))
    if explanation.pairs is not None and (top := explanation.top_pairs(3)):
        named = (f"{short_name(each.first)} ~ {short_name(each.second)} {number(each.score)}" for each in top)
        lines.append(f"strongest pairs {', '.join(named)}")
    if explanation.windows:
        lines.append(windows_line(explanation))
    if any(token.unknown for token in explanation.tokens):
        lines.append(_unknown_line(explanation))
    return tuple(lines)


def warning(explanation: Explanation) -> str | None:
    """That sizes mislead, and that the model did not read the whole text; None for neither."""
    said = [explanation.caution] if explanation.caution else []
    if explanation.truncated:
        # Each of two texts that are compared has special tokens of its own, and windows are not for them.
        compared = any(each.special and each.sequence == 1 for each in explanation.tokens)
        way = "" if compared else '; long="windows" (in the shell --long windows) reads all of it'
        count = len(explanation.tokens)
        said.append(f"the text was cut to {count} tokens, and the model did not read the rest{way}")
    return "; ".join(said) or None


def is_right(explanation: Explanation) -> bool | None:
    """Whether the prediction is the label in the data; None where that is unknown, or none of the model's."""
    return explanation.truth == explanation.prediction if explanation.truth in explanation.labels else None


def remarks(explanation: Explanation) -> tuple[str, ...]:
    """The notes, and the warning if there is one."""
    said = warning(explanation)
    return (*notes(explanation), *([said] if said else []))


def _unknown_line(explanation: Explanation, limit: int = 5) -> str:
    """The words that are marked: "2 words are unknown to the tokenizer (marked ?): ☃, ♥"."""
    words = list(dict.fromkeys(word.text for word in explanation.words() if word.unknown))
    tokens = sorted({token.text for token in explanation.tokens if token.unknown})
    number = f"{len(words)} words are" if len(words) > 1 else "1 word is" if words else "some text is"
    named = ", ".join(shorten(word, 20) for word in words[:limit]) + (", ..." if len(words) > limit else "")
    return f"{number} unknown to the tokenizer, which reads {' or '.join(tokens)} (marked ?): {named}"


def windows_line(explanation: Explanation) -> str:
    """How a long text was read: "read in 4 windows of up to 512 tokens that overlap by up to 127"."""
    windows = explanation.windows
    size = max(window.size for window in windows)
    overlap = max((a.end - b.start for a, b in pairwise(windows)), default=0)
    tail = f" that overlap by up to {overlap}" if overlap > 0 else ""
    return f"read in {len(windows)} windows of up to {size} tokens{tail}"


def _account(explanation: Explanation, found: Completeness) -> str:
    """What the explained output is made of: "tokens 2.10 + biases 1.30 = logit 3.40"."""
    named = {"tokens": found.relevance_sum, found.rest: found.biases, "other positions": found.elsewhere}
    parts = [f"{name} {number(part, False, 2)}" for name, part in named.items() if part is not None]
    whole = f"{output_name(explanation)} {number(found.logit, False, 2)}"
    if found.biases is None:
        return f"{', '.join(parts)}, {whole} (the rest is not accounted for)"
    if not found.is_exact:
        return f"{', '.join(parts)}, {whole} ({number(found.remainder, False, 2)} unaccounted)"
    outweighs = found.rest == "biases" and abs(found.biases) > abs(found.logit)
    remark = " (biases outweigh it)" if outweighs else ""
    return f"{' + '.join(parts)} = {whole}{remark}"


def ends(explanation: Explanation) -> tuple[str, str]:
    """What the lower and the upper end of the scale mean."""
    if not explanation.signed:
        return "0", "more relevant"
    target = explanation.target
    name = label(explanation, target.index)
    if explanation.quantity == "entropy":
        return "makes it surer", "makes it less sure"
    if target.against is not None:
        return f"supports {label(explanation, target.against)}", f"supports {name}"
    if not explanation.probabilities:
        return f"lowers {name}", f"raises {name}"
    return f"against {name}", f"supports {name}"


def scored_ends(explanation: Explanation, maximum: float) -> tuple[str, str]:
    """The same with the scores that lie there, if there is any but 0."""
    low, high = ends(explanation)
    if not maximum:
        return low, high
    low = f"{low} {number(-maximum)}" if explanation.signed else low
    return low, f"{number(maximum, explanation.signed)} {high}"


def top_units(explanation: Explanation, level: Level, k: int = 5) -> tuple[tuple[str, tuple[Unit, ...]], ...]:
    """The strongest words, tokens or sentences under a heading each: for and against, or relevant."""
    if not explanation.signed:
        return (("relevant", explanation.top(k, level, "positive")),)
    return (
        ("for", explanation.top(k, level, "positive")),
        ("against", explanation.top(k, level, "negative")),
    )


def comparison_facts(found: Comparison) -> tuple[str, ...]:
    """What two explanations have in common and what not, in a few words each."""
    shared = len(found.shared)
    counted = found.level if shared == 1 else f"{found.level}s"
    changed = found.changed_sign()
    named = ", ".join(shorten(pair.text, 20) for pair in changed[:5]) + (", ..." if len(changed) > 5 else "")
    correlation = found.rank_correlation
    facts = [
        "no rank correlation" if correlation is None else f"rank correlation {correlation:.2f}",
        f"{len(changed)} of {shared} {counted} changed sign" + (f": {named}" if named else ""),
    ]
    if shared < len(found.pairs):
        facts.insert(0, f"{shared} of {len(found.pairs)} {found.level}s in both")
    if not found.is_same_prediction:
        lines = map(prediction_line, (found.first, found.second))
        facts.insert(0, f"predictions differ: {' / '.join(lines)}")
    if found.first.signed != found.second.signed:
        facts[-1] = "only one has signs, so magnitudes are compared"
    return tuple(facts)


def comparison_table(found: Comparison, limit: int = 10) -> list[tuple[str, ...]]:
    """Headings, and a row for each unit that changes most: both scores, the change, and the ranks."""
    heads = (found.level, *found.names, "change", "rank", "sign changed")
    return [heads, *(_comparison_row(pair, found) for pair in found.changed(limit))]


def _comparison_row(pair: Pair, found: Comparison) -> tuple[str, ...]:
    scores = [
        "-" if score is None else number(score, each.signed)
        for score, each in ((pair.first, found.first), (pair.second, found.second))
    ]
    ranks = ["-" if rank is None else str(rank) for rank in (pair.first_rank, pair.second_rank)]
    sign = "yes" if pair.changed_sign else ""
    name = shorten(" ".join(pair.text.split()))
    return (name, *scores, f"{100 * pair.change:+.0f} %", " → ".join(ranks), sign)


COMPARISON_NOTE = "change: of the share of each explanation's strongest; rank: by absolute score"


def summary_facts(found: Comparisons) -> tuple[str, ...]:
    """What many comparisons say together."""
    correlation = found.rank_correlation
    return (
        f"{len(found)} comparison{'s' * (len(found) != 1)}",
        "no rank correlation" if correlation is None else f"mean rank correlation {correlation:.2f}",
        f"predictions differ in {len(found.differing)}",
        f"some word changed sign in {sum(bool(each.changed_sign()) for each in found)}",
    )


def by_text(explanations: Iterable[Explanation]) -> list[list[Explanation]]:
    """The explanations of each text, in the order of the texts; one that stands there twice comes twice."""
    groups: dict[tuple[object, ...], list[Explanation]] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for each in explanations:
        text = (each.text, each.pair)
        own = (*text, each.classifier, each.method, each.options, each.target, each.quantity, each.place)
        groups.setdefault((*text, counts[own]), []).append(each)
        counts[own] += 1
    return list(groups.values())


def check_one_text(explanations: Iterable[Explanation]) -> None:
    """Raise InputError unless they explain the same text."""
    if len({(each.text, each.pair) for each in explanations}) > 1:
        raise InputError(
            "expected explanations of the same text, got different texts; "
            "show them one by one, or group them by text first"
        )


def as_sequence(explanations: Explanation | Iterable[Explanation]) -> Sequence[Explanation]:
    """One or several explanations as a non-empty sequence.

    Raises:
        InputError: there are none, or they are something else.
    """
    given = tuple(each_of(explanations))
    if not given:
        raise InputError("expected at least one explanation, got none: there is no text to explain")
    return given
