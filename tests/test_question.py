"""Methods of one's own: what a question answers, and methods of several passes as one class each."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tiny
import whybert
from models import Toy, inputs, make, shared_model
from whybert import METHODS, STANDARD, Classifier, UnknownNameError, UsageError, attribute, explain
from whybert.evaluation.sanity import SANITY
from whybert.evaluation.subjects import subjects
from whybert.lrp.composites import ATTN_LRP, CP_LRP, GRADIENT, Composite
from whybert.methods import GROUPS, Method, Question, create, create_all, split
from whybert.methods.base import reduce_hidden
from whybert.targets import ResolvedTarget
from whybert.typed import alternatives, choices_of, hinted, unwritten, written

TEXTS = ["the film was good and the actors were great", "a bad film", "good"]


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Midpoints of the line from the embedding of mask tokens, one by one or as copies of the batch."""

    name: ClassVar[str] = "ig"
    summary: ClassVar[str] = "integrated gradients"
    source: ClassVar[str] = "Sundararajan et al. 2017"
    complete: ClassVar[bool] = True

    steps: int = field(default=4, metadata={"least": 1})
    together: bool = False
    mask: int = 3

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        embedding = question.forward().embedding.detach()
        ids = question.inputs["input_ids"]
        masked = {**question.inputs, "input_ids": torch.full_like(ids, self.mask)}
        base = question.forward(inputs=masked).embedding.detach()
        shares = [(step + 0.5) / self.steps for step in range(self.steps)]
        if self.together:
            copies = {name: tensor.repeat(self.steps, 1) for name, tensor in question.inputs.items()}
            share = base.new_tensor(shares)[:, None, None, None]
            points = (base + share * (embedding - base)).flatten(0, 1)
            forward = question.forward((GRADIENT,), inputs=copies, at=lambda _: points)
            target = ResolvedTarget(question.target.index.repeat(self.steps))
            gradient = forward.gradient(GRADIENT, target).unflatten(0, (self.steps, -1)).mean(0)
        else:
            passes = [
                question.forward((GRADIENT,), at=lambda e, share=share: base + share * (e - base))
                for share in shares
            ]
            gradients = [forward.gradient(GRADIENT, question.target) for forward in passes]
            gradient = torch.stack(gradients).mean(0)
        relevance = (embedding - base) * gradient
        return reduce_hidden(relevance, "sum"), relevance


@dataclass(frozen=True)
class Occlusion(Method):
    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "the drop of the output without the token"
    source: ClassVar[str] = "Zeiler and Fergus 2014"

    by: Literal["mask", "delete", "pad", "zero"] = "mask"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        removed = torch.eye(question.inputs["input_ids"].shape[1], dtype=torch.bool)
        logits = question.without(removed, self.by)
        outputs = torch.stack([question.target.output(each) for each in logits])
        return (question.target.output(question.logits) - outputs).T, None


@pytest.fixture
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer)


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """How many rows each forward pass of the model has."""
    rows: list[int] = []
    block = model.base_model.embeddings
    handle = block.register_forward_hook(lambda *call: rows.append(len(call[-1])))
    yield rows
    handle.remove()


# --- methods of several passes ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("together", [False, True])
def test_integrated_gradients_are_those_of_captum(family: str, together: bool) -> None:
    model = shared_model(family, "eager")
    batch = inputs(model)
    target = torch.tensor([0, 2, 1])

    def logits(ids: Tensor, mask: Tensor) -> Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    captum = LayerIntegratedGradients(logits, model.base_model.embeddings)
    expected = captum.attribute(
        batch["input_ids"],
        torch.full_like(batch["input_ids"], 3),
        target=target,
        additional_forward_args=(batch["attention_mask"],),
        n_steps=6,
        method="riemann_middle",
    ).detach()
    for surroundings in (nullcontext(), torch.no_grad(), torch.inference_mode()):
        with surroundings:
            found = attribute(model, batch, IntegratedGradients(6, together), target)
        # captum keeps the sizes of its steps in float32
        torch.testing.assert_close(found.relevance, expected, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(found.scores, expected.sum(-1), rtol=1e-6, atol=1e-7)
    assert (found.method, found.options["steps"], found.complete) == ("ig", 6, True)
    assert torch.equal(found.logits, attribute(model, batch).logits)


def test_one_forward_pass_is_shared_and_the_others_are_each_methods_own() -> None:
    model = make("bert", "sdpa")
    batch = inputs(model)
    with counted(model) as rows:
        found = attribute(model, batch, [*STANDARD, IntegratedGradients(), IntegratedGradients(2, True)])
    assert rows == [3, 3, 3, 3, 3, 3, 3, 6]
    assert list(found) == [*STANDARD, "ig", "ig:steps=2,together=true"]


@pytest.mark.parametrize("by", ["mask", "delete", "pad", "zero"])
def test_occlusion_is_its_literal_version(classifier: Classifier, by: str) -> None:
    tokenizer, model = classifier.tokenizer, classifier.model
    found = explain(classifier, TEXTS, Occlusion(by), target=1)
    for text, explanation in zip(TEXTS, found, strict=True):
        plain = tokenizer(text, return_tensors="pt")
        ids, mask = plain["input_ids"], plain["attention_mask"]
        before = float(model(**plain).logits[0, 1].detach())
        assert len(explanation.tokens) == ids.shape[1]
        for place, token in enumerate(explanation.tokens):
            changed, attended = ids.clone(), mask.clone()
            if by == "delete":
                kept = [i for i in range(ids.shape[1]) if i != place]
                changed, attended = ids[:, kept], mask[:, kept]
            else:
                changed[0, place] = {"mask": tokenizer.mask_token_id, "pad": tokenizer.pad_token_id}.get(
                    by, 0
                )
                attended[0, place] = 0 if by == "pad" else 1
            after = float(model(input_ids=changed, attention_mask=attended).logits[0, 1].detach())
            assert token.score == pytest.approx(before - after, rel=1e-9, abs=1e-12)
    assert found[0].method == "occlusion"
    assert found[0].options == {"by": by}


def test_what_is_equal_is_asked_once_and_padding_is_no_token(classifier: Classifier) -> None:
    """Two of the rows are one text; those of 5 and 3 tokens are asked without their padding."""
    assert not classifier.reads_padding  # which it is asked once, before anything is counted
    with counted(classifier.model) as rows:
        explain(classifier, [*TEXTS, "a bad film"], ["attnlrp", Occlusion(), Occlusion("zero")])
    assert rows == [4, 11, 5, 3, 11, 5, 3]  # intact they are known from the beginning


def test_removals_of_each_row(classifier: Classifier) -> None:
    """(removals, batch, seq): each row without other tokens; a batch is its rows one by one."""
    asked: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)

    @dataclass(frozen=True)
    class Asks(Occlusion):
        def attribute(self, question: Question) -> tuple[Tensor, None]:
            ids = question.inputs["input_ids"]
            removed = torch.rand((5, *ids.shape), generator=generator) < 0.5
            removed[:, :, 0] = False
            for batch_size in (1, 32):
                found = question.without(removed, self.by, batch_size=batch_size)
                assert (found.shape, found.dtype, found.device.type) == ((5, 3, 2), torch.float64, "cpu")
                for row in range(3):
                    alone = question.without(removed[:, row], self.by)[:, row]
                    torch.testing.assert_close(found[:, row], alone, rtol=1e-11, atol=1e-13)
            nothing = question.without(torch.zeros_like(removed[:1]), self.by)[0]
            torch.testing.assert_close(nothing, question.logits, rtol=1e-12, atol=1e-14)
            with pytest.raises(UsageError, match=r"bool of shape \(removals, 3, 11\), found torch.int64"):
                question.without(removed.long())
            with pytest.raises(UsageError, match="leave a token, and 'delete' leaves none"):
                question.without(torch.ones(1, ids.shape[1], dtype=torch.bool), "delete")
            with pytest.raises(UnknownNameError, match="unknown perturbation 'masks'; did you mean 'mask'"):
                question.without(removed, "masks")
            asked["logits"] = question.logits
            return torch.zeros_like(ids, dtype=torch.float64), None

    for by in ("mask", "delete", "pad", "zero"):
        explain(classifier, TEXTS, Asks(by))
    assert asked


def test_without_a_tokenizer_there_is_no_mask_token() -> None:
    model = shared_model("bert", "sdpa")
    found = attribute(model, inputs(model), Occlusion("delete"))
    assert bool((found.scores[0] != 0).any())
    assert not found.scores[1, 6:].any()
    with pytest.raises(UsageError, match="a tokenizer with a mask token, and there is none; use 'delete'"):
        attribute(model, inputs(model), Occlusion())


def small(name: str, **options: Any) -> Method:
    few = {"samples": 12, "n_steps": 4, "unit": "token", **options}
    known = METHODS[name].__dataclass_fields__
    return METHODS[name](**{key: value for key, value in few.items() if key in known})


@pytest.mark.parametrize("name", GROUPS["all"])
def test_an_unknown_word_and_a_mask_in_the_text_count_at_the_level_of_tensors(
    classifier: Classifier, name: str
) -> None:
    """They are special tokens of the tokenizer, but stand for text."""
    text = "the \u20ac film [MASK] good"
    batch = classifier.tokenizer(text, return_tensors="pt")
    found = attribute(classifier.model, batch, small(name), tokenizer=classifier.tokenizer).scores[0]
    [expected] = explain(classifier, text, small(name))
    assert expected.tokens[2].text == "[UNK]"
    if name != "random":  # which is drawn by the text
        assert found.tolist() == pytest.approx(expected.scores, rel=1e-9, abs=1e-12)
        assert found[2] != 0.0


class ReadsPadding(Toy):
    """A mean over all positions."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return super().forward(input_ids)


@pytest.mark.parametrize("name", ["kernel_shap", "deeplift", "integrated_gradients", "leave_one_out"])
def test_padding_that_the_model_reads_stays_in_a_batch_of_tensors(name: str) -> None:
    """What is explained is the answer to the row as it was given."""
    model = ReadsPadding(torch.tanh, labels=3)
    batch = inputs(model)
    tokenizer = SimpleNamespace(all_special_ids=[0], pad_token_id=0, mask_token_id=3)
    found = attribute(model, batch, small(name, n_steps=16, samples=600), 1, tokenizer=tokenizer)
    masked = batch["input_ids"].masked_fill(batch["attention_mask"].bool(), 3)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = {key: tensor[row : row + 1] for key, tensor in batch.items()}
        base, own = (
            model(**{**alone, "input_ids": ids[row : row + 1]}).logits[0, 1].item()
            for ids in (masked, batch["input_ids"])
        )
        for place in range(length):  # the model is a sum over the tokens: all of these are their differences
            changed = masked[row : row + 1].clone()
            changed[0, place] = batch["input_ids"][row, place]
            alone["input_ids"] = changed
            difference = model(**alone).logits[0, 1].item() - base
            assert found.scores[row, place].item() == pytest.approx(difference, rel=1e-4, abs=1e-9)
        if found.biases is not None:
            assert found.biases[row].item() == pytest.approx(base, abs=1e-12)
        assert found.output[row].item() == pytest.approx(own, abs=1e-12)


@pytest.mark.parametrize("name", ["value_zeroing", "alti", "decompx", "integrated_gradients", "deeplift"])
def test_an_input_that_is_one_number(name: str) -> None:
    inner = make("bert")

    class Scaled(nn.Module):
        config = inner.config

        def __init__(self) -> None:
            super().__init__()
            self.inner = inner
            self.eval()

        def get_input_embeddings(self) -> nn.Module:
            return inner.get_input_embeddings()

        def forward(self, input_ids: Tensor, attention_mask: Tensor, scale: Tensor) -> Any:
            return SimpleNamespace(logits=inner(input_ids, attention_mask).logits * scale)

    batch, method = inputs(inner), METHODS[name]()
    if "baseline" in method.options:
        method = dataclasses.replace(method, baseline="zero")
    found = attribute(Scaled(), {**batch, "scale": torch.tensor(2.0)}, method, 1).scores
    expected = attribute(inner, batch, method, 1).scores
    factor = 1.0 if method.kind == "decomposition" and not method.complete else 2.0
    assert torch.allclose(found, factor * expected, rtol=1e-6, atol=1e-9)


def test_a_composite_that_was_not_named_beforehand_gets_a_pass_of_its_own() -> None:
    """Else its sweep would follow the derivative where the shared pass kept nothing for its rules."""

    @dataclass(frozen=True)
    class Unannounced(Method):
        name: ClassVar[str] = "unannounced"
        used: ClassVar[Composite] = CP_LRP

        def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
            forward = question.forward((self.used,))
            relevance = forward.embedding.detach() * forward.gradient(self.used, question.target)
            return relevance.sum(-1), relevance

    model = shared_model("bert", "sdpa")
    batch = inputs(model)
    found = attribute(model, batch, ["cp_lrp", Unannounced()])
    alone = attribute(model, batch, ["gs", Unannounced()])
    for each in (found, alone):
        torch.testing.assert_close(each["unannounced"].scores, found["cp_lrp"].scores, rtol=1e-11, atol=1e-13)
    assert ATTN_LRP is not CP_LRP


def test_scores_of_another_shape_are_refused() -> None:
    @dataclass(frozen=True)
    class Wrong(Occlusion):
        def attribute(self, question: Question) -> tuple[Tensor, None]:
            return question.logits, None

    model = shared_model("bert", "sdpa")
    with pytest.raises(UsageError, match=r"scores of shape \(3, 9\) by occlusion, found \(3, 3\)"):
        attribute(model, inputs(model), Wrong())


def test_objects_are_judged_by_the_metrics_that_explain_again(classifier: Classifier) -> None:
    method = IntegratedGradients(2)
    judged = subjects(classifier, TEXTS)
    found = explain(classifier, TEXTS, [method], [subject.target for subject in judged])
    for name in ("random-logit", "max-sensitivity"):
        scores = SANITY[name](classifier, judged, found, methods=[method])
        assert list(scores) == ["ig:steps=2"]
        assert all(math.isfinite(score.value) for score in scores["ig:steps=2"][:2])
    assert all(score.value > 0.0 for score in scores["ig:steps=2"])
    occluded = explain(classifier, TEXTS, [Occlusion()], [subject.target for subject in judged])
    with pytest.raises(UsageError, match="tokens cannot be taken away where the embedding is changed"):
        SANITY["max-sensitivity"](classifier, judged, occluded, methods=[Occlusion()])


# --- specs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Everything(Occlusion):
    """An option of each kind."""

    name: ClassVar[str] = "everything"

    count: int = field(default=3, metadata={"least": 1, "most": 50})
    share: float = field(default=0.5, metadata={"above": 0, "below": 1})
    scale: float | None = None
    limit: int | None = 7
    exact: bool = False
    level: Literal[1, 2, "all"] = 1
    word: str | None = None


KINDS = {**METHODS, "everything": Everything}


@st.composite
def methods(draw: st.DrawFn) -> Method:
    kind = draw(st.sampled_from(list(KINDS.values())))
    values: dict[str, Any] = {}
    for each, hint in hinted(kind):
        strategies = [st.just(each.default), *map(st.just, choices_of(hint))]
        if int in alternatives(hint):
            strategies.append(st.integers(max(1, each.metadata.get("least", 1)), 50))
        if float in alternatives(hint):
            bounds = each.metadata
            low, high = (bounds.get(a, bounds.get(b)) for a, b in (("least", "above"), ("most", "below")))
            ends = {"exclude_min": "above" in bounds, "exclude_max": "below" in bounds}
            strategies.append(st.floats(low, high, allow_nan=False, allow_infinity=False, **ends))
        if bool in alternatives(hint):
            strategies.append(st.booleans())
        if str in alternatives(hint):
            strategies.append(st.text('aé=: .,\\"', max_size=8).map(str.strip).filter(bool))
        values[each.name] = draw(st.one_of(strategies))
    if (values.get("word") or "").casefold() == "none":
        values["word"] = None
    return kind(**values)


@settings(max_examples=300)
@given(methods())
def test_a_spec_is_read_as_the_method_that_wrote_it(method: Method) -> None:
    name, _, rest = method.spec.partition(":")
    assert name == method.name
    hints = {each.name: hint for each, hint in hinted(type(method))}
    if '"' not in rest:  # else commas may stand in it
        pieces = [piece.partition("=") for piece in rest.split(",") if piece]
        read = type(method)(**{option: unwritten(hints[option], value) for option, _, value in pieces})
        assert read == method
        assert read.spec == method.spec
    if name in METHODS:
        assert create(method.spec) == method


@settings(max_examples=100)
@given(st.lists(methods(), min_size=1, max_size=6))
def test_specs_between_commas_are_told_apart(several: list[Method]) -> None:
    specs = [method.spec for method in several]
    assert split(",".join(specs)) == specs
    if len(set(specs)) < len(specs):
        with pytest.raises(UsageError, match="each method once"):
            create_all(several)
    else:
        assert create_all(several) == several


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gi:", "expected option=value after 'gi:', found ''"),
        ("gi:sum", "expected option=value after 'gi:', found 'sum' in 'gi:sum'"),
        ("lrp:alpha=1,", "expected option=value after 'lrp:', found ''"),
        ("lrp:alpha=1,alpha=1", "expected alpha of lrp once, found it twice"),
        ("lrp:alpha=1,gi", "found 'gi' in 'lrp:alpha=1,gi'"),
        ("lrp:alpha=", "expected alpha of lrp to be a number, found ''"),
        ("lrp:alpha=nan", "alpha of lrp of at least 0"),
        ("lrp:alpha=true", "alpha of lrp to be a number, found 'true'"),
        ("gi:reduktion=sum", "unknown option of gi 'reduktion'; did you mean 'reduction'"),
        ("gi:reduction=summ", "unknown reduction of gi 'summ'; did you mean 'sum'"),
        ("gj:reduction=sum", "unknown method 'gj'; did you mean"),
        ("gi reduction=sum", "expected options after a colon, as in gi:reduction=sum"),
        ("", "unknown method ''"),
        ("gi,lat", "unknown method 'gi,lat'"),
    ],
)
def test_specs_that_are_none(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"count": True},
        {"count": 2.0},
        {"count": "2"},
        {"count": 0},
        {"count": 51},
        {"count": 10**400},
        {"share": 0.0},
        {"share": 1},
        {"share": math.nan},
        {"scale": math.inf},
        {"scale": False},
        {"scale": torch.ones(3, 3)},
        {"limit": 1.5},
        {"exact": 1},
        {"exact": None},
        {"level": True},
        {"level": 3},
        {"level": "al"},
        {"word": ""},
        {"word": " a"},
        {"word": 3},
        {"by": None},
    ],
    ids=str,
)
def test_values_that_an_option_cannot_have(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))) as caught:
        Everything(**options)
    assert "\n" not in str(caught.value)


def test_a_text_with_a_comma_stands_in_quotation_marks() -> None:
    spec = 'integrated_gradients:n_steps=3,baseline="so, \\"well\\"=2"'
    [first, second] = create_all(split(f"gi:reduction=sum , {spec}"))
    assert (first.spec, second.spec) == ("gi:reduction=sum", spec)
    assert second.options["baseline"] == 'so, "well"=2'
    assert create('integrated_gradients:baseline = "."').spec == "integrated_gradients:baseline=."
    with pytest.raises(UsageError, match="expected option=value after 'integrated_gradients:', found 'b'"):
        create("integrated_gradients:baseline=a,b")


def test_what_is_equal_has_one_spec() -> None:
    assert create("LRP : alpha = 1 ,residual=once").spec == "lrp:residual=once,alpha=1"
    assert create("lrp", {"alpha": 1}).spec == create("lrp", {"alpha": 1.0}).spec == "lrp:alpha=1"
    assert create("lrp:alpha=0.5,residual=released").spec == "lrp"
    assert (
        Everything(share=0.1 + 0.2, word="none of it").spec
        == "everything:share=0.30000000000000004,word=none of it"
    )
    assert written(None) == "none"


def test_every_named_method_of_the_package_is_in_the_table() -> None:
    def below(kind: type[Method]) -> Iterator[type[Method]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    found = [k for k in below(Method) if "name" in vars(k) and k.__module__.startswith("whybert.methods.")]
    assert {each.name: each for each in found} == dict(METHODS)
    assert len({each.name for each in found}) == len(found)
    for method in METHODS.values():
        assert dataclasses.is_dataclass(method)
        assert hash(method()) == hash(method())


ONE_FILE = """
from dataclasses import dataclass, field
from typing import ClassVar

from whybert.lrp.composites import GRADIENT
from whybert.methods.base import Method


@dataclass(frozen=True)
class PowerOfGradient(Method):
    name: ClassVar[str] = "power"
    summary: ClassVar[str] = "a power of the gradient"
    source: ClassVar[str] = "a test"
    kind: ClassVar[str] = "gradient"
    signed: ClassVar[bool] = False

    exponent: int = field(default=2, metadata={"least": 1})

    def composites(self):
        return (GRADIENT,)

    def attribute(self, question):
        gradient = question.forward((GRADIENT,)).gradient(GRADIENT, question.target)
        return (gradient.abs() ** self.exponent).sum(-1), gradient
"""


@pytest.mark.slow
def test_a_method_costs_one_file(tmp_path: Path) -> None:
    """In a copy of the package: its option reaches the command line, and both are listed."""
    shutil.copytree(Path(whybert.__file__).parent, tmp_path / "src" / "whybert")
    (tmp_path / "src" / "whybert" / "methods" / "power.py").write_text(ONE_FILE)
    tokenizer = tiny.wordpiece()
    model = tiny.save(tmp_path / "model", tiny.bert(tokenizer), tokenizer)

    def command(*arguments: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "whybert", *arguments, "--format", "json"],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    rows = {row["name"]: row for row in command("list", "methods")}
    assert set(rows) == {*METHODS, "power"}
    assert rows["power"]["options"][0]["what"] == "a whole number of at least 1"
    specs = "gs,power:exponent=3,power"
    found = command("explain", "a good film", "--model", str(model), "--method", specs)
    assert [(each["method"], each["options"]) for each in found[1:]] == [
        ("power", {"exponent": 3}),
        ("power", {"exponent": 2}),
    ]
