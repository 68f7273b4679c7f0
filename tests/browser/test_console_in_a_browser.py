"""A person uses the console in a browser: from an empty stack to a scored table, and back.

`make test-browser` runs this alone, so its stack is empty.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from browser import MARKS, Browser, browser
from mlsys.bq import bq_get, bq_put
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model

pytestmark = [*MARKS, pytest.mark.timeout(300)]

MODEL = "titanic-survival"
WIDTHS = (1400, 360)
DARK = 360  # the width at which pages are looked at in dark colours


@pytest.fixture
def url(stack: LocalStack, environment: dict[str, str]) -> str:
    assert stack.url is not None
    return stack.url


@functools.cache
def rows(table: str, columns: str = "Sex, Pclass") -> pd.DataFrame:
    """Return these columns of a sample table."""
    return bq_get(f"SELECT {columns} FROM titanic.{table}")


@functools.cache
def upload(version: str, accuracy: float) -> None:
    """Upload once a model that cannot score a row whose sex it has not seen."""
    train = rows("train", "Sex, Pclass, Survived")
    x = train[["Sex", "Pclass"]]
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["Sex"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(x, train["Survived"])
    upload_model(model, MODEL, version, X=x, y=train["Survived"], metrics={"accuracy": accuracy})


def look(page: Browser, faults: list[str]) -> None:
    """Add what is wrong with the page for people who see badly, and on a telephone."""
    for width in WIDTHS:
        page.show(width, dark=width == DARK)
        faults += [f"{page.current_url} at {width}: {fault}" for fault in page.faults()]
        wide = page.execute_script("return document.documentElement.scrollWidth")
        faults += [f"{page.current_url} at {width} is {wide} wide"] if wide > width else []
        if pictures := os.environ.get("PICTURES"):
            name = urlsplit(page.current_url).path.strip("/").replace("/", "-")
            page.picture(Path(pictures) / f"{name}-{width}.png")
    page.show(WIDTHS[0], dark=False)


def run(page: Browser) -> str:
    """Check the form of a run, run it, wait until the run has ended, and return its state."""
    page.press("button[value=check]")
    page.until(lambda page: "It would work." in page.text)
    page.press("button[value=run]")
    page.until(lambda page: bool(page.texts("h1 .state-good, h1 .state-bad")), 60)
    assert page.texts("#progress[hx-get]") == []  # it is not refreshed any longer
    page.until(lambda page: page.texts(".later a") == [])  # what is loaded after the page
    return page.texts("h1 .state")[0]


def fill(page: Browser, table: str) -> None:
    """Fill in the form of a run."""
    page.fill(
        input_table=f"mlsys-local.titanic.{table}",
        output_table=f"mlsys-local.titanic.{table}_scored",
        model_version="champion",
    )


def set_champion(page: Browser, url: str, version: str) -> None:
    """Point the alias at a version, after its check."""
    page.get(f"{url}/ui/models/{MODEL}")
    page.link("Set an alias")
    page.fill(alias="champion", version=version, why=f"try {version}")
    page.press("button[value=check]")
    page.until(lambda page: page.texts("button[value=set]") != [])
    assert "local-stack@localhost" in page.text
    page.press("button[value=set]")
    page.until(lambda page: f"champion names {version}" in page.text)


def drift(page: Browser) -> dict[str, tuple[str, str]]:
    """Return the level and the distance that the page shows for each column."""
    cells = [page.texts(f"td[data-label={label}]") for label in ("Column", "Level", "Distance")]
    columns, levels, distances = cells
    shown = zip(levels, distances, strict=True)
    return {column.split()[0]: row for column, row in zip(columns, shown, strict=True)}


def distance(column: str, frame: pd.DataFrame) -> str:
    """Return how far a column is from the training data."""
    both = pd.concat(
        [each[column].value_counts(normalize=True) for each in (rows("train"), frame)], axis=1
    ).fillna(0)
    return f"{jensenshannon(*both.to_numpy().T, base=2):.4g}"


def rejects(page: Browser) -> list[str]:
    """Return the names of the rows that the page shows as rejected for their sex."""
    assert all("unknown" in reason for reason in page.texts("p.attention-title"))
    return sorted(json.loads(row)["Name"] for row in page.texts(".row-json"))


def test_from_an_empty_stack_to_a_scored_table_and_back(url: str) -> None:
    faults: list[str] = []
    with browser() as page:
        walk(page, url, faults)
        for path in ("", "runs", "rescan", "quarantine", "health"):
            page.get(f"{url}/ui/{path}")
            page.until(lambda page: page.texts(".later a") == [])
            look(page, faults)
        requested, complaints = page.requested(), page.get_log("browser")
    assert not faults, "\n".join(faults)
    assert {a for a in requested if not a.startswith((f"{url}/ui", "data:", "chrome"))} == set()
    assert [each for each in complaints if "Content Security" in each["message"]] == []


def walk(page: Browser, url: str, faults: list[str]) -> None:
    """Upload, set the champion, score, look at drift and rejects, and move the alias back."""
    page.get(f"{url}/ui/")
    assert "Overview" in page.title
    look(page, faults)

    upload("v1", 0.78)
    upload("v2", 0.79)
    page.link("Models")
    page.until(lambda page: MODEL in page.text)
    look(page, faults)
    page.link(MODEL)
    page.link("v1")
    page.until(lambda page: "v1" in page.title)
    look(page, faults)

    set_champion(page, url, "v1")
    look(page, faults)
    page.link("Score a table")
    page.until(lambda page: page.texts("button[value=check]") != [])
    look(page, faults)
    fill(page, "test")
    assert run(page) == "succeeded"
    shown = drift(page)
    for column in ("Sex", "Pclass"):
        assert shown[column] == ("ok", distance(column, rows("test")))
    look(page, faults)

    strange = pd.DataFrame({"Sex": ["unknown"] * 6 + ["female"] * 54, "Pclass": 1})
    strange["Name"] = [f"passenger {number}" for number in range(len(strange))]
    bq_put(strange, "mlsys-local.titanic.strange")
    page.get(f"{url}/ui/new-run?model_name={MODEL}")
    fill(page, "strange")
    page.fill(id_columns="Name")
    assert run(page) == "failed"
    assert rejects(page) == strange["Name"][:6].tolist()
    look(page, faults)

    page.link("Run it again")
    page.press("details.more summary")
    page.fill(max_rejects="50%")
    assert run(page) == "succeeded"
    assert rejects(page) == strange["Name"][:6].tolist()
    shown = drift(page)
    for column in ("Sex", "Pclass"):
        assert shown[column] == ("drift", distance(column, strange))
        assert f"{column} {float(shown[column][1]):.2f}" in page.text  # the line of the run
    page.link("mlsys-local.titanic.strange_scored")
    page.until(lambda page: "strange_scored" in page.title)
    look(page, faults)

    set_champion(page, url, "v2")
    set_champion(page, url, "v1")
    moves = page.texts(".history li")
    for move, (change, why) in zip(
        moves, (("v2 → v1", "try v1"), ("v1 → v2", "try v2"), ("→ v1", "try v1")), strict=True
    ):
        assert change in move and why in move and "local-stack@localhost" in move


def test_everything_works_without_javascript(url: str) -> None:
    upload("v2", 0.79)
    with browser(javascript=False) as page:
        page.get(f"{url}/ui/")
        page.link("Models")
        page.link(MODEL)
        set_champion(page, url, "v2")
        page.link("Score a table")
        fill(page, "test")
        page.press("button[value=check]")
        page.until(lambda page: "It would work." in page.text)
        page.press("button[value=run]")
        page.until(lambda page: page.texts("h1 .state-good") == ["succeeded"], 60)
        address = page.current_url
        page.link("Each column beside the training data")
        page.until(lambda page: page.texts("td[data-label=Distance]") != [])
        assert drift(page)["Sex"] == ("ok", distance("Sex", rows("test")))
        page.get(address)
        page.link("Undo")
        page.link("What it removes, and the form that does it")
        page.until(lambda page: page.texts("textarea[name=why]") != [])
        page.fill(why="only a try")
        page.press("button.btn-danger")
        page.until(lambda page: "Undone" in page.text and "Being" not in page.text, 60)
        assert "removes 418 rows" in page.text and "only a try" in page.text
        page.link("Health")
        page.link("Check tables, buckets, topics and rights")
        page.until(lambda page: "checks" in page.text)
