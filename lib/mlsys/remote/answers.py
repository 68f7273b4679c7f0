"""The service's JSON answers, read defensively: another service may have sent them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, type | tuple[type, ...]]  # an answer's members; with None: optional

_COUNT = (int, type(None))
_LIST = (list, type(None))
VERDICT: Fields = {
    "run_id": str,
    "ok": bool,
    "model_name": str,
    "model_version": str,
    "rows": _COUNT,
    "problems": list,
    "warnings": _LIST,
}
ACCEPTED: Fields = {"run_id": str, "status_url": str}
RESULT: Fields = {
    "run_id": str,
    "rows": int,
    "output_table": str,
    "rows_rejected": _COUNT,
    "warnings": _LIST,
}
CANCELLED: Fields = {
    "run_id": str,
    "cancelled_at": str,
    "already": bool,
    "by": (str, type(None)),
    "why": (str, type(None)),
}
UNDONE: Fields = {
    "run_id": str,
    "undone_at": (str, type(None)),
    "already": bool,
    "dry_run": bool,
    "by": (str, type(None)),
    "why": str,
    "tables": list,
}
STATUS: Fields = {
    "run_id": str,
    "shards_done": int,
    "shards_total": _COUNT,
    "rows_done": _COUNT,
    "rows_total": _COUNT,
    "result": (dict, type(None)),
}
PREVIEW: Fields = {
    "model_name": str,
    "model_version": str,
    "columns": list,
    "inputs": list,
    "rows": list,
    "warnings": _LIST,
}
COMPARISON: Fields = {
    "a": str,
    "b": str,
    **dict.fromkeys(
        ("metrics", "parameters", "columns", "versions", "profile", "about", "runs", "notes"), list
    ),
}
PROFILE: Fields = {"run_id": str, "model_name": str, "model_version": str, "columns": list}
DRIFT: Fields = {"columns": list, "more": bool}
SUMS: Fields = {"costs": list, "price_basis": str}
EVALUATIONS: Fields = {"evaluations": list, "not_evaluated": list}


def page_of(key: str) -> Fields:
    """Return the fields of a list's answer, whose rows are its member `key`."""
    return {key: list, "next": (str, type(None))}


def missing(body: Mapping[str, Any], fields: Fields) -> list[str]:
    """Return the fields that an answer lacks or has with another type."""
    return [name for name, kind in fields.items() if not _is(body.get(name), kind)]


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    # JSON's true is not a count, although Python's True is an int.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def sentence(problem: Any) -> str:
    """Return a problem's detail, without the columns or parameters that `faults` lists.

    >>> sentence({"detail": "It does not fit. a: is missing",
    ...           "columns": [{"name": "a", "problem": "is missing"}]})
    'It does not fit.'
    """
    text = detail(problem)
    listed = faults(problem)
    first = text.partition(listed[0])[0] if listed and listed[0] else text
    title = problem.get("title") if isinstance(problem, Mapping) else None
    return first.strip() or str(title or text)


def detail(problem: Any) -> str:
    """Return a problem's detail or title; all members but its type are optional (RFC 9457)."""
    if not isinstance(problem, Mapping):
        return str(problem)
    text = problem.get("detail") or problem.get("title")
    return str(text or f"The service answered {problem.get('status', 'no')} without a reason")


def progress(given: Any) -> dict[str, Any]:
    """Return the well-formed members of the run's progress in a problem."""
    kinds = {"run_id": str, "rows_done": int, "shards_done": int}
    given = given if isinstance(given, Mapping) else {}
    return {name: given[name] for name, kind in kinds.items() if _is(given.get(name), kind)}


def faults(problem: Any) -> list[str]:
    """Return the columns, parameters or rows that a problem names, one line each."""
    if not isinstance(problem, Mapping):
        return []
    # The detail has the clauses of a guard.
    lists = [v for key, v in problem.items() if isinstance(v, list) and key != "clauses"]
    more = problem.get("more")
    last = [f"and {more:,} more"] if isinstance(more, int) and more else []
    return [_fault(item) for items in lists for item in items] + last


def _fault(item: Any) -> str:
    if isinstance(item, dict) and item.keys() >= {"name", "problem"}:
        return f"{item['name']}: {item['problem']}"
    if isinstance(item, dict):
        return ", ".join(f"{key} {value}" for key, value in item.items())
    return str(item)
