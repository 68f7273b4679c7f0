"""The console: pages under `/ui` over the functions of the API, for people.

`register` is its door. A page is a function that returns a `pages.Page`: its view, JSON values, is
the answer of the page's `.json` twin and what its template shows. Pages work without JavaScript;
htmx loads heavy parts after the header, and follows a run that works.
"""

from __future__ import annotations

import importlib

from flask import Flask

from app.console.pages import blueprint
from app.console.views import MODULES


def register(app: Flask) -> None:
    """Serve the console under `/ui`."""
    for name in MODULES:
        importlib.import_module(f"app.console.views.{name}")
    app.register_blueprint(blueprint)
