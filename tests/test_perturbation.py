"""Removals: what each perturbation does to the model's input, and many of them answered together."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from whybert.classifier import Classifier
from whybert.encoding import EncodedText, Text
from whybert.errors import InputError, NonFiniteError, TargetError, UnknownNameError, UsageError
from whybert.evaluation.metric import Score, Subject
from whybert.evaluation.subjects import subjects
from whybert.evaluation.walks import Job, Outcomes, Walk, run
from whybert.perturbation import PERTURBATIONS, perturbation

MIXED = ["the film was good and charming", "bad", "don't you think so? a well-made film.", "a bad film"]
PAIRS = [("the film was good", "you think so"), ("a well-made film", "don't"), ("bad", "the actors were")]

# A batch and a single row are summed in another order: float64 errs by 1e-16 of numbers of size 1 to 10 in
# each of a few hundred steps.  A wrong input changes these logits by more than 1e-3.
TOLERANCE = 1e-11


def tiny_classifier(family: str, **options: Any) -> Classifier:
    if family == "bert":
        tokenizer = tiny.wordpiece()
        return Classifier(tiny.bert(tokenizer, **options).double(), tokenizer)
    tokenizer = tiny.byte_level()
    return Classifier(tiny.roberta(tokenizer, **options).double(), tokenizer)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return tiny_classifier(request.param)


@pytest.fixture(scope="module")
def bert() -> Classifier:
    return tiny_classifier("bert")


def words_of(row: EncodedText) -> list[list[int]]:
    """The tokens of each word, from the row's own columns."""
    return [
        [token for token, own in enumerate(row.word_ids) if own == word]
        for word in range(len(row.word_spans))
    ]


def tokens_of(row: EncodedText) -> list[list[int]]:
    return [[token] for token, special in enumerate(row.special) if not special]


def removed(row: EncodedText, units: Sequence[Sequence[int]], removal: int) -> list[int]:
    return sorted(token for unit, tokens in enumerate(units) if removal >> unit & 1 for token in tokens)


def slow_input(
    row: EncodedText, gone: Sequence[int], kind: str, tokenizer: Any
) -> Mapping[str, Sequence[int]]:
    """The model's input of a text without the tokens `gone`, token by token."""
    columns: dict[str, list[int]] = {name: [] for name in row.features}
    for token in range(len(row.tokens)):
        if token in gone and kind == "delete":
            continue
        for name, values in row.features.items():
            value = values[token]
            if token in gone and name == "input_ids":
                value = {"mask": tokenizer.mask_token_id, "pad": tokenizer.pad_token_id, "zero": 0}[kind]
            if token in gone and name == "attention_mask" and kind == "pad":
                value = 0
            columns[name].append(value)
    return columns


def slow_logits(classifier: Classifier, features: Mapping[str, Sequence[int]]) -> list[float]:
    """What the model says about one input, asked for it alone."""
    inputs = {name: torch.tensor([list(values)]) for name, values in features.items()}
    with torch.no_grad():
        return classifier.model(**inputs).logits[0].tolist()


def asking(*rounds: Sequence[int], into: list[Outcomes] | None = None) -> Walk:
    """A walk that asks for these removals, round by round, and returns how many they were."""
    for removals in rounds:
        outcomes = yield removals
        if into is not None:
            into.append(outcomes)
    return Score(float(sum(map(len, rounds))))


def answers(
    classifier: Classifier,
    subject: Subject,
    removals: Sequence[int],
    kind: str = "delete",
    level: Any = "word",
    **options: Any,
) -> Outcomes:
    found: list[Outcomes] = []
    run(classifier, [Job(subject, level, kind, asking(removals, into=found))], **options)
    return found[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Classifier], list[dict[str, torch.Tensor]]]:
    """Let a model note the inputs of each of its forward passes from now on."""

    def note(classifier: Classifier) -> list[dict[str, torch.Tensor]]:
        batches: list[dict[str, torch.Tensor]] = []
        forward = type(classifier.model).forward

        def noting(self: Any, **inputs: Any) -> Any:
            batches.append(inputs)
            return forward(self, **inputs)

        monkeypatch.setattr(type(classifier.model), "forward", noting)
        return batches

    return note


# One perturbation at a time


def test_perturbations_by_hand() -> None:
    tokenizer = tiny.wordpiece()
    (row,) = Classifier(tiny.bert(tokenizer), tokenizer).tokenize(["a b c"])
    a, b, c = (tokenizer.convert_tokens_to_ids(letter) for letter in "abc")
    # [CLS] a b c [SEP] with the ids 2, a, b, c, 3; [MASK] is 4 and [PAD] 0.
    ones, zeros = [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]
    assert dict(row.features) == {
        "input_ids": (2, a, b, c, 3),
        "token_type_ids": tuple(zeros),
        "attention_mask": tuple(ones),
    }
    expected = {
        "mask": {"input_ids": [2, 4, b, 4, 3], "token_type_ids": zeros, "attention_mask": ones},
        "pad": {"input_ids": [2, 0, b, 0, 3], "token_type_ids": zeros, "attention_mask": [1, 0, 1, 0, 1]},
        "zero": {"input_ids": [2, 0, b, 0, 3], "token_type_ids": zeros, "attention_mask": ones},
        "delete": {"input_ids": [2, b, 3], "token_type_ids": [0, 0, 0], "attention_mask": [1, 1, 1]},
    }
    assert set(expected) == set(PERTURBATIONS)
    for kind, inputs in expected.items():
        found = perturbation(kind).apply(row.features, [1, 3], tokenizer)
        assert {name: list(values) for name, values in found.items()} == inputs


@pytest.mark.parametrize("texts", [MIXED, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("kind", PERTURBATIONS)
@pytest.mark.parametrize("name", tiny.TOKENIZERS)
def test_perturbations_change_the_tokens_they_are_told_to(name: str, kind: str, texts: list[Text]) -> None:
    tokenizer = tiny.TOKENIZERS[name]()
    draw = random.Random(3)
    for row in Classifier(tiny.bert(tokenizer), tokenizer).tokenize(texts):
        before = {column: list(values) for column, values in row.features.items()}
        candidates = [token for token, special in enumerate(row.special) if not special]
        for count in {0, 1, len(candidates) // 2, len(candidates)}:
            gone = draw.sample(candidates, count)  # in any order
            found = perturbation(kind).apply(row.features, gone, tokenizer)
            expected = slow_input(row, gone, kind, tokenizer)
            assert {column: list(values) for column, values in found.items()} == expected
        assert {column: list(values) for column, values in row.features.items()} == before


def test_token_types_of_a_pair_stay_with_their_tokens() -> None:
    tokenizer = tiny.wordpiece()
    (row,) = Classifier(tiny.bert(tokenizer), tokenizer).tokenize([("a b", "c d")])
    assert row.features["token_type_ids"] == (0, 0, 0, 0, 1, 1, 1)  # [CLS] a b [SEP] c d [SEP]
    found = perturbation("delete").apply(row.features, [1, 5], tokenizer)
    assert list(found["token_type_ids"]) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("kind", "options", "inputs", "message"),
    [
        ("mask", {"mask_token": None}, None, "mask token"),
        ("pad", {"pad_token": None}, None, "padding token"),
        ("pad", {}, ["input_ids"], "attention mask"),
    ],
)
def test_perturbations_say_what_the_tokenizer_lacks(
    kind: str, options: dict[str, Any], inputs: list[str] | None, message: str
) -> None:
    tokenizer = tiny.byte_level(**options)
    if inputs is not None:
        tokenizer.model_input_names = inputs
    classifier = Classifier(tiny.roberta(tokenizer), tokenizer)
    (subject,) = subjects(classifier, ["a film"])
    with pytest.raises(UsageError, match=f"{message}.*use 'delete'"):
        perturbation(kind).apply(subject.row.features, [1], tokenizer)
    with pytest.raises(UsageError, match=message):
        answers(classifier, subject, [1], kind)
    assert answers(classifier, subject, [1, 3], "delete").logits.shape == (2, 2)


def test_without_an_attention_mask_the_other_perturbations_work() -> None:
    tokenizer = tiny.byte_level()
    tokenizer.model_input_names = ["input_ids"]
    classifier = Classifier(tiny.roberta(tokenizer).double(), tokenizer)
    (subject,) = subjects(classifier, ["a film was bad"])
    units = words_of(subject.row)
    for kind in ("mask", "delete", "zero"):
        (found,) = answers(classifier, subject, [0b0101], kind).logits
        gone = removed(subject.row, units, 0b0101)
        expected = slow_logits(classifier, slow_input(subject.row, gone, kind, tokenizer))
        assert found == pytest.approx(expected, abs=TOLERANCE)


def test_unknown_perturbation() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'delete'"):
        perturbation("delte")


# Many removals


@pytest.mark.parametrize("level", ["word", "token"])
@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_each_removal_is_what_the_model_says_when_asked_alone(
    classifier: Classifier, kind: str, level: Any
) -> None:
    draw = random.Random(level)
    differing = 0
    for texts in (MIXED, PAIRS):
        found: list[list[Outcomes]] = []
        jobs, expected = [], []
        for subject in subjects(classifier, texts):
            units = (words_of if level == "word" else tokens_of)(subject.row)
            everything = (1 << len(units)) - 1
            removals = [0, 1, everything, everything >> 1, *(draw.randint(0, everything) for _ in range(6))]
            found.append([])
            jobs.append(Job(subject, level, kind, asking(removals, into=found[-1])))
            expected.append(
                [
                    slow_logits(
                        classifier,
                        slow_input(
                            subject.row, removed(subject.row, units, removal), kind, classifier.tokenizer
                        ),
                    )
                    for removal in removals
                ]
            )
        assert [score.value for score in run(classifier, jobs)] == [10.0] * len(texts)
        for (outcomes,), logits in zip(found, expected, strict=True):
            assert outcomes.logits == pytest.approx(np.array(logits), abs=TOLERANCE)
            likely = torch.tensor(logits, dtype=torch.float64).softmax(-1).numpy()
            assert outcomes.probabilities == pytest.approx(likely, abs=TOLERANCE)
            differing += len({round(row[0], 3) for row in logits})
    assert differing > 30  # the removals matter to the model, so equal answers say something


def test_the_empty_removal_is_the_plain_model(classifier: Classifier, asked) -> None:
    for texts in (MIXED, PAIRS):
        for subject, text in zip(subjects(classifier, texts), texts, strict=True):
            plain = slow_logits(classifier, subject.row.features)
            prediction = classifier.predict(text)[0]
            batches = asked(classifier)
            for kind in PERTURBATIONS:
                outcomes = answers(classifier, subject, [0], kind)
                assert outcomes.logits[0] == pytest.approx(plain, abs=TOLERANCE)
                assert outcomes.probabilities[0] == pytest.approx(prediction.probabilities, abs=TOLERANCE)
            assert batches == []  # it is known from the subject


def test_without_all_units_the_special_tokens_remain(bert: Classifier) -> None:
    for text, specials in (("a bad film", [2, 3]), (("a bad film", "good"), [2, 3, 3])):
        (subject,) = subjects(bert, [text])
        everything = (1 << len(subject.units("word"))) - 1
        types = [0, 0, 1][: len(specials)]
        expected = slow_logits(
            bert,
            {"input_ids": specials, "token_type_ids": types, "attention_mask": [1] * len(specials)},
        )
        assert answers(bert, subject, [everything]).logits[0] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_special_tokens_are_never_changed_or_removed(classifier: Classifier, kind: str, asked) -> None:
    special_ids = {"bert": {2, 3}, "roberta": {0, 2}}[classifier.model.config.model_type]
    for texts in (MIXED, PAIRS):
        for subject in subjects(classifier, texts):
            ids = subject.row.features["input_ids"]
            places = [place for place, special in enumerate(subject.row.special) if special]
            assert [ids[place] in special_ids for place in places] == [True] * len(places)
            batches = asked(classifier)
            everything = (1 << len(subject.units("word"))) - 1
            answers(classifier, subject, range(1, min(everything, 63) + 1), kind)
            answers(classifier, subject, [everything], kind)
            assert batches
            for batch in batches:
                for row, mask in zip(
                    batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True
                ):
                    if kind == "delete":
                        # None of the words is a special token, so they can be told by their ids.
                        assert [token for token in row if token in special_ids] == [ids[p] for p in places]
                        assert row[0] == ids[0]
                        assert row[-1] == ids[-1]
                    else:
                        assert [row[place] for place in places] == [ids[place] for place in places]
                        assert all(mask[place] for place in places)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_size_of_a_batch_changes_nothing(bert: Classifier, size: int, asked) -> None:
    texts = [*MIXED, "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c"]
    listed = subjects(bert, texts)
    found: dict[int, list[list[Outcomes]]] = {}
    batches = asked(bert)
    rows = {}
    for batch_size in (32, size):
        found[batch_size] = [[] for _ in texts]
        jobs = [
            Job(
                subject,
                "word",
                kind,
                asking([1 << unit for unit in range(len(subject.units("word")))], into=into),
            )
            for subject, into in zip(listed, found[batch_size], strict=True)
            for kind in PERTURBATIONS
        ]
        del batches[:]
        run(bert, jobs, batch_size=batch_size)
        rows[batch_size] = sum(len(batch["input_ids"]) for batch in batches)
        for batch in batches:  # 64 tokens are one text, and a longer text is a batch of its own
            count, width = batch["input_ids"].shape
            assert count == 1 or count * width <= batch_size * 64
    assert rows[32] == rows[size]
    for before, after in zip(found[32], found[size], strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.logits == pytest.approx(other.logits, abs=TOLERANCE)


def test_no_batch_holds_padding(bert: Classifier, asked) -> None:
    listed = subjects(bert, MIXED)
    batches = asked(bert)
    run(bert, [Job(listed[0], "word", kind, asking([1, 2, 3])) for kind in ("mask", "delete")])
    run(bert, [Job(subject, "word", "delete", asking([0, 1])) for subject in listed])
    assert batches
    assert all(batch["attention_mask"].all() for batch in batches)


def test_equal_removals_are_asked_once(bert: Classifier, asked) -> None:
    first, second = subjects(bert, ["a b c", "a b c"])  # one-token words: word i is token i
    batches = asked(bert)
    counts: list[int] = []
    into: list[list[Outcomes]] = [[] for _ in range(5)]
    jobs = [
        Job(first, "word", "delete", asking([1, 2, 2, 0], [3, 1], into=into[0])),
        Job(first, "token", "delete", asking([2, 4], [1], into=into[1])),
        Job(first, "word", "mask", asking([1], into=into[2])),
        Job(second, "word", "delete", asking([1], into=into[3])),
        Job(first, "word", "delete", asking(into=into[4])),
    ]
    scores = run(bert, jobs, advance=counts.append)
    assert [score.value for score in scores] == [6.0, 3.0, 1.0, 1.0, 0.0]
    # Of the first text 1, 2, 4 and 3 left out and 1 masked: 5 questions.  The second without 1 is the same
    # input as the first without it.
    assert sum(counts) == 5
    assert all(count > 0 for count in counts)
    assert sum(len(batch["input_ids"]) for batch in batches) == 5
    assert into[3][0].logits.tolist() == into[0][0].logits[:1].tolist()
    assert into[0][0].logits[1].tolist() == into[0][0].logits[2].tolist() == into[1][0].logits[0].tolist()
    assert into[0][0].logits[0].tolist() == into[0][1].logits[1].tolist() == into[1][1].logits[0].tolist()


def test_a_later_round_asks_only_for_what_is_new(bert: Classifier) -> None:
    (subject,) = subjects(bert, ["a b c d"])
    counts: list[int] = []
    walks = [asking([1], [1, 2], [1, 2, 4], [0b1111, 2]), asking([8], [4])]
    run(bert, [Job(subject, "word", "delete", walk) for walk in walks], advance=counts.append)
    assert sum(counts) == 5  # 1, 2, 4, 8 and all four


def test_walks_of_different_lengths_keep_their_order(bert: Classifier) -> None:
    listed = subjects(bert, MIXED)
    walks = [asking(*[[1]] * rounds) for rounds in (3, 0, 1, 2)]
    jobs = [Job(subject, "word", "mask", walk) for subject, walk in zip(listed, walks, strict=True)]
    assert [score.value for score in run(bert, iter(jobs))] == [3.0, 0.0, 1.0, 2.0]
    assert run(bert, []) == []


def test_outcomes_kept_is_where_the_highest_logit_stays() -> None:
    logits = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 5.0]])
    kept = Outcomes(logits, np.zeros_like(logits)).kept(1)
    assert kept.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("problem", "labels"),
    [("multi_label_classification", 3), ("regression", 1), ("single_label_classification", 3)],
)
def test_probabilities_are_those_of_the_problem_type(problem: str, labels: int) -> None:
    classifier = tiny_classifier("bert", problem_type=problem, num_labels=labels)
    (subject,) = subjects(classifier, ["a bad film"])
    outcomes = answers(classifier, subject, [0, 1, 6])
    for logits, likely in zip(outcomes.logits.tolist(), outcomes.probabilities.tolist(), strict=True):
        if problem == "single_label_classification":
            expected = [math.exp(x) / sum(map(math.exp, logits)) for x in logits]
        elif problem == "regression":  # its numbers take their place
            expected = logits
            assert subject.probabilities == ()
            assert subject.answers == subject.logits
        else:
            expected = [1 / (1 + math.exp(-x)) for x in logits]
        assert likely == pytest.approx(expected, abs=1e-14)  # one exp and one division
    assert outcomes.probabilities[0] == pytest.approx(subject.answers, abs=TOLERANCE)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_logits_that_are_no_numbers_name_the_text(batch_size: int) -> None:
    classifier = tiny_classifier("bert")
    with torch.no_grad():
        classifier.model.get_input_embeddings().weight[4] = math.nan  # [MASK], which no text holds
    listed = subjects(classifier, ["a bad film", "a good film", "the film was"], indices=[40, 41, 42])
    jobs = [
        Job(subject, "word", kind, asking([1, 2]))
        for subject, kind in zip(listed, ["zero", "mask", "zero"], strict=True)
    ]
    with pytest.raises(NonFiniteError, match="text 41") as caught:
        run(classifier, jobs, batch_size=batch_size)
    assert caught.value.index == 41
    assert "row" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "number seven" in str(caught.value.at("number seven"))


def test_model_and_tokenizer_are_afterwards_what_they_were(classifier: Classifier) -> None:
    model, tokenizer = classifier.model, classifier.tokenizer
    before = {name: value.clone() for name, value in model.state_dict().items()}
    backend = tokenizer.backend_tokenizer.to_str()
    for subject in subjects(classifier, MIXED):
        for kind in PERTURBATIONS:
            answers(classifier, subject, [1, 1 << (len(subject.units("word")) - 1)], kind)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(each.grad is None and each.requires_grad for each in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert tokenizer.backend_tokenizer.to_str() == backend
    assert torch.is_grad_enabled()


def test_a_walk_that_fails_lets_its_error_through(bert: Classifier) -> None:
    def failing() -> Iterator[Any]:
        yield [1]
        raise InputError("no")

    (subject,) = subjects(bert, ["a b"])
    with pytest.raises(InputError, match="no"):
        run(bert, [Job(subject, "word", "delete", failing())])


# Subjects


def test_subjects_are_what_the_model_reads_and_predicts(classifier: Classifier) -> None:
    for texts in (MIXED, PAIRS):
        listed = subjects(classifier, texts)
        for place, (subject, text) in enumerate(zip(listed, texts, strict=True)):
            (prediction,) = classifier.predict(text)
            assert (subject.row,) == classifier.tokenize([text])
            assert subject.logits == pytest.approx(prediction.logits, abs=TOLERANCE)
            assert subject.probabilities == pytest.approx(prediction.probabilities, abs=TOLERANCE)
            assert classifier.labels[subject.prediction] == prediction.label
            assert subject.target == subject.prediction
            assert (subject.index, subject.label, subject.seed) == (place, None, 0)


def test_subjects_take_the_predicted_class_whichever_it_is(bert: Classifier) -> None:
    listed = subjects(bert, [*"abcdefghijk"])
    assert {subject.target for subject in listed} == {0, 1}
    assert all(each.target == each.prediction == int(each.logits[0] < each.logits[1]) for each in listed)


def test_units_are_the_words_or_the_tokens(classifier: Classifier) -> None:
    for texts in (MIXED, PAIRS):
        for subject in subjects(classifier, texts):
            words, tokens = subject.units("word"), subject.units("token")
            assert [list(unit) for unit in words] == words_of(subject.row)
            assert [list(unit) for unit in tokens] == tokens_of(subject.row)
            assert sorted(itertools.chain(*words)) == sorted(itertools.chain(*tokens))
            assert len(words) == len(subject.row.words)


def test_subjects_take_labels_indices_and_the_seed(bert: Classifier) -> None:
    listed = subjects(bert, MIXED, [1, None, 0, 1], seed=4, indices=[7, 3, 9, 1])
    assert [subject.label for subject in listed] == [1, None, 0, 1]
    assert [subject.index for subject in listed] == [7, 3, 9, 1]
    assert {subject.seed for subject in listed} == {4}


def test_subjects_take_a_target_for_all_texts() -> None:
    classifier = tiny_classifier("bert", id2label={0: "bad", 1: "fair", 2: "good"})
    for target, index in ((2, 2), ("good", 2), ("Fair", 1), (0, 0)):
        listed = subjects(classifier, MIXED, target=target)
        assert [subject.target for subject in listed] == [index] * len(MIXED)
        assert [s.prediction for s in listed] == [s.prediction for s in subjects(classifier, MIXED)]


def test_subjects_take_the_predicted_class_where_labels_share_a_name() -> None:
    classifier = tiny_classifier("bert", id2label={0: "x", 1: "x"})
    listed = subjects(classifier, [*"abcdefghijk"])
    assert [subject.target for subject in listed] == [subject.prediction for subject in listed]


@pytest.mark.parametrize("name", ["labels", "indices"])
@pytest.mark.parametrize("given", [[], [0], [0, 1, 0, 1, 0]])
def test_subjects_want_one_label_and_index_for_each_text(
    bert: Classifier, name: str, given: list[int]
) -> None:
    with pytest.raises(InputError, match=f"expected {name} for each of the 4 texts, found {len(given)}"):
        subjects(bert, MIXED, **{name: given})


def test_subjects_refuse_what_predict_refuses(bert: Classifier) -> None:
    with pytest.raises(UnknownNameError, match="LABEL_1"):
        subjects(bert, MIXED, target="LABEL_11")
    with pytest.raises(TargetError, match="from 0 to 1, found 2"):
        subjects(bert, MIXED, target=2)
    with pytest.raises(InputError, match="text 1 is empty"):
        subjects(bert, ["a", " "])
    with pytest.raises(InputError, match="a pair"):
        subjects(bert, ["a", ("b", "c")])
    with pytest.raises(InputError, match="batch_size"):
        subjects(bert, MIXED, batch_size=0)


def test_texts_that_are_too_long_are_cut_as_the_model_cuts_them(bert: Classifier) -> None:
    (subject,) = subjects(bert, ["a " * 100])
    assert subject.row.truncated
    assert len(subject.units("word")) == 38  # 40 positions, two of them special
    assert answers(bert, subject, [1]).logits.shape == (1, 2)


def test_the_tie_seed_is_that_of_the_run_and_of_the_text(bert: Classifier) -> None:
    first, again, other = subjects(bert, ["a b", "a b", "b a"], seed=1)
    assert first.tie_seed == again.tie_seed != other.tie_seed
    assert subjects(bert, ["a b"], seed=2)[0].tie_seed != first.tie_seed
    assert subjects(bert, ["a b"], seed=1, indices=[5])[0].tie_seed == first.tie_seed
    pair, swapped = subjects(bert, [("a", "b"), ("b", "a")], seed=1)
    assert pair.tie_seed != swapped.tie_seed
    assert 0 <= first.tie_seed < 2**32
