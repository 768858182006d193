"""The command line `whybert`.

Results go to stdout, or to the file of `--output`, and everything else to stderr.  The exit code is 0 for
success, 2 for wrong use, 1 for any other failure, a single unusable line included, 130 after Ctrl-C, and
141 where the reader of a pipe went away.

`application` has the table of commands; each command is a module of its own, and is imported only when a
command line runs.  Importing this package imports neither torch nor transformers nor rich.
"""

from whybert.cli.application import main, run

__all__ = ["main", "run"]
