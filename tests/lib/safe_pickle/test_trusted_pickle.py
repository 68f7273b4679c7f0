"""Loading a pickle runs only listed names, whatever the pickle's shape."""

import bz2
import gzip
import io
import lzma
import pickle
import re
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from mlsys.safe_pickle.decompress import TooLarge, unpack
from mlsys.safe_pickle.unpickler import loads
from pickle_cases import (
    BYTES,
    OBJECTS,
    Fires,
    X,
    Y,
    call,
    dumped,
    fitted,
    glob,
    hostile,
    text,
    whole,
)

HOSTILE = hostile()


def test_the_corpus_is_large_enough() -> None:
    assert len(OBJECTS) + len(BYTES) >= 90
    assert len(HOSTILE) >= 600


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in HOSTILE])
def test_no_canary_fires(make: Callable[[Path], bytes], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = make(canary)
    existing = set(tmp_path.iterdir())
    with pytest.raises(ModelUnusable, match=r"^m/v1/model\.pkl ") as caught:
        load_model(content, "m/v1/model.pkl", max_bytes=1 << 24)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert set(tmp_path.iterdir()) == existing
    assert not canary.is_dir() or canary in existing


def test_the_corpus_runs_code_under_joblib(tmp_path: Path) -> None:
    """joblib.load runs the code that is refused here."""
    alive = 0
    for number, (name, make) in enumerate(list(OBJECTS.items())[:17]):
        canary = tmp_path / str(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                joblib.load(io.BytesIO(dumped(make(str(canary)))))
            except Exception:
                pass
        alive += canary.is_dir()
        assert canary.is_dir() or name in ("an import",), name
    assert alive >= 15


def test_the_first_foreign_name_is_named() -> None:
    content = pickle.dumps(Fires(__import__("os").system, "true"))
    with pytest.raises(ModelUnusable) as caught:
        load_model(content, "titanic/v1/model.pkl")
    assert str(caught.value) == (
        "titanic/v1/model.pkl needs `posix.system`, which is not on the list of what a model may "
        "be made of. MLSYS_TRUSTED_GLOBALS does not accept it: it belongs to a module with which a "
        "model file can run any code. Train with scikit-learn's own estimators and functions, and "
        "with numbers, texts and dates as values"
    )


class Own(LogisticRegression):
    """A team's own estimator."""


def own(x: Any) -> Any:
    """Return the argument: a team's own function."""
    return x


def test_only_the_names_that_the_settings_add_are_accepted() -> None:
    model = make_pipeline(FunctionTransformer(own), Own()).fit(X, Y)
    name = f"{__name__}.Own"
    for content in (dumped(model), pickle.dumps(model, protocol=0), pickle.dumps(model)):
        with pytest.raises(ModelUnusable, match=re.escape(f"`{__name__}.own`")):
            load_model(content, trusted=(name,))
        loaded = load_model(content, trusted=(name, f"{__name__}.own")).model
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_a_missing_package_is_reported_without_an_import() -> None:
    before = set(sys.modules)
    with pytest.raises(ModelUnusable, match="the module 'gradientmagic'.* and add gradient"):
        load_model(whole(glob("gradientmagic.sub", "Model")))
    for name in ("this", "idlelib.run", "wsgiref.util"):
        with pytest.raises(ModelUnusable, match=f"`{name}.Model`"):
            load_model(whole(glob(name, "Model")))
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(zlib.compress, id="zlib"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(bz2.compress, id="bz2"),
        pytest.param(lambda c: lzma.compress(c, lzma.FORMAT_ALONE), id="lzma"),
        pytest.param(lzma.compress, id="xz"),
    ],
)
def test_a_decompression_bomb_stops_at_the_limit(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b"\x80\x04" + bytes(64 << 20))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ModelUnusable, match="more than 8,388,608 bytes: raise MLSYS_MAX_MODEL"):
            load_model(bomb, max_bytes=8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert len(unpack(pack(bytes(5 << 20)), 5 << 20)) == 5 << 20
    with pytest.raises(TooLarge):
        unpack(pack(bytes((5 << 20) + 1)), 5 << 20)


def test_a_file_above_the_limit_is_not_read() -> None:
    content = dumped(fitted())
    with pytest.raises(ModelUnusable, match="more than 100 bytes"):
        load_model(content, max_bytes=100)
    assert load_model(content, max_bytes=len(content)).model.classes_.tolist() == [0, 1]


def test_an_array_that_is_not_in_the_file_is_not_allocated() -> None:
    tracemalloc.start()
    try:
        for name in ("an array without end", "bytes longer than the file", "bytes without end"):
            make = BYTES.get(name)
            content = make("x") if make else pickle.dumps(OBJECTS[name]("x"))
            with pytest.raises(ModelUnusable):
                load_model(content)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_changing_a_dtype_later_does_not_change_its_array() -> None:
    """Arrays are checked when they are added: their bytes must not be reinterpreted afterwards."""
    dtype = text("i4") + b"\x89\x88\x87R"
    little = glob("numpy", "dtype") + dtype + b"\x94"  # memo 0
    array = call(
        "numpy._core.numeric", "_frombuffer", b"C\x04\1\0\0\0", b"h\0", b"K\1\x85", text("C")
    )
    swap = b"h\0(K\3" + text(">") + b"NNN" + (b"J" + b"\xff" * 4) * 2 + b"K\0tb0"
    assert loads(whole(little + array + swap)).tolist() == [1]


def test_lz4_is_named_in_the_refusal() -> None:
    with pytest.raises(ModelUnusable, match="the package 'lz4'"):
        load_model(b"\x04\x22\x4d\x18" + bytes(20))


def test_a_frames_columns_survive_loading() -> None:
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = ColumnTransformer([("s", StandardScaler(), frame.columns)]).fit(frame)
    for content in (dumped(model), pickle.dumps(model, protocol=2)):
        loaded = load_model(content).model
        np.testing.assert_array_equal(loaded.transform(frame), model.transform(frame))


HONEST = make_pipeline(
    FunctionTransformer(np.sqrt), RandomForestClassifier(3, random_state=np.random.RandomState(1))
).fit(X, np.array(["no", "no", "yes", "yes"], dtype=object))
WRITTEN = [
    dumped(HONEST),
    dumped(HONEST, compress=("zlib", 3)),
    dumped(HONEST, compress=("xz", 3)),
    *(pickle.dumps(HONEST, protocol=n) for n in (0, 2, 5)),
]
FOREIGN = [
    glob("posix", "mkdir") + b"X\x06\x00\x00\x00canary\x85R",
    b"cposix\nmkdir\n(Vcanary\ntR",
    b"R", b"b", b"\x81", b"\x93", b"o", b"0", b"2", b"u", b"e", b"\x90",
]  # fmt: skip


@settings(max_examples=400, derandomize=True)
@given(
    st.sampled_from(WRITTEN),
    st.lists(
        st.tuples(
            st.sampled_from(["flip", "cut", "insert", "remove", "foreign"]),
            st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=6),
            st.sampled_from(FOREIGN),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_model_is_refused_or_loads(content: bytes, changes: list[Any]) -> None:
    made = bytearray(content)
    for kind, place, some, foreign in changes:
        at = int(place * len(made))
        if kind == "flip":
            made[at : at + len(some)] = some
        elif kind == "cut":
            del made[at:]
        elif kind == "insert":
            made[at:at] = some
        elif kind == "remove":
            del made[at : at + len(some)]
        else:
            made[at:at] = foreign
    try:
        load_model(bytes(made), max_bytes=1 << 24)
    except ModelUnusable:
        pass
    assert not Path("canary").exists()


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x80\x04", b"\x78", b"BZ", b"\x1f\x8b"]))
def test_random_bytes_are_refused(content: bytes, start: bytes) -> None:
    with pytest.raises(ModelUnusable):
        load_model(start + content, max_bytes=1 << 20)


def test_safe_pickle_imports_no_heavy_module() -> None:
    heavy = "print([m for m in ('numpy', 'joblib') if m in sys.modules])"
    code = f"import sys, mlsys.artifact.loading; {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
