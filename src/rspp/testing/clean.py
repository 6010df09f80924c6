"""No planted value may be in what was written, in no form in which it could be had back.

Looked for are the value as it is, in other letters and without its gaps, in UTF-16, as hex, Base64 and as an address or JSON
would write it; a number also as the integers that MessagePack makes of it. `squeezed` finds a value whose pieces stand in
neighbouring fields: all that is no letter and no digit is taken out of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from rspp.host.secrets import forms

PLANTED_CHARACTERS_MIN: Final = 4
SQUEEZED_CHARACTERS_MIN: Final = 8
_OTHER: Final = re.compile(rb"[^a-z0-9]+")


def found_in(data: bytes | Path, secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Which planted values are there, and in which form; a folder's files are looked at one by one."""
    if isinstance(data, Path):
        paths = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
        planted = list(secrets)
        return [
            (value, f"{form} in {path.name}")
            for path in paths
            for value, form in found_in(path.read_bytes(), planted)
        ]
    low = data.lower()
    squeezed = _OTHER.sub(b"", low)
    return [
        (secret, form)
        for secret in secrets
        for form, needle, where in _needles(secret, data, low, squeezed)
        if needle in where
    ]


def assert_clean(data: bytes | Path, secrets: Iterable[str]) -> None:
    """Fail, naming values and forms, if any planted value is there."""
    planted = list(secrets)
    assert planted, "nothing was planted: a search for nothing proves nothing"
    found = found_in(data, planted)
    assert not found, f"planted values were found: {found[:8]}"


def _needles(secret: str, data: bytes, low: bytes, squeezed: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    if len(secret) < PLANTED_CHARACTERS_MIN:
        raise ValueError(f"a planted value has at least {PLANTED_CHARACTERS_MIN} characters")
    yield "plain", secret.lower().encode(), low
    for form in set(forms(secret)):
        yield "encoded", form.encode(errors="surrogateescape"), data
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        yield encoding, secret.encode(encoding), data
    yield "hex", secret.encode().hex().encode(), low
    plain = _OTHER.sub(b"", secret.lower().encode())
    if len(plain) >= SQUEEZED_CHARACTERS_MIN:
        yield "squeezed", plain, squeezed
        yield "backwards", plain[::-1], squeezed
    digits = "".join(c for c in secret if c in "0123456789")
    if len(digits) >= SQUEEZED_CHARACTERS_MIN and int(digits) < 1 << 64:
        size = 8 if int(digits) >= 1 << 32 else 4
        yield "integer", int(digits).to_bytes(size), data
