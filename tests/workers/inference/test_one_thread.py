import ctypes
import importlib
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import threadpoolctl

from workers.inference import one_thread
from workers.inference.one_thread import limit_to_one_thread


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    importlib.import_module("sklearn.cluster")  # loads BLAS and OpenMP
    yield
    threadpoolctl.threadpool_limits(1)


def counts() -> set[int]:
    return {library["num_threads"] for library in threadpoolctl.threadpool_info()}


def test_the_limit_holds_for_every_library() -> None:
    threadpoolctl.threadpool_limits(2)
    limit_to_one_thread()
    assert counts() == {1}


def test_the_limit_holds_in_a_thread_whose_process_has_it() -> None:
    """OpenMP keeps a limit for each thread."""
    limit_to_one_thread()
    seen: list[set[int]] = []

    def work() -> None:
        threadpoolctl.threadpool_limits(2)
        limit_to_one_thread()
        seen.append(counts())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{1}]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are listed each time")
def test_libraries_are_listed_once_until_another_one_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lists: list[int] = []

    class Listed(threadpoolctl.ThreadpoolController):
        def __init__(self) -> None:
            lists.append(1)
            super().__init__()

    monkeypatch.setattr(one_thread, "ThreadpoolController", Listed)
    monkeypatch.setattr(one_thread, "_controller", None)
    loads = one_thread._loaded()
    assert loads is not None
    limit_to_one_thread()
    limit_to_one_thread()
    assert len(lists) == 1
    monkeypatch.setattr(one_thread, "_loaded", lambda: loads + 1)
    limit_to_one_thread()
    limit_to_one_thread()
    assert len(lists) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells")
def test_loading_a_library_is_noticed(tmp_path: Path) -> None:
    import _ctypes_test

    before = one_thread._loaded()
    copy = shutil.copy(_ctypes_test.__file__, tmp_path / "another.so")
    assert one_thread._loaded() == before
    ctypes.CDLL(str(copy))
    assert one_thread._loaded() != before
