"""The console acts only on requests of its own pages, and every answer has its headers."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, iap
from app.console import protection
from app.console.pages import blueprint
from assertions import AUDIENCE, PERSON, FakeKeys, signed
from edge_cases import SERVICE
from mlsys.errors import TryAgain
from mlsys.settings import Settings
from tokens import claims, cut_off
from wired import NoClients

LOCAL = replace(SERVICE, url="http://stack.example:8080")
BEHIND_IAP = Settings(
    "demo-project", envs=("dev",), role="web", iap_audience=AUDIENCE, on_cloud_run=True
)
BEHIND_IAM = Settings(
    "demo-project", envs=("dev",), role="web", push_auth="platform", on_cloud_run=True
)
HOST = "console.example"


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Settings], FlaskClient]]:
    """Yield a function that serves the console with settings, and two more routes."""

    @functools.cache
    def application(settings: Settings) -> Flask:
        app = create_app(settings, NoClients(settings))
        acts, looks = lambda: f"acted for {flask.g.who}", lambda: f"shown to {flask.g.who}"
        app.add_url_rule("/ui/act", "act", acts, methods=["POST"])
        app.add_url_rule("/ui/look", "look", looks)
        return app

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.logs.configure", lambda: None)
        yield lambda settings: application(settings).test_client()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> FakeKeys:
    """Replace Google's keys, and return them."""
    keys = FakeKeys()
    monkeypatch.setattr(iap, "google_keys", lambda: keys)
    return keys


def act(client: FlaskClient, headers: Any, method: str = "POST") -> Any:
    """Send a request as a browser that is signed in would."""
    sent = [("Host", HOST), (iap.HEADER, signed()), *(headers or ())]
    return client.open("/ui/act", method=method, headers=sent)


@pytest.mark.parametrize(
    "headers",
    [
        [("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none")],
        [("Sec-Fetch-Site", "same-origin"), ("Origin", f"https://{HOST}")],
        # `gcloud run services proxy` is reached by another name than the service's
        [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://localhost:8080")],
        [("Origin", f"https://{HOST}")],
        [("Origin", f"HTTPS://{HOST.upper()}")],
    ],
    ids=str,
)
def test_the_consoles_own_forms_act(
    serve: Callable[..., FlaskClient], keys: FakeKeys, headers: Any
) -> None:
    answer = act(serve(BEHIND_IAP), headers)
    assert (answer.status_code, answer.text) == (200, f"acted for {PERSON}")


OTHERS = [
    "https://evil.example",
    f"https://{HOST}.evil.example",
    f"https://evil-{HOST}",
    f"https://sub.{HOST}",
    f"https://{HOST}:8443",
    f"https://{HOST}@evil.example",
    f"https://evil.example@{HOST}",
    f"https://user@{HOST}",
    f"https://{HOST}/",
    f"https://{HOST}/path",
    f"https://{HOST}?x",
    f"https://{HOST}#x",
    f"https:/{HOST}",
    f"//{HOST}",
    HOST,
    f"ftp://{HOST}",
    f"file://{HOST}",
    f"javascript://{HOST}",
    f"chrome-extension://{HOST}",
    f"https://{HOST} https://evil.example",
    f"https://evil.example, https://{HOST}",
    f"https://{HOST}\thttps://evil.example",
    f"https://{HOST}.",
    "https://xn--console-example",
    "https://127.0.0.1",
    "http://localhost",
    "null",
    "NULL",
    "",
    "*",
    "about:blank",
    "data:text/html,x",
]
SITES = [
    *("cross-site", "same-site", "Same-Origin", "SAME-ORIGIN", "same-origin, cross-site"),
    *("cross-site, same-origin", "none, none", "same_origin", "null", "", "*", "true", "?1"),
]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="neither header"),
        *(pytest.param([("Origin", origin)], id=f"origin {origin}") for origin in OTHERS),
        *(pytest.param([("Sec-Fetch-Site", site)], id=f"site {site}") for site in SITES),
        # What the browser says of the site decides, whatever else is there
        *(
            pytest.param(
                [("Sec-Fetch-Site", site), ("Origin", f"https://{HOST}")], id=f"own {site}"
            )
            for site in ("cross-site", "same-site", "")
        ),
        pytest.param([("Sec-Fetch-Site", "same-origin")] * 2, id="the site twice"),
        pytest.param([("Origin", f"https://{HOST}")] * 2, id="the origin twice"),
        pytest.param([("Referer", f"https://{HOST}/ui/")], id="the referrer alone"),
        pytest.param([("X-Requested-With", "XMLHttpRequest")], id="a script's header"),
        pytest.param([("HX-Request", "true")], id="htmx's header"),
        pytest.param(
            [("Origin", "https://evil.example"), ("X-Forwarded-Host", "evil.example")],
            id="a forwarded host",
        ),
        pytest.param(
            [("Origin", "https://evil.example"), ("Forwarded", "host=evil.example")],
            id="forwarded",
        ),
        pytest.param(
            [("Origin", "https://evil.example"), ("X-Original-Host", "evil.example")],
            id="an original host",
        ),
    ],
)
def test_a_request_of_another_site_is_refused(
    serve: Callable[..., FlaskClient], keys: FakeKeys, headers: Any
) -> None:
    answer = act(serve(BEHIND_IAP), headers)
    assert answer.status_code == 403
    assert "acted" not in answer.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
def test_only_post_acts(serve: Callable[..., FlaskClient], keys: FakeKeys, method: str) -> None:
    override = [("X-HTTP-Method-Override", "POST"), ("Sec-Fetch-Site", "same-origin")]
    answer = act(serve(BEHIND_IAP), override, method)
    assert answer.status_code in (200, 404, 405) and "acted" not in answer.text


@pytest.mark.parametrize(
    "assertion",
    [None, "x", signed(aud=f"{AUDIENCE}-other"), signed(iat=1, exp=2), signed(iss="https://x")],
    ids=["none", "forged", "another audience", "expired", "another issuer"],
)
@pytest.mark.parametrize("path", ["/ui/look", "/ui/", "/ui/static/x/console.css", "/ui/nothing"])
def test_nobody_sees_a_page_without_an_assertion(
    serve: Callable[..., FlaskClient], keys: FakeKeys, path: str, assertion: str | None
) -> None:
    headers = {"X-Goog-Authenticated-User-Email": f"accounts.google.com:{PERSON}"}
    headers |= {"Authorization": f"Bearer {cut_off(claims())}"}
    headers |= {iap.HEADER: assertion} if assertion else {}
    assert serve(BEHIND_IAP).get(path, headers=headers).status_code == 401


def test_without_googles_keys_it_is_tried_again(
    serve: Callable[..., FlaskClient], keys: FakeKeys
) -> None:
    keys.answers = [TryAgain("The keys cannot be fetched now: try again")]
    answer = serve(BEHIND_IAP).get("/ui/look", headers={iap.HEADER: signed()})
    assert answer.status_code == 503 and "shown" not in answer.text


def test_without_the_proxy_it_is_the_account_that_cloud_run_checked(
    serve: Callable[..., FlaskClient], keys: FakeKeys
) -> None:
    client = serve(BEHIND_IAM)
    token = cut_off(claims(email="bob@example.com"))
    answer = client.get("/ui/look", headers={"Authorization": f"Bearer {token}"})
    assert answer.text == "shown to bob@example.com"
    assert client.get("/ui/look", headers={iap.HEADER: signed()}).status_code == 401
    assert client.get("/ui/look").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "localhost", "localhost:1", "[::1]:8080", "LOCALHOST", "stack.example:8080"],
)
def test_the_local_stack_answers_at_its_own_addresses(
    serve: Callable[..., FlaskClient], host: str
) -> None:
    answer = serve(LOCAL).get("/ui/look", headers={"Host": host})
    assert answer.text == "shown to local-stack@localhost"


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "localhost.evil"),
        *("127.0.0.1, evil.example", "stack.example", "stack.example:80", "localhost:x", ""),
        *("0.0.0.0", "[::]", "127.1", "2130706433", "localhost.", "localhost:8080/ui"),
    ],
)
def test_a_name_that_another_site_gave_this_machine_is_refused(
    serve: Callable[..., FlaskClient], host: str
) -> None:
    headers = {"Host": host, "Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}"}
    for answer in (
        serve(LOCAL).get("/ui/look", headers=headers),
        serve(LOCAL).post("/ui/act", headers=headers),
    ):
        assert answer.status_code in (400, 403)
        assert "shown" not in answer.text and "acted" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/ui", "/ui/", "/ui/nothing", "/ui/look", "/ui/act", "/ui/look?env=x&env=y", "/ui//look"],
)
def test_every_answer_has_the_headers(serve: Callable[..., FlaskClient], path: str) -> None:
    answer = serve(LOCAL).get(path)
    for name, value in protection.HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert "evil" not in answer.headers.get("Location", "")


def test_the_policy_loads_nothing_from_elsewhere() -> None:
    rules = dict(rule.split(" ", 1) for rule in protection.POLICY.split("; "))
    assert rules["default-src"] == "'none'"
    assert {source for text in rules.values() for source in text.split()} == {
        *("'none'", "'self'", "data:")
    }
    assert rules["img-src"] == "'self' data:" and "data:" not in rules["script-src"]


API = [
    ("GET", "/predict"),
    ("POST", "/predict"),
    ("POST", "/events/storage"),
    ("POST", "/events/predictions"),
    ("GET", "/models"),
    ("GET", "/model-registry"),
    ("GET", "/runs"),
    ("DELETE", "/runs/x"),
    ("POST", "/models/m/aliases/champion"),
    ("GET", "/check"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/swagger"),
]


@pytest.mark.parametrize(("method", "path"), API)
def test_the_console_does_not_serve_the_api(
    serve: Callable[..., FlaskClient], keys: FakeKeys, method: str, path: str
) -> None:
    headers = {iap.HEADER: signed(), "Sec-Fetch-Site": "same-origin"}
    assert serve(BEHIND_IAP).open(path, method=method, headers=headers).status_code == 404


def test_the_api_does_not_serve_the_console(
    serve: Callable[..., FlaskClient],
) -> None:
    client = create_app(replace(SERVICE, role="api"), NoClients(SERVICE)).test_client()
    blueprints = client.application.blueprints
    assert blueprint.name not in blueprints and "predictions" in blueprints
    for path in ("/ui", "/ui/", "/ui/models", "/ui/health"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.is_json


def test_one_process_serves_both_on_the_local_stack(serve: Callable[..., FlaskClient]) -> None:
    client = serve(LOCAL)
    assert client.get("/health").status_code == 200
    assert client.get("/predict").status_code == 400
    assert client.get("/ui/look").status_code == 200


def test_the_consoles_root_leads_to_its_first_page(
    serve: Callable[..., FlaskClient], keys: FakeKeys
) -> None:
    client = serve(BEHIND_IAP)
    answer = client.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/ui/")
    assert client.get("/health").status_code == 200
