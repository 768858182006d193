"""The attribution point of models that embed their words themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    OPTConfig,
    XLMConfig,
    XLNetConfig,
)

from whybert import UnsupportedModelError, attribute
from whybert.finding import made_known
from whybert.foreign import ForeignModel, Point
from whybert.points import cuts

_LLAMA: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
}
MODELS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "llama": (LlamaConfig, _LLAMA, "model.layers.0"),
    "gemma": (GemmaConfig, _LLAMA, "model.layers.0"),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4}, "transformer.h.0"),
    "gpt_neo": (
        GPTNeoConfig,
        {"hidden_size": 32, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 4},
        "transformer.h.0",
    ),
    "bloom": (BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "transformer.h.0"),
    "opt": (
        OPTConfig,
        {**_LLAMA, "ffn_dim": 48, "word_embed_proj_dim": 16, "max_position_embeddings": 40},
        "model.decoder.layers.0",
    ),
    "xlm": (XLMConfig, {"emb_dim": 32, "n_layers": 2, "n_heads": 4}, "transformer.attentions.0"),
    "xlnet": (XLNetConfig, {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}, "transformer.layer.0"),
}
"""The configuration, its sizes, and the part whose first argument is the input of the first layer."""


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    kind, sizes, _ = MODELS[name]
    config = kind(**{**sizes, "vocab_size": 60, "num_labels": 3, "pad_token_id": 0})
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").double().eval()


def batch(*lengths: int) -> dict[str, Tensor]:
    ids = torch.randint(5, 60, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def entering(model: nn.Module, part: str, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The first argument of a part, the logits, and the gradient of the largest of them there."""
    states: list[Tensor] = []

    def keep(module: nn.Module, args: Any, kwargs: Any) -> Any:
        states.append((args[0] if args else kwargs["hidden_states"]).detach().requires_grad_())
        rest = dict(kwargs)
        rest.pop("hidden_states", None)
        return (states[0], *args[1:]), rest

    with torch.enable_grad():
        handle = model.get_submodule(part).register_forward_pre_hook(keep, with_kwargs=True)
        logits = model(**inputs).logits
        handle.remove()
    return states[0], logits, torch.autograd.grad(logits.amax(1).sum(), states[0])[0]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("xlm", "xlnet", "bloom")])
def test_the_point_is_the_input_of_the_first_layer(name: str) -> None:
    """The residual stream passes by the first layer's hook, so it is cut off here as well: pre-norm layers
    read their input twice, inside."""
    model, inputs = made(name), batch(9, 6, 4)
    states, logits, gradient = entering(model, MODELS[name][2], inputs)
    found = attribute(model, inputs, "gi:reduction=sum")
    assert torch.equal(found.logits, logits)
    assert found.scores == pytest.approx((states * gradient).sum(-1).detach() * inputs["attention_mask"])
    assert not found.scores[inputs["attention_mask"] == 0].any()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("said", [None, "transformer.drop"])
def test_the_callers_context_does_not_matter(said: str | None, context: Callable[[], Any]) -> None:
    model, inputs = made("gpt2"), batch(9, 6)
    options: dict[str, Any] = {"embedding": said, "logits": lambda found: found.logits * 2}
    expected = attribute(model, inputs, "gi", **options)
    with context():
        assert torch.equal(attribute(model, inputs, "gi", **options).scores, expected.scores)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_virtual_tokens_before_the_words_of_a_decoder(name: str, kind: str) -> None:
    """peft looks the words up itself, and hands them to the part around the table behind its own vectors."""
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(task_type="SEQ_CLS", num_virtual_tokens=3)
    if kind == "PromptEncoderConfig":
        config.encoder_hidden_size = 8
    model, inputs = peft.get_peft_model(made(name), config).double().eval(), batch(7, 7)
    words: list[Tensor] = []
    handle = model.word_embeddings.register_forward_hook(
        lambda _m, _i, output: words.append(output.detach().requires_grad_()) or words[-1]
    )
    logits = model(**inputs).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), words[0])
    found = attribute(model, inputs, ["gi:reduction=sum", "cp_lrp"])
    assert found["gi:reduction=sum"].scores == pytest.approx((words[0] * gradient).sum(-1).detach())
    books = found["cp_lrp"]
    assert books.biases is not None
    assert books.scores.sum(1) + books.biases == pytest.approx(books.output, abs=1e-6)


def test_the_axes_of_positions_and_texts_may_be_swapped() -> None:
    model, inputs = made("xlnet"), batch(7, 7, 7)
    known = made_known(model, inputs)
    assert isinstance(known.block, Point)
    assert [part.order for part in known.block.parts] == [(1, 0, 2)]
    vectors = model.transformer.word_embedding(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=vectors, attention_mask=inputs["attention_mask"]).logits
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), vectors)
    found = attribute(model, inputs, "gi:reduction=sum")
    assert found.scores == pytest.approx((vectors * gradient).sum(-1).detach())


def test_layers_of_a_model_that_has_its_positions_first() -> None:
    """By CP-LRP without biases each state holds what the logit is made of, as the embedding does."""
    model = made("xlnet")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:  # r_w_bias and others are added to queries, which are constants here
                parameter.zero_()
    found = attribute(model, batch(7, 7, 7), "cp_lrp", layers=True)
    assert found.layers is not None
    assert found.layers.shape == (3, 3, 7)
    logits = found.logits.gather(1, found.logits.argmax(1, keepdim=True))
    assert found.layers.sum(-1) == pytest.approx(logits.expand(-1, 3))


def test_as_many_texts_as_tokens() -> None:
    model = made("xlnet")
    inputs = batch(5, 5, 5, 5, 5)
    together = attribute(model, inputs, "cp_lrp").scores
    for row in range(5):
        alone = attribute(model, {name: tensor[row : row + 1] for name, tensor in inputs.items()}, "cp_lrp")
        assert together[row] == pytest.approx(alone.scores[0], abs=1e-12)


@pytest.mark.filterwarnings("ignore:the texts are padded on the left")
@pytest.mark.parametrize("name", MODELS)
def test_the_question_does_not_change_the_point(name: str) -> None:
    """Long or short, one or many, padded on either side or not at all."""
    model = made(name)
    row = batch(9)
    asked: list[dict[str, Tensor]] = [row, batch(9, 2), batch(1), batch(2), batch(1, 1), batch(30, 3, 4)]
    left = {key: tensor.flip(1) for key, tensor in batch(9, 1).items()}
    points = {made_known(model, inputs).block for inputs in (*asked, left)}
    assert len(points) == 1
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    attribute(model, row, "attnlrp" if name != "bloom" else "gi")
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(
        vars(tensor) for tensor in (*row.values(), *model.parameters()) if hasattr(tensor, "__dict__")
    )


@pytest.mark.parametrize("name", ["gpt2", "xlnet"])
def test_integrated_gradients_go_to_the_point(name: str) -> None:
    """From the mean word, at each position, to the words: also where texts come second."""
    model, inputs = made(name), batch(6, 6, 6, 6, 6, 6)
    found = attribute(model, inputs, "integrated_gradients:n_steps=100,baseline=mean")
    words = model.get_input_embeddings()
    with torch.no_grad():
        mean = words.weight.mean(0).expand(6, 6, -1)
        handle = words.register_forward_hook(lambda part, args, output: mean)
        base = model(**inputs).logits
        handle.remove()
    target = found.logits.argmax(1, keepdim=True)
    expected = (found.logits - base).gather(1, target)[:, 0]
    assert found.scores.sum(1) == pytest.approx(expected, rel=1e-3)


class Words(nn.Module):
    """A table, `embed` of its vectors and positions, one layer that mixes them, and a head."""

    def __init__(self, embed: Callable[[Words, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = embed
        self.table, self.places = nn.Embedding(60, 8), nn.Embedding(40, 8)
        self.norm, self.up, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.double().eval()

    def forward(self, input_ids: Tensor) -> Tensor:
        x, *others = self.embed(self, input_ids)
        x = x + (x @ x.mT).softmax(-1) @ x
        for other in others:
            x = x + other
        return self.head(x.mean(1))


def places(self: Words, ids: Tensor) -> Tensor:
    return self.places(torch.arange(ids.shape[1])[None])


def in_place(self: Words, ids: Tensor) -> tuple[Tensor]:
    x = self.table(ids)
    x += places(self, ids)
    x.mul_(3.0)
    return (x,)


def written(self: Words, ids: Tensor) -> tuple[Tensor]:
    x = torch.zeros(*ids.shape, 8, dtype=torch.float64)
    x[:, :] = self.table(ids) + places(self, ids)
    return (x,)


EMBEDDED: dict[str, tuple[Callable[[Words, Tensor], Any], Callable[[Words, Tensor], Tensor]]] = {
    "table": (lambda m, ids: (m.table(ids),), lambda m, ids: m.table(ids)),
    "indexed": (lambda m, ids: (m.table.weight[ids],), lambda m, ids: m.table(ids)),
    "one-hot": (
        lambda m, ids: (nn.functional.one_hot(ids, 60).double() @ m.table.weight + places(m, ids),),
        lambda m, ids: m.table(ids) + places(m, ids),
    ),
    "positions": (
        lambda m, ids: (m.norm(m.table(ids) * 8**0.5 + places(m, ids)),),
        lambda m, ids: m.norm(m.table(ids) * 8**0.5 + places(m, ids)),
    ),
    "projected": (
        lambda m, ids: (m.up(m.table(ids)) + places(m, ids),),
        lambda m, ids: m.up(m.table(ids)) + places(m, ids),
    ),
    "in place": (in_place, lambda m, ids: 3.0 * (m.table(ids) + places(m, ids))),
    "written": (written, lambda m, ids: m.table(ids) + places(m, ids)),
    "hashed": (
        lambda m, ids: (
            torch.cat([m.table((ids * 7 + 1) % 60)[..., :4], m.table(ids * 3 % 60)[..., 4:]], -1),
        ),
        lambda m, ids: torch.cat([m.table((ids * 7 + 1) % 60)[..., :4], m.table(ids * 3 % 60)[..., 4:]], -1),
    ),
    "bent": (lambda m, ids: (m.up(m.table(ids)).relu(),), lambda m, ids: m.up(m.table(ids))),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_all_that_is_added_to_the_words_at_their_positions_is_in_it(name: str) -> None:
    embed, literal = EMBEDDED[name]
    model, ids = Words(embed), batch(6, 6)["input_ids"]
    found = attribute(model, {"input_ids": ids}, "gi:reduction=sum", target=1)
    x = literal(model, ids).detach().requires_grad_()
    model.embed = lambda m, _: (x.relu() if name == "bent" else x,)
    logits = model(ids)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert found.scores == pytest.approx((x * gradient).sum(-1).detach(), abs=1e-12)
    assert found.logits == pytest.approx(logits.detach(), abs=1e-12)


BESIDE: dict[str, Callable[[Words, Tensor], Any]] = {
    "the layer": lambda m, ids: (m.table(ids) + places(m, ids), m.table(ids).tanh()),
    "a bag of words": lambda m, ids: (m.norm(m.table(ids).mean(1, keepdim=True) + m.table(ids)),),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_words_that_are_looked_up_twice_are_explained_in_both_places(beside: str) -> None:
    model, ids = Words(BESIDE[beside]), batch(6, 6)["input_ids"]
    found = attribute(model, {"input_ids": ids}, "gi:reduction=sum", target=1)
    leaves: list[Tensor] = []
    positions = places(model, ids).detach() if beside == "the layer" else torch.zeros(())

    def table(ids: Tensor) -> Tensor:
        leaves.append(nn.functional.embedding(ids, model.table.weight).detach())
        leaves[-1] = (leaves[-1] + (0 if leaves[1:] else positions)).requires_grad_()
        return leaves[-1] - (0 if leaves[1:] else positions)

    model.table.forward = table
    logits = model(ids)
    gradients = torch.autograd.grad(logits[:, 1].sum(), leaves)
    expected = sum((leaf * gradient).sum(-1) for leaf, gradient in zip(leaves, gradients, strict=True))
    assert len(leaves) == 2
    assert found.scores == pytest.approx(expected.detach(), abs=1e-12)


def test_words_in_another_order_than_the_tokens_are_refused() -> None:
    model = Words(lambda m, ids: (m.table(ids.flip(1)) + places(m, ids),))
    with pytest.raises(UnsupportedModelError, match=r"embedding='its.name'") as caught:
        attribute(model, {"input_ids": batch(6, 6)["input_ids"]}, "gi")
    assert "\n" not in str(caught.value)


class Moody(Words):
    """Looks its words up once more in long texts."""

    def __init__(self) -> None:
        super().__init__(lambda m, ids: (m.table(ids),))

    def forward(self, input_ids: Tensor) -> Tensor:
        logits = super().forward(input_ids)
        return logits if input_ids.shape[1] < 8 else logits + self.head(self.table(input_ids).mean(1))


def test_words_that_pass_by_are_refused_also_when_they_did_not_at_first() -> None:
    model = Moody()
    known = made_known(model, {"input_ids": batch(6, 6)["input_ids"]})
    assert isinstance(known, ForeignModel)
    assert attribute(known, {"input_ids": batch(6)["input_ids"]}, "gi").scores.all()
    with pytest.raises(UnsupportedModelError, match="looks up its words once more"):
        attribute(known, {"input_ids": batch(9)["input_ids"]}, "gi")


@pytest.mark.parametrize("seed", range(20))
def test_every_way_passes_a_cut(seed: int) -> None:
    """The twin takes each tensor away in turn: without a cut no leaf is below the output any more."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.ones((), requires_grad=True) for _ in range(1 + seed % 3)]
    tensors = [leaf * 1.0 for leaf in leaves]
    for _ in range(12):
        few = torch.randint(max(0, len(tensors) - 3), len(tensors), (2,), generator=generator).unique()
        tensors.append(torch.stack([tensors[int(each)] for each in few]).sum())
    root = tensors[-1]

    def below(node: Any, without: Any) -> set[int]:
        if node is None or node is without:
            return set()
        if hasattr(node, "variable"):
            return {id(node.variable)}
        return set[int]().union(*(below(each, without) for each, _ in node.next_functions))

    reached = below(root.grad_fn, None)
    expected = [
        tensor.grad_fn
        for tensor in tensors
        if below(tensor.grad_fn, None) & reached and not below(root.grad_fn, tensor.grad_fn)
    ]
    found = {node for node, outputs in cuts(root.grad_fn, reached) if outputs is not None}
    assert {node for node in expected if node is not None} == found & {tensor.grad_fn for tensor in tensors}
