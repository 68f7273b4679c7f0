"""The names that let a model file run any code.

No error suggests one of them for MLSYS_TRUSTED_GLOBALS, and that setting does not accept one. Of
the standard library only the names in `DATA` hold nothing but data.
"""

import sys

# Names of the standard library that hold data or only compute, by module; "" stands for a whole
# module.
DATA = {
    "collections": frozenset(("Counter", "OrderedDict", "defaultdict", "deque")),
    "datetime": frozenset(("date", "datetime", "time", "timedelta", "timezone")),
    "decimal": frozenset(("Context", "Decimal")),
    "fractions": frozenset(("Fraction",)),
    "html": frozenset(("escape", "unescape")),
    "ipaddress": frozenset(("IPv4Address", "IPv4Network", "IPv6Address", "IPv6Network")),
    "math": frozenset(("",)),
    "random": frozenset(("Random",)),
    "re": frozenset(("_compile", "findall", "split", "sub")),
    "statistics": frozenset(("",)),
    "unicodedata": frozenset(("normalize",)),
    "uuid": frozenset(("UUID",)),
    "zoneinfo": frozenset(("ZoneInfo",)),
}
# Packages with functions that import, evaluate text, open files, talk to others or load pickles.
PACKAGES = frozenset(
    "__main__ IPython Cython _cffi_backend app asteval cffi cloudpickle dill distutils "
    "execnet fsspec gcsfs google greenlet gunicorn flask httpx ipykernel jinja2 joblib jsonpickle "
    "llvmlite loky mlsys mpmath nt numexpr paramiko pexpect pip pkg_resources plumbum psutil "
    "ptyprocess pycparser pytest py_compile requests s3fs setuptools sh smart_open sympy urllib3 "
    "uv virtualenv werkzeug wheel workers yaml".split()
)
# Modules, each with what lies below it.
MODULES = (
    "keras.models", "keras.saving", "keras.src", "numpy._core.records", "numpy.core.records",
    "numpy.ctypeslib", "numpy.distutils", "numpy.f2py", "numpy.lib", "numpy.testing",
    "pandas._testing", "pandas.compat", "pandas.core.computation", "pandas.io", "pandas.testing",
    "pandas.util", "pyarrow.dataset", "pyarrow.fs", "pyarrow.parquet", "pyarrow.serialization",
    "scipy._lib", "scipy.datasets", "scipy.io", "sklearn._build_utils", "sklearn.callback",
    "sklearn.datasets", "sklearn.externals", "sklearn.utils._testing",
    "sklearn.utils._available_if", "sklearn.utils.fixes", "sklearn.utils.metaestimators",
    "sklearn.utils.parallel", "tensorflow.io", "tensorflow.python.lib.io", "torch.hub",
    "torch.jit", "torch.package", "torch.serialization",
)  # fmt: skip
# Names that exist in a module beside harmless ones, whichever of the package's modules it is.
NAMES = {
    "numpy": frozenset(
        "DataSource apply_along_axis apply_over_axes fromfile fromfunction fromregex frompyfunc "
        "genfromtxt load loads loadtxt memmap open_memmap piecewise save savetxt savez "
        "savez_compressed vectorize".split()
    ),
    "pandas": frozenset("ExcelFile ExcelWriter HDFStore eval query test".split()),
    "scipy": frozenset(("LowLevelCallable", "test")),
    "sklearn": frozenset(("__check_build", "_scorer_from_name", "clone", "delayed")),
    "torch": frozenset("compile load save".split()),
}


def is_never_trusted(key: str) -> bool:
    """Tell whether `key`, a `module.Name`, lets a model file run any code."""
    module, _, name = key.rpartition(".")
    package = module.partition(".")[0]
    if module in DATA:
        return not DATA[module] & {name, ""} or name.startswith("__")
    if package in PACKAGES or package in sys.stdlib_module_names:
        return True
    if any(module == m or module.startswith(f"{m}.") for m in MODULES):
        return True
    if package == "pandas" and (name.startswith("read_") or name == "to_pickle"):
        return True
    return name in NAMES.get(package, ()) or (name.startswith("__") and name.endswith("__"))
