"""Publish the challenger's rows after the run's own, and report how far the two agree.

The report is made of the two files of each part, so it is that of a join of two separate runs. It
takes the memory of one part, and is the same wherever and however often it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients, is_passing
from mlsys.columns.names import fold
from mlsys.errors import RunInterrupted, RunNotFound, TryAgain
from workers.scoring.planning.plan import Plan, Shadow
from workers.scoring.planning.shadow import reason_of
from workers.scoring.publishing.agreement import Rows, compare
from workers.scoring.publishing.load import load_once
from workers.scoring.records import Decision, ShadowParts, read_result
from workers.scoring.request import MaxRejects, check_run_id
from workers.scoring.shards.challenger import over_because, too_many
from workers.scoring.shards.overlap import ahead
from workers.scoring.shards.part import CHUNK_BYTES, Footer, PartDamaged, PartGone
from workers.scoring.shards.stopping import Stop
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_IDS = 20  # id columns of a row that is named
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
    clients: Clients, store: RunStore, plan: Plan, decision: Decision, stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """Load the challenger's rows, and return its part of the result: the report, or why not.

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
        return about | {"report": _report(store, plan, shadow, decision, stop)}
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
    stop: Callable[[], bool],
) -> dict[str, Any]:
    assert decision.shadow is not None
    pairs = list(zip(decision.parts, decision.shadow.parts, strict=True))
    ids = _ids_in_file(plan)
    first = [pair.first for pair in shadow.pairs]
    second = [pair.second for pair in shadow.pairs]

    def parts() -> Iterator[Rows]:
        def read() -> Iterator[Rows]:
            for own, others in pairs:
                yield _rows(store, own, others, first, second, ids)

        for rows in ahead(read()):
            if stop():
                raise RunInterrupted("The run was stopped while its models were compared")
            yield rows

    return compare(shadow.pairs, list(ids), parts)


def _rows(
    store: RunStore,
    own: str,
    others: str,
    first: Sequence[str],
    second: Sequence[str],
    ids: dict[str, str],
) -> Rows:
    """Return the rows of a part that both models have scored."""
    import numpy as np

    content = _whole(store, own)
    with _opened(store, own, content) as file:
        one = file.read(columns=list(dict.fromkeys(first)))
    with _opened(store, others, _whole(store, others)) as file:
        two = file.read(columns=list(dict.fromkeys(second)))
        footer = Footer.of_notes(file.metadata.metadata)
    kept = []
    for aside in footer.aside:
        keep = np.ones(footer.counts.read, bool)
        keep[list(aside)] = False
        kept.append(keep)
    both = kept[0] & kept[1]
    if (one.num_rows, two.num_rows) != (int(kept[0].sum()), int(kept[1].sum())):
        raise PartDamaged(f"{store.uri(others)} does not hold the rows of {store.uri(own)}")
    mine, theirs = both[kept[0]], both[kept[1]]

    def ids_at(mask: np.ndarray) -> pa.Table:
        places = np.flatnonzero(mine)[mask]
        with _opened(store, own, content) as file:
            return _take(file, ids, places)

    return Rows(_where(one, first, mine), _where(two, second, theirs), int(both.sum()), ids_at)


def _where(table: pa.Table, names: Sequence[str], mask: np.ndarray) -> list[pa.ChunkedArray]:
    import pyarrow as pa

    columns = [table.column(name) for name in names]
    return columns if mask.all() else [c.filter(pa.array(mask)) for c in columns]


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


def _ids_in_file(plan: Plan) -> dict[str, str]:
    """Return the id columns as the files of the parts spell them."""
    spelt = {fold(c.name): c.name for c in plan.output.columns}
    return {c.name: spelt[fold(c.name)] for c in plan.ids[:MAX_IDS]}
