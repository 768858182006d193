"""`whybert flip`, `interactions` and `similarity`: what would change a decision, and what counts together."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from whybert import saving
from whybert.cli import options
from whybert.cli.explain import LevelOption, QuantityOption, find_target
from whybert.cli.options import INPUT_PANEL, METHOD_PANEL, told
from whybert.cli.output import console_for, opened, show
from whybert.corpus import sinks
from whybert.errors import InputError, UsageError
from whybert.files import json_line, read_json

if TYPE_CHECKING:
    from whybert.encoding import Text

FORMATS: Final = {"json": sinks.PREDICTIONS["json"]}


class Change(StrEnum):
    REMOVAL = "removal"
    REPLACEMENT = "replacement"


class PairMethodOption(StrEnum):
    SHAPLEY_TAYLOR = "shapley_taylor"
    ARCH_ATTRIBUTE = "arch_attribute"
    ARCH_DETECT = "arch_detect"


class PoolingOption(StrEnum):
    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST = "last"


class ScoreOption(StrEnum):
    COSINE = "cosine"
    DOT = "dot"


class RemovalOption(StrEnum):
    MASK = "mask"
    DELETE = "delete"
    PAD = "pad"


TextArgument = Annotated[str, typer.Argument(metavar="TEXT", help="One text.")]


@options.spread
def flip_command(
    text: TextArgument,
    model: options.ModelOptions,
    pair: str | None = told(INPUT_PANEL, "The second text of a pair.", "TEXT"),
    by: Change | None = told(
        METHOD_PANEL, "Words that are taken away (the default without words to put in), or replaced."
    ),
    perturbation: RemovalOption = told(METHOD_PANEL, "How words are taken away.", default=RemovalOption.MASK),
    level: LevelOption = told(
        METHOD_PANEL, "What is taken away: words, tokens, or sentences.", default=LevelOption.WORD
    ),
    masked_lm: str | None = told(
        METHOD_PANEL, "A masked language model that says which words to put in: a folder or hub id.", "MODEL"
    ),
    synonyms: Path | None = told(
        METHOD_PANEL,
        'Words to put in: a file of lines "good: bad, fine", or "good, bad, fine" (each for each), or JSON.',
        "FILE",
    ),
    to: str | None = told(
        METHOD_PANEL, "The label that is wanted instead; default: any other.", "LABEL|INDEX"
    ),
    most_words: int = told(METHOD_PANEL, "How many words are replaced at once, at most.", "N", 3, min=1),
    top: int = told(METHOD_PANEL, "How many replaced texts are listed, at most.", "K", 10, min=1),
    budget: int = told(METHOD_PANEL, "How many texts the model may be asked about.", "N", 2000, min=1),
    format: Annotated[str | None, options.format_option(FORMATS)] = None,
    output: options.OutputOption = None,
) -> None:
    """Show the fewest words that, taken away or replaced, change the decision."""
    gives = masked_lm is not None or synonyms is not None
    change = by or (Change.REPLACEMENT if gives else Change.REMOVAL)
    if change is Change.REPLACEMENT and not gives:
        raise UsageError("--by replacement needs words to put in: --synonyms FILE, or --masked-lm MODEL")
    if change is Change.REMOVAL and (gives or to is not None):
        raise UsageError("--masked-lm, --synonyms and --to are for --by replacement; leave them out")
    table = None if synonyms is None else _synonyms(synonyms)
    given: Text = text if pair is None else (text, pair)
    name = sinks.chosen(FORMATS, format, output)
    with opened(output, [None if synonyms is None else str(synonyms)]) as stream:
        from whybert.changing import flips, smallest_removal
        from whybert.infilling import MaskedLanguageModel

        found: Any
        if change is Change.REMOVAL:
            found = smallest_removal(
                model.load(), given, by=perturbation.value, unit=level.value, budget=budget
            )
        else:
            masked = None if masked_lm is None else MaskedLanguageModel.of(masked_lm)
            classifier = model.load()
            found = flips(
                classifier,
                given,
                table,
                masked_lm=masked,
                to=None if to is None else find_target(classifier, to, None),
                most_words=most_words,
                top=top,
                budget=budget,
            )
        _write(found, name, stream)


@options.spread
def interactions_command(
    text: TextArgument,
    model: options.ModelOptions,
    pair: str | None = told(INPUT_PANEL, "The second text of a pair.", "TEXT"),
    method: PairMethodOption = told(
        METHOD_PANEL,
        "How pairs are found: all contexts, none but the two, or none and all.",
        default=PairMethodOption.SHAPLEY_TAYLOR,
    ),
    target: str | None = told(
        METHOD_PANEL, "The label to explain, instead of the predicted one.", "LABEL|INDEX"
    ),
    contrast: tuple[str, str] | None = told(METHOD_PANEL, "Why label A rather than B.", "A B"),
    quantity: QuantityOption = told(
        METHOD_PANEL, "What of the label is explained.", default=QuantityOption.LOGIT
    ),
    perturbation: RemovalOption = told(
        METHOD_PANEL, "How the other words are taken away.", default=RemovalOption.MASK
    ),
    level: LevelOption = told(
        METHOD_PANEL, "Pairs of words, tokens, or sentences.", default=LevelOption.WORD
    ),
    samples: int | None = told(
        METHOD_PANEL, "Orders to draw; default: all subsets of 12 words or fewer, else 16 orders.", "N", min=1
    ),
    seed: int = told(METHOD_PANEL, "Draws the orders.", "N", 0, min=0),
    format: Annotated[str | None, options.format_option(FORMATS)] = None,
    output: options.OutputOption = None,
) -> None:
    """Show which words count together, and not only one by one."""
    if target is not None and contrast is not None:
        raise UsageError("--target and --contrast exclude each other; --contrast A B explains A against B")
    given: Text = text if pair is None else (text, pair)
    name = sinks.chosen(FORMATS, format, output)
    with opened(output) as stream:
        from whybert.interacting import interactions

        classifier = model.load()
        found = interactions(
            classifier,
            given,
            method.value,
            find_target(classifier, target, contrast, quantity.value),
            quantity=quantity.value,
            unit=level.value,
            by=perturbation.value,
            samples=samples,
            seed=seed,
        )
        _write(found, name, stream)


@options.spread
def similarity_command(
    text: TextArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The text it is compared with.")],
    model: Annotated[
        str, options.option(options.MODEL_PANEL, "--model -m", "builtin, a folder or a hub id.", "MODEL")
    ] = "builtin",
    pooling: PoolingOption | None = told(
        options.MODEL_PANEL, "How hidden states become a vector; default: what the encoder says."
    ),
    score: ScoreOption | None = told(
        options.MODEL_PANEL, "What of two vectors a similarity is; default: what the encoder says."
    ),
    max_length: int | None = told(
        options.MODEL_PANEL, "The most tokens a text may have; longer ones are cut.", "N", min=1
    ),
    method: str = told(METHOD_PANEL, "See whybert list methods.", "METHOD", "attnlrp"),
    no_pairs: bool = told(METHOD_PANEL, "Leave out which words make it two by two.", default=False),
    level: LevelOption = told(
        options.OUTPUT_PANEL, "Whole words, tokens, or sentences.", default=LevelOption.WORD
    ),
    format: Annotated[str | None, options.format_option(sinks.EXPLANATIONS)] = None,
    output: options.OutputOption = None,
) -> None:
    """Show which words make a sentence encoder find two texts alike."""
    name = sinks.chosen(sinks.EXPLANATIONS, format, output)
    with opened(output) as stream:
        from whybert.render.terminal import terminal
        from whybert.similarities import similarity

        found = similarity(
            model,
            text,
            other,
            method,
            pairs=not no_pairs,
            pooling=None if pooling is None else pooling.value,
            score=None if score is None else score.value,
            max_length=max_length,
        )
        if name in sinks.EXPLANATIONS:
            saving.FORMATS[name].write([(0, {}, found)], stream, level.value)
        else:
            show(console_for(stream), terminal(found, level.value))


def _write(found: Any, name: str, stream: Any) -> None:
    if name in FORMATS:
        stream.write(json_line(found.to_dict()))
    else:
        show(console_for(stream), found)


def _synonyms(path: Path) -> Any:
    """What a file says of words and those that may stand in their place."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8; save it so") from error
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the path") from error
    if text.lstrip()[:1] in ("{", "["):
        try:
            return read_json(path)
        except ValueError as error:
            raise InputError(f"{str(path)!r} is no JSON: {error}; see whybert flip --help") from error
    from whybert.changing import read_replacements

    return read_replacements(text, repr(str(path)))
