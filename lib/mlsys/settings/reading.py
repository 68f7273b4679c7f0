"""Read the settings from the environment and from the nearest `.env` file."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mlsys.errors import SettingsError
from mlsys.safe_pickle.forbidden_names import why_never_trusted
from mlsys.settings.guards import VARIABLE, read_guards

ENVS = ("dev", "staging", "prod")
PUSH_AUTH_MODES = ("app", "platform", "off")
MODELS = ("listed", "any")
ROLES = ("all", "api", "web")
MAX_MODEL_BYTES = 2 << 30
JOB_TASKS, JOB_CPUS = 10, 2  # of a Cloud Run job, where nothing is set
# The whole numbers, each with its largest value and whose that is, if there is one:
# https://cloud.google.com/run/quotas, https://cloud.google.com/run/docs/configuring/jobs/cpu
LIMITS: dict[str, tuple[int, str] | None] = {
    "MLSYS_MAX_MODEL_BYTES": None,
    "MLSYS_MAX_RUNS": None,
    "MLSYS_JOB_TASKS": (10_000, "an execution of a Cloud Run job has at most 10,000 tasks"),
    "MLSYS_JOB_CPUS": (8, "a task of a Cloud Run job has at most 8 CPUs"),
}
REQUEST_SECONDS = 3600.0  # https://cloud.google.com/run/quotas#request_limits
# The prefix of every Ed25519 public key in DER form (RFC 8410, section 4)
KEY_PREFIX = bytes.fromhex("302a300506032b6570032100")
# module.Name, exactly: no wildcard, and no class inside another
_GLOBAL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_JOB = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# https://cloud.google.com/iap/docs/signed-headers-howto#verifying_the_jwt_payload: of Cloud Run
_IAP_AUDIENCE = re.compile(r"/projects/[1-9][0-9]*/locations/[a-z0-9-]+/services/[a-z0-9-]+")
_DATASET = re.compile(r"[a-z0-9.:-]+\.(?:[A-Za-z0-9_]+|\*)")


@dataclass(frozen=True, slots=True)
class Emulators:
    """Addresses of local servers that stand in for Google Cloud; None means the real service."""

    storage: str | None = None  # http://host:port
    bigquery: str | None = None  # http://host:port
    bigquery_storage: str | None = None  # host:port, gRPC
    pubsub: str | None = None  # host:port, gRPC
    run: str | None = None  # host:port, gRPC

    VARIABLES: ClassVar = {
        "storage": "STORAGE_EMULATOR_HOST",
        "bigquery": "BIGQUERY_EMULATOR_HOST",
        "bigquery_storage": "BIGQUERY_STORAGE_EMULATOR_HOST",
        "pubsub": "PUBSUB_EMULATOR_HOST",
        "run": "CLOUD_RUN_EMULATOR_HOST",
    }

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.VARIABLES)


def read_settings(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `Settings` that the variables `values` set.

    Raises:
        SettingsError: with every missing or malformed key in one message.
    """
    errors: list[str] = []

    def read(key: str, default: str | None = None) -> str | None:
        return values.get(key, "").strip() or default

    project = read("GCP_PROJECT_ID") or read("GOOGLE_CLOUD_PROJECT")
    if project is None:
        errors.append(
            "GCP_PROJECT_ID is not set: export it or put it in .env (see .env.example), or "
            "export the variables that `make local` prints to work without a cloud"
        )
    envs = tuple(_split(read("MLSYS_ENVS") or ",".join(ENVS)))
    unknown = [e for e in envs if e not in ENVS]
    if unknown or not envs:
        errors.append(f"MLSYS_ENVS names {unknown}: pass a comma-separated list of {list(ENVS)}")
    push_auth = read("MLSYS_PUSH_AUTH", "app")
    if push_auth not in PUSH_AUTH_MODES:
        errors.append(f"MLSYS_PUSH_AUTH is {push_auth!r}: pass one of {list(PUSH_AUTH_MODES)}")
    role = read("MLSYS_ROLE", "all")
    if role not in ROLES:
        errors.append(f"MLSYS_ROLE is {role!r}: pass one of {list(ROLES)}")
    iap_audience = read("MLSYS_IAP_AUDIENCE")
    if iap_audience and not _IAP_AUDIENCE.fullmatch(iap_audience):
        errors.append(
            f"MLSYS_IAP_AUDIENCE is {iap_audience!r}: pass "
            "/projects/NUMBER/locations/REGION/services/SERVICE of the console's service"
        )
    timeout = read("MLSYS_REQUEST_TIMEOUT", "3600")
    try:
        request_timeout = float(timeout or 0)
        if not 0 < request_timeout <= REQUEST_SECONDS:
            raise ValueError
    except ValueError:
        request_timeout = 0.0
        errors.append(
            f"MLSYS_REQUEST_TIMEOUT is {timeout!r}: pass a number of seconds above 0, at most "
            f"{REQUEST_SECONDS:.0f}, after which Cloud Run ends a request"
        )
    datasets = {}
    for key in ("MLSYS_INPUT_DATASETS", "MLSYS_OUTPUT_DATASETS"):
        datasets[key] = tuple(_split(read(key)))
        if malformed := [d for d in datasets[key] if not _DATASET.fullmatch(d)]:
            errors.append(
                f"{key} names {malformed}: pass project.dataset or project.*, comma-separated"
            )
    trusted_globals = tuple(dict.fromkeys(_split(read("MLSYS_TRUSTED_GLOBALS"))))
    if malformed := [t for t in trusted_globals if not _GLOBAL.fullmatch(t)]:
        errors.append(
            f"MLSYS_TRUSTED_GLOBALS names {malformed}: pass exact names, module.Name, "
            "separated by commas"
        )
    for name in trusted_globals:
        if (why := why_never_trusted(name)) is not None:
            errors.append(
                f"MLSYS_TRUSTED_GLOBALS names {name!r}, which {why}: leave it out, and "
                "name only classes and functions of your own package"
            )
    models = read("MLSYS_MODELS", "listed")
    if models not in MODELS:
        errors.append(f"MLSYS_MODELS is {models!r}: pass one of {list(MODELS)}")
    for key in ("MLSYS_MODEL_SIGNING_KEY", *datasets):
        if (text := read(key)) and not _split(text):
            errors.append(f"{key} is {text!r}, which names nothing: set it, or leave it out")
    signing_keys = tuple(dict.fromkeys(_split(read("MLSYS_MODEL_SIGNING_KEY"))))
    if not all(map(is_public_key, signing_keys)):
        errors.append(
            "MLSYS_MODEL_SIGNING_KEY is not an Ed25519 public key: pass the key that `mlsys "
            "sign new-key` prints, or several separated by commas"
        )
    audience = read("MLSYS_PUSH_AUDIENCE")
    url = read("MLSYS_URL") or (audience if _ORIGIN.fullmatch(audience or "") else None)
    alias_guards = read_guards(read(VARIABLE), envs, errors)
    limits = {key: read(key) for key in LIMITS}
    job = read("MLSYS_JOB", "") or ""
    if job and not _JOB.fullmatch(job):
        errors.append(f"MLSYS_JOB is {job!r}: pass the name of a Cloud Run job in GCP_REGION")
    for key, text in limits.items():
        number, limit = _whole_number(text), LIMITS[key]
        if text and not number:
            errors.append(f"{key} is {text!r}: pass a whole number above 0")
        elif number and limit is not None and number > limit[0]:
            errors.append(f"{key} is {number}, and {limit[1]}: pass 1 to {limit[0]}")
    if errors:
        raise SettingsError("; ".join(errors))
    return {
        "project": project or "",
        "region": read("GCP_REGION", "us-central1") or "",
        "envs": envs,
        "models_buckets": _per_env("GCS_BUCKET_MODELS", values),
        "runs_buckets": _per_env("GCS_BUCKET_RUNS", values),
        "emulators": Emulators(**{k: read(v) for k, v in Emulators.VARIABLES.items()}),
        "role": role or "all",
        "iap_audience": iap_audience,
        "push_auth": push_auth or "app",
        "push_audience": audience,
        "url": url.rstrip("/") if url else None,
        "push_service_account": read("MLSYS_PUSH_SERVICE_ACCOUNT"),
        "request_timeout": request_timeout,
        "on_cloud_run": bool(read("K_SERVICE")),
        "input_datasets": datasets["MLSYS_INPUT_DATASETS"],
        "output_datasets": datasets["MLSYS_OUTPUT_DATASETS"],
        "trusted_globals": trusted_globals,
        "models": models or "listed",
        "signing_keys": signing_keys,
        "max_model_bytes": _whole_number(limits["MLSYS_MAX_MODEL_BYTES"]),
        "max_runs": _whole_number(limits["MLSYS_MAX_RUNS"]),
        "alias_guards": alias_guards,
        "job": job,
        "job_tasks": _whole_number(limits["MLSYS_JOB_TASKS"]) or JOB_TASKS,
        "job_cpus": _whole_number(limits["MLSYS_JOB_CPUS"]) or JOB_CPUS,
    }


def variable(name: str) -> str | None:
    """Return a variable's value from the environment, else the nearest `.env`, else None."""
    return environment().get(name)


def is_public_key(text: str) -> bool:
    """Return whether the text is an Ed25519 public key as `mlsys sign new-key` prints it."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) == len(KEY_PREFIX) + 32 and key.startswith(KEY_PREFIX)


def _whole_number(text: str | None) -> int | None:
    is_one = text is not None and text.isascii() and text.isdigit() and len(text) < 16
    return int(text) if text and is_one else None


def _split(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def _per_env(prefix: str, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    keys = ((env, f"{prefix}_{env.upper()}") for env in ENVS)
    buckets = ((env, values.get(key, "").strip()) for env, key in keys)
    return tuple((env, bucket) for env, bucket in buckets if bucket)


def environment() -> dict[str, str]:
    """Return the process's environment over the nearest `.env`.

    In a notebook it is looked for from the notebook's folder upwards, and then, as everywhere else,
    from the working folder upwards.

    Raises:
        SettingsError: the `.env` is not UTF-8 text, or cannot be read.
    """
    from dotenv import dotenv_values

    path = _env_file()
    from_file = dotenv_values(stream=io.StringIO(_text_of(path))) if path else {}
    return {k: v for k, v in from_file.items() if v is not None} | dict(os.environ)


def _env_file() -> str | None:
    folders = [folder for folder in (notebook_folder(), _working_folder()) if folder is not None]
    for folder in dict.fromkeys(folders):
        for each in (folder, *folder.parents):
            with contextlib.suppress(OSError):  # a folder that may not be entered
                if (each / ".env").is_file():
                    return str(each / ".env")
    return None


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def notebook_folder() -> Path | None:
    """Return the folder of the notebook that this process is the kernel of, or None.

    A kernel's working folder may be another: VS Code can start it in the workspace
    (`jupyter.notebookFileRoot`), and a cell may have changed it. VS Code names the notebook in the
    kernel, Jupyter in its environment, which a program started from a cell inherits.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    for name in (shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if isinstance(name, str) and os.path.isabs(name):
            return Path(name).parent
    return None


def _text_of(path: str) -> str:
    """Read a `.env`; Windows editors may write a byte order mark, or UTF-16.

    Raises:
        SettingsError: it is not UTF-8 text, or cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as exc:
        raise SettingsError(
            f"{path} cannot be read ({exc.strerror}): make it readable, or remove it"
        ) from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path} is not UTF-8 text: save it as UTF-8") from exc
    if "\0" in text:
        raise SettingsError(f"{path} is not UTF-8 text: save it as UTF-8")
    return text
