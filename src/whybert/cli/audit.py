"""`whybert audit`: whether a model is explained rightly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from whybert.cli import options
from whybert.cli.options import INPUT_PANEL, told
from whybert.cli.output import FAILED, show_result


@dataclass(frozen=True)
class AuditedOptions(options.ModelOptions):
    """The model, which is an argument."""

    model: Annotated[str, typer.Argument(metavar="MODEL", help="builtin, a folder or a hub id.")] = "builtin"


@options.spread
def audit_command(
    model: AuditedOptions,
    text: list[str] | None = told(
        INPUT_PANEL, "What it is asked; several: repeat it. Default: three neutral sentences.", "TEXT"
    ),
    method: options.MethodOption = None,
    format: options.ReportFormatOption = options.ReportFormat.TERMINAL,
) -> None:
    """Check that a model is explained rightly: what each method promises, on a few texts of your own or none.

    The exit code is 1 if something fails.  A method that refuses the model by name does not fail.
    """
    from whybert.auditing import audit
    from whybert.methods import create_all

    wanted = None if method is None else create_all(options.methods(method))
    found = audit(model.load(), text, wanted)
    show_result(found, records=[found.to_dict()] if format is options.ReportFormat.JSON else None)
    if not found.passed:
        raise typer.Exit(FAILED)
