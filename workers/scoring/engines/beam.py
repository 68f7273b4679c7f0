"""Score a planned run by an Apache Beam pipeline, where Dataflow, Flink or Spark is at hand.

    python -m workers.scoring.engines.beam RUN_ID --env dev --runner=DataflowRunner ...

Other options are Beam's. It writes the same parts as any caller, so what Beam delivers twice or in
another order costs work alone. `make beam` installs it.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial

from mlsys.cloud.clients import clients_for, is_passing
from mlsys.errors import MlsysError, RunNotFound, SessionOver, TryAgain
from mlsys.settings import Settings
from workers.monitoring.contract import ENFORCE, MODES
from workers.scoring.engines.run import execute, finish_before
from workers.scoring.engines.task import require_walls
from workers.scoring.journal.decisions import read_decision
from workers.scoring.journal.outcomes import Engine, Failure, read_failure, read_result
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.plan import read_plan
from workers.scoring.publishing.cancellation import check_not_cancelled
from workers.scoring.publishing.unpublished import record_failure
from workers.scoring.request.parsed import MaxRejects, read_max_drift
from workers.scoring.shards.chain import Share, read_chain
from workers.scoring.shards.part import PartDamaged
from workers.scoring.shards.pool import Scoring, score_in_process
from workers.scoring.shards.read_session import current_session
from workers.scoring.shards.remote_error import RemoteError
from workers.scoring.shards.unscored import give_up_for

_require_walls = cache(require_walls)  # once a process
_one_stream = threading.Lock()  # a process has one model


def main(arguments: Sequence[str]) -> None:
    """Score the run; exit with 1 and a text if it failed, or is to be repeated."""
    parser = argparse.ArgumentParser(prog="python -m workers.scoring.engines.beam")
    parser.add_argument("run_id", type=check_run_id)
    parser.add_argument("--env", required=True)
    parser.add_argument("--max-rejects", type=MaxRejects.parse, default=MaxRejects())
    parser.add_argument("--max-drift", type=read_max_drift)
    parser.add_argument("--contract", choices=MODES, default=ENFORCE)
    parser.add_argument("--cores", type=int, help="of all workers; default: of this machine")
    options, of_beam = parser.parse_known_args(arguments)
    settings = Settings.from_env()
    store = RunStore(clients_for(settings), settings.require_env(options.env), options.run_id)
    try:
        failure: Failure | None = None
        if (result := read_result(store)) is None:
            scoring = prepare(settings, store, options.max_rejects, options.cores)
            scoring = replace(scoring, max_drift=options.max_drift, contract=options.contract)
            score(scoring, range(scoring.session.shards), of_beam)
            check_not_cancelled(store, scoring.plan)
            result, failure = read_result(store), _failure(scoring)
    except MlsysError as exc:
        sys.exit(str(exc))
    if result is None:
        sys.exit(failure.detail if failure else "The run has no result. Repeat the command.")
    print(f"{store.run_id}: {result.rows:,} rows in {result.output_table}")


def prepare(
    settings: Settings, store: RunStore, max_rejects: MaxRejects, cores: int | None = None
) -> Scoring:
    """Return what the workers of `cores` cores need to know of a planned run; open its session."""
    if (plan := read_plan(store)) is None:
        raise RunNotFound(f"{store.run_id} is not a run. Plan one by /predict with wait=false.")
    check_not_cancelled(store, plan)
    finish_before(store.clients, store, plan)
    session = current_session(store.clients, store, plan, cores=cores)
    store.forget(Failure.NAME)  # of an earlier try
    return Scoring(settings, store.env, plan, session, max_rejects)


def score(scoring: Scoring, streams: Iterable[int], options: Sequence[str]) -> None:
    """Run the pipeline over the streams; `options` are Beam's."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        (
            pipeline
            | "streams" >> beam.Create(list(streams))
            | beam.Reshuffle()
            | "score" >> beam.Map(partial(score_stream, scoring))
            | beam.combiners.Count.Globally()
            | "publish" >> beam.Map(partial(publish, scoring))
        )


def score_stream(scoring: Scoring, stream: int) -> int:
    """Write the parts that a stream lacks, unless the run has failed, and return its number.

    Raises:
        Exception: a fault that may pass; Beam delivers the stream again.
    """
    store = _store(scoring)
    try:
        with _one_stream:
            chain = read_chain(store, scoring.session, stream)
            if chain is None or chain.complete or _failure(scoring) or read_decision(store):
                return stream
            scored = score_in_process(scoring, chain)
        if isinstance(scored, RemoteError):
            raise scored.error()
    except Exception as exc:
        if isinstance(exc, PartDamaged | SessionOver):
            give_up_for(exc, store, scoring.session)
        if isinstance(exc, TryAgain) or is_passing(exc):
            raise
        record_failure(store.clients, _prepared(scoring), exc)
    return stream


def publish(scoring: Scoring, streams: int) -> None:
    """Decide, publish and record, once all streams were delivered.

    Raises:
        Exception: a fault that may pass; Beam delivers it again.
    """
    if _failure(scoring) is not None:
        return
    number, engine = scoring.session.shards, Engine("beam", "an Apache Beam pipeline")
    share = Share(number, number)  # of no stream
    prepared = _prepared(scoring)
    try:
        execute(prepared.store.clients, prepared, share=share, engine=engine)
    except MlsysError as exc:
        if isinstance(exc, TryAgain):  # else `execute` has recorded it
            raise


def _prepared(scoring: Scoring) -> Prepared:
    return Prepared(
        *(_store(scoring), scoring.plan, scoring.max_rejects),
        max_drift=scoring.max_drift,
        contract=scoring.contract,
    )


def _failure(scoring: Scoring) -> Failure | None:
    """Return why the pipeline failed; not why a request that tolerates less did."""
    prepared = _prepared(scoring)
    failure = read_failure(prepared.store)
    return failure if failure and failure.counts_for(prepared.tolerance) else None


def _store(scoring: Scoring) -> RunStore:
    _require_walls(scoring.settings)
    return RunStore(clients_for(scoring.settings), scoring.env, scoring.plan.run_id)


if __name__ == "__main__":
    # Beam sends functions of an imported module by name, those of `__main__` with all they use.
    from workers.scoring.engines import beam as imported

    imported.main(sys.argv[1:])
