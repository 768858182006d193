"""A `whybert` that starts at once: commands are forked from a process that has imported what they need.

`python warm.py serve SOCKET` is that process, and `python -IS warm.py run SOCKET ARGUMENT...` runs a command
in a child of it, with the caller's folder, environment, stdin, stdout and stderr, and has its exit code.  So
a test can run the shell lines of a page as they are, in a shell, without waiting for torch at each.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a shell in which `whybert` is such a command.

    folder: an empty one, for the socket and the command.
    """
    import shlex
    import subprocess
    import time

    source = str(Path(__file__).resolve().parents[1] / "src")
    own = {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    path = f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **own, "PATH": path, "COLUMNS": "100"}
    place, command = folder / "socket", folder / "whybert"
    client = shlex.join([sys.executable, "-IS", __file__, "run", str(place)])
    command.write_text(f'#!/bin/sh\nexec {client} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    with subprocess.Popen([sys.executable, __file__, "serve", str(place)], env=environment) as server:
        try:
            deadline = time.monotonic() + 120
            while not place.exists():
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield environment
        finally:
            server.terminate()


def serve(path: str) -> None:
    from whybert.cli import main

    for name in ("datasets", "whybert.conversion", "whybert.evaluation.bench", "whybert.training"):
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
        while True:
            caller, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(caller, main)
            caller.close()


def _answer(caller: socket.socket, main: object) -> None:
    """Run the caller's command in this process, tell its exit code, and end."""
    import traceback

    message, handles, _, _ = socket.recv_fds(caller, 2**20, 3)
    said = json.loads(message)
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0)  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    os.chdir(said["folder"])
    os.environ.clear()
    os.environ.update(said["environment"])
    code = 1
    try:
        main(said["arguments"])  # type: ignore[operator]
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    caller.sendall(bytes([code]))
    os._exit(code)


def run(path: str, arguments: list[str]) -> int:
    said = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [json.dumps(said).encode()], [0, 1, 2])
        return (server.recv(1) or b"\1")[0]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    raise SystemExit(run(sys.argv[2], sys.argv[3:]))
