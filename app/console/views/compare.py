"""Two versions of a model beside each other: by default only what differs."""

from __future__ import annotations

from app import service
from app.api.comparison import CompareQuery
from app.console.pages import Page, env, page, query
from mlsys.artifact.refs import ModelRef

TITLES = {
    "metrics": "Metrics",
    "parameters": "Parameters",
    "columns": "Columns of the input",
    "contract": "Contract",
    "versions": "Libraries",
    "profile": "Training data",
    "about": "Registry",
    "runs": "Finished runs",
}


@page("/models/<model_name>/compare")
def compare(model_name: str) -> Page:
    """Compare the versions `a` and `b` of a model; `all=true` shows what is equal too."""
    from workers.registry.compare import SECTIONS, compare

    ModelRef(model_name, "v1")  # the name
    passed = query(CompareQuery)
    answer = compare(
        service().clients, passed.env, model_name, passed.a, passed.b, everything=passed.all
    )
    sections = [{"title": TITLES[name], "facts": answer[name]} for name in SECTIONS if answer[name]]
    view = {
        "model_name": model_name,
        "a": answer["a"],
        "b": answer["b"],
        "all": passed.all,
        "sections": sections,
        "notes": answer["notes"],
    }
    return Page(f"{model_name} {answer['a']} and {answer['b']} in {env()}", "compare.html", view)
