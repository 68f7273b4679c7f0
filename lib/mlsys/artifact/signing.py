"""Signatures of models: who holds the key says which file may be used under which name.

`model.sig` lies beside `model.pkl` and holds an Ed25519 signature (RFC 8032), base64, over the
model's name, its version and the file's SHA-256. So a signed file counts nowhere but where it was
signed for, and promotion to another environment carries the signature along.
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

from mlsys.arguments import kind_of
from mlsys.artifact.documents import shown_text
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.credentials import words
from mlsys.errors import InvalidRequest, ModelUnusable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# What the DER form of every Ed25519 public key begins with (RFC 8410, section 4)
_PREFIX = bytes.fromhex("302a300506032b6570032100")


def is_public_key(text: str) -> bool:
    """Whether this is an Ed25519 public key as `public_key` gives it."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) == len(_PREFIX) + 32 and key.startswith(_PREFIX)


def new_key(path: str | Path) -> str:
    """Write a new private key to a file that its owner alone can read; return the public key.

    Raises:
        InvalidRequest: the file is there already, or cannot be written.
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
    """Return the public key of a private key's file, as `MLSYS_MODEL_SIGNING_KEY` takes it.

    Raises:
        InvalidRequest: the file holds no such key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _read_key(path).public_key()
    return base64.b64encode(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


def sign(ref: ModelRef, content: bytes, key: str | Path) -> bytes:
    """Return what `model.sig` is to hold: `key` is the private key's file, PEM.

    Raises:
        InvalidRequest: the file holds no such key.
    """
    return base64.b64encode(_read_key(key).sign(_signed(ref, content))) + b"\n"


def check(ref: ModelRef, content: bytes, signature: bytes | None, keys: Sequence[str]) -> None:
    """Refuse a model that none of the public keys stands behind; without keys, nothing is asked.

    Raises:
        ModelUnusable: saying what is wrong with the signature.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not keys:
        return
    if signature is None:
        raise ModelUnusable(
            f"{ref} has no model.sig, and this service uses signed models alone: sign it "
            "with `mlsys sign model` or upload_model(..., signing_key=...)"
        )
    try:
        given = base64.b64decode(re.sub(rb"\s", b"", signature), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    for key in keys:
        try:
            raw = base64.b64decode(key)[len(_PREFIX) :]
            Ed25519PublicKey.from_public_bytes(raw).verify(given, _signed(ref, content))
        except InvalidSignature:
            continue
        return
    raise ModelUnusable(
        f"The model.sig of {ref} is not of this model.pkl by a key of MLSYS_MODEL_SIGNING_KEY: "
        "sign it again, under this name and version"
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
    except Exception as exc:  # cryptography has errors of its own for what it does not support
        text = f"{name} is no private key in PEM: {words(exc)}"
        raise InvalidRequest(("signing_key", text)) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidRequest(("signing_key", f"{name} is no Ed25519 key: `mlsys sign new-key`"))
    return key
