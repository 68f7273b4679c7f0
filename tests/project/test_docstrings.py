"""The examples in the library's docstrings run, except those that need a cloud."""

import doctest
import importlib
import pkgutil

import matplotlib
import pytest

import mlsys

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(mlsys.__path__, "mlsys.")
    if not info.name.startswith(("mlsys.cli", "mlsys.local"))
)


def test_some_examples_run() -> None:
    finder = doctest.DocTestFinder()
    tests = [t for name in MODULES for t in finder.find(importlib.import_module(name))]
    run = [e for t in tests for e in t.examples if doctest.SKIP not in e.options]
    assert len(run) >= 5


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    matplotlib.use("Agg")
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    import matplotlib.pyplot as plt

    plt.close("all")
