"""One classifier in many spellings: the same relevance as the plain spelling, or a refusal by name.

`spellings.SPELLINGS` is the table of operations and spellings; `spellings.twin` says without whybert what is
right.  A spelling whose right answer is not known is refused; it never gives another number.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
import spellings
from spellings import BERT, HIDDEN, LLAMA, SPELLINGS, Network, batch, classifier, network_of
from whybert import Attribution, attribute
from whybert.errors import ModelError

METHODS = ("gs", "gi", "gi:reduction=sum", "attnlrp", "cp_lrp", "lrp:residual=once", "lrp", "lat")
GRADIENTS = METHODS[:3]  # they share one backward pass
TARGET = 1
CASES = [(operation, name) for operation, table in SPELLINGS.items() for name in table]

# To the released rule a linear layer is what is called as one: it rescales the rows of each and is not linear
# itself, so the same map cut into other layers is another network; so is one whose numbers are scaled before
# or behind, which the rule passes as a derivative (as it must where queries are scaled).  To no other method.
OTHER_LAYERS = {
    ("linear", "LoRA beside"),
    ("linear", "LoRA beside @"),
    ("linear", "einsum of three"),
    ("linear", "columns apart"),
    ("linear", "rows apart"),
    ("linear", "written into slices"),
    ("linear", "torch.dot"),
    ("linear", "bias as a column"),
    ("linear", "scaled before"),
    ("linear", "scaled behind"),
    ("linear", "int8 scale behind"),
    ("linear", "weight by items"),
    ("linear", "gated by parameters"),
    ("linear", "padded weight"),
    ("linear", "bias twice"),
    ("linear", "addmm with alpha"),
    ("pool_attention", "SDPA"),
    ("sigmoid", "tanh"),
    ("batch_norm", "written out"),
    ("batch_norm", "rsqrt"),
    ("relu_squared", "x * relu"),  # an activation of its own; two, if it is a square of one
    ("projections", "fused, split"),
    ("projections", "fused, torch.split"),
    ("projections", "fused, tensor_split"),
    ("projections", "fused, slices"),
    ("projections", "fused @, split"),
}


Answer = Attribution | str  # the numbers, or the message of a refusal


def ask(network: Network, methods: Sequence[str], how: Mapping[Any, Any]) -> dict[str, Answer]:
    """What each method answers; those of `methods` that need no rules are asked in one call."""
    model, found = classifier(network, how), {}
    gradients = [method for method in methods if method in GRADIENTS]
    with model.spelled(how):
        for asked in [gradients, *([method] for method in methods if method not in gradients)]:
            try:
                found.update(attribute(model, batch(network), asked, TARGET) if asked else {})
            except ModelError as error:
                found.update(dict.fromkeys(asked, str(error)))
            except Exception as error:  # only refusals are right
                found.update(dict.fromkeys(asked, f"fault: {type(error).__name__}: {str(error)[:120]}"))
    return {method: found[method] for method in methods}


@cache
def plain(network: Network, method: str) -> Answer:
    return ask(network, [method], {})[method]


@cache
def twin(network: Network, method: str) -> tuple[Tensor, Tensor]:
    model, inputs = classifier(network), batch(network)
    embedding = model.embeddings(inputs["input_ids"])
    return spellings.twin(method, model, embedding, inputs["attention_mask"], TARGET)


@cache
def plain_logits(network: Network) -> Tensor:
    with torch.no_grad():
        logits: Tensor = classifier(network)(**batch(network)).logits
    return logits


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a part of the largest number; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


def tolerance(method: str) -> float:
    """Relevance behind a LayerNorm sums to 0 up to rounding, which `lrp` divides by a sum plus 1e-7."""
    return 1e-5 if method.startswith("lrp") else 1e-9


def verdict(network: Network, method: str, found: Answer) -> str:
    """Whether `found` is "equal" to the plain spelling, else "refused: ...", "wrong: ..." or "fault: ..."."""
    if isinstance(found, str):
        named = "\n" not in found and "<" not in found and "''" not in found
        return found if found.startswith("fault") else f"{'refused' if named else 'fault: no name'}: {found}"
    if off(found.logits, plain_logits(network)) > 1e-12:
        return "wrong: logits"
    right = plain(network, method)
    if not isinstance(right, str):
        expected = {"relevance": right.relevance, "scores": right.scores}
    elif spellings.twin_defined(method, network):
        expected = dict(zip(("relevance", "scores"), twin(network, method), strict=True))
    else:
        return f"wrong: an answer where the plain spelling is refused ({right[:80]})"
    for part, numbers in expected.items():
        if numbers is not None:
            error = off(getattr(found, part), numbers)
            if not error <= tolerance(method):
                return f"wrong: {part} off by {error:.2g} of the largest"
    return "equal"


def verdicts(network: Network, how: Mapping[Any, Any], methods: Sequence[str] = METHODS) -> dict[str, str]:
    return {m: verdict(network, m, answer) for m, answer in ask(network, methods, how).items()}


@cache
def alone(operation: str, name: str) -> dict[str, str]:
    """The verdicts where one operation is spelled otherwise throughout."""
    return verdicts(network_of(operation), {operation: name})


def bad(found: Mapping[str, str]) -> dict[str, str]:
    return {method: text for method, text in found.items() if not text.startswith(("equal", "refused"))}


def same_layers(operation: str, name: str, method: str) -> bool:
    return not (method.startswith("lrp") and (operation, name) in OTHER_LAYERS)


# --- the tables themselves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", SPELLINGS)
def test_every_spelling_computes_the_same_logits(operation: str) -> None:
    network = network_of(operation)
    model = classifier(network, {operation: ""})
    for name in SPELLINGS[operation]:
        with torch.no_grad(), model.spelled({operation: name}):
            assert off(model(**batch(network)).logits, plain_logits(network)) < 1e-12, name


NETWORKS = {
    "BERT": BERT,
    "pre-norm": Network(post=False),
    "LLaMA": LLAMA,
    "post-norm with RMSNorm": Network(norm="rms_norm"),
    "gated": Network(feed="gated", pool="pool_mean"),
    "tanh": Network(feed="gelu_tanh", pool="pool_max"),
    "attention": Network(pool="pool_attention"),
    "quick": Network(feed="quick_gelu", causal=True, pool="pool_last"),
    "relu": Network(feed="relu", grouped=True),
    "leaky": Network(feed="leaky_relu", norm="l2_norm", pool="pool_topk"),
    "sigmoid": Network(feed="sigmoid", norm="batch_norm"),
    "elu": Network(feed="elu", post=False),
    "glu": Network(feed="glu", pool="pool_mean"),
}


@pytest.mark.parametrize("method", spellings.TWINS)
@pytest.mark.parametrize("name", NETWORKS)
def test_plain_spelling_against_the_twin(name: str, method: str) -> None:
    network = NETWORKS[name]
    found = plain(network, method)
    if isinstance(found, str):
        may = network.norm == "rms_norm" or network.grouped or network.pool == "pool_max"
        assert may or not spellings.twin_defined(method, network), found
        return
    assert spellings.twin_defined(method, network)
    relevance, scores = twin(network, method)
    assert off(found.relevance, relevance) < tolerance(method)
    assert off(found.scores, scores) < tolerance(method)


@pytest.mark.parametrize("pool", ["pool_first", "pool_last", "pool_mean"])
@pytest.mark.parametrize("change", [{}, {"causal": True}, {"grouped": True}, {"post": False}], ids=str)
def test_trace_against_the_twin(change: dict[str, Any], pool: str) -> None:
    network = Network(pool=pool, **change)
    found = plain(network, "lat")
    assert not isinstance(found, str), found
    assert off(found.scores, spellings.traced(network)) < 1e-12


# --- one spelling at a time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("operation", "name"), CASES, ids=lambda value: str(value).replace(" ", "_"))
def test_equal_or_refused(operation: str, name: str) -> None:
    found = alone(operation, name)
    assert bad({m: text for m, text in found.items() if same_layers(operation, name, m)}) == {}


# What models are commonly written in: here a refusal would be a fault as well.
COMMON = {
    "linear": [
        "nn.Linear", "torch._C._nn.linear", "F.linear by keyword", "F.linear + bias", "bias + F.linear",
        "F.linear transposed", "F.linear on rows", "@ .T", "@ .mT", "@ .H", "@ .t()", "@ transpose",
        "@ permute", "@ kept transposed", "x.matmul", "torch.matmul", "torch.matmul by keyword", "torch.mm",
        "x.mm", "torch.bmm", "x.bmm", "weight on the left", "weight.matmul", "bmm on the left", "torch.addmm",
        "bias.addmm", "torch.baddbmm", "einsum", "einsum other letters", "einsum ellipsis",
        "einsum weight first", "slice of rows", "slice of rows @", "narrow @", "split @", "entry of a stack",
        "entry of a stack @", "unbind @", "view @", "weight.data", "weight.detach", "weight.clone",
        "weight.contiguous", "weight.to", "weight.to @", "weight.double @", "weight.type_as", "buffer",
        "buffer @", "plain tensor @", "int8 weight", "int8 weight @", "tied embedding", "tied embedding @",
        "weight norm", "weight norm @", "weight norm written out", "weight norm written out @",
        "parametrised", "parametrised @", "LoRA merged", "LoRA merged @", "LoRA beside", "LoRA beside @",
        "weight of columns", "torch.add", "y.add", "bias.add", "y.add_", "y += bias", "F.linear add_",
        "torch.dot", "torch.addmv", "einsum sublists", "einsum operands as a list", "einsum of three",
        "F.bilinear", "F.conv2d", "F.conv1d in two groups", "F.conv_transpose1d",
        "torch.linalg.matmul", "own autograd.Function",
    ],
    "projections": [
        "slices of a fused weight", "slices of a fused weight @", "chunks of a fused weight", "fused, split",
        "fused, torch.split", "fused, slices", "fused @, split", "values first",
    ],
    "split": ["reshape, permute", "unflatten", "torch.reshape"],
    "merge": ["contiguous, view", "permute, flatten", "torch.flatten", "cat"],
    "scores": ["/ sqrt", "torch.div", "scale first", "scale on both", "scale by a tensor", "einsum",
               "einsum ellipsis", "keys first", "bmm", "baddbmm", "baddbmm, and a constant",
               "baddbmm of empty"],
    "mask": ["torch.masked_fill", "masked_fill lowest", "added lowest", "added -inf", "torch.where",
             "torch.where scalar", "masked_fill_"],
    "softmax": ["torch.softmax", "s.softmax", "s.softmax(3)", "nn.Softmax", "dtype", "then dropout",
                "then contiguous", "then view_as", "then expand_as", "then to",
                "divided by its sum"],
    "values": ["torch.matmul", "torch.matmul by keyword", "a.matmul", "bmm", "a.bmm", "einsum",
               "einsum, queries first"],
    "attention": ["3-D", "3-D plain", "heads before the batch", "sequence first", "einsum bnhd", "SDPA",
                  "SDPA additive mask", "SDPA expanded mask", "SDPA scale", "SDPA 3-D",
                  "nn.MultiheadAttention", "nn.MultiheadAttention without weights"],
    "grouped_attention": ["repeat_interleave", "torch.repeat_interleave", "expand",
                          "expand, reshape", "SDPA"],
    "layer_norm": ["nn.LayerNorm", "torch.layer_norm", "affine behind", "bias behind", "sqrt", "weight first",
                   "x.sqrt", "rsqrt", "pow(2)", "torch.pow", "x * x", "torch.mean", "1 / sqrt", "torch.var",
                   "x.var", "linalg norm", "in place", "F.group_norm"],
    "rms_norm": ["nn.RMSNorm", "x * rsqrt", "rsqrt * x", "x / sqrt", "x * x", "x ** 2", "1 / sqrt", "norm",
                 "linalg norm", "1 + (weight - 1)", "in double", "weight behind", "in place"],
    "l2_norm": ["F.normalize", "F.normalize by keyword", "x.norm(p=2)", "torch.norm", "linalg.norm",
                "linalg.vector_norm", "1 / norm", "sqrt(sum)", "rsqrt(sum)", "in place", "maximum"],
    "batch_norm": ["F.batch_norm, channels", "nn.BatchNorm1d", "nn.BatchNorm1d, channels", "written out"],
    "gelu": ["nn.GELU", "x * 0.5 * (1 + erf)", "0.5 * x * (1 + erf)", "x * (0.5 * (1 + erf))", "x.erf",
             "torch.special.erf", "erfc", "ndtr", "of a copy", "of a view", "own autograd.Function"],
    "gelu_tanh": ["nn.GELU", "x ** 3", "torch.pow", "fast"],
    "quick_gelu": ["x * torch.sigmoid", "x.sigmoid"],
    "silu": ["nn.SiLU", "x * torch.sigmoid", "x.sigmoid", "nn.Sigmoid", "F.silu in place",
             "torch._C._nn.silu", "x / (1 + exp)", "x.clone() * sigmoid", "swish of 1"],
    "relu": ["torch.relu", "x.relu", "nn.ReLU", "F.relu in place", "nn.ReLU in place", "relu_", "torch.relu_",
             "clamp", "clamp_min", "torch.maximum", "F.threshold", "F.hardtanh"],
    "leaky_relu": ["nn.LeakyReLU", "in place", "nn.LeakyReLU in place", "F.prelu", "F.prelu, channels",
                   "torch.where", "torch.max", "maximum"],
    "elu": ["nn.ELU", "in place", "F.celu", "torch.where"],
    "sigmoid": ["x.sigmoid", "F.sigmoid", "nn.Sigmoid", "expit", "sigmoid_", "tanh", "of -x"],
    "mish": ["nn.Mish", "in place", "x * tanh(softplus)"],
    "hardswish": ["nn.Hardswish", "in place", "x * relu6", "x * clamp"],
    "softplus": ["nn.Softplus", "logsigmoid", "scaled"],
    "softsign": ["nn.Softsign", "x / (1 + |x|)"],
    "relu_squared": ["relu ** 2", "pow", "relu * relu", "x * relu", "relu_ ** 2", "clamp"],
    "glu": ["sigmoid(b) * a", "F.glu", "F.glu, dim", "nn.GLU", "chunk", "slices", "in place"],
    "tanh": ["x.tanh", "F.tanh", "nn.Tanh", "torch.tanh_", "x.tanh_", "sigmoid"],
    "gate": ["b * a", "torch.mul", "a.mul", "chunked", "mul_", "b.mul_", "clone, mul_", "addcmul"],
    "residual": ["y + x", "torch.add", "x.add", "clone, add_", "stack, sum", "sum", "lerp", "addcmul",
                 "addcdiv", "index_add", "slices +="],
    "dropout": ["nn.Dropout", "torch.dropout", "in place", "p = 0", "none", "nn.Identity"],
    "identity": ["clone", "contiguous", "to", "flatten", "permute", "squeeze", "cat", "cat of splits",
                 "stack", "index", "index_select", "gather", "where", "nn.Identity", "new slices",
                 "unpadded", "isfinite", "view", "ravel", "swapdims", "tile", "tensor_split",
                 "take_along_dim", "torch.take", "masked_select", "as_strided", "unfold", "einsum",
                 "cumsum", "tril + triu", "diagonal", "real", "copy_", "index_copy", "index_add",
                 "scatter", "scatter_add", "masked_scatter", "slice_scatter", "upsampled",
                 "rows by index put", "set in place", "fft", "fft of both", "rfft", "complex",
                 "plus a complex number", "mul_ and div_", "add_ a number", "sub_ with alpha",
                 "added to ones", "masked_fill_ of a number", "where of a tensor", "index_fill",
                 "index_fill_", "index put of a number", "index_put_", "fill_ of a part",
                 "scatter_ of a number", "into a constant", "into a constant, in place",
                 "into a part of a constant", "index_copy_", "index_add_", "scatter_add_", "F.unfold",
                 "F.fold", "avg_pool1d", "diff", "lerp of itself", "plus a new tensor"],
    "pool_first": ["x[:, 0, :]", "select", "index_select", "gather", "narrow", "unbind", "transpose",
                   "arange", "bmm"],
    "pool_last": ["argmax of a cumulated mask", "flipped argmax", "gather", "bmm", "mask, sum"],
    "pool_mean": ["clamped count", "masked_fill", "* bool mask", "weights, sum", "bmm", "@", "einsum",
                  "texts apart", "avg_pool1d", "adaptive_avg_pool1d"],
    "pool_max": ["max", "torch.max", "amax", "torch.amax", "texts apart", "topk", "sort", "max_pool1d",
                 "adaptive_max_pool1d", "maximum"],
    "pool_topk": ["topk, mean", "torch.topk", "sort", "gather", "texts apart"],
    "pool_attention": ["bmm", "@", "product and sum", "x * weights", "einsum", "softmax over dimension 1"],
}  # fmt: skip
# Written for post-norm blocks as BERT has them, and for a bias that is added where the layer is.
NARROWER = ("lrp:residual=once", "lrp")


@pytest.mark.parametrize(
    ("operation", "name"),
    [(operation, name) for operation, names in COMMON.items() for name in names],
    ids=lambda value: str(value).replace(" ", "_"),
)
def test_common_spellings_are_not_refused(operation: str, name: str) -> None:
    found = {m: text for m, text in alone(operation, name).items() if m not in NARROWER}
    if not operation.startswith(("attention", "grouped", "softmax", "scores", "mask", "values", "pool")):
        assert found.pop("lat") == "equal"
    elif found["lat"].startswith("refused"):
        del found["lat"]
    assert found == dict.fromkeys(found, "equal")


ATTENTION = ("split", "scores", "mask", "softmax", "values", "merge", "attention", "grouped_attention")


def test_a_convolution_over_positions_is_refused_by_the_trace_alone() -> None:
    found = alone("linear", "F.conv1d of kernel 3")
    assert found.pop("lat").startswith("refused: lat traces")
    assert {m: text for m, text in found.items() if m not in NARROWER and text != "equal"} == {}


@pytest.mark.parametrize("block", ["0", "1"])
@pytest.mark.parametrize("operation", ATTENTION)
def test_one_block_spelled_otherwise(operation: str, block: str) -> None:
    """A trace through some of the blocks is none; `cp_lrp` where attention is found in some."""
    found = {
        name: verdicts(network_of(operation), {(operation, block): name}, ("lat", "cp_lrp"))
        for name in SPELLINGS[operation]
    }
    assert {name: faults for name, each in found.items() if (faults := bad(each))} == {}


def test_fixed_weights() -> None:
    """The same where no parameter requires a gradient."""
    model = spellings.Classifier(BERT, forms=True).requires_grad_(False)
    wrong = {}
    for name in SPELLINGS["linear"]:
        for method in ("attnlrp", "cp_lrp"):
            with model.spelled({"linear": name}):
                try:
                    found = attribute(model, batch(BERT), method, TARGET)
                except ModelError:
                    continue
            error = off(found.scores, twin(BERT, method)[1])
            if not error < 1e-9:
                wrong[name, method] = error
    assert wrong == {}


@pytest.mark.parametrize("operation", SPELLINGS)
def test_without_biases_cp_lrp_accounts_for_the_logit(operation: str) -> None:
    """Independent of the plain spelling: the scores at the embedding sum to the logit."""
    network = replace(network_of(operation), biases=False)
    model, wrong = classifier(network, {operation: ""}), {}
    for name in SPELLINGS[operation]:
        with model.spelled({operation: name}):
            try:
                found = attribute(model, batch(network), "cp_lrp", TARGET)
            except ModelError:
                continue
        assert found.biases is not None  # of what is not 0 at 0, such as a sigmoid
        error = off(found.scores.sum(1) + found.biases, found.logits[:, TARGET])
        if not error < 1e-9:
            wrong[name] = error
    assert wrong == {}


@pytest.mark.parametrize("operation", SPELLINGS)
def test_tokens_and_biases_account_for_the_logit(operation: str) -> None:
    """Constants too, wherever they come in: by `cp_lrp` the scores and the books are all of the logit.

    Where a model takes its texts apart, no book can be kept for each of several.
    """
    network = network_of(operation)
    model, wrong = classifier(network, {operation: ""}), {}
    for name in SPELLINGS[operation]:
        with model.spelled({operation: name}):
            try:
                found = attribute(model, batch(network), "cp_lrp", TARGET)
                if found.biases is None:
                    first = {key: value[:1] for key, value in batch(network).items()}
                    found = attribute(model, first, "cp_lrp", TARGET)
            except ModelError:
                continue
        assert found.biases is not None
        error = off(found.scores.sum(1) + found.biases, found.logits[:, TARGET])
        if not error < 1e-9:
            wrong[name] = error
    assert wrong == {}


# --- combinations -------------------------------------------------------------------------------------------


@st.composite
def combinations(draw: st.DrawFn) -> tuple[Network, dict[Any, str]]:
    network = draw(
        st.builds(
            Network,
            norm=st.sampled_from(["layer_norm", "rms_norm"]),
            feed=st.sampled_from(["gelu", "gelu_tanh", "quick_gelu", "relu", "gated"]),
            pool=st.sampled_from([name for name in SPELLINGS if name.startswith("pool")]),
            post=st.booleans(),
            causal=st.booleans(),
            grouped=st.booleans(),
        )
    )
    how: dict[Any, str] = {}
    for operation in draw(
        st.lists(st.sampled_from(network.operations()), min_size=2, max_size=6, unique=True)
    ):
        name = draw(st.sampled_from(list(SPELLINGS[operation])))
        where = draw(st.sampled_from(["everywhere", "0", "1"]))
        # Of what is refused alone too much would be refused together.
        if alone(operation, name)["attnlrp"] == "equal":
            how[operation if where == "everywhere" else (operation, where)] = name
    return network, how


def check_combination(network: Network, how: dict[Any, str]) -> None:
    model = classifier(network, how)
    with torch.no_grad(), model.spelled(how):
        # Two spellings that change one tensor in place may compute something else together.
        assume(off(model(**batch(network)).logits, plain_logits(network)) < 1e-12)
    operations = [(key if isinstance(key, str) else key[0], name) for key, name in how.items()]
    methods = [m for m in METHODS if all(same_layers(*each, m) for each in operations)]
    found = verdicts(network, how, methods)
    assert bad(found) == {}
    together = [m for m in methods if found[m] == "equal"]
    if not together:
        return
    with model.spelled(how):
        try:
            several = attribute(model, batch(network), together, TARGET)
        except ModelError as error:
            pytest.fail(f"{together} are answered one by one and refused together: {error}")
    for method in together:
        assert verdict(network, method, several[method]) == "equal"


@pytest.mark.parametrize("where", ["0", "1"])
@pytest.mark.parametrize("name", SPELLINGS["residual"])
def test_one_block_with_another_residual(name: str, where: str) -> None:
    """The released rule needs all blocks: one that it does not see must not be passed by without a word."""
    assert bad(verdicts(Network(post=True), {("residual", where): name}, ["lrp"])) == {}


def test_the_released_recursion_does_not_take_what_stands_in_for_a_call() -> None:
    spelled: dict[Any, str] = {"linear": "own autograd.Function", ("residual", "0"): "alpha"}
    assert bad(verdicts(Network(post=True), spelled, ["lrp"])) == {}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(combinations())
def test_combinations(drawn: tuple[Network, dict[Any, str]]) -> None:
    check_combination(*drawn)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(combinations())
def test_many_combinations(drawn: tuple[Network, dict[Any, str]]) -> None:
    check_combination(*drawn)


# --- gradients that are lost on the way ---------------------------------------------------------------------


def _int8(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eye = nn.Linear(x.shape[-1], x.shape[-1], bias=False)
        with torch.no_grad():
            eye.weight.copy_(torch.eye(x.shape[-1]))
        quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(eye), {nn.Linear}, dtype=torch.qint8)
        found: Tensor = quantised(x.float()).to(x.dtype)
    return found


def _without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.clone()


class _NotDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clone()
        ctx.mark_non_differentiable(y)
        return y

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        return None


LOST: dict[str, tuple[str, Callable[[Tensor], Tensor], str]] = {
    "detach": ("identity", lambda x: x.detach(), "detach"),
    "torch.detach": ("identity", lambda x: torch.detach(x), "detach"),
    "detach_": ("identity", lambda x: x.clone().detach_(), "detach"),
    "data": ("identity", lambda x: x.data, "data"),
    "data, in part": ("identity", lambda x: torch.cat([x[:, :2], x[:, 2:].data], 1), "data"),
    "a new leaf": ("identity", lambda x: x.detach().clone().requires_grad_(), "detach"),
    "torch.tensor": ("identity", lambda x: torch.tensor(x.detach().numpy()), "detach|numpy"),
    "numpy": ("identity", lambda x: torch.from_numpy(x.detach().numpy()), "detach|numpy"),
    "numpy of what is tracked": ("identity", lambda x: torch.from_numpy(x.numpy()), "numpy"),
    "tolist": ("identity", lambda x: torch.tensor(x.tolist(), dtype=x.dtype), "tolist"),
    "item": ("identity", lambda x: x * x.mean().item(), "item"),
    "float": ("identity", lambda x: x / float(x.sum()), "float|item"),
    "list of floats": ("identity", lambda x: x * x.new_tensor([float(v) for v in x[0, 0]]), "float|item"),
    "no_grad": ("identity", _without_gradient, "clone|no_grad"),
    "rounded": ("identity", lambda x: (x * 64).round().long().to(x.dtype) / 64, "long|to|int"),
    "int8 kernel": ("identity", _int8, "quantized|linear_dynamic|kernel"),
    "not differentiable": ("identity", _NotDifferentiable.apply, "NotDifferentiable|clone|derivative"),
    "half of it": ("identity", lambda x: 0.5 * x + 0.5 * x.detach(), "detach"),
    "straight through": ("identity", lambda x: x + (x.round() - x).detach(), "detach"),
    "tanh": ("tanh", lambda x: torch.tanh(x).detach(), "detach"),
    "attention weights": ("softmax", lambda s: s.softmax(-1).detach(), "detach"),
    "scores": ("softmax", lambda s: s.data.softmax(-1), "data"),
    "root": ("layer_norm", lambda n, x: x / x.pow(2).mean(-1, keepdim=True).sqrt().detach(), "detach"),
    "gate": ("gelu", lambda x: x * torch.sigmoid(x.detach()), "detach"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_lost_gradients_are_refused(name: str) -> None:
    operation, function, named = LOST[name]
    found = verdicts(BERT, {(operation, "dense" if operation == "tanh" else "1"): function})
    # The trace of attention reads weights and no gradient: it may answer.  To others what is lost may be a
    # constant anyway, as the attention weights are to `cp_lrp`.
    assert not found.pop("lat").startswith("fault")
    right = {m: text == "equal" or re.match(f"refused: .*({named})", text) for m, text in found.items()}
    assert all(right.values()), {m: text for m, text in found.items() if not right[m]}


def _kept(x: Tensor) -> Tensor:
    x.unused = x.detach().abs().mean()  # type: ignore[attr-defined]
    return x


NOT_LOST: dict[str, Callable[[Tensor], Tensor]] = {
    "isnan": lambda x: x if not torch.isnan(x).any() else x.nan_to_num(),
    "largest": lambda x: x if x.abs().max() < 1e4 else x.clamp(-1e4, 1e4),
    "largest item": lambda x: x if x.abs().max().item() < 1e4 else x.clamp(-1e4, 1e4),
    "detached and compared": lambda x: x.masked_fill(x.detach().abs() > 1e4, 0.0),
    "data compared": lambda x: torch.where(x.data == x.data, x, torch.zeros_like(x)),
    "argsort": lambda x: (lambda order: x[:, order][:, order.argsort()])(x[0, :, 0].argsort()),
    "argmax": lambda x: x + 0 * x[:, x[0, :, 0].argmax()][:, None],
    "count": lambda x: x * ((x > 0).sum() > 0),
    "size": lambda x: x * float(x.shape[-1]) / HIDDEN,
    "kept for later": _kept,
    "printed": lambda x: x + (0 if repr(x.detach().sum().item()) else 1),
}
MAY_BE_REFUSED = {
    "largest",
    "largest item",
    "data compared",
    "detached and compared",
    "kept for later",
    "printed",
    "argmax",
}


@pytest.mark.parametrize("name", NOT_LOST)
def test_gradients_that_nothing_needs(name: str) -> None:
    found = verdicts(BERT, {("identity", "1"): NOT_LOST[name]})
    assert bad(found) == {}
    if name not in MAY_BE_REFUSED:
        assert {m: text for m, text in found.items() if m not in NARROWER and text != "equal"} == {}


# --- positions that are no token's --------------------------------------------------------------------------


class Longer(nn.Module):
    """Two virtual tokens before the words, as prompt tuning has them."""

    def __init__(self, words: spellings.Embeddings) -> None:
        super().__init__()
        self.word_embeddings = words.word_embeddings
        self.virtual = nn.Parameter(torch.randn(2, HIDDEN, dtype=torch.float64))

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.cat([self.virtual.expand(len(input_ids), -1, -1), self.word_embeddings(input_ids)], 1)


class Virtual(spellings.Classifier):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.embeddings = Longer(self.embeddings).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return super().forward(input_ids, F.pad(attention_mask, (2, 0), value=1))


class Placing(spellings.Classifier):
    """Its embedding block hands on where the words stand, beside them."""

    def head(self, x: tuple[Tensor, Tensor], attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().head(x[0], attention_mask)


class Placed(spellings.Embeddings):
    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(input_ids), torch.arange(input_ids.shape[1])


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_beside_the_embedding_is_handed_on(method: str) -> None:
    network = Network()
    plain, model = spellings.Classifier(network), Placing(network)
    model.embeddings.__class__ = Placed
    found, expected = (attribute(each, batch(network), method, TARGET) for each in (model, plain))
    assert torch.equal(found.scores, expected.scores)


class Padding(spellings.Classifier):
    """Pads to a multiple of 4 before the embedding block, as windowed attention has it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        missing = -input_ids.shape[1] % 4
        return super().forward(F.pad(input_ids, (0, missing)), F.pad(attention_mask, (0, missing)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Virtual, Padding])
@pytest.mark.parametrize("pool", ["pool_first", "pool_mean"])
def test_columns_are_the_tokens_own(kind: type[spellings.Classifier], pool: str, method: str) -> None:
    network = Network(pool=pool)
    model, inputs = kind(network), batch(network)
    held: list[tuple[Tensor, Tensor]] = []
    head = model.head
    model.head = lambda x, mask: held.append((x, mask)) or head(x, mask)  # type: ignore[method-assign]
    with torch.no_grad():
        model(**inputs)
    del model.head
    try:
        found = attribute(model, inputs, method, TARGET)
    except ModelError:
        return
    assert found.scores.shape == inputs["input_ids"].shape
    if method in spellings.TWINS:
        relevance, scores = spellings.twin(method, model, *held[0], TARGET)
        own = slice(2, None) if kind is Virtual else slice(0, spellings.LENGTH)
        assert off(found.scores, scores[:, own]) < tolerance(method)
        assert off(found.relevance, relevance[:, own]) < tolerance(method)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("method", ["gs", "gi", "attnlrp", "cp_lrp", "lrp", "lat"])
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig", "PromptEncoderConfig"])
def test_virtual_tokens_of_peft(kind: str, method: str) -> None:
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(task_type="SEQ_CLS", num_virtual_tokens=3)
    if kind == "PromptEncoderConfig":
        config.encoder_hidden_size = 8
    torch.manual_seed(0)
    model = peft.get_peft_model(models.make("bert"), config).double().eval()
    inputs = models.inputs(models.shared_model("bert"))
    if kind == "PrefixTuningConfig" and method == "lat":  # keys of which no position is the text's
        with pytest.raises(ModelError, match="prefix"):
            attribute(model, inputs, method, TARGET)
        return
    found = attribute(model, inputs, method, TARGET)
    assert found.scores.shape == inputs["input_ids"].shape
    assert (found.elsewhere is None) == (kind == "PrefixTuningConfig")
    if method == "cp_lrp":
        rest = 0.0 if found.elsewhere is None else found.elsewhere
        torch.testing.assert_close(found.scores.sum(1) + found.biases + rest, found.output)
    if method != "gs":
        return
    held: list[Tensor] = []
    block = model.get_base_model().bert.embeddings
    handle = block.register_forward_hook(
        lambda _m, _i, output: held.append(output.detach().requires_grad_()) or held[-1]
    )
    output = model(**inputs).logits[:, TARGET]
    handle.remove()
    (gradient,) = torch.autograd.grad(output.sum(), held[0])
    own = (gradient * output.detach()[:, None, None]).square().sum(-1)[:, -inputs["input_ids"].shape[1] :]
    assert off(found.scores, own) < 1e-9
