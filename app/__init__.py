"""The HTTP edge: the only code that knows Flask."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from flask import current_app, jsonify
from flask_openapi3 import Info, OpenAPI, Server

import mlsys
from mlsys.cloud.clients import Clients, clients_for
from mlsys.errors import SettingsError
from mlsys.settings import Settings
from workers.sandbox import walls

MAX_BODY = 1024 * 1024  # bytes; Pub/Sub messages of ours are a few kilobytes


@dataclass(frozen=True, slots=True)
class Service:
    """The settings, the clients and the stop signal that the routes share."""

    settings: Settings
    clients: Clients
    stopping: threading.Event = field(default_factory=threading.Event)


def service() -> Service:
    """Return the service that the current request belongs to."""
    return current_app.extensions["mlsys"]


def risks(settings: Settings, held: walls.Walls) -> list[str]:
    """Return what `MLSYS_MODELS=any` leaves open here, for the log."""
    if settings.models != "any":
        return []
    open_ = []
    if not settings.signing_keys:
        open_.append(
            "MLSYS_MODELS=any without MLSYS_MODEL_SIGNING_KEY: everybody who can write to the "
            "models bucket can run code on the rows that are scored. Set a key to require "
            "signatures."
        )
    if not held.filter:
        open_.append(
            f"MLSYS_MODELS=any without a system-call filter ({held.missing}): a model can do what "
            "this user can. Load only models that you trust."
        )
    return open_


def create_app(settings: Settings | None = None, clients: Clients | None = None) -> OpenAPI:
    """Wire the service together. Settings come from the environment unless they are given.

    Raises:
        SettingsError: settings are missing or contradict each other, or Cloud Run has no walls
            around models (`workers.sandbox.walls`).
    """
    from app import auth, logs, overload
    from app.api import edge, health, problems
    from app.api.description import Description

    settings = settings or Settings.from_env()
    settings.check_service()
    logs.configure()
    held = walls.available()
    if settings.on_cloud_run and not held.filter:
        raise SettingsError(
            f"Models cannot be kept apart here: {held.missing}. Deploy to Cloud Run's second "
            "generation execution environment, on x86-64 or arm64."
        )
    app = Description(
        __name__,
        info=Info(
            title="mlsys",
            version=mlsys.__version__,
            description="Registers scikit-learn models and scores BigQuery tables with them.",
        ),
        security_schemes={"push": auth.SCHEME},
        servers=[Server(url=prefix)] if (prefix := edge.path_of(settings.url)) else None,
        doc_ui=settings.serves_api,
        doc_prefix="/docs",
        validation_error_status=400,
        validation_error_model=problems.Problem,
        validation_error_callback=problems.validation_answer,
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["OPENAPI_HTML_STRING"] = '<meta http-equiv="refresh" content="0; url=swagger">'
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = False  # type: ignore[attr-defined]  # people read it from curl
    app.extensions["mlsys"] = Service(settings, clients or clients_for(settings))
    app.register_api(health.api)
    if settings.serves_api:
        from app.api import (
            aliases,
            backfill,
            checks,
            drift,
            evaluation,
            events,
            predictions,
            registry,
            runs,
        )

        app.add_url_rule("/openapi.json", "openapi_json", lambda: jsonify(app.api_doc))
        for module in (
            checks,
            predictions,
            backfill,
            runs,
            drift,
            evaluation,
            registry,
            aliases,
            events,
        ):
            app.register_api(module.api)
    problems.register(app)
    logs.register(app)
    overload.register(app)
    edge.register(app, settings.url)
    if settings.serves_console:
        from app import console
        from app.console import protection

        console.register(app)
        protection.register(app)
    return app
