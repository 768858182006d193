"""The parts of a run in a folder: what was done is not done again after a stop."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from whybert.errors import InputError, UsageError

if TYPE_CHECKING:
    from whybert.classifier import Classifier

SETTINGS_FILE: Final = "evaluation.json"
PARTS: Final = "parts"


class Store:
    """The parts of a run in a folder; without a folder every part is computed."""

    def __init__(self, folder: Path | None, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.folder = folder
        if folder is None:
            return
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"expected a folder to write to, found the file {str(folder)!r}")
        mark = folder / SETTINGS_FILE
        if folder.is_dir() and any(folder.iterdir()):
            if not mark.is_file():
                raise UsageError(
                    f"{str(folder)!r} holds something that no evaluation wrote; name another folder"
                )
            changed = _changed(mark, settings)
            if changed and not overwrite:
                raise UsageError(
                    f"{str(folder)!r} holds an evaluation with other settings: {changed}; "
                    "use --overwrite or another folder"
                )
            if overwrite:
                for path in (folder / PARTS).glob("*.json"):
                    path.unlink()
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
        _write(mark, settings)

    def part(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The part of that name: from its file, else computed and written."""
        path = None if self.folder is None else self.folder / PARTS / f"{name}.json"
        if path is not None and path.is_file():
            # One that was cut off, by a full disk or a machine that stopped, is computed again.
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return found
        started = time.perf_counter()
        part = compute()
        part["seconds"] = time.perf_counter() - started
        if path is not None:
            _write(path, part)
        return part


def _changed(mark: Path, settings: Mapping[str, Any]) -> str:
    try:
        before = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(mark)!r} cannot be read; name another folder") from error
    if not isinstance(before, dict):
        raise UsageError(f"{str(mark)!r} is not of an evaluation; name another folder")
    wanted = json.loads(json.dumps(settings))
    changed = [name for name in wanted if name != "versions" and before.get(name) != wanted[name]]
    return ", ".join(f"{name} {_short(before.get(name))} (now {_short(wanted[name])})" for name in changed)


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _write(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def model_digest(classifier: Classifier) -> str:
    """Of the weights, so that a run does not go on with another model of the same name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(classifier.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """Of a file's bytes.  Raises InputError if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the path") from error
