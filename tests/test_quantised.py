"""Models whose weights are in few bits, or elsewhere: what is said of them is said of the plain model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForSequenceClassification

import tiny
from whybert import STANDARD, Classifier, explain
from whybert.errors import ModelError, UnsupportedModelError
from whybert.quantised import quantised_layers

TEXTS = ["the film was good", "don't you think so?", "bad"]
LAYERS = 2 * 6 + 2  # all linear layers of a tiny BERT


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of 8 bits for a weight (out, in), and the scale of each row."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round().to(torch.int8), scale


class Kept(Tensor):
    """A weight as torchao and optimum-quanto keep it: a tensor of a kind of its own, with its own kernel."""

    numbers: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor, scale: Tensor) -> Kept:
        kept: Kept = Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=scale.dtype)
        kept.numbers, kept.scale = numbers, scale
        return kept

    def dequantize(self) -> Tensor:
        return self.numbers * self.scale

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            x, weight, bias = args
            with torch.no_grad():
                return (x @ weight.numbers.to(x.dtype).t()) * weight.scale[:, 0] + bias
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return Kept(args[0].numbers, args[0].scale)
        raise NotImplementedError(f"Kept has no {func}")


class Kernel(torch.autograd.Function):
    """What a library runs, with the derivative that it has for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Packed) -> Tensor:
        ctx.weight = layer.dense.to(x.dtype)
        if layer.rounds:
            scale = x.abs().amax(-1, keepdim=True) / 127
            x = (x / scale).round() * scale
        x, weight, bias = (each.to(layer.compute_dtype) for each in (x, layer.dense, layer.bias))
        return F.linear(x, weight, bias).to(ctx.weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.weight, None


class Packed(nn.Module):
    """A layer as that of bitsandbytes: bytes that no one but its kernel can read."""

    def __init__(
        self, layer: nn.Linear, *, derivative: bool, rounds: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        numbers, scale = rounded(layer.weight.detach())
        self.weight = nn.Parameter(numbers.view(torch.uint8), requires_grad=False)
        self.bias = layer.bias
        self.dense = numbers * scale
        self.derivative, self.rounds, self.compute_dtype = derivative, rounds, dtype

    def forward(self, x: Tensor) -> Tensor:
        if self.derivative:
            return Kernel.apply(x, self)
        with torch.no_grad():
            return Kernel.apply(x, self)


class Named(nn.Module):
    """A layer as GPTQ keeps it: whole numbers under names of their own, here 8 bits in each."""

    def __init__(self, layer: nn.Linear, name: str) -> None:
        super().__init__()
        self.in_features, self.out_features, self.name = layer.in_features, layer.out_features, name
        numbers, scales = rounded(layer.weight.detach())
        self.register_buffer(name, numbers.to(torch.int32))
        self.register_buffer("scales", scales)
        self.bias = layer.bias

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, getattr(self, self.name) * self.scales, self.bias)


class Eighth(nn.Linear):
    """Weights that are floating-point numbers of 8 bits, with a scale."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        numbers, scales = rounded(layer.weight.detach())
        # of whole numbers up to 127, those of at most four bits are such numbers
        self.weight = nn.Parameter((numbers & -16).to(torch.float8_e4m3fn), requires_grad=False)
        self.scales, self.bias = scales, layer.bias

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype) * self.scales, self.bias)


def keep(layer: nn.Linear) -> nn.Linear:
    layer.weight = nn.Parameter(Kept(*rounded(layer.weight.detach())), requires_grad=False)
    return layer


def replaced(change: Callable[[nn.Linear], nn.Module]) -> Classifier:
    """A classifier with other linear layers."""
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            model.set_submodule(name, change(module))
    return Classifier(model.eval(), tokenizer)


def dense(layer: nn.Linear) -> nn.Linear:
    numbers, scale = rounded(layer.weight.detach())
    layer.weight = nn.Parameter(numbers * scale)
    return layer


def scores(classifier: Classifier, method: str) -> list[float]:
    return [token.score for each in explain(classifier, TEXTS, method) for token in each.tokens]


SERVED: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "a kind of tensor": keep,
    "bytes, with a derivative": lambda layer: Packed(layer, derivative=True),
    "bytes, without one": lambda layer: Packed(layer, derivative=False),
    "qweight": lambda layer: Named(layer, "qweight"),
    "a name of their own": lambda layer: Named(layer, "W_q"),
}


@pytest.mark.parametrize("method", STANDARD)
@pytest.mark.parametrize("kind", SERVED)
def test_weights_in_few_bits_are_the_numbers_that_they_stand_for(kind: str, method: str) -> None:
    ours, plain = replaced(SERVED[kind]), replaced(dense)
    assert len(list(quantised_layers(ours.model))) == LAYERS
    assert not list(quantised_layers(plain.model))
    for found, expected in zip(ours.predict(TEXTS), plain.predict(TEXTS), strict=True):
        assert found.logits == pytest.approx(expected.logits, abs=1e-5)
    assert scores(ours, method) == pytest.approx(scores(plain, method), rel=1e-3, abs=1e-5)
    for module in ours.model.modules():  # as it was
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("method", ["gi", "attnlrp", "cp_lrp"])
def test_a_decoder_of_which_all_layers_are_in_few_bits(method: str) -> None:
    """The part around its words holds no parameter of a layer then, and is no embedding all the same."""
    tokenizer = tiny.wordpiece()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, initializer_range=0.3, **sizes)

    def made(change: Callable[[nn.Linear], nn.Module]) -> Classifier:
        torch.manual_seed(0)
        model = LlamaForSequenceClassification(config)
        for name, module in list(model.model.named_modules()):
            if isinstance(module, nn.Linear):
                model.model.set_submodule(name, change(module))
        return Classifier(model.eval(), tokenizer)

    ours = scores(made(lambda layer: Named(layer, "qweight")), method)
    assert ours == pytest.approx(scores(made(dense), method), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", STANDARD)
def test_floating_point_numbers_of_eight_bits(method: str) -> None:
    def plain(layer: nn.Linear) -> nn.Linear:
        eighth = Eighth(layer)
        layer.weight = nn.Parameter(eighth.weight.float() * eighth.scales)
        return layer

    expected = scores(replaced(plain), method)
    assert scores(replaced(Eighth), method) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", STANDARD)
def test_the_logits_are_those_of_the_kernel(method: str) -> None:
    """Also where it computes in half precision: what is explained is the model's own answer."""
    ours = replaced(lambda layer: Packed(layer, derivative=False, dtype=torch.bfloat16))
    for text in TEXTS:
        [found] = explain(ours, [text], method)
        with torch.no_grad():
            (expected,) = ours.model(**ours.tokenizer(text, return_tensors="pt")).logits.tolist()
        assert found.logits == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", STANDARD)
@pytest.mark.parametrize("derivative", [True, False])
def test_layers_that_round_their_inputs_are_no_linear_ones(derivative: bool, method: str) -> None:
    ours = replaced(lambda layer: Packed(layer, derivative=derivative, rounds=True))
    assert len(ours.predict(TEXTS)) == 3
    with pytest.raises(UnsupportedModelError) as caught:
        explain(ours, TEXTS, method)
    message = str(caught.value)
    assert message.startswith("the layer 'bert.encoder.layer.0.attention.self.query' (Packed) has quantised")
    assert "dequantize()" in message


@pytest.mark.parametrize("method", STANDARD)
def test_the_dynamic_quantisation_of_torch_is_refused(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(tiny.bert(), {nn.Linear}, dtype=torch.qint8)
    ours = Classifier(model, tiny.wordpiece())
    with pytest.raises(
        UnsupportedModelError, match=r"layer\.0\.attention\.self\.query' \(Linear\) has quant"
    ):
        explain(ours, TEXTS, method)


def test_a_change_of_low_rank_on_weights_in_few_bits() -> None:
    """QLoRA: the adapter's layers are ordinary ones, around those of few bits."""

    class Around(nn.Module):
        def __init__(self, inner: nn.Linear, kept: bool) -> None:
            super().__init__()
            self.in_features, self.out_features = inner.in_features, inner.out_features
            generator = torch.Generator().manual_seed(1)
            self.inner = Packed(inner, derivative=False) if kept else dense(inner)
            self.down = nn.Parameter(torch.randn(2, inner.in_features, generator=generator) * 0.3)
            self.up = nn.Parameter(torch.randn(inner.out_features, 2, generator=generator) * 0.3)

        @property
        def weight(self) -> Tensor:
            return self.inner.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + F.linear(F.linear(x, self.down), self.up)

    ours, plain = (replaced(lambda layer, kept=kept: Around(layer, kept)) for kept in (True, False))
    assert {name.rpartition(".")[2] for name, _ in quantised_layers(ours.model)} == {"inner"}
    for method in ("gi", "attnlrp", "cp_lrp"):
        assert scores(ours, method) == pytest.approx(scores(plain, method), rel=1e-3, abs=1e-5)


def test_activations_in_few_bits_are_refused() -> None:
    ours = replaced(lambda layer: layer)
    ours.model.classifier.register_forward_hook(lambda module, args, output: Kept(*rounded(output)))
    with pytest.raises(UnsupportedModelError, match="plain tensor, found Kept"):
        ours.predict("a film")


# Weights that are elsewhere

PLACES = {
    "bert.embeddings": "cpu",
    "bert.encoder.layer.0": "cpu",
    "bert.encoder.layer.1": "disk",
    "bert.pooler": "disk",
    "classifier": "cpu",
}
CPU = torch.device("cpu")
ELSEWHERE: dict[str, Callable[[Any, Path], Any]] = {
    "cpu_offload": lambda model, _: accelerate.cpu_offload(model, execution_device=CPU),
    "disk_offload": lambda model, folder: accelerate.disk_offload(
        model, str(folder), execution_device=CPU, offload_buffers=True
    ),
    "cpu_offload_with_hook": lambda model, _: accelerate.cpu_offload_with_hook(model, CPU)[0],
    "dispatch_model": lambda model, folder: accelerate.dispatch_model(
        model, PLACES, main_device="cpu", offload_dir=str(folder), force_hooks=True
    ),
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_weights_that_are_fetched_when_they_are_needed(place: str, tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    plain = Classifier(tiny.bert(tokenizer), tokenizer)
    model = ELSEWHERE[place](tiny.bert(tokenizer), tmp_path / "weights").eval()
    ours = Classifier(model, tokenizer)

    def state() -> list[Any]:
        hooks = [(name, id(getattr(module, "_hf_hook", None))) for name, module in model.named_modules()]
        return [*hooks, *((name, p.device, type(p)) for name, p in model.named_parameters())]

    before = state()
    assert [found.logits for found in ours.predict(TEXTS)] == [each.logits for each in plain.predict(TEXTS)]
    for method in STANDARD:
        assert scores(ours, method) == scores(plain, method)
        assert state() == before
    with torch.no_grad():
        model(**tokenizer("a film", return_tensors="pt"))  # runs on, and is trained on, as ever
    assert model(**tokenizer("a film", return_tensors="pt")).logits.requires_grad


def test_weights_that_nobody_fetches_are_refused() -> None:
    with torch.device("meta"):
        model = tiny.bert()
    with pytest.raises(ModelError, match="on the device 'meta'"):
        Classifier(model, tiny.wordpiece()).predict("a film")


@pytest.mark.parametrize("method", STANDARD)
def test_autocast_of_the_caller_changes_nothing(method: str) -> None:
    for ours in (replaced(lambda layer: layer), replaced(keep)):
        expected = scores(ours, method)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert scores(ours, method) == expected
            assert torch.is_autocast_enabled("cpu")
