"""How long whybert takes to start, as a share of `python -c "import torch"`.

Whoever types `whybert --help` should not wait for torch, nor a program that imports whybert to read a saved
explanation.  Each command runs in a process of its own, all of them in turn in every round, so that a
machine that becomes slower slows them all; the figure is the median over rounds of the ratio within a round.
The first round fills the file cache and is not counted.

    python benchmarks/start.py --rounds 20
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = "import torch"
COMMANDS = {
    LIMIT: (("-c", "import torch"), None),
    "nothing": (("-c", "pass"), None),
    "import whybert": (("-c", "import whybert"), 0.3),
    "whybert --help": (("-m", "whybert", "--help"), 0.5),
    "whybert explain --help": (("-m", "whybert", "explain", "--help"), 0.5),
    "whybert --version": (("-m", "whybert", "--version"), 0.5),
}
"""What is run, and the share of LIMIT that it may take."""


def seconds(arguments: tuple[str, ...]) -> float:
    """Of a process of its own, from its start to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    if rounds < 2:
        parser.error("expected --rounds of at least 2, for quartiles")

    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, (arguments, _) in COMMANDS.items():
            found = seconds(arguments)
            if number:
                taken[name].append(found)
    print("| command | seconds | share | aim |\n|---|---|---|---|")
    missed = []
    for name, (_, aim) in COMMANDS.items():
        shares = [each / limit for each, limit in zip(taken[name], taken[LIMIT], strict=True)]
        low, share, high = statistics.quantiles(shares, n=4)
        missed += [name] if aim is not None and share > aim else []
        spread = f"{share:.2f} ({low:.2f} to {high:.2f})"
        print(f"| `{name}` | {statistics.median(taken[name]):.2f} | {spread} | {aim or ''} |")
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
