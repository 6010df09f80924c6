"""Names as subjects. Every name has one subject of bounded length, and what begins with a prefix is found under few of them.

A name may be any text up to 1,024 bytes, a subject may not: the server splits it at full stops, knows wildcards, and takes no
line above 4,096 bytes. So a name's parts, which slashes separate, become tokens; a part that is too long, and whatever follows
the last token, becomes a digest. The name itself travels in a header, and is asked for there.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import quote, unquote_to_bytes

# Enough for "<tenant>/<session>/<turn>/<what>" to be found by any of its parts.
TOKENS_MAX: Final = 8
TOKEN_BYTES_MAX: Final = 64
_EMPTY: Final = "%"  # these two are no percent-encoding of anything
_DIGEST: Final = "%%"


def subject(*heads: str, name: str) -> str:
    """The one subject of the name below these heads."""
    return ".".join((*heads, *_tokens(name)))


def below(*heads: str, prefix: str) -> str:
    """A filter that takes every name that begins so. It may take others: only whole parts can be asked for."""
    whole = prefix.split("/")[:-1][: TOKENS_MAX - 1]
    return ".".join((*heads, *map(token, whole), ">"))


def token(part: str) -> str:
    """One token for one part, never the same for two."""
    written = quote(part, safe="").replace(".", "%2E") or _EMPTY
    if len(written) <= TOKEN_BYTES_MAX:
        return written
    digest = hashlib.sha256(part.encode()).digest()
    return _DIGEST + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def to_header(name: str) -> str:
    """The name as a header can carry it."""
    return quote(name, safe="/")


def from_header(text: str) -> str:
    """Raises `ValueError` when nobody of us wrote it."""
    return unquote_to_bytes(text).decode()


def _tokens(name: str) -> list[str]:
    parts = name.split("/", TOKENS_MAX - 1)
    return [token(part) for part in parts]
