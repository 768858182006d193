"""Sanity: do explanations depend on what they claim to explain - the weights, the class, and little else?

None of these says that an explanation is right; one that fails them cannot be.  Weights are changed in a copy
of the model.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from whybert.anatomy import check_model, embedding_block, input_filter, model_inputs, plain
from whybert.attribution import attribute_all
from whybert.classifier import batches
from whybert.encoding import EncodedText, Text
from whybert.errors import NonFiniteError, UnsupportedModelError, one_line
from whybert.evaluation.metric import Explanations, ModelMetric, Score, Subject, Work, table
from whybert.evaluation.statistics import spearman
from whybert.explaining import explain
from whybert.explanation import Explanation
from whybert.foreign import kind_of
from whybert.interception import run
from whybert.positions import Standing, in_order

if TYPE_CHECKING:
    from whybert.classifier import Classifier

UNDEFINED: Final = Score(math.nan)

Parts = tuple[tuple[str, tuple[str, ...]], ...]
"""(name, names of parameters) of each part of a model, from its output down to its input."""


def parts(model: nn.Module) -> Parts:
    """The model's parameters from top to bottom: "head", "layer n" to "layer 1", "embeddings".

    Each parameter is in one part; one that is tied to another counts once.  The layers are the members of
    the longest `torch.nn.ModuleList` of the base model, so those that ALBERT uses at every depth are one
    part.  What a layer reads beside the layer below, such as DeBERTa's table of distances, belongs to the
    embeddings, and what no layer reads to the head.  Which is which is seen in a backward pass of a copy;
    the order in which modules are registered says nothing, since XLM-RoBERTa's head comes first.

    Raises UnsupportedModelError if there are no layers or no embedding block.
    """
    return _parts(_copied(model))


def _parts(model: nn.Module) -> Parts:
    """`parts` of a model that is the caller's own: it is in eval mode, hooked, and made to need gradients."""
    layers = _layers(model)
    parameters = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    below = {names[id(parameter)] for parameter in embedding_block(model).parameters()}
    found: list[tuple[str, tuple[str, ...]]] = []
    taken = set(below)
    for number, layer in reversed(list(enumerate(layers, 1))):
        own = tuple(dict.fromkeys(names[id(p)] for p in layer.parameters() if names[id(p)] not in taken))
        taken.update(own)
        found.append((f"layer {number}", own))
    rest = [name for name in parameters if name not in taken]
    read = _read_by(model, layers, [parameters[name] for name in rest]) if rest else []
    below.update(name for name, is_read in zip(rest, read, strict=True) if is_read)
    head = tuple(name for name, is_read in zip(rest, read, strict=True) if not is_read)
    return (("head", head), *found, ("embeddings", tuple(name for name in parameters if name in below)))


def _layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """The layers from the first to the last, each once."""
    longest: tuple[nn.Module, ...] = ()
    lists: list[str] = []
    for name, module in getattr(model, "base_model", model).named_modules():
        if not isinstance(module, nn.ModuleList) or any(name.startswith(f"{outer}.") for outer in lists):
            continue
        members = tuple(
            member for member in dict.fromkeys(module) if next(member.parameters(), None) is not None
        )
        if members:
            lists.append(name)
        if len(members) > len(longest):
            longest = members
    if not longest:
        raise UnsupportedModelError(
            "expected a model with its layers in a torch.nn.ModuleList, found none in "
            f"{kind_of(model)}; leave the metrics out that randomise its weights"
        )
    return longest


def _read_by(model: nn.Module, layers: Sequence[nn.Module], parameters: Sequence[Tensor]) -> list[bool]:
    """Whether the output of the last layer depends on each of the parameters."""
    outputs: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        of_layer = list(_tensors(output))
        if of_layer:
            outputs[:] = of_layer  # the last that a forward pass comes to stays

    device = next(model.parameters()).device
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        with _plain(device), torch.enable_grad():
            ids = torch.zeros((1, 2), dtype=torch.long, device=device)
            given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            takes = input_filter(model)
            model.eval()(**{name: tensor for name, tensor in given.items() if takes(name)})
            if not outputs:
                raise UnsupportedModelError(f"{kind_of(model)} did not call its layers")
            total = torch.stack([output.sum() for output in outputs]).sum()
            gradients = torch.autograd.grad(total, list(parameters), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    return [gradient is not None for gradient in gradients]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


@contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """What surrounds a call must not change its numbers: the caller's autocast and inference mode."""
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        yield


def _copied(model: nn.Module) -> nn.Module:
    try:
        with torch.inference_mode(False):
            return copy.deepcopy(model)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"expected a model that can be copied, found {kind_of(model)}: {one_line(error)}; "
            "leave the metrics out that change a copy of it"
        ) from error


def shuffle(model: nn.Module, names: Sequence[str], seed: int) -> None:
    """Put the entries of each of the named parameters in a random order, in place.

    A shuffled tensor keeps its shape, its scale and whatever else its values have, so nothing needs to be
    known about how the model was initialised; a tensor whose entries are all equal stays what it is.  The
    order depends on the seed and the parameter's name alone.
    """
    parameters = dict(model.named_parameters())
    with torch.inference_mode(False), torch.no_grad():
        for name in names:
            parameter = parameters[name]
            generator = torch.Generator("cpu").manual_seed(zlib.crc32(f"{seed}\x00{name}".encode()))
            order = torch.randperm(parameter.numel(), generator=generator, device="cpu")
            parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))


@dataclass(frozen=True, kw_only=True)
class SanityMetric(ModelMetric):
    """What the metrics of this module have in common: the lower, the better."""

    higher_is_better: bool = False
    group: Literal["sanity"] = "sanity"
    texts: int | None = 25


@dataclass(frozen=True, kw_only=True)
class Randomisation(SanityMetric):
    """|rho| between the word scores of the intact and the randomised model, mean over the steps.

    cascading: True shuffles the weights of the head, then also those of the last layer, and so on down to
        the embeddings; False shuffles one part at a time, all others intact, see `parts` and `shuffle`.

    The curve has one value for each part, step 1 being the head.  rho is Spearman's, over the words of a
    text.  The absolute value is taken because an explanation that has merely turned its sign still hangs on
    what was not randomised, and because +1 and -1 would otherwise cancel to a perfect 0 over steps and
    texts.  So the best that can be reached is not 0: |rho| of unrelated scores of n words is about
    sqrt(2 / (pi (n - 1))).  A step is NaN, and left out of the mean, where either side gives all words the
    same score.

    The lower the better.  Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
    """

    cascading: bool

    @property
    def curve_of(self) -> str:
        return "|rank correlation| with the intact model"

    def steps(self, classifier: Classifier, methods: Sequence[object]) -> int:
        return len(_layers(classifier.model)) + 2

    def judge(self, work: Work) -> dict[str, list[Score]]:
        intact = _word_scores(work.subjects, work.explanations)
        check_model(work.classifier.model)
        # A copy: the weights of the borrowed model are read by whoever uses it in another thread.
        model: Any = _copied(work.classifier.model)
        copied = replace(work, classifier=replace(work.classifier, model=model))
        targets = [subject.target for subject in work.subjects]
        curves: dict[str, list[list[float]]] = {method: [[] for _ in targets] for method in intact}
        for _, names in _parts(model):
            with _kept(model, () if self.cascading else names):
                shuffle(model, names, work.subjects[0].seed)
                found = _explained(copied, targets)
            for method, scores in _word_scores(work.subjects, found).items():
                for curve, before, after in zip(curves[method], intact[method], scores, strict=True):
                    curve.append(abs(spearman(before, after)))
            work.advance()
        return {
            method: [Score(_mean(curve), tuple(curve)) for curve in each] for method, each in curves.items()
        }


@contextmanager
def _kept(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Put the values of the named parameters back afterwards."""
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].detach().clone() for name in names}
    try:
        yield
    finally:
        with torch.inference_mode(False), torch.no_grad():
            for name, values in before.items():
                parameters[name].copy_(values)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


@dataclass(frozen=True, kw_only=True)
class RandomLogit(SanityMetric):
    """Spearman's rho between the word scores for the target and those for another class.

    The other class is drawn from the remaining ones by the seed and the text.  The sign counts here: what
    speaks for one of two classes speaks against the other, so -1 is as it should be, and 1 is a method that
    does not look at the class.  NaN for a model with one label and where all words have the same score.

    The lower the better.  Source: Sixt et al., "When Explanations Lie", ICML 2020, which compares images by
    their structural similarity; words have none, so ranks are compared.
    """

    def judge(self, work: Work) -> dict[str, list[Score]]:
        of_target = _word_scores(work.subjects, work.explanations)
        count = len(work.classifier.labels)
        if count < 2:
            work.advance()
            return {method: [UNDEFINED] * len(work.subjects) for method in of_target}
        found = _explained(work, [_other_class(subject, count) for subject in work.subjects])
        of_other = _word_scores(work.subjects, found)
        work.advance()
        return {
            method: [Score(spearman(*pair)) for pair in zip(scores, of_other[method], strict=True)]
            for method, scores in of_target.items()
        }


def _other_class(subject: Subject, count: int) -> int:
    """One of the `count` classes that is not the subject's target, each with the same chance."""
    drawn = int(np.random.default_rng(subject.tie_seed).integers(count - 1))
    return drawn + (drawn >= subject.target)


@dataclass(frozen=True, kw_only=True)
class CompletenessError(SanityMetric):
    """|sum of relevance - explained output| / |explained output|.

    NaN for methods that do not mean their relevance to sum to the output, and where the output is 0.
    Nothing is computed again.  The lower the better.  Source: Bach et al. 2015 (conservation).
    """

    texts: int | None = None

    def steps(self, classifier: Classifier, methods: Sequence[object]) -> int:
        return 0

    def judge(self, work: Work) -> dict[str, list[Score]]:
        return {method: [_completeness(each) for each in rows] for method, rows in work.explanations.items()}


def _completeness(explanation: Explanation) -> Score:
    found = explanation.completeness
    return UNDEFINED if found is None or found.logit == 0.0 else Score(found.error)


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity(SanityMetric):
    """max over the draws of ||phi(E + noise) - phi(E)|| / ||phi(E)||.

    E (tokens, hidden) is the embedding of a text at the attribution point, phi(E) (tokens,) the scores of its
    tokens, special ones included.

    draws: how often noise is drawn.  radius: the noise is uniform in +-radius times the standard deviation
        of the text's E; padding gets none.  It is drawn by the seed and the text, so a text gets the same
        noise whatever batch it is in and whatever the method.

    NaN where phi(E) is 0.  The lower the better.  Source: Yeh et al., "On the (In)fidelity and Sensitivity of
    Explanations", NeurIPS 2019; over the norm of phi(E), 10 draws and a radius of 0.02 as in Captum.  There
    the noise is in units of the input; here in those of E, whose scale differs from model to model.
    """

    draws: int = 10
    radius: float = 0.02

    def steps(self, classifier: Classifier, methods: Sequence[object]) -> int:
        return self.draws

    def judge(self, work: Work) -> dict[str, list[Score]]:
        classifier, subjects = work.classifier, work.subjects
        before = {method: [np.asarray(e.scores) for e in rows] for method, rows in work.explanations.items()}
        changes = {method: np.zeros(len(subjects)) for method in before}
        generators = [torch.Generator("cpu").manual_seed(subject.tie_seed) for subject in subjects]
        prepared = [
            (indices, batch, _standing(classifier, batch.inputs))
            for indices, batch in batches(classifier, _texts(subjects), work.batch_size)
        ]
        for _ in range(self.draws):
            for indices, batch, standing in prepared:
                judged = [subjects[index] for index in indices]
                targets = [subject.target for subject in judged]
                drawn = [generators[index] for index in indices]
                noise = _Noise(self.radius, batch.rows, drawn, standing)
                with _named(judged):
                    found = attribute_all(
                        classifier.model,
                        batch.inputs,
                        work.methods,
                        targets,
                        at=noise,
                        tokenizer=classifier.tokenizer,
                        rows=batch.rows,
                    )
                for method, attribution in found.items():
                    scores = attribution.scores.double().cpu().numpy()
                    for row, index in enumerate(indices):
                        after = scores[row, list(batch.rows[row].positions)]
                        change = float(np.linalg.norm(after - before[method][index]))
                        changes[method][index] = max(changes[method][index], change)
            work.advance()
        return {
            method: [_ratio(change, scores) for change, scores in zip(changes[method], rows, strict=True)]
            for method, rows in before.items()
        }


def _ratio(change: float, scores: np.ndarray[Any, np.dtype[np.float64]]) -> Score:
    size = float(np.linalg.norm(scores))
    return Score(float(change) / size) if size > 0.0 else UNDEFINED


def _standing(classifier: Classifier, inputs: Mapping[str, Any]) -> Standing:
    """Where the tokens of a batch stand in the embedding."""
    check_model(classifier.model)
    with plain(classifier.model, backward=True):
        tensors = model_inputs(classifier.model, inputs)
        return run(classifier.model, tensors, ()).standing or in_order(tensors["input_ids"])


class _Noise:
    """The embeddings of a batch with noise, which is drawn once: a method may make many forward passes.

    rows: the text of each row.  generators: of each row, on the CPU.  standing: where its tokens stand.
    """

    def __init__(
        self,
        radius: float,
        rows: Sequence[EncodedText],
        generators: Sequence[torch.Generator],
        standing: Standing,
    ) -> None:
        self.radius, self.rows, self.generators, self.standing = radius, rows, generators, standing
        self.drawn: Tensor | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        """(batch, seq, hidden) -> the same with noise, but for padding."""
        if self.drawn is None:
            self.drawn = self._draw(embedding)
        return embedding + self.drawn

    def _draw(self, embedding: Tensor) -> Tensor:
        noise = torch.zeros_like(embedding)
        kept = torch.zeros(len(embedding), self.standing.width, dtype=torch.bool, device=embedding.device)
        for row, text in enumerate(self.rows):
            kept[row, list(text.positions)] = True
        first = self.standing.first(kept)
        for row, (text, generator) in enumerate(zip(self.rows, self.generators, strict=True)):
            # drawn in float64, so that every dtype and device gets the same
            shape = len(text.positions), embedding.shape[2]
            draw = partial(torch.rand, shape, generator=generator, dtype=torch.float64, device="cpu")
            drawn = self.standing.drawn(kept, row, partial(_symmetric, draw)).to(embedding)
            noise[row] = drawn * (self.radius * embedding[row][first[row]].std())
        return noise


def _symmetric(draw: Callable[[], Tensor]) -> Tensor:
    """Numbers between 0 and 1 as such between -1 and 1."""
    return draw() * 2.0 - 1.0


def _texts(subjects: Sequence[Subject]) -> list[Text]:
    return [subject.text for subject in subjects]


def _explained(work: Work, targets: Sequence[int]) -> Mapping[str, list[Explanation]]:
    """The texts explained by all methods with shared forward passes; errors name the subjects."""
    texts: Any = _texts(work.subjects)
    with _named(work.subjects):
        return explain(work.classifier, texts, work.methods, list(targets), batch_size=work.batch_size)


@contextmanager
def _named(subjects: Sequence[Subject]) -> Iterator[None]:
    """Errors about the i-th of something name the subject by its own index."""
    try:
        yield
    except NonFiniteError as error:
        if error.index is None:
            raise
        index = subjects[error.index].index
        raise error.at(f"text {index}", index) from error


def _word_scores(
    subjects: Sequence[Subject], explanations: Explanations
) -> dict[str, list[tuple[float, ...]]]:
    return {
        method: [subject.unit_scores(each, "word") for subject, each in zip(subjects, rows, strict=True)]
        for method, rows in explanations.items()
    }


SANITY: Final[Mapping[str, ModelMetric]] = table(
    Randomisation(
        "randomisation-cascading",
        "|rank correlation| with the intact model's, weights shuffled from the top down",
        "Adebayo et al. 2018",
        cascading=True,
    ),
    Randomisation(
        "randomisation-independent",
        "|rank correlation| with the intact model's, one part's weights shuffled",
        "Adebayo et al. 2018",
        cascading=False,
    ),
    RandomLogit("random-logit", "rank correlation with the explanation of another class", "Sixt et al. 2020"),
    CompletenessError(
        "completeness-error",
        "how far the sum of relevance is from the explained output, relative to it",
        "Bach et al. 2015",
    ),
    MaxSensitivity(
        "max-sensitivity",
        "largest relative change of the scores under slight noise on the embeddings",
        "Yeh et al. 2019",
    ),
)
