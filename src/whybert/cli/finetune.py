"""`whybert finetune`, and the module that `accelerate launch -m whybert.cli.finetune ...` runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whybert.recipe import SWITCHES, Settings
from whybert.typed import alternatives, choices_of, hinted

if TYPE_CHECKING:
    from rich.console import Group

    from whybert.training import FineTuned


def _parameters() -> Iterator[Parameter]:
    """An option for each field of the settings."""
    for field, hint in hinted(Settings):
        names = field.metadata["names"] or (field.name.replace("_", "-"),)
        spelt = [f"-{name}" if len(name) == 1 else f"--{name}" for name in names]
        if bool in alternatives(hint):
            spelt = [f"{name}/--no-{name[2:]}" for name in spelt]
        metavar = None
        if choices_of(hint):  # they would take the whole width of the help, and `Settings` knows them
            hint, metavar = str | None, "NAME"
        option = typer.Option(
            *spelt, help=field.metadata["help"], rich_help_panel=field.metadata["panel"], metavar=metavar
        )
        default = Parameter.empty if field.default is MISSING else field.default
        yield _parameter(field.name, hint, default, option)
    begin = typer.Option(
        "--overwrite/--no-overwrite",
        help="Begin anew in an output folder of an earlier run.",
        rich_help_panel=SWITCHES,
    )
    yield _parameter("overwrite", bool, False, begin)


def _parameter(name: str, hint: Any, default: Any, option: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option])


def finetune_command(overwrite: bool, **settings: Any) -> None:
    """Fine-tune an encoder on a data set; the same command again goes on where it was stopped."""
    from whybert.training import finetune

    result = finetune(Settings(**settings), overwrite=overwrite)
    if _is_first_process():
        from whybert.cli.output import note, show_result

        for line in result.metrics.get("notes", ()):
            note(line, dim=True)
        show_result(_summary(result))
    _leave_the_group()


finetune_command.__signature__ = Signature(list(_parameters()))  # type: ignore[attr-defined]  # for Typer


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
