"""The few-pass methods against literal versions: plain loops, one part at a time, in float64."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from torch import Tensor

import tiny
from whybert import Classifier, UsageError, attribute, explain
from whybert.interception import run
from whybert.lrp.composites import ATTN_LRP, CP_LRP
from whybert.methods import Question, create
from whybert.methods.few import IterativeAttnLRP, SampledAttnLRP, draw, levelled
from whybert.methods.guided import posterior
from whybert.targets import ResolvedTarget

TEXTS = [
    "the film was good, and the actors were great.",
    "a well-made film",
    "good",
    "don't you think so",
    "a bad film? don't you think so?",
]
METHODS = ("sampled_attnlrp", "integrated_attnlrp", "iterative_attnlrp", "guided_shap")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer)


def scores_of(
    classifier: Classifier, ids: Sequence[int], target: Any = 1, rules: str = "attnlrp", **how: Any
) -> list[float]:
    found = attribute(classifier.model, {"input_ids": torch.tensor([ids])}, rules, target, **how)
    return found.scores[0].tolist()


def scores_of_part(
    classifier: Classifier, ids: Sequence[int], gone: set[int], by: str, **how: Any
) -> dict[int, float]:
    """What each token that is left gets, by its place in the text."""
    if by == "delete":
        places = [place for place in range(len(ids)) if place not in gone]
        return dict(zip(places, scores_of(classifier, [ids[place] for place in places], **how), strict=True))
    mask = classifier.tokenizer.mask_token_id
    changed = [mask if place in gone else number for place, number in enumerate(ids)]
    scores = scores_of(classifier, changed, **how)
    return {place: score for place, score in enumerate(scores) if place not in gone}


def words_of(classifier: Classifier, text: str) -> tuple[list[int], list[list[int]]]:
    """The ids of a text and the places of each word's tokens."""
    [found] = explain(classifier, [text])
    words: dict[int, list[int]] = {}
    for place, token in enumerate(found.tokens):
        if token.word is not None:
            words.setdefault(token.word, []).append(place)
    return classifier.tokenizer(text)["input_ids"], list(words.values())


def generator_of(ids: Sequence[int], seed: int) -> torch.Generator:
    digest = hashlib.blake2b(repr([seed, *ids]).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def assert_close(found: Sequence[float], expected: Sequence[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


# --- parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mask", "delete", "pad"])
@pytest.mark.parametrize("composite", [ATTN_LRP, CP_LRP])
def test_parts_are_the_scores_of_the_changed_texts(classifier: Classifier, by: str, composite: Any) -> None:
    """Of padded rows, each with its own target, some parts named twice; in batches of any size."""
    seen: list[list[Tensor]] = []
    generator = torch.Generator().manual_seed(3)
    batch = classifier.tokenizer(TEXTS, padding=True, return_tensors="pt")
    lengths = [count - 2 for count in batch["attention_mask"].sum(1).tolist()]
    kept = [
        torch.rand((sets, length), generator=generator) < 0.6
        for sets, length in zip((3, 0, 2, 4, 2), lengths, strict=True)
    ]
    kept[0][2] = kept[0][1]
    kept[2][0] = False  # the special tokens are left

    class Asks(SampledAttnLRP):
        def attribute(self, question: Question) -> tuple[Tensor, None]:
            for size in (1, 32):
                seen.append(question.parts(kept, "token", by, composite, batch_size=size))
            return torch.zeros(question.inputs["input_ids"].shape), None

    target = [0, 1, 0, (1, 0), 1]
    attribute(classifier.model, batch, Asks(), target, tokenizer=classifier.tokenizer)
    for row, (found, again) in enumerate(zip(*seen, strict=True)):
        torch.testing.assert_close(found, again, rtol=1e-11, atol=1e-13)
        assert found.shape == (len(kept[row]), batch["input_ids"].shape[1])
        ids = classifier.tokenizer(TEXTS[row])["input_ids"]
        for scores, stays in zip(found.tolist(), kept[row].tolist(), strict=True):
            gone = {place + 1 for place, stay in enumerate(stays) if not stay}
            how = {"target": [target[row]], "rules": composite.name}
            if by == "pad":
                attended = [int(place not in gone) for place in range(len(ids))]
                inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.tensor([attended])}
                padded = attribute(classifier.model, inputs, composite.name, [target[row]]).scores[0].tolist()
                part = {place: score for place, score in enumerate(padded) if place not in gone}
            else:
                part = scores_of_part(classifier, ids, gone, by, **how)
            assert_close(scores, [part.get(place, 0.0) for place in range(len(scores))])


def test_parts_without_a_token_are_refused(classifier: Classifier) -> None:
    class Asks(SampledAttnLRP):
        def attribute(self, question: Question) -> tuple[Tensor, None]:
            question.parts([torch.zeros(1, 3, dtype=torch.bool)], "token", "delete", ATTN_LRP)
            raise AssertionError

    with pytest.raises(UsageError, match="removals that leave a token, and 'delete' leaves none"):
        attribute(classifier.model, {"input_ids": torch.tensor([[7, 8, 9]])}, Asks())


# --- sampled ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [2, 3, 4, 7, 40])
@pytest.mark.parametrize("samples", [1, 2, 4, 7, 8, 16])
def test_draws_are_pairs_by_strata_of_sizes(units: int, samples: int) -> None:
    kept, weights = draw(units, samples, torch.Generator().manual_seed(0))
    held = kept.numpy()
    assert weights.sum().item() == pytest.approx(samples)
    assert held.any(1).all()
    assert not held.all(1).any()
    if samples % 2 == 0:
        assert np.average(held, axis=0, weights=weights) == pytest.approx(0.5)
    if 2**units - 2 <= samples:
        assert len({tuple(kept) for kept in held}) == len(held) == 2**units - 2
    elif samples % 2 == 0:
        # One size of each stratum: the places of the sizes among 1 ... units - 1 are spread evenly.
        shares = np.sort((held.sum(1) - 1) / (units - 1))
        strata = np.arange(samples) / samples
        assert (shares >= strata - 1 / (units - 1)).all()
        assert (shares <= strata + 1 / samples).all()


def test_each_size_is_drawn_as_often_and_each_set_of_it() -> None:
    counts: dict[tuple[bool, ...], int] = {}
    for seed in range(3000):
        for kept in draw(4, 4, torch.Generator().manual_seed(seed))[0].tolist():
            counts[tuple(kept)] = counts.get(tuple(kept), 0) + 1
    expected = {
        kept: 12_000 / (3 * math.comb(4, sum(kept)))
        for kept in itertools.product((False, True), repeat=4)
        if 0 < sum(kept) < 4
    }
    assert set(counts) == set(expected)
    for kept, count in counts.items():
        assert count == pytest.approx(expected[kept], abs=5 * math.sqrt(expected[kept]))


@pytest.mark.parametrize(
    "spec",
    [
        "sampled_attnlrp",
        "sampled_attnlrp:samples=5",
        "sampled_attnlrp:samples=1,whole=0",
        "sampled_attnlrp:samples=16,removal=mask,unit=token,seed=3",
        "sampled_attnlrp:removal=delete,whole=2.5,rules=cp_lrp",
        "sampled_attnlrp:unit=sentence",
    ],
)
def test_sampled_is_its_literal_version(classifier: Classifier, spec: str) -> None:
    method: Any = create(spec)
    ways = {"both": ["mask", "delete"]}.get(method.removal, [method.removal])
    for text, found in zip(TEXTS, explain(classifier, TEXTS, method, target=1), strict=True):
        ids, words = words_of(classifier, text)
        units = words
        if method.unit == "token":
            units = [[place] for word in words for place in word]
        if method.unit == "sentence":  # only the last of the texts has several: one ends with "?"
            parts = [words[:4], words[4:]] if text == TEXTS[4] else [words]
            units = [list(itertools.chain(*part)) for part in parts]
        generator = generator_of(ids, method.seed)
        pairs = [ways[number % len(ways)] for number in range((method.samples + 1) // 2)]
        whole = scores_of(classifier, ids, rules=method.rules)
        weight = method.samples / 4 if method.whole is None else method.whole
        total, held = [weight * score for score in whole], [weight] * len(ids)
        left = method.samples
        for by in ways:
            count = min(left, 2 * pairs.count(by))
            left -= count
            for kept, part_weight in zip(
                *map(Tensor.tolist, draw(len(units), count, generator)), strict=True
            ):
                gone = {place for unit, flag in zip(units, kept, strict=True) if not flag for place in unit}
                part = scores_of_part(classifier, ids, gone, by, rules=method.rules)
                for place, score in part.items():
                    total[place] += part_weight * score
                    held[place] += part_weight
        expected = [total[place] / held[place] if held[place] else whole[place] for place in range(len(ids))]
        assert_close(found.scores, expected)


@pytest.mark.parametrize("by", ["mask", "delete"])
def test_all_parts_of_three_words_give_the_expectation(classifier: Classifier, by: str) -> None:
    text = "a bad film"
    ids, words = words_of(classifier, text)
    assert len(words) == 3
    sums, counts = np.zeros(len(ids)), np.zeros(len(ids))
    for size in (1, 2):
        for kept in itertools.combinations(range(3), size):
            gone = {place for word in range(3) if word not in kept for place in words[word]}
            for place, score in scores_of_part(classifier, ids, gone, by).items():
                sums[place] += score
                counts[place] += 1
    for seed in (0, 1):
        [found] = explain(
            classifier, text, f"sampled_attnlrp:samples=6,removal={by},whole=0,seed={seed}", target=1
        )
        assert_close(found.scores, sums / counts)


def test_a_text_of_one_word_has_the_whole_alone(classifier: Classifier) -> None:
    plain = explain(classifier, "good", target=1)[0].scores
    for spec in ("sampled_attnlrp", "sampled_attnlrp:whole=0", "sampled_attnlrp:samples=1,whole=0"):
        assert_close(explain(classifier, "good", spec, target=1)[0].scores, plain)


def test_draws_are_a_rows_own(classifier: Classifier) -> None:
    """Other texts beside it, padding and the other methods of the call change nothing; the seed does."""
    alone = explain(classifier, TEXTS[0], "sampled_attnlrp")[0].scores
    beside = explain(classifier, [*TEXTS[::-1], TEXTS[0]], [*METHODS, "gi"], batch_size=3)["sampled_attnlrp"]
    assert_close(beside[-1].scores, alone)
    assert_close(beside[-2].scores, alone)
    other = explain(classifier, TEXTS[0], "sampled_attnlrp", seed=1)[0].scores
    assert not np.allclose(alone, other)


@pytest.mark.parametrize("quantity", ["probability", "log_probability", "margin", "entropy"])
def test_other_quantities_are_those_of_each_part(classifier: Classifier, quantity: str) -> None:
    """A probability's gradient is another in each part, though its class is that of the whole text."""
    text = "a bad film"
    ids, words = words_of(classifier, text)
    for target in (0, 1):
        sums, counts = np.zeros(len(ids)), np.zeros(len(ids))
        for size in (1, 2):
            for kept in itertools.combinations(range(3), size):
                gone = {place for word in range(3) if word not in kept for place in words[word]}
                for place, score in scores_of_part(
                    classifier, ids, gone, "delete", target=target, quantity=quantity
                ).items():
                    sums[place] += score
                    counts[place] += 1
        method = SampledAttnLRP(samples=6, removal="delete", whole=0, unit="token")
        batch, how = {"input_ids": torch.tensor([ids])}, {"tokenizer": classifier.tokenizer}
        found = attribute(classifier.model, batch, method, target, quantity=quantity, **how)
        assert_close(found.scores[0].tolist(), sums / counts)


def test_every_class_has_its_own(classifier: Classifier) -> None:
    batch = classifier.tokenizer(TEXTS, padding=True, return_tensors="pt")
    methods = [f"{name}:unit=token" if name != "integrated_attnlrp" else name for name in METHODS]
    found = attribute(classifier.model, batch, methods, "all", tokenizer=classifier.tokenizer)
    for target in (0, 1):
        alone = attribute(classifier.model, batch, methods, target, tokenizer=classifier.tokenizer)
        for spec, expected in alone.items():
            own = found[spec].scores[target::2]
            torch.testing.assert_close(own, expected.scores, rtol=1e-9, atol=1e-11)


# --- integrated ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
def test_integrated_is_its_literal_version(classifier: Classifier, rules: str) -> None:
    found = explain(classifier, TEXTS, "integrated_attnlrp", target=1, n_steps=3, rules=rules)
    block = classifier.model.base_model.embeddings
    composite = {"attnlrp": ATTN_LRP, "cp_lrp": CP_LRP}[rules]
    for text, explanation in zip(TEXTS, found, strict=True):
        ids = classifier.tokenizer(text, return_tensors="pt")["input_ids"]
        covered = ids.clone()
        covered[0, 1:-1] = classifier.tokenizer.mask_token_id
        with torch.no_grad():
            end, start = block(ids), block(covered)
        gradients = []
        for share in (1 / 6, 3 / 6, 5 / 6):
            point = start + share * (end - start)
            inputs = {"input_ids": ids}
            forward = run(classifier.model, inputs, [composite], at=lambda _, point=point: point)
            gradients.append(forward.gradient(composite, ResolvedTarget(torch.tensor([1]))))
        expected = (end * torch.stack(gradients).mean(0)).sum(-1)[0]
        assert_close(explanation.scores, expected.tolist())


# --- iterative ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "steps"),
    [("iterative_attnlrp", 10), ("iterative_attnlrp:by=delete,steps=4", 4), ("iterative_attnlrp:steps=1", 1)],
)
def test_iterative_is_its_literal_version(classifier: Classifier, spec: str, steps: int) -> None:
    method: Any = create(spec)
    for text, found in zip(TEXTS, explain(classifier, TEXTS, method, target=1), strict=True):
        ids, words = words_of(classifier, text)
        order: list[int] = []
        scores, values = [0.0] * len(ids), []
        for step in range(1, steps + 1):
            gone = {place for word in order for place in words[word]}
            part = scores_of_part(classifier, ids, gone, method.by)
            left = [word for word in range(len(words)) if word not in order]
            left.sort(key=lambda word: -sum(part[place] for place in words[word]))
            for word in left[: math.ceil(step * len(words) / steps) - len(order)]:
                order.append(word)
                values.append(sum(part[place] for place in words[word]))
                for place in words[word]:
                    scores[place] = part[place]
        levels = isotonic_regression(values, increasing=False).x
        for rank, word in enumerate(order):
            level = levels[rank] - 1e-5 * rank * max(map(abs, values))
            for place in words[word]:
                scores[place] += (level - values[rank]) / len(words[word])
        assert_close(found.scores, scores)
        by_score = sorted(range(len(words)), key=lambda word: -found.words()[word].score)
        assert by_score == order


def test_one_step_is_attnlrp(classifier: Classifier) -> None:
    """But for the steps that keep equal words apart, and special tokens."""
    plain, once = explain(classifier, TEXTS[0], ["attnlrp", IterativeAttnLRP(steps=1)], target=1).values()
    np.testing.assert_allclose(once[0].scores[1:-1], plain[0].scores[1:-1], atol=1e-3)
    assert once[0].scores[0] == once[0].scores[-1] == 0
    assert once[0].signed


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_levelled_is_isotonic_regression(values: list[int]) -> None:
    expected = isotonic_regression(values, increasing=False).x if values else []
    step = 1e-5 * max(map(abs, values), default=0)
    np.testing.assert_allclose(levelled(values), expected - step * np.arange(len(values)), atol=1e-12)


# --- guided -------------------------------------------------------------------------------------------------


def drawn_outputs(
    classifier: Classifier, ids: list[int], words: list[list[int]], method: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each way of removal z and y, the whole text last."""
    generator = generator_of(ids, method.seed)
    ways = {"both": ["mask", "delete"]}.get(method.by, [method.by])
    pairs = [ways[number % len(ways)] for number in range((method.samples + 1) // 2)]
    sets, outputs, left = [], [], method.samples
    for by in ways:
        count = min(left, 2 * pairs.count(by))
        left -= count
        kept = [*draw(len(words), count, generator)[0].tolist(), [True] * len(words)]
        sets.append(np.array(kept, dtype=float))
        outputs.append([])
        for own in kept:
            gone = {place for word, flag in zip(words, own, strict=True) if not flag for place in word}
            mask = classifier.tokenizer.mask_token_id
            text = [number for place, number in enumerate(ids) if place not in gone]
            if by == "mask":
                text = [mask if place in gone else number for place, number in enumerate(ids)]
            with torch.no_grad():
                outputs[-1].append(float(classifier.model(torch.tensor([text])).logits[0, 1]))
    return sets, [np.array(each) for each in outputs]


def literal_fit(z: np.ndarray, y: np.ndarray, a: np.ndarray, ratio: float) -> tuple[float, np.ndarray]:
    """-2 log likelihood (but for a constant) and the posterior mean, at s^2 / t^2."""
    covariance = np.eye(len(y)) + z @ z.T / ratio
    inverse = np.linalg.inv(covariance)
    x = z @ a
    c = max(0.0, (x @ inverse @ y) / (x @ inverse @ x))
    noise = (y - c * x) @ inverse @ (y - c * x) / len(y)
    mean = c * a + z.T @ inverse @ (y - c * x) / ratio
    return len(y) * np.log(noise) + np.linalg.slogdet(covariance)[1], mean


@pytest.mark.parametrize(
    "spec",
    ["guided_shap:samples=40", "guided_shap:samples=12,by=mask", "guided_shap:samples=5,by=delete,seed=2"],
)
def test_guided_is_the_posterior_mean_where_the_outputs_are_most_likely(
    classifier: Classifier, spec: str
) -> None:
    """The marginal likelihood is written out with matrices of samples."""
    method: Any = create(spec)
    for text, found in zip(TEXTS[:2], explain(classifier, TEXTS[:2], method, target=1), strict=True):
        ids, words = words_of(classifier, text)
        whole = scores_of(classifier, ids)
        a = np.array([sum(whole[place] for place in word) for word in words])
        sets, outputs = drawn_outputs(classifier, ids, words, method)
        z, y = np.concatenate(sets), np.concatenate(outputs)
        ways = np.zeros((len(y), len(sets)))
        for number, rows in enumerate(
            np.split(np.arange(len(y)), np.cumsum([len(each) for each in sets])[:-1])
        ):
            ways[rows, number] = 1.0
        # What is orthogonal to the intercepts: the likelihood of the differences that no b changes.
        contrasts = np.linalg.svd(ways, full_matrices=True)[0][:, len(sets) :].T
        z, y = contrasts @ z, contrasts @ y

        top = 2 * np.log(np.linalg.svd(z)[1].max())
        grid = top + np.linspace(-8, 8, 321) * np.log(10)
        _, expected = min((literal_fit(z, y, a, ratio) for ratio in np.exp(grid)), key=lambda fit: fit[0])
        scores = [sum(found.scores[place] for place in word) for word in words]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_where_the_prior_predicts_the_outputs_it_is_scaled() -> None:
    generator = torch.Generator().manual_seed(0)
    z = (torch.rand(30, 6, generator=generator) < 0.5).double()
    prior = torch.randn(6, generator=generator, dtype=torch.float64)
    noise = 0.01 * torch.randn(30, generator=generator, dtype=torch.float64)
    found = posterior(
        [z[:20], z[20:]], [3 + 2.5 * z[:20] @ prior + noise[:20], -1 + 2.5 * z[20:] @ prior], prior
    )
    torch.testing.assert_close(found, 2.5 * prior, rtol=0, atol=0.05)
    exact = posterior([z], [3 + 2.5 * z @ prior], prior)
    torch.testing.assert_close(exact, 2.5 * prior, rtol=1e-7, atol=1e-9)


def test_with_many_samples_it_is_least_squares_whatever_the_prior() -> None:
    generator = torch.Generator().manual_seed(1)
    z = (torch.rand(4000, 6, generator=generator) < 0.5).double()
    truth = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, -1.0], dtype=torch.float64)
    y = 0.7 + z @ truth + 0.3 * torch.randn(4000, generator=generator, dtype=torch.float64)
    ones = torch.cat([z, torch.ones(4000, 1, dtype=torch.float64)], 1)
    expected = torch.linalg.lstsq(ones, y[:, None]).solution[:-1, 0]
    for prior in (torch.zeros(6), torch.ones(6), -truth, torch.arange(6.0)):
        torch.testing.assert_close(posterior([z], [y], prior.double()), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(posterior([z], [z @ truth], -truth), truth, rtol=1e-6, atol=1e-6)


def test_of_fewer_samples_than_words_the_prior_is_what_is_left() -> None:
    """What the samples do not tell apart keeps the proportions of the prior; c is never below 0."""
    z = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], dtype=torch.float64)
    prior = torch.tensor([3.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    found = posterior([z], [torch.tensor([2.0, 0.5, 2.5], dtype=torch.float64)], prior)
    assert found[0] > found[1] > found[3]
    assert found[0] - found[1] == pytest.approx(2 * float(found[2] - found[3]))
    against = posterior([z], [-z @ prior], prior)
    assert torch.isfinite(against).all()
    assert against[0] == pytest.approx(float(against[1]))  # nothing of the prior
    constant = posterior([z], [torch.ones(3, dtype=torch.float64)], prior)
    assert constant.tolist() == [0.0] * 4
    assert posterior([z[:1]], [torch.ones(1, dtype=torch.float64)], prior).tolist() == prior.tolist()


# --- what they cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "rows", "calls"),
    [
        (
            "sampled_attnlrp:samples=16",
            17,
            10,
        ),  # the masked parts are one batch, the deleted ones of any length
        ("sampled_attnlrp:samples=16,removal=mask", 17, 2),
        ("integrated_attnlrp:n_steps=16", 18, 3),
        ("iterative_attnlrp", 10, 10),
        ("iterative_attnlrp:steps=3", 3, 3),
        ("guided_shap:samples=40,by=mask", 41, 2),
    ],
)
def test_passes_are_those_that_are_said_and_go_together(
    classifier: Classifier, spec: str, rows: int, calls: int
) -> None:
    """Of a text of 11 words: the rows that the embedding block is asked for, and how often it is called."""
    assert len(words_of(classifier, TEXTS[0])[1]) == 11
    seen: list[int] = []
    block = classifier.model.base_model.embeddings
    handle = block.register_forward_hook(lambda *call: seen.append(len(call[-1])))
    explain(classifier, TEXTS[0], spec)
    handle.remove()
    assert sum(seen) <= rows
    assert len(seen) <= calls
    said = create(spec).passes
    assert rows == sum(int(number) for number in re.findall(r"(\d+) forward", said))


# --- what they need -----------------------------------------------------------------------------------------


def test_without_a_mask_token_there_is_deletion(classifier: Classifier) -> None:
    tokenizer = tiny.wordpiece()
    tokenizer.mask_token = None
    bare = Classifier(classifier.model, tokenizer)
    for spec, way in zip(
        METHODS,
        ("use 'delete'", "use baseline=zero", "use 'delete'", "use 'delete'"),
        strict=True,
    ):
        with pytest.raises(
            UsageError, match=f"needs a tokenizer with a mask token, and there is none; {way}"
        ):
            explain(bare, TEXTS[0], spec)
    for spec in ("sampled_attnlrp:removal=delete", "iterative_attnlrp:by=delete", "guided_shap:by=delete"):
        with_mask = explain(classifier, TEXTS[0], spec)[0].scores
        assert_close(explain(bare, TEXTS[0], spec)[0].scores, with_mask)


def test_tensors_have_tokens_and_no_words(classifier: Classifier) -> None:
    batch = classifier.tokenizer(TEXTS[:1], return_tensors="pt")
    for spec in ("sampled_attnlrp", "iterative_attnlrp", "guided_shap"):
        with pytest.raises(UsageError, match="ask for unit='token', or call `explain`"):
            attribute(classifier.model, batch, spec, tokenizer=classifier.tokenizer)
        found = attribute(classifier.model, batch, spec, unit="token", tokenizer=classifier.tokenizer)
        assert_close(found.scores[0].tolist(), explain(classifier, TEXTS[0], spec, unit="token")[0].scores)
