"""A secret is named by a reference, revealed only where it is used, and scrubbed from all that is written.

    env://NAME         an environment variable
    file:///PATH       a file, such as an orchestrator mounts; read anew each time, so that it can be rotated

No error, repr, pickle or log line holds a value; an error names the reference, and not even that where it is none,
for then it may be the secret itself. What is scrubbed is the value and the forms in which it usually travels: quoted
for an address, escaped for JSON, and Base64 wherever in a longer text it begins.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NoReturn, SupportsIndex
from urllib.parse import quote, quote_plus

from rspp.contract.errors import MisuseError
from rspp.spec.provider_settings import REFERENCE

SECRET_BYTES_MAX: Final = 65_536
REMEMBERED_MAX: Final = 256
# Anything shorter is in every text by chance; whoever guards something with it guards nothing.
SCRUBBED_CHARACTERS_MIN: Final = 4
REDACTED: Final = "[redacted]"


class Secret:
    """A value that shows itself only to who asks it to."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str) -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{self!r} is not written down")


def resolve(reference: str, environment: Mapping[str, str] | None = None) -> Secret:
    """What the reference stands for; raises `MisuseError` if that is nothing usable. A line break at its end is not of it."""
    if not REFERENCE.fullmatch(reference):
        message = "a secret is named by env://NAME or file:///PATH; what stands here is neither"
        raise MisuseError("secret_reference_malformed", message)
    scheme, _, place = reference.partition("://")
    if scheme == "env":
        found = (os.environ if environment is None else environment).get(place)
        if found is None:
            raise MisuseError("secret_missing", f"{reference}: there is no such environment variable")
    else:
        found = _file(place, reference)
    value = found.rstrip("\r\n")
    if not value.strip():
        raise MisuseError("secret_unusable", f"{reference}: it is empty")
    if "\0" in value or len(value.encode("utf-8", "surrogateescape")) > SECRET_BYTES_MAX:
        raise MisuseError(
            "secret_unusable", f"{reference}: it is no text of at most {SECRET_BYTES_MAX} bytes"
        )
    return Secret(value, reference)


def _file(path: str, reference: str) -> str:
    """A regular file and no more of it than a secret may be: a pipe would wait, a device would never end."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise MisuseError("secret_unusable", f"{reference}: it is no regular file")
            data = os.read(number, SECRET_BYTES_MAX + 1)
        finally:
            os.close(number)
    except FileNotFoundError:
        raise MisuseError("secret_missing", f"{reference}: there is no such file") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it cannot be read"
        raise MisuseError("secret_unusable", f"{reference}: {reason}") from None
    if len(data) > SECRET_BYTES_MAX:
        raise MisuseError("secret_unusable", f"{reference}: it is larger than {SECRET_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MisuseError("secret_unusable", f"{reference}: it is not UTF-8") from None


class Secrets:
    """Resolves, and remembers what it resolved, so that all of it can be scrubbed; of more than its bound, the latest."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._known: dict[Secret, re.Pattern[str]] = {}  # bounded: REMEMBERED_MAX, the oldest goes

    def resolve(self, reference: str) -> Secret:
        secret = resolve(reference, self._environment)
        pattern = self._known.pop(secret, None) or pattern_of(secret)
        self._known[secret] = pattern
        if len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]
        return secret

    def scrub(self, text: str) -> str:
        # The longest first: one that is a part of another must not leave the rest of it.
        for secret in sorted(self._known, key=lambda one: len(one.reveal()), reverse=True):
            text = self._known[secret].sub(REDACTED, text)
        return text


def scrub(text: str, secrets: Iterable[Secret]) -> str:
    """The text without these secrets."""
    for secret in sorted(secrets, key=lambda one: len(one.reveal()), reverse=True):
        text = pattern_of(secret).sub(REDACTED, text)
    return text


def pattern_of(secret: Secret) -> re.Pattern[str]:
    """Any form of the secret, the longest first, so that none leaves a piece of itself behind."""
    found = sorted({form for form in forms(secret.reveal()) if len(form) >= SCRUBBED_CHARACTERS_MIN})
    found.sort(key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found)) or r"(?!)")


def forms(value: str) -> Iterator[str]:
    yield value
    yield repr(value)[1:-1]
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield re.sub("%..", lambda found: found[0].lower(), quoted)
    data = value.encode("utf-8", "surrogateescape")
    if len(data) < SCRUBBED_CHARACTERS_MIN:
        return
    for before in range(3):
        # Whole characters of the encoding only: the first and the last may mix with what stands around the value.
        start, end = -(-before * 4 // 3), (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + data).decode()[start:end]


class LogFilter(logging.Filter):
    """For a log handler: every record leaves it scrubbed, with its arguments, its traceback and what was added to it."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a format that does not fit its arguments
            record.msg = f"{record.msg} {record.args!r}"
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        for name, value in list(record.__dict__.items()):
            if isinstance(value, str):
                record.__dict__[name] = self._secrets.scrub(value)
        return True
