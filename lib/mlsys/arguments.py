"""Checks of the arguments that a notebook passes: buckets, paths, contents, queries, tables.

A wrong argument is refused before any call. The message says what the argument is and what to pass;
it shows the argument's type or a shortened text, never the whole value.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from typing import Any

from mlsys.errors import InvalidRequest

MAX_PATH = 1024  # bytes: https://cloud.google.com/storage/docs/objects#naming
MAX_SHOWN = 80  # characters of a value in a message

# https://cloud.google.com/storage/docs/buckets#naming, less dots beside dots and hyphens
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,220}[a-z0-9])")
_URL = re.compile(
    r"(?:gs|https?)://(?:storage\.(?:googleapis|cloud\.google)\.com/|console\.cloud\.google\.com/"
    r"storage/browser/)?(?:_details/)?(?P<bucket>[^/]*)/?(?P<path>.*)",
    re.DOTALL,
)


def check_bucket(bucket_name: Any, parameter: str = "bucket_name") -> str:
    """Return `bucket_name` if it is a valid bucket name.

    Raises:
        InvalidRequest: it is not text, or is a URL, a path or not a valid bucket name.
    """
    name = check_text(bucket_name, parameter, "pass the name of a bucket")
    if url := _URL.fullmatch(name):
        raise InvalidRequest(
            (parameter, f"{shown(name)} is a URL: pass the bucket's name, {shown(url['bucket'])}")
        )
    if "/" in name:
        first, _, rest = name.partition("/")
        text = f"{shown(name)} holds a path: pass the bucket's name, {shown(first)}"
        raise InvalidRequest((parameter, f"{text}, and the path, {shown(rest)}"))
    if not _BUCKET.fullmatch(name):
        text = "pass lower-case letters, digits, hyphens, underscores and dots, at least 3"
        raise InvalidRequest((parameter, f"{shown(name)} is not a bucket name: {text}"))
    return name


def check_path(blob_path: Any, parameter: str = "blob_path") -> str:
    """Return `blob_path` if it is a valid object path.

    Raises:
        InvalidRequest: it is not text, or is a URL or not a valid object path.
    """
    path = check_text(blob_path, parameter, "pass the object's path within the bucket")
    if (url := _URL.fullmatch(path)) and (path.startswith("gs:") or url["path"]):
        text = f"pass the path within the bucket, {shown(url['path'])}"
        raise InvalidRequest((parameter, f"{shown(path)} is a URL: {text}"))
    if path in (".", "..") or "\n" in path or "\r" in path:
        text = "is not an object path: pass one without line breaks that is not . or .."
        raise InvalidRequest((parameter, f"{shown(path)} {text}"))
    if len(path.encode()) > MAX_PATH:
        text = f"has {len(path.encode()):,} bytes: pass at most {MAX_PATH:,}"
        raise InvalidRequest((parameter, f"{shown(path)} {text}"))
    return path


def content_bytes(content: Any, parameter: str = "content") -> bytes | str:
    """Return `content` as `gcs_put` writes it: bytes, or Unicode text.

    Raises:
        InvalidRequest: it is anything else; the message says how to convert it.
    """
    if isinstance(content, bytes):
        return content
    if isinstance(content, bytearray | memoryview):
        return bytes(content)
    if not isinstance(content, str):
        raise InvalidRequest(
            (parameter, f"is {kind_of(content)}: pass bytes or text{_as_bytes(content)}")
        )
    _check_unicode(content, parameter)
    return content


def check_query(query: Any, parameter: str = "query") -> str:
    """Return `query` if it is the text of a query.

    Raises:
        InvalidRequest: it is not text, is empty, or is only the name of a table.
    """
    text = check_text(query, parameter, "pass GoogleSQL, for instance 'SELECT 1'")
    if re.fullmatch(r"`?[\w:-]+(\.[\w-]+){1,2}`?", text.strip()):
        name = text.strip().strip("`")
        raise InvalidRequest(
            (parameter, f"{shown(text)} is the name of a table: pass 'SELECT * FROM `{name}`'")
        )
    return text


def check_choice(value: Any, choices: Sequence[str], parameter: str) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        InvalidRequest: it is not; the message names the choices.
    """
    if not isinstance(value, str) or value not in choices:
        given = shown(value) if isinstance(value, str) else f"is {kind_of(value)}"
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise InvalidRequest((parameter, f"{given}: pass {listed}"))
    return value


def check_text(value: Any, parameter: str, instead: str) -> str:
    """Return `value` if it is Unicode text that is not blank.

    Raises:
        InvalidRequest: it is not; the message ends with `instead`, which says what to pass.
    """
    if not isinstance(value, str):
        hint = ", read_text() of the file" if isinstance(value, os.PathLike | io.IOBase) else ""
        hint = ", decoded: value.decode()" if isinstance(value, bytes | bytearray) else hint
        raise InvalidRequest((parameter, f"is {kind_of(value)}: {instead}, as text{hint}"))
    if not value.strip():
        raise InvalidRequest((parameter, f"is empty: {instead}"))
    _check_unicode(value, parameter)
    return value


def kind_of(value: Any) -> str:
    """Return the type of a value with its article, without any of its contents."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    known = {"builtins": "", "numpy": "NumPy ", "pandas": "pandas ", "polars": "Polars "}
    name = f"{known.get(package, f'{package}.')}{kind.__name__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def shown(value: Any) -> str:
    """Return a value's repr for a message: of bounded length, and always Unicode text."""
    text = ascii(value) if isinstance(value, str) and not _is_text(value) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def shown_text(value: Any) -> str:
    """Return a value as text of bounded length."""
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def as_pandas(table: Any, name: str) -> str | None:
    """Return the expression that converts another library's table to pandas, or None."""
    package = type(table).__module__.partition(".")[0]
    if package == "pyarrow" and hasattr(table, "to_pandas"):
        return f"{name}.to_pandas(types_mapper=pd.ArrowDtype)"  # keeps integers beside NULLs
    if package == "polars" and hasattr(table, "collect"):
        return f"{name}.collect().to_pandas()"
    if hasattr(table, "to_pandas"):
        return f"{name}.to_pandas()"
    if hasattr(table, "toPandas"):  # Spark
        return f"{name}.toPandas()"
    if package in ("dask", "dask_expr") and hasattr(table, "compute"):
        return f"{name}.compute()"
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_unicode(text: str, parameter: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        at = f"at character {exc.start:,}, {text[exc.start]!a}"
        raise InvalidRequest(
            (
                parameter,
                f"holds half of a surrogate pair ({at}), which is not Unicode text: read the text "
                "with the right encoding, or replace it: text.encode('utf-8', 'replace')",
            )
        ) from exc


def _as_bytes(content: Any) -> str:
    """Return how to convert `content` to bytes or text, as the end of a sentence."""
    if isinstance(content, dict | list | tuple):
        return ", for instance json.dumps(content)"
    if isinstance(content, os.PathLike):
        return ", path.read_bytes()"
    if hasattr(content, "getvalue"):
        return ", content.getvalue()"
    if hasattr(content, "read"):
        return ", file.read() of an open file"
    if hasattr(content, "to_csv"):
        return ", content.to_csv() or content.to_json(); bq_put writes a DataFrame into a table"
    if hasattr(content, "fit"):
        return "; gcs_put_pickle writes a model, and upload_model registers it"
    return "; gcs_put_pickle writes other objects"
