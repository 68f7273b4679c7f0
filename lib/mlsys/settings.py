"""Settings from the environment and from the nearest `.env` file.

Importing this module reads nothing. `Settings.from_env()` reads everything at once; the
constants that notebooks use (`GCP_PROJECT_ID`, `GCP_REGION`, `GCS_BUCKET_MODELS_DEV`,
`GCS_BUCKET_MODELS_STAGING`, `GCS_BUCKET_MODELS_PROD`) are read when they are first used:

>>> from mlsys.settings import GCS_BUCKET_MODELS_DEV   # doctest: +SKIP
"""

import base64
import binascii
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mlsys.errors import InvalidRequest, NotAllowed, SettingsError
from mlsys.safe_pickle.forbidden_names import why_never_trusted

# `from mlsys.settings import *` reads the settings.
__all__ = [
    "ENVS",
    "GCP_PROJECT_ID",
    "GCP_REGION",
    "GCS_BUCKET_MODELS_DEV",
    "GCS_BUCKET_MODELS_PROD",
    "GCS_BUCKET_MODELS_STAGING",
    "Settings",
]

# Read on first use, by `__getattr__`.
GCP_PROJECT_ID: str
GCP_REGION: str
GCS_BUCKET_MODELS_DEV: str
GCS_BUCKET_MODELS_STAGING: str
GCS_BUCKET_MODELS_PROD: str

ENVS = ("dev", "staging", "prod")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PUSH_AUTH_MODES = ("app", "platform", "off")
MODELS = ("listed", "any")
MAX_MODEL_BYTES = 2 << 30
# The prefix of every Ed25519 public key in DER form (RFC 8410, section 4)
KEY_PREFIX = bytes.fromhex("302a300506032b6570032100")
# module.Name, exactly: no wildcard, and no class inside another
_GLOBAL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
_DATASET = re.compile(r"[a-z0-9.:-]+\.(?:[A-Za-z0-9_]+|\*)")

_CONSTANTS = {
    "GCP_PROJECT_ID": lambda s: s.project,
    "GCP_REGION": lambda s: s.region,
    "GCS_BUCKET_MODELS_DEV": lambda s: s.models_bucket("dev"),
    "GCS_BUCKET_MODELS_STAGING": lambda s: s.models_bucket("staging"),
    "GCS_BUCKET_MODELS_PROD": lambda s: s.models_bucket("prod"),
}


@dataclass(frozen=True, slots=True)
class Emulators:
    """Addresses of local servers that stand in for Google Cloud; None means the real service."""

    storage: str | None = None  # http://host:port
    bigquery: str | None = None  # http://host:port
    bigquery_storage: str | None = None  # host:port, gRPC
    pubsub: str | None = None  # host:port, gRPC

    VARIABLES: ClassVar = {
        "storage": "STORAGE_EMULATOR_HOST",
        "bigquery": "BIGQUERY_EMULATOR_HOST",
        "bigquery_storage": "BIGQUERY_STORAGE_EMULATOR_HOST",
        "pubsub": "PUBSUB_EMULATOR_HOST",
    }

    def __bool__(self) -> bool:
        return any((self.storage, self.bigquery, self.bigquery_storage, self.pubsub))


@dataclass(frozen=True, slots=True)
class Settings:
    """All values that differ between machines and environments. Immutable and hashable."""

    project: str
    region: str = "us-central1"
    envs: tuple[str, ...] = ENVS
    models_buckets: tuple[tuple[str, str], ...] = ()  # (env, bucket), where not the default name
    runs_buckets: tuple[tuple[str, str], ...] = ()
    emulators: Emulators = Emulators()
    push_auth: str = "app"
    push_audience: str | None = None
    push_service_account: str | None = None
    url: str | None = None  # the service's own address, https://HOST, for links in its answers
    request_timeout: float = 3600.0  # seconds; Cloud Run's limit for one request
    on_cloud_run: bool = False
    input_datasets: tuple[str, ...] = ()  # project.dataset or project.*; empty: the project's own
    output_datasets: tuple[str, ...] = ()
    trusted_globals: tuple[str, ...] = ()  # module.Name, in addition to the allow-list
    models: str = "listed"  # what models may be made of: listed names, or any installed code
    signing_keys: tuple[str, ...] = ()  # public ones; empty: models need no signature
    max_model_bytes: int = MAX_MODEL_BYTES  # of a model.pkl, compressed and unpacked

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environ` (default: the process's, over the nearest `.env`).

        Raises:
            SettingsError: with every missing or malformed key in one message.
        """
        values = _environment() if environ is None else environ
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
            errors.append(
                f"MLSYS_ENVS names {unknown}: pass a comma-separated list of {list(ENVS)}"
            )
        push_auth = read("MLSYS_PUSH_AUTH", "app")
        if push_auth not in PUSH_AUTH_MODES:
            errors.append(f"MLSYS_PUSH_AUTH is {push_auth!r}: pass one of {list(PUSH_AUTH_MODES)}")
        timeout = read("MLSYS_REQUEST_TIMEOUT", "3600")
        try:
            request_timeout = float(timeout or 0)
            if not request_timeout > 0:
                raise ValueError
        except ValueError:
            request_timeout = 0.0
            errors.append(f"MLSYS_REQUEST_TIMEOUT is {timeout!r}: pass a number of seconds above 0")
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
        size = read("MLSYS_MAX_MODEL_BYTES") or str(MAX_MODEL_BYTES)
        max_model_bytes = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0
        if not max_model_bytes:
            errors.append(f"MLSYS_MAX_MODEL_BYTES is {size!r}: pass a whole number above 0")
        if errors:
            raise SettingsError("; ".join(errors))
        return cls(
            project=project or "",
            region=read("GCP_REGION", "us-central1") or "",
            envs=envs,
            models_buckets=_per_env("GCS_BUCKET_MODELS", values),
            runs_buckets=_per_env("GCS_BUCKET_RUNS", values),
            emulators=Emulators(**{k: read(v) for k, v in Emulators.VARIABLES.items()}),
            push_auth=push_auth or "app",
            push_audience=audience,
            url=url.rstrip("/") if url else None,
            push_service_account=read("MLSYS_PUSH_SERVICE_ACCOUNT"),
            request_timeout=request_timeout,
            on_cloud_run=bool(read("K_SERVICE")),
            input_datasets=datasets["MLSYS_INPUT_DATASETS"],
            output_datasets=datasets["MLSYS_OUTPUT_DATASETS"],
            trusted_globals=trusted_globals,
            models=models or "listed",
            signing_keys=signing_keys,
            max_model_bytes=max_model_bytes,
        )

    def check_service(self) -> None:
        """Refuse settings under which anybody could push events, or nobody.

        Raises:
            SettingsError: a setting is missing or contradicts another; all of them are named.
        """
        errors = []
        if self.push_auth == "off" and (self.on_cloud_run or not self.emulators):
            errors.append(
                "MLSYS_PUSH_AUTH=off is only for the local stack: set it to app, with "
                "MLSYS_PUSH_AUDIENCE and MLSYS_PUSH_SERVICE_ACCOUNT"
            )
        if self.push_auth == "platform" and not self.on_cloud_run:
            errors.append(
                "MLSYS_PUSH_AUTH=platform trusts Cloud Run to have verified the token, and this is "
                "not Cloud Run: set it to app"
            )
        if self.push_auth in ("app", "platform"):
            if not self.push_audience:
                errors.append("MLSYS_PUSH_AUDIENCE is not set: pass the service's URL")
            if not self.push_service_account:
                errors.append(
                    "MLSYS_PUSH_SERVICE_ACCOUNT is not set: pass the e-mail of the account "
                    "that the push subscriptions sign in with"
                )
        if self.url is not None and not _ADDRESS.fullmatch(self.url):
            errors.append(f"MLSYS_URL is {self.url!r}: pass https://HOST, or http://127.0.0.1:PORT")
        if self.on_cloud_run and self.emulators:
            errors.append("emulator variables are set on Cloud Run: remove them")
        if errors:
            raise SettingsError("; ".join(errors))

    def require_env(self, env: str) -> str:
        """Return `env` if this service serves it.

        Raises:
            InvalidRequest: it does not; the message names the environments that it serves.
        """
        if env not in self.envs:
            raise InvalidRequest(
                ("env", f"{env!r} is not served here: pass {' or '.join(self.envs)}")
            )
        return env

    def models_bucket(self, env: str) -> str:
        """Return the bucket of the environment's models, `mlsys-models-{env}` unless configured."""
        return dict(self.models_buckets).get(env, f"mlsys-models-{env}")

    def runs_bucket(self, env: str) -> str:
        """Return the bucket of the environment's runs, `mlsys-runs-{env}` unless configured."""
        return dict(self.runs_buckets).get(env, f"mlsys-runs-{env}")

    def env_of_models_bucket(self, bucket: str) -> str | None:
        """Return the served environment whose models are in `bucket`, or None."""
        return next((e for e in self.envs if self.models_bucket(e) == bucket), None)

    def dataset(self, env: str) -> str:
        """Return the environment's own dataset, `project.mlsys_{env}`."""
        return f"{self.project}.mlsys_{env}"

    def model_events_topic(self, env: str) -> str:
        """Return the full name of the topic for the models bucket's notifications."""
        return f"projects/{self.project}/topics/mlsys-model-events-{env}"

    def predictions_topic(self, env: str) -> str:
        """Return the full name of the topic for scoring requests with `wait=false`."""
        return f"projects/{self.project}/topics/mlsys-predictions-{env}"

    def events_topic(self, env: str) -> str:
        """Return the full name of the topic on which mlsys announces models and runs."""
        return f"projects/{self.project}/topics/mlsys-events-{env}"

    def check_input(self, project: str, dataset: str) -> None:
        """Refuse to read a dataset that MLSYS_INPUT_DATASETS does not allow.

        Raises:
            NotAllowed: it may not be read; the message names the datasets that may.
        """
        if dataset.casefold() in {f"mlsys_{env}" for env in ENVS if env not in self.envs}:
            raise NotAllowed(
                f"input_table: {project}.{dataset} belongs to another environment: pass a table of "
                "another dataset"
            )
        self._check_listed("input", "read", self.input_datasets, project, dataset)

    def check_output(self, project: str, dataset: str) -> None:
        """Refuse to write mlsys's own dataset, or one that MLSYS_OUTPUT_DATASETS does not allow.

        Raises:
            NotAllowed: it may not be written; the message names the datasets that may.
        """
        if dataset.casefold() in {f"mlsys_{env}" for env in ENVS}:
            raise NotAllowed(
                f"output_table: {project}.{dataset} holds mlsys's own registry and ledger: pass a "
                "table of another dataset"
            )
        self._check_listed("output", "write", self.output_datasets, project, dataset)

    def _check_listed(
        self, which: str, verb: str, listed: tuple[str, ...], project: str, dataset: str
    ) -> None:
        allowed = listed or (f"{self.project}.*",)
        if f"{project}.{dataset}" not in allowed and f"{project}.*" not in allowed:
            raise NotAllowed(
                f"{which}_table: the service may not {verb} {project}.{dataset}: pass a table of "
                f"{', '.join(listed) or f'a dataset of {self.project}'}, or add the dataset to "
                f"MLSYS_{which.upper()}_DATASETS"
            )


def variable(name: str) -> str | None:
    """Return a variable's value from the environment, else the nearest `.env`, else None."""
    return _environment().get(name)


def is_public_key(text: str) -> bool:
    """Return whether the text is an Ed25519 public key as `mlsys sign new-key` prints it."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) == len(KEY_PREFIX) + 32 and key.startswith(KEY_PREFIX)


def _split(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def _per_env(prefix: str, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    keys = ((env, f"{prefix}_{env.upper()}") for env in ENVS)
    buckets = ((env, values.get(key, "").strip()) for env, key in keys)
    return tuple((env, bucket) for env, bucket in buckets if bucket)


def _environment() -> dict[str, str]:
    """Return the process's environment over the nearest `.env`, from the working folder upwards.

    Raises:
        SettingsError: the `.env` is not UTF-8 text, or cannot be read.
    """
    from dotenv import dotenv_values, find_dotenv

    path = find_dotenv(usecwd=True)
    from_file = dotenv_values(stream=io.StringIO(_text_of(path))) if path else {}
    return {k: v for k, v in from_file.items() if v is not None} | dict(os.environ)


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


def __dir__() -> list[str]:
    return sorted({*globals(), *_CONSTANTS})


def __getattr__(name: str) -> str:
    if name not in _CONSTANTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _CONSTANTS[name](Settings.from_env())
