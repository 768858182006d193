"""Where results and messages go: stdout or a file that appears as a whole, and stderr for all else."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from whybert.errors import WhybertError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_WIDTH = 100  # of what is printed for people, where there is no terminal to ask


class FileError(WhybertError):
    """A file cannot be read or written."""


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Where results go: stdout, or the file, which appears as a whole when all went well, or not at all.

    Both are UTF-8 with "\\n" on every system; what UTF-8 cannot hold is escaped.
    """
    if path is None:
        if sys.stdout is None:
            raise FileError("there is no stdout to write to; use --output FILE")
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        yield sys.stdout
        return
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISDIR(mode):
        raise FileError(f"cannot write to {str(path)!r}: it is a folder; name a file in it")
    how: dict[str, str] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    if mode and not stat.S_ISREG(mode):  # /dev/null, a pipe: nothing that could be replaced
        with open(path, "w", **cast(Any, how)) as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))  # what a link points to is written, not the link
    if not target.parent.is_dir():
        raise FileError(
            f"cannot write to {str(path)!r}: there is no folder {str(path.parent)!r}; create it first"
        )
    temporary = target.parent / f".whybert-{secrets.token_hex(8)}.tmp"
    # Unlike those of `tempfile`, the file gets the permissions of any other new file.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with open(handle, "w", **cast(Any, how)) as stream:
            yield stream
        if mode:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


def note(message: str, dim: bool = False) -> None:
    """One line on stderr; what comes from outside takes no effect on the terminal."""
    from rich.text import Text as RichText

    from whybert.render import visible

    line = visible(" ".join(message.split()))
    if sys.stderr is not None:
        notes_console().print(RichText(line, style="dim" if dim else ""), soft_wrap=True)


_JSON_ESCAPES = re.compile("[\ud800-\udfff\u0085\u2028\u2029]")


def json_line(value: dict[str, Any]) -> str:
    """JSON on one line, for those readers too that take U+2028 as its end; surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _JSON_ESCAPES.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"
