"""Messages of the channel: their encoding, and the detection of malformed or late ones."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from workers.sandbox.channel import (
    MAX_ANSWER,
    MAX_DEPTH,
    Channel,
    Closed,
    Late,
    Malformed,
    SandboxEnd,
    decode,
    encode,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """Yield the requester's end, and the socket that a sandbox would have."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach())
    yield channel, theirs
    channel.close()
    theirs.close()


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def nested(depth: int) -> Any:
    value: Any = 1
    for i in range(depth):
        value = [value] if i % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"text": 'brackets [[{ in "text" \\', "[": "]", "\\": '\\"{'},
        {"wide": [[], {}, [[]]] * 1000},
        {"deep": nested(MAX_DEPTH - 1)},
        {"numbers": [1, -2.5, 1e300, 2**63], "others": [True, None, "ä\u2028\x00"]},
    ],
)
def test_messages_arrive_as_they_were_sent(message: dict[str, Any]) -> None:
    sent = encode(message, MAX_ANSWER)
    assert int.from_bytes(sent[:4], "big") == len(sent) - 4
    assert decode(sent[4:]) == message


def test_lone_surrogates_are_replaced() -> None:
    assert decode(encode({"a": "x\ud800"}, 100)[4:]) == {"a": "x?"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 100])
def test_a_value_that_cannot_be_sent_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant|The message has"):
        encode({"a": value}, 100)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1",
        b"[]",
        b"null",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} x',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"' + b'\\"' * 1000,
        b"[" * 10**6,
        b"[" * 10**6 + b"]" * 10**6,
        b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
        encode(nested(MAX_DEPTH + 1), 10**4)[4:],
    ],
    ids=lambda content: content[:20].decode("ascii", "replace"),
)
def test_json_that_is_not_strict_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode(content)


def test_questions_and_answers_are_exchanged(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    content = os.urandom(3 * 2**20)

    def answer() -> None:
        end = SandboxEnd(theirs.fileno())
        question = end.receive()
        end.send({"n": question["n"], "same": end.read(len(content)) == content})

    thread = threading.Thread(target=answer)
    thread.start()
    channel.send(encode({"n": 7}, 100), content, soon())
    assert channel.receive(soon()) == {"n": 7, "same": True}
    assert channel.is_quiet()
    thread.join()


def test_the_sandbox_detects_that_its_requester_has_closed() -> None:
    ours, theirs = socket.socketpair()
    ours.send(b"\0\0\0\x10{")
    ours.close()
    with theirs, pytest.raises(Closed):
        SandboxEnd(theirs.fileno()).receive()


@pytest.mark.parametrize("length", [MAX_ANSWER + 1, 2**32 - 1])
def test_a_length_beyond_the_bound_is_malformed_at_once(
    ends: tuple[Channel, socket.socket], length: int
) -> None:
    channel, theirs = ends
    theirs.send(length.to_bytes(4, "big"))
    with pytest.raises(Malformed, match="announces"):
        channel.receive(soon())


def test_more_than_one_answer_is_malformed(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(2 * encode({"n": 1}, 100))
    with pytest.raises(Malformed, match="more than one"):
        channel.receive(soon())


def test_an_answer_before_the_question_is_malformed(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.send(encode({"n": 1}, 100))
    assert not channel.is_quiet()
    with pytest.raises(Malformed, match="before"):
        channel.send(encode({"n": 1}, 100), None, soon())


def test_a_sandbox_that_does_not_read_is_late(ends: tuple[Channel, socket.socket]) -> None:
    with pytest.raises(Late):
        ends[0].send(encode({"n": 1}, 100), bytes(2**24), soon(0.05))


@pytest.mark.parametrize("part", [b"", b"\0\0", b"\0\0\0\x08{}"])
def test_half_an_answer_is_late(ends: tuple[Channel, socket.socket], part: bytes) -> None:
    channel, theirs = ends
    theirs.send(part)
    with pytest.raises(Late):
        channel.receive(soon(0.05))


def test_the_end_of_a_sandbox_is_detected(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    assert not channel.is_quiet()
    with pytest.raises(Closed):
        channel.receive(soon())
    with pytest.raises(Closed):
        channel.send(encode({"n": 1}, 100), None, soon())
