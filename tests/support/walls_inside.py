"""What must work inside the walls, each a function that returns what a test compares."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any


def compute_with_blas(c: Any) -> bool:
    """Multiply and solve, which BLAS does in threads."""
    import numpy as np

    a = np.random.default_rng(0).random((300, 300))
    small = a[:40, :40]
    solved = np.linalg.solve(small, small)
    return bool(np.allclose(a @ a, np.einsum("ij,jk", a, a)) and np.allclose(solved, np.eye(40)))


def start_threads(c: Any) -> int:
    """Start threads that compute, wait for each other and time out."""
    import queue
    import threading

    results: queue.Queue[int] = queue.Queue()
    barrier = threading.Barrier(20)

    def work(number: int) -> None:
        barrier.wait(10)
        results.put(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not threading.Event().wait(0.01)
    return sum(results.get() for _ in range(20))


def use_joblibs_threads(c: Any) -> list[int]:
    """Use joblib in threads, and where it would start processes."""
    from joblib import Parallel, delayed

    threads = Parallel(n_jobs=3, backend="threading")(delayed(abs)(-i) for i in range(10))
    processes = Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(10))
    shared = Parallel(n_jobs=2, require="sharedmem")(delayed(abs)(-i) for i in range(10))
    assert threads == processes == shared
    return threads


def import_lazily(c: Any) -> int:
    """Import all of scikit-learn, and much of SciPy, pandas and Arrow, none of it before."""
    import importlib
    import pkgutil
    import warnings

    import pandas
    import scipy
    import sklearn

    warnings.simplefilter("ignore")
    names = [m.name for m in pkgutil.walk_packages(sklearn.__path__, "sklearn.")]
    left_out = (".tests", ".conftest", "_test", "sklearn.externals._packaging", "sklearn.callback")
    names = [n for n in names if not any(word in n for word in left_out)]
    names += [f"scipy.{m.name}" for m in pkgutil.iter_modules(scipy.__path__) if m.ispkg]
    names += ["pandas.io.parquet", "pandas.plotting", "pyarrow.compute", "pyarrow.dataset"]
    names += ["pyarrow.parquet", "ctypes.util", "sqlite3", "ssl", "decimal", "zoneinfo", "lzma"]
    before = len(sys.modules)
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as exc:  # optional dependencies that are not installed
            assert not (exc.name or "").startswith(("sklearn", "scipy", "pandas", "pyarrow")), exc
    assert pandas.DataFrame({"a": [1.5]}).describe().shape == (8, 1)
    return len(sys.modules) - before


def pickle_and_unpickle(c: Any) -> bool:
    """Pickle a model into memory and load it, by pickle and joblib."""
    import io
    import pickle

    import joblib
    import numpy as np
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(np.eye(3), np.arange(3))
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    loaded = [pickle.loads(pickle.dumps(model)), joblib.load(buffer)]
    return all(np.array_equal(one.predict(np.eye(3)), model.predict(np.eye(3))) for one in loaded)


def ask_for_random_numbers_and_clocks(c: Any) -> bool:
    """Ask the kernel and the libraries."""
    import random
    import secrets
    import time
    import uuid

    import numpy as np

    before = time.monotonic()
    time.sleep(0.001)
    random.seed()
    assert time.strftime("%Y") >= "2026" and time.process_time() > 0 and time.perf_counter() > 0
    assert len({secrets.token_hex(8), os.urandom(8).hex(), uuid.uuid4().hex[:16]}) == 3
    assert np.random.default_rng().random() != np.random.default_rng().random()
    assert random.SystemRandom().random() != random.random()
    return time.monotonic() > before


def know_time_zones(c: Any) -> str:
    """Read the system's time zones or the package's."""
    import datetime
    import zoneinfo

    import pandas as pd

    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    assert str(pd.Timestamp("2026-07-01", tz="America/New_York").utcoffset()) == "-1 day, 20:00:00"
    return str(datetime.datetime(2026, 7, 1, tzinfo=zone).utcoffset())


def warn_and_trace(c: Any) -> list[bool]:
    """Show the source's lines in a warning and a traceback, of modules outside the project."""
    import traceback
    import warnings

    import numpy as np

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        np.log(np.array([-1.0]))
        text = warnings.formatwarning(seen[0].message, seen[0].category, os.__file__, 1)
    try:
        np.linalg.inv(np.zeros((2, 2)))
    except np.linalg.LinAlgError:
        trace = traceback.format_exc()
    return ['r"""OS routines' in text, "raise LinAlgError" in trace]


def dump_a_traceback(c: Any) -> bool:
    """Write the threads' stacks into a pipe of its own."""
    import faulthandler

    ours, theirs = os.pipe()
    faulthandler.enable(theirs)
    faulthandler.dump_traceback(theirs)
    os.close(theirs)
    return b"dump_a_traceback" in os.read(ours, 65536)


def hold_memory_below_the_limit(c: Any) -> int:
    """Hold 200 MiB in pieces of many sizes, give them back and take them again."""
    import numpy as np

    for _ in range(2):
        pieces = [np.ones(2**20 * size // 8) for size in (1, 2, 4, 8, 16, 32, 64)]
        pieces += [bytearray(2**20) for _ in range(64)]
        total = sum(memoryview(piece).nbytes for piece in pieces)
    return total // 2**20


def read_shared_memory(c: Any) -> int:
    """Read and write Arrow tables in memory that is shared by a kept descriptor."""
    import ctypes
    import mmap

    import pyarrow as pa

    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    length = os.fstat(c.kept[0]).st_size
    at = libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, c.kept[0], 0)
    room = pa.py_buffer((ctypes.c_char * length).from_address(at))
    table = pa.table({"a": list(range(1000)), "b": ["x"] * 1000})
    with pa.ipc.new_stream(pa.FixedSizeBufferWriter(room), table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(room).read_all()["a"].to_numpy().sum().item()


def end_itself(c: Any) -> None:
    """Abort, as compiled code does when it finds an error."""
    os.abort()


def sum_of_predictions(model: Any, x: Any, y: Any) -> str:
    """Fit a model and return a digest of everything that it predicts."""
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
        digest = hashlib.sha256()
        for method in ("predict", "predict_proba", "decision_function", "transform"):
            if hasattr(model, method):
                digest.update(np.ascontiguousarray(getattr(model, method)(x)).tobytes())
    return digest.hexdigest()[:16]


def fit_and_predict(c: Any) -> dict[str, str]:
    """Fit models of every kind; the digests are the same outside."""
    import joblib
    import numpy as np
    import threadpoolctl
    from sklearn import (
        cluster,
        compose,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_selection,
        gaussian_process,
        isotonic,
        kernel_approximation,
        linear_model,
        manifold,
        mixture,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        semi_supervised,
        svm,
        tree,
    )

    threadpoolctl.threadpool_limits(1)
    jobs = 2 if joblib.parallel.DEFAULT_BACKEND == "threading" else None  # outside: processes
    rng = np.random.default_rng(0)
    x, y = rng.random((150, 4)), rng.integers(0, 3, 150)
    models = [
        cluster.KMeans(3, n_init=1, random_state=0),
        cluster.MiniBatchKMeans(3, n_init=1, random_state=0),
        cluster.Birch(n_clusters=3),
        compose.ColumnTransformer([("s", preprocessing.StandardScaler(), [0, 1])], n_jobs=jobs),
        decomposition.PCA(2),
        decomposition.NMF(2, random_state=0, max_iter=50),
        decomposition.FastICA(2, random_state=0),
        discriminant_analysis.LinearDiscriminantAnalysis(),
        ensemble.RandomForestClassifier(8, random_state=0, n_jobs=2),
        ensemble.ExtraTreesRegressor(8, random_state=0, n_jobs=2),
        ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
        ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=0),
        ensemble.IsolationForest(n_estimators=8, random_state=0, n_jobs=2),
        ensemble.VotingClassifier(
            [("a", naive_bayes.GaussianNB()), ("b", tree.DecisionTreeClassifier(random_state=0))],
            n_jobs=jobs,
        ),
        feature_selection.SelectKBest(k=2),
        gaussian_process.GaussianProcessRegressor(),
        isotonic.IsotonicRegression(),
        kernel_approximation.Nystroem(n_components=20, random_state=0),
        linear_model.LinearRegression(n_jobs=2),
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(random_state=0, n_jobs=2),
        linear_model.Lasso(),
        manifold.Isomap(n_components=2),
        mixture.GaussianMixture(2, random_state=0),
        naive_bayes.GaussianNB(),
        neighbors.KNeighborsClassifier(n_jobs=2),
        neighbors.KernelDensity(),
        neural_network.MLPClassifier((8,), max_iter=20, random_state=0),
        pipeline.make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()),
        semi_supervised.LabelPropagation(n_jobs=2),
        svm.SVC(probability=False),
        svm.LinearSVR(random_state=0),
        tree.DecisionTreeRegressor(random_state=0),
    ]
    return {
        type(model).__name__: sum_of_predictions(
            model, x[:, 0] if isinstance(model, isotonic.IsotonicRegression) else x, y
        )
        for model in models
    }


def count_processors(c: Any) -> list[Any]:
    """Count as outside: the count decides how many threads compute."""
    import joblib
    import threadpoolctl
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    blas = sorted(i["num_threads"] for i in threadpoolctl.threadpool_info())
    counts = joblib.cpu_count(), joblib.cpu_count(only_physical_cores=True)
    return [os.cpu_count(), *counts, _openmp_effective_n_threads(), blas]


def use_the_cpu(c: Any) -> None:
    """Compute until a limit ends it."""
    while True:
        sum(range(10**6))


def protected_from_others(c: Any) -> str:
    """Return the error of another process of the user that reads this one's environment.

    Root gives its capabilities up first: with them it reads everything.
    """
    from workers.sandbox.walls import enclosing, protect_memory, syscalls

    parent = os.getpid()
    protect_memory()
    ours, theirs = os.pipe()
    if not os.fork():
        architecture = syscalls.architecture()
        assert architecture is not None
        enclosing._drop_capabilities(architecture)
        for name in ("environ", "mem"):
            try:
                open(f"/proc/{parent}/{name}", "rb").close()
                os.write(theirs, b"opened ")
            except OSError as exc:
                os.write(theirs, f"{exc.errno} ".encode())
        os._exit(0)
    os.wait()
    return os.read(ours, 100).decode()


def list_descriptors(c: Any) -> dict[int, str]:
    """Return the descriptors that are open and where they lead."""
    found = {}
    for number in range(65536):  # the test's own may have any number
        try:
            os.fstat(number)
        except OSError:
            continue
        found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def name_of_the_project(c: Any) -> str:
    """Return the project's folder, as the installation has it."""
    import workers

    return str(Path(workers.__path__[0]).parent)
