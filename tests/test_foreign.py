"""Modules of people's own: where they embed tokens and return logits is found, said, or refused by name."""

from __future__ import annotations

import warnings
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertModel, RobertaModel

import tiny
from whybert import Classifier, attribute, audit, evaluate, explain
from whybert.errors import (
    InputError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    WhybertError,
)
from whybert.evaluation.bench import EvaluationData
from whybert.foreign import ForeignModel, Part, Point

TOKENIZER = tiny.wordpiece()
TEXTS = ["a film", "don't you think so?", "the film was good and the actors were great"]


class Own(nn.Module):
    """As users write it: an encoder of transformers, and a head."""

    def __init__(self, labels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bert = BertModel(tiny.bert_config(TOKENIZER))
        self.head = nn.Linear(self.bert.config.hidden_size, labels)
        self.eval()

    def logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.bert(input_ids, attention_mask=attention_mask)[1])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.logits(input_ids, attention_mask)


class HandMade(nn.Module):
    """With tables in the module itself, and attention of its own."""

    def __init__(self, positions: int = 30) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Embedding(positions, 16), nn.Embedding(len(TOKENIZER), 16, padding_idx=0)
        self.norm, self.query, self.key, self.value = nn.LayerNorm(16), *(nn.Linear(16, 16) for _ in "qkv")
        self.head = nn.Linear(16, 2)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.second(input_ids) + self.first(places)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 4
        scores = scores.masked_fill(attention_mask[:, None] == 0, torch.finfo(scores.dtype).min)
        x = self.norm(x + scores.softmax(-1) @ self.value(x))
        return self.head(torch.tanh(x[:, 0]))


class Inside(nn.Module):
    """With the tables in a part that is the whole encoder: its output is not the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = HandMade()
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(input_ids, attention_mask)


def test_a_module_is_explained_as_what_it_is() -> None:
    module = Own()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    known = {name: set(vars(part)) for name, part in module.named_modules()}
    ours = Classifier(module, TOKENIZER, labels=["bad", "fair", "good"])
    assert isinstance(ours.model, ForeignModel)
    assert ours.model.module is module
    assert isinstance(ours.model.block, Point)
    assert ours.model.words == "bert.embeddings.word_embeddings"
    assert (ours.name, ours.labels, ours.max_length) == ("Own", ("bad", "fair", "good"), 40)
    for text, prediction in zip(TEXTS, ours.predict(TEXTS), strict=True):
        inputs = TOKENIZER(text, return_tensors="pt")
        with torch.no_grad():
            logits = module(inputs["input_ids"], inputs["attention_mask"])[0]
        assert prediction.logits == pytest.approx(logits.tolist(), abs=1e-5)
    found = audit(ours, TEXTS)
    assert found.passed, found.failures
    assert found.model == "Own"
    assert {check.status for check in found.checks if check.name == "served"} == {"ok"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert {name: set(vars(part)) for name, part in module.named_modules()} == known
    assert all(not part._forward_hooks for part in module.modules())


def test_the_same_model_in_the_manner_of_transformers_has_the_same_scores() -> None:
    model = tiny.bert(TOKENIZER)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Any:
            inputs = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return self.inner(input_ids, **inputs).logits

    for method in ("gs", "gi", "lrp", "lat", "attnlrp", "cp_lrp"):
        theirs = explain((model, TOKENIZER), TEXTS, method)
        ours = explain((Bare().eval(), TOKENIZER), TEXTS, method)
        assert [each.scores for each in ours] == [each.scores for each in theirs]
        assert [each.completeness for each in ours] == [each.completeness for each in theirs]
    inputs = TOKENIZER(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(attribute(Bare().eval(), inputs).scores, attribute(model, inputs).scores)


@pytest.mark.parametrize("module", [HandMade, Inside])
def test_a_table_in_the_encoder_itself(module: Any) -> None:
    ours = Classifier(module(), TOKENIZER)
    assert ours.model.block == Point((Part(0, 2, (0, 1, 2)),))  # the word and its position
    assert ours.model.words == ("second" if module is HandMade else "encoder.second")
    assert ours.max_length == 30
    assert ours.predict("good " * 90)[0].truncated
    found = audit(ours, TEXTS)
    assert found.passed, found.failures
    with pytest.raises(InputError, match="max_length must be at most 30"):
        Classifier(module(), TOKENIZER, 31)


class Says(Inside):
    """Says which table its words are in, as models of transformers do, but layers follow in the same part."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(id2label={0: "no", 1: "yes"})
        self.encoder.head = nn.Identity()
        self.head = nn.Linear(16, 2)
        self.encoder.forward = self.states
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.second

    def states(self, input_ids: Tensor) -> Tensor:
        x = self.encoder.second(input_ids)
        return self.encoder.norm(x + (x @ x.mT).softmax(-1) @ self.encoder.value(x))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(torch.tanh(self.encoder(input_ids)[:, 0]))


def test_a_part_that_holds_layers_is_no_embedding() -> None:
    """The states of the last layer are of all tokens: scores for them would be those of another question."""
    ours = Classifier(Says(), TOKENIZER)
    assert ours.labels == ("no", "yes")
    assert isinstance(ours.model, ForeignModel)
    assert ours.model.block == Point((Part(0, 1, (0, 1, 2)),))
    inputs = TOKENIZER(TEXTS[2], return_tensors="pt", return_token_type_ids=False)
    scores = attribute(Says(), inputs, "gi").scores[0]
    assert scores.tolist() == pytest.approx(list(explain(ours, TEXTS[2], "gi")[0].scores), abs=1e-6)
    assert scores.count_nonzero() > 1
    for wrong in ([1, 2], "text", None):
        with pytest.raises(InputError, match="as a tokenizer returns them"):
            attribute(Says(), wrong)  # type: ignore[call-overload]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("options", [{}, {"activation": "gelu"}, {"norm_first": True}])
def test_encoders_of_torch(options: dict[str, Any]) -> None:
    class Torch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, **options)
            self.table, self.encoder = nn.Embedding(len(TOKENIZER), 16), nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(16, 2)
            self.eval()

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            x = self.encoder(self.table(input_ids), src_key_padding_mask=attention_mask == 0)
            return self.head(torch.tanh(x[:, 0]))

    found = audit((Torch(), TOKENIZER), TEXTS)
    assert found.passed, found.failures
    served = {check.method: check.status for check in found.checks if check.name == "served"}
    assert [method for method, status in served.items() if status != "ok"] == ["lrp"]
    assert "defined for sub-layers" in next(c.explanation for c in found.checks if c.method == "lrp")


def test_positions_after_a_row_for_padding() -> None:
    class Roberta(Own):
        def __init__(self) -> None:
            super().__init__()
            self.bert = RobertaModel(tiny.roberta(TOKENIZER).config)
            self.eval()

    ours = Classifier(Roberta(), TOKENIZER)
    assert ours.max_length == Classifier(tiny.roberta(TOKENIZER), TOKENIZER).max_length


def test_metrics_that_ask_and_randomise_the_model() -> None:
    data = EvaluationData("data", tuple(TEXTS), (None,) * len(TEXTS))
    found = evaluate(
        Classifier(Own(), TOKENIZER), data, methods=["gi"], metrics=["aopc", "randomisation-cascading"]
    )
    assert found.cell("gi", "aopc")


Named = namedtuple("Named", ["states", "scores"])


@dataclass
class Output:
    states: Tensor
    scores: Tensor


@pytest.mark.parametrize(
    "returned",
    [
        lambda states, logits: logits,
        lambda states, logits: (states, logits),
        lambda states, logits: [logits, (states, states)],
        lambda states, logits: {"logits": logits, "pooled": states[:, 0]},
        lambda states, logits: {"states": states, "scores": logits, "loss": logits.sum()},
        lambda states, logits: Output(states, logits),
        lambda states, logits: Named(states, logits),
        lambda states, logits: SimpleNamespace(logits=logits, pooled=states[:, 0]),
    ],
)
def test_logits_are_found_in_what_a_module_returns(returned: Any) -> None:
    class Returning(Own):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states, pooled = self.bert(input_ids, attention_mask=attention_mask, return_dict=False)[:2]
            return returned(states, self.head(pooled))

    expected = explain((Own(), TOKENIZER), TEXTS, "gi")
    found = explain((Returning(), TOKENIZER), TEXTS, "gi")
    assert [each.scores for each in found] == [each.scores for each in expected]
    assert [each.logits for each in found] == [each.logits for each in expected]


class Changing(nn.Module):
    """Adds what mixes tokens to the output of its table, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_place, self.words = in_place, nn.Embedding(len(TOKENIZER), 16)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(16, 2)
        self.eval()

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.words(input_ids)
        mixed = torch.tanh(self.mix(x).mean(1, keepdim=True))
        x = x.add_(mixed) if self.in_place else x + mixed
        return self.head(torch.tanh(x).mean(1))


def test_what_follows_the_embedding_may_change_it_in_place() -> None:
    scores = []
    for in_place in (False, True):
        classifier = Classifier(Changing(in_place), TOKENIZER)
        assert classifier.model.block == Point((Part(0, 1, (0, 1, 2)),))
        scores.append(explain(classifier, TEXTS[2], "gi:reduction=sum")[0].scores)
    assert scores[0] == pytest.approx(scores[1], abs=1e-7)


class Two(Own):
    """Returns two things of the shape of logits."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        logits = self.logits(input_ids, attention_mask)
        return {"raw": logits, "likely": logits.softmax(-1), "many": logits.repeat(1, 2)}


def test_logits_that_are_not_clear_are_refused_and_can_be_said() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'raw': \(2, 3\).*'likely'.*logits='raw'") as caught:
        Classifier(Two(), TOKENIZER)
    assert "\n" not in str(caught.value)
    assert Classifier(Two(), TOKENIZER, labels=list("abcdef")).labels == tuple("abcdef")
    with pytest.raises(UnsupportedModelError, match="several"):
        Classifier(Two(), TOKENIZER, labels=list("abc"))
    (expected,) = explain((Own(), TOKENIZER), TEXTS[0], "gi")
    for where in ("raw", lambda output: output["raw"], lambda output: output["many"][:, 3:]):
        (found,) = explain(Classifier(Two(), TOKENIZER, logits=where), TEXTS[0], "gi")
        assert found.scores == pytest.approx(expected.scores)
    inputs = TOKENIZER(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
    assert attribute(Two(), inputs, "gi", logits="raw").logits.shape == (1, 3)
    with pytest.raises(UnsupportedModelError, match="logits='raw'"):
        attribute(Two(), inputs, "gi")


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("rwa", UnknownNameError, "place of the logits 'rwa'; did you mean 'raw'"),
        (7, UnknownNameError, "place of the logits 7"),
        (lambda output: None, UnsupportedModelError, "found NoneType"),
        (lambda output: output["raw"][0], UnsupportedModelError, r"found a tensor of shape \(3,\)"),
        (lambda output: output["nothing"], UnsupportedModelError, "Two fails"),
    ],
)
def test_a_wrong_place_of_the_logits_is_said(where: Any, error: type[WhybertError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Classifier(Two(), TOKENIZER, logits=where)
    assert "\n" not in str(caught.value)


def test_a_single_output_without_an_axis_for_it() -> None:
    class Number(Own):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return self.logits(input_ids, attention_mask).squeeze(-1)

    ours = Classifier(Number(1), TOKENIZER)
    assert ours.is_regression
    for text, prediction, explanation in zip(TEXTS, ours.predict(TEXTS), explain(ours, TEXTS), strict=True):
        inputs = TOKENIZER(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            number = float(ours.model.module(**inputs))
        assert prediction.answer == pytest.approx(number, abs=1e-5)
        assert explanation.answer == pytest.approx(number, abs=1e-5)
    said = Classifier(Number(1), TOKENIZER, problem_type="multi_label_classification")
    assert said.predict(TEXTS[0])[0].answer == pytest.approx(
        torch.tensor(ours.predict(TEXTS[0])[0].answer).sigmoid().item(), abs=1e-5
    )


def test_the_attribution_point_can_be_said() -> None:
    module = Own()
    words = module.bert.embeddings.word_embeddings
    by_name, by_part = (
        Classifier(module, TOKENIZER, embedding=each) for each in ("bert.embeddings.word_embeddings", words)
    )
    assert explain(by_name, TEXTS) == explain(by_part, TEXTS)
    assert audit(by_part, TEXTS, ["gi", "attnlrp", "cp_lrp"]).passed
    found = explain(Classifier(module, TOKENIZER), TEXTS, "cp_lrp")
    assert explain(by_name, TEXTS, "cp_lrp")[0].scores != found[0].scores  # positions are not words
    known = Classifier(tiny.bert(TOKENIZER), TOKENIZER, embedding="bert.embeddings.word_embeddings")
    assert audit(known, TEXTS, "cp_lrp").passed
    with pytest.raises(UnknownNameError, match=r"bert.embedings'; did you mean 'bert.embeddings'"):
        Classifier(module, TOKENIZER, embedding="bert.embedings")
    with pytest.raises(UsageError, match="found another Embedding"):
        Classifier(module, TOKENIZER, embedding=nn.Embedding(2, 2))
    with pytest.raises(UsageError, match="found int"):
        Classifier(module, TOKENIZER, embedding=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("head", r"found of 'head' shape \(2, 3\)"),
        ("bert", "found of 'bert' BaseModelOutput"),
        ("bert.embeddings.position_embeddings", r"position_embeddings' shape \(1, "),
        ("bert.embeddings.token_type_embeddings", "which does not depend on them"),
    ],
)
def test_a_part_whose_output_is_not_of_the_tokens_is_refused_at_once(part: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        Classifier(Own(), TOKENIZER, embedding=part)
    assert "\n" not in str(caught.value)


class Tied(HandMade):
    """The table of words is the weight of another layer too, which comes before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first_decoder = nn.Linear(16, len(TOKENIZER), bias=False)
        self.first_decoder.weight = self.second.weight
        self._modules = {"decoder": self.first_decoder, **self._modules}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.second(input_ids)
        x = x + self.first_decoder(x).softmax(-1) @ self.second.weight
        return self.head((x * attention_mask[..., None]).sum(1))


class PastTheBlock(HandMade):
    """The part around the table hands the words on by another way than its output."""

    def __init__(self) -> None:
        super().__init__()
        self.part = Inner(self.second)
        del self.second
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.part(input_ids) + self.part.raw
        return self.head((x * attention_mask[..., None]).sum(1))


class Inner(nn.Module):
    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor) -> Tensor:
        self.raw = self.table(input_ids)
        return self.raw.tanh()


@pytest.mark.parametrize("module", [Tied, PastTheBlock])
def test_nothing_of_the_words_passes_by_the_attribution_point(module: Any) -> None:
    ours = Classifier(module().double(), TOKENIZER)
    assert ours.model.block == Point((Part(0, 1, (0, 1, 2)),))
    if module is PastTheBlock:
        return
    # without biases gradient times input of a linear model is all there is, so nothing may be missing
    (found,) = explain(ours, TEXTS[0], "gi:reduction=sum")
    ids = torch.tensor([TOKENIZER(TEXTS[0])["input_ids"]])
    vectors = ours.model.module.second(ids).detach().requires_grad_()
    x = vectors + ours.model.module.first_decoder(vectors).softmax(-1) @ ours.model.module.second.weight
    logits = ours.model.module.head(x.sum(1))[0]
    (gradient,) = torch.autograd.grad(logits[found.predicted], vectors)
    assert found.scores == pytest.approx((gradient * vectors).sum(-1)[0].tolist())


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("made", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    "kind", [None, "single_label_classification", "multi_label_classification", "regression"]
)
def test_of_probabilities_no_others_are_made(labels: int, made: str, kind: str | None) -> None:
    class Likely(Own):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            logits = self.logits(input_ids, attention_mask)
            found = logits.softmax(-1) if made == "softmax" else logits.sigmoid()
            return {"logits": found[:, None].squeeze(1), "states": None}

    def of(**options: Any) -> Classifier:
        return Classifier(Likely(labels), TOKENIZER, problem_type=kind, **options)

    if kind == "regression" or (kind is None and labels == 1):
        assert 0 <= of().predict(TEXTS[0])[0].answer <= 1
        return
    with pytest.raises(UnsupportedModelError, match=f"found what a {made} made of them") as caught:
        of()
    assert "\n" not in str(caught.value)
    if (made, kind) == ("sigmoid", "multi_label_classification"):
        [said] = of(logits=lambda found: found["logits"].logit()).predict(TEXTS[0])
    elif labels > 1 and made == "softmax" and kind != "multi_label_classification":
        [said] = of(logits=lambda found: found["logits"].log()).predict(TEXTS[0])
    else:
        return
    inputs = TOKENIZER(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
    assert said.probabilities == pytest.approx(Likely(labels)(**inputs)["logits"][0].tolist(), abs=1e-6)


class OneHot(Own):
    """Looks nothing up, but multiplies ones among zeros by its table."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        one_hot = nn.functional.one_hot(input_ids, len(TOKENIZER)).to(self.head.weight.dtype)
        table = self.bert.embeddings.word_embeddings.weight
        states = self.bert.embeddings.LayerNorm(one_hot @ table)
        return self.head((states * attention_mask[..., None]).sum(1))


class Twice(Own):
    """Looks words up in two tables, one narrower than the other."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Embedding(len(TOKENIZER), 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.logits(input_ids, attention_mask) + self.other(input_ids).mean(1)


class Backwards(Twice):
    """Looks them up the second time from the end."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        again = self.other(input_ids.flip(1)) * torch.linspace(1, 2, input_ids.shape[1])[:, None]
        return self.logits(input_ids, attention_mask) + again.mean(1)


class Positional(Own):
    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        return self.logits(tokens, mask)


class Failing(Own):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.head(input_ids)


class Picture(Own):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Any = None) -> Any:
        return self.logits(input_ids, attention_mask) + pixel_values.mean()


class Encoder(Own):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.bert(input_ids, attention_mask=attention_mask)


class Summed(Own):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.logits(input_ids, attention_mask).sum()


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        return torch.jit.script(nn.Linear(2, 2).eval())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Backwards, "looks up its words in 2 places.*in another order"),
        (Positional, r"takes no input_ids; .*forward\(self, input_ids, attention_mask\)"),
        (Failing, "Failing fails on inputs of shape"),
        (Picture, "Picture fails on inputs of shape.*it reads pixel_values too.*: pass a model of texts"),
        (Encoder, "logits .batch, labels. of Encoder .*found BaseModelOutput"),
        (Summed, r"found a tensor of shape \(\)"),
        (lambda: nn.Sequential(nn.Embedding(9, 2), nn.LazyLinear(2)).eval(), "1.weight has no shape yet"),
        (_scripted, "scripted or traced"),
        (lambda: Own().train(), r"train mode.*model.eval\(\)"),
        (lambda: nn.DataParallel(Own()), "not DataParallel.*model.module"),
    ],
)
def test_a_module_that_cannot_be_served_is_refused_by_name(module: Any, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        Classifier(module(), TOKENIZER)
    assert "\n" not in str(caught.value)


def test_what_was_not_found_can_be_said() -> None:
    ours = Classifier(OneHot(), TOKENIZER, embedding="bert.embeddings.LayerNorm")
    assert audit(ours, TEXTS, ["gi", "cp_lrp"]).passed
    found = Classifier(OneHot(), TOKENIZER)  # which mask and dropout may follow
    assert explain(found, TEXTS, "cp_lrp")[0].scores == pytest.approx(
        explain(ours, TEXTS, "cp_lrp")[0].scores
    )
    said = Classifier(Twice(), TOKENIZER, embedding="bert.embeddings")
    assert said.predict(TEXTS)  # the other table is a part of the model that is not traced to tokens


def test_what_is_looked_up_in_two_tables_is_explained_in_both() -> None:
    """The second, as narrow as a number, adds the mean of its numbers to the logit: a share for each."""
    module = Twice().double()
    inputs = TOKENIZER(TEXTS[:1], return_tensors="pt", return_token_type_ids=False)
    found = attribute(module, inputs, "cp_lrp", 0)
    assert found.biases is not None
    torch.testing.assert_close(found.scores.sum(1) + found.biases, found.output)
    alone = attribute(Twice().double(), inputs, "cp_lrp", 0, embedding="bert.embeddings", logits=None)
    share = module.other(inputs["input_ids"])[..., 0] / inputs["input_ids"].shape[1]
    torch.testing.assert_close(found.scores, alone.scores + share)


def test_errors_name_the_parts_as_their_owner_does() -> None:
    module = Own()
    ours = Classifier(module, TOKENIZER)
    module.bert.train()
    with pytest.raises(UnsupportedModelError, match=r"its part 'bert' is in train mode"):
        ours.predict(TEXTS)
    module.eval()
    with torch.no_grad():
        module.head.weight[0, 0] = torch.nan
    with pytest.raises(WhybertError, match=r"the weights of head.weight are not finite"):
        ours.predict(TEXTS)
