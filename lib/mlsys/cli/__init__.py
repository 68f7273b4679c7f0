"""The `mlsys` command: one module a verb, and the parser over them."""

from mlsys.cli.parser import main as main
