"""Push authentication: a token that Google signed, for this service, of the push account."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from google.auth.exceptions import TransportError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import auth
from tokens import (
    AUDIENCE,
    GOOGLES,
    MESSAGE,
    PUSHER,
    SERVICE,
    STRANGERS,
    claims,
    cut_off,
    signed,
    signed_by_secret,
    unsigned,
)
from wired import wired


@dataclass
class Answer:
    """The response of a transport."""

    data: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def certificates(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that sets the response with Google's certificates; no network is used."""
    answers: list[Any] = [Answer(json.dumps({"googles": GOOGLES.certificate}).encode())]

    def transport(url: str, method: str = "GET", **_: Any) -> Answer:
        assert url.startswith("https://www.googleapis.com/oauth2/")
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    monkeypatch.setattr("app.auth._transport", lambda: transport)
    return answers.append


@pytest.fixture
def client(certificates: Any) -> FlaskClient:
    """Return a client of the service as on the cloud: only the configured account may push."""
    return wired(SERVICE).test_client()


Authorization = str | Callable[[], str] | None  # a function signs it when it is sent


def push(client: FlaskClient, authorization: Authorization, path: str = "/events/storage") -> Any:
    """Push to the service and return its answer."""
    sent = authorization() if callable(authorization) else authorization
    headers = {} if sent is None else {"Authorization": sent}
    return client.post(path, json=MESSAGE, headers=headers)


def test_the_token_of_the_push_subscription_is_accepted(client: FlaskClient) -> None:
    assert push(client, f"Bearer {signed()}").status_code == 204
    assert push(client, f"bearer {signed(iss='accounts.google.com')}").status_code == 204


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"iat": 25}, id="issued in 25 seconds"),
        pytest.param({"iat": -3600, "exp": -25}, id="expired 25 seconds ago"),
        pytest.param({"nbf": 25}, id="good in 25 seconds"),
    ],
)
def test_a_clock_skew_of_thirty_seconds_is_accepted(
    client: FlaskClient, changed: dict[str, int]
) -> None:
    moved = {name: int(time.time()) + seconds for name, seconds in changed.items()}
    assert push(client, f"Bearer {signed(**moved)}").status_code == 204


def signed_for(**seconds: int) -> Callable[[], str]:
    """Return a function that signs a token whose times are these seconds from the call."""
    return lambda: f"Bearer {signed(**{k: int(time.time()) + s for k, s in seconds.items()})}"


def cut_off_for(**seconds: int) -> Callable[[], str]:
    """Return a function that signs such a token and cuts it as Cloud Run does."""
    return lambda: (
        f"Bearer {cut_off(claims(**{k: int(time.time()) + s for k, s in seconds.items()}))}"
    )


NOW = int(time.time())  # for times that are long past, however late the test runs
ELLIPTIC = unsigned({"alg": "ES256", "kid": "googles"}, claims())


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param(None, 401, id="no token"),
        pytest.param("", 401, id="an empty header"),
        pytest.param("Bearer", 401, id="no token after Bearer"),
        pytest.param("Bearer ", 401, id="a space for a token"),
        pytest.param("Basic dXNlcjpwYXNz", 401, id="a password"),
        pytest.param(signed(), 401, id="no scheme"),
        pytest.param("Bearer garbage", 401, id="garbage"),
        pytest.param("Bearer a.b.c", 401, id="garbage of three parts"),
        pytest.param("Bearer é.é.é", 401, id="other letters"),
        pytest.param(f"Bearer {signed()}x", 401, id="a letter more"),
        pytest.param(f"Bearer {signed()[:-8]}", 401, id="cut off"),
        pytest.param(signed_for(iat=-7200, exp=-3600), 401, id="expired"),
        pytest.param(signed_for(iat=900, exp=999), 401, id="of the future"),
        pytest.param(signed_for(iat=600), 401, id="issued in ten minutes"),
        pytest.param(signed_for(nbf=600), 401, id="good in ten minutes"),
        pytest.param(f"Bearer {signed(nbf='later')}", 401, id="good at no number"),
        pytest.param(signed_for(exp=-60), 401, id="expired a minute ago"),
        pytest.param(f"Bearer {signed(aud='https://other.example')}", 401, id="other audience"),
        pytest.param(f"Bearer {signed(aud=AUDIENCE + '/')}", 401, id="audience with a slash"),
        pytest.param(f"Bearer {signed(aud=[AUDIENCE])}", 401, id="a list of audiences"),
        pytest.param(f"Bearer {signed(aud=...)}", 401, id="no audience"),
        pytest.param(f"Bearer {signed(iss='https://issuer.example')}", 401, id="other issuer"),
        pytest.param(f"Bearer {signed(iss=...)}", 401, id="no issuer"),
        pytest.param(f"Bearer {signed(iat='soon')}", 401, id="a time that is not a number"),
        pytest.param(f"Bearer {signed(exp={})}", 401, id="an end that is not a number"),
        pytest.param(f"Bearer {signed(exp=...)}", 401, id="no end"),
        pytest.param(f"Bearer {signed(STRANGERS)}", 401, id="an unknown key"),
        pytest.param(f"Bearer {signed(STRANGERS, 'googles')}", 401, id="signed by another key"),
        pytest.param(f"Bearer {unsigned({'alg': 'none'}, claims())}", 401, id="alg none"),
        pytest.param(
            f"Bearer {unsigned({'alg': 'none', 'kid': 'googles'}, claims())}",
            401,
            id="alg none with a known key",
        ),
        pytest.param(f"Bearer {unsigned({'alg': 'HS256'}, claims())}", 401, id="a shared secret"),
        pytest.param(f"Bearer {signed_by_secret(GOOGLES.public)}", 401, id="the key as secret"),
        pytest.param(
            f"Bearer {signed_by_secret(GOOGLES.public, kid='googles')}", 401, id="the named key"
        ),
        pytest.param(
            f"Bearer {signed_by_secret(GOOGLES.certificate, kid='googles')}", 401, id="certificate"
        ),
        pytest.param(f"Bearer {ELLIPTIC}{'A' * 86}", 401, id="another kind of key"),
        pytest.param(f"Bearer {signed().rpartition('.')[0]}.", 401, id="an empty signature"),
        pytest.param(f"Bearer {signed().rpartition('.')[0]}", 401, id="no signature"),
        pytest.param(f"Bearer {cut_off(claims())}", 401, id="as if Cloud Run had verified it"),
        pytest.param(
            f"Bearer {unsigned({'alg': 'RS256', 'kid': 'googles'}, claims())}", 401, id="unsigned"
        ),
        pytest.param(f"Bearer {unsigned([], [])}", 401, id="lists for parts"),
        pytest.param(f"Bearer {unsigned({'alg': [], 'kid': {}}, 1)}", 401, id="other types"),
        pytest.param(
            f"Bearer {signed(email='somebody@demo-project.iam.gserviceaccount.com')}",
            403,
            id="another account",
        ),
        pytest.param(f"Bearer {signed(email=PUSHER.upper())}", 403, id="e-mail in capitals"),
        pytest.param(f"Bearer {signed(email=...)}", 403, id="no e-mail"),
        pytest.param(f"Bearer {signed(email_verified=False)}", 403, id="e-mail not verified"),
        pytest.param(f"Bearer {signed(email_verified='true')}", 403, id="verified as text"),
        pytest.param(f"Bearer {signed(email_verified=...)}", 403, id="verified left away"),
    ],
)
@pytest.mark.parametrize("path", ["/events/storage", "/events/predictions"])
def test_every_other_token_is_refused(
    client: FlaskClient, path: str, authorization: Authorization, status: int
) -> None:
    answer = push(client, authorization, path)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert PUSHER not in answer.text
    assert AUDIENCE not in answer.text


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(TransportError("no route to www.googleapis.com"), id="no connection"),
        pytest.param(Answer(b"", 500), id="500"),
        pytest.param(Answer(b"", 404), id="404"),
    ],
)
def test_a_push_is_retried_while_googles_certificates_are_unavailable(
    client: FlaskClient, certificates: Any, answer: Any
) -> None:
    certificates(answer)
    got = push(client, f"Bearer {signed()}")
    assert got.status_code == 503
    assert int(got.headers["Retry-After"]) > 0
    assert got.json["detail"] == "Google's certificates cannot be fetched now: try again"


def test_a_token_of_a_withdrawn_certificate_is_refused(
    client: FlaskClient, certificates: Any
) -> None:
    certificates(Answer(json.dumps({"next": STRANGERS.certificate}).encode()))
    assert push(client, f"Bearer {signed()}").status_code == 401
    assert push(client, f"Bearer {signed(STRANGERS, 'next')}").status_code == 204


def test_reading_routes_need_no_token(client: FlaskClient) -> None:
    """Cloud Run's own IAM guards the other routes."""
    assert client.get("/health").status_code == 200


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=200)
    | st.binary().map(lambda b: "Bearer " + base64.b64encode(b).decode())
    | st.builds(
        lambda header, payload: "Bearer " + unsigned(header, payload),
        st.dictionaries(st.sampled_from(["alg", "kid", "typ"]), st.text() | st.integers()),
        st.recursive(st.none() | st.text() | st.floats(), st.lists, max_leaves=4),
    )
)
def test_any_malformed_authorization_header_is_refused(
    client: FlaskClient, authorization: str
) -> None:
    assert push(client, authorization).status_code == 401


def test_a_deeply_nested_token_is_refused(client: FlaskClient) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 200_000).decode()
    assert push(client, f"Bearer {deep}.{deep}.").status_code == 401


@pytest.fixture
def behind_iam(certificates: Any) -> FlaskClient:
    """Return a client of a private service: Cloud Run verifies a signature and cuts it off."""
    private = replace(SERVICE, push_auth="platform", on_cloud_run=True, role="api")
    return wired(private).test_client()


def test_a_token_that_cloud_run_verified_may_lack_its_signature(
    behind_iam: FlaskClient, certificates: Any
) -> None:
    assert push(behind_iam, f"Bearer {signed()}").status_code == 204
    certificates(AssertionError("the certificates were fetched"))
    assert push(behind_iam, f"Bearer {cut_off(claims())}").status_code == 204


def test_a_token_that_cloud_run_did_not_verify_is_refused(behind_iam: FlaskClient) -> None:
    """Beside X-Serverless-Authorization, the caller may write anything into Authorization."""
    headers = {
        "Authorization": f"Bearer {cut_off(claims())}",
        "X-Serverless-Authorization": "Bearer of-somebody-who-may-invoke",
    }
    assert behind_iam.post("/events/storage", json=MESSAGE, headers=headers).status_code == 401
    assert push(behind_iam, f"Bearer {unsigned({'alg': 'RS256'}, claims())}").status_code == 401


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param(None, 401, id="no token"),
        pytest.param("Bearer garbage", 401, id="garbage"),
        pytest.param("Bearer a.%%%.SIGNATURE_REMOVED_BY_GOOGLE", 401, id="three parts"),
        pytest.param("Bearer a.é.SIGNATURE_REMOVED_BY_GOOGLE", 401, id="other letters"),
        pytest.param("Bearer .SIGNATURE_REMOVED_BY_GOOGLE", 401, id="two parts"),
        pytest.param(f"Bearer {cut_off([])}", 401, id="a list for claims"),
        pytest.param(f"Bearer {cut_off({})}", 401, id="no claims"),
        pytest.param(f"Bearer {cut_off(claims(exp='never'))}", 401, id="no number"),
        pytest.param(cut_off_for(exp=-99), 401, id="expired"),
        pytest.param(cut_off_for(nbf=99), 401, id="not valid yet"),
        pytest.param(f"Bearer {cut_off(claims(aud='https://other'))}", 401, id="audience"),
        pytest.param(f"Bearer {cut_off(claims(aud=...))}", 401, id="no audience"),
        pytest.param(f"Bearer {cut_off(claims(iss='https://other'))}", 401, id="issuer"),
        pytest.param(f"Bearer {cut_off(claims(email='a@b'))}", 403, id="another account"),
        pytest.param(f"Bearer {cut_off(claims(email_verified=False))}", 403, id="e-mail"),
    ],
)
def test_claims_that_cloud_run_does_not_verify_are_verified(
    behind_iam: FlaskClient, authorization: Authorization, status: int
) -> None:
    assert push(behind_iam, authorization).status_code == status


HUGE = 10**3999  # 4,000 digits
NO_TIMES = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "4,000 digits": HUGE,
    "minus 4,000 digits": -HUGE,
    "true": True,
    "text": str(NOW + 60),
    "null": None,
    "a list": [NOW + 60],
    "a year in milliseconds": NOW * 1000,
}


@pytest.mark.parametrize("time_", NO_TIMES.values(), ids=NO_TIMES)
@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
def test_a_time_that_is_not_a_plain_number_of_seconds_is_refused(
    client: FlaskClient, behind_iam: FlaskClient, claim: str, time_: Any
) -> None:
    changed = {claim: time_}
    assert push(client, f"Bearer {signed(**changed)}").status_code == 401
    assert push(behind_iam, f"Bearer {cut_off(claims(**changed))}").status_code == 401


@pytest.mark.parametrize("digits", ["1e400", "-1e400", "9" * 5000])
def test_a_number_of_too_many_digits_is_refused(behind_iam: FlaskClient, digits: str) -> None:
    text = json.dumps(claims(exp=0)).replace('"exp": 0', f'"exp": {digits}')
    payload = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    token = f"e30.{payload}.SIGNATURE_REMOVED_BY_GOOGLE"
    assert push(behind_iam, f"Bearer {token}").status_code == 401


def caller_of(**changed: Any) -> str:
    """Return the header of a caller whose token Cloud Run has verified."""
    return f"Bearer {cut_off(claims(**changed))}"


CALLERS = {
    "verified": (caller_of(email="me@example.com"), "me@example.com"),
    "any audience": (caller_of(email="me@example.com", aud="gcloud"), "me@example.com"),
    "a service account": (f"Bearer {cut_off(claims())}", PUSHER),
    "not verified by Google": (caller_of(email="me@example.com", email_verified=False), None),
    "no e-mail": (caller_of(email=...), None),
    "another issuer": (caller_of(iss="https://other"), None),
    "a number": (caller_of(email=7), None),
    "a signature": (f"Bearer {signed()}", None),  # Cloud Run cuts off what it has verified
    "no token": (None, None),
    "another scheme": ("Basic bWU6eA==", None),
    "a list for claims": (f"Bearer {cut_off([])}", None),
    "garbage": ("Bearer a.%%%.SIGNATURE_REMOVED_BY_GOOGLE", None),
    "two parts": ("Bearer .SIGNATURE_REMOVED_BY_GOOGLE", None),
}


@pytest.mark.parametrize(("authorization", "email"), CALLERS.values(), ids=CALLERS.keys())
def test_a_caller_is_named_only_if_cloud_run_has_verified_it(
    behind_iam: FlaskClient, authorization: str | None, email: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with behind_iam.application.test_request_context(headers=headers):
        assert auth.caller() == email
    other = {"X-Serverless-Authorization": "Bearer of-somebody-who-may-invoke"}
    with behind_iam.application.test_request_context(headers=headers | other):
        assert auth.caller() is None


def test_a_caller_of_a_service_that_verifies_tokens_by_itself_is_not_named(
    client: FlaskClient,
) -> None:
    headers = {"Authorization": f"Bearer {cut_off(claims())}"}
    with client.application.test_request_context(headers=headers):
        assert auth.caller() is None
