"""What texts may be given in: one, a pair, or whatever gives one after another; and what is none of these."""

from __future__ import annotations

import os
from collections.abc import Iterable, KeysView, Mapping, Set
from typing import Any, Final

from whybert.encoding import Text, check_text
from whybert.errors import InputError, quoted

_TABLES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".xlsx")
"""Suffixes of files that hold texts, and are none."""


def normalise_texts(texts: object) -> tuple[list[Text], bool]:
    """The texts as a list, and whether `texts` was a single one.

    A string is one text and a tuple of two strings is one pair.  A list, or whatever else gives one text or
    pair after another (a generator, a column of a table, an array), holds texts or pairs; a tuple of two
    columns, neither of which is a string or a tuple, holds the first and the second texts of pairs.  Two
    columns of pandas must have one index.

    Raises:
        InputError: it is something else, or one of the texts is, or has nothing but white space in it.
    """
    if isinstance(texts, str):
        _check_file(texts)
    if isinstance(texts, tuple) and len(texts) == 2 and all(map(_is_column, texts)):
        check_rows(texts[0], texts[1], "the two columns of pairs")
        firsts, seconds = (_listed(column) for column in texts)
        if len(firsts) != len(seconds):
            raise InputError(
                f"expected two columns of one length for pairs, found {len(firsts)} and {len(seconds)} texts"
            )
        listed: list[Any] = list(zip(firsts, seconds, strict=True))
    elif isinstance(texts, str | tuple):
        check_text(0, texts)
        return [texts], True
    else:
        listed = _listed(texts)
    for index, text in enumerate(listed):
        check_text(index, text)
    return listed, False


def check_rows(one: Any, other: Any, what: str) -> None:
    """Raise InputError where two columns of pandas name their rows otherwise."""
    if isinstance(one, tuple):
        one = next(iter(one), None)
    indexes: list[Any] = [getattr(each, "index", None) for each in (one, other)]
    if not all(hasattr(each, "equals") for each in indexes):
        return
    if len(indexes[0]) == len(indexes[1]) and not indexes[0].equals(indexes[1]):  # lengths are told by others
        raise InputError(
            f"{what} have different indexes, so which rows belong together is not clear; take both from one "
            "table, or pass them as lists (series.tolist()) that are in the same order"
        )


def _is_column(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | tuple | bytes | bytearray | Mapping)


def _listed(texts: Any) -> list[Any]:
    """What gives texts as a list of them."""
    kind = type(texts).__name__
    if way := _way_out(texts):
        raise InputError(
            f"texts must be a str, a (str, str) tuple for a pair, or a list of either, not {kind}; {way}"
        )
    shape = getattr(texts, "shape", None)
    if shape is None or not hasattr(texts, "tolist"):
        return list(texts)
    rows = texts.tolist()  # of NumPy or pandas
    if len(shape) == 1:
        return list(rows)
    if len(shape) == 0:
        return [rows]
    if len(shape) == 2 and shape[1] == 2:
        return [tuple(row) for row in rows]
    raise InputError(
        f"expected texts as an array (texts,), or (texts, 2) for pairs, found one of shape {tuple(shape)}; "
        "take the columns that hold them"
    )


def _way_out(texts: Any) -> str:
    """How texts are had from what is no list of them; empty where it is one."""
    if isinstance(texts, bytes | bytearray):
        return "decode it: texts.decode()"
    if isinstance(texts, os.PathLike):
        return "read it: path.read_text(), or whybert.load_data(path) for a table"
    # of datasets; of pandas and polars
    names = getattr(texts, "column_names", None) or getattr(texts, "columns", None)
    if names is not None and not callable(names):
        if isinstance(texts, Mapping):  # the splits of a data set
            split = next(iter(texts), "train")
            return f"take a split and a column of it: data[{split!r}][{_text_column(names.get(split, ()))!r}]"
        return f"take one column of it: data[{_text_column(names)!r}]"
    if isinstance(texts, Mapping):
        pair = [name for name in ("text", "text_pair") if isinstance(texts.get(name), str)]
        if len(pair) == 2:
            return "a pair is a tuple: (data['text'], data['text_pair'])"
        return f"take the texts out of it: data[{_text_column(texts)!r}]"
    if isinstance(texts, Set) and not isinstance(texts, KeysView):
        return "it has no order; make a list of it: sorted(texts)"
    kind = str(getattr(texts, "dtype", ""))
    if "int" in kind or "float" in kind or kind.startswith("torch."):
        return f"it holds numbers ({kind}); whybert.attribute takes a tokenizer's tensors"
    return "" if isinstance(texts, Iterable) else "make a list of texts"


def _text_column(names: Iterable[Any]) -> str:
    """The column that is likely to hold texts."""
    known = [str(name) for name in names]
    return next((name for name in ("text", "sentence", "review") if name in known), (known or ["text"])[0])


def _check_file(text: str) -> None:
    if text.casefold().endswith(_TABLES) and "\n" not in text and os.path.isfile(text):
        raise InputError(
            f"{quoted(text)} is the name of a file, and would be explained itself; read the file: "
            "pathlib.Path(name).read_text(), or whybert.load_data(name) for a table"
        )
