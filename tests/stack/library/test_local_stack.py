"""The local stack behaves as the cloud as far as mlsys can tell, and cleans up after itself."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mlsys.cli import parser as cli
from mlsys.cloud.clients import Clients, bigquery_retry, clients_for, default_clients
from mlsys.errors import SettingsError
from mlsys.local import attributes
from mlsys.local.addresses import choose_port
from mlsys.local.bigquery import SCHEMAS, home_for_duckdb
from mlsys.local.folder import Folder
from mlsys.local.processes import Server, ServerNotReady, answers
from mlsys.local.push import PushSubscription
from mlsys.local.samples import ROWS, load_samples, read_sample
from mlsys.local.service import MEMORY, SOURCE_ROOT
from mlsys.local.stack import LocalStack, Ports, local_stack
from mlsys.local.topics import model_events
from mlsys.settings import Settings
from receiver import Receiver

MODEL = "titanic-survival/v1/model.pkl"


def query(clients: Clients, sql: str) -> list[tuple[object, ...]]:
    rows = clients.bigquery.query_and_wait(
        sql, api_timeout=30, wait_timeout=60, retry=bigquery_retry()
    )
    return [tuple(row.values()) for row in rows]


def processes(word: str) -> list[str]:
    """Return the command lines that contain `word`, of every process on this machine."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, timeout=10
    )
    return [line for line in listed.stdout.splitlines() if word in line]


def wait_for_file(path: Path) -> Path:
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return path


@contextlib.contextmanager
def command_up(
    *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `mlsys local up` with these options; yield it and its output until it was up."""
    command = [sys.executable, "-m", "mlsys.cli", "local", "up", *options]
    env = os.environ | environment if environment else None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if "Ctrl-C" in line:
                    break
            yield process, lines
        finally:
            process.kill()


def test_an_upload_and_a_delete_are_pushed_to_the_subscriber(
    stack: LocalStack, settings: Settings, clients: Clients, receiver: Receiver
) -> None:
    topic = model_events("dev")
    stack.pubsub.create_subscription(PushSubscription("test-uploads", topic, receiver.url))
    blob = clients.storage.bucket(settings.models_bucket("dev")).blob("other/v1/notes.txt")
    blob.upload_from_string(b"not a model", timeout=10)
    stack.pubsub.wait_until_quiet(30)
    blob.delete(timeout=10)
    stack.pubsub.wait_until_quiet(30)
    stack.pubsub.delete_subscription("test-uploads")
    pushed = [json.loads(body)["message"]["attributes"] for body in receiver.bodies]
    # other tests' objects may be deleted meanwhile
    stored, deleted = (a for a in pushed if a["objectId"] == blob.name)
    assert stored.pop("eventTime") <= deleted.pop("eventTime")
    assert stored == {
        "notificationConfig": "projects/_/buckets/mlsys-models-dev/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": "mlsys-models-dev",
        "objectId": "other/v1/notes.txt",
        "objectGeneration": str(blob.generation),
    }
    assert deleted == stored | {"eventType": "OBJECT_DELETE"}


def test_the_runs_bucket_sends_no_notifications(
    stack: LocalStack, settings: Settings, clients: Clients
) -> None:
    before = len(stack.pubsub.messages(model_events("dev")))
    blob = clients.storage.bucket(settings.runs_bucket("dev")).blob("r1/plan.json")
    blob.upload_from_string(b"{}", timeout=10)
    stack.pubsub.wait_until_quiet(10)
    assert len(stack.pubsub.messages(model_events("dev"))) == before
    blob.delete(timeout=10)


def test_the_sample_tables_hold_the_titanic_data(clients: Clients) -> None:
    [(rows, survived, ageless, passengers)] = query(
        clients,
        "SELECT COUNT(*), SUM(Survived), COUNTIF(Age IS NULL), COUNT(DISTINCT PassengerId) "
        "FROM titanic.train",
    )
    assert (rows, survived, ageless, passengers) == (891, 342, 177, 891)
    [(rows, known)] = query(
        clients,
        "SELECT COUNT(*), COUNT(t.Survived) FROM titanic.test JOIN titanic.test_survived t "
        "USING (PassengerId)",
    )
    assert (rows, known) == (418, 418)
    table = clients.bigquery.get_table("titanic.train", timeout=30)
    assert {field.name: field.field_type for field in table.schema} == {
        **dict.fromkeys(("PassengerId", "Survived", "Pclass", "SibSp", "Parch"), "INTEGER"),
        **dict.fromkeys(("Name", "Sex", "Ticket", "Cabin", "Embarked"), "STRING"),
        **dict.fromkeys(("Age", "Fare"), "FLOAT"),
    }


def test_loading_the_samples_again_changes_nothing(clients: Clients) -> None:
    before = clients.bigquery.get_table("titanic.train", timeout=30).modified
    assert load_samples(clients) == [f"titanic.{name}" for name in ROWS]
    assert clients.bigquery.get_table("titanic.train", timeout=30).modified == before
    with pytest.raises(KeyError):
        read_sample("passengers")


def test_the_samples_are_readable_through_the_storage_read_api(
    settings: Settings, clients: Clients
) -> None:
    from google.cloud.bigquery_storage_v1 import types

    table = f"projects/{settings.project}/datasets/titanic/tables/train"
    session = clients.bigquery_read.create_read_session(
        parent=f"projects/{settings.project}",
        read_session=types.ReadSession(table=table, data_format=types.DataFormat.ARROW),
        max_stream_count=1,
        timeout=30,
    )
    responses = clients.bigquery_read.read_rows(session.streams[0].name, timeout=30)
    assert sum(response.row_count for response in responses) == 891


def test_every_schema_file_is_a_table_of_the_environments_dataset(
    settings: Settings, clients: Clients
) -> None:
    names = {path.stem for path in SCHEMAS.glob("*.json")}
    listed = clients.bigquery.list_tables(settings.dataset("dev"), timeout=30)
    assert {table.table_id for table in listed} >= names
    registry = clients.bigquery.get_table(f"{settings.dataset('dev')}.model_registry", timeout=30)
    assert registry.time_partitioning.field == "registered_at"
    assert registry.clustering_fields == ["model_name"]


def test_the_environment_variables_point_another_process_at_the_stack(
    environment: dict[str, str], settings: Settings
) -> None:
    assert Settings.from_env(dict(os.environ)) == settings


def test_a_restarted_service_keeps_its_address(stack: LocalStack) -> None:
    if stack.url is None:
        pytest.skip("the stack has no service yet")
    stack.kill_service()
    assert not answers(f"{stack.url}/health")
    stack.restart_service()
    assert answers(f"{stack.url}/health")
    stack.restart_service()
    assert answers(f"{stack.url}/health")


@pytest.mark.slow
def test_a_persistent_folder_belongs_to_one_stack_and_survives_a_restart(tmp_path: Path) -> None:
    """Its ports are the same too, and stopping it leaves no process."""
    events = []
    with local_stack(data_dir=tmp_path, with_service=False, progress=events.append) as first:
        addresses = first.environment
        bucket = first.settings.models_bucket("dev")
        first.clients.storage.bucket(bucket).blob(MODEL).upload_from_string(b"m", timeout=10)
        load_samples(first.clients)
        query(
            first.clients,
            "INSERT INTO titanic.test_survived (PassengerId, Survived) VALUES (0, 1)",
        )
        assert len(processes(str(tmp_path))) == 4  # two servers, two guards
        with (
            pytest.raises(SettingsError, match="another local stack uses"),
            local_stack(data_dir=tmp_path, with_service=False),
        ):
            pass
        assert first.clients.storage.bucket(bucket).exists(timeout=10)
    assert [line.split("  ")[0] for line in events] == [
        *("Pub/Sub", "Cloud Run's jobs", "Cloud Storage", "BigQuery")
    ]
    assert processes(str(tmp_path)) == []
    with local_stack(data_dir=tmp_path, with_service=False) as second:
        assert second.environment == addresses
        assert second.clients.storage.bucket(bucket).blob(MODEL).download_as_bytes() == b"m"
        counted = query(second.clients, "SELECT COUNT(*) FROM titanic.test_survived")
        assert counted == [(419,)]
    assert processes(str(tmp_path)) == []


@pytest.mark.slow
def test_each_environment_gets_only_its_own_buckets_notifications(receiver: Receiver) -> None:
    with local_stack(envs=("dev", "staging"), with_service=False) as stack:
        folder = stack.logs.parent
        bucket = stack.clients.storage.bucket(stack.settings.models_bucket("staging"))
        bucket.blob(MODEL).upload_from_string(b"m", timeout=10)
        stack.pubsub.wait_until_quiet(10)
        assert len(stack.pubsub.messages(model_events("staging"))) == 1
        assert stack.pubsub.messages(model_events("dev")) == []
        assert len(processes(str(folder))) == 3  # BigQuery itself stores nothing in a folder
    assert not folder.exists()
    assert processes(str(folder)) == []


@pytest.mark.slow
def test_the_command_prints_the_exports_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    env_file = tmp_path / "local.env"
    with command_up("--no-service", "--env-file", str(env_file)) as (process, lines):
        exports = dict(re.findall(r"^export (\w+)=(.+)$", "\n".join(lines), re.MULTILINE))
        assert exports.keys() >= {
            "GCP_PROJECT_ID",
            "STORAGE_EMULATOR_HOST",
            "BIGQUERY_EMULATOR_HOST",
            "BIGQUERY_STORAGE_EMULATOR_HOST",
            "PUBSUB_EMULATOR_HOST",
        }
        sourced = subprocess.run(
            ["sh", "-c", f". {env_file}; printf %s $STORAGE_EMULATOR_HOST"],
            capture_output=True,
            text=True,
            timeout=10,
        )
        assert sourced.stdout == exports["STORAGE_EMULATOR_HOST"]
        assert answers(f"{sourced.stdout}/storage/v1/b")
        [logs] = re.findall(r"^Logs: (.+)/logs$", "\n".join(lines), re.MULTILINE)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert not env_file.exists()
        assert processes(logs) == []


@pytest.mark.slow
def test_a_killed_command_leaves_no_process() -> None:
    with command_up("--no-service") as (process, lines):
        [folder] = re.findall(r"^Logs: (.+)/logs$", "\n".join(lines), re.MULTILINE)
        assert len(processes(folder)) == 3
        process.kill()
        process.wait(10)
        deadline = time.monotonic() + 25
        while (processes(folder) or Path(folder).exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes(folder) == []
        assert not Path(folder).exists()


PROXIES = {
    name: "http://127.0.0.1:1"  # no server listens there
    for word in ("http", "https", "all", "grpc")
    for name in (f"{word}_proxy", f"{word.upper()}_PROXY")
} | {"NO_PROXY": "", "no_proxy": "", "no_grpc_proxy": ""}


def exported(lines: list[str]) -> dict[str, str]:
    """Return the variables that `mlsys local up` printed."""
    return dict(re.findall(r"^export (\w+)=(.+)$", "\n".join(lines), re.MULTILINE))


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_stack_restarts_at_once_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was in progress; proxies, no home, a reused PID, and objects without attributes."""
    data, env_file = tmp_path / "data", tmp_path / "env"
    options = ["--data-dir", str(data), "--env-file", str(env_file)]
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    with command_up(*options, environment={"HOME": "/nowhere"}) as (process, lines):
        assert exported(lines)["NO_PROXY"].endswith("127.0.0.1,localhost,::1")
        clients = clients_for(Settings.from_env(exported(lines)))
        clients.storage.bucket("mlsys-models-dev").blob(MODEL).upload_from_string(b"m", timeout=10)
        load_samples(clients)
        url = urlsplit(exported(lines)["MLSYS_URL"])
        with socket.create_connection((url.hostname, url.port), timeout=10) as half:
            half.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nenv")
            process.kill()
            process.wait(10)
            wait_for_file(data / "service.pid").write_text(f"{os.getpid()}\n")
            for path in (data / "storage").rglob("model.pkl"):
                os.removexattr(path, attributes.NAME)
            with command_up(*options) as (again, lines):
                assert any("1 object had lost their attributes" in line for line in lines)
                assert exported(lines)["MLSYS_URL"] == url.geturl()
                clients = clients_for(Settings.from_env(exported(lines)))
                [blob] = clients.storage.list_blobs("mlsys-models-dev", timeout=10)
                assert (blob.name, blob.download_as_bytes(timeout=10)) == (MODEL, b"m")
                assert query(clients, "SELECT COUNT(*) FROM titanic.train") == [(891,)]
                assert answers(f"{url.geturl()}/health")
                again.terminate()
                assert again.wait(30) == 143
    assert not env_file.exists()
    assert processes(str(data)) == []


def test_a_server_ends_even_if_its_guard_is_killed_too(tmp_path: Path) -> None:
    server = Server(
        "The server",
        [sys.executable, "-c", f"import time; time.sleep(60); {str(tmp_path)!r}"],
        ready=lambda: len(processes(str(tmp_path))) == 2,
        seconds=10,
        log_file=tmp_path / "log",
        environment={},
        folder=tmp_path,
    )
    server.wait_until_ready()
    server._process.kill()
    server.stop()
    deadline = time.monotonic() + 10
    while processes(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(str(tmp_path)) == []


def test_a_killed_stacks_folder_is_reused_once_its_last_server_has_ended(
    tmp_path: Path,
) -> None:
    first = Folder(tmp_path, print)
    held = os.dup(first.lock.fileno())  # as a server's guard holds it
    first.close()
    told: list[str] = []
    release = threading.Timer(0.3, os.close, [held])
    release.start()
    second = Folder(tmp_path, told.append)
    assert told == ["Waiting for the servers of a stack that was killed"]
    release.join()
    second.close()
    second.close()


def test_objects_get_attributes_that_their_files_lack(tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "m" / "v1"
    folder.mkdir(parents=True)
    (tmp_path / "bucket.bucketMetadata").write_text("{}")
    for name in ("model.pkl", "metadata.json", "kept"):
        (folder / name).write_bytes(b"hello")
    os.setxattr(folder / "kept", attributes.NAME, b'{"Generation": 1}')
    os.setxattr(folder / "model.pkl", attributes.NAME, b"damaged")
    assert attributes.restore_attributes(tmp_path) == 2
    assert attributes.restore_attributes(tmp_path) == 0
    values = [
        json.loads(os.getxattr(folder / name, attributes.NAME))
        for name in ("model.pkl", "metadata.json")
    ]
    assert {(v["Crc32c"], v["Md5Hash"]) for v in values} == {
        ("mnG7TA==", "XUFAKrxLKna5cZ2REBfFkg==")
    }
    assert values[0]["Generation"] != values[1]["Generation"]
    assert values[1]["ContentType"] == "application/json"
    assert os.getxattr(folder / "kept", attributes.NAME) == b'{"Generation": 1}'


@pytest.mark.parametrize("home", [None, "/nowhere", "/proc", "{}/file"])
def test_an_unusable_home_folder_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home.format(tmp_path))
    assert home_for_duckdb(tmp_path) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert home_for_duckdb(tmp_path) == tmp_path.parent


def test_a_port_in_use_is_refused_by_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} for storage"):
            LocalStack(ports=Ports(storage=port), with_service=False).start()


def test_a_server_that_fails_to_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = Server(
        "The server",
        ["sh", "-c", "echo first; echo out of luck; exit 4"],
        ready=lambda: False,
        seconds=10,
        log_file=tmp_path / "log",
        environment={},
        folder=tmp_path,
    )
    with pytest.raises(ServerNotReady, match=r"(?s)exit code 4.*out of luck"):
        server.wait_until_ready()
    server.stop()
    silent = Server(
        "The server",
        ["sleep", "60"],
        ready=lambda: False,
        seconds=0.3,
        log_file=tmp_path / "log",
        environment={},
        folder=tmp_path,
    )
    with pytest.raises(ServerNotReady, match="did not answer"):
        silent.wait_until_ready()
    with pytest.raises(ServerNotReady):
        silent.check()


def test_a_free_port_is_free() -> None:
    port = choose_port(None, "a test")
    assert choose_port(port, "a test") == port


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets two sockets bind to a port")
def test_a_chosen_port_is_left_to_the_server() -> None:
    """The stack of one worker once lost its port to a connection of another worker's tests."""
    port = choose_port(None, "a test")
    with socket.socket() as connection, pytest.raises(OSError, match="in use"):
        connection.bind(("127.0.0.1", port))  # as the system does for a connection
    for _ in range(2):  # a server that starts again, too
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port)).close()


def test_the_command_does_not_overwrite_a_foreign_env_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / ".env"
    mine.write_text("GCP_PROJECT_ID=real\n")
    assert cli.main(["local", "up", "--env-file", str(mine)]) == 1
    assert cli.main(["local", "up", "--envs", "dev,qa"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mlsys: ") and "mlsys did not write it" in first
    assert "'qa'" in second
    assert mine.read_text() == "GCP_PROJECT_ID=real\n"


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert re.fullmatch(r"mlsys \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_command_names_the_missing_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsys.local.stack._PACKAGES", ("no_such_package",))
    assert cli.main(["local", "up"]) == 1
    assert "pip install 'mlsys[local]'" in capsys.readouterr().err


def test_a_stopped_stack_is_detected_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's clients would retry for two minutes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GCP_PROJECT_ID", "mlsys-local")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{probe.getsockname()[1]}")
    with pytest.raises(SettingsError, match="No local stack answers at http://127.0.0.1"):
        default_clients()


def test_the_local_service_has_the_images_memory_settings() -> None:
    dockerfile = (SOURCE_ROOT / "Dockerfile").read_text()
    for name, value in MEMORY.items():
        assert f"{name}={value}" in dockerfile
