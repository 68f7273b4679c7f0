"""Push tokens of every kind: valid, forged, expired, and other services' ones."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from mlsys.settings import Settings

AUDIENCE = "https://mlsys.example"
PUSHER = "push@demo-project.iam.gserviceaccount.com"
SERVICE = Settings(
    "demo-project", envs=("dev",), push_audience=AUDIENCE, push_service_account=PUSHER
)
# A message that is acknowledged without any work: its bucket belongs to another project.
MESSAGE = {
    "message": {
        "attributes": {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "somebody-elses",
            "objectId": "titanic/v1/model.pkl",
        }
    }
}


@dataclass(frozen=True)
class Key:
    """A signing key with the certificate that verifies it."""

    signer: crypt.RSASigner
    certificate: str
    public: str

    @classmethod
    def make(cls, key_id: str) -> "Key":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .sign(private, hashes.SHA256())
        )
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(
            crypt.RSASigner.from_string(pem, key_id),
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            private.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
        )


GOOGLES = Key.make("googles")
STRANGERS = Key.make("strangers")


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a valid token, with changes; `...` removes one."""
    now = int(time.time())
    good = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": PUSHER,
        "email_verified": True,
        "iat": now - 10,
        "exp": now + 3600,
        "sub": "1234",
    }
    return {k: v for k, v in (good | changed).items() if v is not ...}


def signed(key: Key = GOOGLES, key_id: str | None = None, **changed: Any) -> str:
    """Return a token with those claims, which may name another key in its header."""
    return jwt.encode(key.signer, claims(**changed), key_id=key_id).decode()


def unsigned(header: Any, payload: Any) -> str:
    """Return a token of arbitrary parts, without a valid signature."""
    parts = (json.dumps(part).encode() for part in (header, payload))
    return ".".join([*(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts), ""])


def signed_by_secret(secret: str, **header: str) -> str:
    """Return a token signed by HMAC with a public value: anybody may have the certificate."""
    text = unsigned({"alg": "HS256", "typ": "JWT"} | header, claims()).rstrip(".")
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def cut_off(payload: Any) -> str:
    """Return a token as Cloud Run forwards it once it has verified the signature."""
    return unsigned({"alg": "RS256", "kid": "googles"}, payload) + "SIGNATURE_REMOVED_BY_GOOGLE"
