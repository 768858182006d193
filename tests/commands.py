"""The commands as a user runs them: in this process with what they wrote, or in one of their own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import whybert
from whybert import cli


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.split("\n")[:-1]]


Run = Callable[..., Result]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`main` in this process, with stdin as bytes."""

    def call(*arguments: str, stdin: bytes | None = None) -> Result:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as leave:
            cli.main(arguments)
        captured = capsys.readouterr()
        assert isinstance(leave.value.code, int)
        return Result(leave.value.code, captured.out, captured.err)

    return call


def one_error(result: Result, code: int, *parts: str) -> None:
    """Nothing on stdout, one line on stderr."""
    assert result.code == code, result.err
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    for part in parts:
        assert part in result.err


def process(*arguments: str, module: str = "whybert", **options: Any) -> subprocess.Popen[bytes]:
    source = str(Path(whybert.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", module, *arguments]
    if os.name == "posix":  # where the tests run in the background of a shell, the signal is ignored
        options.setdefault("preexec_fn", partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(command, env=environment, **{**pipes, **options})
