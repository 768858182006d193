"""The smallest removals and the fewest replacements that change a decision, against all there are."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertForMaskedLM

import tiny
from commands import Run, caller
from whybert import (
    BlackBox,
    Classifier,
    InputError,
    TargetError,
    UnknownNameError,
    UsageError,
    flips,
    interactions,
    smallest_removal,
)

TEXT = "the film was good and the actors were great"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer, seed=3).double(), tokenizer)


class Rule:
    """A function that is sure of "yes" where a rule holds of the words of a text."""

    def __init__(self, rule: Any) -> None:
        self.rule, self.asked = rule, 0

    def __call__(self, texts: list[Any]) -> list[list[float]]:
        self.asked += len(texts)
        found = []
        for text in texts:
            words = (text if isinstance(text, str) else " ".join(text)).split()
            share = 0.9 if self.rule(words) else 0.1 + 0.001 * len(words)
            found.append([1 - share, share])
        return found


def needs(*words: str) -> Rule:
    return Rule(lambda found: all(word in found for word in words))


def needs_any(*words: str) -> Rule:
    return Rule(lambda found: any(word in found for word in words))


# --- removal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mask", "delete"])
@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_removal_is_that_of_all_subsets(by: str, seed: int) -> None:
    tokenizer = tiny.wordpiece()
    classifier = Classifier(tiny.bert(tokenizer, seed=seed).double(), tokenizer)
    text = "a bad film was good and great"
    plain = tokenizer(text, return_tensors="pt")
    before = int(classifier.model(**plain).logits.argmax())
    smallest = None
    for size in range(1, 8):
        for gone in combinations(range(1, 8), size):
            inputs = {name: tensor.clone() for name, tensor in plain.items()}
            if by == "mask":
                inputs["input_ids"][0, list(gone)] = tokenizer.mask_token_id
            else:
                rest = [place for place in range(9) if place not in gone]
                inputs = {name: tensor[:, rest] for name, tensor in inputs.items()}
            if int(classifier.model(**inputs).logits.argmax()) != before:
                smallest = smallest or size
    found = smallest_removal(classifier, text, by=by)
    assert found.is_proven
    assert (len(found.removed) if found.is_found else None) == smallest
    assert found.evaluations <= 2**7
    if found.is_found:
        words = [each.text for each in found.removed]
        assert [text[each.start : each.end] for each in found.removed] == words
        assert found.new_label != found.label


def test_a_single_word_and_all_that_say_it() -> None:
    one = smallest_removal(BlackBox(needs("good"), ["no", "yes"]), TEXT)
    assert [each.text for each in one.removed] == ["good"]
    assert (one.label, one.new_label, one.is_proven, one.count) == ("yes", "no", True, 9)
    assert one.evaluations == 10
    assert one.probability == pytest.approx(0.9)
    assert one.new_probability == pytest.approx(1 - 0.1 - 0.009)
    assert one.left == pytest.approx(0.109)
    several = smallest_removal(BlackBox(needs_any("good", "great", "film")), TEXT, by="delete")
    assert [each.text for each in several.removed] == ["film", "good", "great"]
    assert several.is_proven
    assert several.evaluations <= 9 + 36 + 84 + 20


def test_what_a_small_budget_finds_is_told_apart_from_what_is_proven() -> None:
    text = " ".join(f"{word}" for word in "abcdefghijklmnopqrst") + " good great fine nice"
    rule = needs_any("good", "great", "fine", "nice")
    quick = smallest_removal(BlackBox(rule), text, budget=200)
    assert [each.text for each in quick.removed] == ["good", "great", "fine", "nice"]
    assert not quick.is_proven
    assert quick.evaluations <= 201
    sure = smallest_removal(BlackBox(rule), text, budget=5000)
    assert sure.removed == quick.removed
    assert sure.is_proven
    never = smallest_removal(BlackBox(Rule(lambda words: True)), "a b c d")
    assert (never.is_found, never.is_proven, never.removed, never.evaluations) == (False, True, (), 16)
    unknown = smallest_removal(BlackBox(Rule(lambda words: True)), text, budget=100)
    assert (unknown.is_found, unknown.is_proven) == (False, False)


def test_sentences_pairs_and_models_that_attnlrp_does_not_serve(classifier: Classifier) -> None:
    pair = ("It is good. It rained.", "Is it good?")
    found = smallest_removal(BlackBox(needs("good?")), pair, unit="sentence", by="delete")
    assert [(each.text, each.sequence) for each in found.removed] == [("Is it good?", 1)]
    with torch.no_grad():
        assert smallest_removal(classifier, ("a film", "a bad film")).count == 5


# --- replacements ------------------------------------------------------------------------------------------


SYNONYMS = {"Good": ["bad", "awful"], "great": "poor", "film": ["movie"]}


def test_replacements_are_the_fewest_and_the_surest_first() -> None:
    text = "A Good film and a great one"
    one = flips(BlackBox(needs("Good", "great"), ["no", "yes"]), text, SYNONYMS)
    assert [[(word.old, word.new) for word in each.replaced] for each in one.found] == [
        [("Good", "Awful")],
        [("Good", "Bad")],
        [("great", "poor")],
    ]
    assert [each.text for each in one.found][::2] == [
        "A Awful film and a great one",
        "A Good film and a poor one",
    ]
    assert (one.candidates, one.evaluations, one.is_proven, one.label) == (4, 5, True, "yes")
    two = flips(BlackBox(needs_any("Good", "great"), ["no", "yes"]), text, SYNONYMS)
    assert [len(each.replaced) for each in two.found] == [2, 2]
    assert two.is_proven
    assert two.evaluations == 1 + 4 + (2 * 1 + 2 * 1 + 1 * 1)
    assert flips(BlackBox(needs_any("Good", "great")), text, SYNONYMS, most_words=1).found == ()
    first = flips(BlackBox(needs_any("Good", "great"), ["no", "yes"]), text, SYNONYMS, top=1)
    assert first.found == two.found[:1]


def test_the_found_texts_are_read_anew(classifier: Classifier) -> None:
    """Each is what `predict` says of the whole text: a word of several tokens, too."""
    before = classifier.predict(TEXT)[0]
    words = ["actors", "bad", "well-made", "film", "think", "zq", "so", "a", "great great"]
    table = dict.fromkeys(TEXT.split(), words)
    found = flips(classifier, TEXT, table, top=1000)
    assert found.found
    assert (found.label, found.probability) == (
        before.label,
        pytest.approx(before.probabilities[before.predicted]),
    )
    for each in found.found:
        [prediction] = classifier.predict(each.text)
        assert prediction.label == each.label != before.label
        assert each.probability == pytest.approx(prediction.probability, rel=1e-9)
        assert each.left == pytest.approx(prediction.probabilities[before.predicted], rel=1e-9)
        text = TEXT
        for word in sorted(each.replaced, key=lambda word: -word.start):
            assert TEXT[word.start : word.end] == word.old
            text = text[: word.start] + word.new + text[word.end :]
        assert text == each.text
    likely = [each.probability for each in found.found]
    assert likely == sorted(likely, reverse=True)
    starts = {word: TEXT.index(word) for word in ("film", "good", "actors", "great")}
    everything = [
        TEXT[:start] + new + TEXT[start + len(old) :] for old, start in starts.items() for new in words
    ]
    flipping = [text for text in everything if classifier.predict(text)[0].label != before.label]
    assert set(flipping) <= {each.text for each in found.found}


def test_a_masked_language_model_says_the_words(classifier: Classifier) -> None:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(1)
    masked = BertForMaskedLM(tiny.bert_config(tokenizer, initializer_range=0.3)).eval()
    found = flips(classifier, TEXT, masked_lm=(masked, tokenizer), k=4)
    assert found.candidates == 9 * 4
    assert found.found
    for each in found.found:
        assert classifier.predict(each.text)[0].label == each.label
        assert all(word.likelihood is not None and 0 < word.likelihood < 1 for word in each.replaced)
    both = flips(classifier, TEXT, {"good": ["wellmade"]}, masked_lm=(masked, tokenizer), k=4)
    assert both.candidates == 9 * 4 + 1
    rule = needs("good")
    black = flips(BlackBox(rule), TEXT, masked_lm=(masked, tokenizer), k=1)
    assert [word.old for word in black.found[0].replaced] == ["good"]


def test_a_wanted_label_and_a_small_budget() -> None:
    def function(texts: list[str]) -> list[list[float]]:
        rows = {"bad": [0.1, 0.8, 0.1], "odd": [0.1, 0.2, 0.7]}
        return [
            next((row for word, row in rows.items() if word in text), [0.9, 0.05, 0.05]) for text in texts
        ]

    three = BlackBox(function, ["good", "bad", "odd"])
    any_other = flips(three, "a fine film", {"fine": ["bad", "odd"]})
    assert [each.label for each in any_other.found] == ["bad", "odd"]
    odd = flips(three, "a fine film", {"fine": ["bad", "odd"]}, to="odd")
    assert [each.label for each in odd.found] == ["odd"]
    assert odd.to == "odd"
    table = {letter: ["x", "y"] for letter in "abcdefgh"}
    rule = needs_any("a", "b", "c")
    found = flips(BlackBox(rule), "a b c d e f g h", table, budget=300)
    assert len(found.found[0].replaced) == 3
    assert found.is_proven
    short = flips(BlackBox(rule), "a b c d e f g h", table, budget=60)
    assert not short.is_proven
    assert short.evaluations <= 61
    groups = flips(BlackBox(needs("good")), "a good film", [["good", "bad", "fine"]])
    assert [each.replaced[0].new for each in groups.found] == ["bad", "fine"]


def test_what_is_shown_and_saved(tmp_path: Path) -> None:
    removal = smallest_removal(BlackBox(needs("good"), ["no", "yes"]), ("a good", "film"))
    found = flips(BlackBox(needs("good"), ["no", "yes"]), "a good film", {"good": "bad"})
    nothing = flips(BlackBox(needs("good"), ["no", "yes"]), "a good film", {"film": "movie"})
    never = smallest_removal(BlackBox(Rule(lambda words: True)), "a b")
    for value, words in (
        (removal, "yes 0.900 -> no 0.897 without 1 of 3 words (mask; no fewer do)"),
        (removal, "a [good]\nfilm"),
        (found, "good -> bad"),
        (nothing, "no replaced words change it (all were tried)"),
        (never, "it stays, whichever words are taken away (no set of them does)"),
    ):
        console = Console(width=100)
        with console.capture() as capture:
            console.print(value)
        assert words in capture.get()
        saved = json.loads(value.save(tmp_path / "value.json").read_text())
        assert saved == json.loads(json.dumps(value.to_dict()))


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({}, UsageError, "expected words to replace"),
        ({"replacements": {}}, InputError, "at least one word and what may stand in its place"),
        ({"replacements": "bad"}, InputError, "expected replacements as"),
        ({"replacements": {"so good": ["bad"]}}, InputError, "single words to replace, found 'so good'"),
        ({"replacements": {"good": [""]}}, InputError, "words to replace .* found ''"),
        ({"replacements": {"good": 3}}, InputError, "words in the place of 'good', found 3"),
        ({"replacements": ["good"]}, InputError, "groups of words, found 'good'"),
        ({"replacements": {"good": "bad"}, "to": "maybe"}, UnknownNameError, "unknown label 'maybe'"),
        ({"replacements": {"good": "bad"}, "to": "yes"}, TargetError, "says 'yes' already"),
        ({"replacements": {"good": "bad"}, "to": ("no", "yes")}, TargetError, "one label to flip to"),
        ({"replacements": {"good": "bad"}, "most_words": 0}, UsageError, "most_words to be a whole number"),
        (
            {"replacements": {"good": ["bad", "poor"]}, "budget": 1},
            UsageError,
            "budget for the 2 replacements",
        ),
        ({"masked_lm": 3}, UsageError, "a masked language model as a folder"),
    ],
    ids=str,
)
def test_flips_that_cannot_be(how: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        flips(BlackBox(needs("good"), ["no", "yes"]), "a good film", **how)
    assert "\n" not in str(caught.value)


def test_removals_that_cannot_be() -> None:
    rule = BlackBox(needs("good"))
    with pytest.raises(UsageError, match="budget above the 3 words of the text, found 3"):
        smallest_removal(rule, "a good film", budget=3)
    with pytest.raises(UnknownNameError, match="unknown perturbation 'masks'"):
        smallest_removal(rule, "a good film", by="masks")
    with pytest.raises(UnknownNameError, match="unknown unit 'letter'"):
        smallest_removal(rule, "a good film", unit="letter")  # type: ignore[arg-type]
    numbers = BlackBox(lambda texts: [[1.0]] * len(texts), problem_type="regression")
    for ask in (smallest_removal, lambda *given: flips(*given, {"good": "bad"})):
        with pytest.raises(UsageError, match="answers a number and decides nothing"):
            ask(numbers, "a good film")
        with pytest.raises(UsageError, match="expected one text"):
            ask(rule, ["a good film"])


# --- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = tiny.wordpiece()
    folder = tmp_path_factory.mktemp("model")
    return str(tiny.save(folder, tiny.bert(tokenizer, seed=3), tokenizer))


def test_the_commands_say_what_the_functions_say(run: Run, model: str, tmp_path: Path) -> None:
    classifier = Classifier.load(model)
    removal = run("flip", TEXT, "-m", model, "--format", "json", "--perturbation", "delete")
    assert (removal.code, removal.err) == (0, "")
    assert removal.records == [
        json.loads(json.dumps(smallest_removal(classifier, TEXT, by="delete").to_dict()))
    ]
    table = {"good": ["bad", "a bad"], "film": ["actors"]}
    Path("lines.txt").write_text("good: bad, a bad\n\n film : actors\n")
    Path("words.json").write_text(json.dumps(table))
    expected = flips(classifier, TEXT, table)
    for file in ("lines.txt", "words.json"):
        done = run("flip", TEXT, "-m", model, "--synonyms", file, "-o", "found.json")
        assert (done.code, done.out, done.err) == (0, "", "")
        assert json.loads(Path("found.json").read_text()) == json.loads(json.dumps(expected.to_dict()))
    Path("groups.txt").write_text("good, bad\n")
    groups = run("flip", TEXT, "-m", model, "--synonyms", "groups.txt", "-f", "json")
    assert groups.records[0]["candidates"] == 1
    tokenizer = tiny.wordpiece()
    torch.manual_seed(1)
    masked = BertForMaskedLM(tiny.bert_config(tokenizer, initializer_range=0.3))
    tiny.save(tmp_path / "masked", masked, tokenizer)
    likely = run("flip", TEXT, "-m", model, "--masked-lm", "masked", "-f", "json")
    assert likely.records == [json.loads(json.dumps(flips(classifier, TEXT, masked_lm="masked").to_dict()))]
    pairs = run("interactions", "a film", "--pair", "a bad film", "-m", model, "-f", "json", "--target", "1")
    assert pairs.records == [
        json.loads(json.dumps(interactions(classifier, ("a film", "a bad film"), target=1).to_dict()))
    ]
    shown = run("interactions", "not bad", "-m", model, "--quantity", "probability").out
    assert "strongest pairs" in shown
    assert "not + bad" in shown
