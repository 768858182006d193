"""Where results and messages go: stdout or a file that appears as a whole, and stderr for all else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from whybert.errors import FileError, UsageError
from whybert.files import json_line, writing

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DONE, FAILED, WRONG_USE, FAILED_TEXTS = 0, 1, 2, 3  # exit codes
INTERRUPTED, PIPE_CLOSED, SIGNAL = 130, 141, 128  # 128 + SIGINT, 128 + SIGPIPE, as shells count them
PLAIN_WIDTH = 100  # of what is printed for people, where there is no terminal to ask


@contextmanager
def opened(path: Path | None, reads: Iterable[str | None] = ()) -> Iterator[TextIO]:
    """Where results go: stdout, or the file, which appears as a whole when all went well, or not at all.

    Both are UTF-8 with "\\n" on every system; what UTF-8 cannot hold is escaped.

    Args:
        path: of the file; None is stdout.
        reads: names of files that are read, which must not be written over.

    Raises:
        UsageError: the file is one of those.
    """
    for name in reads:
        if path is not None and name and path.is_file() and os.path.exists(name) and path.samefile(name):
            raise UsageError(f"-o {str(path)!r} would write over the file that is read; name another one")
    if path is None:
        if sys.stdout is None:
            raise FileError("there is no stdout to write to; use --output FILE")
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        yield sys.stdout
        return
    with writing(path) as stream:
        yield stream


def console_for(stream: TextIO) -> Console:
    """A console that prints what people read to the stream, in colour if it is a terminal."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    return _without_pipe_handling(console)


def show(console: Console, renderable: RenderableType) -> None:
    """Print something, without the blanks at the ends of lines where no terminal needs them."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as capture:
        console.print(renderable)
    console.file.writelines(f"{line.rstrip(' ')}\n" for line in capture.get().removesuffix("\n").split("\n"))


def show_result(*parts: RenderableType, records: Iterable[object] | None = None) -> None:
    """Print on stdout what people read or, where they are given, records as lines of JSON."""
    with opened(None) as stream:
        if records is not None:
            stream.writelines(map(json_line, records))
            return
        console = console_for(stream)
        for part in parts:
            show(console, part)


@cache
def notes_console() -> Console:
    """The console of stderr; one for all, so that notes and the progress bar know of each other."""
    from rich.console import Console

    return _without_pipe_handling(Console(stderr=True, highlight=False, markup=False, emoji=False))


def _without_pipe_handling(console: Console) -> Console:
    """Let a BrokenPipeError through, for `run` to handle; rich would exit by itself."""

    def reraise() -> NoReturn:
        raise  # rich calls this while it handles the error

    console.on_broken_pipe = reraise  # type: ignore[method-assign]
    return console


def counted(count: int, unit: str) -> str:
    """A number of things, `unit` being the name of one."""
    return f"{count} {unit}{'' if count == 1 else 's'}"


def note(message: str, dim: bool = False) -> None:
    """One line on stderr; what comes from outside takes no effect on the terminal."""
    from rich.text import Text as RichText

    from whybert.render import visible

    line = visible(" ".join(message.split()))
    if sys.stderr is not None:
        notes_console().print(RichText(line, style="dim" if dim else ""), soft_wrap=True)
