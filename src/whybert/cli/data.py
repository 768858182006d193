"""What a command works on, as its arguments and options name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whybert.cli.output import note
from whybert.corpus.sources import Inputs, Rows
from whybert.errors import UsageError


def source_of(
    command: str,
    arguments: Sequence[str] | None,
    texts: Sequence[str] | None,
    pairs: Sequence[str] | None,
    tab_pairs: bool,
    data: str | None,
    **for_data: Any,
) -> Inputs | Rows:
    """The texts and lines that are given, or the rows of `--data`.

    Args:
        command: its name.
        arguments: TEXT.
        texts: --text.
        pairs: --pair.
        tab_pairs: --tab-pairs.
        data: --data; what else belongs to it is in `for_data`, None where it is not given.

    Raises:
        UsageError: both are given, or none; and what `Inputs`, `load` and `Rows` raise.
    """
    if data is not None:
        if arguments or texts or pairs or tab_pairs:
            raise UsageError("--data and texts, --pair or --tab-pairs exclude each other; leave one out")
        from whybert.datasets import load

        columns = {name: value for name, value in for_data.items() if name.endswith("_column")}
        return Rows(load(data, for_data["data_dir"], **columns), for_data["split"], for_data["limit"])
    for name, value in for_data.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} is for data sets; give --data NAME_OR_FILE, or leave it out")
    if not (arguments or texts):
        raise UsageError(f"missing argument 'TEXT', or --data (see whybert {command} --help)")
    return Inputs(arguments or [], pairs or [], tab_pairs, texts or [], lambda line: note(line, dim=True))
