"""What a run cost that several tasks have scored: the sum of what each of them has noted."""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from kill_cases import BAD, OUTPUTS, ROWS, SCORED, Bench, open_bench, read_in_small_parts
from mlsys.local.stack import LocalStack
from scoring_cases import unique
from workers import machine
from workers.scoring.engines import task
from workers.scoring.journal import queries
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.chain import Share

pytestmark = pytest.mark.slow

EACH = 10**6  # that a query is charged for: the local BigQuery says nothing of it
COSTS = ("bytes_billed", "estimated_cost", "vcpu_seconds")


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def two_tasks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_small_parts(bench, monkeypatch)


def params(bench: Bench, table: str, **more: Any) -> dict[str, str]:
    options = {"outputs": ",".join(OUTPUTS), "max_rejects": len(BAD), "run_id": unique("costs")}
    return bench.lab.params(table, bench.name, **options | more)


def check_ledger(bench: Bench, result: dict[str, Any], read: int, queried: int) -> None:
    """Check the costs of a run's result, and that its row in the ledger has the same."""
    assert result["bytes_billed"] == read + queried
    price = (read * 1.10 + queried * 6.25) / 2**40
    assert result["estimated_cost"] == pytest.approx(price, abs=1e-9)
    runs = bench.lab.here({"env": "dev", "model_name": bench.name}, "/runs").json["runs"]
    [row] = [row for row in runs if row["run_id"] == result["run_id"]]
    assert {name: row[name] for name in COSTS} == {name: result[name] for name in COSTS}


class Tries:
    """The tries of a run, by its objects: when each began and was written last."""

    def __init__(self, bench: Bench, run_id: str) -> None:
        store = bench.lab.store(run_id)
        written = store.created()
        names = sorted(name for name in written if name.startswith("attempts/"))
        self.documents = [store.read(name) or {} for name in names]
        self.began = [dt.datetime.fromisoformat(each["at"]) for each in self.documents]
        self.ended = [written[name] for name in names]
        self.read = (store.read("session-0.json") or {})["bytes"]
        self.noted = [name for name in written if name.startswith("queries/")]
        self.result_at = written["result.json"]
        self.parts = sorted(at for name, at in written.items() if name.startswith("parts/0/00001"))

    def seconds(self, number: int, until: dt.datetime) -> float:
        return (until - self.began[number]).total_seconds()


def test_a_job_of_two_tasks_costs_what_both_have_cost(bench: Bench, stack: LocalStack) -> None:
    result = bench.lab.here(params(bench, bench.table, engine="job")).done()
    assert (result["engine"], result["rows"], result["streams"]) == ("job", SCORED, 2)
    tries = Tries(bench, result["run_id"])
    assert len(tries.documents) == 2
    check_ledger(bench, result, tries.read, 0)
    # The task that publishes counts itself until its result, and the other until its end.
    ends = [
        tries.result_at if each.get("end") != "waiting" else ended
        for each, ended in zip(tries.documents, tries.ended, strict=True)
    ]
    seconds = sum(tries.seconds(number, end) for number, end in enumerate(ends))
    assert result["vcpu_seconds"] == pytest.approx(seconds * machine.cores(), abs=0.5)


def test_a_task_that_is_killed_and_repeated_costs_both_of_its_tries(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "billed_for", lambda *_: EACH)
    lab, table = bench.lab, bench.lab.put(bench.frame)
    request = params(bench, table, incremental="id")
    prepared = prepare(lab.clients, lab.request(request), request["run_id"])
    prepared.close()
    # The tasks of this process and the one that is killed share their read session.
    store = RunStore(bench.rules.clients, "dev", request["run_id"])
    assert len(lab.objects(f"{store.run_id}/queries/")) == 1  # the planner's count of new rows
    # The read session sends one row more than the plan has counted, so each task counts again that
    # finds all parts. The local BigQuery reads a table as it is now.
    lab.put(bench.frame.head(1).assign(id=-1), table)

    at = {"signal": int(signal.SIGKILL), "moment": "before", "name": "POST publish.json"}
    killed = bench.start(
        request["output_table"],
        at=at | {"number": 1},
        table=table,
        share=(1, 2),
        run_id=store.run_id,
    )
    killed.until("before", "PUT part")
    killed.signal(signal.SIGSTOP)
    assert task.work(store, Share(0, 2), MaxRejects(3), lambda: False) == task.DONE
    killed.signal(signal.SIGCONT)
    assert killed.end().kind == "killed"
    assert read_result(store) is None
    assert task.work(store, Share(1, 2), MaxRejects(3), lambda: False) == task.DONE
    result = lab.here({"env": "dev"}, f"/runs/{store.run_id}").json["result"]
    assert (result["rows_read"], result["engine"]) == (ROWS + 1, "job")

    tries = Tries(bench, store.run_id)
    assert len(tries.noted) == 3  # the planner's, and one by each try of the second task
    check_ledger(bench, result, tries.read, 3 * EACH)
    assert [each.get("end") for each in tries.documents] == [None, "waiting", "done"]
    ends = (tries.parts[-1], tries.ended[1], tries.result_at)  # its second try writes no part
    parts = [tries.seconds(number, end) for number, end in enumerate(ends)]
    assert parts[0] > parts[1] > 0.2  # they worked at the same time, the killed one for longer
    assert result["vcpu_seconds"] == pytest.approx(sum(parts) * machine.cores(), abs=0.2)
