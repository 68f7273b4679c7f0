"""SQL statements, a file each, with named parameters.

Table names carry no project and no dataset: a statement runs with the environment's dataset as
its default, so SQL is never assembled from strings.
"""

import functools
from pathlib import Path


@functools.cache
def statement(name: str) -> str:
    """Return the text of `{name}.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text()
