"""A notebook's wrong argument is refused by name before any call, and never printed whole."""

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression

import mlsys.bq
import mlsys.gcs
import mlsys.models
from broken_cloud import BrokenCloud
from mlsys.arguments import check_bucket, check_path
from mlsys.bq import bq_get, bq_put
from mlsys.errors import InvalidRequest, MlsysError, SettingsError
from mlsys.gcs import gcs_get, gcs_get_pickle, gcs_list_blobs, gcs_put, gcs_put_pickle
from mlsys.models import ModelRef, sign_model, upload_model
from mlsys.settings import Settings

WHOLE = "never shown " * 1000
X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 0.0, 2.0]})
Y = pd.Series([0, 1, 0], name="hit")
MODEL = LogisticRegression().fit(X, Y)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> BrokenCloud:
    """Return clients that count the calls."""
    found = BrokenCloud(0, None)
    for module in (mlsys.bq, mlsys.gcs, mlsys.models):
        monkeypatch.setattr(module, "default_clients", lambda: found)
    return found


class Polars:
    """A table of another library, with the method that Polars has."""

    def to_pandas(self) -> pd.DataFrame:
        return X


ODD: dict[str, Any] = {
    "None": None,
    "an int": 7,
    "a float": 0.5,
    "bytes": b"a",
    "a list": ["a"],
    "a dict": {"a": WHOLE},
    "a set": {"a"},
    "a Path": Path("a"),
    "an open file": io.BytesIO(WHOLE.encode()),
    "a class": dict,
    "an object": object(),
    "a lambda": lambda: None,
    "a generator": (i for i in range(3)),
    "empty": "",
    "blank": " \n",
    "a surrogate": f"a\ud800{WHOLE}",
    "an array": np.ones((2, 2)),
    "a frame": X,
    "NaN": float("nan"),
    "pandas' NA": pd.NA,
    "a table of Arrow": pa.table({"a": [1]}),
}
# For each case: the argument, and the value that is accepted.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "bq_get(query)": (bq_get, set()),
    "bq_put(df)": (
        lambda value: bq_put(value[["a"]] if value is X else value, "demo-project.d.t"),
        {"a frame"},
    ),
    "bq_put(table_id)": (lambda value: bq_put(X[["a"]].astype(int), value), set()),
    "bq_put(write_disposition)": (
        lambda value: bq_put(X[["a"]].astype(int), "demo-project.d.t", value),
        set(),
    ),
    "gcs_get(bucket)": (lambda value: gcs_get(value, "a"), set()),
    "gcs_get(path)": (lambda value: gcs_get("bucket", value), set()),
    "gcs_put(content)": (
        lambda value: gcs_put(value, "bucket", "a"),
        {"bytes", "empty", "blank"},
    ),
    "gcs_put(bucket)": (lambda value: gcs_put(b"", value, "a"), set()),
    "gcs_put(path)": (lambda value: gcs_put(b"", "bucket", value), set()),
    "gcs_get_pickle(bucket)": (lambda value: gcs_get_pickle(value, "a"), set()),
    "gcs_get_pickle(path)": (lambda value: gcs_get_pickle("bucket", value), set()),
    "gcs_put_pickle(obj)": (
        lambda value: gcs_put_pickle(value, "bucket", "a"),
        set(ODD) - {"a generator"},
    ),
    "gcs_put_pickle(bucket)": (lambda value: gcs_put_pickle({}, value, "a"), set()),
    "gcs_put_pickle(path)": (lambda value: gcs_put_pickle({}, "bucket", value), set()),
    "gcs_list_blobs(bucket)": (gcs_list_blobs, set()),
    "upload_model(model)": (lambda value: upload_model(value, "demo", X=X), set()),
    "upload_model(name)": (lambda value: upload_model(MODEL, value, X=X), set()),
    "upload_model(version)": (lambda value: upload_model(MODEL, "demo", value, X=X), {"None"}),
    "upload_model(X)": (
        lambda value: upload_model(MODEL, "demo", X=value),
        {"a frame", "an array"},
    ),
    "upload_model(y)": (lambda value: upload_model(MODEL, "demo", X=X, y=value), {"None"}),
    "upload_model(target)": (
        lambda value: upload_model(MODEL, "demo", X=X, target=value),
        {"None", "a list"},
    ),
    "upload_model(id_columns)": (
        lambda value: upload_model(MODEL, "demo", X=X, id_columns=value),
        {"a list", "empty"},
    ),
    "upload_model(metrics)": (
        lambda value: upload_model(MODEL, "demo", X=X, metrics=value),
        {"None", "a dict", "a frame"},
    ),
    "upload_model(description)": (
        lambda value: upload_model(MODEL, "demo", X=X, description=value),
        {"None", "empty"},
    ),
    "upload_model(env)": (lambda value: upload_model(MODEL, "demo", X=X, env=value), set()),
    "upload_model(signing_key)": (
        lambda value: upload_model(MODEL, "demo", X=X, signing_key=value),
        {"None"},
    ),
    "sign_model(ref)": (lambda value: sign_model(value, "dev", "key"), set()),
    "sign_model(env)": (lambda value: sign_model(ModelRef("demo", "v1"), value, "key"), set()),
    "sign_model(key)": (lambda value: sign_model(ModelRef("demo", "v1"), "dev", value), set()),
}


@pytest.mark.filterwarnings("ignore:obj. a lambda is stored")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_argument_is_refused_by_name(name: str, cloud: BrokenCloud) -> None:
    call, fine = FUNCTIONS[name]
    parameter = name.partition("(")[2][:-1]
    for kind, value in ODD.items():
        if kind in fine:
            call(value)
            continue
        cloud.made.clear()
        with pytest.raises(InvalidRequest) as caught:
            call(value)
        text = str(caught.value)
        blamed = caught.value.problems[0][0]
        assert parameter in blamed or blamed in ("signing_key", "model_name", "model_version"), kind
        assert len(text) < 600 and WHOLE[:100] not in text, (kind, text)
        assert "upload" not in cloud.made and "load" not in cloud.made, kind


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gcs_put({"a": 1}, "b-b", "a"), "is a dict: pass bytes or text, for .*json.dumps"),  # type: ignore[arg-type]
        (lambda: gcs_put(io.BytesIO(b""), "b-b", "a"), r"content\.getvalue\(\)"),  # type: ignore[arg-type]
        (lambda: gcs_put(Path("a"), "b-b", "a"), r"path\.read_bytes\(\)"),  # type: ignore[arg-type]
        (lambda: gcs_put(X, "b-b", "a"), "is a pandas DataFrame: .*bq_put writes"),  # type: ignore[arg-type]
        (lambda: gcs_put(MODEL, "b-b", "a"), "gcs_put_pickle writes a model"),  # type: ignore[arg-type]
        (lambda: gcs_get("gs://b-b/a/c", "a/c"), "is a URL: pass the bucket's name, 'b-b'"),
        (lambda: gcs_get("gs://b-b", "a/c"), "is a URL: pass the bucket's name, 'b-b'"),
        (lambda: gcs_get("b-b/a", "c"), "holds a path: pass .*'b-b', and the path, 'a'"),
        (lambda: gcs_get("b-b", "gs://b-b/a/c"), "is a URL: pass the path within .*'a/c'"),
        (
            lambda: gcs_get("b-b", "https://storage.googleapis.com/b-b/a/c"),
            "is a URL: pass the path within .*'a/c'",
        ),
        (lambda: gcs_list_blobs("gs://b-b/"), "is a URL: pass the bucket's name, 'b-b'"),
        (lambda: gcs_list_blobs("My_Bucket!"), "is not a bucket name: pass lower-case"),
        (lambda: gcs_get("b-b", "x" * 1025), "has 1,025 bytes: pass at most 1,024"),
        (lambda: gcs_get("b-b", "a\nb"), "pass one without line breaks"),
        (lambda: gcs_get("b-b", ".."), "is not an object path"),
        (lambda: bq_get(Path("q.sql")), r"pass GoogleSQL.*read_text\(\) of the file"),  # type: ignore[arg-type]
        (lambda: bq_get(b"SELECT 1"), r"decoded: value\.decode\(\)"),  # type: ignore[arg-type]
        (
            lambda: bq_get("p-project.d.t"),
            "is the name of a table: pass 'SELECT .* `p-project.d.t`",
        ),
        (lambda: bq_get("`d.t`"), "is the name of a table: pass 'SELECT .* `d.t`"),
        (lambda: bq_get("SELECT '\ud800'"), r"half of a surrogate pair \(at character 8, '.ud800"),
        (lambda: bq_put(X, "gs://b/a"), "is not a table id: pass project.dataset.table"),
        (lambda: upload_model(LinearRegression, "d", X=X), "model: is the class LinearRegression"),
        (lambda: upload_model({"m": MODEL}, "d", X=X), "model: is a dict: pass a fitted"),
        (
            lambda: upload_model(DBSCAN().fit(X), "d", X=X),
            "DBSCAN has no predict, only fit_predict",
        ),
        (lambda: upload_model(MODEL, "d", X=csr_matrix(X)), r"X: is a sparse matrix.*X\.toarray"),
        (lambda: upload_model(MODEL, "d", X=csr_array(X)), r"X: is a sparse matrix.*X\.toarray"),
        (
            lambda: upload_model(MODEL, "d", X=pa.table({"a": [1]})),
            r"X: is a pyarrow.Table: pass X",
        ),
        (lambda: upload_model(MODEL, "d", X=Polars()), r"Polars: pass X\.to_pandas\(\)"),
        (lambda: upload_model(MODEL, "d", X=X.head(0)), "X: has no rows"),
        (lambda: upload_model(MODEL, "d", X=X[[]]), "X: has no columns"),
        (lambda: upload_model(MODEL, "d", X=[{"a": 1, "b": 2}]), r"pass pd\.DataFrame\(X\)"),
        (lambda: upload_model(MODEL, "d", X=[[1], [1, 2]]), "has rows of different length"),
        (lambda: upload_model(MODEL, "d", X=X, y=Y[:2]), "y: has 2 rows, and X has 3"),
        (lambda: upload_model(MODEL, "d", X=X, y=[0, 1]), "y: has 2 rows, and X has 3"),
        (lambda: upload_model(MODEL, "d", X=X, y="hit"), "y: is text: .*target='name'"),
        (lambda: upload_model(MODEL, "d", X=X, y=np.ones((3, 2, 1))), "y: has 3 dimensions"),
        (lambda: upload_model(MODEL, "d", X=X, y=X), "y: names 2 column.* predicts 1 value"),
        (lambda: upload_model(MODEL, "d", X=X, target=["p", "q"]), "target: names 2 column"),
        (lambda: upload_model(MODEL, "d", X=X, y=Y, target=["p", "q"]), "target: has 2 name"),
        (lambda: upload_model(MODEL, "d", X=X, target=["p", "P"]), "names one column twice"),
        (lambda: upload_model(MODEL, "d", X=X, target=["p", 1]), "target: holds an int"),  # type: ignore[list-item]
        (lambda: upload_model(MODEL, "d", X=X, target=[]), "target: is empty"),
        (
            lambda: upload_model(LinearRegression().fit(X, X), "d", X=X, target="p"),
            "target: names 1 column.*'p'.* predicts 2 value.*pass one name",
        ),
        (
            lambda: upload_model(LinearRegression().fit(X, X), "d", X=X, y=X, target="p"),
            "target: has 1 name.*y has 2 column",
        ),
        (lambda: upload_model(MODEL, "d", X=X, id_columns=["i", "I"]), "names one column twice"),
        (lambda: upload_model(MODEL, "d", X=X, id_columns=["*", "i"]), "which means every column"),
        (lambda: upload_model(MODEL, "d", X=X, id_columns=[1]), "id_columns: holds an int"),  # type: ignore[list-item]
        (lambda: upload_model(MODEL, "d", X=X, metrics=0.5), "metrics: is a float: .*'accuracy'"),  # type: ignore[arg-type]
        (lambda: upload_model(MODEL, "d", X=X, metrics={"n": 10**400}), "metrics: holds a number"),
        (lambda: upload_model(MODEL, "d", X=X, metrics={"a": "\ud800"}), "metrics: holds half of"),
        (lambda: upload_model(MODEL, "d", X=X, metrics=itself()), "metrics: are nested too deep"),
        (lambda: upload_model(MODEL, "d", X=X, description="\ud800"), "description: holds half"),
        (lambda: upload_model(MODEL, "d", "", X=X), "model_version: '': pass v1"),
        (
            lambda: upload_model(MODEL, "d", X=X, signing_key="/nowhere/key"),
            "signing_key: /nowhere/key cannot be read",
        ),
    ],
)
def test_a_refusal_says_what_to_pass(
    call: Callable[[], Any], told: str, cloud: BrokenCloud
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        call()
    assert "upload" not in cloud.made and "load" not in cloud.made


def itself() -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    metrics["self"] = metrics
    return metrics


def test_right_arguments_are_accepted(cloud: BrokenCloud) -> None:
    gcs_put(bytearray(b"x"), "demo-bucket", "a")  # type: ignore[arg-type]
    gcs_put(memoryview(b"x"), "demo-bucket", "a")  # type: ignore[arg-type]
    for more in (
        {"y": Y},
        {"y": Y.to_frame()},
        {"y": Y.tolist()},
        {"y": csr_matrix(Y.to_numpy().reshape(-1, 1))},
        {"y": pa.array(Y)},
        {"y": np.array([[0], [1], [0]]), "target": "hit"},
        {"target": pd.Index(["hit"])},
        {"id_columns": ("i", "j")},
        {"id_columns": pd.Index([])},
        {"id_columns": "*"},
        {"metrics": pd.Series({"auc": np.float32(0.5)})},
    ):
        assert upload_model(MODEL, "demo", X=X, **more) == ModelRef("demo", "v1")  # type: ignore[arg-type]
    two = LinearRegression().fit(X, X)
    assert upload_model(two, "demo", X=X, y=X) and upload_model(two, "demo", X=X, y=X.to_numpy())
    pca = PCA(1).fit(X)  # no names of targets for a model without predictions
    assert upload_model(pca, "demo", X=X, y=Y, target="hit")


class Unloadable:
    """Pickles as a call that fails."""

    def __init__(self, exc: Exception) -> None:
        self.exc = exc

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.exc,)


def _raise(exc: Exception) -> None:
    raise exc


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x04",
        b"\x1f\x8b\x08",
        b"PK\x03\x04",
        b"\xff" * 100,
        json.dumps({"a": 1}).encode(),
        pickle.dumps(X)[:-20],
        b"cno_such_package\nThing\n.",
        b"cmlsys.errors\nNoSuchThing\n.",
        pickle.dumps(Unloadable(RuntimeError(WHOLE))),
        pickle.dumps(Unloadable(KeyError("x"))),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_not_a_pickle_is_named(
    content: bytes, cloud: BrokenCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlsys.gcs, "gcs_get", lambda *_: content)
    with pytest.raises(InvalidRequest, match="^blob_path: gs://demo-bucket/a ") as caught:
        gcs_get_pickle("demo-bucket", "a")
    assert len(str(caught.value)) < 1000


class Unpicklable:
    """Raises the given exception when it is pickled."""

    def __init__(self, exc: Exception) -> None:
        self.exc = exc

    def __getstate__(self) -> None:
        raise self.exc


@pytest.mark.parametrize(
    "obj",
    [
        (i for i in range(3)),
        open,
        Unpicklable(RuntimeError(WHOLE)),
        Unpicklable(NotImplementedError()),
        Unpicklable(RecursionError("maximum recursion depth exceeded")),
        Unpicklable(OSError(5, "input/output error")),
    ],
    ids=lambda obj: type(getattr(obj, "exc", obj)).__name__,
)
def test_an_object_that_cannot_be_pickled_is_refused_under_the_arguments_name(
    obj: Any, cloud: BrokenCloud
) -> None:
    if obj is open:
        with tempfile.TemporaryFile() as file, pytest.raises(InvalidRequest, match="^obj: cannot"):
            gcs_put_pickle({"file": file}, "demo-bucket", "a")
        return
    with pytest.raises(InvalidRequest, match="^obj: cannot be pickled") as caught:
        gcs_put_pickle(obj, "demo-bucket", "a")
    assert len(str(caught.value)) < 1000


def test_every_valid_form_of_bucket_and_object_name_is_accepted() -> None:
    for name in ("abc", "a.b.c", "mlsys-models-dev", "my_bucket_1", "x" * 63, "example.com"):
        assert check_bucket(name) == name
    for path in ("a", "/a", "a//b", "a/", "ä😀 +%?#&", "http:/a", "." * 3, "x" * 1024, "gs:"):
        assert check_path(path) == path


def test_a_dotenv_of_another_encoding_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    file, text = tmp_path / ".env", "GCP_PROJECT_ID=demo-project\nGCP_REGION=größe\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "latin-1"):
        file.write_bytes(text.encode(encoding))
        with pytest.raises(SettingsError, match=r"\.env is not UTF-8 text: save it as UTF-8"):
            Settings.from_env()
    file.write_bytes(text.encode("utf-8-sig"))
    assert (Settings.from_env().project, Settings.from_env().region) == ("demo-project", "größe")
    monkeypatch.setattr("builtins.open", _denied)
    with pytest.raises(SettingsError, match=r"\.env cannot be read \(Permission denied\)"):
        Settings.from_env()


def _denied(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("address", ["localhost:9000", "http://", "http://[::1", "http://h:port"])
def test_a_malformed_emulator_address_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCP_PROJECT_ID", "demo-project")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    with pytest.raises(MlsysError, match="^STORAGE_EMULATOR_HOST is .*: pass http://HOST:PORT"):
        gcs_list_blobs("demo-bucket")
