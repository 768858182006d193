"""The page of every command with its options, from Typer."""

from __future__ import annotations

import re
from pathlib import Path

import click
import typer
from typer.cli import get_docs_for_click

from documentation.links import outside_code
from whybert.cli.application import COMMANDS, application

HEAD = """\
# Every command

`whybert COMMAND --help` says the same in a terminal. [The command line](../command-line.md) is the guide.

Exit codes: 0 done (blank lines are skipped), 1 failed, 2 wrong usage, 3 some texts failed.

| command | what it does |
|---|---|
"""


def generate(folder: Path) -> None:
    group = typer.main.get_command(application())
    with group.make_context("whybert", ["list"]) as context:
        commands = {name.name: group.get_command(context, name.name) for name in COMMANDS}  # type: ignore[attr-defined]
        found = {name: command for name, command in commands.items() if command is not None}
        lines = [
            f"| [`{name}`](#whybert-{name}) | {_escaped(_first_line(command))} |\n"
            for name, command in found.items()
        ]
        parts = [
            get_docs_for_click(obj=command, ctx=context, name=name, indent=1, call_prefix="whybert")
            for name, command in found.items()
        ]
    page = folder / "reference" / "command-line.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(HEAD + "".join(lines) + "\n" + "\n".join(map(_fitting, parts)), encoding="utf-8")


def _first_line(command: click.Command) -> str:
    return (command.help or "").split("\n")[0]


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


def _fitting(text: str) -> str:
    """What Typer wrote, with its examples as code and without what Markdown takes for HTML."""
    examples = re.compile(r"^((?:\$ whybert|\$ cat|\$ ).*(?:\n.+)*)", re.MULTILINE)
    text = outside_code(text, _escaped)
    return outside_code(text, lambda part: examples.sub(r"```console\n\1\n```", part))
