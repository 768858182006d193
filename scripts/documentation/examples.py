"""The examples as notebooks: the cells of examples/*.py, run, with what they show."""

from __future__ import annotations

import ast
import html
import io
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from documentation.links import moved

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
_CELL: Final = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
_WIDTH: Final = 88  # columns of a terminal


def generate(folder: Path) -> None:
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    pages = folder / "examples"
    pages.mkdir(exist_ok=True)
    # Each in a process of its own: an example may set what holds for a whole process.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, page in zip(names, pool.map(notebook, names, [pages] * len(names)), strict=True):
            page = moved(page, f"examples/{name}.py", f"examples/{name}.md")
            (pages / f"{name}.md").write_text(page, encoding="utf-8")


def notebook(name: str, pages: Path) -> str:
    """Run an example in an empty folder and return it as Markdown; its figures are written into `pages`."""
    import rich

    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    _, *cells = _CELL.split(source)
    rich.reconfigure(force_terminal=True, color_system="truecolor", no_color=False, width=_WIDTH)
    names: dict[str, Any] = {"__name__": "__main__"}
    parts, last_prose = [], ""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for index, (is_prose, text) in enumerate(zip(cells[::2], cells[1::2], strict=True)):
            if is_prose:
                last_prose = re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)
                parts.append(last_prose)
                continue
            printed, value = _run(text, names, f"{name}.py, cell {index}")
            parts.append(f"```python\n{text.strip()}\n```")
            shown = _terminal(printed) + _shown(value, pages / f"{name}-{index}.svg", last_prose)
            if shown:
                parts.append(f'<div class="output">\n{shown}\n</div>')
    parts.append(f"---\n\nThe file is `examples/{name}.py`: cells begin with `# %%`.")
    return "\n\n".join(parts) + "\n"


def _run(text: str, names: dict[str, Any], place: str) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line if that is an expression."""
    body = ast.parse(text).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body, []), place, "exec"), names)
        value = None if last is None else eval(compile(last, place, "eval"), names)
    return printed.getvalue(), value


def _terminal(printed: str) -> str:
    """What a terminal would show, as HTML with its colours."""
    from rich.console import Console
    from rich.text import Text

    if not printed.strip():
        return ""
    console = Console(record=True, file=io.StringIO(), width=10 * _WIDTH, color_system="truecolor")
    console.print(Text.from_ansi(printed.rstrip("\n")), soft_wrap=True)
    code = console.export_html(inline_styles=True, code_format="{code}")
    return f"<pre>{_no_blank_lines(code.rstrip())}</pre>"


def _shown(value: Any, file: Path, before: str) -> str:
    """A value as a notebook would show it, as HTML; `before` says what a figure is about."""
    if value is None:
        return ""
    if hasattr(value, "savefig"):
        value.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
        alt = html.escape(_alternative(value, before))
        return f'<img src="{file.name}" alt="{alt}">'
    if hasattr(value, "_repr_html_"):
        return _no_blank_lines(value._repr_html_())
    return f"<pre>{_no_blank_lines(html.escape(repr(value)))}</pre>"


def _alternative(figure: Any, before: str) -> str:
    """What stands in place of a figure: its own words, else the sentence that led to it."""
    words = [
        text.get_text() for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)
    ]
    said = ", ".join(dict.fromkeys(word for word in words if word.strip()))
    sentence = re.split(r"(?<=[.:]) ", " ".join(before.split("\n\n")[-1].split()))[0]
    return f"Figure: {said}. {sentence}" if said else f"Figure: {sentence}"


def _no_blank_lines(text: str) -> str:
    """A blank line would end the block of HTML for some readers of Markdown."""
    return re.sub(r"\n[ \t]*(?=\n)", "\n&#8203;", text)
