"""Error messages for a model file that does not load; each continues a sentence with its name."""

from __future__ import annotations

import importlib.util
import pickle
import re
import sys

from mlsys.artifact.other_release import advice, differs
from mlsys.safe_pickle.forbidden_names import why_never_trusted
from mlsys.safe_pickle.handles import Malformed, UnsafePickle, Untrusted
from mlsys.safe_pickle.instead import instead_of
from mlsys.safe_pickle.saved_with import saved_with

# Modules of packages that people train models with, and the name to install each by.
PACKAGES = {
    name: name
    for name in (
        "catboost causalml econml flaml gensim glum hdbscan imodels interpret keras lifelines "
        "lightgbm mapie mlxtend mord ngboost nltk numba optuna polars prophet pygam pyod pytz "
        "shap skops skorch sktime spacy statsmodels tabpfn tensorflow textblob torch tpot "
        "transformers tslearn xgboost xgboostlss"
    ).split()
} | {
    "Levenshtein": "Levenshtein",
    "autosklearn": "auto-sklearn",
    "boruta": "Boruta",
    "category_encoders": "category_encoders",
    "dask_ml": "dask-ml",
    "dateutil": "python-dateutil",
    "feature_engine": "feature-engine",
    "imblearn": "imbalanced-learn",
    "lz4": "lz4",
    "pytorch_tabnet": "pytorch-tabnet",
    "sentence_transformers": "sentence-transformers",
    "sklearn_crfsuite": "sklearn-crfsuite",
    "sklearn_pandas": "sklearn-pandas",
    "sklego": "scikit-lego",
    "skopt": "scikit-optimize",
    "sksurv": "scikit-survival",
    "surprise": "scikit-surprise",
    "umap": "umap-learn",
}
_OF_MAIN = re.compile(
    r"Can't get (?:local )?attribute '(?P<a>[\w.<>]{1,200})' on <module '__(?:mp_)?main__'"
    r"|module '__(?:mp_)?main__' has no attribute '(?P<b>\w{1,200})'"
)
_UNPICKLERS = ("/pickle.py", "/joblib/numpy_pickle.py", "/joblib/numpy_pickle_utils.py")
# Where Python's unpickler calls what a pickle names.
_CALLING = ("load_build", "load_newobj", "load_newobj_ex", "load_reduce", "_instantiate")
# Names in these packages change between releases of scikit-learn and its dependencies.
_LIBRARIES = frozenset(("joblib", "numpy", "pandas", "pyarrow", "scipy", "sklearn"))


def why_not(exc: Exception, content: bytes) -> str:
    """Return what is wrong with an unpacked pickle that raised `exc`, and what to do."""
    if isinstance(exc, Untrusted):
        return _name_refused(exc.key, content, exc.nested)
    if isinstance(exc, ModuleNotFoundError):
        of_library = (exc.name or "").partition(".")[0] in _LIBRARIES
        module = f"the module {exc.name}"
        return (of_library and _other_release(content, module)) or missing(exc.name)
    if isinstance(exc, AttributeError | ImportError):
        message = _printable(exc)
        return _other_release(content, message) or (
            f"needs code that is not installed in the service: {message}. Train with the service's "
            "libraries, or build an image with the code that the model needs"
        )
    if isinstance(exc, Malformed):
        fault = str(exc).replace("no library writes", "the service's libraries do not write")
        return _other_release(content, f"it {fault}") or (
            f"{exc}: it was not loaded. If the file may be damaged, dump the fitted estimator "
            "again with gcs_put_pickle, upload_model or joblib.dump. Otherwise leave this part "
            "out of the model"
        )
    if isinstance(exc, UnsafePickle):
        message = str(exc)
        return message if ": " in message else f"{message}: leave this part out of the model"
    if isinstance(exc, PermissionError):
        return _not_permitted(exc)
    if isinstance(exc, MemoryError):
        return "needs more memory than the service has: train a smaller model, or give it more"
    if not isinstance(exc, EOFError | pickle.UnpicklingError):
        if other := _other_release(content, f"{type(exc).__name__}: {_printable(exc)}"):
            return other
    fault = f"is not a pickled model ({type(exc).__name__})"
    return f"{fault}: upload it with gcs_put_pickle, upload_model or joblib.dump"


def _not_permitted(exc: PermissionError) -> str:
    if exc.filename is not None:
        return (
            f"needs {_printable(exc.filename)}, and the process that holds a model reads installed "
            "packages alone: install the code as a package of the service's Python, and keep data "
            "that the model needs in the model"
        )
    return (
        f"does something while it is loaded that a model may not do ({exc.strerror}): a model may "
        "compute, and read installed packages. Leave this part out of the model"
    )


def why_not_any(exc: Exception, content: bytes) -> str:
    """Say what is wrong with a pickle of any code that raised `exc`, and what helps."""
    if isinstance(exc, ModuleNotFoundError):
        of_library = (exc.name or "").partition(".")[0] in _LIBRARIES
        said = f"the module {exc.name}"
        return (of_library and _other_release(content, said)) or not_in_the_image(exc)
    if isinstance(exc, AttributeError) and (lost := _OF_MAIN.match(str(exc))):
        return (
            f"needs `__main__.{lost['a'] or lost['b']}`, which the pickle does not contain: "
            "upload the model with upload_model or gcs_put_pickle, which store classes and "
            "functions of a notebook as code, or write it with cloudpickle"
        )
    of_pickle = isinstance(exc, MemoryError | UnsafePickle | EOFError | pickle.UnpicklingError)
    if of_pickle or isinstance(exc, ImportError | PermissionError) or _of_unpickler(exc):
        return why_not(exc, content)
    said = f"{type(exc).__name__}: {_printable(exc)}".rstrip(": ")
    return _other_release(content, said) or (
        f"raised {said}, while it was loaded. Load it in a new Python process with the service's "
        "libraries, correct its code, and upload it again"
    )


def not_in_the_image(exc: ModuleNotFoundError) -> str:
    """Say which package is missing, where it need only be installed."""
    module = (exc.name or str(exc)).partition(".")[0]
    if (known := PACKAGES.get(module)) is not None:
        return (
            f"needs the package {known!r}, which the service has not installed: add it to the "
            "service's image, or train without it"
        )
    return (
        f"needs the module {module!r}, which the service has not installed: add its package to "
        "the service's image. If it lies beside the notebook, upload the model with upload_model, "
        "which stores such a module as code"
    )


def _of_unpickler(exc: Exception) -> bool:
    """Tell whether the bytes are at fault, and not code that they call."""
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code if last is not None else None
    if code is None or not code.co_filename.endswith(_UNPICKLERS):
        return False
    return code.co_name not in _CALLING


def missing(package: str | None) -> str:
    """Return that a module is not installed, naming the package if it is a known one."""
    known = PACKAGES.get(package or "")
    if known is None:
        return (
            f"needs the module {package!r}, which is not installed in the service: train with "
            "scikit-learn alone, or put the module into a package and the package into the image"
        )
    return (
        f"needs the package {known!r}, which is not installed in the service: train with "
        "scikit-learn alone, or add the package to the service's dependencies"
    )


def _name_refused(key: str, content: bytes, nested: bool) -> str:
    package = key.partition(".")[0]
    if package in ("cloudpickle", "dill") or key.startswith("joblib.externals.cloudpickle"):
        tool = "dill" if package == "dill" else "cloudpickle"
        if key.endswith("._builtin_type"):
            return (
                f"needs `{key}`, by which cloudpickle stores a type of Python's own, such as "
                "types.SimpleNamespace: leave it out of the model, or keep a dict in its place"
            )
        return (
            f"needs `{key}`: {tool} stored a lambda, or a function or class of a notebook, as "
            "code, and the service does not run code from a model file. Use functions of NumPy or "
            "scikit-learn, or move your own into a package that is installed in the service, "
            "import it from there, train again and add its name to MLSYS_TRUSTED_GLOBALS. A "
            "service with MLSYS_MODELS=any takes the model as it is"
        )
    if package == "__main__":
        return (
            f"needs code that is not installed here: {key}. The pickle does not contain a class or "
            "function that was defined in the notebook. Move it to a package that is installed in "
            "the service, import it from there, train again and add its name to "
            "MLSYS_TRUSTED_GLOBALS. Or upload it with upload_model to a service with "
            "MLSYS_MODELS=any"
        )
    if package in _LIBRARIES or package.startswith("_"):
        if (other := _other_release(content, f"`{key}`")) is not None:
            return other
    if (advice_for := instead_of(key, nested)) is not None:
        return f"needs `{key}`, which {advice_for}"
    if (why := why_never_trusted(key)) is not None:
        return (
            f"needs `{key}`, which is not on the list of what a model may be made of. "
            f"MLSYS_TRUSTED_GLOBALS does not accept it: it {why}. Train with scikit-learn's own "
            "estimators and functions, and with numbers, texts and dates as values"
        )
    # Only the package's spec is looked up; nothing is imported.
    known = package in sys.modules or not package.isidentifier()
    if not known and importlib.util.find_spec(package) is None:
        if package.startswith("_"):  # a compiled module of another release of a library
            return (
                f"needs `{key}`, which the service's libraries do not have: train with the "
                "releases that the service has"
            )
        return f"{missing(package)}, and add {key} to MLSYS_TRUSTED_GLOBALS"
    return (
        f"needs `{key}`, which is not on the list of what a model may be made of: train with "
        f"scikit-learn's own estimators, or add {key} to MLSYS_TRUSTED_GLOBALS if you trust it"
    )


def _other_release(content: bytes, what: str) -> str | None:
    """Return that another scikit-learn release saved the model, if the file says so."""
    import sklearn

    then = saved_with(content)
    if then is None or then == sklearn.__version__:
        return None
    return f"was {differs(then)}, which cannot load it ({what}). {advice(then)}"


def _printable(exc: object) -> str:
    message = str(exc)
    return (message if message.isprintable() else ascii(message))[:300]
