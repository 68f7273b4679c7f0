"""Signatures of models: the owner of the key approves a file under a name and version.

`model.sig` lies beside `model.pkl` and holds an Ed25519 signature (RFC 8032), base64, over the
model's name, its version and the file's SHA-256. So a signature is valid only under the name and
version that it was made for, and a promotion to another environment copies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys.arguments import kind_of, shown_text
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.credentials import words
from mlsys.errors import InvalidRequest, ModelUnusable
from mlsys.settings.reading import KEY_PREFIX

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_key(path: str | Path) -> str:
    """Write a new private key to a file that only its owner can read; return the public key.

    Raises:
        InvalidRequest: the file exists already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as exc:
        raise InvalidRequest(("key", f"{path} cannot be written: {exc.strerror}")) from exc
    return public_key(path)


def public_key(path: str | Path) -> str:
    """Return the public key of a private key's file, in the form of `MLSYS_MODEL_SIGNING_KEY`.

    Raises:
        InvalidRequest: the file does not hold an Ed25519 private key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _read_key(path).public_key()
    return base64.b64encode(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


def sign(ref: ModelRef, content: bytes, key: str | Path) -> bytes:
    """Return the contents of `model.sig`; `key` is the private key's file, PEM.

    Raises:
        InvalidRequest: the file does not hold an Ed25519 private key.
    """
    return base64.b64encode(_read_key(key).sign(_signed(ref, content))) + b"\n"


def check(ref: ModelRef, content: bytes, signature: bytes | None, keys: Sequence[str]) -> None:
    """Refuse a model without a valid signature by one of the public keys; accept any without keys.

    Raises:
        ModelUnusable: the signature is missing or not valid.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not keys:
        return
    if signature is None:
        raise ModelUnusable(
            f"{ref} has no model.sig, and this service uses only signed models: sign it with "
            "`mlsys sign model` or upload_model(..., signing_key=...)"
        )
    try:
        given = base64.b64decode(re.sub(rb"\s", b"", signature), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    for key in keys:
        try:
            raw = base64.b64decode(key)[len(KEY_PREFIX) :]
            Ed25519PublicKey.from_public_bytes(raw).verify(given, _signed(ref, content))
        except InvalidSignature:
            continue
        return
    raise ModelUnusable(
        f"The model.sig of {ref} is not valid for this model.pkl and MLSYS_MODEL_SIGNING_KEY: "
        "sign the model again, under this name and version"
    )


def _signed(ref: ModelRef, content: bytes) -> bytes:
    return f"mlsys model {ref} sha256 {hashlib.sha256(content).hexdigest()}\n".encode()


def _read_key(path: Any) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not isinstance(path, str | os.PathLike):
        text = f"is {kind_of(path)}: pass the path of a private key's file"
        raise InvalidRequest(("signing_key", text))
    name = shown_text(path)
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as exc:
        raise InvalidRequest(("signing_key", f"{name} cannot be read: {exc.strerror}")) from exc
    except Exception as exc:  # cryptography has its own errors for unsupported keys
        text = f"{name} is not a private key in PEM ({words(exc)}): create one with"
        raise InvalidRequest(("signing_key", f"{text} `mlsys sign new-key`")) from exc
    if not isinstance(key, Ed25519PrivateKey):
        text = f"{name} is not an Ed25519 key: create one with `mlsys sign new-key`"
        raise InvalidRequest(("signing_key", text))
    return key
