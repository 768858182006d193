"""Faithfulness metrics: by hand on a classifier with known answers, and against their definitions as loops.

The known classifier multiplies: each token has a ratio, and the odds of "yes" are the product of the ratios
of the tokens that it sees.  So p(x without S) is R / (1 + R), R the product of what is left.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from whybert.black_box import BlackBox
from whybert.classifier import Classifier
from whybert.encoding import Text
from whybert.errors import InputError
from whybert.evaluation.faithfulness import (
    CURVE,
    DECILES,
    ERASER_BINS,
    FAITHFULNESS,
    Comprehensiveness,
    Deletion,
    NormalisedAOPC,
    share,
    union,
)
from whybert.evaluation.metric import Score, Subject
from whybert.evaluation.subjects import subjects
from whybert.evaluation.walks import Outcomes, Walk, run
from whybert.explaining import explain
from whybert.explanation import Explanation, Target, Token

# float64 sums of at most a few hundred numbers below 10.
EXACT = 1e-12
# The same divided by the distance between the limits, which the tests see to be above 1e-3.
NORMALISED = 1e-9

TOKENIZER = tiny.wordpiece()
NAOPC = FAITHFULNESS["naopc"]
assert isinstance(NAOPC, NormalisedAOPC)


class Known(nn.Module):
    """Logits (0, sum of the logarithms of the ratios of all tokens that are attended to)."""

    def __init__(self, ratios: Mapping[str, float | Fraction], noise: float = 0.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(id2label={0: "no", 1: "yes"}, problem_type=None)
        self.embeddings = nn.Module()
        self.embeddings.words = nn.Embedding(len(TOKENIZER), 2, dtype=torch.float64)
        self.noise = noise
        with torch.no_grad():
            self.embeddings.words.weight.zero_()
            for token, ratio in ratios.items():
                self.embeddings.words.weight[TOKENIZER.convert_tokens_to_ids(token), 1] = math.log(ratio)

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        logits = (self.embeddings.words(input_ids) * attention_mask[..., None]).sum(1)
        # As in float32, where a row depends a little on the place that it has in a batch.
        places = torch.arange(len(logits), dtype=torch.float64)[:, None]
        return SimpleNamespace(logits=logits + self.noise * places * torch.tensor([0.0, 1.0]))


def known(ratios: Mapping[str, float | Fraction], noise: float = 0.0) -> Classifier:
    return Classifier(Known(ratios, noise).eval(), TOKENIZER)


def one(classifier: Classifier, text: Text, label: int | None = None, **options: Any) -> Subject:
    (subject,) = subjects(classifier, [text], [label], **options)
    return subject


def explained(
    classifier: Classifier,
    subject: Subject,
    scores: Sequence[float],
    method: str = "hand",
    level: Any = "word",
) -> Explanation:
    """An explanation with these scores of the words (shared out to their tokens) or of the tokens.

    Special tokens get high scores, which must not matter.
    """
    row = subject.row
    of_token = [1e3] * len(row.tokens)
    places = [
        [token for token, word in enumerate(row.word_ids) if word == number]
        for number in range(len(row.word_spans))
    ]
    if level == "token":
        places = [[token] for token, special in enumerate(row.special) if not special]
    for tokens, score in zip(places, scores, strict=True):
        for token in tokens:
            of_token[token] = score / len(tokens)
    columns = (row.tokens, row.offsets, row.sequence_ids, row.word_ids, row.special, of_token)
    return Explanation(
        text=row.text,
        pair=row.pair,
        tokens=tuple(
            Token(text, start, end, sequence, word, special, score)
            for text, (start, end), sequence, word, special, score in zip(*columns, strict=True)
        ),
        word_spans=row.word_spans,
        prediction=classifier.labels[subject.prediction],
        probabilities=subject.probabilities,
        logits=subject.logits,
        labels=classifier.labels,
        target=Target(subject.target, classifier.labels[subject.target]),
        method=method,
        options={},
        signed=True,
        truncated=row.truncated,
        completeness=None,
    )


def judged(
    name: str, classifier: Classifier, subject: Subject, scores: Sequence[float], level: Any = "word"
) -> Score:
    (score,) = FAITHFULNESS[name](
        classifier, [subject], [explained(classifier, subject, scores, level=level)]
    )
    return score


def p(odds: Fraction | float) -> float:
    return float(odds / (1 + odds))


def same(first: Score, second: Score, tolerance: float = 0.0) -> bool:
    """Whether two scores are equal, NaN being equal to NaN."""
    numbers = zip((first.value, *first.curve), (second.value, *second.curve), strict=True)
    return all((math.isnan(x) and math.isnan(y)) or abs(x - y) <= tolerance for x, y in numbers)


# By hand

# Without k words the odds are, [CLS] being 2 and all together 2 * 8 * 4 * 2 / 3 = 128/3,
#   without a, ab, abc, abcd (most relevant first):  16/3, 4/3, 2/3, 2
#   without d, dc, dcb, dcba (least relevant first):  128, 64, 16, 2
#   with only a, ab, abc, abcd:  16, 64, 128, 128/3
#   with a, ab, abc, abcd masked, [MASK] being 3/2:  8, 3, 9/4, 81/8
RATIOS = {"a": 8, "b": 4, "c": 2, "d": Fraction(1, 3), "[CLS]": 2, "[MASK]": Fraction(3, 2), "[PAD]": 5}
ODDS = Fraction(128, 3)
WITHOUT = [Fraction(16, 3), Fraction(4, 3), Fraction(2, 3), Fraction(2)]
LEAST = [Fraction(128), Fraction(64), Fraction(16), Fraction(2)]
ONLY = [Fraction(16), Fraction(64), Fraction(128), ODDS]
MASKED = [Fraction(8), Fraction(3), Fraction(9, 4), Fraction(81, 8)]
HAND_TEXT = "d a c b"
HAND_SCORES = [-1.0, 3.0, 0.5, 2.0]


def hand(name: str, target: int | None = None) -> Score:
    classifier = known(RATIOS)
    return judged(name, classifier, one(classifier, HAND_TEXT, target=target), HAND_SCORES)


def weighted(odds: Sequence[Fraction], weights: Sequence[int], of: Callable[..., float] = p) -> float:
    return sum(weight * of(each) for each, weight in zip(odds, weights, strict=True))


def test_the_known_classifier_answers_as_its_ratios_say() -> None:
    subject = one(known(RATIOS), HAND_TEXT)
    assert subject.probabilities == pytest.approx((1 - p(ODDS), p(ODDS)), abs=EXACT)
    assert (subject.prediction, subject.target) == (1, 1)


def test_eraser_by_hand() -> None:
    # Shares of 1, 5, 10, 20, 50 % of four words are 0.04, 0.2, 0.4, 0.8 and 2: 1, 1, 1, 1 and 2 words.
    assert hand("comprehensiveness").value == pytest.approx(
        p(ODDS) - weighted(WITHOUT, (4, 1, 0, 0)) / 5, abs=EXACT
    )
    assert hand("sufficiency").value == pytest.approx(p(ODDS) - weighted(ONLY, (4, 1, 0, 0)) / 5, abs=EXACT)


def test_deciles_by_hand() -> None:
    # 10 to 100 % of four words: 0.4, 0.8, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4: one word three times (the
    # first because it is at least one), two words three times, three twice, four twice.
    assert hand("comprehensiveness-deciles").value == pytest.approx(
        p(ODDS) - weighted(WITHOUT, (3, 3, 2, 2)) / 10, abs=EXACT
    )
    assert hand("sufficiency-deciles").value == pytest.approx(
        p(ODDS) - weighted(ONLY, (3, 3, 2, 2)) / 10, abs=EXACT
    )


def test_aopc_by_hand() -> None:
    # As the deciles, but without 100 %, and masked.
    assert hand("aopc").value == pytest.approx(p(ODDS) - weighted(MASKED, (3, 3, 2, 1)) / 9, abs=EXACT)


@pytest.mark.parametrize(("suffix", "of"), [("", p), ("-logit", math.log)])
def test_areas_by_hand(suffix: str, of: Callable[..., float]) -> None:
    # 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4 words are gone; trapezoids of width 0.1, so that both ends count half.
    def curve(odds: Sequence[Fraction]) -> list[float]:
        one, two, three, four = map(of, odds)
        return [of(ODDS), one, one, one, two, two, two, three, three, four, four]

    def area(odds: Sequence[Fraction]) -> float:
        return 0.1 * (weighted(odds, (3, 3, 2, 1), of) + (of(ODDS) + of(odds[3])) / 2)

    morf, lerf, abpc = (hand(name + suffix) for name in ("morf", "lerf", "abpc"))
    assert morf.curve == pytest.approx(curve(WITHOUT), abs=EXACT)
    assert lerf.curve == pytest.approx(curve(LEAST), abs=EXACT)
    assert morf.value == pytest.approx(area(WITHOUT), abs=EXACT)
    assert lerf.value == pytest.approx(area(LEAST), abs=EXACT)
    assert abpc.value == pytest.approx(area(LEAST) - area(WITHOUT), abs=EXACT)
    assert abpc.curve == pytest.approx(np.subtract(lerf.curve, morf.curve), abs=EXACT)
    for name in ("morf", "lerf", "abpc"):
        assert FAITHFULNESS[name + suffix].grid == tuple(step / 10 for step in range(11))


def test_deletion_by_hand() -> None:
    # "yes" stays where the odds are above 1.  From the fourth on all four words are gone.
    for kind, odds in (("delete", WITHOUT), ("pad", WITHOUT), ("mask", MASKED)):
        kept, likely = hand(f"deletion-{kind}"), hand(f"deletion-{kind}-probability")
        stays = [float(each > 1) for each in odds]
        assert kept.curve == (*stays[:3], *[stays[3]] * 7)
        assert likely.curve == pytest.approx([*map(p, odds[:3]), *[p(odds[3])] * 7], abs=EXACT)
        assert kept.value == pytest.approx((sum(stays[:3]) + 7 * stays[3]) / 10, abs=EXACT)
        assert likely.value == pytest.approx(weighted(odds, (1, 1, 1, 7)) / 10, abs=EXACT)
    assert hand("deletion-delete").value == 0.9  # 1, 1, 0 and seven times 1
    assert hand("deletion-mask").value == 1.0
    assert FAITHFULNESS["deletion-mask"].grid == tuple(range(1, 11))


def test_leave_one_out_by_hand() -> None:
    # Without a, b, c or d alone the odds are 16/3, 32/3, 64/3 and 128: the drops fall in this order.
    classifier = known(RATIOS)
    subject = one(classifier, "a b c d")
    for scores, tau in (
        ([4, 3, 2, 1], 1.0),
        ([1, 2, 3, 4], -1.0),
        ([4, 3, 1, 2], 4 / 6),  # five pairs agree and one does not
        ([4, 3, 3, 1], 5 / math.sqrt(5 * 6)),  # five agree and one is tied
        ([1, 0, 0, 0], 3 / math.sqrt(3 * 6)),
    ):
        assert judged("loo-kendall", classifier, subject, scores).value == pytest.approx(tau, abs=EXACT)
    assert math.isnan(judged("loo-kendall", classifier, subject, [2, 2, 2, 2]).value)


def test_leave_one_out_is_undefined_where_no_word_matters() -> None:
    classifier = known({"[CLS]": 2})
    subject = one(classifier, "a b c d")
    assert math.isnan(judged("loo-kendall", classifier, subject, [4, 3, 2, 1]).value)
    assert math.isnan(judged("naopc", classifier, subject, [4, 3, 2, 1]).value)


@pytest.mark.parametrize("name", ["loo-kendall", "naopc"])
def test_equal_words_have_no_order_whatever_the_place_in_a_batch(name: str) -> None:
    # Whichever word goes first, the model reads the same text.
    classifier = known({"a": 2}, noise=1e-8)
    assert math.isnan(judged(name, classifier, one(classifier, "a a a"), [3, 2, 1]).value)


def test_the_explained_class_is_the_target_and_kept_is_of_the_prediction() -> None:
    # p("no") = 1 - p("yes"), so drops change their sign and areas are what is left of 1.
    for name in ("comprehensiveness", "sufficiency", "aopc", "comprehensiveness-deciles"):
        assert hand(name, target=0).value == pytest.approx(-hand(name).value, abs=EXACT)
    for name in ("morf", "lerf", "deletion-mask-probability"):
        assert hand(name, target=0).value == pytest.approx(1 - hand(name).value, abs=EXACT)
    assert hand("morf-logit", target=0).curve == (0.0,) * 11  # the logit of "no" is always 0
    assert hand("deletion-delete", target=0) == hand("deletion-delete")
    assert hand("loo-kendall", target=0).value == pytest.approx(-1.0, abs=EXACT)
    assert hand("naopc", target=0).value == pytest.approx(0.0, abs=NORMALISED)


# The paper's deletion

LETTERS = "a b c d e f g h i j k l"
# Every letter doubles the odds, [CLS] too, and the id 0 is worth a quarter.
PAPER = {"[CLS]": 2, "[PAD]": Fraction(1, 4), **dict.fromkeys(LETTERS.split(), 2)}


def paper(text: str, label: int | None, ratios: Mapping[str, Any] = PAPER) -> Score:
    classifier = known(ratios)
    subject = one(classifier, text, label)
    tokens = sum(not special for special in subject.row.special)
    return judged("deletion-paper", classifier, subject, list(range(tokens)), level="token")


def test_deletion_paper_by_hand() -> None:
    # Of ten tokens k have the id 0: 2 * 2^(10 - k) / 4^k = 2^(11 - 3 k) is above 1 for k up to 3.
    score = paper(LETTERS[:19], 1)
    assert score.curve == (1.0,) * 3 + (0.0,) * 7
    assert score.value == pytest.approx(0.3, abs=EXACT)


def test_deletion_paper_selects_its_texts() -> None:
    assert not math.isnan(paper(LETTERS[:19], 1).value)
    assert not math.isnan(paper(LETTERS, 1).value)
    assert math.isnan(paper(LETTERS[:17], 1).value)  # nine tokens
    assert math.isnan(paper(LETTERS[:19], 0).value)  # a wrong prediction
    assert math.isnan(paper(LETTERS[:19], None).value)  # nobody knows
    assert paper(LETTERS[:17], 1).curve == ()


def test_deletion_paper_counts_tokens() -> None:
    # "ab" is a and ##b: five words, ten tokens; each ## is worth 1.  The last token goes first: ##j, i, ...
    assert not math.isnan(paper("ab cd ef gh ij", 1).value)
    assert math.isnan(paper("ab cd ef gh i", 1).value)
    # 2 * 2^5 / 4^k, halved for each letter among the k: 2^(6-2), 2^(6-4-1), and 2^(6-6-1) is below 1.
    assert paper("ab cd ef gh ij", 1).curve == (1.0, 1.0) + (0.0,) * 8


def test_other_deletions_take_every_text() -> None:
    classifier = known(PAPER)
    for text, label in (("a", None), ("a", 0), (LETTERS, 0)):
        subject = one(classifier, text, label)
        scores = list(range(len(subject.units("word"))))
        for kind in ("mask", "delete", "pad"):
            assert not math.isnan(judged(f"deletion-{kind}", classifier, subject, scores).value)


# Definitions as loops

Ask = Callable[[str, frozenset[int]], tuple[Sequence[float], Sequence[float]]]
"""(perturbation, tokens that go) -> logits and probabilities."""


def slow_count(q: float, n: int) -> int:
    """Rounded, halves up, as fractions; at least one."""
    exact = Fraction(str(q)) * n
    return 0 if exact == 0 else max(1, (exact + Fraction(1, 2)).__floor__())


def slow_kendall(first: Sequence[float], second: Sequence[float]) -> float:
    pairs = [
        (np.sign(first[i] - first[j]), np.sign(second[i] - second[j]))
        for i, j in itertools.combinations(range(len(first)), 2)
    ]
    untied = sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs)
    return float(sum(x * y for x, y in pairs) / math.sqrt(untied)) if untied else math.nan


def slow_score(name: str, subject: Subject, token_scores: Sequence[float], ask: Ask) -> Score:
    """The metric of that name by its definition, one question at a time.  Scores without ties only."""
    row = subject.row
    own = [token for token, special in enumerate(row.special) if not special]
    level = "token" if name in {"deletion-paper", "aopc"} else "word"
    units = (
        [[token] for token in own]
        if level == "token"
        else [[token for token in own if row.word_ids[token] == word] for word in range(len(row.word_spans))]
    )
    n = len(units)
    scores = [math.fsum(token_scores[token] for token in unit) for unit in units]
    order = sorted(range(n), key=lambda unit: -scores[unit])
    kind = {"aopc": "mask", "deletion-paper": "zero"}.get(name, "delete")
    if name.startswith("deletion-") and name != "deletion-paper":
        kind = name.split("-")[1]

    def answer(gone: Iterable[int]) -> tuple[Sequence[float], Sequence[float]]:
        return ask(kind, frozenset(token for unit in gone for token in units[unit]))

    def probability(gone: Iterable[int]) -> float:
        return answer(gone)[1][subject.target]

    full = probability([])
    if name.startswith("deletion"):
        if name == "deletion-paper" and (n < 10 or subject.label != subject.prediction):
            return Score(math.nan)
        curve = []
        for k in range(1, 11):
            logits, likely = answer(order[:k])
            kept = float(max(logits) == logits[subject.prediction])
            curve.append(likely[subject.target] if name.endswith("probability") else kept)
        return Score(statistics.fmean(curve), tuple(curve))
    if name.startswith(("comprehensiveness", "sufficiency", "aopc")):
        shares = [0.01, 0.05, 0.1, 0.2, 0.5]
        if name.endswith("deciles"):
            shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        if name == "aopc":
            shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        counts = [slow_count(q, n) for q in shares]
        sides = [order[k:] if name.startswith("sufficiency") else order[:k] for k in counts]
        return Score(statistics.fmean(full - probability(gone) for gone in sides))
    if name.startswith(("morf", "lerf", "abpc")):
        curves = {}
        for way, ranked in (("morf", order), ("lerf", order[::-1])):
            curves[way] = []
            for step in range(11):
                logits, likely = answer(ranked[: slow_count(step / 10, n)])
                curves[way].append((logits if name.endswith("logit") else likely)[subject.target])
        curves["abpc"] = [x - y for x, y in zip(curves["lerf"], curves["morf"], strict=True)]
        curve = curves[name.split("-")[0]]
        area = math.fsum((left + right) / 2 * 0.1 for left, right in itertools.pairwise(curve))
        return Score(area, tuple(curve))
    if name == "loo-kendall":
        return Score(slow_kendall(scores, [full - probability([unit]) for unit in range(n)]))
    assert name == "naopc"

    def aopc(ranked: Sequence[int]) -> float:
        return math.fsum(full - probability(ranked[:k]) for k in range(1, n + 1)) / n

    every = [aopc(ranked) for ranked in itertools.permutations(range(n))]
    if n == 1:
        return Score(math.nan)
    assert max(every) - min(every) > 1e-3
    return Score((aopc(order) - min(every)) / (max(every) - min(every)))


def cached(ask: Ask) -> Ask:
    answers: dict[Any, Any] = {}

    def once(kind: str, gone: frozenset[int]) -> tuple[Sequence[float], Sequence[float]]:
        if (kind, gone) not in answers:
            answers[kind, gone] = ask(kind, gone)
        return answers[kind, gone]

    return once


def ask_ratios(subject: Subject, ratios: Mapping[str, float]) -> Ask:
    def ask(kind: str, gone: frozenset[int]) -> tuple[Sequence[float], Sequence[float]]:
        instead = {"mask": ratios.get("[MASK]", 1.0), "zero": ratios.get("[PAD]", 1.0)}.get(kind, 1.0)
        odds = math.prod(
            instead if token in gone else ratios.get(text, 1.0)
            for token, text in enumerate(subject.row.tokens)
        )
        return (0.0, math.log(odds)), (1 / (1 + odds), odds / (1 + odds))

    return ask


def ask_model(subject: Subject, classifier: Classifier) -> Ask:
    tokenizer = classifier.tokenizer
    instead = {"mask": tokenizer.mask_token_id, "pad": tokenizer.pad_token_id, "zero": 0, "delete": None}

    def ask(kind: str, gone: frozenset[int]) -> tuple[Sequence[float], Sequence[float]]:
        inputs = {}
        for name, values in subject.row.features.items():
            changed = list(values)
            for token in gone:
                changed[token] = {
                    "input_ids": instead[kind],
                    "attention_mask": 0 if kind == "pad" else values[token],
                }.get(name, values[token])
            if kind == "delete":
                changed = [value for token, value in enumerate(values) if token not in gone]
            inputs[name] = torch.tensor([changed])
        with torch.no_grad():
            logits = classifier.model(**inputs).logits[0]
        return logits.tolist(), logits.softmax(-1).tolist()

    return ask


# One to seven words, as the limits of NAOPC are found among all orders; some words of several tokens.
TEXTS = ["a", "b a", "ab c", "a b c d e", "ab cd ef gh ij", "the film was good", "a b c d ef g"]
PAIRS = [("a", "b"), ("a b c", "de f"), ("the film", "was good")]


def compared(classifier: Classifier, listed: Sequence[Subject], asks: Sequence[Ask]) -> dict[str, int]:
    """Check every metric on every subject; how many defined values each metric had."""
    draw = random.Random(5)
    explanations, token_scores = [], []
    for subject in listed:
        tokens = len(subject.units("token"))
        scores = [draw.gauss(0, 1) for _ in range(tokens)]
        explanations.append(explained(classifier, subject, scores, level="token"))
        token_scores.append(explanations[-1].scores)
    defined = {}
    for name, metric in FAITHFULNESS.items():
        found = metric(classifier, listed, explanations)
        expected = [
            slow_score(name, subject, scores, ask)
            for subject, scores, ask in zip(listed, token_scores, asks, strict=True)
        ]
        for subject, one, other in zip(listed, found, expected, strict=True):
            tolerance = NORMALISED if name == "naopc" else EXACT
            assert same(one, other, tolerance), (name, subject.row.text, one, other)
        defined[name] = sum(not math.isnan(score.value) for score in found)
    return defined


@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_every_metric_is_its_definition_on_known_answers(texts: list[Text]) -> None:
    draw = random.Random(2)
    ratios = {token: math.exp(draw.gauss(0, 1)) for token in sorted(TOKENIZER.get_vocab())}
    classifier = known(ratios)
    listed = subjects(classifier, texts)
    listed = [dataclasses.replace(subject, label=subject.prediction) for subject in listed]
    defined = compared(classifier, listed, [ask_ratios(subject, ratios) for subject in listed])
    alone = sum(len(subject.units("word")) == 1 for subject in listed)
    tenfold = sum(len(subject.units("token")) >= 10 for subject in listed)
    assert defined == {
        name: tenfold
        if name == "deletion-paper"
        else len(texts) - (alone if name in {"naopc", "loo-kendall"} else 0)
        for name in FAITHFULNESS
    }
    assert tenfold == (1 if texts is TEXTS else 0)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("texts", [TEXTS[:-1], PAIRS], ids=["texts", "pairs"])
def test_every_metric_is_its_definition_on_a_real_model(family: str, texts: list[Text]) -> None:
    tokenizer = tiny.wordpiece() if family == "bert" else tiny.byte_level()
    model = tiny.bert(tokenizer) if family == "bert" else tiny.roberta(tokenizer)
    classifier = Classifier(model.double(), tokenizer)
    listed = subjects(classifier, texts, [1] * len(texts))
    defined = compared(classifier, listed, [cached(ask_model(each, classifier)) for each in listed])
    assert min(count for name, count in defined.items() if name != "deletion-paper") >= len(texts) - 1


def test_share_by_hand() -> None:
    table = {
        (0.0, 7): 0,
        (0.01, 4): 1,  # 0.04, but at least one
        (0.1, 1): 1,
        (0.5, 1): 1,  # 0.5
        (0.5, 2): 1,
        (0.5, 3): 2,  # 1.5, halves up
        (0.5, 5): 3,  # 2.5; rounding to even would say 2
        (0.3, 5): 2,  # 1.5
        (0.2, 7): 1,  # 1.4
        (0.2, 8): 2,  # 1.6
        (0.1, 25): 3,  # 2.5
        (0.29, 50): 15,  # 14.5, which float64 multiplies to 14.499999999999998
        (0.05, 29): 1,  # 1.45
        (0.05, 30): 2,  # 1.5
        (1.0, 9): 9,
        (0.5, 0): 0,
    }
    assert {key: share(*key) for key in table} == table
    assert 0.29 * 50 < 14.5


def test_share_is_rounding_of_fractions() -> None:
    for q in {*ERASER_BINS, *DECILES, *CURVE}:
        for n in range(1, 513):
            assert share(q, n) == slow_count(q, n)


def test_shares_are_those_of_the_papers() -> None:
    assert ERASER_BINS == (0.01, 0.05, 0.1, 0.2, 0.5)
    assert DECILES == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert (0.0, *DECILES) == CURVE


def test_union() -> None:
    assert union([]) == 0
    assert union([0, 3]) == 0b1001
    assert union([70]) == 1 << 70


# The best, the worst and chance

# Distinct ratios on both sides of 1, drawn once.
MIXED = {"a": 5.0, "b": 0.4, "c": 2.5, "d": 0.7, "e": 1.3, "[CLS]": 0.9, "[MASK]": 1.1, "[PAD]": 1.2}
MIXED_TEXT = "e b a d c"

# Every other metric but deletion-paper, which asks for longer texts.
RANKED = [name for name in FAITHFULNESS if name not in {"deletion-paper", "loo-kendall"}]


def all_orders(name: str, classifier: Classifier, subject: Subject) -> dict[tuple[int, ...], float]:
    """The value of an explanation that ranks the units in each possible order."""
    orders = list(itertools.permutations(range(len(subject.units("word")))))
    explanations = [
        explained(classifier, subject, [-float(order.index(unit)) for unit in range(len(order))])
        for order in orders
    ]
    scores = FAITHFULNESS[name](classifier, [subject] * len(orders), explanations)
    return {order: score.value for order, score in zip(orders, scores, strict=True)}


@pytest.mark.parametrize("name", RANKED)
def test_true_contributions_win_and_their_opposites_lose(name: str) -> None:
    # The odds multiply, so without the k words of the highest ratios they are the lowest that k can give.
    classifier = known(MIXED)
    subject = one(classifier, MIXED_TEXT, target=1)
    assert subject.prediction == 1  # the odds are 0.9 * 5 * 0.4 * 2.5 * 0.7 * 1.3 = 4.1
    truth = [math.log(MIXED[word]) for word in MIXED_TEXT.split()]
    values = all_orders(name, classifier, subject).values()
    best = judged(name, classifier, subject, truth).value
    worst = judged(name, classifier, subject, [-score for score in truth]).value
    if FAITHFULNESS[name].higher_is_better:
        assert (worst, best) == pytest.approx((min(values), max(values)), abs=EXACT)
        assert worst < best
    else:
        assert (best, worst) == pytest.approx((min(values), max(values)), abs=EXACT)
        assert best < worst


def test_naopc_is_1_for_the_truth_and_0_for_its_opposite() -> None:
    classifier = known(MIXED)
    subject = one(classifier, MIXED_TEXT)
    sign = 1 if subject.target == 1 else -1
    truth = [sign * math.log(MIXED[word]) for word in MIXED_TEXT.split()]
    assert judged("naopc", classifier, subject, truth).value == pytest.approx(1.0, abs=NORMALISED)
    opposite = [-score for score in truth]
    assert judged("naopc", classifier, subject, opposite).value == pytest.approx(0.0, abs=NORMALISED)


@pytest.mark.parametrize("name", [*RANKED, "loo-kendall"])
def test_random_scores_are_as_good_as_the_mean_of_all_orders(name: str) -> None:
    # The mean of 500 draws from the 5! = 120 values strays by their spread / sqrt(500); four times that.
    classifier = known(MIXED)
    subject = one(classifier, MIXED_TEXT)
    values = list(all_orders(name, classifier, subject).values())
    generator = np.random.default_rng(3)
    explanations = [
        explained(classifier, subject, generator.normal(size=5).tolist(), "random") for _ in range(500)
    ]
    scores = FAITHFULNESS[name](classifier, [subject] * 500, explanations)
    found = statistics.fmean(score.value for score in scores)
    spread = statistics.pstdev(values)
    assert abs(found - statistics.fmean(values)) <= 4 * spread / math.sqrt(500) + EXACT
    if name == "loo-kendall":
        assert statistics.fmean(values) == pytest.approx(0.0, abs=EXACT)  # each order and its reverse


# The limits of NAOPC


def drive(walk: Walk, values: Sequence[float], rounds: list[list[int]] | None = None) -> Any:
    """Answer a walk with p(without S) = values[S] until it returns."""
    answer = None
    while True:
        try:
            removals = list(next(walk) if answer is None else walk.send(answer))
        except StopIteration as stop:
            return stop.value
        if rounds is not None:
            rounds.append(removals)
        likely = np.array([[1 - values[removal], values[removal]] for removal in removals])
        answer = Outcomes(np.log(likely), likely)


def about(n: int, values: Sequence[float]) -> Subject:
    """A text of n words that the model answers with values[0]."""
    subject = one(known({}), " ".join("abcdefghijklmnopqrstuvwxyz"[:n]), target=1)
    assert len(subject.units("word")) == n
    return dataclasses.replace(subject, probabilities=(1 - values[0], values[0]))


def brute_limits(n: int, values: Sequence[float]) -> tuple[float, float]:
    sums = []
    for order in itertools.permutations(range(n)):
        gone, total = 0, 0.0
        for unit in order:
            gone |= 1 << unit
            total += values[0] - values[gone]
        sums.append(total / n)
    return min(sums), max(sums)


def limits(n: int, values: Sequence[float], **options: Any) -> tuple[float, float]:
    return drive(dataclasses.replace(NAOPC, **options).limits(about(n, values)), values)


def random_values(n: int, seed: int) -> list[float]:
    return np.random.default_rng(seed).uniform(0.01, 0.99, size=1 << n).tolist()


def product_values(n: int, seed: int) -> list[float]:
    """p of odds that multiply."""
    ratios = np.exp(np.random.default_rng(seed).normal(size=n)).tolist()
    return [
        p(math.prod(ratio for unit, ratio in enumerate(ratios) if not gone >> unit & 1))
        for gone in range(1 << n)
    ]


@pytest.mark.parametrize("n", range(1, 7))
def test_exact_limits_are_those_of_all_orders(n: int) -> None:
    for seed in range(8 if n < 6 else 4):
        values = random_values(n, seed)
        assert limits(n, values) == pytest.approx(brute_limits(n, values), abs=EXACT)


@pytest.mark.parametrize("n", range(1, 7))
def test_a_wide_beam_finds_the_exact_limits(n: int) -> None:
    # 2^n removals are all there are.
    for seed in range(4):
        values = random_values(n, 100 + seed)
        assert limits(n, values, exact=0, beam=1 << n) == pytest.approx(limits(n, values), abs=EXACT)


def test_the_beam_finds_its_limits_from_inside() -> None:
    missed = 0
    for n in (4, 6, 8):
        for seed in range(15):
            values = random_values(n, 200 + seed)
            lower, upper = limits(n, values)
            for beam in (1, 5):
                low, high = limits(n, values, exact=0, beam=beam)
                assert lower - EXACT <= low <= high <= upper + EXACT
                missed += beam == 5 and (low > lower + EXACT or high < upper - EXACT)
    assert missed > 0  # else these functions would say nothing about the inside


def test_a_beam_of_one_is_greedy() -> None:
    for seed in range(10):
        n, values = 6, random_values(6, 300 + seed)
        expected = []
        for better in (min, max):
            gone, total = 0, 0.0
            for _ in range(n):
                candidates = [gone | 1 << unit for unit in range(n) if not gone >> unit & 1]
                gone = better(candidates, key=lambda removal: values[0] - values[removal])
                total += values[0] - values[gone]
            expected.append(total / n)
        assert limits(n, values, exact=0, beam=1) == pytest.approx(tuple(expected), abs=EXACT)


def test_a_wider_beam_of_five_is_a_literal_beam_search() -> None:
    for seed in range(10):
        n, values = 7, random_values(7, 400 + seed)
        expected = []
        for sign in (-1, 1):
            beam = {0: 0.0}
            for _ in range(n):
                found: dict[int, float] = {}
                for gone, total in beam.items():
                    for unit in range(n):
                        if gone >> unit & 1:
                            continue
                        larger = gone | 1 << unit
                        reached = total + values[0] - values[larger]
                        if larger not in found or sign * reached > sign * found[larger]:
                            found[larger] = reached
                beam = dict(sorted(found.items(), key=lambda entry: -sign * entry[1])[:5])
            expected.append(sign * max(sign * total for total in beam.values()) / n)
        assert limits(n, values, exact=0) == pytest.approx(tuple(expected), abs=EXACT)


@pytest.mark.parametrize("beam", [1, 5])
def test_where_odds_multiply_the_beam_is_exact(beam: int) -> None:
    # The best order takes the highest ratio first, and its every step is the best one: greedy finds it.
    for n in (2, 5, 9):
        for seed in range(3):
            values = product_values(n, seed)
            assert limits(n, values, exact=0, beam=beam) == pytest.approx(limits(n, values), abs=EXACT)


def test_exact_says_up_to_how_many_units_all_removals_are_asked() -> None:
    values = random_values(7, 1)
    subject, scores = about(7, values), [3.0, 1.0, 2.0, 7.0, 5.0, 4.0, 6.0]
    rounds: list[list[int]] = []
    drive(dataclasses.replace(NAOPC, exact=7).walk(subject, scores), values, rounds)
    assert [len(each) for each in rounds] == [127, 7]
    assert sorted(rounds[0]) == list(range(1, 128))
    rounds = []
    drive(dataclasses.replace(NAOPC, exact=6).walk(subject, scores), values, rounds)
    # One round a size and one for the explanation; two beams of five have at most ten times the units left.
    assert len(rounds) == 8
    for size, removals in enumerate(rounds[:7], start=1):
        assert {removal.bit_count() for removal in removals} == {size}
        assert len(removals) <= 10 * (8 - size)


def test_most_says_how_many_units_a_text_may_have() -> None:
    classifier = known(MIXED)
    subject = one(classifier, MIXED_TEXT)
    explanation = explained(classifier, subject, [1, 2, 3, 4, 5])
    for most, defined in ((4, False), (5, True), (6, True)):
        (score,) = dataclasses.replace(NAOPC, most=most)(classifier, [subject], [explanation])
        assert math.isnan(score.value) is not defined


def test_naopc_of_a_long_text_where_odds_multiply() -> None:
    # Above `exact` the beam is at work; where odds multiply its limits are exact: truth 1, opposite 0.
    ratios = {letter: math.exp(0.2 * math.sin(place + 1)) for place, letter in enumerate("abcdefghijklmno")}
    assert NAOPC.exact < len(ratios) <= NAOPC.most
    classifier = known(ratios)
    subject = one(classifier, " ".join(ratios), target=1)
    truth = [math.log(ratio) for ratio in ratios.values()]
    assert judged("naopc", classifier, subject, truth).value == pytest.approx(1.0, abs=NORMALISED)
    opposite = [-score for score in truth]
    assert judged("naopc", classifier, subject, opposite).value == pytest.approx(0.0, abs=NORMALISED)
    # A word in the middle put first is worse than the truth and better than the opposite.
    odd = [9.0, *truth[1:]]
    assert 0.5 < judged("naopc", classifier, subject, odd).value < 1.0 - 1e-6


# Ties, and explanations that do not fit


def everything(classifier: Classifier, subject: Subject, scores: Sequence[float]) -> dict[str, Score]:
    return {name: judged(name, classifier, subject, scores) for name in FAITHFULNESS}


def test_equal_scores_come_in_one_order_for_all_methods() -> None:
    ratios = {letter: 1 + place / 7 for place, letter in enumerate(LETTERS.split())}
    classifier = known({**ratios, "[PAD]": 0.5, "[CLS]": 0.01})
    first, again = (one(classifier, LETTERS, 1, seed=3, target=1) for _ in range(2))
    zeros, ones = (everything(classifier, s, [x] * 12) for s, x in ((first, 0.0), (again, 1.0)))
    for name, score in zeros.items():
        assert same(score, ones[name]), name
    other = [
        judged("morf", classifier, one(classifier, LETTERS, seed=seed), [0.0] * 12).value
        for seed in range(10)
    ]
    assert len(set(other)) > 5
    # Scores that differ come in one order whatever the seed.
    distinct = [
        judged("morf", classifier, one(classifier, LETTERS, seed=seed), list(range(12))).value
        for seed in range(10)
    ]
    assert len(set(distinct)) == 1


def test_either_of_two_equal_scores_goes_first_in_half_of_the_seeds() -> None:
    # Of 200 seeds 100 on average, with a standard deviation of sqrt(200 / 4) = 7.1; five of them are 35.
    classifier = known({"a": 3.0})
    metric = dataclasses.replace(FAITHFULNESS["deletion-delete-probability"], counts=(1,))
    listed = [one(classifier, "a b", seed=seed, target=1) for seed in range(200)]
    scores = metric(classifier, listed, [explained(classifier, each, [1.0, 1.0]) for each in listed])
    values = [score.value for score in scores]
    a_first = sum(value == pytest.approx(0.5, abs=EXACT) for value in values)  # without a: odds 1
    b_first = sum(value == pytest.approx(0.75, abs=EXACT) for value in values)  # without b: odds 3
    assert a_first + b_first == 200
    assert abs(a_first - 100) < 35


def test_only_the_order_of_scores_matters() -> None:
    classifier = known(MIXED)
    subject = one(classifier, MIXED_TEXT)
    before = everything(classifier, subject, [0.1, -3.0, 2.0, 0.5, -0.2])
    after = everything(classifier, subject, [2.0, 1.0, 5.0, 4.0, 1.5])
    assert all(same(before[name], after[name]) for name in FAITHFULNESS)


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_nan_names_the_text_and_the_method(name: str) -> None:
    classifier = known(MIXED)
    good, bad = subjects(classifier, ["a b c", "a b"], indices=[6, 7])
    explanations = [
        explained(classifier, good, [1, 2, 3]),
        explained(classifier, bad, [1, math.nan], method="odd"),
    ]
    with pytest.raises(InputError, match=r"NaN for the token 'b' of text 7 by 'odd'") as caught:
        FAITHFULNESS[name](classifier, [good, bad], explanations)
    assert caught.value.index == 7


def test_infinite_scores_that_add_up_to_nan_name_the_text_and_the_method() -> None:
    classifier = known(MIXED)
    (subject,) = subjects(classifier, ["ab c"], indices=[7])
    explanation = explained(classifier, subject, [math.inf, -math.inf, 1.0], method="odd", level="token")
    with pytest.raises(InputError, match=r"text 7.*'odd'"):
        FAITHFULNESS["morf"](classifier, [subject], [explanation])


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_an_explanation_of_another_text_is_refused(name: str) -> None:
    classifier = known(MIXED)
    first, second = subjects(classifier, ["a b c", "c b a"], indices=[3, 4])
    pair, swapped = subjects(classifier, [("a b", "c"), ("a", "b c")])
    for subject, other in ((first, second), (second, first), (first, pair), (pair, first), (pair, swapped)):
        with pytest.raises(InputError, match=f"text {subject.index}") as caught:
            FAITHFULNESS[name](classifier, [subject], [explained(classifier, other, [1, 2, 3])])
        assert caught.value.index == subject.index


def test_texts_of_equal_tokens_are_still_other_texts() -> None:
    # The tokenizer makes lower case of all.
    classifier = known(MIXED)
    for text, other in (("a b", "A b"), (("a", "b c"), ("a", "B c"))):
        subject, odd = one(classifier, text), one(classifier, other)
        assert subject.row.tokens == odd.row.tokens
        explanation = explained(classifier, odd, range(len(odd.units("word"))))
        with pytest.raises(InputError, match="expected an explanation of text 0"):
            FAITHFULNESS["morf"](classifier, [subject], [explanation])


def test_an_explanation_by_another_tokenizer_is_refused() -> None:
    classifier = known(MIXED)
    tokenizer = tiny.byte_level()
    other = Classifier(tiny.roberta(tokenizer), tokenizer)
    text = "the film was good"
    explanation = explained(other, one(other, text), [1, 2, 3, 4])
    with pytest.raises(InputError, match="same model"):
        FAITHFULNESS["morf"](classifier, [one(classifier, text)], [explanation])


def test_an_explanation_of_a_longer_part_of_the_text_is_refused() -> None:
    classifier = known(MIXED)
    cut = Classifier(classifier.model, TOKENIZER, max_length=4)
    explanation = explained(cut, one(cut, "a b c"), [1, 2])
    with pytest.raises(InputError, match="max_length"):
        FAITHFULNESS["morf"](classifier, [one(classifier, "a b c")], [explanation])


def test_a_subject_without_an_explanation_is_refused() -> None:
    classifier = known(MIXED)
    listed = subjects(classifier, ["a b c", "c b a"])
    with pytest.raises(ValueError, match=r"shorter|longer|expected"):
        FAITHFULNESS["morf"](classifier, listed, [explained(classifier, listed[0], [1, 2, 3])])


# Short texts, pairs, and many at once


def test_a_text_of_one_word() -> None:
    # The odds are 3 with "a" and 1 without: 3/4 and 1/2.
    classifier = known({"a": 3.0})
    scores = everything(classifier, one(classifier, "a", target=1), [5.0])
    drop = 0.75 - 0.5
    for name in ("comprehensiveness", "comprehensiveness-deciles", "aopc"):
        assert scores[name].value == pytest.approx(drop, abs=EXACT)
    for name in ("sufficiency", "sufficiency-deciles", "abpc", "abpc-logit"):
        assert scores[name].value == pytest.approx(0.0, abs=EXACT)
    for name in ("morf", "lerf"):
        assert scores[name].curve == pytest.approx((0.75, *[0.5] * 10), abs=EXACT)
        assert scores[name].value == pytest.approx(0.5 + 0.05 * drop, abs=EXACT)
    assert scores["deletion-delete-probability"].value == pytest.approx(0.5, abs=EXACT)
    for name in ("naopc", "loo-kendall", "deletion-paper"):
        assert math.isnan(scores[name].value)


def test_a_text_without_a_unit_is_undefined() -> None:
    classifier = known({"a": 3.0})
    subject = one(classifier, "a")
    row = dataclasses.replace(subject.row, special=(True,) * len(subject.row.special))
    empty = dataclasses.replace(subject, row=row)
    assert empty.units("word") == empty.units("token") == ()
    explanation = dataclasses.replace(
        explained(classifier, subject, [1.0]),
        tokens=tuple(
            dataclasses.replace(token, special=True) for token in explained(classifier, subject, [1.0]).tokens
        ),
    )
    for metric in FAITHFULNESS.values():
        (score,) = metric(classifier, [empty], [explanation])
        assert math.isnan(score.value)
        assert score.curve == ()


def test_the_words_of_a_pair_are_words_like_others() -> None:
    # [SEP] is worth 1, so the known classifier does not see where the first part ends.
    classifier = known(RATIOS)
    whole = everything(classifier, one(classifier, HAND_TEXT), HAND_SCORES)
    for pair in (("d a", "c b"), ("d", "a c b"), ("d a c", "b")):
        parts = everything(classifier, one(classifier, pair), HAND_SCORES)
        assert all(same(whole[name], parts[name], NORMALISED) for name in FAITHFULNESS)


def test_a_word_is_the_sum_of_its_tokens() -> None:
    # "ab" is a and ##b.  By its tokens a is highest, by its words c is.
    classifier = known({"a": 7.0, "##b": 2.0, "c": 3.0})
    subject = one(classifier, "ab c", target=1)
    explanation = explained(classifier, subject, [2.0, -1.5, 1.0], level="token")
    options = {"name": "top", "summary": "", "source": "", "counts": (1,), "of": "probability"}
    by_word, by_token = Deletion(**options), Deletion(**options, level="token")
    (word,), (token,) = (metric(classifier, [subject], [explanation]) for metric in (by_word, by_token))
    assert word.value == pytest.approx(p(Fraction(14)), abs=EXACT)
    assert token.value == pytest.approx(p(Fraction(6)), abs=EXACT)


@pytest.mark.parametrize("kind", ["mask", "delete", "pad", "zero"])
def test_a_metric_takes_the_perturbation_it_is_given(kind: str) -> None:
    classifier = known(RATIOS)
    subject = one(classifier, HAND_TEXT)
    metric = Comprehensiveness(name="top", summary="", source="", shares=(0.25,), perturbation=kind)
    (score,) = metric(classifier, [subject], [explained(classifier, subject, HAND_SCORES)])
    # a, 8, goes: [MASK] is 3/2, and [PAD], the id 0, is 5 where it is attended to.
    odds = {"mask": Fraction(8), "delete": Fraction(16, 3), "pad": Fraction(16, 3), "zero": Fraction(80, 3)}
    assert score.value == pytest.approx(p(ODDS) - p(odds[kind]), abs=EXACT)


def test_all_metrics_at_once_say_what_each_says_alone() -> None:
    tokenizer = tiny.wordpiece()
    classifier = Classifier(tiny.bert(tokenizer).double(), tokenizer)
    texts = ["the film was good", "a bad film", "a b c d e f g h i j", "don't you think so?", "well-made"]
    listed = subjects(classifier, texts, [1, 0, None, 1, 0])
    generator = np.random.default_rng(1)
    methods = [
        [explained(classifier, s, generator.normal(size=len(s.units("word"))).tolist(), name) for s in listed]
        for name in ("one", "two")
    ]
    asked: list[int] = []
    jobs = [
        metric.job(subject, explanation)
        for metric in FAITHFULNESS.values()
        for explanations in methods
        for subject, explanation in zip(listed, explanations, strict=True)
    ]
    together = iter(run(classifier, jobs, advance=asked.append))
    separate = 0
    for name, metric in FAITHFULNESS.items():
        for explanations in methods:
            counts: list[int] = []
            alone = run(
                classifier,
                [metric.job(*pair) for pair in zip(listed, explanations, strict=True)],
                advance=counts.append,
            )
            separate += sum(counts)
            called = metric(classifier, listed, explanations, batch_size=3)
            for first, second in zip(alone, called, strict=True):
                assert same(first, next(together), NORMALISED), name
                assert same(first, second, NORMALISED), name
    assert next(together, None) is None
    assert sum(asked) < separate / 2  # what several metrics ask is asked once


def test_metrics_say_what_they_are() -> None:
    for name, metric in FAITHFULNESS.items():
        assert metric.name == name
        assert metric.group == "faithfulness"
        assert metric.summary
        assert metric.source
        assert bool(metric.grid) == bool(metric.curve_of)
    lower = {name for name, metric in FAITHFULNESS.items() if not metric.higher_is_better}
    assert lower == {
        *(name for name in FAITHFULNESS if name.startswith("deletion")),
        *("sufficiency", "sufficiency-deciles", "morf", "morf-logit"),
    }


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_a_curve_has_a_value_at_each_point_of_the_grid(name: str) -> None:
    classifier = known(PAPER)
    subject = one(classifier, LETTERS, 1)
    score = judged(name, classifier, subject, [float(place % 5) for place in range(12)])
    assert len(score.curve) == len(FAITHFULNESS[name].grid)
    if score.curve and FAITHFULNESS[name].grid[0] == 1.0:
        assert score.value == pytest.approx(statistics.fmean(score.curve), abs=EXACT)
    assert all(type(number) is float for number in (score.value, *score.curve))


def test_the_number_of_a_regression_is_no_class_that_could_stay() -> None:
    classifier = Classifier(tiny.bert(TOKENIZER, num_labels=1, problem_type="regression"), TOKENIZER)
    texts = ["a good film", "the bad film is bad"]
    judged = subjects(classifier, texts)
    explanations = explain(classifier, texts, "gi")
    for name, metric in FAITHFULNESS.items():
        if isinstance(metric, Deletion):
            values = [score.value for score in metric(classifier, judged, explanations)]
            assert all(map(math.isnan, values)) == (metric.of == "kept"), name


def test_a_text_has_as_many_words_as_it_likes() -> None:
    classifier = Classifier.of(
        BlackBox(lambda texts: [[1 / (2 + len(t)), 1 - 1 / (2 + len(t))] for t in texts])
    )
    [subject] = subjects(classifier, ["word " * 3000])
    explanations = explain(classifier, ["word " * 3000], "random")
    for name in ("morf", "lerf"):
        [score] = FAITHFULNESS[name](classifier, [subject], explanations)
        assert list(score.curve) == sorted(score.curve, reverse=True)
        assert score.curve[-1] < score.curve[0]
