"""`from mlsys.x import *` gives a notebook the documented names, and each has a help text."""

import importlib
import inspect

import pytest

PUBLIC = (
    *("mlsys.bq", "mlsys.contracts", "mlsys.gcs", "mlsys.models", "mlsys.runs"),
    *("mlsys.settings", "mlsys.vis"),
)


@pytest.mark.parametrize("module", PUBLIC)
def test_a_star_import_gives_exactly_the_documented_names(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCP_PROJECT_ID", "demo-project")
    names: dict[str, object] = {}
    exec(f"from {module} import *", names)
    names.pop("__builtins__")
    assert set(names) == set(importlib.import_module(module).__all__)
    for name, value in names.items():
        if inspect.isfunction(value) or inspect.isclass(value):
            text = inspect.getdoc(value) or ""
            assert text.partition("\n")[0].endswith((".", ":")), f"{module}.{name}"
