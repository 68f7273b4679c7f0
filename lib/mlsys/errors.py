"""All errors that mlsys raises on purpose.

```
MlsysError
├── SettingsError            a missing or contradictory setting; all of them named at once
├── CredentialsMissing       no Google credentials were found, or none that Google accepts
├── PermissionMissing        Google Cloud denies the account a bucket, table or project
├── InvalidRequest           a malformed name, table, parameter or value
├── NotAllowed               a dataset that the service may not read or write
├── GuardRefused             the guard of an alias refuses a move
├── ModelNotFound            no such model version
├── AliasNotFound            no such alias of a model
├── AliasInvalid             an alias's object that names no version
├── ObjectNotFound           no such bucket or object in Cloud Storage
├── TableNotFound            no such BigQuery table or dataset
├── RunNotFound              no such scoring run
├── Conflict                 the request contradicts what already exists
│   ├── ModelExists          an upload would replace a model version
│   ├── RunCancelled         the run was cancelled: it publishes nothing
│   ├── RunPublished         the run cannot be cancelled: what it publishes is decided
│   ├── RunUndone            the run was undone: its rows were removed
│   ├── PriceLimit           the run would cost more than `max_bytes` or `max_cost` allows
│   └── AliasMoved           the alias names another version than the move expects
├── SchemaMismatch           a table does not fit the model, or the output does not fit its table
├── ModelUnusable            the model's file cannot be loaded or cannot predict
├── PredictionFailed         the model raised on rows of the table
├── InputDrifted             the input is further from the training data than `max_drift`
├── NoProgress               the run's last tries all ended where they began
├── MetadataInvalid          a metadata.json that cannot be read
├── ContractInvalid          a contract.json with a part of the wrong form; its place is named
├── ContractBroken           the input breaks a clause whose action is stop; nothing was published
├── NotRegistered            an upload that the registry did not show in time
├── CloudRefused             Google Cloud refuses a call for another reason
├── RefusedByService         the service refuses `mlsys predict` (`mlsys.remote.service`)
├── SandboxDied              the process that holds a model ended (`workers.sandbox.died`)
├── ServerNotReady           a server of the local stack did not come up (`mlsys.local.processes`)
└── TryAgain                 temporary: the same request can succeed later
    ├── CloudUnavailable     Google Cloud did not answer the library, or not in time
    ├── Unreachable          the service did not answer `mlsys predict` (`mlsys.remote.service`)
    ├── Overloaded           the service runs as many requests as it accepts (`app.overload`)
    ├── TooManyRuns          other runs hold the memory that the model needs (`workers.admission`)
    ├── PartGone             a part was deleted during the run (`workers.scoring.shards.part`)
    ├── PartDamaged          a part differs from what was written (`workers.scoring.shards.part`)
    ├── SessionOver          the read session ended early; the next try opens another one
    ├── RegistryBusy         the registry row kept changing
    ├── NewerRelease         a newer release of the service wrote what this one cannot read
    └── RunInterrupted       the run stopped before its end; the same request resumes it
        └── RunWaiting       while it waited for a BigQuery job or for another run
```

Every message says what is wrong and what to pass or do. `app.api.problems` has the one table that
maps these errors to HTTP answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

MAX_LISTED = 50  # columns, parameters or rows that one error names
MAX_TEXT = 4_000  # characters of an answer's sentence


def joined(pairs: Sequence[tuple[str, str]]) -> str:
    """Return `name: text` for each pair, the first `MAX_LISTED` of them.

    >>> joined([("a", "is missing"), ("b", "is STRING")])
    'a: is missing; b: is STRING'
    """
    texts = [f"{name}: {text}" for name, text in pairs[:MAX_LISTED]]
    if len(pairs) > MAX_LISTED:
        texts.append(f"and {len(pairs) - MAX_LISTED:,} more")
    return "; ".join(texts)


def bounded(text: str, most: int = MAX_TEXT) -> str:
    """Return `text`, cut to `most` characters, for an answer or a record."""
    return text if len(text) <= most else f"{text[:most]}..."


class MlsysError(Exception):
    """The root of the tree."""


class SettingsError(MlsysError, ValueError):
    """Settings are missing or contradict each other; the message names every one of them."""


class CredentialsMissing(MlsysError):
    """Google's Application Default Credentials were not found, or Google does not accept them."""


class PermissionMissing(MlsysError, PermissionError):
    """Google Cloud denies access; the message names the permission and a role that grants it."""


class CloudRefused(MlsysError):
    """Google Cloud refuses a call; the message quotes its reason."""


class InvalidRequest(MlsysError, ValueError):
    """A value does not have the form it needs.

    `problems` is a sequence of (name, what is wrong and what to pass instead) pairs.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems: Sequence[tuple[str, str]] = problems
        super().__init__(joined(problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), tuple(self.problems)


class NotAllowed(MlsysError, PermissionError):
    """The service's settings do not let it touch this dataset."""


class GuardRefused(MlsysError, PermissionError):
    """The guard of an alias refuses a move.

    `clauses` has every clause of the guard, with `name`, `ok`, `wanted`, `seen` and `problem`.
    """

    def __init__(self, message: str, clauses: Sequence[Mapping[str, Any]] = ()) -> None:
        self.clauses = [dict(clause) for clause in clauses]
        super().__init__(message)


class ModelNotFound(MlsysError, LookupError):
    """The bucket holds no such model version."""


class AliasNotFound(MlsysError, LookupError):
    """The model has no such alias; the message names those it has."""


class AliasInvalid(MlsysError, ValueError):
    """An alias's object cannot be read, or names no version."""


class ObjectNotFound(MlsysError, FileNotFoundError):
    """Cloud Storage has no such bucket or object."""


class TableNotFound(MlsysError, LookupError):
    """BigQuery has no such table or dataset."""


class RunNotFound(MlsysError, LookupError):
    """The environment has no such scoring run."""


class Conflict(MlsysError):
    """The request contradicts what already exists."""


class ModelExists(Conflict, FileExistsError):
    """The model version is taken; pass overwrite=True or another version."""


class RunCancelled(Conflict):
    """The run was cancelled: it publishes nothing, now or later."""


class RunPublished(Conflict):
    """The run cannot be cancelled any more: what it publishes is decided."""


class RunUndone(Conflict):
    """The run was undone: its rows were removed, and no request is answered by it."""


class PriceLimit(Conflict):
    """The run would cost more than its request allows; nothing was read.

    `price` has the estimate and the limits: `bytes`, `max_bytes`, `price_usd`, `max_cost`.
    """

    def __init__(self, message: str, price: Mapping[str, Any] | None = None) -> None:
        self.price = dict(price or {})
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), (str(self), self.price)


class AliasMoved(Conflict):
    """The alias names another version than the move expects; the message says which, and whose."""


class SchemaMismatch(MlsysError, ValueError):
    """A table and a model (or an output and its table) do not fit.

    `columns` is a sequence of (column, what is wrong) pairs.
    """

    def __init__(self, message: str, columns: Sequence[tuple[str, str]] = ()) -> None:
        self.columns = tuple(columns)
        self._message = message
        details = joined(self.columns)
        super().__init__(f"{message} {details}".rstrip() if details else message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), (self._message, self.columns)


class ModelUnusable(MlsysError):
    """The model's file is not a model this service can load and use."""


class PredictionFailed(MlsysError):
    """The model raised on rows of the input table; nothing was published.

    `rows` holds some of them: the id columns, and the `reason`.
    """

    def __init__(self, message: str, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.rows = [dict(row) for row in rows]
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), (str(self), self.rows)


class InputDrifted(MlsysError):
    """Columns are further from the training data than `max_drift`; nothing was published."""


class NoProgress(MlsysError):
    """The last tries of a run all ended without a new part; nothing was published."""


class RunFailed(MlsysError):
    """The run failed in a process that answers nobody; nothing was published."""


class MetadataInvalid(MlsysError, ValueError):
    """A metadata.json that is not a JSON object or has a part of the wrong form."""


class ContractInvalid(MlsysError, ValueError):
    """A contract.json that is not a JSON object or has a part of the wrong form.

    `problems` is a sequence of (JSON pointer, what is wrong) pairs.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems: Sequence[tuple[str, str]] = problems
        texts = [f"{pointer} {text}".lstrip() for pointer, text in problems[:MAX_LISTED]]
        more = [f"and {len(problems) - MAX_LISTED:,} more"] if len(problems) > MAX_LISTED else []
        super().__init__(bounded(f"contract.json: {'; '.join([*texts, *more])}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), tuple(self.problems)


class ContractBroken(MlsysError):
    """The input breaks a clause of the model's contract whose action is stop.

    `clauses` holds those that fail, as the run's result would.
    """

    def __init__(self, message: str, clauses: Sequence[Mapping[str, Any]] = ()) -> None:
        self.clauses = [dict(clause) for clause in clauses]
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), (str(self), self.clauses)


class NotRegistered(MlsysError, TimeoutError):
    """The model was uploaded, and the registry did not show it in time."""


class TryAgain(MlsysError):
    """A temporary failure; `retry_after` is in seconds."""

    retry_after = 5

    def __init__(self, message: str, progress: Mapping[str, Any] | None = None) -> None:
        self.progress = dict(progress or {})
        super().__init__(message)


class CloudUnavailable(TryAgain):
    """Google Cloud did not answer, or not in time; the same call can succeed later."""


class RegistryBusy(TryAgain):
    """Others kept changing the registry row before it could be written."""


class NewerRelease(TryAgain):
    """An object has fields that this release of the service does not know; a newer one does."""

    retry_after = 30


class TooManyRuns(TryAgain):
    """The service has no memory for another run's model, or works on as many runs as it may."""

    retry_after = 10


class SessionOver(TryAgain):
    """The read session of a run ended early; the next try opens another one."""


class RunInterrupted(TryAgain):
    """The run stopped early (out of time, or shutting down); the same request resumes it."""


class RunWaiting(RunInterrupted):
    """The run stopped early while it waited for a BigQuery job, or for another run."""


class OthersAtWork(RunWaiting):
    """The rows of a task are scored; other tasks of the run still work on theirs."""
