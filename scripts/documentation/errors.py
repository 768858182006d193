"""The page of errors: each class, when it is raised, a call that raises it, its message, and the way out."""

from __future__ import annotations

import html
import inspect
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Final

import torch

import whybert
from whybert import errors

HEAD = """\
# Errors

Every error that whybert raises on purpose is a `WhybertError`, and its message is one line: what was
expected, what came, and the way out. The command line prints that line and exits with 2 for a `UsageError`
and with 1 for the others. The messages below come from the calls above them, made when this page was built.

"""

CALLS: Final[dict[str, tuple[str | None, str]]] = {
    "UnknownNameError": (
        'whybert.explain("builtin", "A charming film.", method="atnlrp")',
        "Take the name that is suggested; `whybert list methods` has all. It is a `KeyError` too.",
    ),
    "InputError": (
        'whybert.explain("builtin", ["A charming film.", ""])',
        "Leave the text out, or give it words; `error.index` says which one. It is a `ValueError` too.",
    ),
    "TargetError": (
        'whybert.explain("builtin", "A charming film.", target=2)',
        "Take a label of the model, or its index; [what is explained](../targets.md). "
        "It is a `ValueError` too.",
    ),
    "UsageError": (
        'whybert.explain("builtin", "A charming film.", heads=True, method="lime")',
        "Change the argument that the message names.",
    ),
    "ModelLoadError": (
        'whybert.Classifier.load("./no-model")',
        "Give a folder with a classifier, a hub id, or the model itself; "
        "[what can be loaded](../loading.md).",
    ),
    "UnsupportedModelError": (
        'classifier = whybert.Classifier.load("builtin")\n'
        "classifier.model.train()\n"
        'whybert.explain(classifier, "A charming film.")',
        "Do what the message says: `model.eval()`, the inner model, or a model with a head; "
        "[your model](../models.md).",
    ),
    "UnsupportedOperationError": (
        "class Exponential(torch.nn.Module):\n"
        "    def forward(self, states):\n"
        "        return torch.exp(states)\n\n\n"
        'classifier = whybert.Classifier.load("builtin")\n'
        "head = torch.nn.Sequential(Exponential(), classifier.model.classifier)\n"
        "classifier.model.classifier = head.eval()\n"
        'whybert.explain(classifier, "A charming film.")',
        "Take a gradient method, or [a method that only asks](../perturbation.md). "
        "A wrong heat map is never an answer.",
    ),
    "NonFiniteError": (
        'classifier = whybert.Classifier.load("builtin")\n'
        "with torch.no_grad():\n"
        '    classifier.model.classifier.bias.fill_(float("nan"))\n'
        'whybert.explain(classifier, "A charming film.")',
        "The model itself is broken there: look at its weights, or load it in float32 (`dtype=`, `--dtype`).",
    ),
    "FileError": (
        'whybert.load("no-file.jsonl")',
        "Mend the path, or the file at the place that the message names.",
    ),
    "TrainingError": (
        None,
        "The message says what is left of the run; a lower learning rate is the usual way out.",
    ),
    "MissingExtraError": (
        'whybert.errors.require("no_such_package", "a figure", "plot")',
        "Run the `pip install` line of the message. It is an `ImportError` too.",
    ),
}
"""Class -> a call that raises it, and the way out.  Classes that stand above others are only caught."""

WARNINGS: Final = {
    "PaddingWarning": "Pad on the right, or explain one text at a time (`batch_size=1`).",
    "MissingInputWarning": "The message names it; `whybert.attribute` takes it among its inputs.",
}
"""Warning -> the way out."""


def generate(folder: Path) -> None:
    classes = [each for each in vars(errors).values() if inspect.isclass(each)]
    shown = [
        each
        for each in classes
        if issubclass(each, errors.WhybertError) and not each.__name__.startswith("_")
    ]
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    parts = [HEAD, f"```text\n{inspect.cleandoc(tree)}\n```\n"]
    for each in shown:
        parts.append(f"\n## {each.__name__}\n\n{inspect.cleandoc(each.__doc__ or '')}\n")
        if each.__name__ in CALLS:
            call, way_out = CALLS[each.__name__]
            if call is not None:
                message = html.escape(_message(call, each))
                parts.append(f"\n```python\n{call}\n```\n\n")
                parts.append(f'<div class="output message">\n<pre>{message}</pre>\n</div>\n')
            parts.append(f"\n{way_out}\n")
        below = [other for other in shown if each in other.__mro__[1:]]
        if each.__name__ not in CALLS and not below:
            raise SystemExit(f"errors.py: {each.__name__} has no call that raises it; add one to CALLS")
        if below:
            linked = ", ".join(f"[{other.__name__}](#{other.__name__.lower()})" for other in below)
            parts.append(f"\nWho catches it catches {linked} too.\n")
    parts.append(
        "\n## Warnings\n\nSaid with the module `warnings`, where the model itself answers otherwise "
    )
    parts.append("than one may think.\n")
    parts += [
        f"\n### {each.__name__}\n\n{inspect.cleandoc(each.__doc__ or '')} {WARNINGS[each.__name__]}\n"
        for each in classes
        if issubclass(each, UserWarning)
    ]
    (folder / "reference").mkdir(exist_ok=True)
    (folder / "reference" / "errors.md").write_text("".join(parts), encoding="utf-8")


def _message(call: str, kind: type[errors.WhybertError]) -> str:
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        try:
            exec(call, {"torch": torch, "whybert": whybert})
        except errors.WhybertError as error:
            if type(error) is kind:
                return f"{kind.__name__}: {error}"
            raise SystemExit(f"errors.py: expected {kind.__name__} of {call!r}, found {error!r}") from error
    raise SystemExit(f"errors.py: {call!r} raises nothing")
