"""The service reads and writes only the datasets in its settings, and never writes its own."""

import pytest
from flask.testing import FlaskClient

from mlsys.errors import NotAllowed, SettingsError
from mlsys.settings import Emulators, Settings
from wired import wired

EMULATORS = Emulators("http://127.0.0.1:9", "http://127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9")
HOME = Settings("my-project", envs=("dev",), push_auth="off", emulators=EMULATORS)


def listed(**datasets: tuple[str, ...]) -> Settings:
    return Settings("my-project", envs=("dev",), push_auth="off", emulators=EMULATORS, **datasets)


@pytest.mark.parametrize(
    ("settings", "project", "dataset", "allowed"),
    [
        (HOME, "my-project", "titanic", True),
        (HOME, "other-project", "titanic", False),
        (HOME, "my-project", "mlsys_dev", True),
        (HOME, "my-project", "mlsys_prod", False),
        (HOME, "my-project", "MLSYS_PROD", False),
        (listed(input_datasets=("other-project.open",)), "other-project", "open", True),
        (listed(input_datasets=("other-project.open",)), "other-project", "secret", False),
        (listed(input_datasets=("other-project.open",)), "my-project", "titanic", False),
        (listed(input_datasets=("other-project.*", "my-project.a")), "other-project", "x", True),
        (listed(input_datasets=("other-project.*", "my-project.a")), "my-project", "b", False),
    ],
)
def test_datasets_that_may_be_read(
    settings: Settings, project: str, dataset: str, allowed: bool
) -> None:
    if allowed:
        settings.check_input(project, dataset)
        return
    with pytest.raises(NotAllowed, match=rf"{project}\.{dataset}"):
        settings.check_input(project, dataset)


@pytest.mark.parametrize(
    ("settings", "project", "dataset", "words"),
    [
        (HOME, "my-project", "titanic", None),
        (HOME, "other-project", "titanic", "MLSYS_OUTPUT_DATASETS"),
        (HOME, "my-project", "mlsys_dev", "registry"),
        (HOME, "my-project", "mlsys_prod", "registry"),
        (HOME, "my-project", "MLSYS_DEV", "registry"),
        (listed(output_datasets=("my-project.out",)), "my-project", "out", None),
        (listed(output_datasets=("my-project.out",)), "my-project", "titanic", "my-project.out"),
        (listed(output_datasets=("my-project.*",)), "my-project", "mlsys_dev", "registry"),
        (listed(output_datasets=("other-project.*",)), "other-project", "x", None),
    ],
)
def test_datasets_that_may_be_written(
    settings: Settings, project: str, dataset: str, words: str | None
) -> None:
    if words is None:
        settings.check_output(project, dataset)
        return
    with pytest.raises(NotAllowed, match=words):
        settings.check_output(project, dataset)


@pytest.mark.parametrize("key", ["MLSYS_INPUT_DATASETS", "MLSYS_OUTPUT_DATASETS"])
def test_allowed_datasets_are_read_from_the_environment(key: str) -> None:
    name = key.removeprefix("MLSYS_").lower()
    environ = {"GCP_PROJECT_ID": "p", key: "my-project.a, other-project.*,"}
    assert getattr(Settings.from_env(environ), name) == ("my-project.a", "other-project.*")
    for wrong in ("titanic", "a.b.c.d/", "my-project.", "*", "my-project.a-b", "*.*"):
        with pytest.raises(SettingsError, match=key):
            Settings.from_env({"GCP_PROJECT_ID": "p", key: wrong})


@pytest.fixture
def client() -> FlaskClient:
    return wired(HOME).test_client()


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("input_table", "other-project.secret.salaries"),
        ("output_table", "other-project.open.out"),
        ("output_table", "my-project.mlsys_dev.model_registry"),
        ("output_table", "my-project.mlsys_dev.prediction_runs"),
    ],
)
@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_a_request_for_another_dataset_is_refused_before_any_call(
    client: FlaskClient, name: str, table: str, dry_run: str
) -> None:
    query = {
        "env": "dev",
        "input_table": "my-project.titanic.test",
        "output_table": "my-project.titanic.out",
        "model_name": "titanic",
        "model_version": "v1",
        "dry_run": dry_run,
    }
    answer = client.get("/predict", query_string=query | {name: table})
    assert answer.status_code == 403
    assert answer.json["type"] == "urn:mlsys:problem:not-allowed"
    assert name in answer.json["detail"]
