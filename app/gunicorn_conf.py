"""gunicorn on Cloud Run: one process, eight threads, and time to suspend the work.

Cloud Run itself limits a request's time and starts instances, so there is one worker and no
timeout of gunicorn's own; SIGKILL follows SIGTERM after ten seconds, so eight are for finishing.
"""

import importlib
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from app import overload, risks, wire
from workers.sandbox import walls

bind = f"0.0.0.0:{os.environ.get('PORT', '8080')}"
workers = 1
worker_class = "app.gunicorn_worker.Worker"
threads = 8
worker_connections = 500  # below the usual 1,024 open files
timeout = 0
graceful_timeout = 8
# Longer than a proxy keeps an idle connection, 600 seconds for Google's
# (https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends): a request may
# arrive as the server closes, and is lost. gunicorn's two seconds lose one now and then.
keepalive = 620
limit_request_line = wire.MAX_LINE
accesslog = None  # the app writes one line a request itself
logconfig_dict = {  # gunicorn's own lines in the format of all others
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"cloud": {"()": "workers.logs.CloudFormatter"}},
    "handlers": {
        "out": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "cloud",
        }
    },
    "root": {"level": "INFO", "handlers": ["out"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["out"], "propagate": False}},
}
control_socket_disable = True  # it needs a home directory, which the image's user lacks


def on_starting(server: Any) -> None:
    """Raise gunicorn's limit of a line, and format its errors as the service's."""
    wire.configure()


HEAVY = (
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "google.cloud.storage",
    "pyarrow.parquet",
    "workers.registry.sync",
    "workers.scoring.engines.run",
)
_warm = threading.Event()
_warming = threading.Lock()


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Warm up after the first `/health`, which waits for nothing.

    On Cloud Run that is the startup probe, and the CPU boost lasts for ten seconds after it
    (https://cloud.google.com/run/docs/configuring/services/cpu#startup-boost).
    """
    if request.path == "/health" and not _warm.is_set():
        threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()


def pre_request(worker: Any, request: Any) -> None:
    """Warm up before any other request: of two importing threads, one may see half a module."""
    if request.path != "/health" and not overload.is_refusing():
        _warm_up()


def _warm_up() -> None:
    """Start the fork server, and import the heavy modules: one thread does, the others wait."""
    with _warming:
        if _warm.is_set():
            return
        from workers.forking import warm_up
        from workers.sandbox import nursery
        from workers.sandbox.start import HANDLERS, keep_spare

        began = time.monotonic()
        warm_up()  # which imports beside this process, and more: models are not loaded here
        for name in HEAVY:
            importlib.import_module(name)
        nursery.warm_up(HANDLERS)
        keep_spare()
        _warm.set()
        logging.getLogger("mlsys.warm_up").info("Warmed up in %.1f s", time.monotonic() - began)


def post_worker_init(worker: Any) -> None:
    """Hide this process's memory from others; on SIGTERM stop the runs, then gunicorn."""
    walls.protect_memory()
    log, held = logging.getLogger("mlsys.sandbox"), walls.available()
    log.info("The walls around models: %s", held)
    for risk in risks(worker.wsgi.extensions["mlsys"].settings, held):
        log.warning("%s", risk)
    gunicorns = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        worker.wsgi.extensions["mlsys"].stopping.set()
        if callable(gunicorns):
            gunicorns(number, frame)

    signal.signal(signal.SIGTERM, stop)
