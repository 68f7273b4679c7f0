"""Every command reports an error in one line, exits with the documented code, and loses no work."""

import argparse
import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from mlsys import models
from mlsys.artifact import signing
from mlsys.cli import errors, local
from mlsys.cli import parser as cli
from mlsys.cli.errors import EXIT_CODES, Stopped, explain
from mlsys.cloud import quarantine
from mlsys.errors import InvalidRequest, SettingsError
from mlsys.remote import service

PREDICT = ["--env", "dev", "--input-table", "p.d.i", "--output-table", "p.d.o"]
VERBS = {
    "predict": ["predict", *PREDICT, "--model-name", "m", "--url", "http://127.0.0.1:9"],
    "cancel": ["cancel", "a-run", "--env", "dev", "--url", "http://127.0.0.1:9"],
    "promote": ["promote", "m", "v1", "--from", "dev", "--to", "staging"],
    "list": ["quarantine", "list", "--env", "dev"],
    "replay": ["quarantine", "replay", "--env", "dev", "--all"],
    "replay one": ["quarantine", "replay", "--env", "dev", "quarantine/x.json"],
    "new-key": ["sign", "new-key", "key.pem"],
    "sign": ["sign", "model", "m", "v1", "--env", "dev", "--key", "key.pem"],
    "up": ["local", "up", "--no-service"],
}
# Modules that bind a replaced name at import are imported before it is replaced.
assert models and service and signing
SEAMS = (
    "mlsys.cloud.clients.default_clients",
    "mlsys.models.sign_model",
    "mlsys.remote.service.service_url",
    "mlsys.artifact.signing.new_key",
)

ERRORS = [
    SettingsError("S is missing"),
    IsADirectoryError(errno.EISDIR, "Is a directory", "some/folder"),
    PermissionError(errno.EACCES, "Permission denied", "some/file"),
    OSError(errno.ENOSPC, "No space left on device"),
    TimeoutError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("utf-8", "a\ud800", 1, 2, "surrogates not allowed"),
    ModuleNotFoundError("No module named 'x'", name="x"),
    api.Forbidden("Permission bigquery.jobs.create denied"),
    api.Unauthorized("Bad token"),
    api.NotFound("No bucket"),
    api.ServiceUnavailable("Busy"),
    api.TooManyRequests("Slow down"),
    api.BadRequest("No such column"),
    api.RetryError("Timeout of 120 s exceeded", None),
    auth.RefreshError("Reauthentication is needed"),
    auth.TransportError("No route"),
    auth.DefaultCredentialsError("File x was not found"),
    requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support"),
    requests.exceptions.ConnectionError("refused"),
    RecursionError("deep"),
    MemoryError(),
    KeyError("ok"),
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Change into an empty folder, without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "MLSYS_URL", "MLSYS_ENVS"):
        monkeypatch.delenv(name, raising=False)


def raise_everywhere(monkeypatch: pytest.MonkeyPatch, exc: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise exc

    for seam in SEAMS:
        monkeypatch.setattr(seam, fail)
    monkeypatch.setattr(local, "local_stack", fail)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("exc", ERRORS, ids=lambda exc: type(exc).__name__)
def test_an_error_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, exc: Exception
) -> None:
    raise_everywhere(monkeypatch, exc)
    assert cli.main(VERBS[verb]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("mlsys: ") and output.err.count("\n") == 1
    assert "mlsys: \n" not in output.err and "Traceback" not in output.err


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (ERRORS[1], ["some/folder: Is a directory", "Pass a file"]),
        (ERRORS[3], ["No space left", "Free some space"]),
        (ERRORS[7], ["The package x is not installed", "pip install"]),
        (ERRORS[8], ["lacks bigquery.jobs.create", "roles/bigquery.jobUser"]),
        (ERRORS[15], ["Reauthentication", "gcloud auth application-default login"]),
        (KeyError("ok"), ["KeyError: 'ok'", "Report it"]),
    ],
)
def test_the_line_says_what_is_wrong_and_what_to_do(exc: Exception, words: list[str]) -> None:
    output = explain(exc)
    assert all(word in output for word in words), output


def test_a_bug_is_reported_with_its_line() -> None:
    try:
        {}["ok"]
    except KeyError as exc:
        assert "test_cli_errors.py:" in explain(exc)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("exc", "code"),
    [(KeyboardInterrupt(), 130), (Stopped(signal.SIGTERM), 143), (Stopped(signal.SIGHUP), 129)],
)
def test_a_command_stopped_by_a_signal_exits_with_128_plus_its_number(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    exc: BaseException,
    code: int,
) -> None:
    raise_everywhere(monkeypatch, exc)
    assert cli.main(VERBS[verb]) == code
    assert capsys.readouterr().err.startswith("\nStopped.")


@pytest.fixture
def silent() -> Iterator[tuple[str, threading.Event]]:
    """Yield an address that accepts connections and never answers, and an event for the first."""
    connected = threading.Event()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def accept() -> None:
            taken = []
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    break
                if taken[-1].recv(1):
                    connected.set()
            for connection in taken:
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", connected
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    ("verb", "number", "code"),
    [
        ("promote", signal.SIGINT, 130),
        ("list", signal.SIGTERM, 143),
        ("replay one", signal.SIGINT, 130),
        ("predict", signal.SIGINT, 130),
    ],
)
def test_a_real_signal_stops_a_waiting_command(
    silent: tuple[str, threading.Event], verb: str, number: int, code: int
) -> None:
    address, connected = silent
    environment = {
        **os.environ,
        "GCP_PROJECT_ID": "p",
        "STORAGE_EMULATOR_HOST": f"http://{address}",
        "BIGQUERY_EMULATOR_HOST": "",
    }
    words = [w.replace("127.0.0.1:9", address) for w in VERBS[verb]]
    command = [sys.executable, "-m", "mlsys.cli", *words]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        try:
            # default_clients checks for a listener: that connection sends nothing.
            assert connected.wait(30)
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == code
    assert out == "" and err.startswith("\nStopped.") and "Traceback" not in err


# Output that nobody reads, or that cannot be written


class FakeQuarantine:
    """Records of a quarantine, and the list of those published again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, reason: str = "why") -> None:
        self.replayed: list[str] = []
        names = [f"quarantine/{i:04d}-{'x' * 200}.json" for i in range(number)]
        found = [
            (n, quarantine.Record(n, "2026-11-28", "/events/storage", reason, "{}")) for n in names
        ]
        monkeypatch.setattr("mlsys.cloud.clients.default_clients", lambda: None)
        monkeypatch.setattr(quarantine, "objects", lambda *_: names)
        monkeypatch.setattr(quarantine, "read", lambda *_: iter(found))
        monkeypatch.setattr(quarantine, "replay", lambda *args: self.replayed.append(args[2].name))


def closed_pipe() -> Any:
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


def full_device() -> Any:
    return Path("/dev/full").open("w")


def closed_file() -> Any:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        (closed_pipe, 0, ""),
        (closed_file, 0, ""),
        (lambda: None, 0, ""),
        (full_device, 1, "mlsys: the output cannot be written: No space left on device"),
    ],
)
@pytest.mark.parametrize("verb", ["list", "replay"])
def test_a_closed_output_does_not_stop_the_work(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    output: Callable[[], Any],
    code: int,
    words: str,
) -> None:
    fake = FakeQuarantine(monkeypatch, 400)  # more than a buffer holds
    stream = output()
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.main(VERBS[verb]) == code
    assert sys.stdout is stream
    if stream is not None:
        stream.close()
    assert capsys.readouterr().err.startswith(words)
    if verb == "replay":
        assert len(fake.replayed) == 400


@pytest.mark.parametrize("error_too", [False, True])
def test_help_to_a_full_device_is_a_failure_without_a_traceback(error_too: bool) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mlsys.cli", "--help"],
            stdout=full,
            stderr=full if error_too else -1,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    if not error_too:
        assert done.stderr.startswith("mlsys: the output cannot be written")
        assert done.stderr.count("\n") == 1


def test_help_to_a_closed_output_or_pipe_is_silent() -> None:
    for redirection in (">&-", "2>&- >&-", "| head -c 1 >&2"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {sys.executable} -m mlsys.cli --help {redirection}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr in ("", "u"), redirection


def test_a_character_that_the_output_cannot_encode_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeQuarantine(monkeypatch, 1, "größe")
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, "ascii"))
    assert cli.main(VERBS["list"]) == 0
    assert b"gr\\xf6\\xdfe\n" in content.getvalue()


# Paths in options


@pytest.fixture
def paths(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    (tmp_path / "text").write_text("x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["local", "up", "--env-file", "folder"], "--env-file folder is not a regular file"),
        (["local", "up", "--env-file", "binary"], "binary exists, and mlsys did not write it"),
        (["local", "up", "--env-file", "/dev/full"], "is not a regular file"),
        (["local", "up", "--env-file", "none/x"], "the folder none of --env-file does not exist"),
        (["local", "up", "--env-file", "text/x"], "the folder text of --env-file does not exist"),
        (["local", "up", "--env-file", "/proc/x"], "/proc/x cannot be written"),
        (["local", "up", "--env-file", ""], "--env-file is empty"),
        (["local", "up", "--data-dir", "text"], "cannot be used (Not a directory"),
        (["local", "up", "--data-dir", "text/x"], "cannot be used (Not a directory"),
        (["local", "up", "--data-dir", "/proc/x"], "pass another --data-dir"),
        (["local", "up", "--data-dir", "x" * 300], "cannot be used (File name too long"),
        (["local", "up", "--data-dir", "~no-such-user-here/x"], "pass another --data-dir"),
        (["local", "up", "--data-dir", ""], "--data-dir is empty"),
        (["local", "up", "--time-scale", "nan"], "--time-scale is nan"),
        (["local", "up", "--time-scale=-1"], "--time-scale is -1"),
        (["local", "up", "--envs", ""], "--envs names ['']"),
        (["local", "up", "--no-service", "--port", "70000"], "port 70000 for service"),
        (["local", "up", "--no-service", "--storage-port=-1"], "port -1 for storage"),
        (["quarantine", "list", "--env", "dev", "--limit", "0"], "--limit is 0"),
        (["sign", "new-key", "folder"], "folder cannot be written"),
        (["sign", "new-key", "none/x"], "none/x cannot be written"),
    ],
)
def test_an_unusable_path_is_named(
    paths: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert cli.main(words) == 1
    output = capsys.readouterr().err
    assert output.startswith("mlsys: ") and says in output and output.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://[::1",
            "http://127.0.0.1:x",
            "http://127.0.0.1:99999",
            "http://a b",
            "https://.x",
        ),
        *(
            "https://x.example?a=1",
            "https://me:secret@x.example",  # pragma: allowlist secret
            "https://x.example#y",
            "https://ä b",
        ),
        *("//x", "https://", "x", "http://\x00", "https://" + "a" * 100),
    ],
)
def test_a_bad_address_is_refused_before_any_request(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    words = [*VERBS["predict"][:-1], url]
    assert cli.main(words) == 1
    output = capsys.readouterr().err
    assert (
        output.startswith("mlsys: ") and "pass https://HOST" in output and output.count("\n") == 1
    )
    assert "secret" not in output


def test_promote_needs_the_option_by_where_the_user_has_no_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlsys.cli import promote

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(promote.getpass, "getuser", nameless)
    with pytest.raises(InvalidRequest, match="pass --by"):
        promote._user()


# The env file of `mlsys local up`


def test_a_stack_removes_only_its_own_env_file(tmp_path: Path) -> None:
    path = tmp_path / "env"
    local.write_env_file(path, f"{local._HEADER}\nexport A=1\n")
    assert local.check_env_file(path)
    local.write_env_file(path, f"{local._HEADER}\nexport A=2\n")
    local.remove_env_file(path, f"{local._HEADER}\nexport A=1\n")
    assert "A=2" in path.read_text()
    local.remove_env_file(path, f"{local._HEADER}\nexport A=2\n")
    assert list(tmp_path.iterdir()) == []
    local.remove_env_file(path, "")


def test_an_env_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    local.write_env_file(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "x"


# The documentation


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each)


def test_every_help_has_the_exit_codes() -> None:
    found = list(parsers(cli._parser()))
    assert len(found) >= 10
    words = " ".join(EXIT_CODES.split())
    assert all(words in " ".join(each.format_help().split()) for each in found)


def test_the_exit_codes_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    table = [x for x in (errors.__doc__ or "").splitlines() if x.startswith("| ")]
    assert len(table) == 5
    assert "\n".join([table[0], "|---|---|", *table[1:]]) in page


def test_an_invalid_command_line_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["predict"], ["promote", "m"], ["no-such-verb"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
    assert "usage: mlsys" in capsys.readouterr().err


def test_signal_handlers_are_restored_afterwards() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with errors.signals_stop(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before
