"""`audit`: is this model explained rightly?  What the methods promise, held against one classifier."""

from __future__ import annotations

import copy
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whybert.anatomy import (
    FAILURES,
    check_finite,
    check_model,
    device_of,
    dtype_of,
    embedding_block,
    forward,
    model_inputs,
    plain,
)
from whybert.attribution import Attribution, attribute_all
from whybert.black_box import check_has_inside
from whybert.classifier import Classifier, ClassifierLike, batches
from whybert.encoding import Encoding, Text
from whybert.errors import InputError, ModelError, NonFiniteError, WhybertError, one_line
from whybert.explaining import Texts
from whybert.explanation import Completeness
from whybert.foreign import ForeignModel, Point, bare, kind_of
from whybert.interception import Interception, name_of, run
from whybert.interception.counting import Counting
from whybert.lrp.composites import GRADIENT
from whybert.lrp.rules import ratio
from whybert.methods import STANDARD, Method, create_all
from whybert.methods.relevance import ReleasedLRP
from whybert.progress import reported
from whybert.schema import write
from whybert.targets import resolve
from whybert.texts import normalise_texts

if TYPE_CHECKING:
    from rich.console import RenderableType

Status = Literal["ok", "fail", "refused", "skipped"]

TEXTS: Final = (
    "Fine.",
    "The plot is thin, but the cast is charming.",
    "It rained in the morning, and in the afternoon we read what had come the week before, page by page.",
)
"""What a model is asked where no texts are given: of different lengths, so that a batch is padded."""

CHECKS: Final = {
    "served": "every operation has a rule",
    "logits": "logits are the model's",
    "padding": "padding gets nothing",
    "batch": "batch equals single",
    "unchanged": "model unchanged",
    "books": "tokens + biases = output",
    "gradient": "gradient = differences",
    "float64": "equals float64",
    "bfloat16": "finite in bfloat16",
    "reads": "start of the trace is known",
}
"""The checks by name, each with the words of the terminal."""

_MARKS: Final = {"fail": "FAIL", "refused": "refused", "skipped": "-", "ok": "ok"}  # the worst first
_NAMES: Final = {
    "linear": "linear layers",
    "activation": "activations",
    "power": "powers",
    "layer_norm": "normalisations",
    "quotient": "quotients",
    "product": "products",
    "softmax": "softmaxes",
    "attention_values": "attentions",
}
"""The kinds of operations, in the words of the terminal."""

_OPERANDS: Final = {
    "quotient": ("numerator", "denominator"),
    "product": ("one factor", "the other"),
    "attention_values": ("weights", "values"),
}
"""Those of operations with two, in the order of their shares."""

# Of the differences; steps are in standard deviations of the embedding, the last two where the others fail.
_DIRECTIONS, _STEPS, _APART = 4, (1e-3, 1e-5, 1e-4, 3e-4), 1e-3


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of one method.

    Fields:
        name: of `CHECKS`.
        method: the spec of the method.
        status: "refused" says that the method names what it cannot explain, which is no failure; "skipped"
            that the check does not apply here, for the reason that `explanation` gives.
        figure: what was measured, 0 where all is well; None where there is nothing to measure.
        tolerance: the largest figure that passes.
        explanation: one line.
    """

    name: str
    method: str
    status: Status
    figure: float | None = None
    tolerance: float | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class RuleUse:
    """Operations of one kind in a model, and the rule of a method for them.

    Fields:
        method: the spec of the method.
        kind: of the operations, an entry of `whybert.lrp.composites.KINDS`.
        rule: in words.
        count: how many there are in a forward pass.
    """

    method: str
    kind: str
    rule: str
    count: int


@dataclass(frozen=True, slots=True)
class Books:
    """What a method makes of the explained outputs of the texts.

    Fields:
        method: the spec of the method.
        accounts: of each text.
    """

    method: str
    accounts: tuple[Completeness, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What `audit` found.

    Fields:
        model, dtype, device: what was asked, and where.
        methods: their specs.
        lengths: the tokens of each text, special ones included.
        checks: in the order of the methods.
        point: which tensor the relevance is of.
        rules: which operations of the model follow which rule, of methods that have some.
        books: of methods that keep some.
    """

    model: str
    dtype: str
    device: str
    methods: tuple[str, ...]
    lengths: tuple[int, ...]
    checks: tuple[Check, ...]
    point: str = ""
    rules: tuple[RuleUse, ...] = ()
    books: tuple[Books, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "fail")

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold, and `passed`."""
        return {"passed": self.passed, **write(self)}

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from whybert.render import visible
        from whybert.render.tables import NumberTable

        found = {(check.name, check.method): check for check in self.checks}
        rows = []
        for name, words in CHECKS.items():
            cells = [found.get((name, method)) for method in self.methods]
            figures = [cell.figure for cell in cells if cell and cell.tolerance and cell.figure is not None]
            marks = [_MARKS[cell.status] if cell else "" for cell in cells]
            worst = f"{max(figures):.0e}".replace("0e+00", "0") if figures else ""
            if any(cells):
                rows.append((words, [*marks, worst]))
        told: dict[tuple[str, str, str], list[str]] = {}
        for check in sorted(self.checks, key=lambda check: tuple(_MARKS).index(check.status)):
            if check.explanation:
                key = (_MARKS[check.status], CHECKS[check.name], check.explanation)
                told.setdefault(key, []).append(check.method)
        lines = [f"{mark} {', '.join(of)}: {words}: {why}" for (mark, words, why), of in told.items()]
        count = len(self.failures)
        lines.append(f"{count} of {len(self.checks)} checks failed" if count else "nothing failed")
        if refused := sum(check.status == "refused" for check in self.checks):
            lines[-1] += f"; {refused} of {len(self.methods)} methods refuse the model"
        tokens = ", ".join(map(str, self.lengths))
        return Group(
            Text(visible(f"{self.model} in {self.dtype} on {self.device}; texts of {tokens} tokens")),
            *([Text(visible(f"relevance is of {self.point}"))] if self.point else []),
            Text(),
            NumberTable("", [*self.methods, "worst"], rows),
            Text(),
            *map(Text, map(visible, lines)),
            *self._ground(),
        )

    def _ground(self) -> list[RenderableType]:
        """The rules and the books in tables."""
        from rich.text import Text

        from whybert.render.tables import NumberTable, TextTable

        parts: list[RenderableType] = []
        if self.rules:
            by_rules: dict[tuple[tuple[str, str, int], ...], list[str]] = {}
            for spec in dict.fromkeys(each.method for each in self.rules):
                own = tuple((each.kind, each.rule, each.count) for each in self.rules if each.method == spec)
                by_rules.setdefault(own, []).append(spec)
            rows = [
                (", ".join(specs), ", ".join(f"{count} {_NAMES[kind]}: {rule}" for kind, rule, count in own))
                for own, specs in by_rules.items()
            ]
            parts += [Text(), TextTable(("method", "operations and their rules"), rows)]
        if self.books:
            figures = [
                (
                    each.method,
                    [
                        _listed(account.relevance_sum for account in each.accounts),
                        _listed(account.biases for account in each.accounts),
                        _listed(account.logit for account in each.accounts),
                        f"{max(account.open_share for account in each.accounts):.0e}",
                    ],
                )
                for each in self.books
            ]
            columns = ["tokens", "biases", "output", "open"]
            parts += [Text(), NumberTable("sums, text by text", columns, figures)]
        return parts


def audit(
    classifier: ClassifierLike,
    texts: Texts | None = None,
    methods: str | Method | Sequence[str | Method] | None = None,
    *,
    progress: bool = False,
) -> Audit:
    """Check on a few texts that the methods keep their promises on this model.

    Copies of the model in float64 and bfloat16 are made where they fit; the model itself is only asked.

    Args:
        classifier: the model and its tokenizer; anything that `Classifier.of` takes.
        texts: as `explain` takes them; None stands for a few neutral sentences.
        methods: specs or `Method`s; None stands for all.
        progress: whether a bar on stderr shows how many methods are done.

    Returns:
        An `Audit`.  A method that refuses the model by name does not fail; numbers that are wrong do.

    Raises:
        UsageError: a wrong method or option.
        InputError: no text, or one that cannot be encoded.
        ModelError: the model cannot be asked at all.
    """
    classifier = Classifier.of(classifier)
    check_has_inside(classifier.model, {"an audit": True})
    check_model(classifier.model)
    listed, _ = normalise_texts(list(TEXTS) if texts is None else texts)
    if not listed:
        raise InputError("expected at least one text, found none; leave texts out for some of whybert's own")
    wanted = create_all(list(STANDARD) if methods is None else methods)
    examined = _Examined(classifier, listed)
    checks: list[Check] = []
    with reported(progress) as report:
        for done, method in enumerate(wanted, 1):
            checks += examined.checks(method)
            report("methods", done, len(wanted))
    return Audit(
        model=classifier.name,
        dtype=str(examined.dtype).removeprefix("torch."),
        device=str(device_of(classifier.model)),
        methods=tuple(method.spec for method in wanted),
        lengths=tuple(batch.rows[0].token_count for batch in examined.alone),
        checks=tuple(checks),
        point=_point(classifier.model),
        rules=tuple(examined.rules),
        books=tuple(examined.books),
    )


def _listed(values: Iterable[float | None]) -> str:
    return ", ".join("-" if each is None else f"{each:.3g}" for each in values)


def _point(model: nn.Module) -> str:
    """Where a model is cut, in words."""
    block = model.block if isinstance(model, ForeignModel) else None
    if isinstance(block, Point):
        assert isinstance(model, ForeignModel)
        words = model.words or "a table of no known name"
        calls = ", ".join(str(part.call) for part in block.parts)
        if len(block.parts) > 1:
            return (
                f"the inputs of {len(block.parts)} first layers, calls {calls} that make something of {words}"
            )
        return f"the input of the first layer, call {calls} that makes something of {words}"
    part = embedding_block(model)
    names = [name for name, module in bare(model).named_modules() if module is part]
    return f"the output of {names[0] if names else kind_of(part)} ({kind_of(part)})"


def _told(kind: str, rule: Any) -> str:
    """A rule of a table in words: what each operand is given, or the rule's name."""
    if isinstance(rule, tuple):
        shares = ["constant" if share is None else f"{share:g}" for share in rule]
        return " and ".join(map(" ".join, zip(_OPERANDS[kind], shares, strict=True)))
    if rule is None or rule is ratio:
        return "derivative" if rule is None else "f(x) / x"
    name = getattr(rule, "__name__", None)
    return str(rule) if name is None else name.replace("_", " ")


class _Examined:
    """A classifier, and texts that it is asked in batches, as `explain` makes them, and one by one."""

    def __init__(self, classifier: Classifier, texts: Sequence[Text]) -> None:
        self.classifier = classifier
        self.model: nn.Module = classifier.model
        self.batches = list(batches(classifier, texts, len(texts)))
        self.alone = [batch for text in texts for _, batch in batches(classifier, [text], 1)]
        before = _state(self.model)
        first, graph, again = (
            [self._asked(self.model, batch, gradient) for _, batch in self.batches]
            for gradient in (False, True, False)
        )
        singles = torch.cat([self._asked(self.model, batch) for batch in self.alone])
        after = _state(self.model)
        self.own_changes = {name for name in before | after if before.get(name) != after.get(name)}
        self.plain = list(zip(first, graph, strict=True))
        self.repeats = all(map(torch.equal, first, again))
        order = [index for indices, _ in self.batches for index in indices]
        self.moves = float((torch.cat(first) - singles[order]).abs().max())  # of the logits, in a batch
        classifier.check_labels(singles)
        check_finite(self.model, singles)
        self.target = singles.argmax(-1).tolist()
        self.copied = cache(partial(_copy, self.model))
        self.rules: list[RuleUse] = []
        self.books: list[Books] = []

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.model)

    @property
    def way_out(self) -> str:
        """Where padding is read."""
        left = self.classifier.tokenizer.padding_side == "left"
        return "pad on the right" if left else "explain its texts one by one, with batch_size=1"

    def tolerance(self, method: Method) -> float:
        """For two ways to compute the same scores, relative to the largest of a text.

        Three roots of the type's precision, and a ten-thousandth at least: parts of a model compute in
        float32 whatever its type.  `lrp` rescales by sums that are zero but for rounding, hence a twentieth.
        """
        least = 0.05 if isinstance(method, ReleasedLRP) else 1e-4
        return max(3 * math.sqrt(torch.finfo(self.dtype).eps), least)

    def _asked(self, model: nn.Module, batch: Encoding, gradient: bool = False) -> Tensor:
        with plain(model, backward=gradient):
            return forward(model, model_inputs(model, batch.inputs)).detach()

    def _attributions(self, method: Method, model: nn.Module | None = None) -> list[Attribution]:
        """One for each batch."""
        return [
            self._attribution(method, batch, [self.target[i] for i in indices], model)
            for indices, batch in self.batches
        ]

    def _attribution(
        self, method: Method, batch: Encoding, target: list[int], model: nn.Module | None = None
    ) -> Attribution:
        tokenizer = self.classifier.tokenizer
        found = attribute_all(model or self.model, batch.inputs, [method], target, tokenizer=tokenizer)
        return found[method.spec]

    def _scores(self, found: Sequence[Attribution]) -> dict[int, Tensor]:
        """The scores of the tokens of each text."""
        return {
            index: attribution.scores[row, list(batch.rows[row].positions)].double()
            for (indices, batch), attribution in zip(self.batches, found, strict=True)
            for row, index in enumerate(indices)
        }

    def checks(self, method: Method) -> Iterator[Check]:
        """All that apply to the method."""
        before = _state(self.model)
        try:
            found = self._attributions(method)
            alone = [
                self._attribution(method, batch, [target])
                for batch, target in zip(self.alone, self.target, strict=True)
            ]
        except (WhybertError, *FAILURES) as error:
            refused = isinstance(error, ModelError) and not isinstance(error, NonFiniteError)
            told = str(error) if isinstance(error, WhybertError) else one_line(error)
            yield Check("served", method.spec, "refused" if refused else "fail", explanation=told)
            return
        after = _state(self.model)
        changed = {name for name in before | after if before.get(name) != after.get(name)} - self.own_changes
        yield Check("served", method.spec, "ok")
        self.rules += self._rules(method)
        yield self._logits(method, found)
        yield self._padding(method, found)
        yield self._batch(method, found, alone)
        told = f"changed: {', '.join(sorted(changed)[:5])}"
        yield _judged("unchanged", method, float(len(changed)), 0.0, told)
        if method.accounts or alone[0].biases is not None:
            yield self._books(method, alone)
        if method.composites() == (GRADIENT,):
            yield self._on_copy("gradient", torch.float64, method, self._differences)
        yield self._on_copy("float64", torch.float64, method, self._exact)
        yield self._on_copy("bfloat16", torch.bfloat16, method, self._finite)
        if method.needs_attention:
            yield self._start(method)

    def _rules(self, method: Method) -> list[RuleUse]:
        """Which operations follow which rules of the method, of the first text."""
        closed = [each for each in method.composites() if each.closed and len(each.parts) == 1]
        if not closed:
            return []
        modes: list[Interception] = []

        @contextmanager
        def noted(mode: Interception) -> Iterator[None]:
            modes.append(mode)
            yield

        with plain(self.model, backward=True):
            inputs = model_inputs(self.model, self.alone[0].inputs)
            run(self.model, inputs, closed, kind=Counting, within=noted)
        counts = cast(Counting, modes[0]).counts
        if closed[0].rule("softmax") is None:  # a part of attention, which may be fused
            counts.pop("softmax", None)
        return [
            RuleUse(method.spec, kind, _told(kind, closed[0].rule(kind)), counts[kind])
            for kind in _NAMES
            if counts[kind]
        ]

    def _logits(self, method: Method, found: Sequence[Attribution]) -> Check:
        """To the last bit, but where torch takes another kernel for weights that no gradient is asked for."""
        apart = max(
            min(_apart(each.logits.double(), logits.double()) for logits in both)
            for each, both in zip(found, self.plain, strict=True)
        )
        tolerance = 16 * torch.finfo(self.dtype).eps
        told = f"they are {apart:.1e} of the largest away from those of the plain forward pass"
        if not self.repeats:
            told += "; the model answers otherwise each time that it is asked"
        check = _judged("logits", method, apart, tolerance, told)
        return replace(check, explanation=f"{told}, by rounding") if apart and check.status == "ok" else check

    def _padding(self, method: Method, found: Sequence[Attribution]) -> Check:
        most = None
        for (_, batch), each in zip(self.batches, found, strict=True):
            padding = torch.ones_like(each.scores, dtype=torch.bool)
            for row, text in enumerate(batch.rows):
                padding[row, list(text.positions)] = False
            if bool(padding.any()):
                most = max(most or 0.0, float(each.scores[padding].abs().max()))
        if most is None:
            told = "texts of one length share a batch"
            if self.classifier.reads_padding:
                told = f"the model reads padding, so {told}"
            return Check("padding", method.spec, "skipped", explanation=told)
        told = f"a padding token's score is {most:.1e}: the model reads padding; {self.way_out}"
        return _judged("padding", method, most, 0.0, told)

    def _batch(self, method: Method, found: Sequence[Attribution], alone: Sequence[Attribution]) -> Check:
        apart = max(
            _apart(scores, alone[index].scores[0, list(self.alone[index].rows[0].positions)])
            for index, scores in self._scores(found).items()
        )
        cause = "rounding, or a model that mixes its batch"
        if not self.repeats:
            cause = "the model answers otherwise each time that it is asked"
        elif self.moves > self.tolerance(method):
            cause = f"so are the logits, by {self.moves:.1e}: the model reads padding; {self.way_out}"
        told = f"scores in a batch are {apart:.1e} of the largest away from those of a text alone; {cause}"
        return _judged("batch", method, apart, self.tolerance(method), told)

    def _books(self, method: Method, alone: Sequence[Attribution]) -> Check:
        """Tokens and biases against the output, text by text: so nothing is unclear about the row."""
        accounts = []
        for each in alone:
            parts = (each.relevance_sum, each.output, each.biases, each.elsewhere)
            tokens, output, biases, elsewhere = (None if part is None else float(part) for part in parts)
            accounts.append(Completeness(tokens or 0.0, output or 0.0, biases, elsewhere, method.rest))
        self.books.append(Books(method.spec, tuple(accounts)))
        open_shares = [account.open_share for account in accounts]
        worst = max(open_shares)
        if not method.accounts:
            told = "it does not promise to account for the whole output"
            return Check("books", method.spec, "skipped", worst, None, told)
        told = f"{worst:.1e} of it is not accounted for"
        if worst > self.tolerance(method):
            row = open_shares.index(worst)
            copied = self.copied(torch.float64)
            model = self.model if isinstance(copied, str) else copied
            inputs = model_inputs(model, self.alone[row].inputs)
            try:
                told += f"; lost at {_leak(model, inputs, self.target[row], method)}"
            except (WhybertError, *FAILURES) as error:
                told += f"; where it is lost was not found: {one_line(error)}"
        return _judged("books", method, worst, self.tolerance(method), told)

    def _start(self, method: Method) -> Check:
        """Where the trace of attention starts, told for each text by itself."""
        read = set()
        for each in self.alone:
            with plain(self.model, backward=True):
                inputs = model_inputs(self.model, each.inputs)
                parts = run(self.model, inputs, (), attention=True).read_positions()[0]
            count = int((parts > 1e-3 * parts.max()).sum())
            places = {len(parts) - 1: "the last token", 0: "the first token"}
            even = float(parts.max()) * count < 1.01
            every = "all tokens" if count == len(parts) else "some tokens"
            mean = f"{'the mean' if even else 'a weighted mean'} of {every}"
            read.add(places.get(int(parts.argmax()), "a token") if count == 1 else mean)
        return Check("reads", method.spec, "ok", explanation=f"it starts at {' or '.join(sorted(read))}")

    # --- on copies of the model ----------------------------------------------------------------------

    def _on_copy(
        self, name: str, dtype: torch.dtype, method: Method, judge: Callable[[str, Method, nn.Module], Check]
    ) -> Check:
        copied = self.copied(dtype)
        if isinstance(copied, str):
            return Check(name, method.spec, "skipped", explanation=copied)
        try:
            return judge(name, method, copied)
        except (WhybertError, *FAILURES) as error:
            told = f"the copy in {dtype} cannot be explained: {one_line(error)}"
            return Check(name, method.spec, "skipped", explanation=told)

    def _exact(self, name: str, method: Method, copied: nn.Module) -> Check:
        if self.dtype == torch.float64:
            return Check(name, method.spec, "skipped", explanation="the model computes in float64")
        own, exact = (self._scores(self._attributions(method, model)) for model in (self.model, copied))
        apart = max(_apart(own[index], exact[index]) for index in own)
        told = f"scores are {apart:.1e} of the largest away from those of a copy in float64"
        return _judged(name, method, apart, self.tolerance(method), told)

    def _finite(self, name: str, method: Method, copied: nn.Module) -> Check:
        if not all(bool(torch.isfinite(self._asked(copied, batch)).all()) for _, batch in self.batches):
            return Check(name, method.spec, "skipped", explanation="the logits of a copy are not finite")
        try:
            self._attributions(method, copied)
        except NonFiniteError as error:
            return Check(name, method.spec, "fail", explanation=str(error))
        return Check(name, method.spec, "ok")

    def _differences(self, name: str, method: Method, copied: nn.Module) -> Check:
        """The gradient along random directions against central differences, text by text.

        Of several steps the best one counts, of each text and direction: a long one where a part of the model
        computes in float32, a short one where it bends.  A gradient that is lost is wrong at any step: it is
        farther from the differences than those of two steps are from one another.
        """
        with plain(copied, backward=True):
            worst = max(self._difference(copied, *each) for each in self.batches)
        told = f"it is {worst:.1e} away from the differences of the logits; a part of it is wrong or lost, "
        told += "or the model computes too coarsely to tell"
        return _judged(name, method, worst, _APART, told)

    def _difference(self, model: nn.Module, indices: Sequence[int], batch: Encoding) -> float:
        inputs = model_inputs(model, batch.inputs)
        base = run(model, inputs, (GRADIENT,))
        target = resolve([self.target[i] for i in indices], base.logits.detach(), self.classifier.labels)
        gradient, embedding = base.gradient(GRADIENT, target), base.embedding.detach()
        if not bool(torch.isfinite(gradient).all()):
            raise NonFiniteError("its gradient is not finite")
        generator, shape = torch.Generator().manual_seed(0), (_DIRECTIONS, *embedding.shape)
        directions = torch.randn(shape, generator=generator, dtype=embedding.dtype).to(embedding.device)
        expected = (gradient * directions).flatten(2).sum(2)

        def moved(change: Tensor) -> Tensor:
            return target.output(run(model, inputs, (), at=lambda e: e + change).logits)

        apart, scale = torch.full_like(expected, torch.inf), expected.norm(dim=0).clamp_min(1e-300)
        told: list[Tensor] = []
        coarse = torch.full_like(expected, torch.inf)  # how far two steps are apart at least
        for step in _STEPS:
            size = step * embedding.std()
            found = torch.stack([moved(size * each) - moved(-size * each) for each in directions])
            found /= 2 * size
            scale = torch.fmax(scale, found.norm(dim=0))
            apart = torch.fmin(apart, (found - expected).abs())
            for other in told:
                coarse = torch.fmin(coarse, (found - other).abs())
            wrong = (apart - coarse).clamp_min(0.0) if told else apart
            worst = float((wrong.norm(dim=0) / scale).max())
            told.append(found)
            if step != _STEPS[0] and worst <= _APART:
                break
        return worst


def _judged(name: str, method: Method, figure: float, tolerance: float, explanation: str) -> Check:
    """Failed, with an explanation, where the figure is above the tolerance or no number."""
    fine = figure <= tolerance
    return Check(name, method.spec, "ok" if fine else "fail", figure, tolerance, "" if fine else explanation)


def _apart(scores: Tensor, others: Tensor) -> float:
    """The largest difference of the numbers, relative to the largest of the others."""
    largest = float(others.abs().max()) or 1.0
    return float((scores - others).abs().max()) / largest


def _state(model: nn.Module) -> dict[str, object]:
    """All that could be changed about a model, by the name of its part, as values that compare."""
    state: dict[str, object] = {}
    for name, module in model.named_modules():
        own = {
            key: tuple((k, id(v)) for k, v in value.items()) if isinstance(value, dict) else id(value)
            for key, value in vars(module).items()
        }
        state[f"module {name}" if name else "the model"] = (module.training, own)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state[name] = (
            id(tensor),
            tensor.requires_grad,
            None if tensor.grad_fn else id(tensor.grad),
            tensor.is_inference() or tensor._version,
            sorted(vars(tensor)),
            tensor._backward_hooks and len(tensor._backward_hooks),
            _checksum(tensor),
        )
    return state


def _checksum(tensor: Tensor) -> int | None:
    """Of its bytes; None for a kind of tensor that does not show them."""
    try:
        return zlib.crc32(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    except (RuntimeError, TypeError):
        return None


def _copy(model: nn.Module, dtype: torch.dtype) -> nn.Module | str:
    device = device_of(model)
    needed = 2 * dtype.itemsize * sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    room = math.inf
    if device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[0]
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    if needed > room:
        return f"a copy in {dtype} needs {needed / 2**30:.1f} GiB of {room / 2**30:.1f}"
    try:
        return copy.deepcopy(model).to(dtype)
    except (MemoryError, *FAILURES) as error:
        return f"no copy in {dtype} can be made: {one_line(error)}"


# --- where relevance is lost -----------------------------------------------------------------------------


class _Recorder(TorchFunctionMode):
    """Notes the results of each torch function, in order, as they are when it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[tuple[str, Tensor, int]] = []

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self.results.append((name_of(func), tensor, tensor._version))
        return output


def _leak(model: nn.Module, inputs: Mapping[str, Tensor], target: int, method: Method) -> str:
    """The first operation whose result hands down less, or more, than it is given, by the rules of a method.

    What is swept from the result of an operation to the embedding and into the books is held against what
    the result was given.  All results before it hand down what they get, so it is lost in this operation.
    """
    recorder, call = _Recorder(), model.forward

    def recorded(*args: Any, **kwargs: Any) -> Any:
        with recorder:
            return call(*args, **kwargs)

    copied = copy.copy(model)  # its parts are the model's own; only `forward` is another
    copied.forward = recorded
    with plain(model, backward=True):
        (composite,) = method.composites()
        forward_pass = run(copied, inputs, (composite,))
        books, logits = cast(Tensor, forward_pass.books), forward_pass.logits
        seed = resolve([target], logits.detach(), [str(i) for i in range(logits.shape[-1])]).seed(logits)
        to = [forward_pass.embedding, books]

        def lost(result: Tensor, relevance: Tensor) -> Tensor:
            kept, booked = forward_pass.swept(composite, result, relevance, to)
            rest = (result.detach() * relevance).sum()
            for part, gradient in zip(to, (kept, booked), strict=True):
                rest = rest if gradient is None else rest - (part.detach() * gradient).sum()
            return rest.abs()

        results = [each for each in recorder.results if each[1]._version == each[2]]
        given = forward_pass.swept(composite, logits, seed.detach(), [tensor for _, tensor, _ in results])
        all_lost = lost(logits, seed.detach())
        for (name, tensor, _), relevance in zip(results, given, strict=True):
            if relevance is not None and bool(lost(tensor, relevance) > 0.01 * all_lost):
                return f"{name}, of shape {tuple(tensor.shape)}"
    return "an operation that no function mode sees"
