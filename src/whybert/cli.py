"""The command line: `whybert explain`, `whybert predict`, `whybert list`.

Results go to stdout, or to the file of `--output`, and everything else to stderr.  The exit code is 0 for
success, 2 for wrong use, 1 for any other failure, a single unusable line included, 130 after Ctrl-C, and
141 where the reader of a pipe went away.  `run` is the one place where errors become messages and codes.

A command is a function with the parameters that Typer reads, and a line in COMMANDS, which may name
another module.  Importing that module must not import torch: a command imports what it needs when it runs.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NoReturn, TextIO, TypeVar, cast

import typer

from whybert import __version__
from whybert.errors import InputError, NonFiniteError, UsageError, WhybertError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table

    from whybert.classifier import Classifier, Prediction
    from whybert.encoding import Text
    from whybert.explanation import Explanation
    from whybert.methods import Method

CHUNK = 256  # lines that are read before they are explained; memory does not grow with the input
PLAIN_WIDTH = 100  # of what is printed for people, where there is no terminal to ask
BATCHES_WITHOUT_PROGRESS = 4
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT and 128 + SIGPIPE, as shells count them
DEFAULT_METHOD = "attnlrp"

Answer = TypeVar("Answer")
Ask = Callable[[list["Text"]], Iterable[tuple[int, Answer]]]
"""Answers to texts, each with the index of its text, in any order."""


# The table of commands.


@dataclasses.dataclass(frozen=True)
class Command:
    """A command's name, the module and the name of its function, and examples for its help."""

    name: str
    module: str
    function: str
    examples: tuple[str, ...]


COMMANDS: Final = (
    Command(
        "explain",
        "whybert.cli",
        "explain_command",
        (
            'whybert explain "a charming and often affecting journey"',
            'whybert explain "not bad" --method attnlrp,lat --level token',
            'whybert explain "not bad" --contrast positive negative --format html -o why.html',
            "cat reviews.txt | whybert explain - --format json > why.jsonl",
        ),
    ),
    Command(
        "predict",
        "whybert.cli",
        "predict_command",
        (
            'whybert predict "a charming journey" "a mess"',
            "whybert predict reviews.txt --model ./my-model --format csv -o labels.csv",
        ),
    ),
    Command(
        "list",
        "whybert.cli",
        "list_command",
        ("whybert list methods", "whybert list models --format json"),
    ),
)


# Options that commands share.


class Level(StrEnum):
    WORD = "word"
    TOKEN = "token"  # noqa: S105 - no password


class ExplanationFormat(StrEnum):
    TERMINAL = "terminal"
    HTML = "html"
    JSON = "json"
    LATEX = "latex"


class PredictionFormat(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"
    CSV = "csv"


class ListFormat(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"


class Listed(StrEnum):
    METHODS = "methods"
    MODELS = "models"


_MODEL, _INPUT, _OUTPUT, _METHOD = "Model", "Input", "Output", "Method"  # the panels of the help

TextsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="A text; - reads lines from stdin; the name of a file reads its lines.",
        show_default=False,
    ),
]
PairOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pair", metavar="TEXT", help="The second text of a pair, one for each TEXT.", rich_help_panel=_INPUT
    ),
]
TabPairsOption = Annotated[
    bool, typer.Option("--tab-pairs", help="Each line is text<TAB>pair.", rich_help_panel=_INPUT)
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="builtin, a folder or a hub id; see whybert list models.",
        rich_help_panel=_MODEL,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps ...", rich_help_panel=_MODEL),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="float32, float64, bfloat16 or float16.",
        rich_help_panel=_MODEL,
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="N",
        min=1,
        help="The most tokens a text may have; longer ones are cut.",
        rich_help_panel=_MODEL,
    ),
]
BatchSizeOption = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Texts at a time.", rich_help_panel=_MODEL),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write here instead of to stdout, all at once in the end.",
        rich_help_panel=_OUTPUT,
    ),
]
_FORMAT = typer.Option("--format", "-f", help="How to show it.", rich_help_panel=_OUTPUT)


# The commands.


def explain_command(
    texts: TextsArgument,
    pair: PairOption = None,
    tab_pairs: TabPairsOption = False,
    model: ModelOption = "builtin",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_length: MaxLengthOption = None,
    batch_size: BatchSizeOption = 32,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=f"{DEFAULT_METHOD} unless given; several: repeat it, or use commas.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="LABEL|INDEX",
            help="The label to explain, instead of the predicted one.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    contrast: Annotated[
        tuple[str, str] | None,
        typer.Option("--contrast", metavar="A B", help="Why label A rather than B.", rich_help_panel=_METHOD),
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option("--residual", metavar="released|once", help="Of lrp.", rich_help_panel=_METHOD),
    ] = None,
    reduction: Annotated[
        str | None,
        typer.Option(
            "--reduction",
            metavar="sum|absolute|squared_norm",
            help="Of gi and lrp: from a token's vector to its score.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha", metavar="NUMBER", help="Of lrp: weight of the positive part.", rich_help_panel=_METHOD
        ),
    ] = None,
    format: Annotated[ExplanationFormat, _FORMAT] = ExplanationFormat.TERMINAL,
    output: OutputOption = None,
    level: Annotated[
        Level, typer.Option("--level", help="Whole words, or tokens.", rich_help_panel=_OUTPUT)
    ] = Level.WORD,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="K",
            min=1,
            help="List only the K strongest words or tokens; in JSON, add them as top.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
) -> None:
    """Show which words made the classifier decide as it did."""
    if target is not None and contrast is not None:
        raise UsageError("--target and --contrast exclude each other; --contrast A B explains A against B")
    if top is not None and format in (ExplanationFormat.HTML, ExplanationFormat.LATEX):
        raise UsageError(f"--top is for the formats terminal and json, not {format.value}; leave it out")
    inputs = Inputs(texts, pair or [], tab_pairs)
    given = {"residual": residual, "reduction": reduction, "alpha": alpha}
    options = {name: value for name, value in given.items() if value is not None}

    with opened(output) as stream:
        from whybert.explaining import explain_batches
        from whybert.methods import create_all

        names = [name.strip() for entry in method or [DEFAULT_METHOD] for name in entry.split(",")]
        methods = [each.name for each in create_all(names, options)]
        classifier = load(model, device=device, dtype=dtype, max_length=max_length)
        wanted = target_of(classifier, target, contrast)

        def ask(batch: list[Text]) -> Iterator[tuple[int, list[Explanation]]]:
            found = explain_batches(classifier, batch, methods, wanted, batch_size=batch_size, **options)
            for indices, rows in found:
                yield from ((index, [rows[m][i] for m in methods]) for i, index in enumerate(indices))

        collects = format in (ExplanationFormat.HTML, ExplanationFormat.LATEX)
        collected: list[Explanation] = []
        console = console_for(stream)
        first = True
        for chunk in answers(inputs, classifier, ask, batch_size, collects or not stream.isatty()):
            for item, explanations in chunk:
                if collects:
                    collected += explanations
                elif format is ExplanationFormat.JSON:
                    for explanation in explanations:
                        stream.write(_explanation_line(item.index, explanation, level, top))
                else:
                    if not first:
                        console.print()
                    show(console, _explained(explanations, level, top))
                first = False
            stream.flush()
        if collects:
            if not collected:
                raise InputError("there is no text to explain; give at least one")
            stream.write(_document(format, collected, level))
    inputs.finish()


def predict_command(
    texts: TextsArgument,
    pair: PairOption = None,
    tab_pairs: TabPairsOption = False,
    model: ModelOption = "builtin",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_length: MaxLengthOption = None,
    batch_size: BatchSizeOption = 32,
    format: Annotated[PredictionFormat, _FORMAT] = PredictionFormat.TERMINAL,
    output: OutputOption = None,
) -> None:
    """Show what the classifier says, without explaining it."""
    inputs = Inputs(texts, pair or [], tab_pairs)
    with opened(output) as stream:
        classifier = load(model, device=device, dtype=dtype, max_length=max_length)

        def ask(batch: list[Text]) -> Iterator[tuple[int, Prediction]]:
            return enumerate(classifier.predict(cast(Any, batch), batch_size))

        chunks = answers(inputs, classifier, ask, batch_size, not stream.isatty())
        _PREDICTION_WRITERS[format](chunks, classifier, stream)
    inputs.finish()


def list_command(
    what: Annotated[Listed, typer.Argument(help="What to list.", show_default=False)],
    format: Annotated[
        ListFormat, typer.Option("--format", "-f", help="How to show it.")
    ] = ListFormat.TERMINAL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of to stdout.")
    ] = None,
) -> None:
    """List the attribution methods, or the models at hand; the network is never asked."""
    with opened(output) as stream:
        rows = _method_rows() if what is Listed.METHODS else _model_rows()
        if format is ListFormat.JSON:
            stream.writelines(json_line(row) for row in rows)
        else:
            table = _methods_table(rows) if what is Listed.METHODS else _models_table(rows)
            show(console_for(stream), table)


# What is explained: arguments, or the lines of files and of stdin.


@dataclasses.dataclass(frozen=True)
class Item:
    """One text, or one pair, of the input; or why a line is none.

    index: counts all texts and lines from 0, the unusable ones too.  place: how messages name it.
    """

    index: int
    place: str
    text: Text | None
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class _Source:
    """An argument: a text or a pair, or where lines are to be read from (None: stdin)."""

    text: Text | None
    path: str | None = None


class Inputs:
    """The texts of a command, in order, read only as far as they are asked for.

    Lines are UTF-8 and end with "\\n" (or "\\r\\n"), and with no other character.  A line that cannot be
    used (blank, not UTF-8, no token) is reported on stderr and left out; `finish` then exits with 1.

    Raises UsageError where the arguments contradict each other.
    """

    def __init__(self, texts: Sequence[str], pairs: Sequence[str], tab_pairs: bool) -> None:
        self.failed = 0
        self.tab_pairs = tab_pairs
        if pairs and tab_pairs:
            raise UsageError("--pair and --tab-pairs exclude each other; --tab-pairs is for lines")
        if texts.count("-") > 1:
            raise UsageError("stdin can be read only once; give - once")
        self.sources = [
            _Source(None, None if text == "-" else text) if text == "-" or _is_file(text) else _Source(text)
            for text in texts
        ]
        self._lines = [source for source in self.sources if source.text is None]
        if pairs and self._lines:
            name = "stdin" if self._lines[0].path is None else repr(self._lines[0].path)
            raise UsageError(
                f"--pair goes with texts given as arguments, and {name} is read line by line; "
                "write text<TAB>pair in each line and use --tab-pairs"
            )
        if pairs and len(pairs) != len(texts):
            raise UsageError(f"expected one --pair for each of the {len(texts)} texts, found {len(pairs)}")
        if tab_pairs and len(self._lines) < len(texts):
            raise UsageError(
                "--tab-pairs is for the lines of files and of stdin; use --pair with texts given as arguments"
            )
        if pairs:
            self.sources = [_Source((text, pair)) for text, pair in zip(texts, pairs, strict=True)]

    def check_arguments(self, classifier: Classifier) -> None:
        """Raise InputError for a text given as an argument that cannot be encoded."""
        from whybert.encoding import tokenize

        for number, source in enumerate(self.sources, 1):
            if source.text is not None:
                try:
                    tokenize(classifier.tokenizer, [source.text], classifier.max_length)
                except InputError as error:
                    raise InputError(_about(error, f"text {number}") or str(error)) from error

    def is_typed(self) -> bool:
        """Whether lines come from a person at a terminal."""
        return any(s.path is None for s in self._lines) and sys.stdin is not None and sys.stdin.isatty()

    def total(self) -> int | None:
        """How many items there are, or None where only reading would tell."""
        count = 0
        for source in self.sources:
            if source.text is not None:
                count += 1
            elif source.path is None or not os.path.isfile(source.path):
                return None
            else:
                with open(source.path, "rb") as file:
                    count += sum(1 for _ in file)
        return count

    def __iter__(self) -> Iterator[Item]:
        index = 0
        for argument, source in enumerate(self.sources, 1):
            if source.text is not None:
                yield Item(index, f"text {argument}", source.text)
                index += 1
                continue
            with _line_stream(source.path) as stream:
                name = "stdin" if source.path is None else source.path
                for number, line in enumerate(_lines(stream), 1):
                    place = f"line {number}" if len(self._lines) == 1 else f"{name}: line {number}"
                    yield self._item(index, place, line)
                    index += 1

    def _item(self, index: int, place: str, line: str | UnicodeDecodeError) -> Item:
        if isinstance(line, UnicodeDecodeError):
            byte = line.object[line.start]
            problem = f"not UTF-8: byte 0x{byte:02x} at position {line.start}; convert it first (iconv)"
            return Item(index, place, None, problem)
        if not line.strip():
            return Item(index, place, None, "text is empty; leave it out")
        if not self.tab_pairs:
            return Item(index, place, line)
        parts = line.split("\t")
        if len(parts) != 2:
            return Item(index, place, None, f"expected one tab, text<TAB>pair, found {len(parts) - 1}")
        return Item(index, place, (parts[0], parts[1]))

    def reject(self, item: Item, problem: str) -> None:
        """Say on stderr that a line is left out."""
        self.failed += 1
        note(f"{item.place}: {problem}")

    def finish(self) -> None:
        """Exit with 1 if a line was left out."""
        if self.failed:
            raise typer.Exit(1)


def _is_file(name: str) -> bool:
    """Whether it names something that can be read as lines: a file, or a pipe such as <(command)."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


@contextmanager
def _line_stream(path: str | None) -> Iterator[BinaryIO]:
    if path is not None:
        note(f"reading the lines of {path!r}", dim=True)
        with open(path, "rb") as file:
            yield file
    elif sys.stdin is None:
        raise FileError("there is no stdin to read from")
    else:
        yield sys.stdin.buffer


def _lines(stream: BinaryIO) -> Iterator[str | UnicodeDecodeError]:
    for number, raw in enumerate(stream):  # bytes are split at b"\n" only, unlike text
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 0 else raw
        line = line.removesuffix(b"\r\n") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield error


# From texts to answers.


def load(model: str, **options: Any) -> Classifier:
    """The classifier of the option --model."""
    from whybert.classifier import Classifier

    return Classifier.load(model, **options)


def target_of(
    classifier: Classifier, target: str | None, contrast: tuple[str, str] | None
) -> int | str | tuple[int | str, int | str] | None:
    """The options --target and --contrast as a target, once it is known to fit the classifier.

    What looks like a number is a label if there is such a label, and else an index.
    """
    import torch

    from whybert.targets import resolve

    def one(name: str) -> int | str:
        return int(name) if name not in classifier.labels and re.fullmatch(r"[+-]?[0-9]{1,9}", name) else name

    found: int | str | tuple[int | str, int | str] | None
    found = None if target is None else one(target)
    if contrast is not None:
        found = (one(contrast[0]), one(contrast[1]))
    resolve(found, torch.zeros(1, len(classifier.labels)), classifier.labels)
    return found


def answers(
    inputs: Inputs, classifier: Classifier, ask: Ask[Answer], batch_size: int, show_progress: bool
) -> Iterator[list[tuple[Item, Answer]]]:
    """The usable items of the input with their answers, in order, a chunk at a time.

    show_progress: whether nothing else is being written to the terminal meanwhile.
    """
    inputs.check_arguments(classifier)
    with _progress(inputs, batch_size, show_progress) as advance:
        answered = False
        for items in _chunks(inputs, max(CHUNK, batch_size)):
            usable = [item for item in items if item.text is not None]
            advance(len(items) - len(usable))
            found = _answer_all([cast("Text", item.text) for item in usable], ask, advance)
            failures = [each for each in found.values() if isinstance(each, NonFiniteError)]
            if failures and len(failures) == len(found) and not answered:
                raise failures[0]  # it is the model, not the lines
            answered = answered or len(failures) < len(found)
            chunk = []
            results = {item.index: found[i] for i, item in enumerate(usable)}
            for item in items:
                result = results.get(item.index)
                if isinstance(result, WhybertError):
                    inputs.reject(item, _about(result, "text") or str(result))
                elif item.text is None:
                    inputs.reject(item, item.problem)
                else:
                    chunk.append((item, cast("Answer", result)))
            yield chunk


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _answer_all(
    texts: list[Text], ask: Ask[Answer], advance: Callable[[int], None]
) -> dict[int, Answer | WhybertError]:
    """An answer to each text, by index; or what is wrong with that text, where another may be fine."""
    found: dict[int, Answer | WhybertError] = {}
    try:
        for index, answer in ask(texts):
            found[index] = answer
            advance(1)
    except (InputError, NonFiniteError):
        for index, text in enumerate(texts):
            if index in found:
                continue
            try:
                [(_, found[index])] = ask([text])
            except (InputError, NonFiniteError) as error:
                if isinstance(error, InputError) and _about(error, "") is None:
                    raise  # about a setting
                found[index] = error
            advance(1)
    return found


_TEXT_ZERO = re.compile(r"^((?:the )?(?:(?:first|second) part of )?)text 0\b")


def _about(error: WhybertError, name: str) -> str | None:
    """The message of an error about the only text of a list, with the text's name; None for others."""
    message = str(error)
    if isinstance(error, NonFiniteError):
        return message.replace("the logits of row 0 are", "the logits are", 1)
    return _TEXT_ZERO.sub(lambda match: match[1] + name, message) if _TEXT_ZERO.match(message) else None


@contextmanager
def _progress(inputs: Inputs, batch_size: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Called with a number of items that are done; shows a bar on stderr if it is a terminal."""
    quiet = not (show and notes_console().is_interactive) or inputs.is_typed()
    total = None if quiet else inputs.total()
    if quiet or (total is not None and total <= BATCHES_WITHOUT_PROGRESS * batch_size):
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    progress: Progress = Progress(
        *columns, console=notes_console(), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    task = progress.add_task("", total=total)
    with progress:
        yield lambda count: progress.advance(task, count)


# Writing.


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


# Explanations.


def _explained(explanations: list[Explanation], level: Level, top: int | None) -> RenderableType:
    from rich.console import Group
    from rich.text import Text as RichText

    from whybert.render.terminal import comparison, terminal

    if top is not None:
        parts: list[RenderableType] = []
        for explanation in explanations:
            parts += [RichText()] if parts else []
            parts.append(_top_list(explanation, level, top))
        return Group(*parts)
    if len(explanations) == 1:
        return terminal(explanations[0], level.value)
    return comparison(explanations, level.value)


def _top_list(explanation: Explanation, level: Level, top: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text as RichText

    from whybert.render import method_line, number, prediction_line, shorten, target_line, visible

    head = RichText(visible(prediction_line(explanation)), style="bold")
    for fact in (target_line(explanation), f"method {method_line(explanation)}"):
        head.append(visible(f" · {fact}") if fact else "", "not bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for unit in explanation.top(top, level.value):
        word = RichText(visible(shorten(" ".join(unit.text.split()))))
        table.add_row(RichText(number(unit.score, explanation.signed)), word)
    return Group(head, table)


def _explanation_line(index: int, explanation: Explanation, level: Level, top: int | None) -> str:
    record: dict[str, Any] = {"index": index, **explanation.to_dict()}
    if top is not None:
        record["top"] = [
            {
                "text": unit.text,
                "start": unit.start,
                "end": unit.end,
                "sequence": unit.sequence,
                "score": unit.score,
            }
            for unit in explanation.top(top, level.value)
        ]
    return json_line(record)


def _document(format_: ExplanationFormat, explanations: list[Explanation], level: Level) -> str:
    if format_ is ExplanationFormat.HTML:
        from whybert.render.html import html

        return html(explanations, level.value)
    from whybert.render.latex import latex

    return latex(explanations, level.value)


# Predictions.

_Predictions = Iterator[list[tuple[Item, "Prediction"]]]


def _write_prediction_table(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
    """One table, printed chunk by chunk: the widths of its columns are those of the first chunk."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text as RichText

    from whybert.render import shorten, visible

    def shown(text: str) -> str:
        return shorten(visible(" ".join(text[:1000].split())), 200)

    console = console_for(stream)
    names = [shown(label) for label in classifier.labels]
    label_width = min(max(cell_len(name) for name in [*names, "label"]), 24)
    widths: list[int] = []
    for chunk in chunks:
        rows = []
        for _, prediction in chunk:
            parts = [prediction.text] if prediction.pair is None else [prediction.text, prediction.pair]
            rows.append(([shown(part) for part in parts], prediction))
        if not rows:
            continue
        is_first = not widths
        if is_first:
            parts_count = len(rows[0][0])
            room = max(10, (console.width - label_width - 11 - 2 * (parts_count + 2)) // parts_count)
            widths = [
                min(room, 60, max(4, *(cell_len(parts[i]) for parts, _ in rows))) for i in range(parts_count)
            ]
        table = Table(box=SIMPLE_HEAD, show_header=is_first, pad_edge=False)
        table.show_edge = False
        for heading, width in zip(("text", "pair"), widths, strict=False):
            table.add_column(heading, width=width, no_wrap=True, overflow="ellipsis")
        table.add_column("label", width=label_width, no_wrap=True, overflow="ellipsis")
        table.add_column("probability", width=11, justify="right")
        for parts, prediction in rows:
            cells = [*parts, shown(prediction.label), f"{prediction.probability:.3f}"]
            table.add_row(*map(RichText, cells))
        show(console, table)
        stream.flush()


def _write_prediction_lines(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
    for chunk in chunks:
        for item, prediction in chunk:
            record = {"index": item.index, **prediction.to_dict(), "labels": list(classifier.labels)}
            stream.write(json_line(record))
        stream.flush()


def _write_prediction_csv(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["index", "text", "pair", "label", "probability", "truncated"])
    for chunk in chunks:
        for item, found in chunk:
            cells = [found.text, found.pair or "", found.label]
            cells = [re.sub("[\ud800-\udfff]", "\ufffd", cell) for cell in cells]
            writer.writerow([item.index, *cells, found.probability, str(found.truncated).lower()])
        stream.flush()


_PREDICTION_WRITERS: Final = {
    PredictionFormat.TERMINAL: _write_prediction_table,
    PredictionFormat.JSON: _write_prediction_lines,
    PredictionFormat.CSV: _write_prediction_csv,
}


# Lists.


def _method_rows() -> list[dict[str, Any]]:
    from whybert.methods import METHODS

    return [
        {
            "name": name,
            "summary": method.summary,
            "source": method.source,
            "signed": method().is_signed,
            "signed_with": _signed_with(method),
            "options": [
                {"name": field.name, "default": field.default, "choices": _choices(method, field.name)}
                for field in dataclasses.fields(method)
            ],
        }
        for name, method in METHODS.items()
    ]


def _choices(method: type[Method], option: str) -> list[Any]:
    from typing import get_args, get_type_hints

    return list(get_args(get_type_hints(method)[option]))


def _signed_with(method: type[Method]) -> list[str]:
    """The choices of a method's options, `reduction=sum`, that make its magnitudes signed scores."""
    if method().is_signed:
        return []
    return [
        f"{field.name}={choice}"
        for field in dataclasses.fields(method)
        for choice in _choices(method, field.name)
        if method(**{field.name: choice}).is_signed
    ]


def _methods_table(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text as RichText

    table = _plain_table("name", "what it shows, and its source", "signed", "options, the default first")
    for row in rows:
        options = []
        for option in row["options"]:
            others = [choice for choice in option["choices"] if choice != option["default"]]
            options.append(f"--{option['name']} " + " | ".join(map(str, [option["default"], *others])))
        signed = "yes" if row["signed"] else "no"
        for choice in row["signed_with"]:
            signed += f"; yes if {choice.partition('=')[2]}"
        what = RichText(row["summary"]).append(f"\n{row['source']}", "dim")
        table.add_row(RichText(row["name"]), what, RichText(signed), RichText("\n".join(options)))
    return table


def _model_rows() -> list[dict[str, Any]]:
    return [_builtin_row(), *_cached_rows()]


def _builtin_row() -> dict[str, Any]:
    from huggingface_hub import try_to_load_from_cache

    from whybert import builtin

    spec = importlib.util.find_spec(builtin.PACKAGE)
    places = [Path(place) / "model" for place in (spec.submodule_search_locations or ())] if spec else []
    installed = any((place / builtin.WEIGHTS).is_file() for place in places)
    cached = isinstance(try_to_load_from_cache(builtin.REPOSITORY, builtin.WEIGHTS), str)
    return {
        "name": "builtin",
        "kind": "builtin",
        "summary": "MiniLM encoder, six layers, fine-tuned for the sentiment of English sentences",
        "source": f"the adapter comes with whybert, the encoder is {builtin.REPOSITORY}",
        "architecture": "BertForSequenceClassification",
        "labels": list(builtin.LABELS.values()),
        "encoder": "installed" if installed else "in the hub's cache" if cached else "missing",
    }


def _cached_rows() -> list[dict[str, Any]]:
    """The sequence classifiers in the local cache of the hub."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError, ValueError):
        return []
    rows = {}
    for repository in repositories:
        if repository.repo_type != "model":
            continue
        for revision in repository.revisions:
            config = next(
                (file.file_path for file in revision.files if file.file_name == "config.json"), None
            )
            if config is None:
                continue
            try:
                settings = json.loads(config.read_text(encoding="utf-8"))
                kinds = [str(kind) for kind in settings.get("architectures") or []]
                labels = [str(label) for label in (settings.get("id2label") or {}).values()]
            except (OSError, ValueError, AttributeError, TypeError):
                continue
            kind = next((kind for kind in kinds if kind.endswith("ForSequenceClassification")), None)
            if kind is not None:
                rows[repository.repo_id] = {
                    "name": repository.repo_id,
                    "kind": "cached",
                    "summary": "in the local cache of the hub",
                    "source": f"https://huggingface.co/{repository.repo_id}",
                    "architecture": kind,
                    "labels": labels,
                    "encoder": None,
                }
    return [rows[name] for name in sorted(rows)]


def _models_table(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text as RichText

    from whybert.render import shorten, visible

    table = _plain_table("--model", "what it is", "labels", "state")
    for row in rows:
        state = row["summary"] if row["encoder"] is None else f"encoder {row['encoder']}"
        if row["encoder"] == "missing":
            state = "encoder missing: pip install 'whybert[builtin]'"
        what = row["architecture"] if row["kind"] == "cached" else f"{row['summary']}; {row['source']}"
        labels = ", ".join(shorten(label, 24) for label in row["labels"][:5])
        labels += ", ..." if len(row["labels"]) > 5 else ""
        table.add_row(*(RichText(visible(cell)) for cell in (row["name"], what, labels, state)))
    table.add_row(RichText("FOLDER"), RichText("what save_pretrained wrote, with its tokenizer: ./my-model"))
    table.add_row(RichText("OWNER/NAME"), RichText("a sequence classifier of the hub, downloaded once"))
    return table


def _plain_table(*headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, no_wrap=index == 0, overflow="fold")
    return table


# The application.


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whybert {__version__}")
        raise typer.Exit


def _application(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Say why a BERT-style text classifier decided as it did."""


def application() -> typer.Typer:
    """The commands of COMMANDS as one application."""
    settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings=settings,
        epilog=_epilog(COMMANDS[0].examples[:1]),
    )
    app.callback()(_application)
    for command in COMMANDS:
        function = getattr(importlib.import_module(command.module), command.function)
        app.command(command.name, epilog=_epilog(command.examples))(function)
    return app


def _epilog(examples: Iterable[str]) -> str:
    from rich.markup import escape

    return "Examples:\n\n" + "\n".join(escape(f"$ {example}") for example in examples)


# What Typer raises for wrong use: Click's UsageError, or that of the copy which newer versions carry.
_WrongUse: Final = cast("type[Exception]", typer.BadParameter.__base__)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; only an unexpected exception gets out."""
    try:
        code = _invoke(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except _WrongUse as error:
        return _wrong_use(error)
    except UsageError as error:
        return _failed(f"error: {error}", 2)
    except WhybertError as error:
        return _failed(f"error: {error}", 1)
    except OSError as error:
        _abandon_stdout()
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        return _failed(f"error: {place}{error.strerror or error}", 1)
    return code


def _invoke(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(application())
    try:
        with command.make_context("whybert", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    return 0


def _wrong_use(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return 2
    message = str(cast(Any, error).format_message()).strip().replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = "whybert" if context is None else context.command_path
    return _failed(f"error: {message[:1].lower()}{message[1:].removesuffix('.')} (see {command} --help)", 2)


def _failed(message: str, code: int) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was found before comes first
    except OSError:
        _abandon_stdout()
    try:
        note(message)
    except OSError:  # nobody reads stderr
        return code
    return code


def _abandon_stdout() -> None:
    """Keep the interpreter from flushing, at its exit, into a pipe or a disk that takes no more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # there is no such file to redirect
        return


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the command `whybert`; raises SystemExit."""
    raise SystemExit(run(sys.argv[1:] if arguments is None else arguments))
