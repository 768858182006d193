"""What can go wrong, as one tree of exceptions.

    WhybertError
    ├── UsageError            the call is wrong: another argument helps
    │   ├── UnknownNameError      a method, label, model or option that does not exist (also a KeyError)
    │   ├── InputError            a text or an encoding that cannot be explained (also a ValueError)
    │   └── TargetError           the target does not fit the model or the batch (also a ValueError)
    ├── ModelError            the model cannot be explained as it is
    │   ├── ModelLoadError        no classifier could be loaded from the given place
    │   ├── UnsupportedModelError     train mode, wrapped, compiled, or no sequence classifier
    │   ├── UnsupportedOperationError the model calls an operation for which no rule is known
    │   └── NonFiniteError        logits or relevance are NaN or infinite
    ├── FileError             a file cannot be read or written
    ├── TrainingError         a fine-tuning run could not go on
    └── MissingExtraError     an optional package is needed (also an ImportError)

Every message is one line that says what was expected, what came, and the way out.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any, Final, Self

PLACE: Final = "\ufdd0"  # no character, so no text that is quoted in a message holds it
"""Stands in the message of an error about one text for the name of that text."""


class WhybertError(Exception):
    """Base of every error that whybert raises on purpose."""


class UsageError(WhybertError):
    """The call is wrong; another argument would be accepted.  The command line exits with 2."""


class UnknownNameError(UsageError, KeyError):
    """A name that is not in its table.  The message lists the closest names."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {quoted(name)}; {_suggest(str(name), self.known)}{hint}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class _IndexedError(WhybertError):
    """An error that may be about one text of a list, or one row of a batch.

    message: with `PLACE` where it names that text; what stands there is `place`, which `at` changes.
    index: of that text, or of that row of a batch; None where the error is about something else.
    place: its name, "text <index>" unless it is given.
    """

    def __init__(self, message: str, index: int | None = None, place: str | None = None) -> None:
        super().__init__(message, index, place)
        self.index = index
        self.place = f"text {index}" if place is None else place

    def __str__(self) -> str:
        return str(self.args[0]).replace(PLACE, self.place)

    def at(self, place: str, index: int | None = None) -> Self:
        """The same error about another place, an error of its own.

        Args:
            place: what the message calls it.
            index: the new index; None keeps the one that it has.
        """
        return type(self)(self.args[0], self.index if index is None else index, place)


class InputError(_IndexedError, UsageError, ValueError):
    """A text or an encoding that cannot be explained; `index` is that of the text, if it is about one."""


class TargetError(UsageError, ValueError):
    """A target that does not fit the model's labels or the batch."""


class ModelError(WhybertError):
    """The model cannot be explained as it is."""


class ModelLoadError(ModelError):
    """No classifier could be loaded from the given place."""


class UnsupportedModelError(ModelError):
    """The model's state or kind is not supported; the message names it."""


class UnsupportedOperationError(ModelError):
    """The model calls a differentiable operation for which the method has no rule."""

    def __init__(self, operation: str, method: str, lost: bool = False) -> None:
        self.operation, self.method = operation, method
        super().__init__(
            f"the model calls {operation}, so no method can see what came before it; explain the model "
            "without it: plain float weights, no detach(), no numpy, no torch.no_grad() inside"
            if lost
            else f"the model calls {operation}, for which {method!r} has no rule, so its relevance would be "
            "wrong; use a gradient method (gs, gi), or add a rule for this operation"
        )


class NonFiniteError(_IndexedError, ModelError):
    """Logits or relevance are NaN or infinite; `index` is that of the text or row, if it is known."""


class FileError(WhybertError):
    """A file cannot be read or written."""


class TrainingError(WhybertError):
    """A fine-tuning run could not go on; the message says what is left of it."""


class MissingExtraError(WhybertError, ImportError):
    """An optional package is missing.  The message is the command that installs it."""

    def __init__(self, purpose: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs an optional package: pip install 'whybert[{extra}]'")


class PaddingWarning(UserWarning):
    """The texts of a batch are padded in a way on which the model's answers depend."""


class MissingInputWarning(UserWarning):
    """The model reads more than the words of a text, and was not given it."""


def require(module: str, purpose: str, extra: str) -> Any:
    """Import an optional module.

    Args:
        module: its full name.
        purpose: what needs it, the subject of the message.
        extra: the extra of whybert that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(purpose, extra) from error


def require_all(modules: Iterable[str], purpose: str, extra: str) -> None:
    """Look whether optional modules are installed, without importing them: before the work begins.

    Args:
        modules: their full names.
        purpose: what needs them, the subject of the message.
        extra: the extra of whybert that installs them.

    Raises:
        MissingExtraError: one is not installed.
    """
    if not all(map(importlib.util.find_spec, modules)):
        raise MissingExtraError(purpose, extra)


def quoted(value: object, limit: int = 60) -> str:
    """The repr of a value, shortened; it also makes control characters and surrogates visible."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[: limit - 3] + "...")
    try:
        text = " ".join(repr(value).split("\n"))  # an array's has a line a row
    except RecursionError:  # lists in lists in lists
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def one_line(error: object, limit: int = 200) -> str:
    """The message of another library's error on one line of at most `limit` characters, for one of ours."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if text.endswith("..") else text.removesuffix(".")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _suggest(name: str, known: tuple[str, ...]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    close = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"known: {one_line(listed, 300)}" if known else "none are known"
