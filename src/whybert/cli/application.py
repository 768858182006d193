"""The application: the table of its commands, and the one place where errors become messages and codes."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn, cast

import typer

from whybert import __version__
from whybert.cli.output import DONE, FAILED, INTERRUPTED, PIPE_CLOSED, SIGNAL, WRONG_USE, note
from whybert.errors import MissingInputWarning, PaddingWarning, UsageError, WhybertError


@dataclass(frozen=True)
class Command:
    """A command's name, the module and the name there of what runs, and examples for its help.

    What runs is a function with the parameters that Typer reads or, for a group of commands, a Typer app.
    Its module must not import torch, transformers or datasets: a command does that when it runs.
    """

    name: str
    module: str
    attribute: str
    examples: tuple[str, ...]


COMMANDS: Final = (
    Command(
        "explain",
        "whybert.cli.explain",
        "explain_command",
        (
            'whybert explain "a charming and often affecting journey"',
            'whybert explain "not bad" --method attnlrp,lat --level token',
            'whybert explain "not bad" --contrast positive negative -o why.html',
            "cat reviews.txt | whybert explain - --format json > why.jsonl",
            "whybert explain --data reviews.csv --limit 100 -o why.html",
            "whybert explain --data reviews.csv --columns id --method all -o why.parquet",
        ),
    ),
    Command(
        "predict",
        "whybert.cli.predict",
        "predict_command",
        (
            'whybert predict "a charming journey" "a mess"',
            "whybert predict reviews.txt --model ./my-model -o labels.csv",
            "whybert predict --data reviews.csv --columns id,date -o labels.csv",
            "whybert predict --data sst2 --data-dir SST2 --split validation --report",
        ),
    ),
    Command(
        "evaluate",
        "whybert.cli.evaluate",
        "evaluate_command",
        (
            "whybert evaluate --data sst2 --data-dir SST2 --split validation --limit 200 -o runs/evaluation",
            "whybert evaluate --model ./my-model --data reviews.csv --method attnlrp,gi --metric aopc,abpc",
            "whybert evaluate --data reviews.csv --method all --limit 100 -o scores.csv",
            "whybert evaluate --annotations ERASER_movies.tar.gz --split test --metric plausibility",
        ),
    ),
    Command(
        "audit",
        "whybert.cli.audit",
        "audit_command",
        ("whybert audit ./my-model", 'whybert audit builtin --text "not bad" --method attnlrp,cp_lrp'),
    ),
    Command(
        "flip",
        "whybert.cli.changes",
        "flip_command",
        (
            'whybert flip "a charming and often affecting journey"',
            'whybert flip "a charming journey" --synonyms words.txt -o flips.json',
            'whybert flip "a charming journey" --masked-lm ./bert-base --to negative',
        ),
    ),
    Command(
        "interactions",
        "whybert.cli.changes",
        "interactions_command",
        (
            'whybert interactions "not a bad film"',
            'whybert interactions "not a bad film" --method arch_attribute --format json',
        ),
    ),
    Command(
        "similarity",
        "whybert.cli.changes",
        "similarity_command",
        (
            'whybert similarity "A man plays a guitar." "Someone makes music."',
            'whybert similarity "a guitar" "some music" --model ./my-encoder --pooling cls -o why.html',
        ),
    ),
    Command(
        "study",
        "whybert.cli.study",
        "study_command",
        (
            "whybert study study.yaml -o runs/study",
            "whybert study --run sst5=models/sst5,sst5,SST5,test --run imdb=models/imdb,imdb,IMDb,test "
            "-o runs/study",
        ),
    ),
    Command(
        "list",
        "whybert.cli.listing",
        "list_command",
        ("whybert list methods", "whybert list metrics", "whybert list models --format json"),
    ),
    Command(
        "finetune",
        "whybert.cli.finetune",
        "finetune_command",
        (
            "whybert finetune --task sst2 --data-dir SST2 --output-dir runs/sst2",
            "whybert finetune --task reviews.csv --text-column text --label-column stars --lora "
            "--output-dir runs/reviews",
        ),
    ),
    Command(
        "convert",
        "whybert.cli.convert",
        "convert_command",
        (
            "whybert convert --tf-checkpoint-path uncased_L-12_H-768_A-12/bert_model.ckpt "
            "--output-dir bert-base",
            "whybert convert --pytorch-checkpoint-path results/SST5/checkpoint.bin "
            "--bert-config-file bert_config.json --vocab-file vocab.txt --output-dir sst5-classifier",
        ),
    ),
    Command(
        "datasets",
        "whybert.cli.datasets",
        "app",
        ("whybert datasets list", "whybert datasets stats sst2 --data-dir SST2"),
    ),
    Command(
        "serve",
        "whybert.cli.serve",
        "serve_command",
        (
            "whybert serve",
            "whybert serve --model builtin --model ./my-model --port 8000",
        ),
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"whybert {__version__}")
        raise typer.Exit


def _application(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Say why a transformer decided as it did about a text."""


_COMPLETE: Final = "_WHYBERT_COMPLETE"  # which the shell sets when it asks
_EXIT_CODES: Final = (
    "Exit codes: 0 done (blank lines are skipped), 1 failed, 2 wrong usage, 3 some texts failed."
)


def application() -> typer.Typer:
    """The commands of COMMANDS as one application."""
    settings = {"help_option_names": ["-h", "--help"], "token_normalize_func": _hyphenated}
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings=settings,
        epilog=f"{_EXIT_CODES}\n\n{_epilog(COMMANDS[0].examples[:1])}",
    )
    app.callback()(_application)
    for command, found in _available():
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=command.name, epilog=_epilog(command.examples))
        else:
            app.command(command.name, epilog=_epilog(command.examples))(found)
    return app


def _hyphenated(name: str) -> str:
    """An option as the help spells it; the scripts of 2020 write the same ones with underscores."""
    return name.replace("_", "-")


def _available() -> Iterator[tuple[Command, Any]]:
    """The commands whose module is there, each with what runs."""
    for command in COMMANDS:
        try:
            module = importlib.import_module(command.module)
        except ModuleNotFoundError as error:
            if f"{command.module}.".startswith(f"{error.name}."):
                continue  # it is itself what is missing
            raise
        yield command, getattr(module, command.attribute)


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
    except _Ended as end:
        return _failed("terminated", SIGNAL + int(str(end)))
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except _WrongUse as error:
        return _wrong_use(error)
    except UsageError as error:
        return _failed(f"error: {error}", WRONG_USE)
    except WhybertError as error:
        return _failed(f"error: {error}", FAILED)
    except OSError as error:
        _abandon_stdout()
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        return _failed(f"error: {place}{error.strerror or error}", FAILED)
    return code


def _invoke(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(application())
    if _COMPLETE in os.environ:
        command.main(prog_name="whybert")  # which answers the shell, and exits
    try:
        with _warnings_as_notes(), command.make_context("whybert", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    return DONE


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Our own warnings look like other notes, each once and without the line of source that warns."""
    with warnings.catch_warnings():
        others, said = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *more: Any, **how: Any) -> None:
            if not issubclass(category, PaddingWarning | MissingInputWarning):
                others(message, category, *more, **how)
            elif str(message) not in said:
                said.add(str(message))
                note(f"warning: {message}")

        warnings.showwarning = show
        yield


def _wrong_use(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return WRONG_USE
    message = str(cast(Any, error).format_message()).strip().replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = "whybert" if context is None else context.command_path
    return _failed(
        f"error: {message[:1].lower()}{message[1:].removesuffix('.')} (see {command} --help)", WRONG_USE
    )


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


class _Ended(KeyboardInterrupt):
    """The process was asked to end; all that a Ctrl-C cleans up is cleaned up.  Its message: the signal."""


def _end(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise _Ended(number)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the command `whybert`; raises SystemExit."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        in_main_thread = threading.current_thread() is threading.main_thread()  # others may not
        # What ignores one (nohup) goes on doing so.
        if number is not None and in_main_thread and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    raise SystemExit(run(sys.argv[1:] if arguments is None else arguments))
