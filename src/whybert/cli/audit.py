"""`whybert audit`: whether a model is explained rightly."""

from __future__ import annotations

from typing import Annotated

import typer

from whybert.cli import options
from whybert.cli.options import INPUT_PANEL, option
from whybert.cli.output import FAILED, show_result


def audit_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="builtin, a folder or a hub id.")] = "builtin",
    text: Annotated[
        list[str] | None,
        option(
            INPUT_PANEL,
            "--text",
            "What it is asked; several: repeat it. Default: three neutral sentences.",
            "TEXT",
        ),
    ] = None,
    method: options.MethodOption = None,
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    max_length: options.MaxLengthOption = None,
    format: options.ReportFormatOption = options.ReportFormat.TERMINAL,
) -> None:
    """Check that a model is explained rightly: what each method promises, on a few texts of your own or none.

    The exit code is 1 if something fails.  A method that refuses the model by name does not fail.
    """
    from whybert.auditing import audit
    from whybert.classifier import Classifier
    from whybert.methods import create_all

    wanted = None if method is None else create_all(options.methods(method))
    found = audit(Classifier.load(model, device=device, dtype=dtype, max_length=max_length), text, wanted)
    show_result(found, records=[found.to_dict()] if format is options.ReportFormat.JSON else None)
    if not found.passed:
        raise typer.Exit(FAILED)
