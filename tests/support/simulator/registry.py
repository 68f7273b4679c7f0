"""The registry and the log of aliases, kept by the real code while a seed disturbs it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.errors import AliasNotFound, Conflict, InvalidRequest, ModelNotFound
from mlsys.settings import Settings
from simulator.gaps import Gap, Mismatch, check
from simulator.kernel import Actor, Simulation
from simulator.registry_audit import VERSIONS, Audit, Wrote
from simulator.statements import Values, model_key
from simulator.storage import Bucket, StorageClient, Stored
from simulator.topics import Message, PublisherClient, Subscription, may_pass
from simulator.warehouse import BigQueryClient, Merge
from workers.registry import alias_sync, move, sync

SETTINGS = Settings(
    project="p",
    envs=("dev",),
    models_buckets=(("dev", "models"),),
    runs_buckets=(("dev", "runs"),),
    push_auth="off",
)
ALIAS = AliasRef("m", "champion")
EXPECTED = (Conflict, AliasNotFound, ModelNotFound)  # that a move may be answered with
FILES = ("m/v1/model.pkl", "m/v1/metadata.json", "m/v2/model.pkl")


@dataclass
class Clients:
    """The clients of `mlsys.cloud.clients`, in memory."""

    settings: Settings
    storage: StorageClient
    bigquery: BigQueryClient
    publisher: PublisherClient


def handle(clients: Any, message: Message, acknowledge: Callable[[], None]) -> None:
    """Do what `app.api.events` does with a storage event."""
    path = message.attributes["objectId"]
    try:
        alias = AliasRef.of_object(path)
    except InvalidRequest:
        ref, _ = ModelRef.of_object(path)
        sync.converge(clients, "dev", ref)
    else:
        alias_sync.converge_alias(clients, "dev", alias)


@dataclass
class Registry:
    """The scenario: uploads, moves of an alias, deliveries of their events, and rescans."""

    simulation: Simulation
    history: list[Wrote] = field(default_factory=list)
    moved: list[Any] = field(default_factory=list)
    owners: dict[str, Any] = field(default_factory=dict)
    rescan_owed: bool = False
    appeared: dict[str, float] = field(default_factory=dict)  # models: since when they are stored

    def __post_init__(self) -> None:
        simulation = self.simulation
        self.bucket = Bucket("models", simulation, versioned=True)
        self.runs = Bucket("runs", simulation)
        self.bigquery = BigQueryClient(simulation, "model_registry", "model_aliases")
        self.clients = Clients(
            SETTINGS,
            StorageClient(self.bucket, self.runs),
            self.bigquery,
            PublisherClient(lambda *_: None),
        )
        self.audit = Audit(self.bucket, self.bigquery, self.history)
        self.bucket.written, self.bucket.deleted = self._written, self._deleted
        self.bigquery.tables["model_registry"].changed = self._check_that_none_vanishes
        choices = simulation.choices
        self.events = Subscription(
            simulation,
            "events",
            lambda message, acknowledge: handle(self.clients, message, acknowledge),
            lossy=choices.happens(0.3),
            doubling=choices.happens(0.5),
        )
        self.bucket.lower = choices.happens(0.3)
        self._messages = 0

    # The world

    def _written(self, new: Stored, old: Stored | None) -> None:
        self._notify("OBJECT_FINALIZE", new)
        self.appeared.setdefault(new.name, new.created)
        if old is not None:
            self._notify("OBJECT_ARCHIVE", old)
        if new.name == ALIAS.path:
            document = json.loads(new.content)
            version = document.get("version")
            request = self.owners.get(new.by)
            who = request.who if request else None
            self.history.append(Wrote(new.generation, version, who, version is None))

    def _deleted(self, old: Stored) -> None:
        self._notify("OBJECT_DELETE", old)
        self.appeared.pop(old.name, None)
        if old.name == ALIAS.path:
            known = next(w for w in self.history if w.generation == old.generation)
            if not known.deleted:  # the object of a removed alias ends nothing
                self.history.append(Wrote(old.generation, None, None, True))

    def _notify(self, kind: str, stored: Stored) -> None:
        self._messages += 1
        name = f"{kind[7:].lower()} of {stored.name.removeprefix('m/')}#{stored.generation}"
        attributes = {"eventType": kind, "bucketId": "models", "objectId": stored.name}
        self.events.publish(Message(name, attributes, about=stored))

    # The actors

    def begin(self) -> None:
        """Let everybody come at some time of the first minutes."""
        choices, start = self.simulation.choices, self.simulation.start
        self.simulation.start("uploader", self._upload, faulty=False)
        if choices.happens(0.6):
            for number in range(1 + choices.pick(4)):
                after = (4.0, 0.5, 10.0, 30.0)[choices.pick(4)]
                self._move(self._request(number + 1), after)
        if choices.happens(0.4):
            after = (3.0, 0.5, 12.0, 60.0)[choices.pick(4)]
            start("rescan", self._rescan, after=after, ended=self._rescanned)

    def _upload(self) -> None:
        choices = self.simulation.choices
        if choices.happens(0.7):
            for version in VERSIONS:
                self.bucket.put(f"m/{version}/model.pkl", b"a model")
        for number in range(1 + choices.pick(6)):
            name = (*FILES, ALIAS.path)[choices.pick(4)]
            deletes = choices.happens(0.25)
            self.simulation.sleep((1.5, 0.0, 0.3, 10.0, 40.0)[choices.pick(5)])
            self.bucket.its_turn(name)
            if name in self.bucket.objects and deletes:
                self.simulation.note(f"delete {name}", "")
                self.bucket.remove(name)
                continue
            content: Any = {"metrics": number}
            if name == ALIAS.path:
                content = {"version": VERSIONS[choices.pick(2)], "who": "a forger"}
            stored = self.bucket.put(name, json.dumps(content).encode())
            self.simulation.note(f"write {name}", f"#{stored.generation}")

    def _request(self, number: int) -> move.MoveRequest:
        choices = self.simulation.choices
        return move.MoveRequest(
            ALIAS,
            (*VERSIONS, None)[choices.pick(3, (3, 3, 1))],
            who=f"mover-{number}@example.com",
            request_id=f"{number:032x}",
            expected=(None, "none", *VERSIONS)[choices.pick(4, (6, 1, 1, 1))],
            why=f"reason {number}",
            force=True,
        )

    def _move(self, request: move.MoveRequest, after: float, tries: int = 3) -> None:
        """Let an operator move the alias; after a 503 the command line repeats the request."""

        def ended(actor: Actor) -> None:
            error = actor.error
            if actor.crashed or (error is not None and may_pass(error)):
                if tries:
                    self._move(request, 5.0, tries - 1)
            elif isinstance(error, EXPECTED):
                pass
            elif error is not None:
                raise error
            elif actor.answer.moved:
                self.moved.append(request)
                actor.gave_up = actor.answer.row is None  # its event will log it

        name = f"{request.who.partition('@')[0]}.{4 - tries}"
        self.owners[name] = request
        work = functools.partial(move.move_alias, self.clients, "dev", request)
        self.simulation.start(name, work, after=after, ended=ended)

    def _rescan(self) -> None:
        sync.rescan(self.clients, "dev")

    def _rescanned(self, actor: Actor) -> None:
        if actor.error is not None and not may_pass(actor.error):
            raise actor.error
        self.rescan_owed |= actor.error is not None

    # The audit

    def run(self) -> None:
        """Let everybody work until all is quiet, and check what they left."""
        self.begin()
        self.simulation.run()
        if self.events.errors:
            name, error = self.events.errors[0]
            raise Mismatch(f"{name} was answered with an error for ever: {error!r}") from error
        if self.rescan_owed or self.events.lost:
            self._rescan_now()
        if excused := self.check():
            self._rescan_now()  # this much is guaranteed
            if still := self.check():
                raise Mismatch(f"a rescan did not repair it: {still}")
            raise Gap(excused)

    def _rescan_now(self) -> None:
        self.simulation.start("last rescan", self._rescan, faulty=False)
        self.simulation.run()

    def check(self) -> str:
        """Check the registry and the log against the bucket, and return what is excused.

        Raises:
            Mismatch: they differ, and no statement that outlived its handler explains it.
        """
        excused = check(self.bigquery, self.audit.wrongs())
        if not excused:
            self.audit.check_moves(self.moved)
        return excused

    def _check_that_none_vanishes(self, merge: Merge, before: list[Values]) -> None:
        """Check that a model which its handler has seen stored all the time stays registered."""
        after = map(model_key, self.bigquery.tables["model_registry"].values())
        for key in set(map(model_key, before)).difference(after):
            since = self.appeared.get(f"{key}/model.pkl")
            if since is not None and merge.owner is not None and since < merge.owner.began:
                raise Mismatch(f"{key} vanished from the registry by {merge.owner.name}")
