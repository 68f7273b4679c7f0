"""A service with a signing key uses no model that the key's owner did not sign."""

import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sklearn.linear_model import LinearRegression

from mlsys.artifact.signing import check, new_key, public_key, sign
from mlsys.cli import main
from mlsys.cloud.clients import Clients, clients_for
from mlsys.errors import InvalidRequest, ModelUnusable, SettingsError
from mlsys.gcs import gcs_get, gcs_put
from mlsys.local.stack import LocalStack
from mlsys.models import ModelRef, upload_model
from mlsys.settings import Settings
from registry_cases import ModelCase, model_case, notifications_lost
from scoring_cases import Lab
from workers.registry.sync import converge
from workers.scoring.planning.lookup import resolve
from workers.scoring.planning.make_plan import make_plan

pytestmark = pytest.mark.usefixtures("environment")

REF = ModelRef("churn", "v1")
X = pd.DataFrame({"a": np.linspace(0, 1, 30)})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "signing.pem"
    new_key(path)
    return path


@pytest.fixture(scope="module")
def strict(stack: LocalStack, key: Path) -> Clients:
    """Return clients of a service that requires signatures."""
    return clients_for(dataclasses.replace(stack.settings, signing_keys=(public_key(key),)))


@pytest.fixture
def case(stack: LocalStack) -> Iterator[ModelCase]:
    with model_case(stack, "signed") as fresh:
        yield fresh


# Signatures


def test_a_signature_is_valid_only_under_the_signed_name(key: Path, tmp_path: Path) -> None:
    keys = (new_key(tmp_path / "old.pem"), public_key(key))
    signature = sign(REF, b"model", key)
    check(REF, b"model", signature, keys)
    check(REF, b"model", signature.strip() + b"\r\n", keys)
    check(REF, b"anything", None, ())
    for ref, content, given in (
        (REF, b"modem", signature),
        (ModelRef("churn", "v2"), b"model", signature),
        (ModelRef("other", "v1"), b"model", signature),
        (REF, b"model", b""),
        (REF, b"model", b"\xff not base64"),
        (REF, b"model", sign(REF, b"model", tmp_path / "old.pem")[:-10]),
        (REF, b"model", None),
    ):
        with pytest.raises(ModelUnusable, match=r"model\.sig"):
            check(ref, content, given, keys)
    with pytest.raises(ModelUnusable, match="sign the model again"):
        check(REF, b"model", signature, keys[:1])


def test_a_new_key_is_private_to_its_owner_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signing.pem"
    assert main(["sign", "new-key", str(path)]) == 0
    assert capsys.readouterr().out.strip() == public_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["sign", "new-key", str(path)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_file_without_an_ed25519_key_is_named(tmp_path: Path) -> None:
    rsa = tmp_path / "rsa.pem"
    rsa.write_bytes(
        generate_private_key(65537, 2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    (tmp_path / "words.pem").write_text("no key")
    for name, words in (("rsa", "not an Ed25519"), ("words", "PEM"), ("none", "cannot be read")):
        with pytest.raises(InvalidRequest, match=words):
            sign(REF, b"", tmp_path / f"{name}.pem")


@pytest.mark.parametrize("value", ["x", "MCowBQYDK2VwAyEA", "AAAA" * 15 + "="])
def test_a_setting_that_is_not_a_public_key_is_refused(value: str, key: Path) -> None:
    values = {"GCP_PROJECT_ID": "p", "MLSYS_MODEL_SIGNING_KEY": f"{public_key(key)}, {value}"}
    with pytest.raises(SettingsError, match="MLSYS_MODEL_SIGNING_KEY is not an Ed25519 public key"):
        Settings.from_env(values)


def test_a_setting_of_only_commas_does_not_turn_signing_off() -> None:
    for name in ("MLSYS_MODEL_SIGNING_KEY", "MLSYS_INPUT_DATASETS", "MLSYS_OUTPUT_DATASETS"):
        with pytest.raises(SettingsError, match=f"{name} is ',', which names nothing"):
            Settings.from_env({"GCP_PROJECT_ID": "p", name: " , "})


# The service


def test_an_empty_signature_is_invalid(case: ModelCase, strict: Clients) -> None:
    with notifications_lost(case.stack):
        case.upload()
        case.put(b"", "v1/model.sig")
        assert converge(strict, "dev", case.ref()) == "registered"
    assert "sign the model again" in case.rows()[0]["status_reason"]


def test_an_unsigned_model_is_rejected_until_it_is_signed(
    case: ModelCase, strict: Clients, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with notifications_lost(case.stack):
        case.upload()
        assert converge(strict, "dev", case.ref()) == "registered"
        [row] = case.rows()
        assert row["status"] == "rejected"
        assert row["status_reason"].startswith(f"{case.name}/v1 has no model.sig")
        assert main(["sign", "model", case.name, "v1", "--env", "dev", "--key", str(key)]) == 0
        assert f"{case.name}/v1/model.sig" in capsys.readouterr().out
        assert converge(strict, "dev", case.ref()) == "updated"
        [row] = case.rows()
        assert (row["status"], row["status_reason"]) == ("ready", None)
        signature = case.blob(file="model.sig")
        assert signature is not None and row["signature_generation"] == signature.generation
        case.delete("v1/model.sig")
        assert converge(strict, "dev", case.ref()) == "updated"
        [row] = case.rows()
        assert (row["status"], row["signature_generation"]) == ("rejected", None)


@pytest.mark.slow
def test_any_code_needs_a_signature_too(case: ModelCase, strict: Clients, key: Path) -> None:
    free = clients_for(dataclasses.replace(strict.settings, models="any"))
    with notifications_lost(case.stack):
        case.upload()
        assert converge(free, "dev", case.ref()) == "registered"
        [row] = case.rows()
        assert (row["status"], row["loader"]) == ("rejected", "any")
        assert row["status_reason"].startswith(f"{case.name}/v1 has no model.sig")
        assert main(["sign", "model", case.name, "v1", "--env", "dev", "--key", str(key)]) == 0
        assert converge(free, "dev", case.ref()) == "updated"
        assert case.rows()[0]["status"] == "ready"


def test_uploading_only_a_signature_updates_the_registry(case: ModelCase, key: Path) -> None:
    case.upload()
    assert case.row()["signature_generation"] is None
    case.put(sign(case.ref(), b"another file", key), "v1/model.sig")
    assert case.row()["signature_generation"] is not None


@pytest.mark.slow
def test_an_overwritten_model_needs_a_new_signature(
    case: ModelCase, strict: Clients, key: Path
) -> None:
    with notifications_lost(case.stack):
        model = LinearRegression().fit(X, X["a"])
        upload_model(model, case.name, "v1", X=X, signing_key=key, wait=False)
        assert converge(strict, "dev", case.ref()) == "registered"
        assert case.rows()[0]["status"] == "ready"
        case.upload()
        assert converge(strict, "dev", case.ref()) == "updated"
        [row] = case.rows()
        assert row["status"] == "rejected" and "sign the model again" in row["status_reason"]


def test_scoring_uses_only_signed_models(stack: LocalStack, strict: Clients, key: Path) -> None:
    lab = Lab(stack)
    table = lab.put(pa.table({"id": [1, 2], "a": [0.1, 0.2]}))
    model = LinearRegression().fit(X, X["a"])
    name, other = lab.upload(model, X, signing_key=key), lab.upload(model, X)

    def plan(model_name: str) -> None:
        make_plan(strict, resolve(strict, lab.request(lab.params(table, model_name))), "a-run")

    plan(name)
    with pytest.raises(ModelUnusable, match=r"has no model\.sig"):
        plan(other)
    bucket = stack.settings.models_bucket("dev")
    gcs_put(gcs_get(bucket, f"{name}/v1/model.sig"), bucket, f"{other}/v1/model.sig")
    with pytest.raises(ModelUnusable, match="sign the model again, under this name"):
        plan(other)
