"""Checks of the arguments of `upload_model`, before any work; errors say what to pass.

They check each argument's form and whether the arguments fit one another. Predictions for rows of X
are checked in `mlsys.artifact.proof`, names and types of columns in `mlsys.artifact.signatures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.arguments import as_pandas, check_text, kind_of
from mlsys.columns.names import duplicates, name_fault, proposed_name
from mlsys.errors import InvalidRequest
from mlsys.plural import plural

MAX_LISTED = 5  # names in a message


def check_model(model: Any) -> None:
    """Refuse an object that is not an estimator's instance.

    Raises:
        InvalidRequest: it is a class, or has neither predict nor transform.
    """
    if isinstance(model, type):
        text = f"is the class {model.__name__}, not a fitted model: pass the fitted object"
        raise InvalidRequest(("model", text))
    if not any(callable(getattr(model, name, None)) for name in ("predict", "transform")):
        if hasattr(model, "fit_predict"):
            text = f"{type(model).__name__} has no predict, only fit_predict for the rows it was"
            raise InvalidRequest(("model", f"{text} fitted on: pass a model with predict"))
        raise InvalidRequest(("model", f"is {kind_of(model)}: pass a fitted scikit-learn model"))


def training_table(X: Any) -> Any:
    """Return X as a DataFrame, a Series or an array, with at least one row and one column.

    Raises:
        InvalidRequest: it is anything else, or empty; the message says how to convert it.
    """
    import numpy as np
    import pandas as pd

    if not isinstance(X, pd.DataFrame | pd.Series | np.ndarray):
        if hasattr(X, "toarray"):
            text = "is a sparse matrix, and the columns of a table are dense: pass X.toarray(), or "
            raise InvalidRequest(
                ("X", f"{text}the DataFrame and a Pipeline of the vectorizer and the model")
            )
        if instead := as_pandas(X, "X"):
            raise InvalidRequest(("X", f"is {kind_of(X)}: pass {instead}"))
        if isinstance(X, type) or not (isinstance(X, list | tuple) or hasattr(X, "__array__")):
            text = f"is {kind_of(X)}: pass the rows that the model was fitted on, as a DataFrame"
            raise InvalidRequest(("X", f"{text} or an array"))
        try:
            X = np.asarray(X)
        except ValueError as exc:
            text = "has rows of different length: pass a DataFrame, or rows of one length"
            raise InvalidRequest(("X", text)) from exc
        if X.dtype == object and len(X) and isinstance(X.flat[0], Mapping):
            raise InvalidRequest(("X", "is a list of dicts: pass pd.DataFrame(X)"))
    if X.ndim == 0:
        raise InvalidRequest(("X", "is a single value: pass rows x features"))
    if not len(X):
        raise InvalidRequest(("X", "has no rows: pass the rows that the model was fitted on"))
    if X.ndim == 2 and not X.shape[1]:
        raise InvalidRequest(("X", "has no columns: pass those that the model was fitted on"))
    return X


def check_target(y: Any, rows: int) -> None:
    """Refuse a y that is not the target of X.

    Raises:
        InvalidRequest: it is text or a single value, or has another number of rows than X.
    """
    if y is None:
        return
    if isinstance(y, str | bytes):
        text = "is text: pass the values, y=df['name'], or only the name, target='name'"
        raise InvalidRequest(("y", text))
    if isinstance(y, Mapping | set | type) or not (hasattr(y, "__len__") or hasattr(y, "shape")):
        raise InvalidRequest(("y", f"is {kind_of(y)}: pass the target's values, one for each row"))
    shape = getattr(y, "shape", None)
    length = (shape[0] if shape else 0) if isinstance(shape, tuple) else len(y)
    if isinstance(shape, tuple) and len(shape) not in (1, 2):
        text = (
            f"has {plural(len(shape), 'dimension')}: pass one value for each row, or one row of "
            "values"
        )
        raise InvalidRequest(("y", text))
    if length != rows:
        text = f"has {plural(length, 'row')}, and X has {rows:,}: pass the target of the rows of X"
        raise InvalidRequest(("y", text))


def target_names(y: Any, target: Any) -> tuple[str, ...]:
    """Return the names of the model's targets, which become columns of the output.

    Raises:
        InvalidRequest: `target` is neither a text nor a list of texts, has another number of names
            than y has columns, or has names that BigQuery does not accept.
    """
    shape = getattr(y, "shape", None)
    columns = shape[1] if isinstance(shape, tuple) and len(shape) == 2 else 1
    if target is not None:
        names, parameter = names_of(target, "target"), "target"
        if y is not None and len(names) != columns:
            text = f"has {plural(len(names), 'name')}, and y has {plural(columns, 'column')}"
            raise InvalidRequest(("target", f"{text}: pass one for each"))
    else:
        parameter = "y"
        if hasattr(y, "columns"):
            names = tuple(str(column) for column in y.columns)
        else:
            name = getattr(y, "name", None)
            names = (str(name),) if name is not None and not callable(name) else ()
    _check_written(names, parameter)
    return names


def check_outputs(names: Sequence[str], outputs: int | None, parameter: str) -> None:
    """Refuse target names whose number differs from the model's outputs per row.

    Raises:
        InvalidRequest: the numbers differ.
    """
    if outputs is not None and names and len(names) != outputs:
        shown = ", ".join(map(repr, names[:MAX_LISTED]))
        text = f"names {plural(len(names), 'column')} ({shown}), and the model predicts "
        text += f"{plural(outputs, 'value')} per row: pass one name for each"
        raise InvalidRequest((parameter, text))


def id_names(id_columns: Any) -> tuple[str, ...]:
    """Return the names of the columns that identify a row.

    Raises:
        InvalidRequest: it is neither a text nor a list of texts, or has duplicates or a name that
            BigQuery does not accept.
    """
    if hasattr(id_columns, "__len__") and not isinstance(id_columns, type | Mapping | set):
        if not len(id_columns):
            return ()
    names = names_of(id_columns, "id_columns")
    _check_written([name for name in names if name != "*"], "id_columns")
    if len(names) > 1 and "*" in names:
        text = "has names beside '*', which means every column: pass only '*', or only names"
        raise InvalidRequest(("id_columns", text))
    return names


def metrics_of(metrics: Any) -> dict[Any, Any]:
    """Return the metrics as a dictionary of their names.

    Raises:
        InvalidRequest: they are not a mapping, or contain themselves or text that is not Unicode.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping) and not hasattr(metrics, "to_dict"):
        text = f"is {kind_of(metrics)}: pass a dictionary, for instance {{'accuracy': 0.8}}"
        raise InvalidRequest(("metrics", text))
    return dict(metrics if isinstance(metrics, Mapping) else metrics.to_dict())


def check_description(description: Any) -> None:
    """Refuse a description that is not text.

    Raises:
        InvalidRequest: it is of another type, or holds half of a surrogate pair.
    """
    if description is not None and not (isinstance(description, str) and not description):
        check_text(description, "description", "pass what the model is about")


def names_of(value: Any, parameter: str) -> tuple[str, ...]:
    """Return a name or names as a tuple of texts, each of them once.

    Raises:
        InvalidRequest: it is anything else; the message names `parameter`.
    """
    listed = [value] if isinstance(value, str) else value
    ordered = hasattr(listed, "__iter__") and not isinstance(listed, bytes | Mapping | set | type)
    if not ordered or getattr(listed, "ndim", 1) != 1:
        text = f"is {kind_of(value)}: pass the name of a column, or a list of names"
        raise InvalidRequest((parameter, text))
    names = list(listed)
    if invalid := [name for name in names if not isinstance(name, str)]:
        text = f"holds {kind_of(invalid[0])}: pass the names of columns, which are text"
        raise InvalidRequest((parameter, text))
    if not names:
        raise InvalidRequest((parameter, "is empty: pass the name of a column, or leave it out"))
    if twice := duplicates(names):
        text = f"names one column twice ({', '.join(map(repr, twice[:MAX_LISTED]))}): BigQuery"
        raise InvalidRequest((parameter, f"{text} ignores case; pass each once"))
    return tuple(str(name) for name in names)


def _check_written(names: Sequence[str], parameter: str) -> None:
    invalid = [(name, fault) for name in names if (fault := name_fault(name)) is not None]
    if invalid:
        text = "; ".join(
            f"{name[:80]!r} {fault}: pass {proposed_name(name)!r}" for name, fault in invalid
        )
        raise InvalidRequest((parameter, f"names a column of the output, and {text}"))
    if parameter == "y" and (twice := duplicates(names)):
        raise InvalidRequest((parameter, f"has two columns named {twice[0]!r}: rename one"))
