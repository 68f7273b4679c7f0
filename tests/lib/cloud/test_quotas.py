"""A quota that waiting does not refill, and a message that is too large, are not "try again"."""

import pickle
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from app.api.problems import status_of
from mlsys.cloud.clients import is_passing
from mlsys.cloud.errors import translated
from mlsys.cloud.messages import Use
from mlsys.cloud.quotas import is_quota, is_too_large, is_used_up
from mlsys.errors import CloudRefused, CloudUnavailable
from workers.scoring.shards.remote_error import RemoteError

USE = Use("BigQuery", "p.d.t", ("bigquery.jobs.create",))


def info(reason: str = "RATE_LIMIT_EXCEEDED", **metadata: str) -> ErrorInfo:
    """Return the ErrorInfo of a refused call."""
    return ErrorInfo(reason=reason, domain="googleapis.com", metadata=metadata)


def exhausted(text: str = "Quota exceeded", **options: Any) -> exceptions.ResourceExhausted:
    """Return gRPC's RESOURCE_EXHAUSTED."""
    return exceptions.ResourceExhausted(text, **options)


def forbidden(reason: str, text: str = "Quota exceeded") -> exceptions.Forbidden:
    """Return BigQuery's 403 with a reason."""
    return exceptions.Forbidden(text, errors=[{"reason": reason, "message": text}])


RETRY = RetryInfo(retry_delay=Duration(seconds=2))
PASSING = [
    exhausted(),
    exhausted(error_info=info(quota_limit="ReadDataPlaneRequestsPerMinutePerProject")),
    exhausted(error_info=info(quota_limit="X", quota_unit="1/min/{project}/{user}")),
    exhausted("too many parallel streams of the session", details=[RETRY]),
    exhausted(details=[RETRY], error_info=info(quota_limit="ReadsPerDayPerProject")),
    exceptions.TooManyRequests("slow down"),
    exceptions.TooManyRequests(
        "x", details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo"}]
    ),
    exceptions.RetryError("gave up", cause=exhausted()),
    exceptions.PermissionDenied("x", error_info=info()),
    forbidden(
        "quotaExceeded", "Quota exceeded: Your project exceeded quota for imports per project"
    ),
    forbidden(
        "rateLimitExceeded", "Exceeded rate limits: too many api requests per user per method"
    ),
    forbidden("userRateLimitExceeded"),
    forbidden("jobRateLimitExceeded"),
]
USED_UP = [
    exhausted(error_info=info("RESOURCE_QUOTA_EXCEEDED", quota_limit="SessionsPerProject")),
    exhausted(error_info=info(quota_limit="ReadBytesPerDayPerProject")),
    exhausted(error_info=info(quota_limit="X", quota_unit="1/d/{project}")),
    exhausted(error_info=info(quota_limit="XPerMinutePerProject", quota_limit_value="0")),
    exceptions.TooManyRequests(
        "x", error_info={"reason": "RESOURCE_QUOTA_EXCEEDED", "metadata": {}}
    ),
    exceptions.RetryError("gave up", cause=exhausted(error_info=info(quota_limit="APerDay"))),
    forbidden(
        "quotaExceeded",
        "Custom quota exceeded: Your usage exceeded the custom quota for QueryUsagePerDay",
    ),
    forbidden("quotaExceeded", "Exceeded quota: too many free query bytes scanned"),
]
TOO_LARGE = [
    exhausted("CLIENT: Received message larger than max (140000000 vs. 134217728)"),
    exhausted("SERVER: Sent message larger than max (9 vs. 8)"),
    exhausted("gRPC message exceeds maximum size 4194304: 5000000"),
]


def shown(exc: Any) -> str:
    """Return an id for a case."""
    return f"{type(exc).__name__} {exc}"[:70]


@pytest.mark.parametrize("exc", PASSING, ids=shown)
def test_a_quota_that_refills_is_try_again(exc: Exception) -> None:
    assert is_quota(exc) and not is_used_up(exc)
    assert is_passing(exc)
    assert status_of(exc)[0] == 503
    assert isinstance(translated(exc, USE), CloudUnavailable)


@pytest.mark.parametrize("exc", USED_UP, ids=shown)
def test_a_quota_that_waiting_does_not_refill_is_not_try_again(exc: Exception) -> None:
    assert is_used_up(exc)
    assert not is_passing(exc)
    assert status_of(exc) == (403, "A quota of the Google Cloud project is used up")
    error = translated(exc, USE)
    assert isinstance(error, CloudRefused)
    assert "ask for a higher one" in str(error)


@pytest.mark.parametrize("exc", TOO_LARGE, ids=shown)
def test_a_message_that_is_too_large_is_not_try_again(exc: Exception) -> None:
    assert is_too_large(exc) and not is_quota(exc) and not is_used_up(exc)
    assert not is_passing(exc)
    assert isinstance(translated(exc, USE), CloudRefused)


@pytest.mark.parametrize(
    "exc",
    [
        exceptions.Forbidden("no", errors=[{"reason": "accessDenied"}]),
        exceptions.Forbidden("no", errors=[{"reason": "billingNotEnabled"}]),
        exceptions.PermissionDenied("QueryUsagePerDay is the name of a table here"),
        exceptions.InvalidArgument("custom quota"),
        ValueError("PerDay"),
    ],
    ids=shown,
)
def test_other_refusals_are_not_about_quotas(exc: Exception) -> None:
    assert not is_quota(exc) and not is_used_up(exc) and not is_passing(exc)


class Failed(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """A call of gRPC that ended with a status; like gRPC's own it cannot be pickled."""

    def __init__(self, code: grpc.StatusCode, details: ErrorInfo | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "the server says so"

    def trailing_metadata(self) -> Any:
        from google.protobuf.any_pb2 import Any as Packed
        from google.rpc.status_pb2 import Status

        if self._details is None:
            return ()
        packed = Packed()
        packed.Pack(self._details)
        status = Status(code=self._code.value[0], message=self.details(), details=[packed])
        return (("grpc-status-details-bin", status.SerializeToString()),)

    def __reduce__(self) -> Any:
        raise TypeError("a call cannot be pickled")

    initial_metadata = is_active = time_remaining = cancel = add_callback = None  # type: ignore[assignment]


CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("details", [None, info(quota_limit="APerDay")], ids=["bare", "detailed"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("wrapped", [True, False], ids=["from the client", "raw"])
def test_every_status_of_grpc_leaves_a_scoring_process_as_itself(
    code: grpc.StatusCode, details: ErrorInfo | None, wrapped: bool
) -> None:
    call = Failed(code, details)
    exc = exceptions.from_grpc_error(call)
    arrived = pickle.loads(pickle.dumps(RemoteError.of(exc if wrapped else call))).error()
    assert type(arrived) is type(exc)
    assert str(arrived) == str(exc)
    assert (arrived.code, arrived.reason, arrived.grpc_status_code) == (
        *(exc.code, exc.reason, exc.grpc_status_code),
    )
    for judge in (is_passing, is_used_up, is_too_large, status_of):
        assert judge(arrived) == judge(exc)
