"""Whatever races, crashes and is lost: once all is quiet, the registry matches the bucket.

A failing machine prints its steps, and its seed is the test's `number`: run that test again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from mlsys.artifact.refs import ModelRef
from registry_machine import RegistryMachine
from registry_world import Design, Message, Mismatch, World, nothing_takes_time
from workers.registry.rows import ModelRow, Objects, list_objects, read_row
from workers.registry.sync import converge
from workers.registry.table import in_statements, recorded, replace

FEW, MANY = 40, 200
STEPS = 50


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_takes_time(monkeypatch)


def run_machines(
    machines: int, number: int, design: Design | None = None, *, shrink: bool = True
) -> None:
    """Run machines of one seed, by a weaker design if one is given."""

    class Machine(RegistryMachine):
        pass

    if design is not None:
        Machine.design = staticmethod(design)
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        seed(number)(Machine),
        settings=settings(
            max_examples=machines,
            stateful_step_count=STEPS,
            database=None,  # a run depends only on its seed
            phases=phases,
            # As above; and a machine of 50 steps is large on purpose.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.slow
def test_the_registry_is_the_bucket_after_40_machines() -> None:
    run_machines(FEW, 0)


@pytest.mark.long
@pytest.mark.parametrize("number", range(11))
def test_the_registry_is_the_bucket_after_2200_machines(number: int) -> None:
    run_machines(MANY, number)


# Weaker designs: the same machines expose each of them


def write(clients: Any, key: str, row: ModelRow | None) -> None:
    for changes in in_statements([(key, row)], "event"):
        replace(clients, "dev", changes)


def live_row(clients: Any, ref: ModelRef) -> ModelRow | None:
    objects, _ = list_objects(clients, "dev", f"{ref}/")
    return read_row(clients.settings, "dev", objects.get(str(ref)))


def identities(row: ModelRow | None) -> list[Any]:
    return [] if row is None else [row.identity]


def only_if_newer(clients: Any, message: Message, acknowledge: Callable[[], None]) -> None:
    """Compare generations by `>`, as if they always increased."""
    key = str(message.ref)
    for _ in range(5):
        row = live_row(clients, message.ref)
        rows = recorded(clients, "dev", key).get(key, [])
        older = row is not None and all(
            (generation, number or 0) < (row.generation, row.metadata_generation or 0)
            for _, generation, number, *_ in rows
        )
        if rows == identities(row) or (len(rows) == 1 and row is not None and not older):
            return acknowledge()
        write(clients, key, row)


def no_look_after_the_write(
    clients: Any, message: Message, acknowledge: Callable[[], None]
) -> None:
    """Write the difference, and do not read again."""
    key = str(message.ref)
    row = live_row(clients, message.ref)
    if recorded(clients, "dev", key).get(key, []) != identities(row):
        write(clients, key, row)
    acknowledge()


def acknowledged_before_the_write(
    clients: Any, message: Message, acknowledge: Callable[[], None]
) -> None:
    """Acknowledge first, then work."""
    acknowledge()
    converge(clients, "dev", message.ref)


def delete_and_insert_apart(
    clients: Any, message: Message, acknowledge: Callable[[], None]
) -> None:
    """Read until it is right, but delete by one statement and insert by another."""
    key = str(message.ref)
    for _ in range(5):
        row = live_row(clients, message.ref)
        rows = recorded(clients, "dev", key).get(key, [])
        if rows == identities(row):
            return acknowledge()
        if rows:
            write(clients, key, None)
        if row is not None:
            write(clients, key, row)


def trust_in_the_event(clients: Any, message: Message, acknowledge: Callable[[], None]) -> None:
    """Write the message's content, without reading the bucket."""
    if not message.blob.name.endswith("model.pkl"):
        converge(clients, "dev", message.ref)
        return acknowledge()
    key = str(message.ref)
    beside = clients.bucket.objects.get(message.ref.metadata_path)
    row = read_row(clients.settings, "dev", Objects(message.blob, beside))
    rows = recorded(clients, "dev", key).get(key, [])
    if message.event == "FINALIZE" and rows != identities(row):
        write(clients, key, row)
    if message.event == "DELETE" and message.blob.generation in [item[1] for item in rows]:
        write(clients, key, None)
    acknowledge()


@pytest.mark.parametrize(
    ("design", "text"),
    [
        pytest.param(only_if_newer, "stored", id="only-if-newer"),
        pytest.param(no_look_after_the_write, "stored", id="no-look-after-the-write"),
        pytest.param(acknowledged_before_the_write, "stored", id="acknowledged-first"),
        pytest.param(delete_and_insert_apart, "vanished", id="two-statements"),
        pytest.param(trust_in_the_event, "stored", id="trust-in-the-event"),
    ],
)
def test_the_machines_expose_a_weaker_design(design: Design, text: str) -> None:
    with pytest.raises(Mismatch, match=text):
        run_machines(MANY, 0, design, shrink=False)


@pytest.mark.parametrize("begun", range(1, 5))
@pytest.mark.parametrize("more", range(5))
def test_a_rescan_that_dies_leaves_a_model_that_was_registered_while_it_looked(
    begun: int, more: int
) -> None:
    world = World()
    rescan = world.start_rescan()
    world.step(rescan, begun)
    world.put("m/v1/model.pkl")
    [message] = world.messages
    world.run(world.deliver(message))
    world.step(rescan, more)
    if not rescan.turn.ended:
        world.kill(rescan)
    world.end_orphans()
    assert world.registered() == world.stored()
    world.close()
