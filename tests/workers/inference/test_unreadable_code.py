"""A model whose code lies outside the installed packages is refused with what to do."""

import sys

import pytest

from mlsys.errors import ModelUnusable
from workers import machine
from workers.sandbox import walls
from workers.sandbox.client import ModelFile, SandboxedModel

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not walls.available().landlock, reason="needs Landlock"
)


def test_a_class_of_the_service_itself_is_not_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this project, sandboxes read the packages `workers` and `mlsys` alone."""
    monkeypatch.setattr(machine, "memory", lambda: 2**31)
    content = b"\x80\x02cbenchmarks.limits\nMemoryGroup\n)\x81."
    file = ModelFile(content, "model.pkl", ("benchmarks.limits.MemoryGroup",), 10**6)
    with pytest.raises(ModelUnusable) as caught:
        SandboxedModel(file)
    assert "benchmarks" in str(caught.value)
    # which one depends on what Python's import system has listed before the walls went up
    advice = ("install the code as a package", "the package into the image")
    assert any(text in str(caught.value) for text in advice)
