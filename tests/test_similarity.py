"""Similarities of two texts: against closed forms, literal sweeps, twins and the encoder's own numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import models
import oracles
import tiny
from commands import Run, caller
from models import CASES, inputs, make, working_dtype
from whybert import (
    Encoder,
    Explanation,
    InputError,
    ModelLoadError,
    NonFiniteError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    attribute,
    html,
    load,
    save,
    similarity,
)
from whybert.anatomy import plain
from whybert.encoders import POOLINGS
from whybert.interception import run
from whybert.lrp.composites import ATTN_LRP, CP_LRP, GRADIENT, WRITTEN_OUT, Composite
from whybert.render.grids import pair_grid
from whybert.render.terminal import plain_text, terminal

A, B = "the film was good", "don't you think so? the actors were great"
METHODS = ("attnlrp", "cp_lrp", "gi:reduction=sum")
COMPOSITES = {"attnlrp": ATTN_LRP, "cp_lrp": CP_LRP, "gi:reduction=sum": GRADIENT}


def parts(dtype: torch.dtype = torch.float64, **options: Any) -> tuple[nn.Module, Any]:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(3)
    model = transformers.BertModel(
        tiny.bert_config(tokenizer, initializer_range=0.3, hidden_size=32, **options), add_pooling_layer=False
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return model.to(dtype).eval(), tokenizer


def total(explanation: Explanation) -> float:
    pairs = explanation.pairs
    assert pairs is not None
    return math.fsum(
        (*(v for row in pairs.values for v in row), *pairs.first, *pairs.second, pairs.constants or 0)
    )


def matrix(explanation: Explanation) -> Tensor:
    assert explanation.pairs is not None
    return torch.tensor(explanation.pairs.values, dtype=torch.float64)


# --- what each position holds of each output ---------------------------------------------------------------


def one_by_one(
    model: nn.Module, batch: dict[str, Tensor], composite: Composite
) -> tuple[Tensor, Tensor | None]:
    """A forward pass and d sweeps of a row alone, each by itself."""
    rows, books = [], []
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = {name: each[row : row + 1, :length] for name, each in batch.items()}
        held, kept = [], []
        with plain(model, backward=True):
            forward = run(model, alone, (composite,))
            for label in range(model.config.num_labels):
                seed = torch.zeros_like(forward.logits)
                seed[0, label] = 1.0
                to = [forward.embedding] + ([] if forward.books is None else [forward.books])
                found = forward.swept(composite, forward.logits, seed, to)
                held.append((forward.embedding.detach() * found[0]).sum(-1)[0])
                kept.append(found[1][0] if len(found) > 1 else torch.tensor(0.0))
        rows.append(torch.stack(held, 1))
        books.append(torch.stack(kept))
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return padded, torch.stack(books) if composite.keeps_books else None


@pytest.mark.parametrize(
    ("family", "attention", "method"),
    [
        (family, attention, method)
        for family, attention in (*CASES, ("pre-norm", "eager"))
        for method in (METHODS if family in ("bert", "modernbert") else ["attnlrp"])
    ],
)
def test_one_sweep_and_its_derivatives_are_as_many_sweeps_as_there_are_outputs(
    family: str, attention: str, method: str
) -> None:
    dtype = torch.float64 if family == "pre-norm" else working_dtype(family, attention)
    model = models.pre_norm() if family == "pre-norm" else make(family, attention, dtype, num_labels=12)
    batch, composite = inputs(model), COMPOSITES[method]
    with plain(model, backward=True):
        forward = run(model, batch, (composite, WRITTEN_OUT))
        assert (forward._by_derivative(composite) is not None) or family == "pre-norm"
        held, kept = forward.by_output(composite)
    expected, books = one_by_one(model, batch, composite)
    # these compute parts in float32 whatever the type
    narrow = dtype == torch.float32 or family in ("deberta", "modernbert")
    near = {"rtol": 1e-4, "atol": 1e-5} if narrow else {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(held, expected, **near)
    assert bool((held[batch["attention_mask"] == 0] == 0).all())
    assert (kept is None) == (books is None)
    if kept is not None:
        torch.testing.assert_close(kept, books, check_dtype=False, **near)


def test_outputs_are_swept_one_by_one_where_there_is_no_second_derivative() -> None:
    model = make("bert", "sdpa", num_labels=12)
    batch = inputs(model)
    with plain(model, backward=True):
        fused, written_out = (run(model, batch, kinds) for kinds in ((CP_LRP,), (CP_LRP, WRITTEN_OUT)))
        assert fused._by_derivative(CP_LRP) is None
        found, expected = (each.by_output(CP_LRP) for each in (fused, written_out))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class _Forgets(torch.autograd.Function):
    """2 x, whose backward pass is no part of a graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.from_numpy(2 * gradient.detach().numpy())


def test_a_backward_pass_that_forgets_its_graph_is_noticed() -> None:
    model = models.Toy(lambda x: torch.relu(x) + _Forgets.apply(x), labels=12)
    batch = inputs(model)
    with plain(model, backward=True):
        forward = run(model, batch, (GRADIENT,))
        assert forward._by_derivative(GRADIENT) is None
        held, _ = forward.by_output(GRADIENT)
    for label in range(12):
        scores = attribute(model, batch, "gi:reduction=sum", label).scores
        torch.testing.assert_close(held[:, :, label], scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_it_is_what_the_literal_twin_says_of_each_output(method: str) -> None:
    model = make("bert", num_labels=6)
    batch = inputs(model, (5, 3))
    with plain(model, backward=True):
        held, _ = run(model, batch, (COMPOSITES[method],)).by_output(COMPOSITES[method])
    twin = oracles.Bert(model.state_dict(), 4, model.config.layer_norm_eps)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        trace = twin.forward(twin.embed(batch["input_ids"][row, :length]))
        for label in range(6):
            seed = torch.eye(6, dtype=torch.float64)[label]
            states, _ = twin.modern_inside(trace, seed, attention_constant=method == "cp_lrp")
            torch.testing.assert_close(held[row, :length, label], states[0].sum(1), rtol=1e-8, atol=1e-10)


# --- similarities -----------------------------------------------------------------------------------------


class Bag(nn.Module):
    """The mean of the words' vectors, and nothing else."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(len(tokenizer), 48)
        self.double().eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[:, :, None].double()
        return (self.words(input_ids) * mask).sum(1) / mask.sum(1)


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_of_a_bag_of_vectors_a_pair_of_tokens_holds_the_product_of_its_vectors(
    method: str, score: Any
) -> None:
    tokenizer = tiny.wordpiece()
    model = Bag(tokenizer)
    found = similarity((model, tokenizer), A, B, method, score=score, pairs=True)
    first, second = (model.words.weight.detach()[tokenizer(text)["input_ids"]] for text in (A, B))
    expected = first @ second.T / (len(first) * len(second))
    if score == "cosine":
        expected = expected / (first.mean(0).norm() * second.mean(0).norm())
    torch.testing.assert_close(matrix(found), expected, rtol=1e-10, atol=1e-12)
    assert found.answer == pytest.approx(float(expected.sum()), rel=1e-10)
    assert found.scores == pytest.approx([*(expected.sum(1) / 2).tolist(), *(expected.sum(0) / 2).tolist()])
    assert found.labels == ({"cosine": "cosine similarity", "dot": "dot product"}[score],)


@pytest.mark.parametrize("pooling", list(POOLINGS))
@pytest.mark.parametrize("score", ["cosine", "dot"])
def test_cp_lrp_and_its_books_are_the_similarity(pooling: str, score: Any) -> None:
    found = similarity(parts(), A, B, "cp_lrp", score=score, pooling=pooling, pairs=True)
    assert found.completeness is not None
    assert found.completeness.open_share < 1e-10
    assert total(found) == pytest.approx(found.answer, rel=1e-9)
    assert found.pairs is not None
    rows = matrix(found).sum(1) + torch.tensor(found.pairs.first, dtype=torch.float64)
    columns = matrix(found).sum(0) + torch.tensor(found.pairs.second, dtype=torch.float64)
    own = torch.tensor(found.scores, dtype=torch.float64)
    torch.testing.assert_close(torch.cat([rows, columns]), 2 * own, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("pooling", list(POOLINGS))
def test_the_similarity_is_the_models_own(pooling: str) -> None:
    model, tokenizer = parts()
    vectors = []
    for text in (A, B):
        given = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**given).last_hidden_state[0]
        vectors.append(
            {"mean": states.mean(0), "cls": states[0], "last": states[-1], "max": states.amax(0)}[pooling]
        )
    cosine = float(nn.functional.cosine_similarity(vectors[0], vectors[1], 0))
    for score, expected in (("cosine", cosine), ("dot", float(vectors[0] @ vectors[1]))):
        found = similarity((model, tokenizer), A, B, "gi", pooling=pooling, score=score)
        assert found.answer == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_pairs_are_the_products_of_what_each_number_says(method: str) -> None:
    """The definition word for word: a sweep for each number of each vector, each text alone."""
    encoder = Encoder.of(parts(), pooling="mean")
    classifier = encoder.classifier
    held = []
    for text in (A, B):
        given = classifier.tokenizer(text, return_tensors="pt")
        del given["token_type_ids"]
        columns = [attribute(classifier.model, given, method, m).scores[0] for m in range(32)]
        held.append(torch.stack(columns, 1))
    found = similarity(encoder, A, B, method, pairs=True)
    torch.testing.assert_close(matrix(found), held[0] @ held[1].T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_texts_may_change_sides(method: str) -> None:
    encoder = Encoder.of(parts(), pooling="mean")
    one, other = similarity(encoder, A, B, method, pairs=True), similarity(encoder, B, A, method, pairs=True)
    assert one.answer == pytest.approx(other.answer, rel=1e-12)
    torch.testing.assert_close(matrix(one), matrix(other).T, rtol=1e-10, atol=1e-12)
    words = {(word.text, word.start): word.score for word in one.words()}
    assert words == pytest.approx({(word.text, word.start): word.score for word in other.words()}, rel=1e-9)


@pytest.mark.parametrize("method", ["attnlrp", "gs", "occlusion"])
def test_lists_are_what_their_texts_are_alone(method: str) -> None:
    encoder = Encoder.of(parts(), pooling="mean")
    texts, others = [A, "a film", B], [B, "a bad film", "a"]
    pairs = method == "attnlrp"
    together = similarity(encoder, texts, others, method, pairs=pairs)
    assert len(together) == 3
    for text, other, found in zip(texts, others, together, strict=True):
        alone = similarity(encoder, text, other, method, pairs=pairs)
        assert (found.text, found.pair) == (text, other)
        assert found.scores == pytest.approx(alone.scores, rel=1e-8, abs=1e-12)
        if pairs:
            torch.testing.assert_close(matrix(found), matrix(alone), rtol=1e-8, atol=1e-12)
    assert similarity(encoder, [], [], method) == []


def test_what_is_asked_is_the_change_of_the_similarity() -> None:
    """A method that takes words away is asked about the cosine, the other text staying as it is."""
    encoder = Encoder.of(parts(), pooling="mean")
    found = similarity(encoder, "good film", B, "occlusion:by=delete")
    whole, rest = (similarity(encoder, text, B, "gi").answer for text in ("good film", "film"))
    assert found.words()[0].score == pytest.approx(whole - rest, abs=1e-9)


def test_a_sentence_transformer_answers_as_before(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    model, tokenizer = parts(torch.float32)
    folder = tiny.save(tmp_path / "encoder", model, tokenizer)
    body = Transformer(str(folder))
    held = SentenceTransformer(modules=[body, Pooling(body.get_embedding_dimension())], device="cpu")
    found = similarity(held, A, B, "cp_lrp", pairs=True)
    assert found.answer == pytest.approx(float(held.similarity(held.encode(A), held.encode(B))), abs=1e-5)
    assert total(found) == pytest.approx(found.answer, abs=1e-4)
    by_parts = similarity((model, tokenizer), A, B, "cp_lrp", pooling="mean", pairs=True)
    assert found.scores == pytest.approx(by_parts.scores, abs=1e-5)
    held.similarity_fn_name = "dot"
    assert similarity(held, A, B).labels == ("dot product",)
    held.similarity_fn_name = "euclidean"
    with pytest.raises(UsageError, match="compares by euclidean"):
        similarity(held, A, B)
    with pytest.raises(UsageError, match="pools by itself"):
        similarity(held, A, B, pooling="mean")
    held.encode = lambda *_, **__: torch.ones(32)
    with pytest.raises(UsageError, match="another vector of a sentence"):
        similarity(held, A, B, score="cosine")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def test_folders_and_the_command(tmp_path: Path, shell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    monkeypatch.chdir(tmp_path)
    model, tokenizer = parts(torch.float32)
    folder = str(tiny.save(tmp_path / "encoder", model, tokenizer))
    expected = similarity((model, tokenizer), A, B, pooling="cls")
    assert similarity(folder, A, B, pooling="cls").scores == pytest.approx(expected.scores, abs=1e-6)
    with pytest.raises(UsageError, match="does not say how its hidden states"):
        similarity(folder, A, B)
    body = Transformer(folder)
    size = body.get_embedding_dimension()
    held = SentenceTransformer(modules=[body, Pooling(size, pooling_mode="cls"), Normalize()], device="cpu")
    held.save(str(tmp_path / "sentences"))
    found = similarity(str(tmp_path / "sentences"), A, B, "cp_lrp", pairs=True)
    assert found.answer == pytest.approx(expected.answer, abs=1e-5)
    assert total(found) == pytest.approx(found.answer, abs=1e-4)
    shown = shell("similarity", A, B, "-m", folder, "--pooling", "cls").out
    assert "strongest pairs" in shown
    written = shell("similarity", A, B, "-m", "./sentences", "-f", "json", "--no-pairs")
    assert written.code == 0, written.err
    assert json.loads(written.out)["pairs"] is None
    shell("similarity", A, B, "-m", "sentences", "--method", "cp_lrp", "-o", "why.html")
    assert "cosine similarity" in (tmp_path / "why.html").read_text(encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelLoadError):
        similarity("empty", A, B, pooling="mean")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda parts: similarity(parts, A, B), UnsupportedModelError, "pooling='mean'"),
        (lambda parts: similarity(parts, A, B, pooling="sum"), UnknownNameError, "pooling"),
        (lambda parts: similarity(parts, A, B, pooling="mean", score="l2"), UnknownNameError, "score"),
        (lambda parts: similarity(parts, A, [B], pooling="mean"), InputError, "one of each"),
        (lambda parts: similarity(parts, [A], [B, A], pooling="mean"), InputError, "found 1 and 2"),
        (lambda parts: similarity(parts, [(A, B)], [B], pooling="mean"), InputError, "expected texts as str"),
        (lambda parts: similarity(parts, A, " ", pooling="mean"), InputError, "text 1 is empty"),
        (lambda parts: similarity(parts, A, B, "lat", pooling="mean", pairs=True), UsageError, "lat is none"),
        (
            lambda parts: similarity(parts[0], A, B),
            UsageError,
            "expected a sentence encoder, found BertModel",
        ),
        (lambda parts: similarity(3, A, B), UsageError, "found int"),
        (lambda parts: similarity("./nowhere", A, B, pooling="cls"), ModelLoadError, "no folder './nowhere'"),
        (
            lambda parts: similarity(Encoder.of(parts, pooling="mean"), A, B, pooling="cls"),
            UsageError,
            "leave them out",
        ),
        (lambda parts: similarity(parts, A, B, "nothing", pooling="mean"), UnknownNameError, "nothing"),
    ],
)
def test_what_is_wrong_is_said(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call(parts())
    assert "\n" not in str(caught.value)


def test_a_vector_of_nothing_has_no_cosine() -> None:
    tokenizer = tiny.wordpiece()
    model = Bag(tokenizer)
    nn.init.zeros_(model.words.weight)
    with pytest.raises((NonFiniteError, UnsupportedModelError)):
        similarity((model, tokenizer), A, B)


def test_the_encoder_is_untouched_and_texts_may_be_cut() -> None:
    model, tokenizer = parts()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = similarity((model, tokenizer), "a " * 60, B, pooling="mean", max_length=12)
    assert found.truncated
    assert "was cut" in plain_text(terminal(found))
    assert "windows" not in plain_text(terminal(found))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def decoder(kind: str) -> tuple[nn.Module, Any]:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(3)
    sizes = {"vocab_size": len(tokenizer), "initializer_range": 0.2}
    if kind == "gpt2":
        config: Any = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=40, **sizes)
    else:
        config = transformers.LlamaConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **sizes
        )
    return transformers.AutoModel.from_config(config).double().eval(), tokenizer


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_decoders_are_encoders_by_their_last_token(kind: str) -> None:
    held = decoder(kind)
    found = similarity(held, [A, B], [B, "a film"], "cp_lrp", pooling="last", pairs=True)
    for each in found:
        assert each.completeness is not None
        assert each.completeness.open_share < 1e-6
        assert total(each) == pytest.approx(each.answer, rel=1e-6)


# --- what is shown ----------------------------------------------------------------------------------------


def shown() -> Explanation:
    return similarity(parts(), "a <b>film</b>", B, "cp_lrp", pooling="mean", pairs=True)


def test_it_goes_into_files_and_comes_back(tmp_path: Path) -> None:
    found = shown()
    assert Explanation.from_dict(found.to_dict()) == found
    for suffix in ("jsonl", "parquet"):
        save(found, tmp_path / f"found.{suffix}")
        assert load(tmp_path / f"found.{suffix}") == [found]
    plain_one = similarity(parts(), A, B, pooling="mean")
    assert plain_one.pairs is None
    save([found, plain_one], tmp_path / "both.parquet")
    assert load(tmp_path / "both.parquet") == [found, plain_one]
    for suffix in ("html", "tex", "csv", "txt", "svg"):
        save(found, tmp_path / f"found.{suffix}")


@pytest.mark.parametrize("level", ["word", "token", "sentence"])
def test_the_table_of_pairs_has_all_there_is(level: Any) -> None:
    found = shown()
    grid = pair_grid(found, level)
    assert math.fsum(grid.total) == pytest.approx(found.answer, rel=1e-6)
    assert grid.columns[-1] == grid.rows[-1][0] == "biases"
    if level == "token":
        inner = torch.tensor([scores[:-1] for _, scores in grid.rows[:-1]], dtype=torch.float64)
        torch.testing.assert_close(inner, matrix(found))
    [top, *_] = found.top_pairs(1, level)
    assert not any(getattr(each, "special", False) for each in (top.first, top.second))
    by_hand = max((abs(each.score) for each in found.top_pairs(10**6, level)), default=0.0)
    assert abs(top.score) == by_hand


def test_it_is_shown_everywhere() -> None:
    found = shown()
    text = plain_text(terminal(found), 160)
    assert "cosine similarity" in text
    assert "strongest pairs" in text
    assert "biases" in text
    page = html(found)
    assert "<b>film" not in page
    assert "strongest pairs" in page
    assert found.plot("pairs").axes is not None
    with pytest.raises(UsageError, match="pairs=True"):
        similarity(parts(), A, B, pooling="mean").plot("pairs")
    with pytest.raises(UsageError, match="pairs=True"):
        similarity(parts(), A, B, pooling="mean").top_pairs()
    long = similarity(parts(), "a film " * 9, "the actors were great " * 4, pooling="mean", pairs=True)
    assert "too many for a terminal" in plain_text(terminal(long))


def test_pairs_fit_the_tokens() -> None:
    found = shown()
    data = found.to_dict()
    data["pairs"]["values"] = data["pairs"]["values"][1:]  # type: ignore[index]
    with pytest.raises(InputError, match="a row for each token of the text"):
        Explanation.from_dict(data)
