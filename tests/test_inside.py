"""Relevance inside of the model: at every layer, of every head, and by patching hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    ConvBertConfig,
    DebertaV2Config,
    FunnelConfig,
    MobileBertConfig,
    NystromformerConfig,
    RemBertConfig,
    SqueezeBertConfig,
)

import models
import oracles
import tiny
from commands import caller, one_error
from models import CASES, Toy, inputs, make, shared_model, working_dtype
from whybert import (
    Attribution,
    Classifier,
    Explanation,
    InputError,
    UnsupportedModelError,
    UsageError,
    attribute,
    explain,
    html,
    load,
    save,
)
from whybert.interception import run
from whybert.lrp.composites import CP_LRP
from whybert.methods import create
from whybert.render.grids import layer_grid
from whybert.render.terminal import comparison, plain_text, terminal

METHODS = ("attnlrp", "cp_lrp", "gi:reduction=sum")


def asked(model: nn.Module, batch: dict[str, Tensor], method: str, **how: Any) -> Attribution:
    found = attribute(model, batch, method, layers=True, heads=True, **how)
    assert found.layers is not None
    assert found.heads is not None
    return found


def row_of(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    length = int(batch["attention_mask"][row].sum())
    return {name: value[row : row + 1, :length] for name, value in batch.items()}


# --- against twins and the plain model --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_layers_and_heads_are_those_of_the_literal_twin(method: str) -> None:
    model = shared_model("bert")
    batch = inputs(model)
    found = asked(model, batch, method, target=1)
    twin = oracles.Bert(model.state_dict(), 4, model.config.layer_norm_eps)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        trace = twin.forward(twin.embed(batch["input_ids"][row, :length]))
        seed = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
        states, contexts = twin.modern_inside(trace, seed, attention_constant=method == "cp_lrp")
        assert found.layers is not None
        assert found.heads is not None
        expected = torch.stack([state.sum(1) for state in states])
        torch.testing.assert_close(found.layers[row, :, :length], expected, rtol=1e-9, atol=1e-11)
        of_heads = torch.stack([context.unflatten(1, (4, -1)).sum((0, 2)) for context in contexts])
        torch.testing.assert_close(found.heads[row], of_heads, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_the_layers_are_those_that_the_model_calls_its_hidden_states(family: str, attention: str) -> None:
    """Gradient x state, both from the plain model."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    found = asked(model, batch, "gi:reduction=sum", target=2)
    output = model(**batch, output_hidden_states=True)
    states = output.hidden_states
    gradients = torch.autograd.grad(output.logits[:, 2].sum(), states)
    expected = torch.stack([(s * g).sum(-1) for s, g in zip(states, gradients, strict=True)], 1).detach()
    assert found.layers is not None
    # ALBERT and ELECTRA map the embedding to the width of their layers, and call what comes out their first.
    torch.testing.assert_close(found.layers[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)
    if working_dtype(family, attention) == torch.float64 and family != "deberta":
        torch.testing.assert_close(found.layers[:, 1:], expected[:, 1:], rtol=1e-9, atol=1e-11)


OTHERS: dict[str, Any] = {
    "convolutions side by side with attention": (ConvBertConfig, {"embedding_size": 32}),
    "a convolution around the first layer": (
        DebertaV2Config,
        {"conv_kernel_size": 3, "relative_attention": True, "pos_att_type": ["c2p"], "position_buckets": 8},
    ),
    "(batch, width, positions) inside": (SqueezeBertConfig, {"embedding_size": 32}),
    "bottlenecks around attention": (MobileBertConfig, {"embedding_size": 16, "intra_bottleneck_size": 16}),
    "an embedding that is mapped": (RemBertConfig, {"input_embedding_size": 16, "output_embedding_size": 16}),
    "three products an attention": (NystromformerConfig, {"num_landmarks": 8, "segment_means_seq_len": 8}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_layers_of_models_that_are_built_otherwise(what: str) -> None:
    kind, options = OTHERS[what]
    model = make(kind(**{**models._COMMON, "num_hidden_layers": 3}, **options), "eager")
    batch = inputs(model, (8, 8, 8))
    found = attribute(model, batch, "gi:reduction=sum", target=2, layers=True)
    output = model(**batch, output_hidden_states=True)
    states = output.hidden_states[1:]
    gradients = torch.autograd.grad(output.logits[:, 2].sum(), states)
    expected = [(s * g).sum(-1).detach() for s, g in zip(states, gradients, strict=True)]
    assert found.layers is not None
    torch.testing.assert_close(found.layers[:, 1:], torch.stack(expected, 1), rtol=1e-9, atol=1e-11)


def test_layers_that_shorten_the_text_are_refused() -> None:
    sizes = {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "vocab_size": models.VOCABULARY}
    model = make(FunnelConfig(block_sizes=[1, 1], num_labels=3, **sizes), "eager")
    model.config.pad_token_id = 0
    with pytest.raises(UnsupportedModelError, match=r"behind its attention 2 there is no state"):
        attribute(model, inputs(model), "gi:reduction=sum", layers=True)


def test_heads_are_what_hooks_of_the_plain_model_see() -> None:
    model = make("bert")
    batch = inputs(model)
    found = asked(model, batch, "gi:reduction=sum", target=0)
    contexts: list[Tensor] = []
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.register_forward_pre_hook(lambda module, args: contexts.append(args[0]))
    gradients = torch.autograd.grad(model(**batch).logits[:, 0].sum(), contexts)
    expected = [(c * g).unflatten(2, (4, -1)).sum((1, 3)) for c, g in zip(contexts, gradients, strict=True)]
    torch.testing.assert_close(found.heads, torch.stack(expected, 1).detach(), rtol=1e-9, atol=1e-11)


# --- what holds for every family --------------------------------------------------------------------------


def tolerance(family: str, attention: str) -> float:
    """DeBERTa computes its LayerNorm in float32, see `test_families.tolerance`."""
    return 1e-12 if working_dtype(family, attention) == torch.float64 and family != "deberta" else 1e-5


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_without_biases_every_layer_sums_to_the_logit(family: str, attention: str) -> None:
    model = make(family, attention, working_dtype(family, attention), biases=False)
    found = asked(model, inputs(model), "cp_lrp", target=[0, 1, 2])
    assert found.layer_sums is not None
    assert found.layer_sums.shape == (3, 3)
    within = tolerance(family, attention)
    torch.testing.assert_close(
        found.layer_sums, found.output[:, None].expand(-1, 3), rtol=within, atol=within
    )


@pytest.mark.parametrize(("family", "attention"), CASES)
@pytest.mark.parametrize("method", METHODS)
def test_inside_of_every_family(family: str, attention: str, method: str) -> None:
    """What is asked besides changes no number; padding gets nothing; texts are explained as if alone."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    plain, found = attribute(model, batch, method), asked(model, batch, method)
    assert torch.equal(found.logits, plain.logits)
    assert torch.equal(found.scores, plain.scores)
    assert found.biases is None or torch.equal(found.biases, plain.biases)
    assert (plain.layers, plain.layer_sums, plain.heads) == (None, None, None)
    layers, heads = found.layers, found.heads
    assert layers is not None
    assert heads is not None
    assert layers.shape == (3, 3, 9)
    assert heads.shape == (3, 2, 4)
    assert torch.equal(layers[:, 0], found.scores)
    assert not layers[(batch["attention_mask"] == 0)[:, None].expand_as(layers)].any()
    assert (layers[:, :2, :4] != 0).all()
    within = 1e-10 if tolerance(family, attention) == 1e-12 else 1e-4
    for row in range(3):
        single = row_of(batch, row)
        alone, length = asked(model, single, method), single["input_ids"].shape[1]
        torch.testing.assert_close(layers[row, :, :length], alone.layers[0], rtol=within, atol=within)
        torch.testing.assert_close(heads[row], alone.heads[0], rtol=within, atol=within)


def test_in_half_precision_numbers_are_finite_and_summed_in_float32() -> None:
    model = make("bert", "sdpa", torch.bfloat16)
    found = asked(model, inputs(model), "attnlrp")
    for each in (found.layers, found.layer_sums, found.heads):
        assert each is not None
        assert each.dtype == torch.float32
        assert torch.isfinite(each).all()


def test_methods_and_targets_share_a_forward_pass_and_each_has_one_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = shared_model("bert", "sdpa")
    batch, passes, sweeps = inputs(model), [0], [0]
    grad: Callable[..., Any] = torch.autograd.grad

    def counted(*args: Any, **kwargs: Any) -> Any:
        sweeps[0] += 1
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    handle = model.register_forward_pre_hook(lambda module, args: passes.__setitem__(0, passes[0] + 1))
    try:
        attribute(model, batch, list(METHODS), layers=True, heads=True)
    finally:
        handle.remove()
    assert (passes[0], sweeps[0]) == (1, 3)


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    model = shared_model("bert", "sdpa")
    assert run(model, inputs(model), [CP_LRP]).inside is None


# --- which axis is which, and what is refused -------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("lengths", [(4, 4, 4, 4), (9, 6, 4, 8), (3, 3, 2)])
def test_as_many_texts_as_heads_or_positions(family: str, lengths: tuple[int, ...]) -> None:
    model = shared_model(family, "eager" if family in models.EAGER_ONLY else "sdpa")
    batch = inputs(model, lengths)
    found = asked(model, batch, "attnlrp")
    assert found.layers is not None
    assert found.heads is not None
    for row in range(len(lengths)):
        single = row_of(batch, row)
        alone, length = asked(model, single, "attnlrp"), single["input_ids"].shape[1]
        torch.testing.assert_close(found.layers[row, :, :length], alone.layers[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(found.heads[row], alone.heads[0], rtol=1e-9, atol=1e-11)


class Attention(nn.Module):
    """One layer of attention with a residual sum, (batch, seq, hidden)."""

    def __init__(self, heads: int = 2, hidden: int = 6) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.heads = heads
        self.parts = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def context(self, h: Tensor) -> Tensor:
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in self.parts(h).chunk(3, 2))
        return torch.matmul(F.softmax(torch.matmul(q, k.transpose(2, 3)), -1), v)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.out(self.context(h).transpose(1, 2).flatten(2))


class Layers(Toy):
    """`change` of the states, two layers of attention, and the change taken back."""

    def __init__(self, change: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(Attention(), Attention()).double().eval()

        def body(h: Tensor) -> Tensor:
            h = change(h)
            for layer in self.layers:
                h = layer(h)
            return back(h)

        self.body = body


def ids(rows: int, columns: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(5, 60, (rows, columns), generator=generator)}


def test_a_model_of_ones_own_has_layers_too() -> None:
    model = Layers(lambda h: h, lambda h: h)
    found = asked(model, ids(2, 5), "cp_lrp")
    assert found.layers is not None
    assert found.layers.shape == (2, 3, 5)


class Pooled(Layers):
    """Two layers, of which an attention with one query reads."""

    def __init__(self) -> None:
        def pool(h: Tensor) -> Tensor:
            weights = F.softmax(torch.matmul(h, self.query), -1)
            return torch.matmul(weights[:, None], h)[:, 0]

        super().__init__(lambda h: h, pool)
        self.query = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)


def test_attention_that_the_classifier_reads_with_is_no_layer() -> None:
    model = Pooled()
    found = attribute(model, ids(2, 5), "cp_lrp", target=1, layers=True)
    assert found.layers is not None
    assert found.layers.shape == (2, 3, 5)
    weights = F.softmax(torch.matmul(model.layers(model.embeddings(ids(2, 5)["input_ids"])), model.query), -1)
    states = model.layers(model.embeddings(ids(2, 5)["input_ids"]))
    expected = weights * torch.matmul(states, model.head.weight[1])
    torch.testing.assert_close(found.layers[:, 2], expected.detach())


def test_positions_before_texts_are_refused_whatever_their_number() -> None:
    """(seq, batch, hidden) behind the embedding: with as many texts as positions only shapes agree."""
    model = Layers(lambda h: h.transpose(0, 1), lambda h: h.transpose(0, 1))
    attribute(model, ids(4, 4), "cp_lrp")
    for size in ((2, 5), (4, 4)):
        with pytest.raises(UnsupportedModelError, match="leave layers out"):
            attribute(model, ids(*size), "cp_lrp", layers=True)


def test_positions_and_width_that_change_places_are_refused_whatever_their_number() -> None:
    """(batch, hidden, seq), where a layer mixes features: as many positions as features hide it."""
    model = Layers(lambda h: h.transpose(1, 2), lambda h: h.transpose(1, 2))
    attribute(model, ids(2, 6), "cp_lrp")
    with pytest.raises(UnsupportedModelError, match="as many positions as the states are wide"):
        attribute(model, ids(2, 6), "cp_lrp", layers=True)


def test_states_that_are_made_in_place_are_those_that_are_read() -> None:
    class Doubled(Attention):
        def forward(self, h: Tensor) -> Tensor:
            return super().forward(h).mul_(2.0)

    model, twin = Layers(lambda h: h, lambda h: h), Layers(lambda h: h, lambda h: h)
    model.layers[0] = Doubled().double().eval()
    twin.layers[0].register_forward_hook(lambda module, args, output: output * 2.0)
    torch.testing.assert_close(
        asked(model, ids(2, 5), "cp_lrp").layers, asked(twin, ids(2, 5), "cp_lrp").layers
    )


@pytest.mark.parametrize("way", ["a view", "afterwards"])
def test_states_that_are_changed_behind_their_back_are_refused(way: str) -> None:
    """No gradient misses the old numbers, but the relevance of what a layer read does."""

    class Changed(Attention):
        def forward(self, h: Tensor) -> Tensor:
            if way == "a view":
                h[:, 0].add_(1.0)
            found = super().forward(h)
            if way == "afterwards":
                h.mul_(0.5)
            return found

    model = Layers(lambda h: h, lambda h: h)
    model.layers[1] = Changed().double().eval()
    attribute(model, ids(2, 5), "cp_lrp", heads=True)
    with pytest.raises(UnsupportedModelError, match="it changes hidden states in place"):
        attribute(model, ids(2, 5), "cp_lrp", layers=True)


@pytest.mark.parametrize("method", ["gs", "gi", "lrp", "lat"])
def test_other_methods_are_refused_by_name(method: str) -> None:
    model = shared_model("bert")
    for how in ({"layers": True}, {"heads": True}):
        with pytest.raises(UsageError, match=f"{method}.* is none; name one of these"):
            attribute(model, inputs(model), ["attnlrp", method], **how)


def test_a_model_without_attention_is_refused() -> None:
    batch = ids(2, 5)
    with pytest.raises(UnsupportedModelError, match="it has no attention"):
        attribute(Toy(), batch, "cp_lrp", layers=True)
    with pytest.raises(UnsupportedModelError, match="it has no attention"):
        attribute(Toy(), batch, "cp_lrp", heads=True)


# --- explanations -----------------------------------------------------------------------------------------

TEXT = "the film was good, and the actors were not great"


@cache
def classifier(max_length: int | None = None) -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer, max_length=max_length)


def inside_of(text: Any = TEXT, **how: Any) -> Explanation:
    return explain(how.pop("asked", classifier()), text, layers=True, heads=True, **how)[0]


def test_an_explanation_holds_what_the_attribution_does() -> None:
    texts = [TEXT, "a bad film"]
    listed = explain(classifier(), texts, ["attnlrp", "cp_lrp"], layers=True, heads=True)
    for method, rows in listed.items():
        for text, row in zip(texts, rows, strict=True):
            found = asked(classifier().model, classifier().tokenizer(text, return_tensors="pt"), method)
            assert found.layers is not None
            assert found.heads is not None
            assert row.layers[0] == row.scores
            for own, expected in zip(row.layers, found.layers[0].tolist(), strict=True):
                assert own == pytest.approx(expected, rel=1e-9, abs=1e-11)
            for own, expected in zip(row.heads, found.heads[0].tolist(), strict=True):
                assert own == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_only_what_is_asked_for_is_there() -> None:
    only_layers, only_heads = (explain(classifier(), TEXT, **{name: True})[0] for name in ("layers", "heads"))
    assert only_layers.layers
    assert not only_layers.heads
    assert only_heads.heads
    assert not only_heads.layers
    plain = explain(classifier(), TEXT)[0]
    assert (plain.layers, plain.heads) == ((), ())
    assert replace(only_layers, layers=()) == replace(only_heads, heads=()) == plain


def test_of_a_text_in_windows_layers_and_heads_are_weighted_sums() -> None:
    asked_of = classifier(8)
    found = inside_of(TEXT, asked=asked_of, long="windows", target=1, method="cp_lrp")
    (reading,) = asked_of.read([TEXT], "windows", None).texts
    assert len(reading.parts) > 1
    layers = torch.zeros(len(found.layers), len(found.tokens), dtype=torch.float64)
    heads = torch.zeros(len(found.heads), len(found.heads[0]), dtype=torch.float64)
    for part in reading.parts:
        batch = {name: torch.tensor([values]) for name, values in part.row.features.items()}
        own = asked(asked_of.model, batch, "cp_lrp", target=1)
        assert own.layers is not None
        assert own.heads is not None
        layers[:, list(part.columns)] += part.weight * own.layers[0]
        heads += part.weight * own.heads[0]
    torch.testing.assert_close(torch.tensor(found.layers, dtype=torch.float64), layers)
    torch.testing.assert_close(torch.tensor(found.heads, dtype=torch.float64), heads)
    assert found.layers[0] == found.scores


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_files_keep_them_exactly(tmp_path: Path, suffix: str) -> None:
    listed = [inside_of(), explain(classifier(), TEXT)[0], inside_of((TEXT, "a film"), method="cp_lrp")]
    save(listed, tmp_path / f"inside{suffix}")
    assert list(load(tmp_path / f"inside{suffix}")) == listed


def test_files_written_before_are_read() -> None:
    found = explain(classifier(), TEXT)[0]
    written = found.to_dict()
    del written["layers"], written["heads"]
    assert Explanation.from_dict(written) == found


def test_layers_and_heads_must_fit() -> None:
    found = inside_of()
    with pytest.raises(InputError, match=r"layers\[1\] to have a score for each of the 15 tokens, got 1"):
        replace(found, layers=(found.scores, (0.5,)))
    with pytest.raises(InputError, match="heads with as many numbers in each layer, got 2, 1"):
        replace(found, heads=((0.5, 0.5), (0.5,)))


def test_a_terminal_shows_tables_of_them() -> None:
    said = plain_text(terminal(inside_of()))
    assert "by layer: at the embedding (0), and behind each of the 2 layers" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.partition("by layer")[2].split("\n") if line}
    assert rows["word"] == ["0", "1", "2"]
    assert len(rows["film"]) == len(rows["[CLS]"]) == len(rows["sum"]) == 3
    assert rows["film"][2] == "0"  # the classifier reads the first token of the last layer
    assert "by head: what each hands on, over all tokens" in said
    assert "by layer" not in plain_text(terminal(explain(classifier(), TEXT)[0]))
    both = plain_text(comparison([inside_of(method="attnlrp"), inside_of(method="cp_lrp")]))
    assert "attnlrp by layer" in both
    assert "cp_lrp by head" in both


@pytest.mark.parametrize("level", ["word", "token", "sentence"])
def test_a_grid_sums_the_tokens_of_its_units(level: Any) -> None:
    found = inside_of("unbelievable film. good")
    grid = layer_grid(found, level)
    for column, layer in enumerate(found.layers):
        assert sum(scores[column] for _, scores in grid.rows) == pytest.approx(sum(layer))
        assert grid.total[column] == pytest.approx(sum(layer))
    words = {"word": 4, "token": len(found.tokens) - 2, "sentence": 2}
    assert len(grid.rows) == words[level] + 2
    assert (grid.rows[0][0], grid.rows[-1][0]) == ("[CLS]", "[SEP]")


def test_a_page_has_tables_of_them() -> None:
    page = html([inside_of()])
    assert page.count("<caption") == 2
    assert '<th scope="row"' in page
    assert "<caption" not in html(explain(classifier(), TEXT))


@pytest.mark.parametrize("kind", ["layers", "heads"])
def test_pictures_of_them(kind: str) -> None:
    figure = inside_of().plot(kind)
    said = {text.get_text() for text in figure.axes[0].texts}
    assert {"layers": {"word", "[CLS]", "film", "0", "2"}, "heads": {"layer", "1", "2"}}[kind] <= said
    with pytest.raises(UsageError, match=f"explain\\(..., {kind}=True\\)"):
        explain(classifier(), TEXT)[0].plot(kind)


def test_the_command_has_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    model = str(tiny.save(tmp_path / "model", tiny.bert(tiny.wordpiece()), tiny.wordpiece()))
    how = ("explain", TEXT, "--model", model)
    (row,) = call(*how, "--layers", "--heads", "--format", "json").records
    assert row["layers"][0] == [token["score"] for token in row["tokens"]]
    assert len(row["heads"]) == 2
    said = call(*how, "--layers").out
    assert "by layer" in said
    assert "by head" not in said
    one_error(call(*how, "--layers", "--method", "gs"), 2, "attnlrp", "gs is none", "name one of these")


# --- attribution patching ---------------------------------------------------------------------------------


def patched(batch: dict[str, Tensor], model: nn.Module, **options: Any) -> Attribution:
    tokenizer = classifier().tokenizer
    return attribute(model, batch, "attribution_patching", target=1, tokenizer=tokenizer, **options)


def masked(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    ids = batch["input_ids"].clone()
    special = torch.isin(ids, torch.tensor(classifier().tokenizer.all_special_ids))
    ids[~special] = classifier().tokenizer.mask_token_id
    return {**batch, "input_ids": ids}


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_patching_is_what_a_small_step_of_a_real_state_changes(layer: int) -> None:
    """Each position's state really moved towards that of the masked text, by a hook in the plain model."""
    model = classifier().model
    batch = dict(classifier().tokenizer(TEXT, return_tensors="pt"))
    found = patched(batch, model, layer=layer)
    layers = model.bert.encoder.layer
    site = model.bert.embeddings if layer == 0 else layers[layer - 1]
    state, change, position = [torch.empty(0)], [torch.empty(0)], [0]

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        state[0] = output if isinstance(output, Tensor) else output[0]

    def move(module: nn.Module, args: Any, output: Any) -> Any:
        moved = (output if isinstance(output, Tensor) else output[0]).clone()
        moved[:, position[0]] += change[0][:, position[0]]
        return moved if isinstance(output, Tensor) else (moved, *output[1:])

    with torch.no_grad():
        handle = site.register_forward_hook(keep)
        model(**batch)
        clean = state[0]
        model(**masked(batch))
        corrupted = state[0]
        handle.remove()
        handle, step = site.register_forward_hook(move), 1e-4
        for place in range(batch["input_ids"].shape[1]):
            position[0], outputs = place, []
            for sign in (1.0, -1.0):
                change[0] = sign * step * (corrupted - clean)
                outputs.append(float(model(**batch).logits[0, 1]))
            slope = (outputs[0] - outputs[1]) / (2 * step)
            assert float(found.scores[0, place]) == pytest.approx(-slope, rel=1e-5, abs=1e-9)
        handle.remove()
    if layer == 0:  # [CLS] and [SEP] are what they were
        assert not found.scores[0, [0, -1]].any()


@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_patching_by_relevance_is_that_of_the_literal_twin(rules: str, layer: int) -> None:
    model = classifier().model
    batch = dict(classifier().tokenizer(TEXT, return_tensors="pt"))
    found = patched(batch, model, layer=layer, rules=rules)
    twin = oracles.Bert(model.state_dict(), model.config.num_attention_heads, model.config.layer_norm_eps)
    traces = [twin.forward(twin.embed(each["input_ids"][0])) for each in (batch, masked(batch))]
    seed = torch.tensor([0.0, 1.0], dtype=torch.float64)[: len(traces[0].logits)]
    relevance = twin.modern_inside(traces[0], seed, attention_constant=rules == "cp_lrp")[0][layer]
    clean, corrupted = ((*(each.x for each in t.layers), t.layers[-1].y)[layer] for t in traces)
    expected = ((clean - corrupted) * relevance / clean).sum(1)
    torch.testing.assert_close(found.scores[0], expected, rtol=1e-8, atol=1e-10)


def test_in_a_linear_model_patching_is_the_whole_change() -> None:
    model, tokenizer = Toy(lambda h: h), classifier().tokenizer
    batch = {"input_ids": torch.tensor([[9, 20, 31, 42]])}
    found = attribute(model, batch, "attribution_patching", target=1, tokenizer=tokenizer)
    for place in range(4):
        ids = batch["input_ids"].clone()
        ids[0, place] = tokenizer.mask_token_id
        change = model(**batch).logits[0, 1] - model(input_ids=ids).logits[0, 1]
        torch.testing.assert_close(found.scores[0, place], change.detach())


def test_patching_says_what_it_costs_and_which_layers_there_are() -> None:
    batch = dict(classifier().tokenizer(TEXT, return_tensors="pt"))
    passes = [0]
    model = classifier().model
    handle = model.register_forward_pre_hook(lambda module, args: passes.__setitem__(0, passes[0] + 1))
    try:
        for layer, count in ((0, 2), (1, 3)):
            passes[0] = 0
            patched(batch, model, layer=layer)
            assert passes[0] == count
            assert create(f"attribution_patching:layer={layer}").passes == f"{count} forward, 1 backward"
    finally:
        handle.remove()
    with pytest.raises(UsageError, match=r"layer of attribution_patching from 0 .* to 2 .*, found 3"):
        patched(batch, model, layer=3)
    assert not torch.equal(
        patched(batch, model, layer=1, baseline="zero").scores, patched(batch, model, layer=1).scores
    )


def test_every_class_and_every_quantity_has_layers_and_heads() -> None:
    model = shared_model("bert", "sdpa")
    batch = inputs(model)
    every = asked(model, batch, "attnlrp", target="all")
    assert every.layers is not None
    assert every.heads is not None
    for label in range(models.LABELS):
        one = asked(model, batch, "attnlrp", target=label)
        torch.testing.assert_close(every.layers[label :: models.LABELS], one.layers)
        torch.testing.assert_close(every.heads[label :: models.LABELS], one.heads)
    found = asked(model, batch, "attnlrp", target=1, quantity="probability")
    seed = torch.softmax(found.logits, 1)
    # p_1 = softmax(y)_1, so its relevance is that of the logits weighted by dp_1/dy = p_1 (1[i = 1] - p_i)
    weights = seed[:, 1:2] * (torch.eye(models.LABELS, dtype=seed.dtype)[1] - seed)
    layers = every.layers.unflatten(0, (-1, models.LABELS))
    torch.testing.assert_close(found.layers, (layers * weights[:, :, None, None]).sum(1))
    explained = explain(classifier(), [TEXT, "a film"], target="all", layers=True, heads=True)
    for label in range(len(classifier().labels)):
        row = explain(classifier(), TEXT, target=label, layers=True, heads=True)[0]
        for own, expected in zip(explained[label].layers, row.layers, strict=True):
            assert own == pytest.approx(expected, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_only_biases_above_a_layer_are_missing_from_its_sum(level: int) -> None:
    """With those set to 0 the layer sums to the logit, and what is below it does not."""
    model = make("bert")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            place = int(name.split(".")[3]) if ".encoder.layer." in name else 9
            if name.endswith("bias") and place >= level and "embeddings" not in name:
                parameter.zero_()
    found = asked(model, inputs(model), "cp_lrp", target=1)
    assert found.layer_sums is not None
    error = (found.layer_sums - found.output[:, None]).abs()
    assert error[:, level:].max() < 1e-12
    assert level == 0 or error[:, :level].min() > 1e-6
