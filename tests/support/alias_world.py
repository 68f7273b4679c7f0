"""An alias in a bucket, its movers, its events and their handlers, and what must hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mlsys.artifact.refs import AliasRef
from mlsys.errors import AliasNotFound, Conflict, TryAgain
from turns import Turn, current_turn
from warehouse import Blob, Warehouse
from workers.registry.alias_sync import converge_alias, rescan_aliases
from workers.registry.move import MoveRequest, move_alias

HANDLERS = 4  # and movers, at a time
REF = AliasRef("m", "champion")
VERSIONS = ("v1", "v2", "v3")
CLAIM = "forger@example.com"  # whom dropped files name


class Mismatch(AssertionError):
    """The log differs from what happened to the bucket."""


@dataclass(eq=False)
class Event:
    """A notification of the alias's object."""

    state: str = "waiting"  # delivered, acknowledged, lost


@dataclass(eq=False)
class Worker:
    """A turn that moves the alias, handles an event, or rescans."""

    turn: Turn
    event: Event | None = None
    request: MoveRequest | None = None
    answer: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Wrote:
    """What truly happened: a generation was written, or deleted."""

    generation: int
    version: str | None
    who: str | None  # None: a dropped file, or a deletion by hand
    deleted: bool


class AliasWorld:
    """The whole state; the machine's rules are steps of it."""

    def __init__(self) -> None:
        self.cloud = Warehouse()
        self.events: list[Event] = []
        self.workers: list[Worker] = []
        self.history: list[Wrote] = []
        self.rescan_owed = False
        self.requests = 0
        self.moved: list[MoveRequest] = []  # answered with success
        self.refused: list[MoveRequest] = []
        self.owners: dict[Turn, MoveRequest] = {}
        for version in VERSIONS:
            self.cloud.bucket.put(f"m/{version}/model.pkl")
        self.cloud.bucket.written = self._written
        self.cloud.bucket.deleted = self._deleted

    # The bucket

    def drop(self, kind: int, pick: int) -> None:
        """Put a file into the bucket past the service."""
        claims = {"who": CLAIM, "evidence": {"a": 1}, "why": "claimed"}
        version = VERSIONS[pick % len(VERSIONS)]
        contents: list[Any] = [
            {"version": version} | claims,
            {"version": version, "move": f"{'0' * 32}.{'0' * 32}", "replaced": 7} | claims,
            {"version": "latest"},
            {"version": None} | claims,
        ]
        past = self.cloud.bucket.past.get(REF.path, [])
        if kind >= len(contents) and past:  # a copy of an earlier one, the service's perhaps
            self.cloud.bucket.put(REF.path, content=past[pick % len(past)].content)
        else:
            content = json.dumps(contents[kind % len(contents)]).encode()
            self.cloud.bucket.put(REF.path, lower=pick % 3 == 0, content=content)

    def delete(self) -> None:
        if REF.path in self.cloud.bucket.objects:
            self.cloud.bucket.delete(REF.path)

    def _written(self, new: Blob, old: Blob | None) -> None:
        if new.name != REF.path:
            return
        turn = current_turn()
        request = self.owners.get(turn) if turn else None
        try:
            version = json.loads(new.content)["version"]
        except (ValueError, KeyError):
            version = None
        deleted = version is None
        if version not in (*VERSIONS, None):
            version = None
        assert new.generation is not None
        self.history.append(
            Wrote(new.generation, version, request.who if request else None, deleted)
        )
        self.events += [Event() for _ in range(2 if old else 1)]

    def _deleted(self, old: Blob) -> None:
        assert old.generation is not None
        self.events.append(Event())
        if not self._of(old.generation).deleted:  # the object of a removed alias ends nothing
            self.history.append(Wrote(old.generation, None, None, True))

    def _of(self, generation: int) -> Wrote:
        return next(each for each in self.history if each.generation == generation)

    # Workers

    def start_move(
        self,
        version: str | None,
        expected: str | None,
        *,
        lost: bool = False,
        again: MoveRequest | None = None,
    ) -> Worker:
        """Begin a move; `lost`: the answer to its write gets lost, and the client repeats it."""
        self.requests += 0 if again else 1
        request = again or MoveRequest(
            REF,
            version,
            who=f"mover-{self.requests}@example.com",
            request_id=f"{self.requests:032x}",
            expected=expected,
            why=f"reason {self.requests}",
        )
        answer: list[Any] = []

        def work() -> None:
            answer.append(move_alias(self.cloud, "dev", request))

        worker = Worker(Turn(work), request=request, answer=answer)
        self.owners[worker.turn] = request
        self.workers.append(worker)
        if lost:
            self.run(worker, "upload")  # the record's
            self.run(worker, "uploaded")
            if not worker.turn.ended:
                self.step(worker)
                self.run(worker, "upload")
                if not worker.turn.ended:
                    self.cloud.bucket.lost_answers = 1
                    self.step(worker, 2)
                    self.cloud.bucket.lost_answers = 0
        return worker

    def waiting(self) -> list[Event]:
        return [event for event in self.events if event.state == "waiting"]

    def deliver(self, event: Event) -> Worker:
        self.end_orphans()  # as in `registry_world`
        event.state = "delivered"

        def work() -> None:
            converge_alias(self.cloud, "dev", REF)
            event.state = "acknowledged"

        return self._begin(Worker(Turn(work), event))

    def start_rescan(self) -> Worker:
        self.end_orphans()  # of a rescan that died: `test_registry_gaps`
        self.rescan_owed = False
        return self._begin(Worker(Turn(lambda: rescan_aliases(self.cloud, "dev") and None)))

    def _begin(self, worker: Worker) -> Worker:
        self.workers.append(worker)
        return worker

    def lose(self, event: Event) -> None:
        event.state = "lost"
        self.rescan_owed = True

    def step(self, worker: Worker, times: int = 1) -> None:
        for _ in range(times):
            worker.turn.step()
        self._settle(worker)

    def run(self, worker: Worker, to: str = "") -> None:
        worker.turn.run(to)
        self._settle(worker)

    def kill(self, worker: Worker) -> None:
        worker.turn.kill()
        self._settle(worker)

    def _settle(self, worker: Worker) -> None:
        turn, event = worker.turn, worker.event
        if not turn.ended or worker not in self.workers:
            return
        self.workers.remove(worker)
        failed = turn.error is not None
        if failed and not turn.killed and not isinstance(turn.error, TryAgain):
            if worker.request is None or not isinstance(turn.error, Conflict | AliasNotFound):
                raise turn.error  # type: ignore[misc]
            self.refused.append(worker.request)
        if worker.request is not None:
            if worker.answer and worker.answer[0].moved:
                self.moved.append(worker.request)
        elif event is None:
            self.rescan_owed |= failed
        elif event.state == "delivered":
            event.state = "waiting"

    def end_orphans(self) -> None:
        alive = {worker.turn for worker in self.workers}
        jobs = [job for job in self.cloud.aliases.jobs if job.owner not in alive]
        self.cloud.aliases.end_all(jobs)

    # What must hold

    def quiet(self, order: Random) -> None:
        """Let everybody finish, deliver every event, rescan if one was lost, and check."""
        while (waiting := self.waiting()) or self.workers:
            if waiting and len(self.workers) < HANDLERS:
                self.deliver(order.choice(waiting))
            else:
                self.step(order.choice(self.workers), order.randint(1, 4))
        self.end_orphans()
        if self.rescan_owed:
            self.run(self.start_rescan())
        self.check()

    def check(self) -> None:
        """Check the log against what happened, and its last row against the bucket."""
        rows = sorted(self.log(), key=lambda row: row["moved_at"])
        seen = [
            Wrote(row["generation"], row["version"], row["who"], row["deleted"]) for row in rows
        ]
        if seen != self.history:
            raise Mismatch(f"history: the log has {seen}, and happened has {self.history}")
        for before, row in zip([None, *rows], rows, strict=False):
            previous = (before["generation"], before["version"]) if before else (None, None)
            if (row["previous_generation"], row["previous_version"]) != previous:
                raise Mismatch(f"chain: {row} follows {before}")
        live = self.cloud.bucket.objects.get(REF.path)
        last = rows[-1] if rows else None
        if live is not None and (last is None or last["generation"] != live.generation):
            raise Mismatch(f"current: the log ends with {last}, the bucket has {live.generation}")
        if live is None and last is not None and not last["deleted"]:
            raise Mismatch(f"current: the log ends with {last}, and the alias was deleted")
        self._check_answers(rows)

    def _check_answers(self, rows: list[dict[str, Any]]) -> None:
        for request in self.moved:
            own = [row for row in rows if row["move_id"] == request.request_id]
            if len(own) != 1 or (own[0]["version"], own[0]["who"], own[0]["why"]) != (
                *(request.version, request.who, request.why),
            ):
                raise Mismatch(f"answers: {request} was answered, and the log has {own}")
            expected = None if request.expected == "none" else request.expected
            if request.expected is not None and own[0]["previous_version"] != expected:
                raise Mismatch(f"answers: {request} was answered, and replaced {own}")
        for request in self.refused:
            repeated = any(request.request_id == each.request_id for each in self.moved)
            if not repeated and any(row["move_id"] == request.request_id for row in rows):
                raise Mismatch(f"answers: {request} was refused, and took effect")

    def log(self) -> list[dict[str, Any]]:
        columns = ("version", "who", "why", "previous_version", "previous_generation", "move_id")
        rows = (row.values for row in self.cloud.aliases.rows)
        return [dict.fromkeys(columns) | values for values in rows]

    def close(self) -> None:
        """End every thread."""
        for worker in self.workers:
            worker.turn.kill()
        self.workers.clear()
