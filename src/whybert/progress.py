"""How far a long call has come: a bar on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is (None: unknown)."""


def silent(what: str, done: int, total: int | None) -> None:
    """Show nothing."""


@contextmanager
def reported(progress: bool | Progress) -> Iterator[Progress]:
    """Where to report to: a bar for True, nowhere for False, and a function to itself."""
    if callable(progress):
        yield progress
    elif not progress:
        yield silent
    else:
        with bars() as update:
            yield update


@contextmanager
def bars(console: Console | None = None) -> Iterator[Progress]:
    """A bar for each thing that is done, gone when all is done.

    Args:
        console: where they are shown; None is stderr.  A notebook shows it below the cell and lets a line be
            written again, but no line above it: there one bar follows another.
    """
    from rich import progress
    from rich.console import Console

    shown_on = console or Console(stderr=True)
    if in_notebook := shown_on.is_jupyter:
        shown_on = Console(stderr=True, force_jupyter=False, force_terminal=True, width=80)
    shown = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=shown_on,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    tasks: dict[str, TaskID] = {}

    def update(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            for task in tasks.values() if in_notebook else ():
                shown.update(task, visible=False)
            tasks[what] = shown.add_task(what, total=total)
        shown.update(tasks[what], completed=done, total=total)

    with shown:
        yield update
