"""Known gaps of the registry's design: each is closed by a rescan or by the next upload.

In all of them a statement takes effect after the last read of the bucket. If one of these tests
passes, the gap is closed, and its steps belong into `registry_machine`.
"""

from __future__ import annotations

from random import Random

import pytest

from registry_world import Mismatch, World, nothing_takes_time

PATH = "m/v1/model.pkl"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_takes_time(monkeypatch)


@pytest.fixture
def world() -> World:
    return World()


def check(world: World) -> None:
    try:
        world.quiet(Random(0), crashes=0)
    except Mismatch:
        world.run(world.start_rescan())  # this much is guaranteed
        assert world.registered() == world.stored()
        raise


@pytest.mark.xfail(
    strict=True,
    raises=Mismatch,
    reason="a job goes on without its caller, perhaps until after the message was handled again",
)
def test_a_statement_of_a_dead_handler_may_end_after_the_redelivery(world: World) -> None:
    world.put(PATH)
    [message] = world.messages
    first = world.deliver(message)
    world.run(first, to="running")
    world.kill(first)
    world.run(world.deliver_at_once(message))
    assert message.state == "acknowledged"
    check(world)  # the first statement ends now


@pytest.mark.xfail(
    strict=True,
    raises=Mismatch,
    reason="with one message in two hands, the acknowledgement of one settles it for both",
)
def test_one_handler_may_acknowledge_a_message_while_another_one_for_it_dies(
    world: World,
) -> None:
    world.put(PATH)
    [message] = world.messages
    first, second = world.deliver(message), world.deliver_at_once(message)
    world.run(first, to="running")
    world.run(second)
    world.run(first, to="ended")  # the row is duplicated
    world.kill(first)
    assert message.state == "acknowledged"
    check(world)


@pytest.mark.xfail(
    strict=True,
    raises=Mismatch,
    reason="nobody repeats a rescan that died, as Pub/Sub repeats a message",
)
def test_a_rescan_that_dies_after_its_statement_may_leave_a_duplicate_row(world: World) -> None:
    world.put(PATH)
    [message] = world.messages
    rescan = world.start_rescan()
    world.run(rescan, to="running")
    world.run(world.deliver(message))
    world.run(rescan, to="ended")
    world.kill(rescan)
    world.rescan_owed = False
    check(world)
