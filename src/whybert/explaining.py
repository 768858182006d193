"""`explain`: texts in, explanations out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast, overload

import torch
from torch import Tensor

from whybert.anatomy import check_model, forward, model_inputs, plain
from whybert.attribution import Attribution, attribute_each, check_inside
from whybert.black_box import quantity_of
from whybert.classifier import (
    BATCH_SIZE,
    Classifier,
    ClassifierLike,
    batches_of_rows,
    link_of,
    logits_of,
    most_together,
    probabilities_of,
)
from whybert.encoding import EncodedText, Encoding, Text
from whybert.errors import (
    PLACE,
    InputError,
    NonFiniteError,
    PaddingWarning,
    TargetError,
    UnsupportedModelError,
    UsageError,
    quoted,
)
from whybert.explanation import Completeness, Explanation, Explanations, Place, Window
from whybert.heads import At, Head, chosen, in_batch, names_of, places_of, questions_of, read_at
from whybert.methods import Method, create_all
from whybert.progress import Progress, reported, silent
from whybert.targets import Link, TargetLike, check_quantity, per_row, several
from whybert.texts import check_rows, normalise_texts
from whybert.windows import Reading, Readings

WithChoices = tuple[str, list[str]]
Texts = Text | Sequence[str] | Sequence[tuple[str, str]] | WithChoices | Sequence[WithChoices]


@overload
def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: str | Method = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    long: str = "truncate",
    stride: int | None = None,
    progress: bool = False,
    quantity: str | None = None,
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> Explanations: ...


@overload
def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: Sequence[str | Method],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    long: str = "truncate",
    stride: int | None = None,
    progress: bool = False,
    quantity: str | None = None,
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> dict[str, Explanations]: ...


def explain(
    classifier: ClassifierLike,
    texts: Texts,
    method: str | Method | Sequence[str | Method] = "attnlrp",
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    long: str = "truncate",
    stride: int | None = None,
    progress: bool = False,
    quantity: str | None = None,
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> Explanations | dict[str, Explanations]:
    """Say which tokens and words made the classifier decide as it did.

    Args:
        classifier: the model and its tokenizer; anything that `Classifier.of` takes.
        texts: a str, a tuple `(text, pair)`, or whatever gives such texts or pairs one after another: a list,
            a generator, a column of a table, an array; or a tuple of two columns, of texts and their pairs.
            For a model of multiple choice also questions `(text, [choice, choice, ...])`.
        method: a name of `whybert.METHODS`, with options "gi:reduction=sum", or a `Method`; or several of
            these, which then share each forward pass.
        target: None (the predicted class of each text), a class as an int or a label, a tuple `(a, b)` for
            logit[a] - logit[b], or a list with one of these for each text; Series of pandas must have the
            index of the texts, if these have one.  A set explains several classes or differences of each
            text, and "all" every class, unless a label is called so.  Of a model that answers at each
            position a target is a place and what is explained there, such as ("Paris", "B-LOC") or
            ("start", "Paris"); of a question it is a choice, or two, by index or text.
        batch_size: texts, or windows of them, in one forward pass.
        long: how texts are read that are longer than the classifier's `max_length`: "truncate" reads their
            beginning; "windows" all of them, cut into windows.  The logits, scores and books of the whole are
            the weighted sums of the windows', see `whybert.windows`, and so is what None explains.
        stride: of windows, the tokens that two share at most; None for a quarter of a window.
        progress: whether a bar on stderr shows how many texts are done.
        quantity: what of the target is explained, see `attribute`; None is the logit, and of a function of
            texts (`BlackBox`) the probability.
        layers, heads: whether explanations say what the tokens are worth at each layer, and what each head
            hands on; see `attribute`.  Of a text in windows these are weighted sums, as the scores are.
        options: of the method, see `attribute`.

    Returns:
        `Explanations`, a list of one `Explanation` a text (of a question one a choice), in order, and for a
        set or "all" of one for each class of the first text, in the order of the labels, then of the second;
        for several methods a dict of such lists by spec, see `attribute`.

    Raises:
        InputError: a text that cannot be encoded.
        WhybertError: what `attribute` raises.  Errors about a text name it and have its `index`.
    """
    classifier = Classifier.of(classifier)
    questions = questions_of(texts)
    listed, _ = normalise_texts(texts if questions is None else _choices_of(questions))
    if questions is None:
        check_rows(texts, target, "the texts and their targets")
    methods = create_all(method, options)
    found: dict[str, dict[int, list[Explanation]]] = {each.spec: {} for each in methods}
    done = 0
    with reported(progress) as report:
        for indices, explanations in explain_batches(
            classifier,
            listed if questions is None else questions,
            methods,
            target,
            batch_size=batch_size,
            long=long,
            stride=stride,
            progress=report,
            quantity=quantity,
            layers=layers,
            heads=heads,
        ):
            for spec, rows in explanations.items():
                for index, row in zip(indices, rows, strict=True):
                    found[spec].setdefault(index, []).append(row)
            done += len(set(indices))
            report("texts", done, len(listed))
    ordered = {
        spec: Explanations(row for index in range(len(listed)) for row in rows[index])
        for spec, rows in found.items()
    }
    return next(iter(ordered.values())) if isinstance(method, str | Method) else ordered


def explain_batches(
    classifier: Classifier,
    texts: Sequence[Text] | Sequence[WithChoices],
    methods: Sequence[Method],
    target: TargetLike = None,
    *,
    batch_size: int = BATCH_SIZE,
    long: str = "truncate",
    stride: int | None = None,
    progress: Progress = silent,
    quantity: str | None = None,
    layers: bool = False,
    heads: bool = False,
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Explanation]]]]:
    """`explain` batch by batch, for callers that show progress: indices into `texts`, and by spec.

    For a set or "all" the index of a text is there once for each class, in the order of the labels.

    Batches hold texts of like length, so they come out of order.  Where the target of a text in windows is
    the predicted class, its windows are one batch; if they are more than a batch holds, they have a forward
    pass of their own first, which tells that class.  Of questions the choices are numbered through.
    """
    check_inside(methods, layers, heads)
    check_model(classifier.model)
    how = (batch_size, long, stride, progress, quantity_of(classifier.model, quantity), layers, heads)
    if (questions := questions_of(texts)) is not None:
        yield from _of_questions(classifier, questions, methods, target, *how)
        return
    listed, known = cast("Sequence[Text]", texts), classifier.known_head
    try:
        yield from _explained(classifier, known, listed, methods, target, *how)
    except (UnsupportedModelError, TargetError):
        # A classifier of whole texts is not asked what it is.
        if classifier.head == known:
            raise
        yield from _explained(classifier, classifier.head, listed, methods, target, *how)


def _choices_of(questions: Sequence[WithChoices]) -> list[tuple[str, str]]:
    """A pair for each choice.

    Raises:
        InputError: a question has none.
    """
    for index, (_, choices) in enumerate(questions):
        if not choices or not all(isinstance(each, str) for each in choices):
            raise InputError(f"expected the choices of {PLACE} as texts, found {quoted(choices)}", index)
    return [(text, choice) for text, choices in questions for choice in choices]


def _of_questions(
    classifier: Classifier,
    questions: Sequence[WithChoices],
    methods: Sequence[Method],
    target: TargetLike,
    batch_size: int,
    long: str,
    *how: Any,
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Explanation]]]]:
    """One question after another: first what the model says of all its choices, then why."""
    if classifier.head.kind != "choices" or long == "windows":
        raise UsageError(
            f"expected a model of multiple choice for questions with choices, found {classifier.name}; give "
            "it texts, or pairs of texts"
            if long != "windows"
            else "the choices of a question are read at once: leave long='windows' out"
        )
    targets = per_row(target, len(questions), "questions") or [target] * len(questions)
    start = 0
    for question, own in zip(questions, targets, strict=True):
        rows, scores = _choices_of([question]), dict[int, float]()
        for indices, batch in batches_of_rows(classifier, classifier.tokenize(rows), batch_size):
            model, inputs = read_at(classifier.head, classifier.model, batch.inputs, ())
            with plain(model, backward=False):
                found = forward(model, model_inputs(model, inputs))[:, 0]
            scores.update(zip(indices, found.double().tolist(), strict=True))
        if own is None:
            own = max(range(len(rows)), key=scores.__getitem__)
        head = Head("question", tuple(question[1]), tuple(scores[index] for index in range(len(rows))))
        for indices, explained in _explained(classifier, head, rows, methods, own, batch_size, long, *how):
            yield tuple(start + index for index in indices), explained
        start += len(rows)


def _explained(
    classifier: Classifier,
    head: Head,
    texts: Sequence[Text],
    methods: Sequence[Method],
    target: TargetLike,
    batch_size: int,
    long: str,
    stride: int | None,
    progress: Progress,
    quantity: str,
    layers: bool,
    heads: bool,
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Explanation]]]]:
    """`explain_batches` of a model with this head."""
    labels = head.labels or classifier.labels
    each_text = per_row(target, len(texts), "texts")
    asked = [head.split(each) for each in ([target] if each_text is None else each_text)]
    if each_text is None or head.has_places:
        for _, each in asked:
            check_quantity(quantity, each, labels, _link(classifier, head))
    named = several(asked[0][1], labels) if each_text is None else None
    classes = 1 if named is None else len(named)
    if head.has_places and long == "windows":
        raise UsageError(
            f"{classifier.name} answers at each position, and a word that several windows hold has several "
            "answers: leave long='windows' out, and give the part of the text around the word"
        )
    readings = classifier.read(texts, long, stride)
    places = places_of(
        head,
        [each.row for each in readings.texts],
        asked * len(texts) if each_text is None else asked,
        classifier.tokenizer,
        classifier.max_length,
    )
    targets = [place.target for place in places]
    most = most_together(classifier, batch_size)
    unknown = {i for i, text in enumerate(readings.texts) if targets[i] is None and len(text.parts) > most}
    for indices, logits in readings.gathered(logits_of(classifier, readings, batch_size, unknown)):
        for index, found in zip(indices, logits, strict=True):
            targets[index] = readings.texts[index].predicted(found)
    answers = _answers(
        classifier,
        head,
        readings,
        methods,
        targets,
        places,
        None if named is None else asked[0][1],
        batch_size,
        quantity,
        layers,
        heads,
    )
    for indices, parts in readings.gathered(answers, progress):
        rows = [
            (index, c, found) for index, found in zip(indices, parts, strict=True) for c in range(classes)
        ]
        read = [readings.texts[index] for index, _, _ in rows]
        yield (
            tuple(index for index, _, _ in rows),
            {
                each.spec: _explanations(
                    classifier,
                    head,
                    read,
                    each,
                    [[p[each.spec][c] for p in found] for _, c, found in rows],
                    quantity,
                    [places[index] for index, _, _ in rows],
                )
                for each in methods
            },
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a method finds for one part of a text.

    books: relevance_sum, output, biases and elsewhere of an `Attribution`, each None where it has none.
    layers: a row of scores for each; heads: a row for each layer.  Empty where they are not asked for.
    """

    scores: list[float]
    logits: list[float]
    target: tuple[int, int | None]
    books: tuple[float | None, ...]
    layers: list[list[float]]
    heads: list[list[float]]


def _answers(
    classifier: Classifier,
    head: Head,
    readings: Readings,
    methods: Sequence[Method],
    targets: Sequence[Any],
    places: Sequence[At],
    each_class: Any,
    batch_size: int,
    quantity: str,
    layers: bool,
    heads: bool,
) -> Iterator[tuple[tuple[int, ...], list[dict[str, list[_Answer]]]]]:
    """What the methods find for the parts of the texts, by their indices in `Readings.rows`: by spec a list.

    each_class: a target of several classes, of which the list has an answer for each; None for the texts'
        own targets, of which it has one.
    """
    units: list[tuple[int, ...]] = []
    for _, group in groupby(range(len(readings.places)), lambda index: readings.places[index][0]):
        parts = tuple(group)
        units += [parts] if targets[readings.places[parts[0]][0]] is None else [(part,) for part in parts]
    for indices, batch in batches_of_rows(classifier, readings.rows, batch_size, units):
        texts = [readings.places[index][0] for index in indices]
        model, inputs, labels = classifier.model, batch.inputs, head.labels or classifier.labels
        own_targets = [targets[text] for text in texts]
        if head.kind != "labels":
            at = [in_batch(head, places[text], row) for text, row in zip(texts, batch.rows, strict=True)]
            model, inputs = read_at(head, model, inputs, at)
            own_targets = [each.target for each in at]
            if head.kind == "spans":
                labels = tuple(map(str, range(inputs["input_ids"].shape[1])))

        def wanted(
            logits: Tensor, texts: Sequence[int] = texts, own_targets: Sequence[Any] = own_targets
        ) -> list[Any]:
            own: dict[int, list[list[float]]] = {}
            for text, found in zip(texts, logits.double().tolist(), strict=True):
                own.setdefault(text, []).append(found)
            return [
                readings.texts[text].predicted(own[text]) if target is None else target
                for text, target in zip(texts, own_targets, strict=True)
            ]

        def numbers(
            found: dict[str, Attribution], batch: Encoding = batch
        ) -> tuple[bool, dict[str, list[_Answer]]]:
            mask = batch.inputs.get("attention_mask")
            reads_padding = mask is not None and any(_reads_padding(each, mask) for each in found.values())
            return reads_padding, {
                spec: _numbers(classifier, head, batch.rows, each) for spec, each in found.items()
            }

        try:
            found = attribute_each(
                model,
                inputs,
                methods,
                wanted if each_class is None else each_class,
                numbers,
                quantity=quantity,
                tokenizer=classifier.tokenizer,
                rows=batch.rows,
                labels=labels,
                problem_type=classifier.problem_type,
                layers=layers,
                heads=heads,
            )
        except NonFiniteError as error:
            if error.index is None:
                raise
            text = texts[error.index]
            raise error.at(f"text {text}", text) from error
        if any(reads_padding for reads_padding, _ in found):
            warnings.warn(
                f"{classifier.name} reads padding, so its answer to a text depends on the texts beside it; "
                "explain its texts one by one, with batch_size=1",
                PaddingWarning,
                stacklevel=6,
            )
        yield (
            indices,
            [
                {each.spec: [answers[each.spec][i] for _, answers in found] for each in methods}
                for i in range(len(indices))
            ],
        )


def _reads_padding(attribution: Attribution, mask: Tensor) -> bool:
    """Whether relevance arrives at padding; a method that has none may score it as it likes."""
    return attribution.relevance is not None and bool(
        attribution.scores[mask.to(attribution.scores.device) == 0].any()
    )


def _numbers(
    classifier: Classifier, head: Head, rows: Sequence[EncodedText], attribution: Attribution
) -> list[_Answer]:
    """The rows of a batch; the only place where tensors become numbers."""
    logits, of_positions = attribution.logits.double().cpu(), head.kind == "spans"
    if not of_positions:
        classifier.check_labels(logits, head.labels or None)
    scores = attribution.scores.double().cpu().tolist()
    sums = attribution.relevance_sum
    books = (sums, attribution.output, attribution.biases, None if sums is None else attribution.elsewhere)
    layers, heads = (
        [[]] * len(rows) if each is None else each.double().cpu().tolist()
        for each in (attribution.layers, attribution.heads)
    )
    accounts = zip(*([None] * len(rows) if each is None else each.tolist() for each in books), strict=True)
    return [
        _Answer(
            [own[position] for position in row.positions],
            [found[position] for position in row.positions] if of_positions else found,
            _classes(target, row.positions if of_positions else None),
            account,
            [[layer[position] for position in row.positions] for layer in by_layer],
            by_head,
        )
        for row, own, found, target, account, by_layer, by_head in zip(
            rows, scores, logits.tolist(), attribution.target.tolist(), accounts, layers, heads, strict=True
        )
    ]


def _classes(target: int | list[int], positions: Sequence[int] | None) -> tuple[int, int | None]:
    """A row of `Attribution.target` as the explained class and the one that it is held against.

    positions: of the tokens, where they are the classes.
    """
    index, against = target if isinstance(target, list) else (target, -1)
    if positions is not None:
        index, against = (positions.index(each) if each in positions else -1 for each in (index, against))
    return index, None if against < 0 else against


def _link(classifier: Classifier, head: Head) -> Link:
    """How the numbers that are read of its answers become probabilities."""
    labels = len(head.labels) or 2  # positions are several
    return classifier.link if head.kind == "labels" else link_of(classifier.problem_type, labels)


def _explanations(
    classifier: Classifier,
    head: Head,
    readings: Sequence[Reading],
    method: Method,
    answers: Sequence[Sequence[_Answer]],
    quantity: str,
    places: Sequence[At],
) -> list[Explanation]:
    """The answers to the parts of each text as one frozen value."""
    logits = [
        reading.mean([each.logits for each in found])
        for reading, found in zip(readings, answers, strict=True)
    ]
    explanations = []
    for reading, found, own, likely, at in zip(
        readings, answers, logits, _probabilities(classifier, head, logits), places, strict=True
    ):
        classes = chosen(head, own, found[0].target)
        names = names_of(head, reading.row) or classifier.labels
        kept = [place for place, value in enumerate(found[0].books) if value is not None]
        sums = reading.mean([[cast(float, each.books[place]) for place in kept] for each in found])
        books: list[float | None] = [None] * len(found[0].books)
        for place, value in zip(kept, sums, strict=True):
            books[place] = value
        windows = [
            Window(part.start, part.end, part.row.token_count, part.weight, tuple(each.logits))
            for part, each in zip(reading.parts, found, strict=True)
        ]
        explanations.append(
            Explanation.of_row(
                reading.row,
                reading.spread([each.scores for each in found]),
                classifier=classifier.name,
                labels=[names[each] for each in classes],
                logits=[own[each] for each in classes],
                probabilities=[likely[each] for each in classes] if likely else [],
                target=_among(classes, *found[0].target),
                place=Place(at.column, at.name) if at.name else None,
                method=method.name,
                options=method.options,
                signed=method.is_signed,
                completeness=_account(method, *books),
                windows=windows if len(windows) > 1 else (),
                quantity=quantity,
                layers=[
                    reading.spread(layer) for layer in zip(*(each.layers for each in found), strict=True)
                ],
                heads=[reading.mean(layer) for layer in zip(*(each.heads for each in found), strict=True)],
            )
        )
    return explanations


def _among(classes: Sequence[int], index: int, against: int | None) -> tuple[int, int | None]:
    """A target as indices of the classes that are listed."""
    return classes.index(index), None if against is None else classes.index(against)


def _probabilities(
    classifier: Classifier, head: Head, logits: Sequence[Sequence[float]]
) -> list[list[float]]:
    """The probabilities of the numbers of each text; where positions are classes each has its own many."""
    if head.kind == "labels":
        return probabilities_of(classifier, logits)
    link = _link(classifier, head)
    if link == "identity":
        return [[] for _ in logits]
    rows = (torch.tensor(own, dtype=torch.float64) for own in logits)
    return [(row.sigmoid() if link == "sigmoid" else row.softmax(0)).tolist() for row in rows]


def _account(
    method: Method,
    tokens: float | None,
    output: float | None,
    biases: float | None,
    elsewhere: float | None,
) -> Completeness | None:
    """The books of a text as a value; None where the method claims no sum."""
    if tokens is None or output is None:
        return None
    return Completeness(tokens, output, biases, elsewhere, method.rest)
