"""A name says that its value is a secret, however it is spelled: `api_key`, `X-Api-Key`, `pаssword` with a Cyrillic a."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Final

# Any word of the name.
_WORDS: Final = frozenset(
    {"password", "passwd", "pwd", "passphrase", "passcode", "pass", "pin", "otp", "totp", "cvv", "cvc"}
    | {"secret", "secrets", "token", "tokens", "jwt", "bearer", "credential", "credentials", "creds"}
    | {"auth", "authorization", "authorisation", "cookie", "cookies", "apikey", "approval", "resume"}
    | {"passwort", "kennwort", "geheimnis", "seed", "mnemonic", "signature", "sig"}
)
# Two words in a row; written as one word as well.
_PAIRS: Final = frozenset(
    f"{first}{second}"
    for first in (
        "api",
        "access",
        "private",
        "signing",
        "secret",
        "session",
        "account",
        "encryption",
        "master",
        "ssh",
    )
    for second in ("key", "keys")
) | {"subscriptionkey", "sharedkey", "servicekey", "leasetoken", "routetoken", "connectionstring"}
# Anywhere in the name, when it is written without gaps: `dbpassword`, `myapikeyvalue`.
_STEMS: Final = re.compile(
    r"password|passwd|passphrase|passcode|secret|authori[sz]ation|apikey|accesskey|privatekey|signingkey"
    r"|credential|bearer|cookie|connectionstring|(?:access|refresh|lease|route|resume|auth|id|csrf|xsrf)token|token$"
)
# A count of tokens is none: the plural, or a measure beside it, and a number as its value.
_COUNTED: Final = frozenset({"token", "tokens"})
_COUNTS: Final = frozenset(
    {
        "tokens",
        "max",
        "min",
        "count",
        "total",
        "used",
        "left",
        "limit",
        "in",
        "out",
        "ms",
        "s",
        "per",
        "rate",
        "age",
    }
)
# The value is a digest or an identity: hexadecimal digits under such a name are nobody's secret.
_DIGESTS: Final = frozenset(
    {"sha256", "sha512", "sha1", "sha", "md5", "digest", "hash", "row", "checksum", "etag", "fingerprint"}
    | {"id", "ids", "uuid", "commit", "revision"}
)
# Letters of other alphabets that look like Latin ones, each above the one that it looks like.
_ALIKE: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u043a\u043c\u0442\u0432\u043d"
    "\u0410\u0415\u041e\u0420\u0421\u0423\u0425\u0406\u0405\u0408\u041a\u041c\u0422\u0412\u041d"
    "\u03b1\u03b5\u03bf\u03c1\u03c5\u03ba\u03b9\u03bd\u03c4\u03c7\u0391\u0395\u039f\u03a1\u039a\u0399\u039d\u03a4\u03a7",
    "aeopcyxisjkmtbhAEOPCYXISJKMTBHaeopukivtxAEOPKINTX",
)
_PIECES: Final = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
NAME_EXAMINED_MAX: Final = 256
# Metadata has the same few names again and again.
NAMES_KNOWN_MAX: Final = 1_024


def plain(text: str) -> str:
    """The text without what cannot be seen in it, its letters as they are usually written."""
    if text.isascii() and text.isprintable():
        return text
    normal = unicodedata.normalize("NFKC", text)
    return "".join(one for one in normal if one in "\n\t" or unicodedata.category(one)[0] != "C")


def names_a_secret(name: str, value: object = None) -> bool:
    """Is what stands under this name a secret? Counts and switches are none, whatever they are called."""
    words = _in_order(name)
    found = {word.rstrip("0123456789") for word in words}
    if value is None or isinstance(value, bool):
        return False
    if isinstance(value, int | float) and found & _COUNTED and found & _COUNTS:
        return False
    joined = "".join(words)
    pairs = {first + second for first, second in pairwise(words)}
    return bool(found & _WORDS or (found | pairs) & _PAIRS or joined in _WORDS or _STEMS.search(joined))


def names_a_digest(name: str) -> bool:
    """`sha256`, `row`, `session_id`: does the name say that what follows is a digest, or somebody's number?"""
    words = _in_order(name)
    return bool(words) and words[-1] in _DIGESTS


@lru_cache(maxsize=NAMES_KNOWN_MAX)
def _in_order(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: parted by signs and by case, without accents."""
    text = unicodedata.normalize("NFKD", plain(name[:NAME_EXAMINED_MAX]))
    text = "".join(one for one in text if not unicodedata.combining(one)).translate(_ALIKE)
    return tuple(piece.lower() for piece in _PIECES.findall(text))
