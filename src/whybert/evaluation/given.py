"""Explanations that no method of whybert made: a random control, and those of other tools, from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from whybert.datasets.base import DatasetError
from whybert.datasets.tabular import json_objects, read_bytes
from whybert.errors import InputError
from whybert.evaluation.metric import Subject, check_explanation
from whybert.explanation import Explanation
from whybert.methods.control import Random, random_scores

RANDOM: Final = Random.name
"""The control: uniform random scores, drawn by the seed and the text, those of the method of that name."""

_PIECE_MARKS: Final = (
    "##",
    "\u0120",
    "\u2581",
)  # how WordPiece, byte-level BPE and SentencePiece mark pieces


def explanation_of(
    subject: Subject, labels: Sequence[str], scores: Sequence[float], method: str
) -> Explanation:
    """The subject with these scores, one for each token, special tokens included."""
    return Explanation.of_row(
        subject.row,
        scores,
        labels=labels,
        logits=subject.logits,
        probabilities=subject.probabilities,
        target=(subject.target, None),
        method=method,
        options={},
        signed=True,
    )


def random_explanations(subjects: Sequence[Subject], labels: Sequence[str]) -> list[Explanation]:
    """Scores that know nothing, those of the method `random` with the same seed."""
    found = []
    for subject in subjects:
        row = subject.row
        scores = random_scores(subject.seed, row.text, row.pair, row.token_count)
        found.append(explanation_of(subject, labels, scores, RANDOM))
    return found


def read_explanations(
    path: str | Path, subjects: Sequence[Subject], labels: Sequence[str], method: str
) -> list[Explanation]:
    """Explanations of the subjects from a JSON lines file, one text a line.

    Each line has `scores`, and what they are scores of: `words` or `tokens`, strings that stand in the text
    in this order (case and the marks of word pieces do not matter), or `spans`, pairs of character offsets.
    What a line of `whybert explain --format json` holds is read too.  A line belongs to the subject whose
    row is its `index`, or else its `text`.  `method` names the scores; lines of another `method` are skipped.
    Where a unit covers several tokens of the model, its score is shared among them by characters; where
    several units lie in one token, their scores add up.

    Raises:
        InputError: a line, which is named, cannot be read or does not align, or a subject has none.
    """
    by_index = {subject.index: subject for subject in subjects}
    by_text = {(subject.row.text, subject.row.pair): subject for subject in subjects}
    found: dict[int, Explanation] = {}
    by_text_only: list[Explanation] = []
    for where, record in _records(Path(path)):
        if record.get("method") not in (None, method):
            continue
        subject = _subject_of(record, by_index, by_text, where)
        if subject is not None:
            found[id(subject)] = _explanation(record, subject, labels, method, where)
            if "index" not in record:
                by_text_only.append(found[id(subject)])
    of_text = {(explanation.text, explanation.pair): explanation for explanation in by_text_only}
    for subject in subjects:
        if id(subject) not in found and (subject.row.text, subject.row.pair) in of_text:
            found[id(subject)] = of_text[
                subject.row.text, subject.row.pair
            ]  # the text stands in several rows
        if id(subject) not in found:
            raise InputError(
                f"{str(path)!r} has no explanation by {method!r} of row {subject.index} "
                f"({subject.row.text[:40]!r}); add a line with this index or text, or lower --limit",
                subject.index,
            )
    return [found[id(subject)] for subject in subjects]


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of the lines, each with what messages call its line."""
    try:
        for number, record in json_objects(read_bytes(path), repr(str(path))):
            yield f"{str(path)!r}, line {number}", record
    except DatasetError as error:
        raise InputError(str(error)) from error


def _subject_of(
    record: Mapping[str, Any],
    by_index: Mapping[int, Subject],
    by_text: Mapping[tuple[str, str | None], Subject],
    where: str,
) -> Subject | None:
    """The subject that a line is about; None if it is about a row that is not evaluated."""
    text, pair, index = record.get("text"), record.get("pair"), record.get("index")
    if isinstance(text, str) and (pair is None or isinstance(pair, str)):
        subject = by_text.get((text, pair))
        other = by_index.get(index) if isinstance(index, int) else None
        if other is not None and (other.row.text, other.row.pair) == (text, pair):
            return other  # a text can stand in several rows
        if subject is None and other is not None:
            raise InputError(
                f"{where}: row {index} is {other.row.text[:40]!r}, but the line is about {text[:40]!r}; "
                "the file is of other data"
            )
        return subject
    if not isinstance(index, int) or isinstance(index, bool):
        raise InputError(f"{where}: expected 'index' (the row) or 'text' to say which text it is about")
    return by_index.get(index)


def _explanation(
    record: Mapping[str, Any], subject: Subject, labels: Sequence[str], method: str, where: str
) -> Explanation:
    tokens = record.get("tokens")
    if "schema" in record and isinstance(tokens, list) and tokens and isinstance(tokens[0], dict):
        try:
            explanation = Explanation.from_dict(record)
            check_explanation(subject, explanation)
        except InputError as error:
            raise InputError(f"{where}: {error}", subject.index) from error
        of_class = explanation.target.against is None and explanation.quantity != "entropy"
        if not of_class or explanation.target.index != subject.target:
            raise InputError(
                f"{where}: expected an explanation of {labels[subject.target]!r}, which is judged, found one "
                f"of {explanation.explained!r}; explain the prediction, or give --target",
                subject.index,
            )
        return explanation
    scores = record.get("scores")
    if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
        raise InputError(f"{where}: expected 'scores', a list of numbers", subject.index)
    names = record.get("words", record.get("tokens"))
    # As the model's tokenizer spells them: nothing has to be found.
    own = names == list(subject.row.tokens) and len(scores) == len(names)
    spans = [] if own else _spans(record, subject, len(scores), where)
    for place, score in enumerate(scores):
        if not abs(score) <= sys.float_info.max:  # an int can be too large for a float
            raise InputError(
                f"{where}: expected scores that are finite numbers, found {score} at place {place}",
                subject.index,
            )
    if own:  # those of special tokens are not of the text
        shared = [
            0.0 if special else score for score, special in zip(scores, subject.row.special, strict=True)
        ]
    else:
        shared = _shared(spans, scores, subject)
    return explanation_of(subject, labels, shared, method)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Placed = tuple[int, int, int]  # sequence, start, end


def _spans(record: Mapping[str, Any], subject: Subject, count: int, where: str) -> list[Placed]:
    """Where in the text each score belongs."""
    given = record.get("spans")
    names = record.get("words", record.get("tokens"))
    if (given is None) == (names is None):
        raise InputError(f"{where}: expected one of 'words', 'tokens' and 'spans' beside 'scores'")
    if not isinstance(given if given is not None else names, list):
        raise InputError(f"{where}: expected 'words', 'tokens' or 'spans' that are a list", subject.index)
    if len(given if given is not None else names) != count:
        raise InputError(
            f"{where}: expected as many scores as {'spans' if given is not None else 'words'}, found {count} "
            f"and {len(given if given is not None else names)}"
        )
    if given is not None:
        limit = len(subject.row.text)
        for span in given:
            if (
                not isinstance(span, list)
                or len(span) != 2
                or not all(isinstance(end, int) for end in span)
                or not 0 <= span[0] < span[1] <= limit
            ):
                raise InputError(f"{where}: expected spans [start, end] inside the text, found {span!r}")
        return [(0, span[0], span[1]) for span in given]
    return _found_in_text([str(name) for name in names], subject, where)


def _found_in_text(names: Sequence[str], subject: Subject, where: str) -> list[Placed]:
    """The names one after another in the text, then in its pair; special tokens get an empty span."""
    row = subject.row
    special = {token for token, flag in zip(row.tokens, row.special, strict=True) if flag}
    texts = [row.text.casefold()] + ([] if row.pair is None else [row.pair.casefold()])
    if any(len(folded) != len(text) for folded, text in zip(texts, (row.text, row.pair or ""), strict=False)):
        texts = [row.text, *([] if row.pair is None else [row.pair])]  # case folding moved the offsets
    sequence, position, placed = 0, 0, []
    for number, name in enumerate(names):
        if name in special:
            placed.append((0, 0, 0))
            continue
        bare = name
        for mark in _PIECE_MARKS:
            bare = bare.removeprefix(mark)
        bare = bare.strip()
        start = -1
        for candidate in dict.fromkeys((bare, bare.casefold())):
            for there in range(sequence, len(texts)):
                start = texts[there].find(candidate, position if there == sequence else 0)
                between = texts[there][position if there == sequence else 0 : max(start, 0)]
                if start >= 0 and not between.strip():
                    sequence, position = there, start + len(candidate)
                    break
                start = -1
            if start >= 0:
                break
        if start < 0:
            raise InputError(
                f"{where}: {name!r} (place {number}) does not follow in the text of row {subject.index}, "
                f"which goes on with {texts[sequence][position : position + 20]!r}; give its words in order",
                subject.index,
            )
        placed.append((sequence, start, position))
    return placed


def _shared(spans: Sequence[Placed], scores: Sequence[float], subject: Subject) -> list[float]:
    """The scores of the model's tokens: each unit's score shared by the characters it has in each."""
    row = subject.row
    totals = [0.0] * row.token_count
    for (sequence, start, end), score in zip(spans, scores, strict=True):
        parts = {
            token: min(end, token_end) - max(start, token_start)
            for token, ((token_start, token_end), there) in enumerate(
                zip(row.offsets, row.sequence_ids, strict=True)
            )
            if there == sequence and min(end, token_end) > max(start, token_start)
        }
        whole = sum(parts.values())
        for token, part in parts.items():
            totals[token] += score * part / whole
    return totals
