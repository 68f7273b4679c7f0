"""The tests' own stack: which models it registers, and what it leaves open."""

import gc
import os
import sys

import pytest

from mlsys.local.stack import LocalStack
from registry_cases import X, fitted, model_case
from rules import Rules
from scoring_cases import Lab
from strict_stack import UNREGISTERED, StrictStack
from workers.registry.table import list_models


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_rules_that_end_leave_no_connection(stack: LocalStack) -> None:
    def used() -> int:
        with Rules(stack) as rules:
            assert list(rules.clients.storage.list_buckets(timeout=30))
            assert list(rules.clients.bigquery.list_datasets(timeout=30))
            assert rules.clients.bigquery_read is not None
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    used()
    before = used()
    last = [used() for _ in range(3)][-1]
    assert last <= before + 4  # the stack itself may open some meanwhile
