"""The tests' own stack registers the models that a test names, and no others."""

import pytest

from mlsys.local.stack import LocalStack
from registry_cases import X, fitted, model_case
from scoring_cases import Lab
from strict_stack import UNREGISTERED, StrictStack
from workers.registry.table import list_models


@pytest.mark.usefixtures("environment")
def test_models_without_a_name_stay_out_of_the_registry(stack: LocalStack) -> None:
    assert isinstance(stack, StrictStack)
    lab = Lab(stack)
    names = [lab.upload(fitted(), X), lab.put_pickle(fitted())]
    with model_case(stack, "registered") as case:
        lab.upload(fitted(), X, name=case.name)
        assert case.row()["status"] == "ready"
    for name in names:
        assert name.startswith(UNREGISTERED)
        assert list_models(lab.clients, "dev", model_name=name, metadata=False)[0] == []
    bucket = lab.clients.storage.bucket(lab.settings.models_bucket("dev"))
    assert list(bucket.list_blobs(prefix=UNREGISTERED, timeout=30))
    stack.forget_unregistered()
    assert not list(bucket.list_blobs(prefix=UNREGISTERED, timeout=30))
    assert lab.upload(fitted(), X, name=names[0]) == names[0]  # a name can be used again
    assert bucket.get_blob(f"{names[0]}/v1/model.pkl", timeout=30) is not None
