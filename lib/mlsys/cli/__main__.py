"""`python -m mlsys.cli`."""

from mlsys.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
