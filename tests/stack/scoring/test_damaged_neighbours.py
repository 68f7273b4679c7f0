"""A damaged object of one run breaks no list, page or action about other runs."""

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from backfill_cases import Command
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.scoring.planning.find_run import prepare

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

DAYS = ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
GARBAGE = (b"{", b'{"number": 0}')


class Neighbours:
    """A table by days: one is done, the run of one was of other rows, and one's is planned."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.command = Command(lab, DAYS[:3], alias=False)
        first, second, third = (self.command.of(day.replace("-", "")) for day in DAYS[:3])
        self.done, self.stale = (lab.here(each).done()["run_id"] for each in (first, second))
        more = pd.DataFrame({"id": [99], "day": [dt.date(2026, 11, 2)], "a": [0.5], "b": [1.0]})
        fields = {"id": "INT64", "day": "DATE", "a": "FLOAT64", "b": "FLOAT64"}
        lab.put(more, self.command.input, types=fields)
        prepared = prepare(lab.clients, lab.request(third))
        prepared.close()
        self.planned = prepared.plan.run_id
        self.undone = lab.here(second | {"run_id": f"{self.stale}-undone"}).done()["run_id"]
        lab.client.post(f"/runs/{self.undone}/undo", query_string={"env": "dev", "why": "x"})

    def objects(self) -> Iterator[tuple[str, str]]:
        """Yield each JSON object of the runs beside the first one: its run and its name."""
        for run_id in (self.stale, self.planned, self.undone):
            for name in self.lab.store(run_id).names():
                if name.endswith(".json"):
                    yield run_id, name
            yield run_id, "failure.json"
            yield run_id, "execution-0.json"

    def fails(self) -> list[tuple[str, int, str]]:
        """Return what does not answer as it should about the other runs."""
        output, model = self.command.output, self.command.model
        board = self.command.range | {"run_id": self.done}
        pages: list[tuple[str, dict[str, str]]] = [
            *(("", {}), ("runs", {}), ("runs", {"state": "undone"}), ("numbers", {})),
            *(("checks", {}), ("health", {}), ("costs", {}), ("models", {})),
            *((f"tables/{output}", {}), (f"tables/{output}/backfill", {})),
            *((f"tables/{output}/board", board), (f"runs/{self.done}", {})),
            *((f"runs/{self.done}/progress", {}), (f"runs/{self.done}/undo", {})),
        ]
        env = {"env": "dev"}
        asked = [(f"/ui/{path}", query) for path, query in pages]
        asked += [("/runs", env), ("/runs", env | {"state": "running"})]
        asked += [("/runs", env | {"sum": "month"}), (f"/runs/{self.done}", env)]
        asked += [(f"/runs/{self.done}/profile", env), ("/model-registry", env)]
        asked += [(f"/models/{model}/drift", env), ("/backfill", self.command.params)]
        answers = [(path, self.lab.here(query, path)) for path, query in asked]
        undo = self.lab.client.post(
            f"/runs/{self.done}/undo", query_string=env | {"why": "x", "dry_run": "true"}
        )
        wrong = [(path, each.status, each.text) for path, each in answers if each.status != 200]
        if undo.status_code != 200:
            wrong.append(("undo", undo.status_code, undo.text))
        return wrong

    def states(self) -> list[str]:
        return self.command.states()

    def start(self) -> Any:
        """Request all runs that are not done, and return the answer."""
        every = {"start": True, "only": "failed,missing,stale,running"}
        return self.lab.client.post("/backfill", json=self.command.params | every)


@pytest.mark.parametrize("sample", [4, pytest.param(None, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_a_damaged_object_of_a_run_breaks_nothing_about_others(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, sample: int | None
) -> None:
    """The plan of a run that works, and a sample of the other objects; all in the long form."""
    lab = Lab(stack)
    world = Neighbours(lab)
    published: list[str] = []
    monkeypatch.setattr(
        "app.api.backfill.publish_requests", lambda each: published.extend(r for _, r in each)
    )
    assert world.states() == ["done", "stale", "running", "empty"]
    assert world.fails() == []
    assert world.start().json["published"] == ["20261102", "20261103"]
    objects = list(world.objects())
    plan = (world.planned, "plan.json")
    if sample is not None:
        others = [each for each in objects if each != plan]
        objects = [plan, *random.Random(0).sample(others, sample)]
    for number, (run_id, name) in enumerate(objects):
        store = lab.store(run_id)
        before = store.read(name)
        for garbage in GARBAGE if sample is None else GARBAGE[number % 2 :][:1]:
            store.blob(name).upload_from_string(garbage)
            assert world.fails() == [], (run_id, name, garbage)
            first, second, third, _ = world.states()
            assert (first, second) == ("done", "stale"), (run_id, name, garbage)
            answer = world.start()
            assert answer.status_code == 202, (run_id, name, answer.text)
            assert "20261102" in answer.json["published"]
            if (run_id, name) == plan:
                entry = answer.json["partitions"][2]
                assert (third, entry["run_id"]) == ("failed", run_id)
                assert "plan.json is damaged" in entry["reason"]
                assert "20261103" not in answer.json["published"]
        if before is None:
            store.forget(name)
        else:
            store.note(name, before)
    assert published


def test_the_board_of_a_table_whose_latest_run_is_damaged_is_of_the_run_before(
    stack: LocalStack,
) -> None:
    lab = Lab(stack)
    world = Neighbours(lab)
    page = f"/ui/tables/{world.command.output}/backfill"
    assert lab.here({}, f"{page}.json").json["run_id"] == world.stale
    lab.store(world.stale).blob("plan.json").upload_from_string(b"{")
    assert lab.here({}, f"{page}.json").json["run_id"] == world.done
    assert lab.here({}, f"{page}.json").json["chosen"]["from"] == DAYS[0]
