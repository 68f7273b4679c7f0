"""Score the rows of a run by a second version of its model, whose failures end only itself.

The challenger gets every row that is read, also those that the run's model cannot score, in the
batches that a run of its own would cut: the last bits of a prediction can depend on the batch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients, is_passing
from mlsys.errors import ModelUnusable, RunInterrupted, TooManyRuns, TryAgain
from mlsys.plural import plural
from workers import admission
from workers.sandbox.client import SandboxedModel
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.shadow import load_challenger, reason_of
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.rejects import Reject, plain, score_rows
from workers.scoring.shards.scorer import Batch, Scorer
from workers.scoring.shards.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

OVER = "shadow-over.json"


class Challenger:
    """The challenger of a run in one scoring process. A run without one has one that is over."""

    def __init__(
        self,
        clients: Clients,
        store: RunStore,
        plan: Plan,
        session: Session,
        max_rejects: MaxRejects,
        model: SandboxedModel | None = None,
    ) -> None:
        """`model` is the challenger's, if it is loaded already."""
        self._clients, self._store, self._session = clients, store, session
        self._max_rejects, self._model = max_rejects, model
        self._scorer: Scorer | None = None
        self._read = self._rejected = 0
        self.run = plan
        self.plan = plan.shadow.plan if plan.shadow is not None else None
        self.over = self.plan is None
        self.agreements = Agreements()  # of the parts since they were taken

    def look(self) -> None:
        """Learn whether another process of the run has given the challenger up."""
        if not self.over and over_because(self._store) is not None:
            self._end()

    def take_agreements(self) -> Agreements:
        """Return the agreements of the parts since the last call."""
        taken, self.agreements = self.agreements, Agreements()
        return taken

    def close(self) -> None:
        """End the sandbox."""
        for model in (self._scorer, self._model):
            if model is not None:
                model.close()
        self._scorer = self._model = None

    def scorer(self) -> Scorer:
        """Return what scores the rows; the first call loads the model."""
        if self._scorer is None:
            assert self.plan is not None
            model, self._model = self._model, None
            try:
                self._scorer = Scorer(self.plan, self._load, model)
            except TryAgain as exc:
                if isinstance(exc, TooManyRuns):
                    raise
                self._scorer = Scorer(self.plan, self._load)
        return self._scorer

    def score(
        self, rows: pa.Table, stop: Callable[[], bool]
    ) -> tuple[list[pa.Table], list[Reject]]:
        """Return the challenger's rows for `rows`, and those that it cannot score.

        Raises:
            ModelUnusable: they are more than the run may set aside.
        """
        self._read += rows.num_rows
        allowed = self._max_rejects.limit(max(self._session.rows, self._read))
        room = allowed - self._rejected
        try:
            scored, bad = score_rows(self.scorer(), Batch(rows), room, stop)
        except RunInterrupted:
            raise
        except TryAgain:  # its sandbox was ended from outside, or the machine lacked memory
            self.scorer().reopen()
            scored, bad = score_rows(self.scorer(), Batch(rows), room, stop)
        self._rejected += len(bad)
        if self._rejected > allowed:
            assert self.plan is not None
            raise too_many(self.plan, self._rejected, self._max_rejects, bad[0])
        return scored, bad

    def _load(self) -> SandboxedModel:
        return load_challenger(self._clients, self.run)

    def give_up(self, exc: Exception) -> None:
        """Let the run go on without its challenger, for all its processes.

        Raises:
            Exception: `exc` itself, if it is not about the challenger or may pass.
        """
        if isinstance(exc, TooManyRuns) or is_passing(exc):
            raise exc
        reason = reason_of(exc, self.run.run_id)
        now = dt.datetime.now(dt.UTC).isoformat()
        self._store.create(OVER, {"reason": reason, "at": now})
        self._end()

    def _end(self) -> None:
        self.over = True
        self.close()
        with admission.second_model():
            admission.let_go()


def over_because(store: RunStore) -> str | None:
    """Return why the challenger was given up, or None if it was not."""
    over = store.read(OVER)
    return None if over is None else str(over.get("reason", "it failed"))


def too_many(
    plan: Plan, bad: int, allowed: MaxRejects, example: Reject | None = None
) -> ModelUnusable:
    """Return the error of a challenger that cannot score `bad` rows, more than `allowed`."""
    first = ""
    if example is not None:
        ids = [f"{c.name}={plain(example.row[c.name])!r}" for c in plan.ids[:3]]
        where = f" has {', '.join(ids)}" if ids else ""
        first = f" The first one{where}: {example.reason}"
    return ModelUnusable(
        f"{plan.model.version} cannot score {plural(bad, 'row')} at least, and max_rejects is "
        f"{allowed}.{first}"
    )
