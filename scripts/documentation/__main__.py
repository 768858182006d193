"""`python -m documentation`: build the site; scripts/docs says with what environment."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from documentation import checks, equations, generate, links, llms

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "build" / "documentation"  # `docs_dir` of zensical.toml
SITE: Final = ROOT / "site"

GENERATORS: Final = (
    "api",
    "cards",
    "command_line",
    "errors",
    "papers",
    "examples",
    "which_method",
)
"""Modules of this package with `generate(folder)`, which writes pages or pictures into the copy of docs/.

None reads what another has written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=GENERATORS, help="for a quick look")
    left_out = parser.parse_args().without

    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    links.copy_pages(ROOT, SOURCE)
    # Each in a process of its own; `examples`, which takes longest, has more of them and so comes first.
    names = sorted(set(GENERATORS) - set(left_out), key=lambda name: (name != "examples", name))
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, seconds in zip(names, pool.map(generate, names, [SOURCE] * len(names)), strict=True):
            print(f"{name}: {seconds:.1f} s", flush=True)

    # A page that was left out is linked to, so that a quick look is not strict.
    strict = [] if left_out else ["--strict"]
    command = [sys.executable, "-m", "zensical", "build", "--clean", *strict]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("the site was not built; what zensical found is above")
    equations.render(SITE)
    llms.write(ROOT, SOURCE, SITE)
    problems = [] if left_out else checks.problems(ROOT, SOURCE, SITE)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} problems in the site")
    print(f"{len(list(SITE.rglob('*.html')))} pages in {SITE.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
