"""The model is the user's: nothing of it changes, nothing of it is kept, and what cannot be explained is
refused by name."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import models
from models import Toy, inputs, make, shared_model
from whybert import (
    STANDARD,
    InputError,
    NonFiniteError,
    UnsupportedModelError,
    UnsupportedOperationError,
    WhybertError,
    attribute,
)
from whybert.interception import run
from whybert.lrp.composites import ATTN_LRP, CP_LRP, GRADIENT, released_lrp

ALL = tuple(STANDARD)
IDS = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 10]])}


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that could be changed about a model and the libraries, as values that compare."""
    state: dict[str, Any] = {"config": {key: repr(value) for key, value in vars(model.config).items()}}
    for name, module in model.named_modules():
        own = vars(module)
        state[f"{name}: keys"] = sorted(own)
        state[f"{name}: training"] = module.training
        state[f"{name}: objects"] = {k: id(v) for k, v in own.items() if not isinstance(v, dict)}
        for key, value in own.items():
            if key.endswith("hooks") or "hooks_with" in key or "hooks_always" in key:
                state[f"{name}: {key}"] = {k: id(v) for k, v in value.items()}
        state[f"{name}: children"] = {k: id(v) for k, v in own["_modules"].items()}
        state[f"{name}: class"] = {k: id(v) for k, v in vars(type(module)).items()}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state[name] = (
            id(tensor), tensor.data_ptr(), tensor._version, tensor.requires_grad, tensor.grad is None,
            tensor.dtype, sorted(vars(tensor)), len(tensor._backward_hooks or ()),
        )  # fmt: skip
        state[f"{name}: value"] = tensor.detach().clone().numpy().tobytes()
    for owner in (nn.Module, Tensor):
        state[str(owner)] = {k: id(v) for k, v in vars(owner).items()}
    for library in (torch, F):
        state[str(library)] = {k: id(v) for k, v in vars(library).items() if callable(v)}
    for key in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"):
        state[key] = dict(getattr(nn.modules.module, key))
    state["attention"] = {k: id(v) for k, v in ALL_ATTENTION_FUNCTIONS.items()}
    state["modes"] = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    )
    state["function modes"] = torch._C._len_torch_function_stack()
    return state


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(before) == list(after)
    changed = [key for key in before if before[key] != after[key]]
    assert not changed


def busy_model(family: str = "bert", attention: str = "sdpa") -> nn.Module:
    """A model with everything a user may have done to it: hooks, frozen weights, gradients."""
    model = make(family, attention)
    for index, (name, parameter) in enumerate(model.named_parameters()):
        if "word_embeddings" in name or index % 3 == 0:
            parameter.requires_grad_(False)
        elif index % 3 == 1:
            parameter.grad = torch.full_like(parameter, 0.5)
    block = model.base_model.embeddings
    block.register_forward_hook(lambda *_: None)
    block.register_forward_pre_hook(lambda *_: None)
    model.classifier.register_full_backward_hook(lambda *_: None)
    model.register_buffer("a_buffer", torch.ones(3))
    return model


def test_the_snapshot_sees_changes() -> None:
    """What the tests below rest on."""

    def hook(model: nn.Module) -> None:
        model.bert.encoder.register_forward_hook(lambda *_: None)

    def weight(model: nn.Module) -> None:
        with torch.no_grad():
            model.classifier.weight[0, 0] += 1e-6

    changes: list[Callable[[nn.Module], Any]] = [
        hook,
        weight,
        lambda model: model.bert.pooler.train(),
        lambda model: model.classifier.bias.requires_grad_(not model.classifier.bias.requires_grad),
        lambda model: setattr(model.config, "_attn_implementation", "eager"),
        lambda model: setattr(model.bert, "note", 1),
        lambda model: setattr(model.classifier, "forward", model.classifier.forward),
        lambda model: setattr(model.bert.pooler, "dense", nn.Linear(32, 32)),
    ]
    for change in changes:
        model = busy_model()
        before = snapshot(model)
        assert_unchanged(before, snapshot(model))
        change(model)
        with pytest.raises(AssertionError):
            assert_unchanged(before, snapshot(model))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_nothing_changes(attention: str) -> None:
    model = busy_model(attention=attention)
    batch = inputs(model)
    copies = {name: tensor.clone() for name, tensor in batch.items()}
    attribute(model, batch, ALL)  # the first call may import something of torch's
    before = snapshot(model)
    for method in ALL:
        attribute(model, batch, method)
        assert_unchanged(before, snapshot(model))
    attribute(model, batch, list(ALL), target=(0, 1))
    assert_unchanged(before, snapshot(model))
    for name, tensor in batch.items():
        assert torch.equal(tensor, copies[name])
        assert not vars(tensor)


class _BrokenError(Exception):
    pass


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("where", ["layer", "embeddings", "classifier"])
def test_nothing_changes_when_the_forward_pass_fails(where: str, method: str) -> None:
    model = busy_model()
    batch = inputs(model)
    part = {
        "layer": model.bert.encoder.layer[1],
        "embeddings": model.bert.embeddings.LayerNorm,
        "classifier": model.classifier,
    }[where]

    def broken(*args: Any, **kwargs: Any) -> None:
        raise _BrokenError

    part.forward = broken
    before = snapshot(model)
    with pytest.raises(_BrokenError):
        attribute(model, batch, method)
    assert_unchanged(before, snapshot(model))
    del part.forward
    fresh = make("bert", "sdpa")
    assert torch.equal(attribute(model, batch, method).scores, attribute(fresh, batch, method).scores)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def test_nothing_changes_after_other_errors() -> None:
    model = busy_model()
    batch = inputs(model)
    attribute(model, batch, ALL)
    before = snapshot(model)
    with pytest.raises(InputError):
        attribute(model, {"attention_mask": batch["attention_mask"]})
    with pytest.raises(WhybertError):
        attribute(model, batch, "attnlrp", target=99)  # noticed after the forward pass
    with pytest.raises((InputError, IndexError, RuntimeError)):
        attribute(model, {**batch, "token_type_ids": torch.full_like(batch["input_ids"], -7)})
    assert_unchanged(before, snapshot(model))
    model.bert.encoder.layer[0].intermediate.intermediate_act_fn = Sine().eval()
    before = snapshot(model)
    with pytest.raises(UnsupportedOperationError):
        attribute(model, batch)
    with pytest.raises(UnsupportedModelError):
        attribute(models.pre_norm(), batch, "lrp")
    assert_unchanged(before, snapshot(model))


def test_an_error_in_a_backward_sweep_changes_nothing() -> None:
    """A reciprocal alone is noticed only when relevance arrives there."""
    model = Toy(lambda x: 1 / x)
    before = snapshot(model)
    with pytest.raises(UnsupportedOperationError, match="truediv"):
        attribute(model, IDS)
    assert_unchanged(before, snapshot(model))


# --- others in the process -------------------------------------------------------------------------------


def test_another_model_within_the_forward_pass() -> None:
    """A user's hook that calls a second model gets the second model's own logits."""
    model, other = make("bert", "sdpa"), shared_model("distilbert", "sdpa")
    batch = inputs(other)
    with torch.no_grad():
        expected = other(**batch).logits
    seen: list[Tensor] = []
    model.bert.encoder.layer[0].register_forward_hook(lambda *_: seen.append(other(**batch).logits.detach()))
    alone = {method: attribute(shared_model("bert", "sdpa"), inputs(model), method) for method in ALL}
    for method in ALL:
        found = attribute(model, inputs(model), method)
        assert torch.equal(seen.pop(), expected)
        if method != "lat":  # the second model's attention cannot be told from the first's
            assert torch.equal(found.scores, alone[method].scores)
    assert torch.equal(other(**batch).logits, expected)


def test_another_thread_trains_in_peace() -> None:
    """Gradients of another model, and of the very same one, while attributions go on in this thread."""
    explained, trained = shared_model("bert", "sdpa"), make("bert", "sdpa")
    batch = inputs(trained)

    def gradients(model: nn.Module) -> list[Tensor]:
        loss = model(**batch).logits.square().sum()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    expected = gradients(trained)
    found: list[list[Tensor]] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set() and len(found) < 40:
            found.append(gradients(trained))
            found.append(gradients(explained))

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(loop)
        for _ in range(3):
            attribute(explained, batch, ALL)
        stop.set()
        job.result()
    assert found
    for gradient in found:
        assert all(torch.equal(a, b) for a, b in zip(gradient, expected, strict=True))


def test_eight_threads_on_one_model_equal_the_serial_run() -> None:
    model = shared_model("bert", "sdpa")
    jobs: list[tuple[str, dict[str, Any], Any, dict[str, Tensor]]] = []
    for index in range(32):
        method = ALL[index % len(ALL)]
        options = {"residual": ("once", "released")[index // 6 % 2]} if method == "lrp" else {}
        jobs.append((method, options, index % 3, inputs(model, (9, 5 + index % 4))))

    def work(job: tuple[str, dict[str, Any], Any, dict[str, Tensor]]) -> Tensor:
        method, options, target, batch = job
        return attribute(model, batch, method, target, **options).scores

    serial = [work(job) for job in jobs]
    before = snapshot(model)
    barrier = threading.Barrier(8)

    def together(start: int) -> list[tuple[int, Tensor]]:
        barrier.wait()
        return [(index, work(jobs[index])) for index in range(start, len(jobs), 8)]

    with ThreadPoolExecutor(8) as pool:
        results = [pair for part in pool.map(together, range(8)) for pair in part]
    assert len(results) == len(jobs)
    for index, scores in results:
        assert torch.equal(scores, serial[index]), jobs[index][0]
    assert_unchanged(before, snapshot(model))


# --- where it is called ----------------------------------------------------------------------------------


class _Counting(TorchFunctionMode):
    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    "context",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.set_grad_enabled(False),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("cpu"),
        _Counting,
        nullcontext,
    ],
    ids=["no_grad", "inference_mode", "set_grad_enabled", "autocast", "device", "function_mode", "none"],
)
def test_the_callers_context_does_not_matter(context: Callable[[], Any], method: str) -> None:
    model = shared_model("bert", "sdpa", torch.float32)
    expected = attribute(model, inputs(model), method)
    with context():
        before = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
        found = attribute(model, inputs(model), method)
        after = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    assert before == after
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.scores, expected.scores)
    assert found.scores.dtype == torch.float32
    assert not found.scores.requires_grad


def test_frozen_parameters_do_not_matter() -> None:
    model = make("bert", "sdpa")
    expected = attribute(model, inputs(model), ALL)
    model.requires_grad_(False)
    for method, found in attribute(model, inputs(model), ALL).items():
        assert torch.equal(found.scores, expected[method].scores)


# --- memory ---------------------------------------------------------------------------------------------


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def live_tensors() -> int:
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


@pytest.mark.parametrize(
    ("family", "attention"), [("bert", "sdpa"), ("bert", "eager"), ("albert", "eager"), ("deberta", "eager"),
                              ("modernbert", "sdpa")],
)  # fmt: skip
def test_a_forward_pass_dies_with_its_last_reference(family: str, attention: str) -> None:
    """No cycle holds it, else activations would pile up until the cycle collector comes by."""
    model = shared_model(family, attention)
    batch = inputs(model)
    composites = [GRADIENT, ATTN_LRP, CP_LRP, released_lrp(0.5)]
    with no_collector():
        forward = run(model, batch, composites, attention=True, sub_layers=True)
        for composite in composites:
            forward.backward(composite, forward.logits, torch.ones_like(forward.logits), forward.embedding)
        held = [weakref.ref(tensor) for tensor in (forward.embedding, forward.logits)]
        assert all(reference() is not None for reference in held)
        del forward
        assert all(reference() is None for reference in held)


@pytest.mark.parametrize("method", ALL)
def test_repeated_calls_keep_nothing(method: str) -> None:
    model = shared_model("bert", "eager")
    batch = inputs(model)
    attribute(model, batch, method)
    with no_collector():
        before = live_tensors()
        for _ in range(3):
            attribute(model, batch, method)
        assert live_tensors() == before


# --- refused by name ------------------------------------------------------------------------------------


def _train(model: nn.Module) -> nn.Module:
    return model.train()


def _dropout_in_train_mode(model: nn.Module) -> nn.Module:
    model.bert.encoder.layer[1].output.dropout.train()
    return model


def _checkpointing(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # transformers 5 has a second name for it and will drop this one
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_enable()
    return model


def _compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def _compiled_part(model: nn.Module) -> nn.Module:
    model.bert.encoder = torch.compile(model.bert.encoder, backend="eager").eval()
    return model


def _parallel_part(model: nn.Module) -> nn.Module:
    model.bert.encoder = nn.DataParallel(model.bert.encoder).eval()
    return model


@pytest.mark.parametrize("method", ["attnlrp", "gs", "lat"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_train, r"the model is in train mode.*model\.eval\(\)"),
        (_dropout_in_train_mode, "its part 'bert.encoder.layer.1.output.dropout' is in train mode"),
        (_checkpointing, r"checkpointing is on"),
        (lambda model: nn.DataParallel(model).eval(), r"wrapped in DataParallel: pass model\.module"),
        (lambda model: torch.compile(model, backend="eager"), "compiled"),
        (_compiled_in_place, "compiled"),
        (_compiled_part, "compiled"),
        (_parallel_part, "DataParallel"),
    ],
    ids=["train", "dropout", "checkpointing", "parallel", "compiled", "compiled-in-place", "compiled-part",
         "parallel-part"],
)  # fmt: skip
def test_refused_by_name(change: Callable[[nn.Module], nn.Module], message: str, method: str) -> None:
    model = change(make("bert", "sdpa"))
    with pytest.raises(UnsupportedModelError, match=message):
        attribute(model, inputs(make("bert")), method)


@pytest.mark.parametrize("method", ["attnlrp", "gs"])
def test_weights_made_in_inference_mode_are_refused(method: str) -> None:
    """Autograd cannot keep them; the error says what to do, in whybert's words."""
    with torch.inference_mode():
        model = make("bert", "sdpa")
    with pytest.raises(UnsupportedModelError, match="inference"):
        attribute(model, inputs(model), method)


# --- fail closed ------------------------------------------------------------------------------------------


class _CustomSine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "einsum": (lambda x: torch.einsum("bsh,bsh,bsh->bsh", x, x, x), "einsum"),
    "sin": (torch.sin, "sin"),
    "cumprod": (lambda x: torch.cumprod(x, 1), "cumprod"),
    "prod": (lambda x: x.prod(1), "prod"),
    "reciprocal": (lambda x: 1 / x, "truediv"),
    "power of": (lambda x: 2**x, "pow"),
    "addbmm": (lambda x: torch.addbmm(x[0], x @ x.mT, x).expand_as(x), "addbmm"),
    "log_softmax": (lambda x: F.log_softmax(x, -1), "log_softmax"),
    "aten": (lambda x: torch.ops.aten.exp(x), "exp"),
    "weight from the input": (lambda x: F.linear(x[0], x[1])[:2, :3].repeat(1, 2), "linear"),
    # These have a derivative that the function mode never sees, or sees as something else.
    "divide by it": (lambda x: torch.ones(6, dtype=x.dtype) / x, "div"),
    "autograd.Function": (_CustomSine.apply, ""),
    "vmap": (lambda x: torch.vmap(torch.exp)(x), ""),
}


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_without_a_rule_is_refused_by_name(name: str, method: str) -> None:
    operation, named = OPERATIONS[name]
    with pytest.raises(
        UnsupportedOperationError, match=f"the model calls .*{named}.*{method!r} has no rule"
    ) as caught:
        attribute(Toy(operation), IDS, method)
    assert caught.value.method == method
    assert named in caught.value.operation


# The released rules keep the ordinary derivative of a quotient, so they have a rule for these.
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("divide by it", "reciprocal")])
def test_the_released_rules_fail_closed_too(name: str) -> None:
    operation, named = OPERATIONS[name]
    with pytest.raises(UnsupportedOperationError, match=f"the model calls .*{named}.*'lrp' has no rule"):
        attribute(Toy(operation), IDS, "lrp", residual="once")


def test_a_convolution_is_refused_by_the_released_rules_alone() -> None:
    def convolve(x: Tensor) -> Tensor:
        kernel = torch.arange(12.0, dtype=x.dtype).view(6, 2, 1) / 12
        return F.conv1d(x.transpose(1, 2), kernel, groups=3).transpose(1, 2)

    with pytest.raises(UnsupportedOperationError, match=r"conv1d.*'lrp'"):
        attribute(Toy(convolve), IDS, "lrp", residual="once")
    found = attribute(Toy(convolve), IDS)
    torch.testing.assert_close(found.relevance_sum, found.output, rtol=1e-12, atol=1e-14)  # linear


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_differentiable_operation_has_a_gradient(name: str) -> None:
    operation, _ = OPERATIONS[name]
    model = Toy(operation)
    leaf = model.embeddings.words(IDS["input_ids"]).detach().requires_grad_()
    hidden = operation(leaf)
    y = model.head(hidden.mean(1) if hidden.dim() == 3 else hidden)[:, 1]
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    found = attribute(model, IDS, ["gs", "gi"], 1)
    # The same operations in float64, but for the mean, which the model takes with a mask.
    torch.testing.assert_close(
        found["gs"].relevance, (y[:, None, None] * gradient).detach(), rtol=1e-10, atol=1e-13
    )
    torch.testing.assert_close(
        found["gi"].relevance, (y[:, None, None] * gradient * leaf).detach(), rtol=1e-10, atol=1e-13
    )


def test_an_operation_that_carries_no_relevance_is_no_matter() -> None:
    def body(x: Tensor) -> Tensor:
        positions = torch.cumsum(torch.ones(x.shape[1], dtype=x.dtype), 0)  # of no tracked tensor
        return x * torch.exp(-positions)[:, None] + torch.exp(-positions)[:, None] * (x > 0)

    found = attribute(Toy(body), IDS)
    assert found.scores.any()


def test_sums_in_place_are_sums() -> None:
    """What is noted about a tensor must not outlive a change in place: 2 u + x is no multiple of u."""
    results = []
    for in_place in (True, False):
        toy = Toy()

        def body(x: Tensor, in_place: bool = in_place, toy: Toy = toy) -> Tensor:
            u = toy.dense(x)
            w = u * 2.0
            if in_place:
                w += x
            else:
                w = w + x
            return w * u

        toy.body = body
        results.append(attribute(toy, IDS, ["gi", "attnlrp", "cp_lrp"]))
    for method, found in results[0].items():
        torch.testing.assert_close(found.relevance, results[1][method].relevance, rtol=1e-12, atol=1e-14)


def test_the_embedding_may_be_changed_in_place() -> None:
    """In a plain forward pass the block's output is no leaf, so models may add to it in place."""

    def in_place(x: Tensor) -> Tensor:
        x += 1.0
        return x

    found, expected = (attribute(Toy(body), IDS, "gi") for body in (in_place, lambda x: x + 1.0))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.scores, expected.scores)


def test_a_broken_weight_is_named() -> None:
    model = make("bert", "sdpa")
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(
        NonFiniteError, match=r"row 0 are not finite.*bert.encoder.layer.1.output.dense.weight"
    ):
        attribute(model, inputs(model), "gs")
    with pytest.raises(NonFiniteError, match="not finite"):
        attribute(model, inputs(model), list(ALL))
