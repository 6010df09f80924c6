"""A seal is a signature under something that lasts: an approval, the heads of the audit log.

It says who signed (the key), when, and for what purpose; each is a part of what is signed. Unlike a token it has no end: it
holds as long as its key is not revoked, if it was made in the key's time.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rspp.contract.errors import PeerFault
from rspp.control.security.keys import KeyView, sealed_rightly, unbase64

# No token begins like this, so a seal is never a token.
SEAL_PREFIX: Final = b"rspp-seal/v1\n"


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kid: str
    at_ms: int
    value: str


def seal_input(purpose: str, data: bytes, at_ms: int) -> bytes:
    return SEAL_PREFIX + f"{purpose}\n{at_ms}\n".encode() + data


def seal_holds(keys: KeyView, purpose: str, data: bytes, seal: Seal) -> bool:
    """Did a key that is still trusted sign this, for this purpose, at the time that it says?"""
    record = keys.key(seal.kid)
    value = unbase64(seal.value)
    if record is None or value is None or not sealed_rightly(record, seal.at_ms):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(record.public_bytes).verify(
            value, seal_input(purpose, data, seal.at_ms)
        )
    except (InvalidSignature, PeerFault):
        return False
    return True
