"""The service under its own gunicorn settings, without a backend, with a slow route."""

import time

from flask import request

from app import create_app
from mlsys.cloud.clients import Clients
from mlsys.settings import Emulators, Settings

SETTINGS = Settings(
    "demo-project", envs=("dev",), push_auth="off", emulators=Emulators("http://127.0.0.1:9")
)
app = create_app(SETTINGS, Clients(SETTINGS))


@app.route("/slow", methods=["GET", "POST"])
def slow() -> dict[str, int]:
    time.sleep(float(request.args["seconds"]))
    return {"bytes": len(request.get_data())}


@app.route("/large")
def large() -> str:
    return "x" * 20_000_000
