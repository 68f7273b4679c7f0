"""The names that MLSYS_TRUSTED_GLOBALS does not accept and that no error suggests for it.

Most let a model file run any code. From the standard library only the names in `DATA` are accepted:
most others are harmless, but a complete list of those could not be kept.
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
# Modules of the standard library that run code, start programs, or reach files or other machines.
RUNS_CODE = frozenset(
    "asyncio atexit bdb builtins bz2 cProfile cgitb cmd code codecs codeop compileall concurrent "
    "contextlib copy copyreg ctypes curses dataclasses dbm distutils doctest ensurepip "
    "faulthandler fcntl fileinput ftplib functools gc glob gzip http idlelib imaplib imp importlib "
    "inspect io lib2to3 linecache logging lzma mailbox marshal mmap modulefinder msvcrt "
    "multiprocessing nntplib nt operator os pathlib pdb pickle pickletools pipes pkgutil platform "
    "poplib posix profile pstats pty py_compile pyclbr pydoc resource rlcompleter runpy sched "
    "select selectors shelve shutil signal site smtplib socket socketserver sqlite3 ssl subprocess "
    "sys sysconfig syslog tarfile telnetlib tempfile termios threading timeit tkinter tokenize "
    "trace traceback tracemalloc turtle types typing unittest urllib venv warnings weakref "
    "webbrowser winreg wsgiref xml xmlrpc zipapp zipfile zipimport".split()
)
# Packages with functions that import, evaluate text, open files, talk to others or load pickles.
PACKAGES = frozenset(
    "__main__ IPython Cython _cffi_backend app asteval cffi cloudpickle dill distutils "
    "execnet fsspec gcsfs google greenlet gunicorn flask httpx ipykernel jinja2 joblib jsonpickle "
    "llvmlite loky mlsys mpmath nt numexpr paramiko pexpect pip pkg_resources plumbum psutil "
    "ptyprocess pycparser pytest py_compile requests s3fs setuptools sh smart_open sympy urllib3 "
    "uv virtualenv werkzeug wheel workers yaml".split()
)
# Modules, each with its submodules.
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
# Names in any module of a package, beside harmless ones.
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
    """Return whether MLSYS_TRUSTED_GLOBALS refuses `key`, a `module.Name`."""
    return why_never_trusted(key) is not None


def why_never_trusted(key: str) -> str | None:
    """Return why `key`, a `module.Name`, is refused, as the words after "which", or None.

    Only the name counts; nothing is imported.
    """
    module, _, name = key.rpartition(".")
    package = module.partition(".")[0]
    if name.startswith("__") and name.endswith("__"):
        return "is one of Python's special names, through which a model file can run any code"
    if module in DATA and DATA[module] & {name, ""}:
        return None
    if key == "collections.namedtuple" or (
        package.removeprefix("_") in RUNS_CODE and package in sys.stdlib_module_names
    ):
        return "belongs to a module with which a model file can run any code"
    if package in sys.stdlib_module_names:
        return (
            "belongs to the standard library, from which only data and plain functions are accepted"
        )
    if package == "__main__":
        return "belongs to the program that loads the model file"
    if package in PACKAGES or any(module == m or module.startswith(f"{m}.") for m in MODULES):
        where = package if package in PACKAGES else module
        return f"belongs to {where}, with which a model file can run any code or open files"
    if package == "pandas" and (name.startswith("read_") or name == "to_pickle"):
        return "opens files for a model file"
    if name in NAMES.get(package, ()):
        return "calls, evaluates or opens its arguments from a model file"
    return None
