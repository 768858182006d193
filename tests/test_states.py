"""The selective scan of state spaces: MambaLRP, however it is spelled, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Toy
from whybert import UnsupportedOperationError, attribute

IDS = {"input_ids": torch.arange(1, 13).view(2, 6)}


def plain(x: Tensor) -> Tensor:
    return x


class Scan(nn.Module):
    """Gu and Dao 2023 (arXiv 2312.00752), algorithm 2, with its gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.step, self.b, self.c, self.z = (nn.Linear(6, n, dtype=torch.float64) for n in (6, 4, 4, 6))
        self.a = nn.Parameter(-torch.rand(6, 4, dtype=torch.float64))
        self.d = nn.Parameter(torch.randn(6, dtype=torch.float64))

    def literal(self, u: Tensor) -> Tensor:
        """What Jafari et al. 2024 (arXiv 2406.07592, section 4) hold constant is detached, a gate halved."""
        step, b, c = F.softplus(self.step(u)).detach(), self.b(u).detach(), self.c(u).detach()
        states = [torch.zeros(len(u), 6, 4, dtype=u.dtype)]
        for t in range(u.shape[1]):
            decay = torch.exp(self.a.detach() * step[:, t, :, None])
            states.append(decay * states[-1] + step[:, t, :, None] * b[:, t, None, :] * u[:, t, :, None])
        y = torch.stack([(h * c[:, t, None, :]).sum(-1) for t, h in enumerate(states[1:])], 1) + self.d * u
        z = self.z(u)
        gated = y * (z * torch.sigmoid(z).detach())
        return (gated + gated.detach()) / 2.0

    def forward(self, u: Tensor, spelled: Callable[..., list[Tensor]]) -> Tensor:
        step, b, c = F.softplus(self.step(u)), self.b(u), self.c(u)
        y = torch.stack(spelled(self.a, step, b, c, u), 1) + self.d * u
        return y * F.silu(self.z(u))


def _whole(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    decay = torch.exp(a * step[..., None])
    taken = step[..., None] * b[:, :, None, :] * u[..., None]
    state, found = torch.zeros(len(u), 6, 4, dtype=u.dtype), []
    for t in range(u.shape[1]):
        state = decay[:, t] * state + taken[:, t]
        found.append((state @ c[:, t, :, None]).squeeze(-1))
    return found


def _channels_first(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    """As transformers has it: (batch, channels, positions, states)."""
    step, u = step.transpose(1, 2), u.transpose(1, 2)
    decay = torch.exp(a[None, :, None, :] * step[:, :, :, None])
    taken = (step[:, :, :, None] * b[:, None, :, :].float().double()) * u[:, :, :, None].clone()
    state, found = u.new_zeros(len(u), 6, 4), []
    for t in range(u.shape[2]):
        state = decay[:, :, t, :] * state + taken[:, :, t, :]
        found.append(torch.matmul(state.to(u.dtype), c[:, t, :].unsqueeze(-1))[:, :, 0])
    return found


def _einsum(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    state, found = torch.zeros(len(u), 6, 4, dtype=u.dtype), []
    for t in range(u.shape[1]):
        taken = u[:, t, :, None] * (b[:, t, None, :] * step[:, t, :, None])
        state = state * (a * step[:, t, :, None]).exp() + taken
        found.append(torch.einsum("bdn,bn->bd", state, c[:, t]))
    return found


def _step_first(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    """What would be the value is a product of step and value."""
    state, found = torch.zeros(len(u), 6, 4, dtype=u.dtype), []
    for t in range(u.shape[1]):
        state = (a * step[:, t, :, None]).exp() * state + b[:, t, None, :] * (step * u)[:, t, :, None]
        found.append(torch.einsum("bdn,bn->bd", state, c[:, t]))
    return found


def _transposed(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    state, found = torch.zeros(len(u), 4, 6, dtype=u.dtype), []
    for t in range(u.shape[1]):
        taken = (step[:, t, :, None] * b[:, t, None, :]) * u[:, t, :, None]
        state = (a * step[:, t, :, None]).exp().mT * state + taken.mT
        found.append((c[:, t, None, :] @ state).squeeze(1))
    return found


def _in_place(a: Tensor, step: Tensor, b: Tensor, c: Tensor, u: Tensor) -> list[Tensor]:
    state, found = torch.zeros(len(u), 6, 4, dtype=u.dtype), []
    for t in range(u.shape[1]):
        state = (a * step[:, t, :, None]).exp() * state
        state += (step[:, t, :, None] * b[:, t, None, :]) * u[:, t, :, None]
        found.append(torch.einsum("bdn,bn->bd", state.clone(), c[:, t]))
    return found


def model_of(spelled: Callable[..., list[Tensor]]) -> tuple[Scan, Toy]:
    scan = Scan()
    return scan, Toy(lambda x: x + scan(x, spelled))


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("spelled", [_whole, _channels_first, _einsum])
def test_scan_against_mamba_lrp(spelled: Any, method: str) -> None:
    scan, model = model_of(spelled)
    found = attribute(model, IDS, method, 1)
    x = model.embeddings(IDS["input_ids"]).detach().requires_grad_()
    logits = model.head((x + scan.literal(x)).mean(1))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert found.relevance is not None
    assert found.biases is not None
    rounding = 1e-6 if spelled is _channels_first else 1e-11  # it casts
    torch.testing.assert_close(found.logits, logits.detach(), rtol=rounding, atol=rounding)
    torch.testing.assert_close(found.relevance, (x * gradient).detach(), rtol=rounding, atol=rounding)
    torch.testing.assert_close(found.scores.sum(1) + found.biases, found.output, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("spelled", [_step_first, _transposed, _in_place])
def test_other_scans_are_refused(spelled: Any) -> None:
    _, model = model_of(spelled)
    assert torch.isfinite(attribute(model, IDS, "gi", 1).scores).all()
    for method in ("attnlrp", "cp_lrp"):
        with pytest.raises(UnsupportedOperationError, match=r"a state of which it is not clear|torch\.exp"):
            attribute(model, IDS, method, 1)


@pytest.mark.parametrize("method", ["gi", "gs"])
def test_gradients_of_a_scan_are_autograds(method: str) -> None:
    """In one call with the rules, too."""
    _, model = model_of(_whole)
    alone = attribute(model, IDS, method, 1)
    beside = attribute(model, IDS, [method, "attnlrp"], 1)[method]
    torch.testing.assert_close(beside.scores, alone.scores, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("fused", [False, True])
def test_an_exponential_that_is_a_term_of_scores(fused: bool) -> None:
    """As in the masks of Doge: e^s is 1, a constant, and what s makes of it; as a factor it has no rule."""
    torch.manual_seed(3)
    layer = nn.Linear(6, 1).double()

    def body(x: Tensor) -> Tensor:
        mask = torch.exp(layer(x)).mT.expand(-1, 6, -1)
        if fused:
            return x + F.scaled_dot_product_attention(x, x, x, attn_mask=mask, scale=1.0)
        return x + torch.softmax(x @ x.mT + mask, -1) @ x

    def half(x: Tensor) -> Tensor:
        return x / 2 + x.detach() / 2

    model = Toy(body)
    x = model.embeddings(IDS["input_ids"]).detach().requires_grad_()
    term = layer(x)
    term = 1.0 + term * ((torch.exp(term) - 1.0) / term).detach()
    weights = torch.softmax(half(x) @ half(x).mT + term.mT, -1)
    logits = model.head((x + half(weights) @ half(x)).mean(1))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    found = attribute(model, IDS, "attnlrp", 1)
    torch.testing.assert_close(found.relevance, (x * gradient).detach(), rtol=1e-10, atol=1e-13)
    factors: list[Callable[[Tensor], Tensor]] = [
        lambda x: x * torch.exp(layer(x)),
        lambda x: torch.exp(x) @ x.mT @ x,
        lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True),
        lambda x: torch.log1p(torch.exp(x)),
    ]
    for factor in factors:
        with pytest.raises(UnsupportedOperationError, match=r"torch\.exp"):
            attribute(Toy(factor), IDS, "attnlrp", 1)
