"""Models that answer at each position of a text: a plain classifier once it is known where it is read."""

from __future__ import annotations

from functools import cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    GPT2Config,
    LlamaConfig,
    T5Config,
)

import models
import tiny
import whybert
from whybert.cli.explain import find_target
from whybert.errors import InputError, TargetError, UnknownNameError, UnsupportedModelError, UsageError

NAMES = ("O", "B-LOC", "I-LOC")
FAMILIES = ("bert", "roberta", "distilbert")
METHODS = (
    "attnlrp",
    "cp_lrp",
    "gi",
    "gi:reduction=sum",
    "occlusion:unit=token",
    "integrated_gradients:n_steps=4",
)
TEXT, OTHER = "the film was good and a bad film", "don't you think the actors were great, well?"
PAIR, PAIR_2 = ("was the film good?", "the actors were great"), ("a film?", "don't you think so, bad actors")
AUTO = {
    "tokens": AutoModelForTokenClassification,
    "vocabulary": AutoModelForMaskedLM,
    "spans": AutoModelForQuestionAnswering,
    "choices": AutoModelForMultipleChoice,
}


@cache
def made(family: str, kind: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Any]:
    """A tiny model with a head of this kind, all its parameters random, and its tokenizer."""
    tokenizer = tiny.byte_level() if family == "roberta" else tiny.wordpiece()
    if family == "roberta":  # its mask has the blank before it, as a word has
        tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True)})
    config = models.configs()[family]
    config.vocab_size = len(tokenizer)
    if kind == "spans":
        config.num_labels = 2
    else:
        config.id2label, config.label2id = dict(enumerate(NAMES)), {name: i for i, name in enumerate(NAMES)}
    torch.manual_seed(3)
    model = AUTO[kind].from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return model.to(dtype).eval(), tokenizer


def classifier(family: str = "bert", kind: str = "tokens") -> whybert.Classifier:
    return whybert.Classifier(*made(family, kind))


class Plain(nn.Module):
    """A model that reads one position of another, or one of its tables: a plain classifier."""

    def __init__(self, model: nn.Module, kind: str, place: Any) -> None:
        super().__init__()
        self.model, self.kind, self.place = model, kind, place
        self.config = SimpleNamespace(
            id2label=None, problem_type=None, pad_token_id=model.config.pad_token_id,
            max_position_embeddings=getattr(model.config, "max_position_embeddings", None),
        )  # fmt: skip
        self.training = False

    def get_input_embeddings(self) -> Any:
        return self.model.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if self.kind == "choices":
            return SimpleNamespace(logits=self.model(**{k: v[:, None] for k, v in inputs.items()}).logits)
        output = self.model(**inputs)
        logits = (
            getattr(output, f"{self.place}_logits") if self.kind == "spans" else output.logits[:, self.place]
        )
        return SimpleNamespace(logits=logits)


CASES = {
    "tokens": (TEXT, ("good", "B-LOC")),
    "vocabulary": (TEXT, ("was", "bad")),
    "spans": (PAIR, ("end", "actors")),
    "choices": (PAIR, None),
}


def numbers_of(explanation: whybert.Explanation) -> Tensor:
    return torch.tensor(explanation.scores, dtype=torch.float64)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_a_plain_classifier_where_it_is_read(family: str, kind: str) -> None:
    model, tokenizer = made(family, kind)
    text, target = CASES[kind]
    asked = whybert.Classifier(model, tokenizer)
    found = whybert.explain(asked, text, METHODS, target=target)
    [row] = asked.tokenize([text])
    names = [name for name in row.features if family == "bert" or name != "token_type_ids"]
    inputs = {name: torch.tensor([row.features[name]]) for name in names}
    word = [
        token for token, each in enumerate(row.word_ids) if each is not None and row.words[each] == "good"
    ]
    place: Any = word[0]
    if kind == "vocabulary":
        place = next(
            t for t, each in enumerate(row.word_ids) if each is not None and row.words[each] == "was"
        )
    if kind == "spans":
        place = "end"
    plain = Plain(model, kind, place)
    own = plain(**inputs).logits.detach()
    index = found["attnlrp"][0].target.index
    if kind == "vocabulary":
        index = asked.head.labels.index(found["attnlrp"][0].target.label)
        assert tokenizer.convert_ids_to_tokens(index) in ("bad", "Ġbad")
    expected = whybert.attribute(plain, inputs, METHODS, target=index, tokenizer=tokenizer)
    for method, attribution in expected.items():
        [explanation] = found[method]
        torch.testing.assert_close(numbers_of(explanation), attribution.scores[0], rtol=1e-12, atol=1e-12)
        shown = explanation.target.index
        assert explanation.logits[shown] == pytest.approx(float(own[0, index]), abs=1e-12)
        assert explanation.prediction == explanation.labels[explanation.predicted]
    [books] = [each.completeness for each in found["cp_lrp"]]
    assert books is not None
    assert abs(books.remainder) < 1e-10
    if kind != "choices":
        chance = own.softmax(-1)[0, index]
        assert found["gi"][0].probabilities[found["gi"][0].target.index] == pytest.approx(float(chance))


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_is_explained_alike_beside_others(family: str, kind: str) -> None:
    asked = classifier(family, kind)
    text, target = CASES[kind]
    other = PAIR_2 if isinstance(text, tuple) else OTHER
    others = {"tokens": ("think", None), "vocabulary": ("you", None), "spans": "start", "choices": None}
    methods = ("attnlrp", "cp_lrp", "gi", "occlusion")
    together = whybert.explain(asked, [text, other], methods, target=[target, others[kind]])
    for method in methods:
        for each, own in ((text, target), (other, others[kind])):
            [alone] = whybert.explain(asked, each, method, target=own)
            beside = next(e for e in together[method] if e.text == alone.text)
            torch.testing.assert_close(numbers_of(beside), numbers_of(alone), rtol=1e-9, atol=1e-12)
            assert beside.target.label == alone.target.label
            assert beside.place == alone.place


@pytest.mark.parametrize("side", ["right", "left"])
def test_spans_are_where_the_words_are_on_whatever_side_the_padding_is(side: str) -> None:
    model, tokenizer = made("roberta", "spans")
    tokenizer = tiny.byte_level(padding_side=side)
    asked = whybert.Classifier(model, tokenizer)
    found = whybert.explain(asked, [PAIR, PAIR_2], "cp_lrp", target=[("start", "actors"), ("end", "actors")])
    for each in found:
        assert each.labels[each.target.index].strip() in "actors"
        assert len(each.labels) == len(each.tokens)
        assert sum(each.probabilities) == pytest.approx(1.0)


def test_the_end_of_an_answer_is_the_last_token_of_its_word() -> None:
    asked = classifier("bert", "spans")
    pair = ("was the film good?", "the filming was great")
    start, end = (
        whybert.explain(asked, pair, "gi", target=(side, "filming"))[0] for side in ("start", "end")
    )
    assert (start.target.label, end.target.label) == ("film", "g")
    assert [token.text for token in end.tokens][end.target.index] == "##g"


def test_padding_gets_nothing_and_logits_are_those_of_the_row() -> None:
    model, _ = made("bert", "tokens")
    inputs = models.inputs(model)
    found = whybert.attribute(model, inputs, METHODS[:4], target=[(8, "B-LOC"), (2, None), (0, ("O", 2))])
    table = model(**inputs).logits
    for each in found.values():
        assert bool((each.scores[inputs["attention_mask"] == 0] == 0).all())
        assert torch.equal(each.logits, table[torch.arange(3), torch.tensor([8, 2, 0])].detach())
    targets = next(iter(found.values())).target.tolist()
    assert targets == [[1, -1], [int(table[1, 2].argmax()), -1], [0, 2]]


@pytest.mark.parametrize(
    ("kind", "target", "one", "other"),
    [
        ("tokens", ("good", ("O", "I-LOC")), ("good", "O"), ("good", "I-LOC")),
        ("vocabulary", (("was", "good"), ("was", "bad")), ("was", "good"), ("was", "bad")),
        ("spans", ("start", ("actors", "great")), ("start", "actors"), ("start", "great")),
    ],
)
def test_a_contrast_is_the_difference(kind: str, target: Any, one: Any, other: Any) -> None:
    asked, text = classifier("bert", kind), CASES[kind][0]
    found, first, second = (whybert.explain(asked, text, "cp_lrp", target=t)[0] for t in (target, one, other))
    expected = numbers_of(first) - numbers_of(second)
    torch.testing.assert_close(numbers_of(found), expected, rtol=1e-9, atol=1e-12)
    place, names = first.place, (first.explained.partition(": ")[2], second.explained.partition(": ")[2])
    assert place is not None
    assert found.explained == f"{place.name}: {names[0]} - {names[1]}"


def test_every_class_of_a_word() -> None:
    asked = classifier()
    rows = whybert.explain(asked, [TEXT, OTHER], "attnlrp", target=(2, "all"))
    assert [each.explained for each in rows] == [f"{w}: {n}" for w in ("was", "think") for n in NAMES]
    [one] = whybert.explain(asked, TEXT, "attnlrp", target=("was", 1))
    assert rows[1].scores == pytest.approx(one.scores)
    some = whybert.explain(asked, TEXT, "attnlrp", target=("was", {"I-LOC", "O"}))
    assert [each.scores for each in some] == [pytest.approx(rows[0].scores), pytest.approx(rows[2].scores)]


@pytest.mark.parametrize("quantity", ["probability", "log_probability", "margin", "entropy"])
@pytest.mark.parametrize("kind", ["tokens", "vocabulary", "spans"])
def test_quantities_are_of_the_place(kind: str, quantity: str) -> None:
    asked, (text, target) = classifier("bert", kind), CASES[kind]
    [found] = whybert.explain(
        asked, text, "integrated_gradients:n_steps=400", target=target, quantity=quantity
    )
    index, books = found.target.index, found.completeness
    assert books is not None
    assert books.is_exact or abs(books.remainder) < 0.02
    chance = found.probabilities[index]
    if quantity == "probability":
        assert books.logit == pytest.approx(chance)
    if quantity == "log_probability":
        assert books.logit == pytest.approx(torch.tensor(chance, dtype=torch.float64).log().item())


def _decoder(kind: str) -> nn.Module:
    names = dict(enumerate(NAMES[:2] if kind == "GPT2ForQuestionAnswering" else NAMES))
    common = {
        "vocab_size": 80,
        "pad_token_id": 0,
        "id2label": names,
        "label2id": {n: i for i, n in names.items()},
    }
    configs = {
        "GPT2": lambda: GPT2Config(
            **common, n_embd=32, n_layer=2, n_head=2, n_positions=40, initializer_range=0.3,
        ),
        "Llam": lambda: LlamaConfig(
            **common, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=40, initializer_range=0.3,
        ),
        "T5Fo": lambda: T5Config(**common, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4),
    }  # fmt: skip
    torch.manual_seed(4)
    model: nn.Module = getattr(transformers, kind)(configs[kind[:4]]())
    return model.double().eval()


@pytest.mark.parametrize(
    ("kind", "text", "target"),
    [
        ("GPT2ForTokenClassification", TEXT, ("good", "B-LOC")),
        ("LlamaForTokenClassification", TEXT, ("good", "B-LOC")),
        ("T5ForTokenClassification", TEXT, ("good", "B-LOC")),
        ("GPT2LMHeadModel", TEXT, ("good", "bad")),
        ("GPT2ForQuestionAnswering", PAIR, ("end", "actors")),
    ],
)
def test_models_that_embed_their_words_themselves(kind: str, text: Any, target: Any) -> None:
    """Also those that predict the next token: it is read at the token before it."""
    model, tokenizer = _decoder(kind), tiny.wordpiece()
    asked = whybert.Classifier(model, tokenizer)
    found = whybert.explain(asked, text, ["cp_lrp", "attnlrp"], target=target)
    [row] = asked.tokenize([text])
    takes = ("input_ids", "attention_mask", "token_type_ids")[: 3 if kind.startswith("GPT2") else 2]
    inputs = {name: torch.tensor([row.features[name]]) for name in takes}
    [each] = found["cp_lrp"]
    place = "end" if isinstance(text, tuple) else each.place.token  # type: ignore[union-attr]
    plain = Plain(model, asked.head.kind, place)
    index = asked.head.labels.index(each.target.label) if asked.head.labels else each.target.index
    expected = whybert.attribute(plain, inputs, ["cp_lrp", "attnlrp"], target=index)
    for method, attribution in expected.items():
        torch.testing.assert_close(numbers_of(found[method][0]), attribution.scores[0], rtol=1e-9, atol=1e-12)
    assert each.completeness is not None
    assert abs(each.completeness.remainder) < 1e-6


def test_a_decoder_without_a_mask_is_asked_for_a_place() -> None:
    tokenizer = tiny.wordpiece()
    tokenizer.mask_token = None
    asked = whybert.Classifier(_decoder("GPT2LMHeadModel"), tokenizer)
    with pytest.raises(InputError, match=r"a target that names a place in text 0.*\('Paris', 'good'\)"):
        whybert.explain(asked, TEXT, "gi", target="good")


@pytest.mark.parametrize("method", ["lat", "rollout", "value_zeroing"])
def test_attention_is_traced_from_where_a_token_is_read(method: str) -> None:
    model, tokenizer = made("bert", "tokens")
    asked = whybert.Classifier(model, tokenizer)
    [found] = whybert.explain(asked, TEXT, method, target=("good", None))
    [row] = asked.tokenize([TEXT])
    plain = Plain(model, "tokens", found.place.token)  # type: ignore[union-attr]
    inputs = {name: torch.tensor([values]) for name, values in row.features.items()}
    expected = whybert.attribute(plain, inputs, method).scores[0].double()
    torch.testing.assert_close(numbers_of(found), expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(UnsupportedModelError, match="each of its classes is a position"):
        whybert.explain(classifier("bert", "spans"), PAIR, method, target="start")


QUESTION = ("the film was", ["good", "bad and great", "well-made, a film"])


def test_a_question_is_explained_choice_by_choice() -> None:
    """One derivative of the softmax over all choices, taken by autograd over all rows at once."""
    model, tokenizer = made("bert", "choices")
    asked = whybert.Classifier(model, tokenizer)
    rows = asked.tokenize([(QUESTION[0], choice) for choice in QUESTION[1]])
    columns = {
        name: torch.nn.utils.rnn.pad_sequence([torch.tensor(row.features[name]) for row in rows], True)[None]
        for name in rows[0].features
    }
    logits = model(**columns).logits[0].detach()
    for target, quantity in ((None, "logit"), ((0, 2), "logit"), ("good", "probability"), (1, "margin")):
        found = whybert.explain(
            asked, QUESTION, ["gi:reduction=sum", "cp_lrp", "occlusion"], target, quantity=quantity
        )
        embeddings: list[Tensor] = []
        handle = model.bert.embeddings.register_forward_hook(
            lambda part, given, output, kept=embeddings: kept.append(output) or output  # type: ignore[func-returns-value]
        )
        free = model(**columns).logits[0]
        handle.remove()
        index = int(logits.argmax()) if target is None else {"good": 0}.get(target, target)  # type: ignore[call-overload]
        if quantity == "probability":
            value = free.softmax(0)[index]
        elif quantity == "margin":
            value = free[index] - max(free[0], free[2])
        else:
            value = free[index] if isinstance(index, int) else free[index[0]] - free[index[1]]
        (gradient,) = torch.autograd.grad(value, embeddings[0])
        expected = (gradient * embeddings[0]).sum(-1).detach()
        for row, own in enumerate(found["gi:reduction=sum"]):
            torch.testing.assert_close(
                numbers_of(own), expected[row, : len(own.tokens)], rtol=1e-9, atol=1e-12
            )
            assert own.logits == pytest.approx(logits.tolist(), abs=1e-12)
            assert own.labels == tuple(QUESTION[1])
            assert own.probabilities == pytest.approx(logits.softmax(0).tolist())
        for own in found["cp_lrp"] if quantity == "logit" else ():
            assert own.completeness is not None
            assert abs(own.completeness.remainder) < 1e-10
            assert own.completeness.logit == pytest.approx(value.item())
        changes = [max(map(abs, each.scores)) for each in found["occlusion"]]
        if target == (0, 2):
            assert changes[1] == 0.0 < min(changes[0], changes[2])
    rows_of_all = whybert.explain(asked, [QUESTION, ("a", ["b", "c"])], "gi", target=["good", ("b", "c")])
    assert [each.explained for each in rows_of_all] == ["good"] * 3 + ["b - c"] * 2


@pytest.mark.parametrize(
    ("kind", "texts", "how", "error", "words"),
    [
        ("tokens", QUESTION, {}, UsageError, "a model of multiple choice"),
        ("choices", ("a", []), {}, InputError, "the choices of text 0"),
        ("choices", ("a", ["b", 3]), {}, InputError, "the choices of text 0"),
        ("choices", ("a", ["b", " "]), {}, InputError, "second part of text 1|empty"),
        ("choices", QUESTION, {"target": "great"}, UnknownNameError, "unknown label 'great'"),
        ("choices", QUESTION, {"target": 3}, TargetError, "from 0 to 2"),
        ("choices", [QUESTION], {"target": [0, 1]}, TargetError, "each of the 1 questions"),
        ("choices", QUESTION, {"long": "windows"}, UsageError, "read at once"),
    ],
)
def test_questions_that_cannot_be_meant(kind: str, texts: Any, how: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        whybert.explain(classifier("bert", kind), texts, "gi", **how)


# --- words that are taken away -----------------------------------------------------------------------------


def test_the_place_goes_along_when_other_words_are_deleted() -> None:
    """Row and position move together: the answer is that of the shorter text at the word's new position."""
    model, tokenizer = made("bert", "tokens")
    asked = whybert.Classifier(model, tokenizer)
    [row] = asked.tokenize(["a bad film"])
    ids = torch.tensor([row.features["input_ids"]])
    from whybert.heads import At, read_at
    from whybert.methods.question import Prepared, Question
    from whybert.targets import ResolvedTarget

    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    read, given = read_at(asked.head, model, inputs, [At(3, 0, 1, "film")])
    question = Question(
        read, given, ResolvedTarget(torch.tensor([1])), Prepared.of(read, given), None, tokenizer, [row]
    )
    removed = torch.tensor([[False, True, True, False, False]])
    answer = question.without(removed, "delete")[0, 0]
    expected = model(ids[:, [0, 3, 4]]).logits[0, 1].double()
    torch.testing.assert_close(answer, expected.detach(), rtol=0, atol=1e-12)
    with pytest.raises(UsageError, match="cannot be deleted"):
        question.without(torch.tensor([[False, False, False, True, False]]), "delete")
    masked = question.without(torch.tensor([[False, False, False, True, False]]), "mask")[0, 0]
    changed = ids.clone()
    changed[0, 3] = tokenizer.mask_token_id
    torch.testing.assert_close(masked, model(changed).logits[0, 3].detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["tokens", "spans"])
def test_the_explained_word_cannot_be_deleted(kind: str) -> None:
    text, target = CASES[kind]
    with pytest.raises(UsageError, match="by='mask'"):
        whybert.explain(classifier("bert", kind), text, "occlusion:by=delete", target=target)


# --- a vocabulary ------------------------------------------------------------------------------------------


def test_a_mask_needs_no_name_and_a_word_is_read_as_the_text_has_it() -> None:
    for family, mask, spelled in (("bert", "[MASK]", "good"), ("roberta", "<mask>", "Ġgood")):
        asked = classifier(family, "vocabulary")
        text = f"the film was {mask} and bad"
        [named] = whybert.explain(asked, text, "attnlrp", target=(mask, "good"))
        [found] = whybert.explain(asked, text, "attnlrp", target="good")
        [by_token] = whybert.explain(asked, text, "attnlrp", target=(mask, spelled))
        assert found == named == by_token
        assert found.explained == f"{mask}: {spelled}"
        [most] = whybert.explain(asked, text, "attnlrp")
        assert most.explains_prediction
        assert len(most.labels) == 20
        assert most.probability == max(most.probabilities)
        pair = whybert.explain(asked, text, "cp_lrp", target=((mask, "good"), (mask, "bad")))[0]
        assert pair.target.name in ("good - bad", "Ġgood - Ġbad")


# --- what is shown and saved -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tokens", "vocabulary", "spans"])
def test_titles_name_the_place_and_files_keep_it(kind: str, tmp_path: Path) -> None:
    from rich.console import Console

    asked, (text, target) = classifier("bert", kind), CASES[kind]
    found = whybert.explain(asked, text, "attnlrp", target=target)
    [each] = found
    assert each.place is not None
    assert each.explained.startswith(f"{each.place.name}: ")
    for name in ("x.jsonl", "x.parquet"):
        found.save(tmp_path / name)
        assert whybert.load(tmp_path / name) == found
    console = Console(width=200, record=True, file=StringIO())
    console.print(each)
    for shown in (console.export_text(), each.to_html(), each.to_latex(), repr(each)):
        assert f"{each.place.name}: " in shown
    assert set(each.to_pandas()["target"]) == {each.explained}
    assert whybert.Explanation.from_dict({**each.to_dict(), "place": None}).explained == each.target.name


# --- where models come from --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CASES)
def test_a_folder_is_loaded_with_the_head_that_was_saved(kind: str, tmp_path: Path) -> None:
    model, tokenizer = made("bert", kind)
    tiny.save(tmp_path / "model", model, tokenizer)
    text, target = CASES[kind]
    loaded = whybert.Classifier.load(tmp_path / "model", dtype="float64")
    assert type(loaded.model) is type(model)
    [found] = whybert.explain(loaded, text, "cp_lrp", target=target)
    [own] = whybert.explain(whybert.Classifier(model, tokenizer), text, "cp_lrp", target=target)
    assert found.scores == pytest.approx(own.scores)


@pytest.mark.parametrize(("task", "kind"), [("token-classification", "tokens"), ("fill-mask", "vocabulary")])
def test_pipelines_are_taken_apart(task: str, kind: str) -> None:
    model, tokenizer = made("bert", kind, torch.float32)
    pipe = transformers.pipeline(task, model=model, tokenizer=tokenizer)
    text, target = ("a [MASK] film", "bad") if kind == "vocabulary" else (TEXT, ("good", None))
    [found] = whybert.explain(pipe, text, "attnlrp", target=target)
    said = pipe(text, targets=["bad"])[0]["score"] if kind == "vocabulary" else pipe(text, ignore_labels=[])
    if kind == "vocabulary":
        assert found.probabilities[found.target.index] == pytest.approx(said, rel=1e-4)
    else:
        [own] = [each for each in said if each["word"] == "good"]
        assert (own["entity"], own["score"]) == (found.prediction, pytest.approx(found.probability, rel=1e-4))
    pipe._preprocess_params = {"tokenizer_kwargs": {"add_special_tokens": False}}
    with pytest.raises(UsageError, match="tokenizer_kwargs, which would be lost"):
        whybert.explain(pipe, text, target=target)


@pytest.mark.parametrize(
    ("kind", "written", "target"),
    [
        ("tokens", "Paris:B-LOC", ("Paris", "B-LOC")),
        ("tokens", "5:B-LOC", (5, "B-LOC")),
        ("tokens", "5:1", (5, 1)),
        ("tokens", "Paris", ("Paris", None)),
        ("tokens", "12:30:B-LOC", ("12:30", "B-LOC")),
        ("tokens", ":", (":", None)),
        ("tokens", "Paris:all", ("Paris", "all")),
        ("tokens", "Paris:B-PER", ("Paris", "B-PER")),
        ("vocabulary", "[MASK]:good", ("[MASK]", "good")),
        ("vocabulary", "good", (None, "good")),
        ("vocabulary", ":", (None, ":")),
        ("spans", "start", ("start", None)),
        ("spans", "end:Paris", ("end", "Paris")),
        ("spans", "end:7", ("end", 7)),
    ],
)
def test_targets_on_a_command_line(kind: str, written: str, target: Any) -> None:
    assert find_target(classifier("bert", kind), written, None) == target
    both = find_target(classifier("bert", kind), None, (written, written))
    assert both == (target, target)


# --- odd inputs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "target", "error", "words"),
    [
        ("tokens", TEXT, None, TargetError, "names a word and its class"),
        ("tokens", TEXT, "B-LOC", TargetError, "names a word and its class"),
        ("tokens", TEXT, "all", TargetError, "names a word and its class"),
        ("tokens", TEXT, ("B-LOC", "O"), InputError, "unknown word of text 0: 'B-LOC'"),
        ("tokens", TEXT, ("gud", None), InputError, "did you mean 'good'"),
        ("tokens", TEXT, ("film", None), InputError, "stands 2 times in text 0, as the words 1, 7"),
        ("tokens", TEXT, (8, None), InputError, "a word of text 0 from 0 to 7, found 8"),
        ("tokens", TEXT, (-1, None), InputError, "a word of text 0 from 0 to 7, found -1"),
        ("tokens", TEXT, (True, None), InputError, "a word of text 0 or its number"),
        ("tokens", TEXT, (1.5, None), InputError, "a word of text 0 or its number"),
        ("tokens", TEXT, ("[CLS]", None), InputError, "unknown word of text 0"),
        ("tokens", TEXT, ("", None), InputError, "unknown word"),
        ("tokens", TEXT, ("oo", None), InputError, "unknown word"),
        ("tokens", TEXT, ("good", "B-PER"), UnknownNameError, "unknown label 'B-PER'"),
        ("tokens", TEXT, ("good", 3), TargetError, "a class from 0 to 2"),
        ("tokens", TEXT, ("good", "O", "O"), TargetError, "names a word and its class"),
        ("tokens", TEXT, (("good", "O"), ("bad", "O")), TargetError, "two classes at one place"),
        ("tokens", TEXT, ("good", ("O", "O")), TargetError, "two different classes"),
        ("tokens", TEXT + " so" * 60 + " great", ("great", None), InputError, "which was cut"),
        ("tokens", TEXT + " so" * 60, (67, None), InputError, "it was cut to 40 tokens"),
        ("spans", PAIR, None, TargetError, "the answer's start or its end"),
        ("spans", PAIR, "middle", TargetError, "the answer's start or its end"),
        ("spans", PAIR, 3, TargetError, "the answer's start or its end"),
        ("spans", PAIR, ("start", "good"), InputError, "unknown word of text 0: 'good'"),
        ("spans", PAIR, ("start", "all"), TargetError, "one token, or a contrast"),
        ("vocabulary", TEXT, None, InputError, "one mask"),
        ("vocabulary", "a [MASK] and a [MASK]", "good", InputError, "found 2; name the word"),
        ("vocabulary", "a [MASK]", ("[MASK]", "wonderful"), InputError, "it is 9 tokens"),
        ("vocabulary", "a [MASK]", ("[MASK]", "☃"), InputError, "has none such"),
        ("vocabulary", "a [MASK]", ("[MASK]", " "), InputError, "has none such"),
        ("vocabulary", "a [MASK]", ("[MASK]", "all"), TargetError, "one token, or a contrast"),
        ("choices", PAIR, 1, TargetError, "a class from 0 to 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(kind: str, text: Any, target: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        whybert.explain(classifier("bert", kind), text, "gi", target=target)


def test_the_text_that_is_wrong_is_named() -> None:
    with pytest.raises(InputError, match="'a' stands 2 times in text 1") as caught:
        whybert.explain(classifier(), [TEXT, "a film, a film"], "gi", target=("a", None))
    assert caught.value.index == 1


def test_a_word_that_is_cut_in_the_middle_has_no_end() -> None:
    model, tokenizer = made("bert", "spans")
    asked = whybert.Classifier(model, tokenizer, max_length=10)
    text = "a film was wonderfully"
    assert asked.tokenize([text])[0].truncated
    with pytest.raises(InputError, match="'wonderfully' was cut"):
        whybert.explain(asked, text, "gi", target=("end", "wonderfully"))


def test_a_vocabulary_is_one_though_tokens_were_added_beside_it() -> None:
    model, _ = made("bert", "vocabulary")
    tokenizer = tiny.wordpiece()
    tokenizer.add_tokens(["newly", "added"])
    assert whybert.Classifier(model, tokenizer).head.kind == "vocabulary"


def test_windows_and_what_asks_of_a_whole_text_are_refused() -> None:
    asked = classifier()
    with pytest.raises(UsageError, match="answers at each position"):
        whybert.explain(asked, TEXT, "gi", target=("good", None), long="windows")
    with pytest.raises(UnsupportedModelError, match="expected a sequence classifier"):
        asked.predict(TEXT)


def test_tensors_have_columns() -> None:
    model, tokenizer = made("bert", "vocabulary")
    inputs = models.inputs(model)
    found = whybert.attribute(model, inputs, "cp_lrp", target=(3, "good"), tokenizer=tokenizer)
    assert found.target.tolist() == [tokenizer.get_vocab()["good"]] * 3
    spans, _ = made("bert", "spans")
    [start] = [whybert.attribute(spans, inputs, "cp_lrp", target=("start", 3))]
    padded = inputs["attention_mask"] == 0
    assert torch.equal(start.logits[~padded], spans(**inputs).start_logits[~padded])
    assert bool((start.scores[padded] == 0).all())
    choices, _ = made("bert", "choices")
    assert whybert.attribute(choices, inputs, "cp_lrp").logits.shape == (3, 1)
    for target, words in (
        ((9, 1), "found 9"),
        ((8, 1), "of row 1"),
        (("good", 1), "words are for"),
        (1, "a word"),
    ):
        with pytest.raises(TargetError, match=words):
            whybert.attribute(made("bert", "tokens")[0], inputs, "gi", target=target)


def test_a_place_is_a_token_of_the_explanation() -> None:
    [found] = whybert.explain(classifier(), TEXT, "gi", target=("good", None))
    assert found.place == whybert.Place(4, "good")
    with pytest.raises(InputError, match=r"place\.token below"):
        whybert.Explanation.from_dict({**found.to_dict(), "place": {"token": 99, "name": "x"}})


def test_the_model_is_left_as_it_was() -> None:
    model, tokenizer = made("bert", "tokens")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    asked = whybert.Classifier(model, tokenizer)
    whybert.explain(asked, TEXT, METHODS, target=("good", None))
    with pytest.raises(UsageError):
        whybert.explain(asked, TEXT, "occlusion:by=delete", target=("good", None))
    assert asked.model is model
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(each.grad is None for each in model.parameters())
