"""`python -m whybert.cli` is `whybert`."""

from whybert.cli import main

if __name__ == "__main__":
    main()
