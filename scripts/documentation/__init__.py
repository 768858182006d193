"""The documentation site: what is in docs/, what is made from the code, built strict and checked."""

from __future__ import annotations

import importlib
import time
from pathlib import Path


def generate(name: str, folder: Path) -> float:
    """Run a generator, in a process of its own; returns the seconds that it took.

    Args:
        name: a module of this package.
        folder: the copy of docs/.
    """
    started = time.perf_counter()
    importlib.import_module(f"{__name__}.{name}").generate(folder)
    return time.perf_counter() - started
