"""No route answers with an empty page or list for a model or a run that does not exist."""

from typing import Any

import pytest

from console_cloud import World, client_of, model_row, plan_of, put_run

NAMES = {"model_name": "no-such", "version": "v1", "alias": "champion", "run_id": "no-such"}
LATER = "/ui/requested/"  # waits for a run that does not exist yet


def routes() -> list[str]:
    """Return the path of every route that is read, and names a model or a run."""
    rules = client_of(World()).application.url_map.iter_rules()
    return sorted(
        rule.rule
        for rule in rules
        if "GET" in (rule.methods or ())
        and rule.arguments & {"model_name", "run_id"}
        and not rule.rule.startswith(LATER)
    )


def filled(path: str, **names: str) -> str:
    for name, value in (NAMES | names).items():
        path = path.replace(f"<{name}>", value)
    return path


@pytest.mark.parametrize("route", routes())
def test_an_unknown_name_is_not_found(route: str) -> None:
    world = World()
    versions = {"a": "v1", "b": "v2"} if "/compare" in route else {}
    answer = client_of(world).get(filled(route), query_string={"env": "dev"} | versions)
    assert answer.status_code == 404, answer.text
    assert "no-such" in answer.text


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("/models/<model_name>/drift", {}, 200, '"columns": []'),
        ("/models/<model_name>/drift", {"model_version": "v1"}, 200, '"columns": []'),
        ("/models/<model_name>/drift", {"model_version": "v3"}, 404, "it has v2, v1"),
        ("/models/<model_name>/aliases", {}, 200, '"aliases": []'),
        ("/models/<model_name>/aliases/<alias>/history", {}, 404, "has never had an alias"),
        (
            "/models/<model_name>/aliases/<alias>/history",
            {"after": "2026-11-28T12:00:00Z"},
            200,
            '"history": []',
        ),
        ("/ui/models/<model_name>/measured", {}, 200, "No run of this model was measured yet"),
        ("/ui/runs/<run_id>/measured", {}, 200, "Not measured yet"),
        ("/ui/runs/<run_id>/rejects", {}, 200, ""),
        ("/ui/runs/<run_id>/drift", {}, 200, ""),
    ],
)
def test_a_known_name_may_have_nothing_to_list(
    path: str, query: Any, status: int, says: str
) -> None:
    world = World()
    world.rows["versions_of_model"] = [model_row(2), model_row(1)]
    put_run(world, plan_of())
    address = filled(path, model_name="titanic-survival", run_id="a-run")
    answer = client_of(world).get(address, query_string={"env": "dev"} | query)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
