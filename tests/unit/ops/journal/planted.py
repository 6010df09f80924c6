"""A hundred shapes in which a secret may come with a change. None of them may be written, sent, shown or logged.

Each has its metadata and the piece of text that must be found nowhere afterwards. All secrets are made up; those of well-known
forms are put together here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final, NamedTuple
from urllib.parse import quote


class Planted(NamedTuple):
    name: str
    metadata: dict[str, Any]
    secret: str


PLAIN: Final = "hunter2-correct"
HEX: Final = "4f1c9a7be2d80356" * 2
HEX64: Final = HEX[::-1] + HEX
URLSAFE: Final = "Zk3vQ9_xL2mTr8-WbN5yHc7JdP0sGf4AuEoIk6XqVhM"  # as a resume token is drawn
MIXED: Final = "Xq7Lm2Rt9Bz4Kw8Ny3Hd5Gf6"
LOWER: Final = "k3j5h2g9x8d7s6q5f4z3c2v1t8"
JWT: Final = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm4iLCJhdWQiOiJyc3BwIn0.c2lnbmF0dXJlLW9mLW5vYm9keQ"
CLAIMS: Final = "eyJzdWIiOiJhbm4iLCJhdWQiOiJyc3BwIn0"
PEM: Final = (
    "-----BEGIN "
    "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDnotakeyatallbutitlookslikeone\n-----END "
    "PRIVATE KEY-----"
)
PEM_BODY: Final = "MC4CAQAwBQYDK2VwBCIEIDnotakeyatallbutitlookslikeone"
ZERO_WIDTH: Final = "\u200b"


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_NAMES: Final = (
    *(
        "password",
        "passwd",
        "PWD",
        "passPhrase",
        "token",
        "TOKEN",
        "access_token",
        "refreshToken",
        "lease_token",
    ),
    *(
        "Lease-Token",
        "routeToken",
        "resume",
        "resume_token",
        "approval",
        "approval_secret",
        "secret",
        "clientSecret",
    ),
    *(
        "api_key",
        "API KEY",
        "apiKey",
        "x-api-key",
        "APIKEY",
        "authorization",
        "Authorization",
        "proxy-authorization",
    ),
    *(
        "cookie",
        "Set-Cookie",
        "private_key",
        "signing.key",
        "ssh-key",
        "credentials",
        "db_password",
        "userpassword2",
    ),
    *(
        "p.a.s.s.w.o.r.d",
        "PaSsWoRd",
        "pass" + ZERO_WIDTH + "word",
        "p\u0430ssword",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
    ),
    *("pássword", "connection_string", "jwt", "bearer", "otp"),
)

_FORMS: Final = {
    "bearer": (f"Bearer {MIXED}", MIXED),
    "bearer in lower case": (f"header bearer {LOWER}", LOWER),
    "basic": (f"Basic {_b64('ann:' + PLAIN)}", _b64("ann:" + PLAIN)),
    "a header line": (f"Authorization: Token {PLAIN}", PLAIN),
    "a cookie line": (f"Cookie: sid={PLAIN}; theme=dark", PLAIN),
    "a jwt": (JWT, CLAIMS),
    "a jwt in a sentence": (f"refused {JWT}, sorry", CLAIMS),
    "a pem": (PEM, PEM_BODY),
    "a pem without its end": (PEM[:90], PEM_BODY[:40]),
    "a pgp block": ("-----BEGIN " + f"PGP PRIVATE KEY BLOCK-----\n{MIXED}", MIXED),
    "openai": ("sk-" + f"proj-{MIXED}", MIXED),
    "stripe": ("sk_" + f"live_{MIXED}", MIXED),
    "github": ("ghp_" + MIXED + "abcdef123456", MIXED),
    "github fine": ("github_" + f"pat_{MIXED}", MIXED),
    "gitlab": ("glpat-" + MIXED, MIXED),
    "aws": ("AKIA" + "Q7LM2RT9BZ4KW8NY", "Q7LM2RT9BZ4KW8NY"),
    "google": ("AIza" + MIXED + MIXED[:11], MIXED),
    "google oauth": ("ya29." + MIXED, MIXED),
    "slack": ("xoxb-" + "123456789012-abcdefABCDEF", "123456789012-abcdefABCDEF"),
    "slack hook": ("https://hooks." + f"slack.com/services/T0/B0/{MIXED}", MIXED),
    "hugging face": ("hf_" + MIXED, MIXED),
    "npm": ("npm_" + MIXED, MIXED),
    "pypi": ("pypi-" + f"AgEIcHlwaS5vcmc{MIXED}", MIXED),
    "vault": ("hvs." + MIXED, MIXED),
    "sendgrid": (f"SG.{MIXED}.{MIXED[::-1]}", MIXED),
    "telegram": (f"123456789:AA{MIXED}{MIXED[:9]}", MIXED),
    "bcrypt": ("$2b$12$" + "Xq7Lm2Rt9Bz4Kw8Ny3Hd5u", "Xq7Lm2Rt9Bz4Kw8Ny3Hd5u"),
    "a login in an address": (f"postgres://ann:{PLAIN}@db.example/calls", PLAIN),
    "a token in an address": (f"wss://rt.example/ws?session=s-1&token={PLAIN}", PLAIN),
    "a token behind the hash": (f"https://example/cb#access_token={PLAIN}&x=1", PLAIN),
    "a signed address": (f"https://b.example/o?X-Amz-Signature={HEX64}&y=2", HEX64),
    "a lease token": (HEX, HEX),
    "a key in hexadecimal": (f"key is {HEX64}", HEX64),
    "a key in capital hexadecimal": (HEX64.upper(), HEX64.upper()),
    "a resume token": (URLSAFE, URLSAFE),
    "a token's id": (URLSAFE[:24], URLSAFE[:24]),
    "small letters and digits": (LOWER, LOWER),
    "base64 of a password": (_b64(f"password={PLAIN}!"), _b64(f"password={PLAIN}!")),
    "said": (f"the password is {PLAIN}", PLAIN),
    "assigned": (f"retry with api_key={PLAIN} now", PLAIN),
    "json in a text": (json.dumps({"user": "ann", "clientSecret": PLAIN}), PLAIN),
    "a dict's repr": (repr({"user": "ann", "token": PLAIN}), PLAIN),
    "percent-encoded": (quote(f"Bearer {MIXED}", safe=""), MIXED),
    "with what cannot be seen": (f"Bea\u200brer {MIXED[:9]}\u2060{MIXED[9:]}", MIXED[:9]),
    "wide letters": ("password＝" + PLAIN, PLAIN),
}

_PLACES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "nested": ({"a": {"b": {"token": PLAIN}}}, PLAIN),
    "in a list": ({"tried": ["ok", f"Bearer {MIXED}"]}, MIXED),
    "below a name": ({"credentials": {"user": "ann", "word": PLAIN}}, PLAIN),
    "a list below a name": ({"tokens": [PLAIN, PLAIN]}, PLAIN),
    "in bytes": ({"body": f"token={PLAIN}".encode()}, PLAIN),
    "as bytes below a name": ({"secret": PLAIN.encode()}, PLAIN),
    "as a key": ({f"Bearer {MIXED}": 1}, MIXED),
    "as a key that is random": ({URLSAFE: "x"}, URLSAFE),
    "a number": ({"pin": 4_711_0815}, "47110815"),
    "cut in the middle": ({"note": "x " * 245 + f"Bearer {MIXED}"}, MIXED[:8]),
    "behind what is too deep": ({"a": {"b": {"c": {"d": {"e": PLAIN}}}}}, PLAIN),
    "an object": ({"who": type("Login", (), {"__repr__": lambda self: PLAIN})()}, PLAIN),
}

PLANTED: Final = (
    *(Planted(f"named {name!r}", {name: PLAIN}, PLAIN) for name in _NAMES),
    *(Planted(name, {"note": text}, secret) for name, (text, secret) in _FORMS.items()),
    *(Planted(name, metadata, secret) for name, (metadata, secret) in _PLACES.items()),
)

# What operators need to read, and must not lose to all of this.
ORDINARY: Final = (
    {"session": "s-06fd3effbfd2b7e8", "worker": "worker-1a2b3c4d5e6f", "tenant": "acme"},
    {"row": "9f86d081884c7d65", "sha256": HEX64, "digest": HEX64, "hash": HEX, "graph": f"sha256:{HEX64}"},
    {"pipeline": "support-line@2026.11.21-rc1", "version": "1.12.0", "region": "eu-west-1", "attempt": 3},
    {"request_id": "123e4567-e89b-12d3-a456-426614174000", "trace_id": HEX, "session_id": HEX},
    {
        "model": "Qwen3-0.6B-Instruct-Q4_K_M",
        "voice": "Whisper-Large-V3-Turbo-2024",
        "file": "segments/0001.seg",
    },
    {"tokens_in": 512, "tokens_max": 4096, "token_count": 7, "key_count": 2, "resumed": True, "approvals": 2},
    {"message": "the provider did not answer in 300 ms", "at": "2026-11-21T17:05:12.123Z", "share": 0.1},
    {"path": "tenants/acme/sessions/s-06fd3effbfd2b7e8/turns/12", "storage": "kv:members", "passed": 5},
    {
        "reason": "route_no_workers",
        "state": "draining",
        "level": "degraded",
        "revision": 123456,
        "author": "ann",
    },
)
