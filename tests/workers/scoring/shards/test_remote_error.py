"""An exception of a scoring process reaches the caller with its type, message and traceback."""

import concurrent.futures as cf
import pickle
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pyarrow as pa
import pytest
import requests
from google.api_core import exceptions, grpc_helpers
from google.auth.exceptions import RefreshError, TransportError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from app.api.problems import status_of
from mlsys import errors
from mlsys.cloud.clients import is_passing
from workers.forking import context
from workers.scoring.shards import pool
from workers.scoring.shards.remote_error import RemoteError, RemoteTraceback

ROW = {"id": 7, "reason": "no number"}


class TwoArguments(Exception):
    """An exception that pickle would call with one argument."""

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        super().__init__(f"{first} and {second}")


class Spiteful(errors.ModelUnusable):
    """An exception without any usable method."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")

    def __str__(self) -> str:
        raise ValueError("nor my text")


class Bomb:
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> Any:
        return int, ("x",)


def our_errors() -> Iterator[Exception]:
    special = {
        errors.InvalidRequest: (("where", "is not a filter"), ("env", "is missing")),
        errors.ContractInvalid: (("/clauses/0/check", "is 7"),),
        errors.ContractBroken: ("1 clause fails", [{"clause": "/clauses/0"}]),
        errors.SchemaMismatch: ("They do not fit.", (("a", "is missing"),)),
        errors.PredictionFailed: ("1 row failed", [ROW]),
        errors.RunInterrupted: ("Out of time", {"rows_done": 5}),
    }
    kinds = [errors.MlsysError]
    for kind in kinds:
        kinds.extend(k for k in kind.__subclasses__() if k.__module__ == errors.__name__)
        yield kind(*special.get(kind, ("it failed",)))


def google_errors() -> Iterator[Exception]:
    kinds: list[type[exceptions.GoogleAPICallError]] = [exceptions.GoogleAPICallError]
    for kind in kinds:
        kinds.extend(k for k in kind.__subclasses__() if k.__module__ == exceptions.__name__)
        if not issubclass(kind, exceptions.ResumableTransferError):
            yield kind("no", errors=[{"reason": "quotaExceeded"}, threading.RLock()])
    yield exceptions.RetryError("gave up", cause=exceptions.ServiceUnavailable("down"))
    yield exceptions.RetryError("gave up", cause=Locked("down"))


def grpc_error() -> Exception:
    """Return the error of a read from a closed port, which holds the call."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        try:
            list(grpc_helpers.wrap_errors(channel.unary_stream("/x/y"))(b""))
        except exceptions.GoogleAPICallError as exc:
            return exc
    raise AssertionError("somebody listens there")


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.RLock()


def response(status: int) -> requests.Response:
    made = requests.Response()
    made.status_code, made._content = status, b"no"
    return made


def others() -> Iterator[Exception]:
    yield grpc_error()
    yield TransportError("no connection")
    yield RefreshError("no token", retryable=True)
    yield InvalidResponse(response(503), "Request failed", 503)
    yield DataCorruption(response(200), "Checksum mismatch")
    yield requests.ConnectionError("refused", request=requests.Request("GET", "http://x").prepare())
    yield requests.HTTPError("503", response=response(503))
    yield requests.ReadTimeout("slow")
    yield requests.exceptions.ChunkedEncodingError("cut")
    yield pa.ArrowInvalid("no Parquet")
    yield pa.ArrowNotImplementedError("no such cast")
    yield pa.ArrowCapacityError("too large")
    yield UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    yield FileNotFoundError(2, "No such file", "/x")
    yield TimeoutError("slow")
    yield cf.TimeoutError("slow")
    yield MemoryError("too much")
    yield KeyError("a")
    yield TwoArguments("this", "that")
    yield Locked("held")
    yield errors.TryAgain("later", {"lock": threading.RLock()})


@pytest.mark.parametrize(
    "exc", [*our_errors(), *google_errors(), *others()], ids=lambda e: type(e).__name__
)
def test_an_exception_arrives_with_its_type_and_message(exc: Exception) -> None:
    arrived = pickle.loads(pickle.dumps(RemoteError.of(exc))).error()
    assert type(arrived) is type(exc)
    assert str(arrived) == str(exc)
    assert vars(arrived).keys() == vars(exc).keys()
    assert status_of(arrived) == status_of(exc)
    assert is_passing(arrived) == is_passing(exc)
    assert isinstance(arrived.__cause__, RemoteTraceback)


def test_attributes_arrive_if_they_can_be_pickled() -> None:
    exc = exceptions.Forbidden("no", errors=[{"reason": "rateLimitExceeded"}, threading.RLock()])
    arrived = RemoteError.of(exc).error()
    assert isinstance(arrived, exceptions.Forbidden)
    assert arrived.errors == [{"reason": "rateLimitExceeded"}, None]
    failed = RemoteError.of(errors.PredictionFailed("1 row failed", [ROW])).error()
    assert isinstance(failed, errors.PredictionFailed)
    assert failed.rows == [ROW]


def test_a_raw_grpc_error_arrives_as_the_matching_google_exception() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as raised:
        list(channel.unary_stream("/x/y")(b""))
    arrived = RemoteError.of(raised.value).error()
    assert type(arrived) is exceptions.ServiceUnavailable
    assert status_of(arrived)[0] == 503


def test_a_class_that_cannot_be_pickled_arrives_as_its_nearest_base() -> None:
    class Here(errors.ModelUnusable):
        """Local to a function, so that pickle does not find it."""

    arrived = RemoteError.of(Here("it has no predict")).error()
    assert type(arrived) is errors.ModelUnusable
    assert str(arrived) == "it has no predict"
    assert type(RemoteError.of(Spiteful("x")).error()) is errors.ModelUnusable
    nowhere = type("Nowhere", (Exception,), {})
    assert str(RemoteError.of(nowhere("lost")).error()) == "Nowhere: lost"


def test_an_exception_that_cannot_be_unpickled_arrives_as_its_base() -> None:
    exc = errors.Conflict("taken")
    exc.bomb = Bomb()  # type: ignore[attr-defined]
    arrived = RemoteError.of(exc).error()
    assert type(arrived) is errors.Conflict
    assert str(arrived) == "taken"


def test_an_exception_with_a_reference_cycle_arrives() -> None:
    exc = Locked("held")
    exc.args = ("held", exc)
    exc.itself = [{"again": exc}]  # type: ignore[attr-defined]
    assert type(RemoteError.of(exc).error()) is Locked


def test_the_remote_traceback_arrives_with_its_causes() -> None:
    try:
        try:
            raise Locked("first")
        except Locked as first:
            raise errors.TryAgain("second") from first
    except errors.TryAgain as exc:
        text = str(RemoteError.of(exc).error().__cause__)
    assert "Locked: first" in text
    assert "test_the_remote_traceback" in text


def _fail(*_: Any) -> Any:
    try:
        raise grpc_error()
    except exceptions.GoogleAPICallError as exc:
        return RemoteError.of(exc)


def test_the_pool_raises_the_exception_and_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "score_in_process", _fail)
    scoring: Any = SimpleNamespace(plan=SimpleNamespace(run_id="run"))
    chain: Any = None
    with cf.ProcessPoolExecutor(1, mp_context=context()) as executor:
        double = SimpleNamespace(executor=lambda _: executor, check=lambda: None)
        monkeypatch.setattr(pool, "_pool", double)
        for _ in range(2):
            with pytest.raises(exceptions.ServiceUnavailable):
                pool._in_processes(scoring, [chain], 1, lambda: False, print)
