"""Work that overlaps logs in the name of the run that it belongs to."""

from collections.abc import Iterator
from typing import Any

from workers import logs
from workers.scoring.shards.overlap import Behind, ahead

RUN = {"run_id": "a-run", "model": "churn/v1"}


def test_what_is_fetched_ahead_logs_with_the_callers_fields() -> None:
    def items() -> Iterator[dict[str, Any]]:
        for _ in range(3):
            yield logs.about()

    with logs.of(RUN):
        assert list(ahead(items())) == [RUN] * 3
    assert list(ahead(items())) == [{}] * 3


def test_work_in_the_background_logs_with_the_callers_fields() -> None:
    behind, seen = Behind(), []
    for fields in (RUN, {"run_id": "another"}, {}):
        with logs.of(fields):
            behind.do(lambda: seen.append(logs.about()))
    behind.wait()
    behind.close()
    assert seen == [RUN, {"run_id": "another"}, {}]
