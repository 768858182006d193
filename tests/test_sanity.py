"""Sanity metrics: what they change, what they leave alone, and slow literal versions of their numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny
from models import FAMILIES, Toy, configs, make, pre_norm
from test_borrowed import assert_unchanged, snapshot
from whybert import (
    STANDARD,
    Classifier,
    Explanation,
    UnknownNameError,
    UnsupportedModelError,
    attribute,
    explain,
)
from whybert.attribution import attribute_all
from whybert.evaluation import sanity
from whybert.evaluation.metric import ModelMetric, Score, Subject
from whybert.evaluation.sanity import SANITY, MaxSensitivity, parts, shuffle
from whybert.evaluation.subjects import subjects as subjects_of
from whybert.positions import in_order

TEXTS = [
    "the film was good and the actors were great",
    "a bad film",
    "don't you think so? a well-made film",
    "good",
]
ALL = tuple(STANDARD)
FOUR = ("bert", "roberta", "distilbert", "albert")
CASCADING, INDEPENDENT = SANITY["randomisation-cascading"], SANITY["randomisation-independent"]


def classifier(family: str = "bert", biases: bool = True, **changes: Any) -> Classifier:
    tokenizer = tiny.byte_level() if family == "roberta" else tiny.wordpiece()
    config = configs(**changes)[family]
    config.vocab_size = len(tokenizer)
    return Classifier(make(config, biases=biases), tokenizer)


Case = tuple[Classifier, list[Subject], dict[str, list[Explanation]]]


def case(
    family: str = "bert",
    methods: Sequence[str] = ALL,
    texts: Sequence[str] = TEXTS,
    seed: int = 0,
    biases: bool = True,
    **changes: Any,
) -> Case:
    judged = classifier(family, biases, **changes)
    return (judged, *explained(judged, methods, texts, seed))


def explained(
    judged: Classifier, methods: Sequence[str], texts: Sequence[str], seed: int = 0
) -> tuple[list[Subject], dict[str, list[Explanation]]]:
    rows = subjects_of(judged, list(texts), seed=seed)
    return rows, explain(judged, list(texts), list(methods), [row.target for row in rows])


def assert_close(found: Mapping[str, list[Score]], expected: Mapping[str, list[Score]]) -> None:
    assert list(found) == list(expected)
    for method in found:
        for one, other in zip(found[method], expected[method], strict=True):
            np.testing.assert_allclose(one.value, other.value, rtol=1e-7, atol=1e-10, err_msg=method)
            np.testing.assert_allclose(one.curve, other.curve, rtol=1e-7, atol=1e-10, err_msg=method)


# --- parts ------------------------------------------------------------------------------------------------

# What neither the layers nor the embedding block hold, and a layer reads all the same.
READ_BY_LAYERS = {
    "electra": ("electra.embeddings_project.",),
    "albert": ("albert.encoder.embedding_hidden_mapping_in.",),
    "deberta": ("deberta.encoder.rel_embeddings.",),
    "deberta-v2": ("deberta.encoder.rel_embeddings.", "deberta.encoder.LayerNorm."),
    "mpnet": ("mpnet.encoder.relative_attention_bias.",),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_hold_each_parameter_once_from_top_to_bottom(family: str) -> None:
    model = make(family)
    found = parts(model)
    layers = ["layer 1"] if family == "albert" else ["layer 2", "layer 1"]
    assert [name for name, _ in found] == ["head", *layers, "embeddings"]
    listed = [name for _, names in found for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())

    def part_of(name: str) -> str:
        for word in (".layer.", ".layers.", ".albert_layer_groups."):
            _, within, after = name.partition(word)
            if within:
                return f"layer {int(after.partition('.')[0]) + 1}"
        low = ".embeddings." in name or name.startswith(READ_BY_LAYERS.get(family, ("-",)))
        return "embeddings" if low else "head"

    for part, names in found:
        assert names
        assert {part_of(name) for name in names} == {part}


def test_the_norm_behind_the_last_layer_is_of_the_head() -> None:
    assert any("LayerNorm" in name and ".layer." not in name for name in dict(parts(pre_norm()))["head"])
    assert "model.final_norm.weight" in dict(parts(make("modernbert")))["head"]


def test_more_layers_are_more_parts() -> None:
    found = parts(make("bert", num_hidden_layers=4))
    assert [name for name, _ in found] == ["head", *(f"layer {n}" for n in (4, 3, 2, 1)), "embeddings"]


def test_a_tied_parameter_is_in_one_part_and_frozen_ones_are_as_others() -> None:
    model = make("bert")
    expected = parts(model)
    model.requires_grad_(False)
    assert parts(model) == expected
    first, second = model.bert.encoder.layer
    second.output.dense.bias = first.output.dense.bias
    tied = parts(model)
    listed = [name for _, names in tied for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    assert len(listed) == sum(len(names) for _, names in expected) - 1


def test_a_model_without_layers_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="ModuleList, found none in Toy"):
        parts(Toy())


def test_shuffling_permutes_the_named_parameters_alone() -> None:
    model, again, other = make("bert"), make("bert"), make("bert")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    names = ["classifier.weight", "bert.encoder.layer.1.output.dense.weight"]
    state = torch.get_rng_state()
    shuffle(model, names, 3)
    shuffle(again, names[::-1], 3)
    shuffle(other, names, 4)
    assert torch.equal(state, torch.get_rng_state())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in names), name
        assert torch.equal(parameter.flatten().sort().values, before[name].flatten().sort().values)
        assert torch.equal(parameter, again.get_parameter(name))
        assert torch.equal(parameter, other.get_parameter(name)) == (name not in names)


# --- randomisation ----------------------------------------------------------------------------------------


def changed_at_each_step(metric: ModelMetric, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[set[str]]]:
    judged, rows, given = case(methods=["gi"])
    original = {name: value.detach().clone() for name, value in judged.model.named_parameters()}
    changed: list[set[str]] = []

    def spy(asked: Classifier, *arguments: Any, **options: Any) -> Any:
        assert asked.model is not judged.model
        now = asked.model.named_parameters()
        changed.append({name for name, value in now if not torch.equal(value, original[name])})
        return explain(asked, *arguments, **options)

    monkeypatch.setattr(sanity, "explain", spy)
    metric(judged, rows, given)
    return parts(judged.model), changed


def test_cascading_changes_exactly_the_parts_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    found, changed = changed_at_each_step(CASCADING, monkeypatch)
    for step in range(len(found)):
        assert changed[step] == {name for _, names in found[: step + 1] for name in names}
    assert len(changed) == len(found) == 4


def test_independent_changes_exactly_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    found, changed = changed_at_each_step(INDEPENDENT, monkeypatch)
    assert changed == [set(names) for _, names in found]


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the lowest; equal values share their mean rank."""
    return [
        1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def literal_spearman(first: Sequence[float], second: Sequence[float]) -> float:
    a, b = ranks(first), ranks(second)
    mean = (len(a) + 1) / 2
    product = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    size = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return product / math.sqrt(size) if size else math.nan


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("family", FOUR)
def test_cascading_is_its_literal_version(family: str, method: str) -> None:
    judged, rows, given = case(family, ALL)
    found = CASCADING(judged, rows, given, batch_size=3)[method][0]
    before = [word.score for word in explain(judged, TEXTS[0], method)[0].words()]
    curve = []
    for step in range(1, len(parts(judged.model)) + 1):
        model = copy.deepcopy(judged.model)
        for _, names in parts(judged.model)[:step]:
            for name in names:
                shuffle(model, [name], 0)
        (after,) = explain(Classifier(model, judged.tokenizer), TEXTS[0], method, rows[0].target)
        curve.append(abs(literal_spearman(before, [word.score for word in after.words()])))
    assert found.curve == pytest.approx(curve, abs=1e-12)
    assert found.value == pytest.approx(sum(curve) / len(curve), abs=1e-12)
    assert 0.0 < found.value < 1.0


def test_a_turned_sign_is_no_independence(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, rows, given = case(methods=["attnlrp"], texts=TEXTS[:3])

    def turned(*arguments: Any, **options: Any) -> dict[str, list[Explanation]]:
        return {
            name: [
                replace(each, tokens=tuple(replace(t, score=-t.score) for t in each.tokens)) for each in row
            ]
            for name, row in given.items()
        }

    monkeypatch.setattr(sanity, "explain", turned)
    for score in CASCADING(judged, rows, given)["attnlrp"]:
        assert score.curve == pytest.approx((1.0,) * 4)
        assert score.value == pytest.approx(1.0)


def test_an_explanation_that_is_constant_is_undefined() -> None:
    judged = classifier()
    with torch.no_grad():
        judged.model.classifier.weight.zero_()  # the logits are the bias whatever the text
    rows, given = explained(judged, ["gs"], TEXTS)
    for name in ("randomisation-cascading", "randomisation-independent", "random-logit", "max-sensitivity"):
        found = SANITY[name](judged, rows, given)
        assert all(math.isnan(score.value) for score in found["gs"])


def test_a_step_that_is_undefined_is_left_out_of_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, rows, given = case(methods=["gi"], texts=TEXTS[:1])
    steps = iter(range(9))

    def constant_first(*arguments: Any, **options: Any) -> dict[str, list[Explanation]]:
        if next(steps):
            return given
        words = given["gi"][0].words()
        share = {word.tokens: 1.0 / len(word.tokens) for word in words}
        scores = {token: value for tokens, value in share.items() for token in tokens}
        tokens = tuple(
            replace(t, score=scores.get(place, 0.0)) for place, t in enumerate(given["gi"][0].tokens)
        )
        return {"gi": [replace(given["gi"][0], tokens=tokens)]}

    monkeypatch.setattr(sanity, "explain", constant_first)
    (score,) = CASCADING(judged, rows, given)["gi"]
    assert math.isnan(score.curve[0])
    assert score.curve[1:] == pytest.approx((1.0,) * 3)
    assert score.value == pytest.approx(1.0)


# --- another class ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [2, 3])
def test_random_logit_is_its_literal_version(labels: int) -> None:
    judged, rows, given = case(methods=ALL, num_labels=labels)
    found = SANITY["random-logit"](judged, rows, given)
    for place, row in enumerate(rows[:3]):
        other = int(np.random.default_rng(row.tie_seed).integers(labels - 1))
        other = [each for each in range(labels) if each != row.target][other]
        for method in ALL:
            one, two = (explain(judged, row.row.text, method, each)[0] for each in (row.target, other))
            expected = literal_spearman([w.score for w in one.words()], [w.score for w in two.words()])
            assert found[method][place].value == pytest.approx(expected, abs=1e-12)
    assert [score.value for score in found["lat"]][:3] == pytest.approx([1.0] * 3)
    assert math.isnan(found["lat"][3].value)  # one word
    assert found["attnlrp"][0].value < 0.99


def test_the_other_class_is_each_of_the_remaining_ones_at_times() -> None:
    judged = classifier(num_labels=4)
    (row,) = subjects_of(judged, ["a bad film"])
    drawn = [sanity._other_class(replace(row, target=2, seed=seed), 4) for seed in range(200)]
    assert set(drawn) == {0, 1, 3}
    assert all(40 < drawn.count(each) < 95 for each in (0, 1, 3))


def test_random_logit_of_a_model_with_one_label_is_undefined() -> None:
    judged, rows, given = case(methods=["gi"], num_labels=1)
    found = SANITY["random-logit"](judged, rows, given)["gi"]
    assert len(found) == len(TEXTS)
    assert all(math.isnan(score.value) for score in found)


# --- completeness -----------------------------------------------------------------------------------------


def test_completeness_error() -> None:
    judged, rows, given = case(methods=ALL, biases=False)
    found = SANITY["completeness-error"](judged, rows, given)
    assert max(score.value for score in found["cp_lrp"]) < 1e-10  # no bias, attention held constant
    for method in ("gs", "gi", "lat"):
        assert all(math.isnan(score.value) for score in found[method])
    biased = case(methods=["cp_lrp"])
    found = SANITY["completeness-error"](*biased)
    for score, each in zip(found["cp_lrp"], biased[2]["cp_lrp"], strict=True):
        logit = each.logits[each.target.index]
        assert score.value == pytest.approx(abs(sum(each.scores) - logit) / abs(logit), rel=1e-9)
        assert score.value > 1e-3


def test_completeness_error_for_an_output_of_zero_is_undefined() -> None:
    judged, rows, given = case(methods=["cp_lrp"])
    zero = [replace(e, completeness=replace(e.completeness, logit=0.0)) for e in given["cp_lrp"]]
    found = SANITY["completeness-error"](judged, rows, {"cp_lrp": zero})["cp_lrp"]
    assert all(math.isnan(score.value) for score in found)


# --- sensitivity ------------------------------------------------------------------------------------------

BLOCKS = {
    "bert": "bert.embeddings",
    "roberta": "roberta.embeddings",
    "distilbert": "distilbert.embeddings",
    "albert": "albert.embeddings",
}


@pytest.mark.parametrize("family", FOUR)
def test_max_sensitivity_is_its_literal_version(family: str) -> None:
    judged, rows, given = case(family)
    metric = replace(SANITY["max-sensitivity"], draws=3, radius=0.05)
    found = metric(judged, rows, given, batch_size=3)
    for place, row in enumerate(rows):
        model = copy.deepcopy(judged.model)
        block = model.get_submodule(BLOCKS[family])
        inputs = {name: torch.tensor([values]) for name, values in row.row.features.items()}
        seen: list[Tensor] = []
        handle = block.register_forward_hook(lambda *call, seen=seen: seen.append(call[-1].detach().clone()))
        model(**inputs)
        handle.remove()
        (embedding,) = seen
        mean = sum(embedding.flatten().tolist()) / embedding.numel()
        variance = sum((x - mean) ** 2 for x in embedding.flatten().tolist()) / (embedding.numel() - 1)
        generator = torch.Generator().manual_seed(row.tie_seed)
        largest = dict.fromkeys(ALL, 0.0)
        for _ in range(3):
            noise = torch.rand(embedding.shape[1:], generator=generator, dtype=torch.float64)
            noisy = embedding + 0.05 * math.sqrt(variance) * (2.0 * noise - 1.0)
            block.forward = lambda *a, noisy=noisy, **k: noisy.clone()
            for method in ALL:
                after = attribute(model, inputs, method, row.target).scores[0].tolist()
                before = given[method][place].scores
                change = math.dist(after, before) / math.hypot(*before)
                largest[method] = max(largest[method], change)
        for method in ALL:
            assert found[method][place].value == pytest.approx(largest[method], rel=1e-6), method
            assert found[method][place].value > 0.0


def test_no_noise_no_change() -> None:
    found = replace(SANITY["max-sensitivity"], draws=1, radius=0.0)(*case())
    assert all(score.value < 1e-9 for scores in found.values() for score in scores)


def test_padding_gets_no_noise() -> None:
    judged, rows, _ = case(methods=["gi"])
    ((indices, batch),) = sanity.batches(judged, TEXTS, 4)
    shape = (*batch.inputs["input_ids"].shape, 8)
    embedding = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    generators = [torch.Generator().manual_seed(rows[index].tie_seed) for index in indices]
    changed = sanity._Noise(0.5, batch.rows, generators, in_order(batch.inputs["input_ids"]))
    noise = changed(embedding) - embedding
    assert torch.equal(changed(embedding), embedding + noise)  # each pass of one question has the same noise
    for row, index in enumerate(indices):
        count = rows[index].row.token_count
        assert not noise[row, count:].any()
        bound = 0.5 * embedding[row, :count].std()
        assert bool((noise[row, :count] != 0).all())
        assert float(noise[row, :count].abs().max()) <= bound
        assert float(noise[row, :count].abs().max()) > 0.8 * bound
    assert rows[indices[-1]].row.token_count < shape[1]


# --- all of them ------------------------------------------------------------------------------------------

SMALL = {**SANITY, "max-sensitivity": replace(SANITY["max-sensitivity"], draws=2)}


@pytest.mark.parametrize("name", SANITY)
@pytest.mark.parametrize("family", FOUR)
def test_the_batch_does_not_matter(family: str, name: str) -> None:
    judged, rows, given = case(family)
    together = SMALL[name](judged, rows, given, batch_size=4)
    assert_close(SMALL[name](judged, rows, given, batch_size=1), together)
    last = SMALL[name](judged, rows[1:2], {method: each[1:2] for method, each in given.items()})
    assert_close(last, {method: each[1:2] for method, each in together.items()})


@pytest.mark.parametrize("name", SANITY)
def test_a_seed_repeats_and_another_one_differs(name: str) -> None:
    judged, rows, given = case()
    first, again = (SMALL[name](judged, rows, given) for _ in range(2))
    assert repr(first) == repr(again)
    others = [SMALL[name](judged, [replace(row, seed=seed) for row in rows], given) for seed in range(1, 6)]
    assert all(repr(other) == repr(first) for other in others) == (name == "completeness-error")


@pytest.mark.parametrize("name", SANITY)
def test_advance_is_called_as_often_as_steps_says(name: str) -> None:
    for family, methods in (("bert", ALL), ("albert", ("gi",))):
        judged, rows, given = case(family, methods)
        calls: list[None] = []
        found = SMALL[name](judged, rows, given, advance=lambda calls=calls: calls.append(None))
        assert len(calls) == SMALL[name].steps(judged, methods)
        assert list(found) == list(methods)
        assert all(len(scores) == len(rows) for scores in found.values())
        assert SMALL[name](judged, [], {method: [] for method in methods}) == {m: [] for m in methods}


@pytest.mark.parametrize("name", [name for name in SANITY if name != "completeness-error"])
def test_options_reach_the_methods(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged, rows, _ = case()
    options = {"reduction": "sum", "residual": "once"}
    methods = ["lrp:residual=once,reduction=sum", "attnlrp"]
    given = explain(judged, TEXTS, methods, [row.target for row in rows])
    used: list[dict[str, Any]] = []
    for function in (explain, attribute_all):

        def spy(*arguments: Any, function: Any = function, **asked: Any) -> Any:
            found = function(*arguments, **asked)
            row = found[methods[0]][0] if function is explain else found[methods[0]]
            used.append({option: row.options[option] for option in options})
            return found

        monkeypatch.setattr(sanity, function.__name__, spy)
    assert list(SMALL[name](judged, rows, given)) == methods
    assert used
    assert all(each == options for each in used)
    with pytest.raises(UnknownNameError):
        SMALL[name](judged, rows, {"nonsense": given["attnlrp"]})


def busy() -> Classifier:
    """A model with what a user may have done to it: hooks, frozen weights, gradients."""
    judged = classifier()
    for index, parameter in enumerate(judged.model.parameters()):
        if index % 3 == 0:
            parameter.requires_grad_(False)
        elif index % 3 == 1:
            parameter.grad = torch.full_like(parameter, 0.5)
    judged.model.bert.embeddings.register_forward_hook(lambda *_: None)
    judged.model.classifier.register_full_backward_hook(lambda *_: None)
    judged.model.register_buffer("a_buffer", torch.ones(3))
    return judged


@pytest.mark.parametrize("context", ["plain", "inference_mode"])
@pytest.mark.parametrize("name", SANITY)
def test_the_model_and_the_random_state_are_untouched(name: str, context: str) -> None:
    judged = busy()
    rows, given = explained(judged, ALL, TEXTS)
    expected = SMALL[name](judged, rows, given)
    before, state, legacy = snapshot(judged.model), torch.get_rng_state(), repr(np.random.get_state())
    with torch.inference_mode(context == "inference_mode"):
        found = SMALL[name](judged, rows, given)
    assert_unchanged(before, snapshot(judged.model))
    assert torch.equal(state, torch.get_rng_state())
    assert legacy == repr(np.random.get_state())
    assert_close(found, expected)


class _StopError(Exception):
    pass


def _stop(*_: Any) -> None:
    raise _StopError


@pytest.mark.parametrize("name", [name for name in SANITY if name != "completeness-error"])
def test_the_model_is_untouched_after_an_error(name: str) -> None:
    judged = busy()
    rows, given = explained(judged, ALL, TEXTS)
    before = snapshot(judged.model)
    with pytest.raises(_StopError):
        SMALL[name](judged, rows, given, advance=_stop)
    assert_unchanged(before, snapshot(judged.model))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_the_copy_carries_no_hook_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = busy()
    rows, given = explained(judged, ALL, TEXTS)
    copies: list[nn.Module] = []

    def kept(model: nn.Module) -> nn.Module:
        copies.append(copy.deepcopy(model))
        return copies[-1]

    monkeypatch.setattr(sanity, "_copied", kept)
    SMALL["randomisation-cascading"](judged, rows, given)
    assert len(copies) == 1
    assert hooks(copies[0]) == hooks(judged.model) == 1


@pytest.mark.parametrize("name", ["random-logit", "completeness-error", "max-sensitivity"])
def test_what_changes_no_weights_copies_no_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged, rows, given = case()
    monkeypatch.setattr(copy, "deepcopy", _stop)
    SMALL[name](judged, rows, given)


def test_a_model_in_train_mode_is_refused_before_anything_is_drawn() -> None:
    judged, rows, given = case()
    judged.model.train()
    state = torch.get_rng_state()
    for name in ("randomisation-cascading", "max-sensitivity"):
        with pytest.raises(UnsupportedModelError, match="train mode"):
            SMALL[name](judged, rows, given)
    assert torch.equal(state, torch.get_rng_state())


def test_the_table() -> None:
    assert list(SANITY) == [metric.name for metric in SANITY.values()]
    assert all(metric.group == "sanity" and not metric.higher_is_better for metric in SANITY.values())
    assert all(metric.summary and metric.source and metric.grid == () for metric in SANITY.values())
    assert isinstance(SANITY["max-sensitivity"], MaxSensitivity)
    assert SANITY["max-sensitivity"].texts == 25
