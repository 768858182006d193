"""Where the parts of a model are that every family has: its embedding block and its positions.

Facts are read off the modules and the configuration, never off the family's name.
"""

from __future__ import annotations

from torch import nn

from whybert.errors import UnsupportedModelError


def word_embeddings(model: nn.Module) -> nn.Module | None:
    """The table of word embeddings, None if the model does not say which it is."""
    words = getattr(model, "get_input_embeddings", lambda: None)()
    return words if isinstance(words, nn.Module) else None


def embedding_block(model: nn.Module) -> nn.Module:
    """The module whose output is the attribution point: the one that holds the word embeddings.

    Raises UnsupportedModelError if there is none.
    """
    words = word_embeddings(model)
    if words is not None:
        for name, module in model.named_modules():
            block: nn.Module = module
            if name and any(child is words for child in block.children()):
                return block
    raise UnsupportedModelError(
        f"{type(model).__name__} has no embedding block (a module around the word embeddings whose output "
        "enters the first layer); supported are the classifiers of BERT's kind in transformers"
    )


def reserved_positions(model: nn.Module) -> int:
    """How many rows of the table of positions no token can have.

    A table with a row for padding numbers the tokens from the row after it, as RoBERTa's does.

    Raises UnsupportedModelError if the model has no embedding block.
    """
    rows = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    for name, module in embedding_block(model).named_modules():
        if (
            isinstance(module, nn.Embedding)
            and "position" in name.rpartition(".")[2]
            and module.num_embeddings == rows
            and module.padding_idx is not None
        ):
            return int(module.padding_idx) + 1
    return 0


def maximum_tokens(model: nn.Module) -> int | None:
    """The most tokens, special ones included, that the model has positions for; None if nothing limits it."""
    rows = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    reserved = reserved_positions(model)
    return rows - reserved if isinstance(rows, int) and rows > reserved else None
