"""A token is taken only as it was signed, to the last character: there is one way to write it, and every other is refused.

    header.claims.signature     each Base64url without padding: a JSON Web Signature in its compact form
    header                      {"alg":"EdDSA","kid":"...","typ":"JWT"}, these bytes and no others
    claims                      `Claims` as JSON, in the order of its fields

Order of a verification: size, form, algorithm, key, signature; only then are the claims looked at. What is refused says so in
one word to whoever sent it (`unauthenticated`), and why to the log alone: `TokenRefused.code`.

A route token lets one caller open one session; a principal token says who calls the control plane, and not what they may.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, Literal, NoReturn, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.security.keys import UNREADABLE, KeyView, base64_of, kid_of, token_refusal, unbase64
from rspp.control.security.seals import Seal, seal_input
from rspp.host.secrets import Secrets

ROUTE: Final = "route"
PRINCIPAL: Final = "principal"
Kind = Literal["route", "principal"]
TOKEN_CHARACTERS_MAX: Final = 4_096
TEXT_CHARACTERS_MAX: Final = 200
NUMBER_MAX: Final = 2**53 - 1  # what every reader of JSON can hold
LEEWAY_MS: Final = 5_000  # how far the signer's clock may be ahead
LIFETIMES_MS_MAX: Final[Mapping[str, int]] = {ROUTE: 300_000, PRINCIPAL: 12 * 3_600_000}
# What is told to who sent a token that was refused, whatever the reason.
OUTWARD: Final = "unauthenticated"
KEYS_CACHED_MAX: Final = 8


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token says. Of a principal's token only the first six have a meaning."""

    kind: Kind
    sub: str  # a principal, or the caller as the tenant knows them
    aud: str
    jti: str
    iat_ms: int
    exp_ms: int
    tenant_id: str = ""
    session_id: str = ""
    pipeline_version: str = ""
    transport_kind: str = ""
    authority_epoch: int = 0
    region: str = ""


class TokenRefused(PeerFault):
    """Its message and its `outward` say nothing that helps a forger; `code` is for the log."""

    outward: Final = OUTWARD

    def __init__(self, code: str) -> None:
        super().__init__(code, "the token is refused")


class KeyRef(msgspec.Struct, frozen=True):
    """A private key by name and by where it is: `file:///PATH` or `env://NAME`, PEM."""

    kid: str
    reference: str


class KeySource(Protocol):
    """Which key signs at a time; raises PeerFault if none may."""

    def signing(self, now_ms: int) -> KeyRef: ...


class OneKey:
    """A source that always names the same key."""

    def __init__(self, key: KeyRef) -> None:
        self._key = key

    def signing(self, _now_ms: int) -> KeyRef:
        return self._key


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


_ENCODE: Final = msgspec.json.Encoder().encode
_HEADER: Final = msgspec.json.Decoder(_Header).decode
_CLAIMS: Final = msgspec.json.Decoder(Claims).decode


def new_jti() -> str:
    return secrets.token_urlsafe(18)


class Signer:
    """Signs with the key that its source names. A private key is read where its reference says, and stays in here."""

    def __init__(self, source: KeySource, secrets_of: Secrets) -> None:
        self._source = source
        self._secrets = secrets_of
        self._keys: dict[KeyRef, Ed25519PrivateKey] = {}  # bounded: KEYS_CACHED_MAX, the oldest goes

    def __repr__(self) -> str:
        return "Signer()"

    def sign(self, claims: Claims) -> str:
        """The token; its `iat_ms` is the time at which it is signed. Raises `MisuseError` for claims that none may have."""
        fault = claims_fault(claims)
        if fault is not None:
            raise MisuseError("token_claims_invalid", f"no token may say this: {fault}", fault)
        ref = self._source.signing(claims.iat_ms)
        body = f"{base64_of(_ENCODE(_header(ref.kid)))}.{base64_of(_ENCODE(claims))}"
        token = f"{body}.{base64_of(self._key(ref).sign(body.encode()))}"
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise MisuseError(
                "token_claims_invalid", f"a token has at most {TOKEN_CHARACTERS_MAX} characters"
            )
        return token

    def seal(self, purpose: str, data: bytes, now_ms: int) -> Seal:
        """A signature under something lasting; what is sealed for one purpose is of no use for another."""
        ref = self._source.signing(now_ms)
        value = self._key(ref).sign(seal_input(purpose, data, now_ms))
        return Seal(kid=ref.kid, at_ms=now_ms, value=base64_of(value))

    def _key(self, ref: KeyRef) -> Ed25519PrivateKey:
        key = self._keys.get(ref)
        if key is None:
            key = private_key(ref.reference, self._secrets)
            if kid_of(key.public_key().public_bytes_raw()) != ref.kid:
                raise MisuseError("key_unusable", f"{ref.reference}: it is not the private half of {ref.kid}")
            self._keys[ref] = key
            if len(self._keys) > KEYS_CACHED_MAX:
                del self._keys[next(iter(self._keys))]
        return key


def private_key(reference: str, secrets_of: Secrets) -> Ed25519PrivateKey:
    """The private key that stands there; raises `MisuseError`, which never quotes it."""
    pem = secrets_of.resolve(reference).reveal().encode(errors="replace")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise MisuseError("key_unusable", f"{reference}: it is no PEM of a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MisuseError("key_unusable", f"{reference}: it is a private key, and no Ed25519 one")
    return key


def claims_fault(claims: Claims) -> str | None:
    """The first claim that no token may have, by name."""
    for name in ("sub", "aud", "jti", *_texts_due(claims.kind)):
        if not getattr(claims, name):
            return name
    for name in Claims.__struct_fields__:
        value = getattr(claims, name)
        if isinstance(value, str) and (len(value) > TEXT_CHARACTERS_MAX or not value.isprintable()):
            return name
        if isinstance(value, int) and not 0 <= value <= NUMBER_MAX:
            return name
    return "exp_ms" if claims.exp_ms <= claims.iat_ms else None


def _texts_due(kind: str) -> tuple[str, ...]:
    return ("tenant_id", "session_id") if kind == ROUTE else ()


class Verifier:
    """Takes tokens apart. It is of no use to a forger how far one came: all refusals look alike from outside."""

    def __init__(
        self,
        keys: KeyView,
        *,
        leeway_ms: int = LEEWAY_MS,
        lifetimes_ms_max: Mapping[str, int] = LIFETIMES_MS_MAX,
    ) -> None:
        self._keys = keys
        self._leeway_ms = leeway_ms
        self._lifetimes_ms_max = dict(lifetimes_ms_max)

    def verify(self, token: str | None, *, kind: Kind, audience: str, now_ms: int) -> Claims:
        """What the token says, if it is genuine, meant for this and in force; raises `TokenRefused`."""
        claims = self._genuine(token, now_ms)
        if claims.kind != kind:
            _refuse("token_kind_wrong")
        if not secrets.compare_digest(claims.aud.encode(), audience.encode()):
            _refuse("token_audience_wrong")
        if claims.exp_ms - claims.iat_ms > self._lifetimes_ms_max[kind]:
            _refuse("token_lifetime_too_long")
        if claims.iat_ms > now_ms + self._leeway_ms:
            _refuse("token_not_yet_valid")
        if now_ms >= claims.exp_ms:
            _refuse("token_expired")
        return claims

    def _genuine(self, token: object, now_ms: int) -> Claims:
        """The claims as somebody signed them who may."""
        if not token:
            _refuse("token_missing")
        if not isinstance(token, str) or len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
            _refuse("token_malformed")
        parts = token.split(".")
        if len(parts) != 3:
            _refuse("token_malformed")
        kid = _kid_in(unbase64(parts[0]))
        signature = unbase64(parts[2])
        if signature is None:
            _refuse("token_malformed")
        self._signed(kid, signature, f"{parts[0]}.{parts[1]}".encode(), now_ms)
        return _claims_in(unbase64(parts[1]))

    def _signed(self, kid: str, signature: bytes, body: bytes, now_ms: int) -> None:
        record = self._keys.key(kid)
        if record is None:
            _refuse("token_key_unknown")
        reason = token_refusal(record, now_ms)
        if reason is not None:
            _refuse(reason)
        try:
            Ed25519PublicKey.from_public_bytes(record.public_bytes).verify(signature, body)
        except InvalidSignature:
            _refuse("token_signature_invalid")


def _kid_in(data: bytes | None) -> str:
    """The key's name in a header that is exactly what ours are."""
    if data is None:
        _refuse("token_malformed")
    try:
        header = _HEADER(data)
    except UNREADABLE:
        # `alg: none` often comes without the rest of a header; it is told apart for the log.
        _refuse("token_unsigned" if _says_unsigned(data) else "token_malformed")
    if header.alg != "EdDSA":
        _refuse("token_unsigned")
    if _ENCODE(_header(header.kid)) != data:
        _refuse("token_malformed")
    return header.kid


def _says_unsigned(data: bytes) -> bool:
    try:
        header = msgspec.json.decode(data, type=dict[str, object])
    except (*UNREADABLE, RecursionError):  # anybody may send brackets in brackets
        return False
    return header.get("alg", "EdDSA") != "EdDSA"


def _claims_in(data: bytes | None) -> Claims:
    """The claims, if they are written as we write them: no other order, spelling, repetition or space."""
    if data is None:
        _refuse("token_malformed")
    try:
        claims = _CLAIMS(data)
    except UNREADABLE:
        _refuse("token_malformed")
    if claims_fault(claims) is not None or _ENCODE(claims) != data:
        _refuse("token_malformed")
    return claims


def _header(kid: str) -> _Header:
    return _Header("EdDSA", kid, "JWT")


def _refuse(code: str) -> NoReturn:
    # Not chained: what a parser said of a token may quote it.
    raise TokenRefused(code) from None
