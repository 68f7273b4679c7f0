"""Assertions of Identity-Aware Proxy of every kind: valid, forged, expired, and other services'."""

import json
import time
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import crypt, jwt

from app.iap import ISSUER, Keys

NUMBER = 123456789012
AUDIENCE = f"/projects/{NUMBER}/locations/us-central1/services/mlsys-web-dev"
PERSON = "ada@example.com"


@dataclass(frozen=True)
class Pair:
    """A signing key with the public one."""

    signer: crypt.EsSigner
    public: str

    @classmethod
    def make(cls, name: str) -> "Pair":
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(crypt.EsSigner.from_string(pem, name), public.decode())


GOOGLES = Pair.make("kid-1")
STRANGERS = Pair.make("kid-9")


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a valid assertion, with changes; `...` removes one."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "email": PERSON,
        "sub": "accounts.google.com:1234",
        "iat": now - 10,
        "exp": now + 590,
    }
    return {k: v for k, v in (good | changed).items() if v is not ...}


def signed(pair: Pair = GOOGLES, key_id: str | None = None, **changed: Any) -> str:
    """Return an assertion with those claims, which may name another key in its header."""
    return jwt.encode(pair.signer, claims(**changed), key_id=key_id).decode()


class FakeKeys(Keys):
    """Google's keys without a network: `answers` are what fetches get, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers) or [{"kid-1": GOOGLES.public}]
        self.fetches = 0

    def _fetch(self) -> Any:
        self.fetches += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return json.loads(json.dumps(answer))
