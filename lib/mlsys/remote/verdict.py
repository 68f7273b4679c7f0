"""A dry run's verdict and a refusal, in words: for `mlsys predict`, and for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlsys.plural import plural
from mlsys.remote.answers import faults, sentence
from mlsys.remote.service import RefusedByService

if TYPE_CHECKING:
    from mlsys.remote.call import Call


def headline(call: Call, verdict: Mapping[str, Any]) -> str:
    """Return which model scores what."""
    rows = "rows not counted yet" if verdict["rows"] is None else row_count(verdict["rows"])
    if where := call.params.get("where"):
        rows += f", filtered by where {where}"
    model = f"{verdict['model_name']} {verdict['model_version']}"
    if alias := verdict.get("model_alias"):
        model += f" ({alias})"
    return f"{model} on {call.params['input_table']}: {rows}"


def increment(incremental: Mapping[str, Any] | None) -> list[str]:
    """Return the lines that say which rows are new."""
    if incremental is None:
        return []
    by, before = incremental["by"], incremental.get("watermark_before")
    if by == "ids":
        return [f"by ids: {row_count(incremental['rows'])} that the output lacks"]
    if before is None:
        after = incremental.get("watermark")
        return [f"by {by}: all rows, up to {after}" if after else f"by {by}: the input has no row"]
    lines = [f"by {by}: {row_count(incremental['rows'])} above {before}"]
    if late := incremental.get("rows_late"):
        lines.append(f"{row_count(late)} came late, at or below it: incremental=ids scores them")
    return lines


def row_count(count: int) -> str:
    """Return a number of rows, in words."""
    return plural(count, "row")


def problems(verdict: Mapping[str, Any]) -> list[str]:
    """Return the lines that say why a run would not start."""
    lines = []
    for problem in verdict["problems"]:
        lines += [sentence(problem), *indented(faults(problem))]
    return lines


def indented(lines: list[str]) -> list[str]:
    """Return the lines, indented."""
    return [f"  {line}" for line in lines]


@contextmanager
def in_full() -> Iterator[None]:
    """Give a refusal each column, parameter or row that it names, on a line of its own.

    Raises:
        RefusedByService: the block raised one.
    """
    try:
        yield
    except RefusedByService as exc:
        is_problem = "type" in (exc.body or {})  # else a verdict, which is told in full already
        lines = [str(exc), *(indented(faults(exc.body)) if is_problem else ())]
        raise RefusedByService("\n".join(lines), exc.body, exc.status) from None


def refusal(verdict: Mapping[str, Any]) -> RefusedByService:
    """Return the error for a run that would not start."""
    return RefusedByService("\n".join(problems(verdict)), verdict)
