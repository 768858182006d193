"""`whybert finetune`, and the module that `accelerate launch -m whybert.cli.finetune ...` runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from whybert.cli.options import spread, told
from whybert.recipe import SWITCHES, Settings

if TYPE_CHECKING:
    from rich.console import Group

    from whybert.training import FineTuned


@spread
def finetune_command(
    settings: Settings,
    overwrite: bool = told(
        SWITCHES,
        "Begin anew in an output folder of an earlier run.",
        None,
        False,
        "overwrite/--no-overwrite",
    ),
) -> None:
    """Fine-tune an encoder on a data set; the same command again goes on where it was stopped."""
    from whybert.training import finetune

    result = finetune(settings, overwrite=overwrite)
    if _is_first_process():
        from whybert.cli.output import note, show_result

        for line in result.metrics.get("notes", ()) if result.already_done else ():  # said before a run
            note(line, dim=True)
        show_result(_summary(result))
    _leave_the_group()


def _leave_the_group() -> None:
    """Tell the other processes that this one is done, where there are others."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _is_first_process() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _summary(result: FineTuned) -> Group:
    from rich.console import Group
    from rich.text import Text

    from whybert.render import visible
    from whybert.render.tables import NumberTable
    from whybert.training import score_table

    state = "already done" if result.already_done else "done, after a stop" if result.resumed else "done"
    heads, rows = score_table(result.metrics)
    head = Text(visible(f"{result.folder}: {state}" + (result.url and f", copied to {result.url}")))
    return Group(head, NumberTable("split", heads, [(name, cells) for name, *cells in rows]))


if __name__ == "__main__":
    from whybert.cli import main

    main(["finetune", *sys.argv[1:]])
