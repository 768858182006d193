"""Methods that take words away: held to the definitions of what they estimate, on games and on a model."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from transformers import BertForMaskedLM

import oracles
import tiny
from whybert import METHODS, Classifier, UnknownNameError, UsageError, attribute, evaluate, explain
from whybert.evaluation.bench import EvaluationData
from whybert.evaluation.given import random_explanations
from whybert.evaluation.subjects import subjects
from whybert.methods import GROUPS, Method, Question, create
from whybert.methods.game import GameMethod, all_subsets

TEXT = "the film was good, and the actors were great. a bad film"
SHORT = "don't you? good film"
Game = Callable[[frozenset[int]], float]


@cache
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer)


# --- games --------------------------------------------------------------------------------------------------


def random_game(players: int, seed: int = 0) -> Game:
    """A number for each set, with no structure at all."""
    table = numpy.random.default_rng(seed).normal(size=2**players)
    return lambda kept: float(table[sum(2**player for player in kept)])


def additive(worths: Sequence[float], nobody: float = 0.5) -> Game:
    return lambda kept: nobody + sum(worths[player] for player in kept)


WORTHS = [1.0, -2.0, 0.25, 3.0, 0.0, -0.5, 1.5, 0.125, 2.5, -1.25, 0.75, 0.3, -0.7, 4.0]


def played(
    method: GameMethod, game: Game, players: int, groups: Sequence[int] = ()
) -> tuple[list[float], list[int], list[frozenset[int]]]:
    """What the method finds in a game of its own, how many sets it asked each time, and which."""
    asked: list[int] = []
    sets: list[frozenset[int]] = []

    class Played(type(method)):  # type: ignore[misc]
        def worth(self, question: Any, kept: Sequence[Tensor]) -> list[Tensor]:
            own = [frozenset(row.nonzero()[:, 0].tolist()) for row in kept[0]]
            asked.append(len(set(own)))
            sets.extend(own)
            return [torch.tensor([game(each) for each in own], dtype=torch.float64)]

    ids = torch.arange(players)[None] + 5
    units = {"word": [tuple((place,) for place in range(players))]}
    question = SimpleNamespace(
        inputs={"input_ids": ids},
        rows=None,
        units=units.__getitem__,
        generators=lambda seed: [torch.Generator().manual_seed(seed)],
    )
    found = Played(**method.options).values(question)
    return [float(value) for value in found[0]], asked, sets


@pytest.mark.parametrize("players", [0, 1, 2, 5, 7])
def test_exact_shapley_values_are_those_of_the_definition(players: int) -> None:
    game = random_game(players)
    found, asked, _ = played(METHODS["exact_shapley"](), game, players)
    assert found == pytest.approx(oracles.shapley(game, players), rel=1e-12, abs=1e-12)
    assert asked == [2**players]


@pytest.mark.parametrize("players", [0, 1, 2, 3, 6, 9])
def test_kernel_shap_within_its_budget_has_the_shapley_values(players: int) -> None:
    game = random_game(players)
    found, asked, _ = played(METHODS["kernel_shap"](), game, players)
    assert found == pytest.approx(oracles.shapley(game, players), rel=1e-9, abs=1e-9)
    assert asked == [2**players]


@pytest.mark.parametrize("samples", [4, 11, 30, 60, 100, 1000])
def test_kernel_shap_beyond_it_is_exact_for_sums_and_always_adds_up(samples: int) -> None:
    method = METHODS["kernel_shap"](samples=samples)
    found, asked, _ = played(method, random_game(12), 12)
    everybody, nobody = random_game(12)(frozenset(range(12))), random_game(12)(frozenset())
    assert sum(found) == pytest.approx(everybody - nobody, rel=1e-10, abs=1e-10)
    assert asked[0] <= samples
    assert played(method, random_game(12), 12)[0] == found
    if samples >= 60:
        assert played(method, additive(WORTHS), 14)[0] == pytest.approx(WORTHS, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["kernel_shap", "shapley_sampling"])
def test_estimates_come_near_with_samples(name: str) -> None:
    """A game of pairs and triples: the error falls, and the mean over seeds is near the exact values."""
    weights = numpy.random.default_rng(3).normal(size=(11, 11, 11))

    def game(kept: frozenset[int]) -> float:
        return float(sum(weights[each] for each in itertools.combinations(sorted(kept), 3))) + len(kept)

    exact = numpy.array(played(METHODS["exact_shapley"](), game, 11)[0])
    errors = []
    for samples in (12, 96) if name == "shapley_sampling" else (150, 1200):
        own = [
            numpy.array(played(METHODS[name](samples=samples, seed=seed), game, 11)[0]) for seed in range(4)
        ]
        errors.append(float(numpy.mean([numpy.abs(each - exact).mean() for each in own])))
    assert errors[1] < 0.5 * errors[0]
    assert numpy.abs(numpy.mean(own, 0) - exact).max() < 0.2 * numpy.abs(exact).max()


def test_all_orders_give_the_shapley_values(monkeypatch: pytest.MonkeyPatch) -> None:
    game = random_game(5)
    kind = METHODS["shapley_sampling"]
    monkeypatch.setattr(kind, "_orders", lambda *_: torch.tensor(list(itertools.permutations(range(5)))))
    found, _, _ = played(kind(), game, 5)
    assert found == pytest.approx(oracles.shapley(game, 5), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_orders_add_up_and_are_exact_for_sums(antithetic: bool, samples: int) -> None:
    method = METHODS["shapley_sampling"](samples=samples, antithetic=antithetic)
    found, asked, _ = played(method, random_game(8), 8)
    game = random_game(8)
    assert sum(found) == pytest.approx(game(frozenset(range(8))) - game(frozenset()), rel=1e-12)
    assert asked[0] <= 2 + samples * 7
    assert played(method, additive(WORTHS), 14)[0] == pytest.approx(WORTHS, rel=1e-12, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    orders = method._orders(6, generator)
    assert [sorted(order) for order in orders.tolist()] == [list(range(6))] * samples
    if antithetic and samples > 1:
        assert orders[1].tolist() == orders[0].tolist()[::-1]
        # so the values of a game of pairs are exact
        pairs = numpy.random.default_rng(0).normal(size=(6, 6))

        def game_of_pairs(kept: frozenset[int]) -> float:
            return float(sum(pairs[each] for each in itertools.combinations(sorted(kept), 2)))

        if samples % 2 == 0:
            found, _, _ = played(method, game_of_pairs, 6)
            assert found == pytest.approx(oracles.shapley(game_of_pairs, 6), rel=1e-10, abs=1e-10)


def total_indices(game: Game, players: int) -> list[float]:
    """The mean variance in a player over all sets of the others, as a share of the variance over all sets."""
    sets = [
        frozenset(kept)
        for size in range(players + 1)
        for kept in itertools.combinations(range(players), size)
    ]
    variance = float(numpy.var([game(kept) for kept in sets]))
    return [
        float(numpy.mean([numpy.var([game(kept | {player}), game(kept - {player})]) for kept in sets]))
        / variance
        for player in range(players)
    ]


def test_sobol_indices_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all sets as designs exactly, with many drawn ones nearly."""
    game = random_game(6)
    exact = total_indices(game, 6)
    drawn, asked, _ = played(METHODS["sobol"](samples=512), game, 6)
    assert asked == [64]
    assert drawn == pytest.approx(exact, rel=0.15)
    kind = METHODS["sobol"]
    monkeypatch.setattr(kind, "_designs", lambda *_: all_subsets(6))
    assert played(kind(), game, 6)[0] == pytest.approx(exact, rel=1e-12)
    assert played(kind(), lambda kept: 3.0, 6)[0] == [0.0] * 6


def test_sobol_indices_of_a_sum_are_the_squares() -> None:
    method = METHODS["sobol"]()
    found, asked, _ = played(method, additive(WORTHS), 14)
    assert asked[0] <= 32 * 15
    expected = numpy.square(WORTHS)
    assert numpy.array(found) / sum(found) == pytest.approx(expected / expected.sum(), rel=1e-9)
    assert sum(found) == pytest.approx(1.0, rel=0.3)  # the variance is that of 32 sets
    assert played(method, additive([]), 0)[0] == []


# --- a hierarchy --------------------------------------------------------------------------------------------

Tree = Any  # a player, or a pair of trees


def orders_of(tree: Tree) -> list[list[int]]:
    """All orders in which the players of each branch come together."""
    if isinstance(tree, int):
        return [[tree]]
    left, right = map(orders_of, tree)
    return [
        first + second for one, other in ((left, right), (right, left)) for first in one for second in other
    ]


def owen(tree: Tree, game: Game, players: int) -> list[float]:
    """Owen values by definition: the mean over these orders of what a player adds to those before it."""
    found, orders = [0.0] * players, orders_of(tree)
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            found[player] += (game(before | {player}) - game(before)) / len(orders)
    return found


def halves(players: Sequence[int]) -> Tree:
    middle = (len(players) + 1) // 2
    return (halves(players[:middle]), halves(players[middle:])) if len(players) > 1 else players[0]


@pytest.mark.parametrize("players", [1, 2, 3, 5, 7])
def test_partition_shap_within_its_budget_has_the_owen_values(players: int) -> None:
    game = random_game(players)
    found, asked, _ = played(METHODS["partition_shap"](), game, players)
    assert found == pytest.approx(owen(halves(range(players)), game, players), rel=1e-12, abs=1e-12)
    assert sum(asked) <= 2 + players**2
    assert played(METHODS["partition_shap"](), game, 0)[0] == []


@pytest.mark.parametrize("samples", [2, 3, 4, 9, 40, 150, 1000])
def test_partition_shap_adds_up_within_any_budget(samples: int) -> None:
    method = METHODS["partition_shap"](samples=samples)
    game = random_game(14)
    found, asked, _ = played(method, game, 14)
    assert sum(found) == pytest.approx(game(frozenset(range(14))) - game(frozenset()), rel=1e-12, abs=1e-12)
    assert sum(asked) <= samples
    if samples == 2:
        assert found == pytest.approx([found[0]] * 14)
    if samples == 1000:
        assert played(method, additive(WORTHS), 14)[0] == pytest.approx(WORTHS, rel=1e-12, abs=1e-12)


def test_the_largest_branch_is_opened_first() -> None:
    """One player of 64 matters: a path to it costs 2 (1 + 4 + 16 + ...), not the whole tree."""
    worths = [0.0] * 64
    worths[37] = 2.0
    found, _, _ = played(METHODS["partition_shap"](samples=150), additive(worths), 64)
    assert found[37] > 1.0
    assert sum(found) == pytest.approx(2.0)


def test_the_hierarchy_is_that_of_sentences_and_words() -> None:
    """Of a text of three sentences and its pair, with words of several tokens."""
    pair = ("bad film. good good good! was it", "the actors")
    words, sentences = ["bad film .", "good good good !", "was it"], ["the actors"]
    counts = [len(each.split()) for each in [*words, *sentences]]
    starts = list(itertools.accumulate(counts, initial=0))
    parts = [halves(range(start, start + count)) for start, count in zip(starts, counts, strict=False)]
    tree = (((parts[0], parts[1]), parts[2]), parts[3])
    [found] = explain(classifier(), pair, "partition_shap:samples=1000", target=1)
    expected = owen(tree, literal(pair, 1, "mask", "word"), sum(counts))
    assert [word.score for word in found.words()] == pytest.approx(expected, rel=1e-9, abs=1e-12)


# --- a model ------------------------------------------------------------------------------------------------


def unit_tokens(text: Any, unit: str) -> list[list[int]]:
    """The tokens of each unit, from the explanation of another method."""
    [found] = explain(classifier(), text, "gs")
    if unit == "word":
        return [list(word.tokens) for word in found.words()]
    if unit == "sentence":
        return [[t for w in s.words for t in found.words()[w].tokens] for s in found.sentences()]
    return [[place] for place, token in enumerate(found.tokens) if not token.special]


def literal(text: Any, target: int | tuple[int, int], by: str, unit: str) -> Game:
    """The plain model's output on the text with all units but those of the set taken away, by hand."""
    tokenizer, model = classifier().tokenizer, classifier().model
    plain = tokenizer(*([text] if isinstance(text, str) else text), return_tensors="pt")
    units = unit_tokens(text, unit)

    @cache
    def output(kept: frozenset[int]) -> float:
        gone = {place for index, places in enumerate(units) if index not in kept for place in places}
        places = range(plain["input_ids"].shape[1])
        inputs = {name: tensor.clone() for name, tensor in plain.items()}
        if by == "delete":
            inputs = {
                name: tensor[:, [place for place in places if place not in gone]]
                for name, tensor in plain.items()
            }
        for place in gone if by != "delete" else ():
            inputs["input_ids"][0, place] = {"mask": 4, "pad": 0, "zero": 0}[by]
            inputs["attention_mask"][0, place] = int(by != "pad")
        with torch.no_grad():
            logits = model(**inputs).logits[0].tolist()
        return logits[target[0]] - logits[target[1]] if isinstance(target, tuple) else logits[target]

    return output


@pytest.mark.parametrize("by", ["mask", "delete", "pad", "zero"])
@pytest.mark.parametrize("unit", ["word", "token", "sentence"])
def test_shapley_values_of_a_model(by: str, unit: str) -> None:
    [found] = explain(classifier(), SHORT, "exact_shapley", target=(1, 0), unit=unit, by=by)
    units = unit_tokens(SHORT, unit)
    game = literal(SHORT, (1, 0), by, unit)
    expected = oracles.shapley(game, len(units))
    for places, value in zip(units, expected, strict=True):
        for place in places:
            assert found.scores[place] == pytest.approx(value / len(places), rel=1e-9, abs=1e-12)
    books = found.completeness
    assert books is not None
    assert (books.rest, books.biases) == ("baseline", pytest.approx(game(frozenset()), rel=1e-9, abs=1e-12))
    assert books.relevance_sum + books.biases == pytest.approx(books.logit, rel=1e-9, abs=1e-9)


def recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The sets of units that the method asks about."""
    sets: list[Tensor] = []
    worth = Question.worth

    def record(question: Question, kept: Sequence[Tensor], unit: Any, by: str = "mask") -> list[Tensor]:
        sets.extend(kept)
        return worth(question, kept, unit, by)

    monkeypatch.setattr(Question, "worth", record)
    return sets


@pytest.mark.parametrize("by", ["mask", "delete"])
def test_lime_is_the_ridge_regression_of_its_package(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = recorded("lime", monkeypatch)
    [found] = explain(classifier(), TEXT, "lime:samples=200", target=1, by=by)
    [kept] = sets
    z = kept.numpy().astype(float)
    game = literal(TEXT, 1, by, "word")
    outputs = [game(frozenset(row.nonzero()[0].tolist())) for row in z]
    players = z.shape[1]
    ones = numpy.ones(players)
    weights = []
    for row in z:
        cosine = row @ ones / (numpy.linalg.norm(row) * numpy.linalg.norm(ones)) if row.any() else 0.0
        weights.append(math.sqrt(math.exp(-((100 * (1 - cosine)) ** 2) / 25**2)))
    expected = Ridge(alpha=1.0).fit(z, outputs, sample_weight=weights).coef_
    assert [word.score for word in found.words()] == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert z[0].all()
    sizes = players - z[1:].sum(1)
    assert {1, players} <= set(sizes.astype(int).tolist()) <= set(range(1, players + 1))
    assert abs(sizes.mean() - (players + 1) / 2) < 4 * players / math.sqrt(12 * len(sizes))
    assert numpy.abs(z[1:].mean(0) - z[1:].mean()).max() < 0.15


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 1), (3, 2), (20, 5)])
@pytest.mark.parametrize("unit", ["word", "token"])
def test_occlusion_is_its_literal_version(window: int, stride: int, unit: str) -> None:
    spec = f"occlusion:window={window},stride={stride}"
    [found] = explain(classifier(), TEXT, spec, target=(1, 0), unit=unit)
    units = unit_tokens(TEXT, unit)
    game, count = literal(TEXT, (1, 0), "mask", unit), len(units)
    drops: list[list[float]] = [[] for _ in units]
    start = 0
    while True:
        start = min(start, max(0, count - window))
        gone = range(start, min(start + window, count))
        for index in gone:
            drops[index].append(game(frozenset(range(count))) - game(frozenset(range(count)) - set(gone)))
        if start + window >= count:
            break
        start += stride
    for places, own in zip(units, drops, strict=True):
        expected = sum(own) / len(own) / len(places)
        assert [found.scores[place] for place in places] == pytest.approx([expected] * len(places), rel=1e-8)
    if (window, stride) == (1, 1):
        [other] = explain(classifier(), TEXT, "leave_one_out", target=(1, 0), unit=unit)
        assert other.scores == found.scores


PERTURBING = [name for name, kind in METHODS.items() if issubclass(kind, GameMethod) and not kind.given]
FEW = {"samples": 20}


def small(name: str, **options: Any) -> Method:
    known = {each.name for each in dataclasses.fields(METHODS[name])}
    return METHODS[name](**{key: value for key, value in {**FEW, **options}.items() if key in known})


@pytest.mark.parametrize("name", PERTURBING)
@pytest.mark.parametrize("by", ["mask", "delete", "pad", "zero"])
def test_each_way_of_each_unit_in_a_batch_and_alone(name: str, by: str) -> None:
    """Texts of several lengths, and pairs; a target that is a contrast."""
    for texts in ([SHORT, "a bad film", "good"], [(SHORT, "a bad film"), ("good", "bad")]):
        for unit in ("word", "token", "sentence"):
            method = small(name, unit=unit, by=by)
            batch = explain(classifier(), texts, method, target=(1, 0))
            for text, together in zip(texts, batch, strict=True):
                [alone] = explain(classifier(), [text], method, target=(1, 0), batch_size=1)
                assert together.scores == pytest.approx(alone.scores, rel=1e-8, abs=1e-10)
                others = [t.score for t in together.tokens if t.special]
                assert others == [0.0] * len(others)
                if (books := together.completeness) is not None:
                    assert books.relevance_sum + books.biases == pytest.approx(
                        books.logit, rel=1e-9, abs=1e-9
                    )
                for sentence in together.sentences() if unit == "sentence" else ():
                    words = [together.words()[word] for word in sentence.words]
                    tokens = [together.scores[token] for word in words for token in word.tokens]
                    assert tokens == pytest.approx([tokens[0]] * len(tokens))


def test_draws_are_those_of_the_seed_and_the_text() -> None:
    for name in ("lime", "kernel_shap", "shapley_sampling", "sobol", "random"):
        found = [
            explain(classifier(), TEXT, small(name, seed=seed), target=1)[0].scores for seed in (0, 0, 1)
        ]
        assert found[0] == found[1]
        assert found[0] != found[2]


def test_what_cannot_be_is_refused_by_name() -> None:
    long = "a b c d e f g h i j k l m"
    with pytest.raises(
        UsageError, match=r"at most 12 words for exact_shapley, found 13 in 'a b c .*; use kernel"
    ):
        explain(classifier(), ["good", long], "exact_shapley")
    with pytest.raises(UsageError, match="stride of occlusion of at most its window"):
        explain(classifier(), "good", "occlusion:stride=2")
    model, inputs = classifier().model, classifier().tokenizer(["a bad film"], return_tensors="pt")
    with pytest.raises(UsageError, match="ask for unit='token', or call `explain`"):
        attribute(model, inputs, "lime")
    with pytest.raises(UsageError, match="needs a tokenizer with a mask token"):
        attribute(model, inputs, "lime", unit="token")
    with pytest.raises(UsageError, match="leave a token, and 'delete' leaves none"):
        attribute(model, inputs, "exact_shapley", unit="token", by="delete")
    with pytest.raises(UnknownNameError, match="unknown by of lime 'remove'"):
        explain(classifier(), "good", "lime:by=remove")


def test_a_long_call_can_be_interrupted() -> None:
    tokenizer = tiny.wordpiece()
    own = Classifier(tiny.bert(tokenizer).double(), tokenizer)
    before = explain(own, TEXT, "attnlrp")[0].scores
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt

    handle = own.model.bert.encoder.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        explain(own, TEXT, "lime")
    handle.remove()
    assert calls == 4
    assert explain(own, TEXT, "attnlrp")[0].scores == before
    assert not own.model.training
    assert all(not module._forward_hooks for module in own.model.modules())
    assert torch.is_grad_enabled()


def test_the_random_method_is_the_control_of_the_bench() -> None:
    texts = [TEXT, "a bad film"]
    for seed in (0, 3):
        own = explain(classifier(), texts, METHODS["random"](seed=seed))
        control = random_explanations(subjects(classifier(), texts, seed=seed), classifier().labels)
        assert [each.scores for each in own] == [each.scores for each in control]
    found = evaluate(
        classifier(),
        EvaluationData("two", texts, [None, None]),
        methods=["attnlrp", "random"],
        metrics=["aopc"],
    )
    assert found.methods == ("attnlrp", "random")


def test_all_leaves_out_what_refuses_long_texts() -> None:
    assert {"lime", "random", "partition_shap"} <= set(GROUPS["all"])
    assert "exact_shapley" not in GROUPS["all"]


# --- a masked language model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = BertForMaskedLM(tiny.bert_config(tiny.wordpiece(), initializer_range=0.3)).eval()
    return tiny.save(tmp_path_factory.mktemp("masked"), model, tiny.wordpiece())


def guesses(folder: Path, ids: Tensor, places: Sequence[int]) -> Tensor:
    """The probability of each token at each of these places, all masked; of special ones 0."""
    model = BertForMaskedLM.from_pretrained(folder).eval()
    masked = ids.clone()
    masked[list(places)] = 4
    with torch.no_grad():
        logits = model(input_ids=masked[None]).logits[0, list(places)].double()
    logits[:, [0, 1, 2, 3, 4]] = -torch.inf
    return logits.softmax(-1)


@pytest.mark.parametrize("target", [1, (0, 1)])
def test_input_marginalisation_is_its_literal_version(masked: Path, target: Any) -> None:
    [found] = explain(
        classifier(), SHORT, "input_marginalisation", target=target, model=str(masked), samples=7
    )
    ids = classifier().tokenizer(SHORT, return_tensors="pt")["input_ids"][0]

    def log_odds(probabilities: Tensor) -> float:
        one = probabilities[1] if target == 1 else probabilities[0]
        other = 1 - one if target == 1 else probabilities[1]
        return math.log2(float(one) / float(other))

    def likely(changed: Tensor) -> Tensor:
        with torch.no_grad():
            return classifier().model(input_ids=changed[None]).logits[0].softmax(-1)

    for place, token in enumerate(found.tokens):
        if token.special:
            assert token.score == 0.0
            continue
        best = guesses(masked, ids, [place])[0].topk(7)
        shares = best.values / best.values.sum()
        mean = torch.zeros(2, dtype=torch.float64)
        for share, other in zip(shares, best.indices, strict=True):
            changed = ids.clone()
            changed[place] = other
            mean += share * likely(changed)
        assert token.score == pytest.approx(log_odds(likely(ids)) - log_odds(mean), rel=1e-4, abs=1e-5)
    batch = explain(
        classifier(), ["a bad film", SHORT], f"input_marginalisation:model={masked},samples=7", target
    )
    assert batch[1].scores == pytest.approx(found.scores, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("quantity", ["probability", "entropy"])
def test_input_marginalisation_of_other_numbers(masked: Path, quantity: str) -> None:
    spec = f"input_marginalisation:model={masked}"
    [found] = explain(classifier(), SHORT, spec, target=1, quantity=quantity)
    [odds] = explain(classifier(), SHORT, spec, target=1)
    assert all(map(math.isfinite, found.scores))
    if quantity == "probability":
        assert [math.copysign(1, s) for s in found.scores] == [math.copysign(1, s) for s in odds.scores]


def test_words_are_replaced_by_what_a_language_model_writes(masked: Path) -> None:
    units = unit_tokens(SHORT, "word")
    ids = classifier().tokenizer(SHORT, return_tensors="pt")["input_ids"][0]

    def output(kept: frozenset[int]) -> float:
        gone = [place for index, places in enumerate(units) if index not in kept for place in places]
        changed = ids.clone()
        if gone:
            changed[gone] = guesses(masked, ids, gone).argmax(-1)
        with torch.no_grad():
            return float(classifier().model(input_ids=changed[None]).logits[0, 1])

    spec = f"leave_one_out:by=infill,model={masked}"
    found = explain(
        classifier(), [SHORT, "a bad film"], [spec, f"kernel_shap:by=infill,model={masked}"], target=1
    )
    everybody = frozenset(range(len(units)))
    expected = [output(everybody) - output(everybody - {unit}) for unit in everybody]
    assert [word.score for word in found[create(spec).spec][0].words()] == pytest.approx(
        expected, rel=1e-8, abs=1e-9
    )
    books = found[f"kernel_shap:by=infill,model={masked}"][0].completeness
    assert books is not None
    assert books.biases == pytest.approx(output(frozenset()), rel=1e-8)


def test_a_language_model_has_to_be_given_and_to_fit(masked: Path, tmp_path: Path) -> None:
    for method in ("input_marginalisation", "lime:by=infill"):
        with pytest.raises(
            UsageError, match="needs a masked language model of the classifier's own vocabulary"
        ):
            explain(classifier(), "good", method)
    tokenizer = tiny.byte_level()
    other = Classifier(tiny.roberta(tokenizer), tokenizer)
    for method in ("input_marginalisation", "lime:by=infill,samples=4"):
        with pytest.raises(UsageError, match="to have the vocabulary of the classifier"):
            explain(other, "good", create(method, {"model": str(masked)}))
