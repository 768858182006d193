"""What is left of a forward pass: a value that is swept backward any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from whybert.anatomy import FAILURES
from whybert.errors import UnsupportedModelError, WhybertError, one_line
from whybert.interception.sites import Inside
from whybert.interception.sub_layers import SubLayer
from whybert.interception.trace import Attention, LastAttention
from whybert.lrp.composites import GRADIENT, Composite
from whybert.lrp.functions import Sweep
from whybert.positions import Standing
from whybert.targets import ResolvedTarget


@dataclass(frozen=True, slots=True)
class Gradients:
    """What one sweep of dy/dlogits hands down: to the embedding, the books and the tensors inside.

    inside: of the states of `Inside`, then of its heads, still to be multiplied by `scale`, (batch,), unless
        that is None; empty where they were not kept.
    """

    embedding: Tensor
    books: Tensor | None
    inside: tuple[Tensor, ...]
    scale: Tensor | None

    def scaled(self, gradient: Tensor) -> Tensor:
        """A gradient of those inside, the batch along the first axis, as it is."""
        if self.scale is None:
            return gradient
        return gradient * self.scale.view(-1, *[1] * (gradient.dim() - 1))


@dataclass
class ForwardPass:
    """One forward pass, ready to be swept backward any number of times.

    embedding: the attribution point, (batch, positions, hidden), a leaf.  logits: (batch, labels).
    standing: which token of the input each position of the embedding stands for, where these are not the
        same, as with virtual tokens of prompt tuning; None where each stands for its own.
    attention: weights of each layer, first layer first, or what they are computed from.
    untraceable: why the attention is not all there is to trace; None if it is.
    sub_layers: the blocks of BERT's kind in order; `not_post_norm` says why there are none.
    inside: the states between its layers and what its heads hand on, if they were kept.
    is_of_positions: whether the labels are the positions of the text.
    """

    embedding: Tensor
    logits: Tensor
    sweep: Sweep
    standing: Standing | None = None
    attention: Sequence[Attention] = ()
    untraceable: str | None = None
    sub_layers: Sequence[SubLayer] = ()
    not_post_norm: str | None = None
    books: Tensor | None = None
    last: LastAttention | None = None
    inside: Inside | None = None
    is_of_positions: bool = False
    _gradients: dict[tuple[Composite, ResolvedTarget], Gradients] = field(default_factory=dict)
    _learned: set[Composite] = field(default_factory=set)  # for which it is known where rows stand

    def backward(self, composite: Composite, output: Tensor, relevance: Tensor, to: Tensor) -> Tensor:
        """Sweep `relevance` from `output` back to `to` by the rules of `composite`.

        The result has the shape of `to`, and is zero where nothing arrives.
        """
        (passed,) = self.swept(composite, output, relevance, [to])
        return torch.zeros_like(to) if passed is None else passed

    def gradient(self, composite: Composite, target: ResolvedTarget) -> Tensor:
        """The sweep of dy/dlogits down to the embedding, (batch, positions, hidden), made once.

        Raises UnsupportedModelError if nothing arrives there.
        """
        return self._gradient(composite, target).embedding

    def states(self, composite: Composite, target: ResolvedTarget) -> list[tuple[Tensor, Tensor]]:
        """(batch, positions, width) of each layer and what arrives there in the sweep of `gradient`.

        The first is the embedding, the last what the last layer hands on: one more than there are layers.

        Raises UnsupportedModelError where they cannot be told.
        """
        values = self.state_values()
        found = self._gradient(composite, target)
        gradients = map(found.scaled, found.inside[: len(values) - 1])
        return [*zip(values, (found.embedding, *gradients), strict=True)]

    def state_values(self) -> list[Tensor]:
        """The states of `states` alone, without a sweep."""
        inside = self._inside()
        if inside.no_states:
            raise UnsupportedModelError(
                f"the layers of the model cannot be told apart: {inside.no_states}; leave layers out, or "
                "use a method that asks for none, such as attnlrp"
            )
        return [self.embedding.detach(), *(site.value for site in inside.states)]

    def heads(self, composite: Composite, target: ResolvedTarget) -> list[tuple[Tensor, Tensor]]:
        """(batch, heads, queries, width): what the heads of each attention hand on, and what arrives there.

        That is A V before the output's projection.  Raises UnsupportedModelError where it cannot be told.
        """
        inside = self._inside()
        if inside.no_heads:
            raise UnsupportedModelError(
                f"the heads of the model cannot be told apart: {inside.no_heads}; leave heads out"
            )
        found = self._gradient(composite, target)
        gradients = found.inside[len(inside.states) :]
        return [
            (inside.by_head(place, site.value), found.scaled(inside.by_head(place, gradient)))
            for place, (site, gradient) in enumerate(zip(inside.heads, gradients, strict=True))
        ]

    def _inside(self) -> Inside:
        """What is inside, once it is known which axis is the batch's."""
        if self.inside is None:
            raise UnsupportedModelError("what the model has inside was not kept")
        if self.inside.is_ambiguous:
            seed = torch.zeros_like(self.logits)
            seed[0] = self._of_all()
            inside = self.inside
            edges = [site.edge for site in (*inside.states, *inside.heads)]
            passed = self.swept(GRADIENT, self.logits, seed, edges)
            states, heads = passed[: len(inside.states)], passed[len(inside.states) :]
            rows = [
                site.by_text(each)
                for site, each in zip(inside.states, states, strict=True)
                if each is not None
            ]
            rows += [inside.by_head(place, each) for place, each in enumerate(heads) if each is not None]
            # What text 0 is made of stands in row 0, whatever else has as many rows as there are texts.
            if any(bool(each[1:].any()) for each in rows):
                reason = "it is not known which axis of what it has inside is the batch's"
                self.inside = replace(inside, no_states=reason, no_heads=reason, is_ambiguous=False)
            else:
                self.inside = replace(inside, is_ambiguous=False)
        return self.inside

    def biases(self, composite: Composite, target: ResolvedTarget) -> Tensor | None:
        """The relevance that stays with the model's constants, (batch,), from the sweep of `gradient`.

        In gradient form the relevance of a constant is the constant times the gradient that arrives at it.
        Where constants were added to tensors from which the row of the batch cannot be told, such as to the
        tokens that an expert is given, each row takes a sweep of its own.  None for a composite that keeps no
        books.
        """
        share = self._gradient(composite, target).books
        if share is None or self.books is None:
            return None
        seed, scale = self._seed(target)
        found = share[:-1]
        if bool(share[-1] != 0):
            found = torch.zeros_like(found)
            for row in range(len(seed)):
                one = torch.zeros_like(seed)
                one[row] = seed[row]
                (own,) = self.swept(composite, self.logits, one, [self.books])
                found[row] = 0.0 if own is None else own.sum()
        return found if scale is None else found * scale

    def read_positions(self, method: str = "lat") -> Tensor:
        """What part of its decision the classifier reads at each position, (batch, positions); rows sum to 1.

        method: that asks, for messages.

        Told by the dependence of the logits: 1 at the one position whose output of the last attention they
        depend on, or, where there are several, the parts of a mean over the hidden states behind it.  Raises
        UnsupportedModelError where it cannot be told.
        """
        reason = "the logits do not depend on the output of its last attention"
        if self.is_of_positions:
            reason = "each of its classes is a position, and is read there"
        passed = None if self.last is None or self.is_of_positions else self._by_position(self.last.output)
        if self.last is not None and passed is not None:
            queries = passed.movedim(self.last.axis, 1).flatten(2).any(2)  # (batch, positions)
            rows = len(self.logits)
            if len(queries) != rows and bool((queries == queries[:1]).all()):  # heads folded into the batch
                queries = queries[:1].expand(rows, -1)
            if len(queries) == rows and bool((queries.sum(1) == 1).all()):
                return queries.to(torch.promote_types(passed.dtype, torch.float32))
            reason = "its head reads several positions, and of what hidden states was not found"
            passed = None if self.last.hidden is None else self._by_position(self.last.hidden)
            if passed is not None and bool(passed.flatten(1).any(1).all()):
                passed = passed.to(torch.promote_types(passed.dtype, torch.float32))
                norms = passed.norm(dim=-1)
                strongest = passed[torch.arange(len(passed)), norms.argmax(-1)][:, None]
                parts = (passed * strongest).sum(-1) / strongest.square().sum(-1)
                rest = (passed - parts[..., None] * strongest).norm(dim=-1)
                tolerance = 100 * torch.finfo(self.logits.dtype).eps * norms.amax(-1, keepdim=True)
                if bool((rest <= tolerance).all()) and bool((parts >= 0).all()):
                    return parts / parts.sum(-1, keepdim=True)
                reason = "its head reads several positions, each in a way of its own"
        raise UnsupportedModelError(
            f"{method} starts at the positions that the classifier reads (the first token, the last, or a "
            f"mean), and these cannot be told here: {reason}; use another method, such as attnlrp"
        )

    def of_attention(self, target: ResolvedTarget) -> list[Tensor]:
        """The gradient of the explained output by the weights of each attention, first layer first.

        It takes a pass that was run for `GRADIENT` and for attention; zero where nothing arrives.
        """
        edges = [layer.at for layer in self.attention if layer.at is not None]
        seed, scale = self._seed(target)
        found = []
        for layer, passed in zip(self.attention, self.swept(GRADIENT, self.logits, seed, edges), strict=True):
            gradient = torch.zeros_like(layer.weights()) if passed is None else layer.gradient(passed)
            found.append(gradient if scale is None else gradient * scale[:, None, None, None])
        return found

    def _seed(self, target: ResolvedTarget) -> tuple[Tensor, Tensor | None]:
        """dy/dlogits in the type of the logits, and what each row is to be multiplied by, if anything.

        Smaller than half precision holds, it is swept as if it were 1.
        """
        seed, scale = target.seed(self.logits.detach()), None
        if seed.dtype != self.logits.dtype:
            scale = seed.abs().amax(1).clamp_min(torch.finfo(seed.dtype).tiny)
            seed = seed / scale[:, None]
        return seed.to(self.logits.dtype), scale

    def _by_position(self, at: GradientEdge) -> Tensor | None:
        """How the logits depend on an inner tensor."""
        if not self.logits.requires_grad:
            return None
        return self.swept(GRADIENT, self.logits, self._of_all().expand_as(self.logits), [at])[0]

    def _of_all(self) -> Tensor:
        """What each logit, (labels,), is multiplied by in a sum of all that none is likely to cancel."""
        return torch.linspace(1.0, 2.0, self.logits.shape[-1]).to(self.logits)

    def _gradient(self, composite: Composite, target: ResolvedTarget) -> Gradients:
        key = (composite, target)
        if key not in self._gradients:
            inside = self.inside
            sites = () if inside is None else (*inside.states, *inside.heads)
            books = self.books if composite.keeps_books else None
            to: list[Tensor | GradientEdge] = [
                self.embedding,
                *([] if books is None else [books]),
                *(site.edge for site in sites),
            ]
            seed, scale = self._seed(target)
            passed, *rest = self._with_books(composite, seed, to)
            if passed is None:
                raise UnsupportedModelError(
                    "no gradient arrives at the embedding: the model's logits do not depend on it, or an "
                    "operation of it has no derivative; scores would all be zero"
                )
            share = None if books is None else rest.pop(0)
            self._gradients[key] = Gradients(
                passed if scale is None else passed * scale[:, None, None],
                torch.zeros_like(books) if share is None and books is not None else share,
                tuple(
                    torch.zeros_like(site.value) if each is None else site.by_text(each)
                    for site, each in zip(sites, rest, strict=True)
                ),
                scale,
            )
        return self._gradients[key]

    def by_output(self, composite: Composite) -> tuple[Tensor, Tensor | None]:
        """What each position holds of each logit: E_i . (J^T e_m)_i, (batch, positions, labels).

        J is the derivative of the logits as the rules of `composite` change it.  A sweep makes J^T v of a v,
        which is linear in v; so the derivative by v of what a position holds is what it holds of all logits
        at once.  That is a pass for each position, where there would be a sweep for each logit.  They are
        swept one by one where they are fewer, or where some operation has no second derivative: fused
        attention has none unless the pass was run for `WRITTEN_OUT` too.

        Returns:
            That, and what the books hold of each logit, (batch, labels), or None as of `biases`.
        """
        count = self.logits.shape[1]
        found = self._by_derivative(composite) if self.embedding.shape[1] < count else None
        if found is not None:
            return found
        shares, books = [], []
        for label in range(count):
            seed = torch.zeros_like(self.logits)
            seed[:, label] = 1.0
            held, kept = self._held(composite, seed, create_graph=False)
            shares.append(held)
            books.append(kept)
        known = [each for each in books if each is not None]
        return torch.stack(shares, 2), torch.stack(known, 1) if len(known) == count else None

    def _held(
        self, composite: Composite, seed: Tensor, *, create_graph: bool
    ) -> tuple[Tensor, Tensor | None]:
        """E * (J^T seed) summed over hidden, (batch, positions), and what the books hold, (batch,)."""
        books = self.books if composite.keeps_books else None
        to = [self.embedding] if books is None else [self.embedding, books]
        passed, *rest = self._with_books(composite, seed, to, create_graph=create_graph)
        wide = torch.promote_types(self.embedding.dtype, torch.float32)
        passed = torch.zeros_like(self.embedding) if passed is None else passed
        held = (self.embedding.detach().to(wide) * passed.to(wide)).sum(-1)
        share = rest[0] if rest else None
        if books is not None and share is None:
            share = torch.zeros_like(books)
        return held, None if share is None or bool(share[-1] != 0) else share[:-1]

    def _by_derivative(self, composite: Composite) -> tuple[Tensor, Tensor | None] | None:
        """`by_output` by second derivatives; None where these are missing or do not say what a sweep says."""
        v = self._of_all().repeat(len(self.logits), 1).requires_grad_()
        try:
            held, kept = self._held(composite, v, create_graph=True)
            parts = [*held.unbind(1), *([] if kept is None else [kept])]
            found = [
                torch.zeros_like(v)
                if part.grad_fn is None
                else torch.autograd.grad(part.sum(), v, retain_graph=True, allow_unused=True)[0]
                for part in parts
            ]
        except (UnsupportedModelError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return None
        wide = held.dtype
        shares = torch.stack([torch.zeros_like(v) if each is None else each for each in found], 1).to(wide)
        told = torch.stack(parts, 1).detach()
        # An operation whose backward pass forgets the graph would leave its part of this out.
        apart = ((shares * v.detach().to(wide)[:, None]).sum(2) - told).abs().amax(1)
        largest = told.abs().amax(1) + (shares * v.detach()[:, None]).abs().sum(2).amax(1)
        eps = max(torch.finfo(kind).eps for kind in (self.logits.dtype, torch.float32))
        if not bool((apart <= 64 * eps * largest).all()):
            return None
        positions = held.shape[1]
        return shares[:, :positions], None if kept is None else shares[:, positions]

    def _with_books(
        self,
        composite: Composite,
        seed: Tensor,
        to: Sequence[Tensor | GradientEdge],
        *,
        create_graph: bool = False,
    ) -> tuple[Tensor | None, ...]:
        """`swept` from the logits.

        Where the books cannot tell the row of what they hold, it is learned from sweeps of single rows.
        """
        found = self.swept(composite, self.logits, seed, to, create_graph=create_graph)
        place = next((place for place, each in enumerate(to) if each is self.books), None)
        share = None if place is None else found[place]
        can_be_told = self.sweep.is_moved and not self.sweep.is_scattered
        if share is None or not can_be_told or composite in self._learned or not bool(share[-1] != 0):
            return found
        self._learned.add(composite)
        for row in (0, len(self.logits) - 1):  # two: the first or the last token may be all that is read
            alone = torch.zeros_like(self.logits)
            alone[row] = self._of_all()
            self.sweep.alone = row
            try:
                self.swept(composite, self.logits, alone, to)
            finally:
                self.sweep.alone = None
        return self.swept(composite, self.logits, seed, to, create_graph=create_graph)

    def swept(
        self,
        composite: Composite,
        output: Tensor,
        relevance: Tensor,
        to: Sequence[Tensor | GradientEdge],
        *,
        create_graph: bool = False,
    ) -> tuple[Tensor | None, ...]:
        """The same to several tensors, `books` among them if wanted; None where nothing arrives.

        create_graph: whether what arrives can be differentiated by `relevance`.
        """
        self.sweep.composite = composite
        self.sweep.books = self.books is not None and any(each is self.books for each in to)
        try:
            return torch.autograd.grad(
                output,
                cast("Sequence[Tensor]", to),
                relevance,
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
            )
        except (WhybertError, torch.OutOfMemoryError):
            raise
        except FAILURES as error:
            if "inplace operation" not in str(error):
                raise UnsupportedModelError(
                    f"a backward pass through the model fails: {one_line(error)}; see that its logits can be "
                    "differentiated in eval mode"
                ) from error
            raise UnsupportedModelError(
                "the model changes a tensor in place that its own gradient needs, so that no backward pass "
                "through it is possible; write the operation out of place"
            ) from error
        finally:
            self.sweep.composite, self.sweep.books = None, False
