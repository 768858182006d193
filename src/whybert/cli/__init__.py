"""The command line `whybert`.

Results go to stdout, or to the file of `--output`, and everything else to stderr.  The exit code is 0 for
success, blank lines or not, 2 for wrong use, 3 where some texts could not be used, 1 for any other failure,
130 after Ctrl-C, and 141 where the reader of a pipe went away.

`application` has the table of commands; each command is a module of its own, and is imported only when a
command line runs.  Importing this package imports neither torch nor transformers nor rich.
"""

from whybert.cli.application import main, run

__all__ = ["main", "run"]
