"""Identity-Aware Proxy's assertion: who passed it, and what is refused."""

import json
import time
from typing import Any

import pytest
import requests
from werkzeug.exceptions import Unauthorized

from app import iap
from assertions import AUDIENCE, GOOGLES, PERSON, STRANGERS, FakeKeys, claims, signed
from mlsys.errors import TryAgain
from tokens import signed as signed_by_rsa
from tokens import signed_by_secret, unsigned


def test_the_person_is_the_verified_email() -> None:
    assert iap.email(signed(), AUDIENCE, FakeKeys()) == PERSON


def test_a_clock_skew_of_half_a_minute_is_accepted() -> None:
    now = int(time.time())
    for times in ({"iat": now + 25}, {"exp": now - 25}):
        assert iap.email(signed(**times), AUDIENCE, FakeKeys()) == PERSON


def cut(assertion: str, part: int, text: str) -> str:
    """Return the assertion with one of its three parts replaced."""
    parts = assertion.split(".")
    return ".".join([*parts[:part], text, *parts[part + 1 :]])


NOW = int(time.time())
OTHER = AUDIENCE.replace("mlsys-web-dev", "mlsys-web-prod")


@pytest.mark.parametrize(
    "assertion",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("x", id="not a token"),
        pytest.param("a.b.c", id="three words"),
        pytest.param("." * 100_000, id="dots"),
        pytest.param(signed() + ", " + signed(), id="two headers"),
        pytest.param(PERSON, id="an e-mail"),
        pytest.param(signed(aud=OTHER), id="another service's"),
        pytest.param(signed(aud=[AUDIENCE, OTHER]), id="two audiences"),
        pytest.param(signed(aud=...), id="no audience"),
        pytest.param(signed(aud=f"{AUDIENCE}/"), id="nearly the audience"),
        pytest.param(signed(iss="https://accounts.google.com"), id="another issuer"),
        pytest.param(signed(iss=...), id="no issuer"),
        pytest.param(signed(iat=NOW - 1000, exp=NOW - 40), id="expired"),
        pytest.param(signed(iat=NOW + 3600, exp=NOW + 7200), id="early"),
        pytest.param(signed(exp=...), id="no expiry"),
        pytest.param(signed(iat=...), id="no time"),
        pytest.param(signed(exp=True), id="true as expiry"),
        pytest.param(signed(exp=float("inf")), id="infinity as expiry"),
        pytest.param(signed(exp=10**400), id="a huge expiry"),
        pytest.param(signed(nbf=NOW + 3600), id="not valid yet"),
        pytest.param(signed(email=...), id="no e-mail"),
        pytest.param(signed(email=""), id="an empty e-mail"),
        pytest.param(signed(email=["a@example.com"]), id="a list of e-mails"),
        pytest.param(signed(email="a@example.com\r\nX: y"), id="an e-mail of two lines"),
        pytest.param(signed(STRANGERS), id="an unknown key"),
        pytest.param(signed(STRANGERS, "kid-1"), id="a known key's name"),
        pytest.param(signed(key_id=""), id="no key's name"),
        pytest.param(signed_by_rsa(aud=AUDIENCE, iss=iap.ISSUER), id="RS256"),
        pytest.param(signed_by_secret(GOOGLES.public, kid="kid-1"), id="HS256 of the public key"),
        pytest.param(unsigned({"alg": "none", "kid": "kid-1"}, claims()), id="no signature"),
        pytest.param(unsigned({"alg": "ES256", "kid": "kid-1"}, claims()), id="an empty one"),
        pytest.param(unsigned({"alg": "ES256", "kid": ["kid-1"]}, claims()), id="a list as kid"),
        pytest.param(unsigned(["ES256"], claims()), id="a list as header"),
        pytest.param(cut(signed(), 1, "e30"), id="other claims"),
        pytest.param(cut(signed(), 2, "AAAA"), id="a short signature"),
        pytest.param(cut(signed(), 2, signed(sub="2").split(".")[2]), id="another one's signature"),
    ],
)
def test_every_other_assertion_is_refused(assertion: str | None) -> None:
    with pytest.raises(Unauthorized):
        iap.email(assertion, AUDIENCE, FakeKeys())


def test_keys_are_kept_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, now = FakeKeys(), [1000.0]
    monkeypatch.setattr("app.iap.time.monotonic", lambda: now[0])
    for _ in range(50):
        assert keys.get("kid-1")
    assert keys.fetches == 1
    now[0] += iap.KEPT
    assert keys.get("kid-1")
    assert keys.fetches == 2


def test_an_unknown_key_is_looked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = FakeKeys({"kid-0": "old"}, {"kid-1": GOOGLES.public})
    now = [1000.0]
    monkeypatch.setattr("app.iap.time.monotonic", lambda: now[0])
    for _ in range(50):
        with pytest.raises(Unauthorized):
            keys.get("kid-1")
    assert keys.fetches == 1
    now[0] += iap.LOOK_AGAIN
    assert keys.get("kid-1") == GOOGLES.public


def test_nobody_is_let_in_while_the_keys_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, now = FakeKeys(TryAgain("busy"), {"kid-1": GOOGLES.public}, TryAgain("busy")), [1000.0]
    monkeypatch.setattr("app.iap.time.monotonic", lambda: now[0])
    with pytest.raises(TryAgain):
        iap.email(signed(), AUDIENCE, keys)
    assert iap.email(signed(), AUDIENCE, keys) == PERSON
    now[0] += iap.KEPT
    with pytest.raises(TryAgain):  # the keys that it had are too old
        iap.email(signed(), AUDIENCE, keys)


def answering(status: int, content: Any) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer._content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return answer


@pytest.mark.parametrize(
    "answer",
    [
        requests.ConnectionError("no network"),
        requests.Timeout("too slow"),
        answering(500, {"kid-1": GOOGLES.public}),
        answering(302, {"kid-1": GOOGLES.public}),
        answering(200, b"<html>"),
        answering(200, {}),
        answering(200, ["kid-1"]),
        answering(200, None),
        answering(200, {"kid-1": 7}),
        answering(200, b"[" * 100_000),
    ],
    ids=lambda answer: str(answer),
)
def test_an_answer_without_keys_is_no_reason_to_let_anybody_in(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    def get(url: str, **options: Any) -> requests.Response:
        assert url == iap.KEYS_URL and options["timeout"] <= 10
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(TryAgain):
        iap.email(signed(), AUDIENCE, iap.Keys())


def test_the_keys_come_from_googles_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda url, **_: answering(200, {"kid-1": GOOGLES.public}))
    assert iap.email(signed(), AUDIENCE, iap.Keys()) == PERSON
