"""Keys and tokens to test with."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rspp.control.security.keys import DAY_MS, KeyRecord, KeyState, base64_of, kid_of
from rspp.control.security.tokens import Claims, KeyRef, OneKey, Signer
from rspp.host.secrets import Secrets

NOW_MS = 1_700_000_000_000
AUDIENCE = "rspp-worker"


class Keys:
    """Public keys in memory."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.kid: record for record in records}

    def key(self, kid: str) -> KeyRecord | None:
        return self.records.get(kid)


class Pair:
    """A private key, where it is found, and its public half."""

    def __init__(self, seed: int = 1, **times: Any) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        public = self.private.public_key().public_bytes_raw()
        self.pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        given: dict[str, Any] = {
            "state": KeyState.ACTIVE,
            "created_at_ms": NOW_MS - DAY_MS,
            "activates_at_ms": NOW_MS - DAY_MS,
            "age_ms_max": 30 * DAY_MS,
            **times,
        }
        self.record = KeyRecord(kid=kid_of(public), public=base64_of(public), holder="h", **given)

    @property
    def signer(self) -> Signer:
        return Signer(OneKey(KeyRef(self.record.kid, "env://KEY")), Secrets({"KEY": self.pem}))


def claims(**changes: Any) -> Claims:
    given: dict[str, Any] = {
        "kind": "route",
        "sub": "caller",
        "aud": AUDIENCE,
        "jti": "j" * 24,
        "iat_ms": NOW_MS,
        "exp_ms": NOW_MS + 60_000,
        "tenant_id": "acme",
        "session_id": "s-1",
        "pipeline_version": "v3",
        "transport_kind": "websocket",
        "authority_epoch": 7,
        "region": "eu",
        **changes,
    }
    return Claims(**given)


def b64(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def by_hand(pair: Pair, header: bytes | str | None = None, body: bytes | str | None = None) -> str:
    """A token with a true signature under whatever is put in."""
    own = json.dumps({"alg": "EdDSA", "kid": pair.record.kid, "typ": "JWT"}, separators=(",", ":"))
    first = b64(own if header is None else header)
    second = b64(body if body is not None else unb64(pair.signer.sign(claims()).split(".")[1]))
    return f"{first}.{second}.{b64(pair.private.sign(f'{first}.{second}'.encode()))}"
