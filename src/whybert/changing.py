"""What would have to change for another decision: words that are taken away, and words that are replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice, product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch

from whybert.asking import Saved, asked, spans_of
from whybert.classifier import BATCH_SIZE, Classifier, ClassifierLike
from whybert.encoding import Text
from whybert.errors import InputError, ModelError, TargetError, UsageError, quoted
from whybert.explaining import explain
from whybert.infilling import MaskedLanguageModel, MaskedLanguageModelLike, Span, Word, cased_like, written
from whybert.methods.question import Unit
from whybert.perturbation import perturbation
from whybert.targets import resolve
from whybert.typed import check_whole
from whybert.words import split_words

if TYPE_CHECKING:
    from rich.console import RenderableType

Replacements: TypeAlias = "Mapping[str, str | Sequence[str]] | Iterable[Sequence[str]]"
"""For words what may stand in their place, or groups of words each of which may stand for the others."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Units = tuple[int, ...]

_CHUNK: Final = 16  # removals along an order that are asked together: the first that counts is near its start
_BEAM: Final = 20  # replaced texts that are replaced further, where not all can be


@dataclass(frozen=True, slots=True)
class Removed:
    """A word, token or sentence that is taken away: its text and where it stands."""

    text: str
    start: int
    end: int
    sequence: int


@dataclass(frozen=True)
class Removal(Saved):
    """What `smallest_removal` found.

    Fields:
        text, pair: what was asked.
        truncated: whether the classifier reads a part of it only.
        classifier, unit, by: as they were given.
        label, probability: the decision, and how likely it is.
        new_label, new_probability: without what is removed; None where nothing was found that changes it.
        left: the probability of the old decision then.
        removed: in the order of the text; none where nothing was found.
        count: how many units the text has.
        is_proven: whether it is known that no smaller set changes the decision or, where nothing was found,
            that no set does.
        evaluations: how many inputs the classifier was asked about.
    """

    text: str
    pair: str | None
    truncated: bool
    classifier: str
    unit: str
    by: str
    label: str
    probability: float
    new_label: str | None
    new_probability: float | None
    left: float | None
    removed: tuple[Removed, ...]
    count: int
    is_proven: bool
    evaluations: int

    @property
    def is_found(self) -> bool:
        """Whether a set was found that changes the decision."""
        return self.new_label is not None

    def __rich__(self) -> RenderableType:
        from rich.text import Text as RichText

        from whybert.render import visible

        found = RichText(visible(f"{self.label} {self.probability:.3f}"), style="bold")
        if self.new_label is None:
            sure = "no set of them does" if self.is_proven else "none was found within the budget"
            found.append(f": it stays, whichever {self.unit}s are taken away ({sure})", "not bold")
        else:
            found.append(f" -> {visible(self.new_label)} {self.new_probability:.3f}")
            sure = "no fewer do" if self.is_proven else "fewer may do, too"
            some = f"{len(self.removed)} of {self.count} {self.unit}s"
            found.append(f" without {some} ({self.by}; {sure})", "not bold")
        found.append(f" · {self.evaluations} inputs\n\n", "not bold")
        for sequence, text in enumerate((self.text, self.pair)):
            if text is None:
                continue
            place = 0
            for each in self.removed:
                if each.sequence == sequence:
                    found.append(visible(text[place : each.start]), "not bold")
                    found.append(visible(f"[{text[each.start : each.end]}]"), "bold strike")
                    place = each.end
            found.append(visible(text[place:]), "not bold")
            found.append("\n" if sequence == 0 and self.pair is not None else "")
        return found


def smallest_removal(
    classifier: ClassifierLike, text: Text, *, by: str = "mask", unit: Unit = "word", budget: int = 2000
) -> Removal:
    """The smallest set of words without which the classifier decides otherwise.

    All single words are asked.  Then words are taken away in the order of their AttnLRP scores (of a function
    of texts, which has none, and besides, in that of what each alone changes) until the decision changes, and
    what is not needed is put back.  Smaller sets than that are all asked, size by size, as far as the budget
    goes; where it goes far enough, it is proven that no smaller one does.

    Args:
        classifier: anything that `Classifier.of` takes, functions of texts too.
        text: one, or a tuple `(text, pair)`; what is longer than the classifier reads is cut.
        by: how words are taken away, a name of `whybert.perturbation.PERTURBATIONS`.
        unit: "word", "token" or "sentence".
        budget: how many inputs the classifier may be asked about, at least one for each unit.

    Returns:
        A frozen value, which shows and saves itself; `is_found` says whether anything changes the decision.

    Raises:
        UsageError: an option cannot be, or the classifier answers numbers and decides nothing.
        WhybertError: what `explain` raises.
    """
    perturbation(by)
    check_whole("budget", budget)
    classifier = Classifier.of(classifier)
    _check_decides(classifier)
    question = asked(classifier, text)
    assert question.rows is not None
    [row], [units] = question.rows, question.units(unit)
    if len(units) >= budget:
        raise UsageError(
            f"expected a budget above the {len(units)} {unit}s of the text, found {budget}; give more, or "
            "use unit='sentence'"
        )
    before = classifier.probabilities(question.logits.double().cpu())[0].numpy()
    decision = int(question.logits[0].argmax())
    search = _Search(
        units, decision, len(row.tokens), lambda removed: _removed(classifier, question, removed, by)
    )
    relevance = _relevance(classifier, text, decision, units)
    orders = [relevance, search.singles] if relevance is not None else [search.singles]
    best, is_proven = search.smallest(orders, budget)
    after = None if best is None else search.found[best]
    spans = spans_of(row, units, unit)
    new = None if after is None else int(after.argmax())
    return Removal(
        text=row.text,
        pair=row.pair,
        truncated=row.truncated,
        classifier=classifier.name,
        unit=unit,
        by=by,
        label=classifier.labels[decision],
        probability=float(before[decision]),
        new_label=None if new is None else classifier.labels[new],
        new_probability=None if after is None or new is None else float(after[new]),
        left=None if after is None else float(after[decision]),
        removed=tuple(Removed(*spans[index]) for index in best or ()),
        count=len(units),
        is_proven=is_proven,
        evaluations=len(question.answered) + 1,
    )


def _removed(classifier: Classifier, question: Any, removed: torch.Tensor, by: str) -> Floats:
    """The probabilities (removals, labels) without tokens, bool (removals, tokens)."""
    found: Floats = classifier.probabilities(question.without(removed, by)[:, 0]).numpy()
    return found


def _relevance(
    classifier: Classifier, text: Text, decision: int, units: Sequence[tuple[int, ...]]
) -> list[float] | None:
    """How much each unit speaks for the decision by AttnLRP; None where the method does not serve it."""
    if classifier.is_black_box:
        return None
    try:
        [found] = explain(classifier, text, "attnlrp", decision)
    except ModelError:
        return None
    return [math.fsum(found.tokens[token].score for token in members) for members in units]


class _Search:
    """Sets of units by what the classifier says without them.

    ask: from bool (removals, tokens) to probabilities (removals, labels).
    """

    def __init__(
        self,
        units: Sequence[tuple[int, ...]],
        decision: int,
        tokens: int,
        ask: Callable[[torch.Tensor], Floats],
    ) -> None:
        self.count, self.decision, self.ask = len(units), decision, ask
        self.members = torch.zeros(len(units), tokens, dtype=torch.bool)
        for index, columns in enumerate(units):
            self.members[index, list(columns)] = True
        self.found: dict[Units, Floats] = {}
        self.flipping([(index,) for index in range(self.count)])
        self.singles = [-float(self.found[(index,)][decision]) for index in range(self.count)]

    def flipping(self, sets: Iterable[Units]) -> Units | None:
        """Of sets that are asked the one that leaves the old decision least, among those that change it."""
        listed = [tuple(sorted(each)) for each in sets]
        new = list(dict.fromkeys(each for each in listed if each not in self.found))
        if new:
            removed = torch.stack([self.members[list(each)].any(0) for each in new])
            self.found.update(zip(new, self.ask(removed), strict=True))
        changed = [each for each in listed if self._changes(each)]
        return min(changed, key=lambda each: (float(self.found[each][self.decision]), each), default=None)

    def smallest(self, orders: Sequence[Sequence[float]], budget: int) -> tuple[Units | None, bool]:
        """The smallest set that was found, and whether it is proven that no smaller one does."""
        best = self.flipping([(index,) for index in range(self.count)])
        if best is not None:
            return best, True
        for scores in orders:
            found = self._along(scores, budget)
            if found is not None and (best is None or len(found) < len(best)):
                best = found
        for size in range(2, self.count + 1 if best is None else len(best)):
            if len(self.found) + math.comb(self.count, size) > budget:
                return best, False
            found = self.flipping(combinations(range(self.count), size))
            if found is not None:
                return found, True
        return best, True

    def _along(self, scores: Sequence[float], budget: int) -> Units | None:
        """The first units of an order that change the decision, without those that need not go."""
        order = sorted(range(self.count), key=lambda index: (-scores[index], index))
        found: Units | None = None
        # all of them only by themselves: what is left then is no text to many functions
        sizes = chain(_chunks(range(2, self.count), _CHUNK), [[self.count]] * (self.count > 1))
        for chunk in sizes:
            if len(self.found) + len(chunk) > budget:
                return None
            self.flipping(tuple(order[:size]) for size in chunk)
            ordered = (tuple(sorted(order[:size])) for size in chunk)
            found = next((each for each in ordered if self._changes(each)), None)
            if found is not None:
                break
        return found and self._pruned(found, budget)

    def _pruned(self, found: Units, budget: int) -> Units:
        """The units of a set without which, put back, the decision would not change, as the budget allows."""
        while len(found) > 2 and len(self.found) + 2 * len(found) <= budget:
            fewer = [tuple(each for each in found if each != index) for index in found]
            self.flipping(fewer)
            spare = sorted(
                (float(self.found[rest][self.decision]), index)
                for rest, index in zip(fewer, found, strict=True)
                if self._changes(rest)
            )
            # as many at once as may go back together, those first without which least is left
            back = [{index for _, index in spare[:count]} for count in range(1, len(spare) + 1)]
            tried = [tuple(each for each in found if each not in those) for those in back]
            self.flipping(each for each in tried if each)
            changed = [each for each in tried if each and self._changes(each)]
            if not changed:
                break
            found = changed[-1]
        return found

    def _changes(self, units: Units) -> bool:
        return int(self.found[units].argmax()) != self.decision


def _chunks(values: Iterable[int], size: int) -> Iterator[list[int]]:
    remaining = iter(values)
    while chunk := list(islice(remaining, size)):
        yield chunk


# --- replaced words ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replaced:
    """A word of the text, where it stands, and the one in its place.

    likelihood: of the new word there, by the masked language model; None for one that was given.
    """

    old: str
    new: str
    start: int
    end: int
    sequence: int
    likelihood: float | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A text with other words, read anew as a whole, about which the classifier decides otherwise.

    Fields:
        text, pair: as the classifier was asked.
        replaced: in the order of the text.
        label, probability: the new decision.
        left: the probability of the old one.
    """

    text: str
    pair: str | None
    replaced: tuple[Replaced, ...]
    label: str
    probability: float
    left: float


@dataclass(frozen=True)
class Flips(Saved):
    """What `flips` found.

    Fields:
        text, pair, classifier: what was asked.
        label, probability: the decision about it.
        to: the label that was wanted instead; None for any other.
        found: the fewest replaced words first, of as many the most probable new decision first.
        candidates: how many replacements of single words were tried.
        is_proven: whether all texts with fewer replaced words than the first found one were asked or, where
            none was found, all with as many as were allowed.
        evaluations: how many texts the classifier was asked about.
    """

    text: str
    pair: str | None
    classifier: str
    label: str
    probability: float
    to: str | None
    found: tuple[Flip, ...]
    candidates: int
    is_proven: bool
    evaluations: int

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text as RichText

        from whybert.render import visible
        from whybert.render.tables import TextTable

        head = RichText(visible(f"{self.label} {self.probability:.3f}"), style="bold")
        facts = f"{self.candidates} replacements · {self.evaluations} texts"
        if not self.found:
            sure = "all were tried" if self.is_proven else "not all were tried"
            head.append(f": no replaced words change it ({sure}) · {facts}", "not bold")
            return head
        head.append(f" · {facts}", "not bold")
        if not self.is_proven:
            head.append(" · fewer replaced words may do, too", "not bold")
        rows = [
            (
                f"{each.label} {each.probability:.3f}",
                ", ".join(f"{word.old} -> {word.new}" for word in each.replaced),
                each.text if each.pair is None else f"{each.text} | {each.pair}",
            )
            for each in self.found
        ]
        return Group(head, RichText(), TextTable(("becomes", "by", "text"), rows))


def flips(
    classifier: ClassifierLike,
    text: Text,
    replacements: Replacements | None = None,
    *,
    masked_lm: MaskedLanguageModelLike | None = None,
    k: int = 10,
    to: int | str | None = None,
    most_words: int = 3,
    top: int = 10,
    budget: int = 2000,
    batch_size: int = BATCH_SIZE,
) -> Flips:
    """Word replacements that flip the decision: the fewest words first.

    Each changed text is read as a whole, as `predict` reads it.  All single replacements are tried, then
    those of two words, up to `most_words`; where all of a number are more than the budget allows, the 20
    texts that came nearest go on.  The search ends with the fewest words that flip it.

    Args:
        classifier: anything that `Classifier.of` takes, functions of texts too.
        text: one, or a tuple `(text, pair)`.
        replacements: for words what may stand in their place, `{"good": ["bad", "fine"]}`, or groups of words
            each of which may stand for the others; whatever their case.
        masked_lm: a masked language model, which says the words: a folder, a hub id or a pair (model,
            tokenizer); with `replacements` both are tried.
        k: how many words of the masked language model are tried for each.
        to: the label that is wanted; None for any other than the decision.
        most_words: that are replaced at once.
        top: how many texts are listed.
        budget: how many texts the classifier may be asked about.
        batch_size: as of `predict`.

    Returns:
        A frozen value, which shows and saves itself; its `found` is empty where nothing flips the decision.

    Raises:
        UsageError: an option cannot be, or nothing says what may be replaced by what.
        WhybertError: what `predict` and `MaskedLanguageModel.of` raise.
    """
    numbers = {"k": k, "most_words": most_words, "top": top, "budget": budget}
    for name, value in numbers.items():
        check_whole(name, value)
    if replacements is None and masked_lm is None:
        raise UsageError(
            "expected words to replace: replacements={'good': ['bad']}, or masked_lm= a masked language model"
        )
    table = {} if replacements is None else _table(replacements)
    classifier = Classifier.of(classifier)
    _check_decides(classifier)
    question = asked(classifier, text)  # which says, by name, what is no text
    assert question.rows is not None
    row = question.rows[0]
    decision = int(question.logits[0].argmax())
    wanted = None if to is None else _label(classifier, to, decision)
    before = classifier.probabilities(question.logits.double().cpu())[0]
    spans = [each for each in row.word_spans if any(map(str.isalnum, _at(row.text, row.pair, each)))]
    likely: Sequence[tuple[Word, ...]] = [()] * len(spans)
    if masked_lm is not None:
        likely = MaskedLanguageModel.of(masked_lm).words(text, spans, k, batch_size=batch_size)
    options: list[list[tuple[str, float | None]]] = []
    for span, words in zip(spans, likely, strict=True):
        old = _at(row.text, row.pair, span)
        own: dict[str, float | None] = {cased_like(new, old): None for new in table.get(old.casefold(), ())}
        own |= {word.word: word.probability for word in words if word.word not in own}
        options.append(list(own.items()))
    attempt = _Attempt(classifier, text, spans, options, decision, wanted, batch_size)
    found, is_proven = attempt.search(most_words, budget)
    listed = sorted(found, key=lambda each: (len(each.replaced), -each.probability, each.text))
    return Flips(
        text=row.text,
        pair=row.pair,
        classifier=classifier.name,
        label=classifier.labels[decision],
        probability=float(before[decision]),
        to=None if wanted is None else classifier.labels[wanted],
        found=tuple(listed[:top]),
        candidates=sum(map(len, options)),
        is_proven=is_proven,
        evaluations=attempt.evaluations + 1,
    )


Choice = tuple[tuple[int, int], ...]
"""Which words are replaced, in order, and by which of their replacements."""


class _Attempt:
    """The texts that replaced words make, level by level."""

    def __init__(
        self,
        classifier: Classifier,
        text: Text,
        spans: Sequence[Span],
        options: Sequence[Sequence[tuple[str, float | None]]],
        decision: int,
        wanted: int | None,
        batch_size: int,
    ) -> None:
        self.classifier, self.text, self.spans, self.options = classifier, text, spans, options
        self.decision, self.wanted, self.batch_size = decision, wanted, batch_size
        self.evaluations = 0

    def search(self, most_words: int, budget: int) -> tuple[list[Flip], bool]:
        """The flips of the fewest words, and whether all texts of fewer, or all, were asked."""
        is_proven = True
        nearest: list[tuple[Choice, float]] = []
        for size in range(1, most_words + 1):
            total = self._count(size)
            if not total:
                return [], is_proven
            room = budget - self.evaluations
            if total <= room:
                choices: Iterator[Choice] = self._all(size)
            else:
                if size == 1:
                    raise UsageError(
                        f"expected a budget for the {total} replacements of single words, found {budget}; "
                        "give more, fewer replacements, or a smaller k"
                    )
                choices = islice(self._further([choice for choice, _ in nearest[:_BEAM]]), max(0, room))
            asked_about = list(choices)
            found, nearest = self._asked(asked_about)
            if found:
                return found, is_proven
            is_proven = is_proven and total <= room
            if not asked_about:
                break
        return [], is_proven

    def _count(self, size: int) -> int:
        """How many texts there are with so many replaced words."""
        counts = [1] + [0] * size
        for own in map(len, self.options):
            for number in range(size, 0, -1):
                counts[number] += counts[number - 1] * own
        return counts[size]

    def _all(self, size: int) -> Iterator[Choice]:
        places = [place for place, own in enumerate(self.options) if own]
        for chosen in combinations(places, size):
            for numbers in product(*(range(len(self.options[place])) for place in chosen)):
                yield tuple(zip(chosen, numbers, strict=True))

    def _further(self, choices: Sequence[Choice]) -> Iterator[Choice]:
        """Each with one word more, once."""
        seen: set[Choice] = set()
        for choice in choices:
            taken = {place for place, _ in choice}
            for place, own in enumerate(self.options):
                for number in range(len(own) if place not in taken else 0):
                    further = tuple(sorted((*choice, (place, number))))
                    if further not in seen:
                        seen.add(further)
                        yield further

    def _asked(self, choices: Sequence[Choice]) -> tuple[list[Flip], list[tuple[Choice, float]]]:
        """The flips among them, and the others by the probability that is left, the least first."""
        texts = [
            written(
                self.text, {self.spans[place]: self.options[place][number][0] for place, number in choice}
            )
            for choice in choices
        ]
        self.evaluations += len(texts)
        if not texts:
            return [], []
        predictions = self.classifier.predict(texts, self.batch_size)  # type: ignore[arg-type]
        found: list[Flip] = []
        others: list[tuple[Choice, float]] = []
        for choice, prediction in zip(choices, predictions, strict=True):
            left = prediction.probabilities[self.decision]
            new = prediction.predicted
            if new == self.decision or (self.wanted is not None and new != self.wanted):
                towards = left if self.wanted is None else -prediction.probabilities[self.wanted]
                others.append((choice, towards))
                continue
            replaced = tuple(self._replaced(place, number) for place, number in choice)
            likely = prediction.probabilities[new]
            found.append(Flip(prediction.text, prediction.pair, replaced, prediction.label, likely, left))
        return found, sorted(others, key=lambda each: each[1])

    def _replaced(self, place: int, number: int) -> Replaced:
        sequence, start, end = self.spans[place]
        new, likelihood = self.options[place][number]
        sequences = [self.text] if isinstance(self.text, str) else list(self.text)
        return Replaced(sequences[sequence][start:end], new, start, end, sequence, likelihood)


def _at(text: str, pair: str | None, span: Span) -> str:
    return (text, pair or "")[span[0]][span[1] : span[2]]


def _table(replacements: Any) -> dict[str, list[str]]:
    """For each word, whatever its case, what may stand in its place."""
    if isinstance(replacements, str | bytes) or not isinstance(replacements, Iterable):
        raise InputError(
            "expected replacements as {'good': ['bad', 'fine']} or groups [['good', 'fine']], found "
            f"{quoted(replacements)}"
        )
    found: dict[str, list[str]] = {}

    def add(word: object, others: Iterable[object]) -> None:
        for each in (word, *others):
            if not isinstance(each, str) or not each.strip():
                raise InputError(f"expected words to replace and to put in their place, found {quoted(each)}")
        assert isinstance(word, str)
        if list(split_words(word)) != [(0, len(word))]:
            raise InputError(
                f"expected single words to replace, found {quoted(word)}; one of its words will do"
            )
        own = found.setdefault(word.casefold(), [])
        own += [each for each in map(str, others) if each.casefold() != word.casefold() and each not in own]

    if isinstance(replacements, Mapping):
        for word, others in replacements.items():
            if not isinstance(others, Sequence):
                raise InputError(f"expected words in the place of {quoted(word)}, found {quoted(others)}")
            add(word, [others] if isinstance(others, str) else list(others))
    else:
        for group in replacements:
            if isinstance(group, str | bytes) or not isinstance(group, Sequence):
                raise InputError(f"expected groups of words, found {quoted(group)}")
            for word in group:
                add(word, [each for each in group if each is not word])
    if not any(found.values()):
        raise InputError("expected at least one word and what may stand in its place, found none")
    return found


def read_replacements(text: str, where: str = "the list") -> dict[str, list[str]]:
    """What lines "good: bad, fine" or "good, bad, fine" say of words and what may stand in their place.

    Args:
        text: the lines.
        where: they stand, for messages.

    Raises:
        InputError: a line says something else.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        word, colon, others = line.partition(":")
        words = [each.strip() for each in (others if colon else line).split(",")]
        if not all(words) or not word.strip() or (not colon and len(words) < 2):
            raise InputError(
                f"expected lines 'good: bad, fine' or 'good, bad, fine' in {where}, found "
                f"{quoted(line.strip(), 40)} in line {number}"
            )
        for each in [word.strip()] if colon else words:
            found.setdefault(each, []).extend(other for other in words if other != each)
    return found


def _label(classifier: Classifier, to: int | str, decision: int) -> int:
    resolved = resolve(to, torch.zeros(1, len(classifier.labels)), classifier.labels)
    if resolved.against is not None:
        raise TargetError(f"expected one label to flip to, found {quoted(to)}")
    index = int(resolved.index[0])
    if index == decision:
        raise TargetError(
            f"the classifier says {classifier.labels[index]!r} already; name another label, or leave `to` out"
        )
    return index


def _check_decides(classifier: Classifier) -> None:
    if classifier.is_regression or len(classifier.labels) < 2:
        raise UsageError(
            f"{classifier.name} answers a number and decides nothing that could change; ask a classifier of "
            "two labels or more"
        )
