"""The folder of a run that goes on after a stop: its settings, its parts, and the versions behind them."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from whybert import __version__
from whybert.errors import InputError, UsageError
from whybert.files import is_temporary, read_json, write_json
from whybert.foreign import ForeignModel

if TYPE_CHECKING:
    from whybert.classifier import Classifier

SETTINGS_FILE: Final = "evaluation.json"
PARTS: Final = "parts"
VERSIONS: Final = "versions"


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to a run from the moment on that its settings lie there.

    Fields:
        path: of the folder; it may not exist yet.
        kind: of the run, for messages.
        mark: the name of the file that holds the settings, which is written before all else.
        work: names of files and folders there that only such a run makes.
        other: what messages call a folder of another name.
    """

    path: Path
    kind: str = "evaluation"
    mark: str = SETTINGS_FILE
    work: tuple[str, ...] = (PARTS,)
    other: str = "another folder"

    def check(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        """See whether a run with these settings may write here.

        It may where there is nothing that could be lost, a mark that a stop or a full disk left damaged
        included; where it goes on with what it has begun; and, with `overwrite`, where such a run wrote.

        Raises:
            UsageError: the folder is a file, or holds something else.
        """
        name, mark = repr(str(self.path)), self.path / self.mark
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"expected a folder to write to, found the file {name}")
        found = {path.name for path in self.path.iterdir() if _counts(path)} if self.path.exists() else set()
        if found and not mark.is_file():
            raise UsageError(f"{name} holds something that no {self.kind} wrote; name {self.other}")
        if not found or (overwrite and found & set(self.work)):
            return
        try:
            before = read_json(mark)
        except ValueError:
            before = None
        begun = found != {self.mark}
        if (before or begun) and not (before and isinstance(before, dict)):
            way_out = f"use --overwrite or {self.other}" if found & set(self.work) else f"name {self.other}"
            raise UsageError(f"{str(mark)!r} cannot be read as settings of a run; {way_out}")
        if begun and not overwrite:
            wanted = json.loads(json.dumps(settings))
            changed = [key for key in wanted if key != VERSIONS and before.get(key) != wanted[key]]
            if changed:
                listed = ", ".join(f"{k} {_short(before.get(k))} (now {_short(wanted[k])})" for k in changed)
                raise UsageError(
                    f"{name} holds a run with other settings: {listed}; use --overwrite or {self.other}"
                )

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Make the folder that of a run with these settings."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / self.mark, {**settings, VERSIONS: versions()}, indent=2)


def _counts(path: Path) -> bool:
    """Whether it is more than what a run leaves that was stopped before it had anything."""
    return not is_temporary(path.name) and not (
        path.is_dir() and all(is_temporary(inner.name) for inner in path.iterdir())
    )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Store:
    """The parts of a run in a folder; without a folder every part is computed."""

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.folder = folder
        self._damaged: list[str] = []
        self._by: Counter[str] = Counter()
        if folder is None:
            return
        run = RunFolder(folder)
        run.check(settings, overwrite)
        if overwrite:  # before the mark is changed: never other settings beside parts of the old ones
            for path in (folder / PARTS).glob("*.json"):
                path.unlink()
        run.claim(settings)
        (folder / PARTS).mkdir(exist_ok=True)

    def part(
        self,
        name: str,
        compute: Callable[[], dict[str, Any]],
        is_whole: Callable[[Any], bool] = lambda part: True,
    ) -> dict[str, Any]:
        """The part of that name: from its file, else computed and written.

        Args:
            name: of its file.
            compute: returns it, in types of JSON, with names for keys.
            is_whole: whether what was read from the file is such a part, all of it; what it raises where
                the shape is another one counts as no.  What is not whole is computed again, see `notes`.

        Returns:
            The part, with `seconds` that it took and the `versions` that computed it.
        """
        path = None if self.folder is None else self.folder / PARTS / f"{name}.json"
        if path is not None and path.is_file():
            part = _read(path, is_whole)
            if part is not None:
                self._by[_named(part.get(VERSIONS))] += 1
                return part
            self._damaged.append(name)
        started = time.perf_counter()
        part = compute()
        part["seconds"] = time.perf_counter() - started
        part[VERSIONS] = versions()
        self._by[_named(part[VERSIONS])] += 1
        if path is not None:
            write_json(path, part)
        return part

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on parts that were damaged, and on parts that other versions than these computed."""
        notes = [f"part {name} was damaged and is computed again" for name in self._damaged]
        now = _named(versions())
        total = sum(self._by.values())
        notes += [
            f"{count} of {total} parts were computed by {by} (now {now})"
            for by, count in self._by.items()
            if by != now
        ]
        return tuple(notes)


def _read(path: Path, is_whole: Callable[[Any], bool]) -> dict[str, Any] | None:
    try:
        part = read_json(path)
        if isinstance(part, dict) and isinstance(part["seconds"], float) and is_whole(part):
            return part
    except (ValueError, TypeError, LookupError, AttributeError):
        pass
    return None


def _named(found: object) -> str:
    if not isinstance(found, dict):
        return "versions that were not recorded"
    return ", ".join(f"{name} {version}" for name, version in found.items())


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    import transformers

    return {
        "whybert": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def model_digest(classifier: Classifier) -> str:
    """Of the weights, so that a run does not go on with another model of the same name."""
    digest = hashlib.sha256()
    if isinstance(classifier.model, ForeignModel):
        digest.update(str(classifier.model.block).encode())  # what the scores are of
    for name, tensor in sorted(classifier.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """Of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the path") from error
