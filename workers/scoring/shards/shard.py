"""Score one stream into one Parquet part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from mlsys.cloud.clients import Clients
from mlsys.errors import RunInterrupted
from workers.scoring.planning.model_pin import read_metadata
from workers.scoring.records import Counts
from workers.scoring.request import MaxRejects
from workers.scoring.shards.fault import check_model_answers
from workers.scoring.shards.overlap import ahead
from workers.scoring.shards.part import PartWriter
from workers.scoring.shards.read_session import Session, batch_rows, read_batches
from workers.scoring.shards.rejects import RejectsTable, score_rows, too_many
from workers.scoring.shards.scorer import Batch, Scorer
from workers.scoring.store import RunStore


def score_shard(
    clients: Clients,
    store: RunStore,
    session: Session,
    shard: int,
    scorer: Scorer,
    max_rejects: MaxRejects,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Counts:
    """Write the part of stream number `shard`, and its rejects if there are any.

    The part appears as a whole, with the last byte of its upload, or not at all. If it
    exists already (a concurrent try was faster), this one is dropped: both hold the same rows. The
    rejects are written before it, so an existing part is complete. Memory is bounded by a few
    batches. `stop` is called between batches.

    Raises:
        RunInterrupted: `stop` returned True; nothing was written.
        PredictionFailed: more rows cannot be scored than the whole run may set aside.
        ModelUnusable: the model answers neither the rows of the first batch nor valid ones.
    """
    import pyarrow as pa

    counts = Counts()
    plan = scorer.plan
    most = batch_rows(plan, scorer.predictor.rows_at_once)

    def batches(stream: str) -> Iterator[Batch]:
        return map(scorer.put, read_batches(clients, stream, most, plan.aliases))

    form = RejectsTable(plan)
    with ExitStack() as writers:
        # Left in reverse order: the part is published after the rejects.
        part = writers.enter_context(
            PartWriter(store.blob(store.part_name(session.number, shard)), scorer.schema)
        )
        rejects: PartWriter | None = None
        name = None
        for stream in session.streams[shard : shard + 1]:  # none: the input is empty
            for batch in ahead(batches(stream)):
                if stop():
                    raise RunInterrupted("The run was stopped between two batches")
                # A streaming buffer's rows are only estimated, so there may be more than planned.
                allowed = max_rejects.limit(max(session.rows, counts.read + batch.table.num_rows))
                scored, bad = score_rows(scorer, batch, allowed - counts.rejected, stop)
                if bad and not scored and not counts.scored:
                    check_model_answers(
                        scorer, batch.table, lambda: read_metadata(clients, plan.model)[0]
                    )
                rejected = counts.rejected + len(bad)
                if rejected > allowed:
                    raise too_many(plan, bad, max_rejects, rejected, session.rows, at_least=True)
                for rows in scored:
                    part.write(rows)
                if bad:
                    if rejects is None:
                        name = store.rejects_name(session.number, shard)
                        rejects = writers.enter_context(PartWriter(store.blob(name), form.schema))
                    rejects.write(form.rows(bad))
                read = batch.table.num_rows
                counts += Counts(read, read - len(bad), len(bad), batch.table.nbytes)
        stream = "".join(session.streams[shard : shard + 1])
        part.note(counts, name, scorer.predictor.path, stream)
    pa.default_memory_pool().release_unused()
    return counts
