"""The arguments and options that commands share: one by one, and in groups, which are dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from whybert.cli.completion import COMPLETIONS, one_of
from whybert.errors import UsageError
from whybert.typed import alternatives, choices_of

if TYPE_CHECKING:
    from whybert.classifier import Classifier

MODEL_PANEL, INPUT_PANEL, METHOD_PANEL, OUTPUT_PANEL = "Model", "Input", "Method", "Output"  # of the help


def option(panel: str, names: str, help: str, metavar: str | None = None, **how: Any) -> Any:
    """An option by its names, with spaces between them; `how` is Typer's."""
    spelt = names.split()
    how.setdefault("autocompletion", COMPLETIONS.get(spelt[0]))
    return typer.Option(*spelt, metavar=metavar, help=help, rich_help_panel=panel, **how)


def told(
    panel: str, help: str, metavar: str | None = None, default: Any = None, *names: str, **how: Any
) -> Any:
    """One option, as a field of a group or the default of a parameter: by its own name, or by those given.

    `how` is Typer's.
    """
    metadata = {"panel": panel, "help": help, "names": names, "metavar": metavar, "switch": False, "how": how}
    return dataclasses.field(default=default, metadata=metadata)


def _of_field(name: str, field: Field[Any], hint: Any) -> Any:
    """The hint of a field with its option: the one in the hint, or the one that its metadata describe."""
    said = field.metadata
    if "panel" not in said:
        return hint
    how = {"metavar": said.get("metavar"), **said.get("how", {})}
    names = [
        f"-{each}" if len(each) == 1 else f"--{each}" for each in said["names"] or (name.replace("_", "-"),)
    ]
    if bool in alternatives(hint) and said.get("switch", True):
        names = [f"{each}/--no-{each[2:]}" for each in names]
    if choices := choices_of(hint):  # they would take the whole width of the help, and the group knows them
        hint, how = str | None, {"metavar": "NAME", "autocompletion": one_of(choices)}
    return Annotated[hint, option(said["panel"], " ".join(names), said["help"], **how)]


def _parameter(name: str, field: Field[Any], hint: Any) -> Parameter:
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=_of_field(name, field, hint))


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """A command of parameters as Typer knows them, of options that are `told`, and of groups of these.

    A parameter that is a dataclass stands for the options that are its fields.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, given in signature(function).parameters.items():
        if name in groups:
            own = get_type_hints(groups[name], include_extras=True)
            parameters += [_parameter(each.name, each, own[each.name]) for each in fields(groups[name])]
        elif isinstance(given.default, Field):
            parameters.append(_parameter(name, given.default, hints[name]))
        else:
            parameters.append(given.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))

    @wraps(function)
    def command(**values: Any) -> None:
        made = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        function(**made, **values)

    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # for Typer
    return command


@dataclass(frozen=True)
class ModelOptions:
    """A classifier, and how it is loaded."""

    model: str = told(
        MODEL_PANEL,
        "builtin, a folder or a hub id; see whybert list models.",
        "MODEL",
        "builtin",
        "model",
        "m",
    )
    device: str | None = told(MODEL_PANEL, "cpu, cuda, cuda:1, mps ...", "DEVICE")
    dtype: str | None = told(MODEL_PANEL, "float32, float64, bfloat16 or float16.", "DTYPE")
    max_length: int | None = told(
        MODEL_PANEL, "The most tokens a text may have; longer ones are cut.", "N", min=1
    )

    def load(self) -> Classifier:
        """The classifier."""
        from whybert.classifier import Classifier

        return Classifier.load(self.model, device=self.device, dtype=self.dtype, max_length=self.max_length)


class LongOption(StrEnum):
    TRUNCATE = "truncate"
    WINDOWS = "windows"


@dataclass(frozen=True)
class LongOptions:
    """How texts are read that are longer than the maximum."""

    long: LongOption = told(
        MODEL_PANEL,
        "Texts longer than that: cut off, or read to the end in windows.",
        default=LongOption.TRUNCATE,
    )
    stride: int | None = told(
        MODEL_PANEL, "The most tokens that two windows share; default: a quarter of a window.", "N", min=0
    )

    @property
    def how(self) -> dict[str, Any]:
        """The same as arguments of functions."""
        if self.stride is not None and self.long is not LongOption.WINDOWS:
            raise UsageError("--stride is for windows; add --long windows, or leave it out")
        return {"long": self.long.value, "stride": self.stride}


BatchSizeOption = Annotated[int, option(MODEL_PANEL, "--batch-size", "Texts at a time.", "N", min=1)]
OutputOption = Annotated[
    Path | None,
    option(OUTPUT_PANEL, "--output -o", "Write here instead of to stdout, all at once in the end.", "FILE"),
]


class ReportFormat(StrEnum):
    """Of what is printed as a whole: for people, or as JSON for programs."""

    TERMINAL = "terminal"
    JSON = "json"


ReportFormatOption = Annotated[ReportFormat, option(OUTPUT_PANEL, "--format -f", "How to show it.")]


def format_option(formats: Iterable[str]) -> Any:
    """An option that takes the name of a format; without it the suffix of the file of -o decides."""
    names = ("terminal", *formats)
    said = f"{', '.join(names)}; default: as the file's name says, else terminal."
    return option(OUTPUT_PANEL, "--format -f", said, "FORMAT", autocompletion=one_of(names))


MethodOption = Annotated[
    list[str] | None,
    option(
        METHOD_PANEL,
        "--method",
        "See whybert list methods; several options, and several methods, with commas: gi:reduction=sum,lat; "
        "standard: the six that are compared by default; all: all.",
        "METHOD",
    ),
]


def listed(given: list[str] | None) -> list[str]:
    """The values of an option that can be repeated and holds several with commas between them."""
    return [name.strip() for entry in given or [] for name in entry.split(",") if name.strip()]


def methods(given: list[str] | None) -> list[str]:
    """The values of an option that can be repeated and holds several methods with commas between them."""
    from whybert.methods import GROUPS, split

    found = [spec for entry in given or [] for spec in split(entry)]
    return list(GROUPS[found[0]]) if len(found) == 1 and found[0] in GROUPS else found
