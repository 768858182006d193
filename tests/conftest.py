"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository, which holds the reference outputs; not part of it."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"the reference outputs are not here: no folder {SHARED / 'reference'}")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice of transformers among the test's output."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.set_verbosity(before)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def registered() -> Iterator[None]:
    """Data sets that the test registers are known to no other."""
    from whybert.datasets import base

    before = dict(base._REGISTERED)
    yield
    base._REGISTERED.clear()
    base._REGISTERED.update(before)
