"""Settings: all problems in one message, lazy constants, and settings that the service refuses."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

import mlsys.settings
from mlsys.errors import InvalidRequest, SettingsError
from mlsys.settings import Emulators, Settings
from mlsys.settings.reading import variable

LOCAL = Emulators(storage="http://127.0.0.1:9")
IAP = "/projects/1/locations/us-central1/services/mlsys-web-dev"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into an empty folder, and unset every variable of mlsys."""
    for name in ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "GCP_REGION", "MLSYS_ENVS"):
        monkeypatch.delenv(name, raising=False)
    for env in ("DEV", "STAGING", "PROD"):
        monkeypatch.delenv(f"GCS_BUCKET_MODELS_{env}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_wrong_key_is_named_in_one_message() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(
            {"MLSYS_ENVS": "dev,qa", "MLSYS_PUSH_AUTH": "maybe", "MLSYS_REQUEST_TIMEOUT": "soon"}
        )
    text = str(caught.value)
    for part in (
        "GCP_PROJECT_ID is not set",
        "MLSYS_ENVS names ['qa']",
        "MLSYS_PUSH_AUTH is 'maybe'",
        "MLSYS_REQUEST_TIMEOUT is 'soon'",
    ):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        pytest.param({}, "GCP_PROJECT_ID", id="nothing is set"),
        pytest.param({"GCP_PROJECT_ID": "  "}, "GCP_PROJECT_ID", id="a blank project"),
        pytest.param({"GCP_PROJECT_ID": "p", "MLSYS_ENVS": "qa"}, "MLSYS_ENVS", id="unknown env"),
        pytest.param({"GCP_PROJECT_ID": "p", "MLSYS_ENVS": ", ,"}, "MLSYS_ENVS", id="no env left"),
        pytest.param(
            {"GCP_PROJECT_ID": "p", "MLSYS_PUSH_AUTH": "OFF"}, "MLSYS_PUSH_AUTH", id="off"
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", "MLSYS_MODELS": value},
                rf"MLSYS_MODELS is '{value}': pass one of \['listed', 'any'\]",
                id=f"models {value}",
            )
            for value in ("ANY", "all", "listed,any")
        ),
        *(
            pytest.param({"GCP_PROJECT_ID": "p", "MLSYS_ROLE": value}, "MLSYS_ROLE", id=value)
            for value in ("API", "both", "api,web")
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", "MLSYS_IAP_AUDIENCE": value},
                "MLSYS_IAP_AUDIENCE",
                id=f"audience {value}",
            )
            for value in ("https://mlsys.example", IAP[1:], f"{IAP}/", "*", IAP.replace("1", "p"))
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", "MLSYS_REQUEST_TIMEOUT": value},
                "MLSYS_REQUEST_TIMEOUT",
                id=f"timeout {value}",
            )
            for value in ("0", "-1", "nan", "1h", "inf", "3601")
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", "MLSYS_MAX_MODEL_BYTES": value},
                "MLSYS_MAX_MODEL_BYTES",
                id=f"bytes {value}",
            )
            for value in ("0", "-1", "1.5", "2GiB", "9" * 5000)
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", name: value}, f"{name} is {says}", id=f"{name} {value}"
            )
            for name, value, says in (
                ("MLSYS_JOB_TASKS", "10001", "10001, and an execution .* at most 10,000 tasks"),
                ("MLSYS_JOB_TASKS", "0", "'0': pass a whole number above 0"),
                ("MLSYS_JOB_TASKS", "ten", "'ten'"),
                ("MLSYS_JOB_CPUS", "9", "9, and a task .* at most 8 CPUs: pass 1 to 8"),
                ("MLSYS_JOB_CPUS", "0.5", "'0.5'"),
                ("MLSYS_MAX_RUNS", "-1", "'-1'"),
            )
        ),
        *(
            pytest.param(
                {"GCP_PROJECT_ID": "p", "MLSYS_TRUSTED_GLOBALS": f"churn.Ratio,{value}"},
                rf"MLSYS_TRUSTED_GLOBALS names \[{re.escape(repr(value))}\]",
                id=f"name {value}",
            )
            for value in ("churn.*", "churn", "churn.", ".Ratio", "a..b", "a b.c", "a:b", "churn.é")
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(environ: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        Settings.from_env(environ)


def test_the_largest_values_are_taken() -> None:
    most = {"MLSYS_JOB_TASKS": "10000", "MLSYS_JOB_CPUS": "8", "MLSYS_REQUEST_TIMEOUT": "3600"}
    settings = Settings.from_env({"GCP_PROJECT_ID": "p"} | most)
    assert (settings.job_tasks, settings.job_cpus) == (10_000, 8)
    assert settings.request_timeout == 3600.0


def test_a_notebook_needs_only_a_project() -> None:
    settings = Settings.from_env({"GCP_PROJECT_ID": "my-project"})
    assert settings == Settings(
        project="my-project",
        region="us-central1",
        envs=("dev", "staging", "prod"),
        push_auth="app",
        request_timeout=3600.0,
    )
    assert not settings.emulators
    assert settings.models_bucket("staging") == "mlsys-models-staging"
    assert settings.runs_bucket("prod") == "mlsys-runs-prod"
    assert settings.dataset("dev") == "my-project.mlsys_dev"
    assert settings.predictions_topic("dev") == "projects/my-project/topics/mlsys-predictions-dev"


def test_every_variable_reaches_its_setting() -> None:
    settings = Settings.from_env(
        {
            "GOOGLE_CLOUD_PROJECT": "other-project",
            "GCP_REGION": "europe-west3",
            "MLSYS_ENVS": " prod , dev ",
            "GCS_BUCKET_MODELS_DEV": " own-models ",
            "GCS_BUCKET_RUNS_PROD": "own-runs",
            "GCS_BUCKET_RUNS_DEV": " ",
            "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
            "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:2",
            "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:3",
            "PUBSUB_EMULATOR_HOST": "127.0.0.1:4",
            "MLSYS_PUSH_AUTH": "off",
            "MLSYS_PUSH_AUDIENCE": "https://mlsys.example",
            "MLSYS_PUSH_SERVICE_ACCOUNT": "push@example.com",
            "MLSYS_REQUEST_TIMEOUT": "90.5",
            "MLSYS_TRUSTED_GLOBALS": " churn.features.Ratio , churn.to_ratio,churn.to_ratio,",
            "MLSYS_MODELS": " any ",
            "MLSYS_MAX_MODEL_BYTES": "1000",
            "MLSYS_MAX_RUNS": "3",
            "MLSYS_ROLE": "web",
            "MLSYS_IAP_AUDIENCE": "/projects/1/locations/europe-west3/services/mlsys-web-prod",
            "K_SERVICE": "mlsys-prod",
        }
    )
    assert settings == Settings(
        project="other-project",
        region="europe-west3",
        envs=("prod", "dev"),
        models_buckets=(("dev", "own-models"),),
        runs_buckets=(("prod", "own-runs"),),
        emulators=Emulators(
            "http://127.0.0.1:1", "http://127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"
        ),
        role="web",
        iap_audience="/projects/1/locations/europe-west3/services/mlsys-web-prod",
        push_auth="off",
        push_audience="https://mlsys.example",
        push_service_account="push@example.com",
        url="https://mlsys.example",
        request_timeout=90.5,
        on_cloud_run=True,
        trusted_globals=("churn.features.Ratio", "churn.to_ratio"),
        models="any",
        max_model_bytes=1000,
        max_runs=3,
    )
    assert settings.runs_bucket("dev") == "mlsys-runs-dev"


def test_the_environment_overrides_the_nearest_dotenv(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest `.env` of a parent folder counts, and the environment overrides it."""
    (nowhere / ".env").write_text(
        "GCP_PROJECT_ID=from-file\nexport GCP_REGION='europe-west1'\nMLSYS_ENVS\n"
    )
    below = nowhere / "notebooks" / "titanic"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Settings.from_env().project == "from-file"
    assert Settings.from_env().region == "europe-west1"
    monkeypatch.setenv("GCP_PROJECT_ID", "from-environment")
    assert Settings.from_env().project == "from-environment"
    assert Settings.from_env().region == "europe-west1"


def test_constants_are_read_at_each_access(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="GCP_PROJECT_ID"):
        _ = mlsys.settings.GCP_PROJECT_ID
    monkeypatch.setenv("GCP_PROJECT_ID", "first-project")
    assert mlsys.settings.GCP_PROJECT_ID == "first-project"
    monkeypatch.setenv("GCP_PROJECT_ID", "second-project")
    monkeypatch.setenv("GCS_BUCKET_MODELS_PROD", "own-models")
    from mlsys.settings import (
        GCP_PROJECT_ID,
        GCP_REGION,
        GCS_BUCKET_MODELS_DEV,
        GCS_BUCKET_MODELS_PROD,
        GCS_BUCKET_MODELS_STAGING,
    )

    assert (GCP_PROJECT_ID, GCP_REGION) == ("second-project", "us-central1")
    assert GCS_BUCKET_MODELS_DEV == "mlsys-models-dev"
    assert GCS_BUCKET_MODELS_STAGING == "mlsys-models-staging"
    assert GCS_BUCKET_MODELS_PROD == "own-models"


def test_an_unknown_constant_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="GCS_BUCKET_MODELS_QA"):
        _ = mlsys.settings.GCS_BUCKET_MODELS_QA


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings("p", push_auth="off", emulators=LOCAL), id="the local stack"),
        pytest.param(
            Settings(
                "p",
                push_audience="https://a",
                push_service_account="a@b",
                on_cloud_run=True,
                role="api",
            ),
            id="Cloud Run with everything set",
        ),
        pytest.param(
            Settings("p", role="web", iap_audience=IAP, on_cloud_run=True), id="the console, by IAP"
        ),
        pytest.param(
            Settings("p", role="web", push_auth="platform", on_cloud_run=True),
            id="the console, by IAM",
        ),
    ],
)
def test_the_service_starts_with_complete_settings(settings: Settings) -> None:
    settings.check_service()


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param(
            Settings("p", push_auth="off"),
            ["MLSYS_PUSH_AUTH=off is only for the local stack"],
            id="off, and no emulators",
        ),
        pytest.param(
            Settings("p", push_auth="off", emulators=LOCAL, on_cloud_run=True, role="api"),
            ["MLSYS_PUSH_AUTH=off", "emulator variables are set on Cloud Run"],
            id="off on Cloud Run",
        ),
        pytest.param(
            Settings("p", push_auth="platform", push_audience="a", push_service_account="a@b"),
            ["MLSYS_PUSH_AUTH=platform trusts Cloud Run"],
            id="platform, and no Cloud Run",
        ),
        pytest.param(
            Settings("p", push_auth="platform", on_cloud_run=True, role="api"),
            ["MLSYS_PUSH_AUDIENCE is not set", "MLSYS_PUSH_SERVICE_ACCOUNT is not set"],
            id="platform with neither audience nor account",
        ),
        pytest.param(
            Settings("p"),
            ["MLSYS_PUSH_AUDIENCE is not set", "MLSYS_PUSH_SERVICE_ACCOUNT is not set"],
            id="app with neither audience nor account",
        ),
        pytest.param(
            Settings("p", push_audience="https://a"),
            ["MLSYS_PUSH_SERVICE_ACCOUNT is not set"],
            id="app without an account",
        ),
        pytest.param(
            Settings("p", push_service_account="a@b"),
            ["MLSYS_PUSH_AUDIENCE is not set"],
            id="app without an audience",
        ),
        pytest.param(
            Settings(
                "p",
                push_audience="https://a",
                push_service_account="a@b",
                on_cloud_run=True,
                role="api",
                emulators=Emulators(pubsub="127.0.0.1:1"),
            ),
            ["emulator variables are set on Cloud Run"],
            id="an emulator on Cloud Run",
        ),
        pytest.param(
            Settings("p", push_audience="a", push_service_account="a@b", on_cloud_run=True),
            ["MLSYS_ROLE is not set: pass api or web"],
            id="no role on Cloud Run",
        ),
        pytest.param(
            Settings("p", role="web", on_cloud_run=True),
            ["MLSYS_IAP_AUDIENCE is not set"],
            id="a console that nobody guards",
        ),
        pytest.param(
            Settings("p", role="web", iap_audience=IAP, push_auth="off", on_cloud_run=True),
            ["MLSYS_PUSH_AUTH=off"],
            id="a console that lets everybody in",
        ),
    ],
)
def test_the_service_does_not_start_with_incomplete_settings(
    settings: Settings, parts: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.check_service()
    assert len(str(caught.value).split("; ")) == len(parts)
    for part in parts:
        assert part in str(caught.value)


def test_environments_that_are_not_served_are_refused() -> None:
    settings = Settings("p", envs=("dev",), models_buckets=(("dev", "own"), ("prod", "theirs")))
    assert settings.require_env("dev") == "dev"
    with pytest.raises(InvalidRequest, match="'prod' is not served here"):
        settings.require_env("prod")
    assert settings.env_of_models_bucket("own") == "dev"
    assert settings.env_of_models_bucket("theirs") is None
    assert settings.env_of_models_bucket("mlsys-models-dev") is None


@pytest.mark.parametrize(
    ("url", "audience", "expected"),
    [
        ("", "https://mlsys.example", "https://mlsys.example"),
        ("", "some-audience", None),
        ("", "", None),
        ("https://own.example/", "https://mlsys.example", "https://own.example"),
        ("http://127.0.0.1:8080", "", "http://127.0.0.1:8080"),
    ],
)
def test_the_services_address_is_mlsys_url_else_the_audience(
    url: str, audience: str, expected: str | None
) -> None:
    values = {"GCP_PROJECT_ID": "p", "MLSYS_URL": url, "MLSYS_PUSH_AUDIENCE": audience}
    assert Settings.from_env(values).url == expected


def test_a_malformed_address_is_refused_only_by_the_service() -> None:
    settings = Settings.from_env({"GCP_PROJECT_ID": "p", "MLSYS_URL": "mlsys.example"})
    with pytest.raises(SettingsError, match="MLSYS_URL is 'mlsys.example': pass https://HOST"):
        settings.check_service()


@pytest.fixture
def notebook(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let this process be the kernel of a notebook whose folder is not the working folder."""
    shell = SimpleNamespace(kernel=object(), user_ns={})
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", cast(ModuleType, ipython))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    (nowhere / "team" / "work").mkdir(parents=True)
    (nowhere / "elsewhere").mkdir()
    monkeypatch.chdir(nowhere / "elsewhere")
    return shell


def test_a_kernel_reads_the_env_file_of_its_notebooks_folder_or_above(
    notebook: SimpleNamespace, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(nowhere / "team" / "work" / "model.ipynb")
    (nowhere / "team" / ".env").write_text("GCP_REGION=team\n")
    assert variable("GCP_REGION") is None
    monkeypatch.setenv("JPY_SESSION_NAME", path)  # Jupyter
    assert variable("GCP_REGION") == "team"
    monkeypatch.delenv("JPY_SESSION_NAME")
    notebook.user_ns["__vsc_ipynb_file__"] = path  # VS Code
    assert variable("GCP_REGION") == "team"
    (nowhere / "team" / "work" / ".env").write_text("GCP_REGION=nearer\n")
    (nowhere / "elsewhere" / ".env").write_text("GCP_REGION=cwd\n")
    assert variable("GCP_REGION") == "nearer"
    notebook.user_ns["__vsc_ipynb_file__"] = "Untitled-1.ipynb"  # not saved yet
    assert variable("GCP_REGION") == "cwd"  # Colab names none
    monkeypatch.setenv("GCP_REGION", "exported")
    assert variable("GCP_REGION") == "exported"


def test_a_command_started_from_a_notebook_reads_that_of_its_working_folder(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(nowhere / "other" / "model.ipynb"))
    (nowhere / "other").mkdir()
    (nowhere / "other" / ".env").write_text("GCP_REGION=other\n")
    assert variable("GCP_REGION") is None
    (nowhere / ".env").write_text("GCP_REGION=here\n")
    assert variable("GCP_REGION") == "here"
