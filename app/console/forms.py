"""Forms: their fields, and the form again with what is wrong and what was entered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import g
from werkzeug.wrappers import Response

from app.api import problems
from app.api.bodies import read_form
from app.console.pages import Page, render

Problem = dict[str, Any]


def fields() -> dict[str, str]:
    """Return the fields of the form that was sent, without the empty ones."""
    return {name: value for name, value in read_form().items() if value.strip()}


def who() -> str:
    """Return the person whose name an action is recorded under."""
    return g.who


def answer(act: Callable[[], Response], form: Callable[[Problem], Page]) -> Response:
    """Return what the action answers; if it fails, the form with the problem and its status."""
    try:
        return act()
    except Exception as exc:  # by the same table as everywhere, which logs what it does not know
        refusal = problems.answer(exc)
        shown = form(_problem(refusal))
    response = render(replace(shown, status=refusal.status_code))
    if "Retry-After" in refusal.headers:
        response.headers["Retry-After"] = refusal.headers["Retry-After"]
    return response


def refused(exc: Exception) -> tuple[Problem, int]:
    """Return what an exception is to the page that shows it, and the page's status."""
    refusal = problems.answer(exc)
    return _problem(refusal), refusal.status_code


def _problem(refusal: Response) -> Problem:
    problem: Problem = refusal.get_json()
    problem["clauses"] = problem.get("clauses", [])
    return problem
