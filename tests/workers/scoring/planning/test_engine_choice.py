"""Which engine a run gets, and which it may not ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.api.predict_queries import PredictQuery
from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.settings import Settings
from workers.scoring.planning.engine_choice import JOB_ROWS, choose, too_slow
from workers.scoring.request.parsed import ScoringRequest
from workers.scoring.shards.chain import Share
from workers.scoring.shards.read_session import MAX_STREAMS, streams_to_request

HERE = Settings("my-project", envs=("dev",))
WITH_JOB = replace(HERE, job="mlsys-score-dev")


@pytest.mark.parametrize(
    ("settings", "asked", "rows", "engine", "why"),
    [
        (HERE, "auto", JOB_ROWS, "service", "no job is configured"),
        (WITH_JOB, "auto", JOB_ROWS, "job", "100,000,000 or more"),
        (WITH_JOB, "auto", JOB_ROWS - 1, "service", "about 99,999,999 rows"),
        (WITH_JOB, "auto", None, "service", "not known"),
        (WITH_JOB, "service", JOB_ROWS, "service", "the request asks"),
        (WITH_JOB, "job", 1, "job", "the request asks"),
    ],
)
def test_the_engine_follows_from_request_settings_and_rows(
    settings: Settings, asked: str, rows: int | None, engine: str, why: str
) -> None:
    chosen = choose(settings, asked, rows)
    assert chosen.name == engine
    assert why in chosen.reason


def test_a_job_where_none_is_configured_is_refused_with_what_to_set() -> None:
    query = PredictQuery.model_validate(
        {
            "env": "dev",
            "input_table": "my-project.d.t",
            "output_table": "my-project.d.o",
            "model_name": "m",
            "model_version": "v1",
            "engine": "job",
        }
    )
    with pytest.raises(InvalidRequest, match="Set MLSYS_JOB"):
        query.to_request(HERE)
    assert query.to_request(WITH_JOB).engine == "job"


def test_the_engine_is_no_part_of_a_runs_identity_and_of_its_message() -> None:
    table, into = TableRef("p", "d", "t"), TableRef("p", "d", "o")
    request = ScoringRequest("dev", table, into, "m", "v1", engine="job")
    assert request.identity() == replace(request, engine="auto").identity()
    assert request.to_dict()["engine"] == "job"  # what is published again asks for the same
    assert "engine" not in replace(request, engine="auto").to_dict()


@pytest.mark.parametrize(
    ("rate", "left", "slow"), [(1000, 3_600_000, False), (999, 3_600_000, True)]
)
def test_a_pace_that_needs_more_than_an_hour_is_too_slow(
    rate: float, left: int, slow: bool
) -> None:
    assert (too_slow(rate, left) is not None) == slow


def test_every_stream_is_exactly_one_tasks() -> None:
    for count in (1, 2, 3, 7, 64):
        shares = [Share(index, count) for index in range(count)]
        for stream in range(130):
            assert sum(share.has(stream) for share in shares) == 1


def test_the_streams_asked_for_follow_from_the_cores_of_all_tasks() -> None:
    assert streams_to_request(1_000_000_000, 8) == (8, 32)
    assert streams_to_request(1_000_000_000, 400) == (400, MAX_STREAMS)
    assert streams_to_request(100_000, 400) == (2, 2)
