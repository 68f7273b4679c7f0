"""SQL statements, a file each, with named parameters.

Table names carry no project and no dataset: a statement runs with the environment's dataset as
its default, so SQL is never assembled from strings. Only `templates`, of tables that callers name,
have placeholders, for names of tables and columns that exist.
"""

import functools
import string
from pathlib import Path


@functools.cache
def statement(name: str) -> str:
    """Return the text of `{name}.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text()


@functools.cache
def template(*names: str) -> string.Template:
    """Return the texts of `templates/{name}.sql`, one after the other."""
    return string.Template("".join(statement(f"templates/{name}") for name in names))
