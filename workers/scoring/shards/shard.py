"""Score a stream into Parquet parts, from an offset to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.columns.bins import Counts as ColumnCounts
from mlsys.errors import RunInterrupted
from workers.monitoring.contract import ContractCounts
from workers.monitoring.counting import Tally, count_features, with_codes
from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.model_pin import read_metadata
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.chain import Chain, read_chain
from workers.scoring.shards.challenger import Challenger
from workers.scoring.shards.contract import Checked, InputCheck
from workers.scoring.shards.fault import check_model_answers
from workers.scoring.shards.overlap import ahead
from workers.scoring.shards.part import Footer, PartWriter
from workers.scoring.shards.read_rows import batch_rows, read_batches
from workers.scoring.shards.rejects import EXAMPLES, RejectsTable, score_rows, too_many
from workers.scoring.shards.scorer import Batch, Scorer
from workers.scoring.shards.session import Session
from workers.scoring.shards.shadow_part import ShadowPart

if TYPE_CHECKING:
    import pyarrow as pa

LOOK_EVERY = 4  # parts, after which the parts of concurrent tries are looked up and skipped
# A slow model's part is closed earlier, so that a push of ten minutes leaves parts behind.
PART_SECONDS = 120.0


def score_shard(
    clients: Clients,
    store: RunStore,
    session: Session,
    chain: Chain,
    scorer: Scorer,
    max_rejects: MaxRejects,
    challenger: Challenger | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_part: Callable[[Footer], None] = lambda _: None,
) -> Counts:
    """Score the rows that no part of `chain`'s stream has; return the counts of the new parts.

    Each part appears as a whole, with the last byte of its upload, or not at all. If it exists
    already (a concurrent try was faster), this one is dropped: both begin at the same row, and
    the work continues where the existing one ends. The rejects are written before it, so an
    existing part is complete. Memory is bounded by a few batches. `stop` is called between
    batches, `on_part` after each part. The `challenger` scores the same rows into files of its own.

    Raises:
        RunInterrupted: `stop` returned True; the part at work was not written.
        PredictionFailed: more rows cannot be scored than the whole run may set aside.
        ModelUnusable: the model answers neither the rows of the first batch nor valid ones.
        PartDamaged: a part that exists cannot be read.
    """
    challenger = challenger or Challenger(clients, store, scorer.plan, session, max_rejects)
    challenger.look()
    work = _Work(clients, store, session, scorer, max_rejects, challenger, stop)
    counts = Counts()
    while not chain.complete:
        reader = _Reader(clients, session, chain, scorer)
        with reader:
            chain, counts = _score_parts(work, reader, chain, counts, on_part)
    return counts


@dataclass(frozen=True, slots=True)
class _Work:
    """What the scoring of each part needs."""

    clients: Clients
    store: RunStore
    session: Session
    scorer: Scorer
    max_rejects: MaxRejects
    challenger: Challenger
    stop: Callable[[], bool]


def _score_parts(
    work: _Work,
    reader: _Reader,
    chain: Chain,
    counts: Counts,
    on_part: Callable[[Footer], None],
) -> tuple[Chain, Counts]:
    """Score parts until the stream ends, or until parts exist that the reader must skip."""
    parts = 0
    while True:
        footer, taken = _score_part(work, reader, chain, counts)
        counts += footer.counts
        parts += 1
        on_part(footer)
        chain = chain.with_part(footer)
        if taken or chain.end in chain.later or parts % LOOK_EVERY == 0:
            beyond = None if taken else chain.end
            looked_up = read_chain(work.store, work.session, chain.shard, beyond)
            if looked_up is not None and (looked_up.end != chain.end or looked_up.complete):
                return looked_up, counts
        if chain.complete:
            return chain, counts


def _score_part(work: _Work, reader: _Reader, chain: Chain, before: Counts) -> tuple[Footer, bool]:
    """Write one part, and its rejects if there are any; return whether it existed already."""
    import pyarrow as pa

    session, scorer, store = work.session, work.scorer, work.store
    plan, shard, offset = scorer.plan, chain.shard, chain.end
    form = RejectsTable(plan)
    began = time.monotonic()
    counts, name, tally, clauses = Counts(), "", Tally(plan.reference), ContractCounts()
    with ExitStack() as writers:
        # Left in reverse order: the part is published after the rejects and the challenger's rows.
        part = writers.enter_context(
            PartWriter(store.blob(store.part_name(session.number, shard, offset)), scorer.schema)
        )
        shadow = writers.enter_context(ShadowPart(work.challenger, store, session, shard, offset))
        rejects: PartWriter | None = None
        while (batch := reader.batch) is not None:
            if work.stop():
                raise RunInterrupted("The run was stopped between two batches")
            # A streaming buffer's rows are only estimated, so there may be more than planned.
            read, checked = reader.rows.num_rows, reader.checked
            allowed = work.max_rejects.limit(max(session.rows, before.read + counts.read + read))
            rejected = before.rejected + counts.rejected
            refused = checked.rejects(reader.rows, max(allowed - rejected, EXAMPLES) + 1)
            room = allowed - rejected - len(refused)
            if room < 0:
                raise too_many(
                    *(plan, refused, work.max_rejects, rejected + len(refused), session.rows),
                    at_least=True,
                )
            scored, bad = score_rows(scorer, batch, room, work.stop)
            if bad and not scored and not before.scored + counts.scored:
                check_model_answers(
                    scorer, batch.table, lambda: read_metadata(work.clients, plan.model)[0]
                )
            bad = checked.merged(refused, bad)
            rejected += len(bad)
            if rejected > allowed:
                raise too_many(plan, bad, work.max_rejects, rejected, session.rows, at_least=True)
            tally.add(reader.features, scored)
            for table in scored:
                part.write(table)
            if bad:
                if rejects is None:
                    name = store.rejects_name(session.number, shard, offset)
                    rejects = writers.enter_context(PartWriter(store.blob(name), form.schema))
                rejects.write(form.rows(bad))
            counts += Counts(read, read - len(bad), len(bad), reader.rows.nbytes)
            clauses += checked.counts
            shadow.add(reader.rows, scored, [reject.place for reject in bad], work.stop)
            del batch
            reader.advance()  # the next batch tells whether this one was the last
            is_full = (offset + counts.read) % session.part_rows == 0
            seconds = time.monotonic() - began
            late = seconds > PART_SECONDS and (shadow.is_at_cut or seconds > 2 * PART_SECONDS)
            if is_full or late:
                break
        last = reader.batch is None
        stream = session.stream(shard)
        shadow_name = shadow.finish(last, work.stop)
        path = scorer.predictor.path
        footer = Footer(
            *(counts, name or None, path, stream, offset, last),
            shadow=shadow_name,
            shadow_rejected=shadow.rejected,
            profile=tally.text(),
            contract=None if plan.contract is None else clauses.explained(),
        )
        part.note(footer)
    pa.default_memory_pool().release_unused()
    return footer, part.taken


class _Reader:
    """The batches of a stream from an offset on; `batch` is the current one.

    `rows` are its rows with all columns that were read, also those for the challenger and the
    contract; `features` are the counts of the columns that the run watches, and `checked` is what
    the contract says of the rows: `batch` has only those that are kept.
    """

    def __init__(self, clients: Clients, session: Session, chain: Chain, scorer: Scorer) -> None:
        plan = scorer.plan
        self._over = False
        most = batch_rows(plan, scorer.predictor.rows_at_once)

        own = plan.own_columns if len(plan.own_columns) < len(plan.read_columns) else None
        contract = InputCheck(plan)

        def batches() -> Iterator[tuple[Batch, pa.Table, list[ColumnCounts], Checked]]:
            if not session.streams:  # the input is empty
                return
            for table in read_batches(clients, session, chain.shard, chain.end, most, plan.aliases):
                if self._over:
                    return
                rows = with_codes(plan.reference, table)
                features = count_features(plan.reference, rows)
                checked = contract.check(table, features)
                kept = checked.kept(rows if own is None else rows.select(own))
                batch = scorer.put(kept) if kept.num_rows else Batch(kept)
                yield batch, table, features, checked

        self._batches = ahead(batches())
        self.batch: Batch | None = None
        self.rows: pa.Table = None
        self.features: list[ColumnCounts] = []
        self.checked = Checked()

    def __enter__(self) -> _Reader:
        self.advance()
        return self

    def advance(self) -> None:
        """Let `batch` be the next one, or None at the end of the stream."""
        self.batch = self.rows = None
        nothing: tuple[None, None, list[ColumnCounts], Checked] = (None, None, [], Checked())
        self.batch, self.rows, self.features, self.checked = next(self._batches, nothing)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release what was read ahead, if the rows are skipped."""
        self._over = True
        while kind is None and self.batch is not None:
            if self.batch.slot is not None:
                self.batch.slot.release()
            self.advance()
        self.batch = self.rows = None
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()
