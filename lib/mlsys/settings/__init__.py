"""Settings from the environment and from the nearest `.env` file.

Importing this module reads nothing. `Settings.from_env()` reads everything at once; the
constants that notebooks use (`GCP_PROJECT_ID`, `GCP_REGION`, `GCS_BUCKET_MODELS_DEV`,
`GCS_BUCKET_MODELS_STAGING`, `GCS_BUCKET_MODELS_PROD`) are read when they are first used:

>>> from mlsys.settings import GCS_BUCKET_MODELS_DEV   # doctest: +SKIP
"""

from mlsys.settings.reading import ENVS, Emulators
from mlsys.settings.values import Settings

# `from mlsys.settings import *` reads the settings.
__all__ = [
    "ENVS",
    "GCP_PROJECT_ID",
    "GCP_REGION",
    "GCS_BUCKET_MODELS_DEV",
    "GCS_BUCKET_MODELS_PROD",
    "GCS_BUCKET_MODELS_STAGING",
    "Emulators",
    "Settings",
]

# Read on first use, by `__getattr__`.
GCP_PROJECT_ID: str
GCP_REGION: str
GCS_BUCKET_MODELS_DEV: str
GCS_BUCKET_MODELS_STAGING: str
GCS_BUCKET_MODELS_PROD: str

_CONSTANTS = {
    "GCP_PROJECT_ID": lambda s: s.project,
    "GCP_REGION": lambda s: s.region,
    "GCS_BUCKET_MODELS_DEV": lambda s: s.models_bucket("dev"),
    "GCS_BUCKET_MODELS_STAGING": lambda s: s.models_bucket("staging"),
    "GCS_BUCKET_MODELS_PROD": lambda s: s.models_bucket("prod"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_CONSTANTS})


def __getattr__(name: str) -> str:
    if name not in _CONSTANTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _CONSTANTS[name](Settings.from_env())
