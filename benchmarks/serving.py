"""Twenty visitors on loopback against one, through the JSON API and through the page's own address.

    python benchmarks/serving.py                 # about five minutes
    python benchmarks/serving.py --seconds 10    # shorter

It starts `whybert serve` with the built-in model and prints, for each way, how many answers came, how many
were errors, the median and the 95th percentile, these as multiples of what one visitor alone waits in the
same run, and the memory of the server before, in the middle and after.  Each text has 64 tokens and comes
once, so that none is known already.  Visitors ask without a pause ("closed"), or think about each answer for
a time that is exponentially distributed ("thinking").
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

WORDS = (
    "the plot is thin but cast good film bad long story great dull music scene end time people world life "
    "love war house night day city old new young man woman child road river train letter dream game light"
)
TOKENS = 64


def texts(seed: int) -> Iterator[str]:
    """Texts of 64 tokens, each of these words being one; no two alike."""
    drawn = random.Random(seed)
    while True:
        yield " ".join(drawn.choices(WORDS.split(), k=TOKENS - 2))


class Visitor:
    """One connection that asks for one explanation after another."""

    def __init__(self, address: str, body: Callable[[str], tuple[str, dict[str, Any]]], seed: int) -> None:
        self.host = urlsplit(address).netloc
        self.connection = http.client.HTTPConnection(self.host, timeout=300)
        self.body, self.texts = body, texts(seed)

    def ask(self) -> tuple[float, bool]:
        """Seconds until the answer, and whether it is one."""
        path, body = self.body(next(self.texts))
        start = time.perf_counter()
        try:
            self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return time.perf_counter() - start, False
        right = answer.status == 200 and (b"explanations" in content or b"figure" in content)
        return time.perf_counter() - start, right


def by_api(text: str) -> tuple[str, dict[str, Any]]:
    return "/api/v1/explain", {"text": text}


def by_page(address: str) -> Callable[[str], tuple[str, dict[str, Any]]]:
    """What the page asks when a text is typed, as its own description of its events has it."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("GET", "/")
    page = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"window\.gradio_config = (.*?);</script>", page, re.DOTALL)
    assert found is not None, "the page has no description of its events"
    config = json.loads(found[1])
    answer = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "answer")
    event = next(each for each in config["dependencies"] if answer in each["outputs"])
    sessions = itertools.count()

    def body(text: str) -> tuple[str, dict[str, Any]]:
        query = urlencode([("text", text), ("methods", "attnlrp")])
        data = [query] + [None] * (len(event["inputs"]) - 1)
        return "/gradio_api/run/predict", {
            "data": data,
            "fn_index": event["id"],
            "session_hash": f"visitor{next(sessions)}",
        }

    return body


def asked(
    address: str, body: Any, visitors: int, seconds: float, pause: float, seed: int
) -> tuple[list[float], int]:
    """The seconds of all answers, and the number of errors."""
    waits: list[float] = []
    errors = []
    end = time.monotonic() + seconds

    def visit(number: int) -> None:
        visitor, drawn = Visitor(address, body, seed + number), random.Random(number)
        if pause:
            time.sleep(drawn.random() * pause)
        while time.monotonic() < end:
            wait, right = visitor.ask()
            waits.append(wait)
            if not right:
                errors.append(wait)
            if pause:
                time.sleep(drawn.expovariate(1 / pause))

    threads = [threading.Thread(target=visit, args=[number]) for number in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits, len(errors)


def p95(waits: list[float]) -> float:
    return sorted(waits)[min(len(waits) - 1, int(0.95 * len(waits)))]


def memory(process: int) -> float:
    """Megabytes that are resident."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, int]]:
    """The address and the process of a server, as long as the block lasts."""
    command = [sys.executable, "-m", "whybert", "serve", "--port", "0", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stderr is not None
            for line in running.stderr:
                if found := re.search(r"http://\S+", line):
                    break
            else:
                raise SystemExit("the server did not start")
            yield found[0], running.pid
        finally:
            running.terminate()


def measured(
    address: str, process: int, visitors: int, seconds: float, pause: float
) -> Iterator[dict[str, Any]]:
    """A row for each way of asking and of pausing."""
    seeds = itertools.count(0, 1000)
    for way, body in (("API", by_api), ("page", by_page(address))):
        for kind, rest in (("closed", 0.0), ("thinking", pause)):
            asked(address, body, 1, 2, 0, next(seeds))
            alone, wrong = asked(address, body, 1, max(5.0, seconds / 6), 0, next(seeds))
            memories = [memory(process)]
            waits: list[float] = []
            for _ in range(2):
                found, errors = asked(address, body, visitors, seconds / 2, rest, next(seeds))
                waits += found
                wrong += errors
                memories.append(memory(process))
            one = statistics.median(alone)
            yield {
                "way": way,
                "kind": kind,
                "answers": len(waits),
                "errors": wrong,
                "alone": one,
                "p50": statistics.median(waits),
                "p95": p95(waits),
                "ratio": p95(waits) / one,
                "memory": memories,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds that a visitor thinks, on average")
    given = parser.parse_args()
    with server() as (address, process):
        start = time.perf_counter()
        _, right = Visitor(address, by_api, 999_999).ask()
        print(f"first explanation after the start: {time.perf_counter() - start:.2f} s, right: {right}")
        for row in measured(address, process, given.visitors, given.seconds, given.pause):
            said = " ".join(f"{each:.0f}" for each in row["memory"])
            print(
                f"{row['way']:5} {row['kind']:9} {row['answers']:6} answers {row['errors']:3} errors  alone "
                f"{row['alone']:.3f} s  p50 {row['p50']:.3f} s  p95 {row['p95']:.3f} s = {row['ratio']:.1f} x"
                f"  MB {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
