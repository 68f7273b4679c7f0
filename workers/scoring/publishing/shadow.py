"""Publish the challenger's rows after the run's own, and report how far the two agree.

The report is made of what this process counted of each part as it was scored, and of the two files
of any other part. So it is that of a join of two separate runs, the same wherever and however often
it is made. It takes the memory of one part, and of the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients, is_passing
from mlsys.errors import RunInterrupted, RunNotFound, TryAgain
from workers.scoring.journal.decisions import Decision, ShadowParts
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.planning.plan import Pair, Plan, Shadow
from workers.scoring.planning.shadow import reason_of
from workers.scoring.publishing.load import load_once, load_times
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.agreement import (
    Agreement,
    Agreements,
    Rows,
    both_scored,
    ids_in_file,
)
from workers.scoring.shards.challenger import over_because, too_many
from workers.scoring.shards.overlap import ahead
from workers.scoring.shards.part import CHUNK_BYTES, Footer, PartDamaged, PartGone
from workers.scoring.shards.stopping import Stop

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BATCH = 65_536  # rows whose ids are in memory at once
WHOLE_BYTES = 8 * 2**20  # of a part that is read by one request


def decide_shadow(
    store: RunStore, plan: Plan, footers: Sequence[Footer], read: int, max_rejects: MaxRejects
) -> ShadowParts | None:
    """Return which of the challenger's files are published; None if the run has no challenger.

    `footers` are those of the run's parts, in their order, which hold `read` rows.
    """
    if plan.shadow is None:
        return None
    if plan.shadow.plan is None:
        return ShadowParts(fault=plan.shadow.fault)
    if (reason := over_because(store)) is not None:
        return ShadowParts(fault=reason)
    names = tuple(footer.shadow for footer in footers if footer.shadow is not None)
    if len(names) < len(footers):
        return ShadowParts(fault="some parts of the run were scored without the challenger")
    rejected = sum(footer.shadow_rejected for footer in footers)
    if rejected > max_rejects.limit(read):
        return ShadowParts(fault=str(too_many(plan.shadow.plan, rejected, max_rejects)))
    return ShadowParts(names, read - rejected, rejected)


def publish_shadow(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    decision: Decision,
    agreements: Agreements,
    stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """Load the challenger's rows, and return its part of the result: the report, or why not.

    Only the files of parts that `agreements` lacks are read.

    Raises:
        TryAgain, RunInterrupted: the next try of the run does it.
    """
    shadow, parts = plan.shadow, decision.shadow
    if shadow is None or parts is None:
        return None
    about: dict[str, Any] = {
        "requested": shadow.requested,
        "model_version": None,
        "model_generation": None,
        "model_alias": None,
        "output_table": None,
        "rows": None,
        "rows_rejected": None,
        "job_id": None,
        "load": None,
        "warnings": [],
        "report": None,
        "reason": parts.fault or None,
    }
    if shadow.plan is not None:
        about |= {
            "model_version": shadow.plan.model.version,
            "model_generation": shadow.plan.model.generation,
            "model_alias": shadow.plan.model.alias,
            "output_table": str(shadow.plan.output.table),
            "warnings": list(shadow.plan.warnings),
        }
    if shadow.plan is None or parts.fault:
        return about
    stop = Stop(stop)
    try:
        uris = [store.uri(name) for name in parts.parts]
        into = shadow.plan.output
        job, _ = load_once(
            *(clients, shadow.plan, into, f"{plan.job_stem}_S", uris, parts.scored, stop)
        )
        about |= {"rows": parts.scored, "rows_rejected": parts.rejected, "job_id": job.job_id}
        about["load"] = load_times("challenger", job)
        return about | {"report": _report(store, plan, shadow, decision, agreements, stop)}
    except Exception as exc:
        lost = isinstance(exc, PartGone | PartDamaged)
        passing = not lost and (isinstance(exc, TryAgain) or is_passing(exc))
        if passing or stop.caused(exc):
            raise
        return about | {"reason": reason_of(exc, plan.run_id)}


def read_shadow_report(clients: Clients, env: str, run_id: str) -> dict[str, Any] | None:
    """Return a run's `shadow`, as its result has it: with `report`, or with the `reason` for none.

    None: the run is not done, or has no challenger.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: its result is damaged.
    """
    store = RunStore(clients, env, check_run_id(run_id))
    result = read_result(store)
    if result is None and store.read("plan.json") is None:
        raise RunNotFound(f"The run {run_id} does not exist in {env}: GET /runs lists runs")
    return None if result is None or result.shadow is None else dict(result.shadow)


def _report(
    store: RunStore,
    plan: Plan,
    shadow: Shadow,
    decision: Decision,
    agreements: Agreements,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    assert decision.shadow is not None
    files = list(zip(decision.parts, decision.shadow.parts, strict=True))
    ids = ids_in_file(plan)

    def read(some: Sequence[tuple[str, str]]) -> Iterator[Rows]:
        for rows in ahead(_rows(store, own, others, shadow.pairs, ids) for own, others in some):
            if stop():
                raise RunInterrupted("The run was stopped while its models were compared")
            yield rows

    total, unknown = Agreement(shadow.pairs, list(ids)), []
    for own, others in files:
        if (known := agreements.of(others)) is not None:
            total.merge(known)
        else:
            unknown.append((own, others))
    for rows in read(unknown):
        total.add(rows)
    return total.report(lambda: read(files))


def _rows(
    store: RunStore, own: str, others: str, pairs: Sequence[Pair], ids: dict[str, str]
) -> Rows:
    """Return the rows of a part that both models have scored."""
    content = _whole(store, own)
    with _opened(store, own, content) as file:
        one = file.read(columns=list(dict.fromkeys(pair.first for pair in pairs)))
    with _opened(store, others, _whole(store, others)) as file:
        two = file.read(columns=list(dict.fromkeys(pair.second for pair in pairs)))
        footer = Footer.of_notes(file.metadata.metadata)

    def ids_at(places: np.ndarray) -> pa.Table:
        with _opened(store, own, content) as file:
            return _take(file, ids, places)

    try:
        return both_scored(one, two, pairs, footer.aside, footer.counts.read, ids_at)
    except ValueError as exc:
        lost = f"{store.uri(others)} does not hold the rows of {store.uri(own)}"
        raise PartDamaged(lost) from exc


def _take(file: Any, ids: dict[str, str], places: np.ndarray) -> pa.Table:
    """Return the ids of the rows at `places`, which are in order."""
    import numpy as np
    import pyarrow as pa

    taken, start = [], 0
    for batch in file.iter_batches(BATCH, columns=list(ids.values())):
        here = places[(places >= start) & (places < start + batch.num_rows)] - start
        start += batch.num_rows
        if len(here):
            taken.append(pa.Table.from_batches([batch]).take(pa.array(here.astype(np.int64))))
    table = pa.concat_tables(taken)
    return pa.table({name: table.column(spelt) for name, spelt in ids.items()})


def _whole(store: RunStore, name: str) -> bytes | None:
    """Return a part's file by one request, or None if it is large, or cannot be read.

    Most parts are small. A column of one alone would need several requests.
    """
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    try:
        content = store.blob(name).download_as_bytes(end=WHOLE_BYTES - 1, timeout=TIMEOUT)
    except (NotFound, RequestRangeNotSatisfiable):
        return None
    return content if len(content) < WHOLE_BYTES else None


@contextmanager
def _opened(store: RunStore, name: str, content: bytes | None) -> Iterator[Any]:
    """Open a part as Parquet; `content` is its file, if that is in memory.

    Raises:
        PartGone, PartDamaged: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    try:
        if content is not None:
            yield pq.ParquetFile(pa.BufferReader(content))
        else:
            with store.blob(name).open("rb", chunk_size=CHUNK_BYTES) as file:
                yield pq.ParquetFile(file)
    except NotFound as exc:
        raise PartGone(f"{store.uri(name)} was deleted") from exc
    except (pa.ArrowException, RequestRangeNotSatisfiable, KeyError) as exc:
        raise PartDamaged(f"{store.uri(name)} is damaged") from exc
