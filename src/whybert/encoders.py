"""Sentence encoders: models that make a vector of a text, whose product with another text's is explained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from whybert.anatomy import input_filter
from whybert.builtin import encoder_folder
from whybert.classifier import Classifier
from whybert.datasets.base import REGRESSION
from whybert.errors import ModelLoadError, UnknownNameError, UnsupportedModelError, UsageError, one_line
from whybert.foreign import kind_of
from whybert.holders import SentenceClassifier, check_body, is_sentence_model
from whybert.loading import BUILTIN, load_states, quiet

Score = Literal["cosine", "dot"]
"""What of two vectors a similarity is."""

EncoderLike: TypeAlias = "Encoder | tuple[Any, Any] | Any"
"""What `Encoder.of` takes."""

SCORES: Final[Mapping[str, str]] = MappingProxyType({"cosine": "cosine similarity", "dot": "dot product"})
"""Their names for people."""

_TEXT: Final = "The film was good."


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    shares = mask[:, :, None].to(states.dtype)
    return (states * shares).sum(1) / shares.sum(1)


def _max(states: Tensor, mask: Tensor) -> Tensor:
    """The winner takes all, of the relevance too."""
    places = states.masked_fill(mask[:, :, None] == 0, -torch.inf).argmax(1, keepdim=True)
    return states.gather(1, places)[:, 0]


def _cls(states: Tensor, mask: Tensor) -> Tensor:
    return _at(states, mask.argmax(1))


def _last(states: Tensor, mask: Tensor) -> Tensor:
    return _at(states, mask.shape[1] - 1 - mask.flip(1).argmax(1))


def _at(states: Tensor, places: Tensor) -> Tensor:
    return states[torch.arange(len(states), device=states.device), places]


POOLINGS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = MappingProxyType(
    {"mean": _mean, "cls": _cls, "max": _max, "last": _last}
)
"""From hidden states (batch, seq, hidden) and the attention mask to a vector of each text, by name."""


class TextVectors(nn.Module):
    """A model of hidden states, or of vectors, as one that returns a vector (batch, width) of each text.

    Args:
        model: that takes `input_ids`.
        pooling: what makes a vector of hidden states; None where the model does so.
        normalise: whether the vector is scaled to length 1.
    """

    def __init__(self, model: nn.Module, pooling: str | None, normalise: bool) -> None:
        super().__init__()
        self.model, self.pooling, self.normalise = model, pooling, normalise
        self.training = False  # it has nothing of its own that could be another in train mode

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        given = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": token_type_ids}
        takes = input_filter(self.model)
        output: Any = self.model(**{k: v for k, v in given.items() if v is not None and takes(k)})
        if self.pooling is None:
            vectors = output
        else:
            vectors = POOLINGS[self.pooling](_states(output, self.model), mask)
        if not isinstance(vectors, Tensor) or vectors.dim() != 2:
            raise UnsupportedModelError(
                f"expected a vector (batch, width) of each text of {kind_of(self.model)}, found "
                f"{_shape(vectors)}; say how its hidden states become one: pooling='mean', "
                "'cls', 'max' or 'last'"
            )
        if not self.normalise:
            return vectors
        return vectors / vectors.square().sum(-1, keepdim=True).sqrt()


def _states(output: Any, model: nn.Module) -> Tensor:
    found = output if isinstance(output, Tensor) else getattr(output, "last_hidden_state", None)
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor) or found.dim() != 3:
        raise UnsupportedModelError(
            f"expected hidden states (batch, seq, hidden) of {kind_of(model)}, found {_shape(found)}; load "
            "it with AutoModel, and leave pooling out where it returns vectors"
        )
    return found


def _shape(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


@dataclass(frozen=True, eq=False)
class Encoder:
    """A sentence encoder with its tokenizer; `Encoder.of` takes it out of what holds it.

    Fields:
        classifier: it as a regression whose numbers are those of the vector, of length 1 for the cosine.
        score: "cosine" or "dot".
    """

    classifier: Classifier
    score: Score

    @classmethod
    def of(
        cls,
        value: EncoderLike,
        *,
        pooling: str | None = None,
        score: Score | None = None,
        max_length: int | None = None,
    ) -> Encoder:
        """The encoder in what people hold it in.

        Args:
            value: an `Encoder`, which comes back as it is; a SentenceTransformer; a pair
                `(model, tokenizer)` of a model that returns hidden states, or a vector of each text;
                "builtin" for the encoder of the built-in model; or a folder or a hub id, which
                sentence-transformers loads where no pooling is given.
            pooling: how hidden states become a vector: "mean" of the tokens, "cls" for the first, "last" for
                the last, "max" for the largest of each feature; None where the encoder says it.
            score: "cosine" or "dot"; None is that of a SentenceTransformer, and else the cosine.
            max_length: the most tokens of a text; None asks the encoder.

        Raises:
            UsageError: it holds none, or one that would be read otherwise here.
            WhybertError: what `Classifier` raises.
        """
        if isinstance(value, cls):
            if (score or value.score) != value.score or pooling is not None or max_length is not None:
                raise UsageError("an Encoder has its pooling, score and max_length: leave them out")
            return value
        if score is not None and score not in SCORES:
            raise UnknownNameError("score", score, SCORES)
        if pooling is not None and pooling not in POOLINGS:
            raise UnknownNameError("pooling", pooling, POOLINGS)
        name = ""
        if isinstance(value, str | os.PathLike):
            value, pooling, name = _loaded(os.fspath(value), pooling)
        if is_sentence_model(value):
            return cls._of_sentence_transformer(value, pooling, score, max_length)
        if not isinstance(value, tuple | list) or len(value) != 2 or not isinstance(value[0], nn.Module):
            raise UsageError(
                f"expected a sentence encoder, found {type(value).__name__}; pass a SentenceTransformer, or "
                "a pair (model, tokenizer) with pooling='mean', 'cls', 'max' or 'last'"
            )
        score = score or "cosine"
        model = TextVectors(value[0], pooling, score == "cosine")
        return cls(_regression(model, value[1], max_length, name or kind_of(value[0])), score)

    @classmethod
    def _of_sentence_transformer(
        cls, value: Any, pooling: str | None, score: Score | None, max_length: int | None
    ) -> Encoder:
        """It is asked for its own vector of a sentence, to see that nothing gets lost."""
        if pooling is not None:
            raise UsageError("a SentenceTransformer pools by itself: leave pooling out")
        check_body(value, "SentenceTransformer")
        own = str(getattr(value, "similarity_fn_name", None) or "cosine")
        if score is None and own not in SCORES:
            raise UsageError(
                f"the SentenceTransformer compares by {own}, which is no product of two vectors; say "
                "score='cosine' or 'dot'"
            )
        score = score or cast(Score, own)
        theirs = torch.as_tensor(value.encode(_TEXT, convert_to_numpy=True, show_progress_bar=False)).double()
        model = TextVectors(SentenceClassifier(value, "sentence_embedding"), None, score == "cosine")
        name = getattr(getattr(value, "model_card_data", None), "base_model", None) or "SentenceTransformer"
        most = getattr(value, "max_seq_length", None) if max_length is None else max_length
        made = cls(_regression(model, value.tokenizer, most, str(name)), score)
        ours = made.vectors([_TEXT])[0]
        theirs = theirs / theirs.norm() if score == "cosine" else theirs
        if theirs.shape != ours.shape or float((theirs - ours).norm()) > 0.01 * float(ours.norm()):
            raise UsageError(
                "the SentenceTransformer makes another vector of a sentence than its parts do here, one "
                "after the other (does it change texts, or has it several routes?); pass its parts as a pair "
                "(model, tokenizer) with pooling="
            )
        return made

    def vectors(self, texts: list[str]) -> Tensor:
        """A vector of each text.

        Args:
            texts: each a str.

        Returns:
            (texts, width), float64 on the CPU.

        Raises:
            InputError: a text cannot be encoded.
        """
        found = self.classifier.predict(texts)
        return torch.tensor([each.logits for each in found], dtype=torch.float64)


def _loaded(source: str, pooling: str | None) -> tuple[Any, str | None, str]:
    """What is behind a name: a SentenceTransformer, or a pair, with the pooling and its own name."""
    if source == BUILTIN:
        model, tokenizer, _ = load_states(encoder_folder())
        return (model, tokenizer), pooling or "mean", BUILTIN
    if pooling is not None:
        model, tokenizer, name = load_states(source)
        return (model, tokenizer), pooling, name
    if os.path.isdir(source) and not os.path.isfile(os.path.join(source, "modules.json")):
        raise UsageError(
            f"{source!r} does not say how its hidden states become a vector: say pooling='mean', 'cls', "
            "'max' or 'last'"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError(
            f"sentence-transformers is not installed, which loads {source!r}: pip install "
            "sentence-transformers, or say pooling='mean', 'cls', 'max' or 'last'"
        ) from error
    try:
        with quiet():
            found: Any = SentenceTransformer(source, device="cpu", model_kwargs={"use_safetensors": True})
    except Exception as error:  # it, its parsers and the network raise errors of many kinds
        raise ModelLoadError(
            f"{source!r} is no sentence encoder that can be loaded: {one_line(error)}"
        ) from error
    return found.eval(), None, source


def _regression(model: TextVectors, tokenizer: Any, max_length: int | None, name: str) -> Classifier:
    return Classifier(model, tokenizer, max_length, name=name, problem_type=REGRESSION)
