"""A person uses the console in a browser: from an empty stack to a scored table, and back.

`make test-browser` runs this alone, so its stack is empty.
"""

from __future__ import annotations

import os
import subprocess  # marks the tests
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from browser import Browser, browsers, missing
from mlsys.bq import bq_get, bq_put
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
assert subprocess

MODEL = "titanic-survival"
WIDTHS = (1400, 360)
DARK = 360  # the width at which pages are looked at in dark colours
if (lacks := missing()) is not None and not os.environ.get("REQUIRE_BROWSER"):
    pytestmark.append(pytest.mark.skip(reason=lacks))


@pytest.fixture(scope="module")
def window() -> Iterator[Callable[..., Browser]]:
    with browsers() as make:
        yield make


@pytest.fixture
def url(stack: LocalStack, environment: dict[str, str]) -> str:
    assert stack.url is not None
    return stack.url


def upload(version: str, accuracy: float) -> None:
    """Upload a model that cannot score a row whose sex it has not seen."""
    train = bq_get("SELECT Sex, Pclass, Survived FROM titanic.train")
    x = train[["Sex", "Pclass"]]
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["Sex"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(x, train["Survived"])
    upload_model(model, MODEL, version, X=x, y=train["Survived"], metrics={"accuracy": accuracy})


def faults_of(browser: Browser) -> list[str]:
    """Return what is wrong with the page for people who see badly, and on a telephone."""
    faults = []
    for width in WIDTHS:
        browser.resize(width)
        browser.darken(width == DARK)
        faults += [f"{browser.address} at {width}: {fault}" for fault in browser.faults()]
        wide = browser.run("return document.documentElement.scrollWidth")
        faults += [f"{browser.address} at {width} is {wide} wide"] if wide > width else []
        if pictures := os.environ.get("PICTURES"):
            name = urlsplit(browser.address).path.strip("/").replace("/", "-")
            browser.picture(Path(pictures) / f"{name}-{width}.png")
    browser.resize(WIDTHS[0])
    return faults


def score(browser: Browser, url: str, table: str, rows: str = "") -> None:
    """Fill in the form of a run, check it, run it, and wait until it has ended."""
    browser.open(f"{url}/ui/models/{MODEL}")
    browser.link("Score a table")
    browser.fill(
        input_table=f"mlsys-local.titanic.{table}",
        output_table=f"mlsys-local.titanic.{table}_scored",
        model_version="champion",
    )
    if rows:
        browser.press("details.more summary")
        browser.fill(max_rejects=rows)
    browser.press("button[value=check]")
    browser.until(lambda page: "It would work." in page.text)
    browser.press("button[value=run]")
    browser.until(lambda page: "/ui/runs/" in page.address)
    browser.until(lambda page: page.count("h1 .state-good, h1 .state-bad") == 1, 60)


def set_champion(browser: Browser, url: str, version: str) -> None:
    """Point the alias at a version, after its check."""
    browser.open(f"{url}/ui/models/{MODEL}")
    browser.link("Set an alias")
    browser.fill(alias="champion", version=version, why=f"try {version}")
    browser.press("button[value=check]")
    browser.until(lambda page: page.count("button[value=set]") == 1)
    assert "local-stack@localhost" in browser.text
    browser.press("button[value=set]")
    browser.until(lambda page: f"champion names {version}" in page.text)


def test_from_an_empty_stack_to_a_scored_table_and_back(
    window: Callable[..., Browser], url: str
) -> None:
    browser, faults = window(), list[str]()
    browser.open(f"{url}/ui/")
    browser.until(lambda page: "Overview" in page.title)
    faults += faults_of(browser)

    upload("v1", 0.78)
    upload("v2", 0.79)
    browser.link("Models")
    browser.link(MODEL)
    browser.until(lambda page: page.count(f"a[href='/ui/models/{MODEL}/v1']") >= 1)
    browser.link("v1")
    browser.until(lambda page: "v1" in page.title)
    faults += faults_of(browser)

    set_champion(browser, url, "v1")
    faults += faults_of(browser)
    score(browser, url, "test")
    assert browser.count("h1 .state-good") == 1
    browser.until(lambda page: page.count(".later") == 0)  # what is loaded after the page
    faults += faults_of(browser)

    strange = pd.DataFrame({"Sex": ["male", "unknown", "female"], "Pclass": [1, 2, 3]})
    bq_put(strange, "mlsys-local.titanic.strange")
    score(browser, url, "strange")
    assert browser.count("h1 .state-bad") == 1 and "unknown" in browser.text
    faults += faults_of(browser)
    score(browser, url, "strange", "50%")
    browser.until(lambda page: "unknown" in page.text)
    assert browser.count("h1 .state-good") == 1

    set_champion(browser, url, "v2")
    set_champion(browser, url, "v1")
    assert browser.text.index("v2 → v1") < browser.text.index("v1 → v2")
    for path in ("", "models", "runs", "health", "new-run", "rescan", "quarantine"):
        browser.open(f"{url}/ui/{path}")
        browser.until(lambda page: page.count(".later") == 0)
        faults += faults_of(browser)
    browser.open(f"{url}/ui/tables/mlsys-local.titanic.strange_scored")
    faults += faults_of(browser)

    assert not faults, "\n".join(faults)
    other = {a for a in browser.requests() if not a.startswith((f"{url}/ui", "data:", "chrome"))}
    assert other == set()
    assert [text for text in browser.complaints() if "Content Security" in text] == []


def test_everything_works_without_javascript(window: Callable[..., Browser], url: str) -> None:
    upload("v3", 0.8)
    browser = window(javascript=False)
    browser.open(f"{url}/ui/")
    browser.link("Models")
    browser.link(MODEL)
    browser.until(lambda page: "v3" in page.text)
    set_champion(browser, url, "v3")
    score(browser, url, "test")
    assert browser.count("h1 .state-good") == 1
    browser.link("Health")
    browser.link("Check tables, buckets, topics and rights")
    browser.until(lambda page: "checks" in page.text)
