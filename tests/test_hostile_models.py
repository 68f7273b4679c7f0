"""Models of listed names that lead scikit-learn astray are refused before they are used."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hostile_models import hostile

from mlsys.errors import ModelUnusable
from mlsys.loading import load_model

HOSTILE = hostile()


def test_there_are_enough() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in HOSTILE])
def test_a_hostile_model_is_refused(make: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = make(str(tmp_path / "canary"))
    start = time.process_time()
    with pytest.raises(ModelUnusable, match=r"^m/v1/model\.pkl ") as caught:
        load_model(content, "m/v1/model.pkl", max_bytes=1 << 24)
    assert time.process_time() - start < 2
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    assert not list(tmp_path.iterdir())
