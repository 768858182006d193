"""`similarity`: which words of two texts make a sentence encoder find them alike.

The similarity of two texts is the product of their vectors a and b, which for the cosine have length 1.  A
product of two activations gives half of its relevance to each factor (AttnLRP, arXiv 2402.05602, the uniform
rule): the words of the first text share a . b / 2 in the sweep of b / 2 from a, those of the second in that
of a / 2 from b.

BiLRP (Eberle et al., "Building and Interpreting Deep Similarity Models", IEEE TPAMI 2022, arXiv 2003.05119,
equation 4; of transformers Vasileiou and Eberle, "Explaining Text Similarity in Transformer Models", NAACL
2024, arXiv 2405.06604) says what a token i of one text and a token j of the other make of it together:

    R_ij = sum over m of R_im(a) R_jm(b),

where R_im(a) is what token i holds of the m-th number of the vector a, by any of the rules that are a changed
gradient.  What the model's constants hold of a number stands beside them, so that by CP-LRP all together sum
to the similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, overload

import torch
from torch import Tensor

from whybert.anatomy import check_model, model_inputs, plain
from whybert.attribution import Attribution, attribute_each
from whybert.classifier import BATCH_SIZE, batches_of_rows
from whybert.datasets.base import REGRESSION
from whybert.encoders import SCORES, Encoder, EncoderLike, Score
from whybert.encoding import EncodedText, Encoding
from whybert.errors import InputError, UsageError
from whybert.explanation import Completeness, Explanation, Explanations, TokenPairs
from whybert.interception import run
from whybert.lrp.composites import WRITTEN_OUT, Composite
from whybert.methods import METHODS, Method, create, create_all
from whybert.targets import ResolvedTarget

_SHARE: Final = 0.5
"""Of a similarity, what each of its two texts is given."""


@overload
def similarity(
    encoder: EncoderLike,
    text: str,
    other: str,
    method: str | Method = "attnlrp",
    *,
    pairs: bool = False,
    pooling: str | None = None,
    score: Score | None = None,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Explanation: ...


@overload
def similarity(
    encoder: EncoderLike,
    text: Sequence[str],
    other: Sequence[str],
    method: str | Method = "attnlrp",
    *,
    pairs: bool = False,
    pooling: str | None = None,
    score: Score | None = None,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Explanations: ...


def similarity(
    encoder: EncoderLike,
    text: str | Sequence[str],
    other: str | Sequence[str],
    method: str | Method = "attnlrp",
    *,
    pairs: bool = False,
    pooling: str | None = None,
    score: Score | None = None,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Explanation | Explanations:
    """Say which words make a sentence encoder find two texts alike.

    Args:
        encoder: a SentenceTransformer, or a pair `(model, tokenizer)` of a model that returns hidden states
            (with `pooling`) or vectors; or an `Encoder`, which knows what it is from the first call on.
        text, other: two texts, or two lists of as many.
        method: a name of `whybert.METHODS`, with options "gi:reduction=sum", or a `Method`.
        pairs: whether also what each token of one text and each of the other make together is wanted (BiLRP);
            of methods whose relevance is the input * a gradient, such as attnlrp, cp_lrp and
            gi:reduction=sum.
        pooling: of a pair, how hidden states become a vector: "mean", "cls", "last" or "max".
        score: "cosine" or "dot"; None is the SentenceTransformer's own, and else the cosine.
        max_length: the most tokens of a text; None asks the encoder.
        batch_size: texts in one forward pass.
        options: of the method.

    Returns:
        An `Explanation` of the pair `(text, other)` whose one output is the similarity; of lists
        `Explanations`.  The scores of a text are of the similarity as it depends on that text alone, the
        vector of the other one being a constant.  Where a method's scores sum to the output they are halved,
        so that both texts together do.

    Raises:
        InputError: a text cannot be encoded, or the lists are of different lengths.
        UsageError: a wrong encoder, method or option.
        ModelError: the encoder is not supported, or its numbers are not finite.
    """
    is_one = isinstance(text, str) and isinstance(other, str)
    if not is_one and (isinstance(text, str) or isinstance(other, str)):
        raise InputError("expected two texts, or two lists of texts, found one of each")
    firsts, seconds = ([each] if isinstance(each, str) else list(each) for each in (text, other))
    if len(firsts) != len(seconds):
        raise InputError(f"expected as many texts on each side, found {len(firsts)} and {len(seconds)}")
    if not all(isinstance(each, str) for each in (*firsts, *seconds)):
        raise InputError("expected texts as str: a pair of texts has one vector for each")
    wanted = create(method, options)
    composite = wanted.gradient_form
    if pairs and composite is None:
        kinds = create_all([name for name, kind in METHODS.items() if not kind.given])
        others = [each.name for each in kinds if each.gradient_form is not None]
        raise UsageError(
            f"pairs are of methods whose relevance is the input * a gradient ({', '.join(others)}, "
            f"gi:reduction=sum), and {wanted.spec} is none; name one of these"
        )
    if not firsts:
        return Explanations()
    known = Encoder.of(encoder, pooling=pooling, score=score, max_length=max_length)
    compared = _Compared(known, firsts, seconds, batch_size)
    sides = compared.sides(wanted)
    held = [None] * len(sides) if not pairs or composite is None else compared.held(composite)
    count = len(firsts)
    found = [
        _explanation(known, wanted, compared, (index, count + index), sides, held) for index in range(count)
    ]
    return found[0] if is_one else Explanations(found)


@dataclass(frozen=True)
class _Side:
    """What a method says of one text beside the other, as numbers; books as of a `Completeness`."""

    scores: list[float]
    tokens: float | None
    biases: float | None
    elsewhere: float | None


@dataclass(frozen=True)
class _Held:
    """What the tokens of a text hold of each number of its vector, (tokens, width), and the constants."""

    tokens: Tensor
    constants: Tensor | None


class _Compared:
    """Texts, those of one side before those of the other, and their vectors."""

    def __init__(self, encoder: Encoder, firsts: list[str], seconds: list[str], batch_size: int) -> None:
        self.classifier, self.batch_size = encoder.classifier, batch_size
        check_model(self.classifier.model)
        self.rows = self.classifier.tokenize([*firsts, *seconds])
        self.vectors = torch.zeros(len(self.rows), len(self.classifier.labels), dtype=torch.float64)
        for indices, batch in self.batches():
            columns = {name: tensor.tolist() for name, tensor in batch.inputs.items()}
            self.vectors[list(indices)] = self.classifier._logits(columns)
        half = len(firsts)
        self.others = self.vectors[[*range(half, 2 * half), *range(half)]]

    def batches(self) -> Any:
        return batches_of_rows(self.classifier, self.rows, self.batch_size)

    def sides(self, method: Method) -> list[_Side]:
        found: dict[int, _Side] = {}
        for indices, batch in self.batches():
            index = torch.zeros(len(indices), dtype=torch.long)
            target = ResolvedTarget(index, link="identity", weights=self.others[list(indices)])
            [attribution] = attribute_each(
                self.classifier.model,
                batch.inputs,
                [method],
                target,
                lambda each: each[method.spec],
                tokenizer=self.classifier.tokenizer,
                rows=batch.rows,
                labels=self.classifier.labels,
                problem_type=REGRESSION,
                quantity="logit",
            )
            found.update(zip(indices, _numbers(batch, attribution), strict=True))
        return [found[index] for index in range(len(self.rows))]

    def held(self, composite: Composite) -> list[_Held]:
        found: dict[int, _Held] = {}
        model = self.classifier.model
        for indices, batch in self.batches():
            with plain(model, backward=True):
                forward = run(model, model_inputs(model, batch.inputs), (composite, WRITTEN_OUT))
                positions, constants = (
                    None if each is None else each.detach() for each in forward.by_output(composite)
                )
            assert positions is not None
            tokens = positions if forward.standing is None else forward.standing.folded(positions)
            if constants is not None:  # positions that are no token's are constants here
                constants = (constants + positions.sum(1) - tokens.sum(1)).cpu().double()
            tokens = tokens.cpu().double()
            for place, (index, row) in enumerate(zip(indices, batch.rows, strict=True)):
                rest = None if constants is None else constants[place]
                found[index] = _Held(tokens[place, list(row.positions)], rest)
        return [found[index] for index in range(len(self.rows))]


def _numbers(batch: Encoding, attribution: Attribution) -> list[_Side]:
    """The rows of a batch as numbers."""
    sums = attribution.relevance_sum
    books = [
        [None] * len(batch.rows) if each is None or sums is None else each.double().tolist()
        for each in (sums, attribution.biases, attribution.elsewhere)
    ]
    scores = attribution.scores.double().cpu().tolist()
    return [
        _Side([own[place] for place in row.positions], *account)
        for row, own, account in zip(batch.rows, scores, zip(*books, strict=True), strict=True)
    ]


def _explanation(
    encoder: Encoder,
    method: Method,
    compared: _Compared,
    places: tuple[int, int],
    sides: Sequence[_Side],
    held: Sequence[_Held | None],
) -> Explanation:
    first, second = places
    value = float(compared.vectors[first] @ compared.vectors[second])
    both = (sides[first], sides[second])
    is_complete = both[0].tokens is not None
    share = _SHARE if is_complete else 1.0
    account = None
    if is_complete:
        sums = [
            _sum([getattr(side, name) for side in both], share) for name in ("tokens", "biases", "elsewhere")
        ]
        account = Completeness(sums[0] or 0.0, value, sums[1], sums[2], method.rest)
    return Explanation.of_row(
        _side_by_side(compared.rows[first], compared.rows[second]),
        [share * score for side in both for score in side.scores],
        classifier=encoder.classifier.name,
        labels=(SCORES[encoder.score],),
        logits=(value,),
        probabilities=(),
        target=(0, None),
        method=method.name,
        options=method.options,
        signed=method.is_signed,
        completeness=account,
        pairs=_pairs(held[first], held[second]),
    )


def _sum(parts: Sequence[float | None], share: float) -> float | None:
    known = [part for part in parts if part is not None]
    return share * sum(known) if len(known) == len(parts) else None


def _pairs(first: _Held | None, second: _Held | None) -> TokenPairs | None:
    """R_ij = sum over m of R_im R_jm, and the same of the constants."""
    if first is None or second is None:
        return None
    values = tuple(map(tuple, (first.tokens @ second.tokens.T).tolist()))
    if first.constants is None or second.constants is None:
        return TokenPairs(values)
    return TokenPairs(
        values,
        tuple((first.tokens @ second.constants).tolist()),
        tuple((second.tokens @ first.constants).tolist()),
        float(first.constants @ second.constants),
    )


def _side_by_side(first: EncodedText, second: EncodedText) -> EncodedText:
    """Two texts, each as it is read by itself, as a text and its pair."""
    words = len(first.word_spans)
    unknown = [each.unknown or (False,) * each.token_count for each in (first, second)]
    return replace(
        first,
        pair=second.text,
        tokens=first.tokens + second.tokens,
        offsets=first.offsets + second.offsets,
        sequence_ids=first.sequence_ids + (1,) * second.token_count,
        special=first.special + second.special,
        word_ids=first.word_ids + tuple(None if word is None else words + word for word in second.word_ids),
        word_spans=first.word_spans + tuple((1, start, end) for _, start, end in second.word_spans),
        positions=tuple(range(first.token_count + second.token_count)),
        truncated=first.truncated or second.truncated,
        features=MappingProxyType({}),
        unknown=unknown[0] + unknown[1],
    )
