"""The refusal of a model file that does not load: the cause, and advice that works."""

import functools
import io
import pickle
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.artifact.loading import load_model, sklearn_version
from mlsys.artifact.other_release import OLDEST
from mlsys.artifact.pickling import pickled
from mlsys.artifact.refusals import why_not
from mlsys.errors import InvalidRequest, ModelUnusable, SettingsError
from mlsys.safe_pickle.forbidden_names import is_never_trusted, why_never_trusted
from mlsys.safe_pickle.saved_with import saved_with
from mlsys.safe_pickle.unpickler import NAMES
from mlsys.settings import Settings
from pickle_cases import LINE, call, dumped, glob, text, whole

ROOT = Path(__file__).parents[3]
X = np.random.RandomState(0).rand(40, 2)
Y = (X[:, 0] > 0.5).astype(int)
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
HERE = sklearn.__version__
ANY_CODE = [
    "posix.system", "os.system", "subprocess.Popen", "sys.exit", "builtins.eval", "builtins.exec",
    "builtins.getattr", "builtins.__import__", "importlib.import_module", "operator.attrgetter",
    "operator.methodcaller", "_operator.methodcaller", "functools.reduce", "functools.partial",
    "types.FunctionType", "types.CodeType", "cloudpickle.cloudpickle._make_function",
    "cloudpickle.cloudpickle.subimport", "dill._dill._create_function", "joblib.load",
    "joblib.numpy_pickle.load", "joblib.externals.cloudpickle.cloudpickle._make_function",
    "pickle.loads", "_pickle.loads", "numpy.load", "numpy.vectorize", "numpy.fromfile",
    "numpy.lib.npyio.load", "numpy.lib._npyio_impl.load", "pandas.read_pickle", "pandas.eval",
    "pandas.io.pickle.read_pickle", "scipy.io.loadmat", "sklearn.datasets.fetch_openml",
    "sklearn.utils.fixes.parse_version", "torch.load", "yaml.load", "collections.namedtuple",
    "ctypes.CDLL", "runpy.run_path", "code.InteractiveInterpreter", "pkg.mod.__getattr__",
    "__main__.anything",
]  # fmt: skip


def why(content: bytes, **options: Any) -> str:
    with pytest.raises(ModelUnusable) as caught:
        load_model(content, **options)
    said = str(caught.value)
    assert said.isprintable()
    return said


@pytest.mark.parametrize("key", ANY_CODE)
def test_names_that_run_any_code_are_neither_suggested_nor_accepted(key: str) -> None:
    said = why(whole(glob(*key.rsplit(".", 1)) + b")R"), trusted=(key,))
    assert f"add {key}" not in said
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"GCP_PROJECT_ID": "p", "MLSYS_TRUSTED_GLOBALS": f"churn.Ratio,{key}"})
    told = str(caught.value)
    assert f"names '{key}', which " in told and "leave it out" in told and "Ratio" not in told
    assert "standard library" not in told  # which is for names that are harmless


@pytest.mark.parametrize(
    "key", ["enum.Enum", "array.array", "colorsys.rgb_to_hls", "fnmatch.fnmatch"]
)
def test_a_harmless_name_of_the_standard_library_is_not_called_dangerous(key: str) -> None:
    said = why(whole(glob(*key.rsplit(".", 1)) + b")R"))
    assert said == (
        f"model.pkl needs `{key}`, which is not on the list of what a model may be made of. "
        "MLSYS_TRUSTED_GLOBALS does not accept it: it belongs to the standard library, from which "
        "only data and plain functions are accepted. Train with scikit-learn's own estimators and "
        "functions, and with numbers, texts and dates as values"
    )
    with pytest.raises(SettingsError, match="only data and plain functions are accepted"):
        Settings.from_env({"GCP_PROJECT_ID": "p", "MLSYS_TRUSTED_GLOBALS": key})


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("subprocess.Popen", "belongs to a module with which a model file can run any code"),
        ("_pickle.loads", "belongs to a module with which a model file can run any code"),
        ("joblib.load", "belongs to joblib, with which"),
        ("numpy.lib.npyio.load", "belongs to numpy.lib.npyio, with which"),
        ("numpy.vectorize", "calls, evaluates or opens its arguments from a model file"),
        ("pandas.read_csv", "opens files"),
        ("churn.Ratio.__init__", "special names"),
    ],
)
def test_the_refusal_explains_the_kind_of_name(key: str, what: str) -> None:
    assert what in str(why_never_trusted(key))


@pytest.mark.parametrize(
    "key",
    [
        "churn.features.Ratio", "xgboost.sklearn.XGBClassifier", "collections.deque",
        "datetime.date", "decimal.Decimal", "uuid.UUID", "math.log", "re._compile",
        "lightgbm.sklearn.LGBMClassifier", "imblearn.pipeline.Pipeline", "pandas.DataFrame",
        "scipy.stats._stats_py.zscore", "numpy.trapezoid",
    ],
)  # fmt: skip
def test_a_teams_own_names_and_data_are_accepted(key: str) -> None:
    settings = Settings.from_env({"GCP_PROJECT_ID": "p", "MLSYS_TRUSTED_GLOBALS": key})
    assert settings.trusted_globals == (key,)


def test_a_dangerous_function_is_refused_under_another_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("churn")
    module.load, module.os = pickle.loads, sys  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "churn", module)
    assert "_pickle.loads" in why(whole(glob("churn", "load")), trusted=("churn.load",))
    assert "churn.os" in why(whole(glob("churn", "os")), trusted=("churn.os",))


def test_a_listed_name_keeps_its_rules_when_the_setting_adds_it() -> None:
    call = glob("sklearn.pipeline", "Pipeline") + b"(K\x01tR"
    assert "calls `sklearn.pipeline.Pipeline`" in why(
        whole(call), trusted=("sklearn.pipeline.Pipeline",)
    )


@pytest.mark.parametrize("tool", ["cloudpickle.cloudpickle", "dill._dill"])
def test_code_stored_by_value_is_explained(tool: str) -> None:
    said = why(whole(glob(tool, "_make_function")))
    assert "stored a lambda, or a function or class of a notebook, as code" in said
    assert "move your own into a package" in said


@pytest.mark.parametrize("name", ["SimpleNamespace", "CodeType", "FunctionType"])
def test_a_type_of_pythons_types_module_is_explained(name: str) -> None:
    kind = call("cloudpickle.cloudpickle", "_builtin_type", text(name))
    assert "types.SimpleNamespace: leave it out of the model" in why(whole(kind))


@pytest.mark.parametrize("func", ["exp", "log"])
def test_a_bound_method_is_named(func: str) -> None:
    kind = call("cloudpickle.cloudpickle", "_builtin_type", text("MethodType"))
    said = why(whole(kind + glob("numpy", func) + glob(*LINE) + b")\x81\x86R"))
    assert f"keeps the method `LinearRegression.{func}`, which is not on the list" in said


FORMS = {
    "pickle": pickle.dumps,
    "joblib": dumped,
    "joblib, compressed": lambda m: dumped(m, compress=3),
    **{
        f"protocol {n}": functools.partial(lambda m, n: pickle.dumps(m, protocol=n), n=n)
        for n in (0, 1, 2, 3, 4)
    },
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_the_release_is_read_in_advance_in_every_form(write: Any) -> None:
    assert sklearn_version(write(MODEL)) == HERE
    assert sklearn_version(write({"a": 1})) is None
    assert sklearn_version(b"no pickle") is None


def of_release(model: Any, release: str, module: bytes, old: bytes, **options: Any) -> bytes:
    """Return a pickle as `release` wrote it: with its version, and a name that no longer exists."""
    content = pickle.dumps(model, protocol=2, **options)
    assert module in content
    now = f"X{chr(len(HERE))}\0\0\0{HERE}".encode()
    then = f"X{chr(len(release))}\0\0\0{release}".encode()
    assert now in content
    return content.replace(now, then).replace(module, old)


@pytest.mark.parametrize(
    ("module", "old"),
    [
        pytest.param(b"csklearn.pipeline\nPipeline\n", b"c_gone\nGone\n", id="a compiled module"),
        pytest.param(
            b"csklearn.pipeline\nPipeline\n", b"csklearn.gone\n_Gone\n", id="its own module"
        ),
        pytest.param(b"csklearn.pipeline\nPipeline\n", b"cnumpy.gone\ngone\n", id="of NumPy"),
        pytest.param(b"csklearn.pipeline\nPipeline\n", b"cscipy._lib.x\ny\n", id="of SciPy"),
    ],
)
def test_a_name_of_another_release_is_explained_with_that_release(
    module: bytes, old: bytes
) -> None:
    said = why(of_release(MODEL, "1.1.3", module, old))
    assert "was saved with scikit-learn 1.1.3, and the service has " + HERE in said
    assert "package" not in said and "MLSYS_TRUSTED_GLOBALS" not in said
    assert said.endswith(f"Train and upload it with scikit-learn {HERE}")  # 1.1.3 has no image


def test_another_image_is_advised_for_releases_that_the_service_supports() -> None:
    newer = of_release(MODEL, "9.0.1", b"csklearn.pipeline\nPipeline\n", b"csklearn.x\nY\n")
    assert "or build the service's image with scikit-learn 9.0.1" in why(newer)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"scikit-learn>={'.'.join(map(str, OLDEST))}" in project["dependencies"]


def test_a_foreign_name_is_not_blamed_on_the_release() -> None:
    content = of_release(MODEL, "1.1.3", b"csklearn.pipeline\nPipeline\n", b"cxgboost.x\nY\n")
    assert "needs the package 'xgboost'" in why(content)


def test_only_known_packages_are_suggested() -> None:
    assert "the package 'imbalanced-learn'" in why(whole(glob("imblearn.pipeline", "Pipeline")))
    said = why(whole(glob("my_utils", "Ratio")))
    assert "the module 'my_utils'" in said and "'my_utils' to" not in said
    said = why(whole(glob("_loss2", "CyLoss")))
    assert "package" not in said and "train with the releases that the service has" in said


@pytest.mark.parametrize(
    "kind", [LogisticRegression, HistGradientBoostingClassifier, dict], ids=lambda k: k.__name__
)
def test_a_class_in_place_of_an_object_is_named(kind: type) -> None:
    said = why(pickle.dumps(kind), name="gs://m/v1/model.pkl")
    assert said == (
        f"gs://m/v1/model.pkl holds the class {kind.__name__}, not a fitted model: "
        "pass the fitted object"
    )


def test_pickling_a_class_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is the class LogisticRegression, not a fitted model"):
        pickled(LogisticRegression)
    assert pickle.loads(pickled(pd.Timestamp)) is pd.Timestamp


def test_no_listed_name_can_run_any_code() -> None:
    """Exceptions are names that a function of ours, a stand-in or a list of values replaces."""
    from mlsys.safe_pickle.names import CLASSES, NAMED, keys

    classes = keys(CLASSES) | keys(NAMED)
    dangerous = {k for k in classes & NAMES if is_never_trusted(k)}
    assert {k for k in dangerous if not k.startswith("builtins.")} == set()


def test_the_release_in_a_file_is_only_a_claim() -> None:
    buffer = io.BytesIO()
    joblib.dump({"_sklearn_version": "\n1.7"}, buffer)
    assert saved_with(buffer.getvalue()) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(13, "Permission denied", "/team/models.py"),
            "needs /team/models.py, and the process that holds a model reads installed packages "
            "alone: install the code as a package",
        ),
        (
            PermissionError(1, "Operation not permitted"),
            "does something while it is loaded that a model may not do (Operation not permitted)",
        ),
    ],
)
def test_what_the_walls_refuse_is_not_taken_for_a_damaged_file(
    error: Exception, words: str
) -> None:
    assert why_not(error, pickle.dumps(MODEL)).startswith(words)
