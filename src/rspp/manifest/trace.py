"""Every update is a line here before it is in the file: what was said, what it made of the document, and the line before.

    {"n", "at", "by", "what", "says", "wrote", "state", "seen", "prev", "sum"}

`prev` is the SHA-256 of the line before (its bytes without the line's end), `sum` that of this line without `sum`; so a line
that was changed, taken out, put in or moved is found, with its number. The document is the lines' `wrote` laid over one
another, and `state` its digest. A last line without its end was being written when something died: it is torn, and the next
writer cuts it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.manifest import disk
from rspp.manifest.document import SECTIONS, Document, Section, digest
from rspp.manifest.faults import Fault, ManifestError
from rspp.manifest.states import State, state_of
from rspp.manifest.tokens import sha256_of

LINE_BYTES_MAX: Final = 1024 * 1024
TRACE_BYTES_MAX: Final = 64 * 1024 * 1024
FIRST: Final = ""  # `prev` of the first line
_SUM: Final = re.compile(rb',"sum":"([0-9a-f]{64})"\}\Z')


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line without its sum."""

    n: int
    at: str  # RFC 3339, UTC, milliseconds
    by: str
    what: str
    says: dict[str, Any]
    wrote: dict[str, Any]
    state: str
    seen: dict[str, Any]
    prev: str


class Line(Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sum: str


class Torn(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind the last whole line."""

    line: int
    bytes: int
    sha256: str


_LINE: Final = msgspec.json.Decoder(Line, strict=True).decode
_ENCODE: Final = msgspec.json.Encoder().encode
_TYPES: Final[dict[str, type[Section]]] = {
    field.name: field.type for field in msgspec.structs.fields(Document)
}


def encode(said: Said) -> bytes:
    """The bytes of a line, with its sum, without its end."""
    body = _ENCODE(said)
    line = body[:-1] + b',"sum":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'
    if len(line) > LINE_BYTES_MAX:
        raise ManifestError(
            "manifest_trace_full",
            f"the update makes a line of {len(line)} bytes, and a line of the trace has {LINE_BYTES_MAX} at most. "
            "Say less in one update. Nothing was changed.",
        )
    return line


class Folded:
    """What the lines say so far, taken one by one. After a fault no further line is taken."""

    def __init__(self) -> None:
        self.document = Document()
        self.last: Line | None = None
        self.digest = FIRST  # of the last line
        self.state_before = ""  # the document's digest before the last line; "" where there was none
        self.result: Line | None = None  # the last one that ended a step
        self.file = ""  # the name of the manifest that this is the trace of; "" where it does not say
        self.steps: dict[str, None] = {}  # begun in this session, in order
        self.steps_passed = 0
        self.since_ms = 0  # when the work came to the state that it is in
        self.begun = ""  # the digest of the line that began this session, and when that was
        self.begun_at_ms = 0
        self._standing: tuple[State, str] | None = None
        self.used_tokens: set[str] = set()
        self.guarded_before: dict[str, str] = {}
        self.guarded_at_result: dict[str, str] | None = None
        self.size = 0  # bytes of whole lines
        self.ended = True  # False where only the end of the last line is lacking
        self.torn: Torn | None = None
        self.fault: Fault | None = None

    @property
    def lines(self) -> int:
        return self.last.n if self.last else 0

    @property
    def state(self) -> str:
        return self.last.state if self.last else ""

    def take(self, raw: bytes, name: str) -> bool:
        """One line without its end; False when it is not what it must be, and then `fault` says why."""
        line, after, wrong = self._read(raw)
        if line is None or after is None:
            self.fault = Fault(
                code="manifest_trace_broken",
                message=f"line {self.lines + 1} {wrong}",
                fix="Bring the trace back from a copy; what it proves ends before this line",
                file=name,
                line=self.lines + 1,
                column=1,
            )
            return False
        self.document, self.state_before, self.last = after, self.state, line
        self.digest = hashlib.sha256(raw).hexdigest()
        self._remember(line)
        return True

    def _read(self, raw: bytes) -> tuple[Line | None, Document | None, str]:
        found = _SUM.search(raw[-80:])
        if found is None:
            return None, None, "has no sum"
        body = raw[: len(raw) - len(found[0])] + b"}"
        if hashlib.sha256(body).hexdigest() != found[1].decode():
            return None, None, "is not what was written: its sum differs"
        try:
            line = _LINE(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return None, None, f"is no line of a trace: {error}"
        if line.n != self.lines + 1:
            return None, None, f"says that it is number {line.n}: lines are missing, or were moved"
        if line.prev != self.digest:
            return None, None, "does not follow the line before it: one of them was changed or taken out"
        try:
            after = self._laid(line)
            if digest(after) != line.state:
                return None, None, "does not make the document that it says"
        except msgspec.ValidationError as error:
            return None, None, f"holds what no manifest may say: {error}"
        return line, after, ""

    def _laid(self, line: Line) -> Document:
        """The document with what a line wrote laid over it."""
        sections = {name: msgspec.convert(value, _type(name)) for name, value in line.wrote.items()}
        return msgspec.structs.replace(self.document, **sections)

    def _remember(self, line: Line) -> None:
        standing = (state_of(self.document), self.document.CURRENT_STEP.STEP_ID)
        if standing != self._standing:
            self._standing, self.since_ms = standing, ms_of(line.at)
        if line.what == "init":
            self.steps, self.steps_passed = {}, 0
            self.file = str(line.seen.get("file", ""))
            self.begun, self.begun_at_ms = self.digest, ms_of(line.at)
        elif line.what == "step":
            self.steps[self.document.CURRENT_STEP.STEP_ID] = None
            self.guarded_before, self.guarded_at_result = {}, None
            token = line.says.get("token")
            if isinstance(token, str) and token:
                self.used_tokens.add(sha256_of(token))
        elif line.what == "route":
            self.guarded_before = _digests(line.seen.get("guarded"))
        elif line.what == "result":
            self.result = line
            self.guarded_at_result = _digests(line.seen["guarded"]) if "guarded" in line.seen else None
            self.steps_passed += self.document.CURRENT_STEP.STEP_STATUS == "PASS"


class Trace:
    """The file of one manifest's trace. What was folded is kept for as long as the file is the one that was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folded: Folded | None = None
        self._seen: disk.Seen | None = None

    def folded(self) -> Folded:
        """All of it, verified."""
        now = disk.seen(self.path)
        if self._folded is None or now is None or now != self._seen:
            *_, self._folded = self.steps()
        return self._folded

    def steps(self) -> Iterator[Folded]:
        """The same Folded again and again: empty, then after each line. The last one has `torn` and `fault`, if any."""
        folded = Folded()
        yield folded
        found = disk.read(self.path, TRACE_BYTES_MAX)
        self._seen = None
        if found is None:
            return
        data, self._seen = found
        if len(data) > TRACE_BYTES_MAX:
            raise ManifestError(
                "manifest_trace_full",
                f"{self.path.name} has more than {TRACE_BYTES_MAX} bytes. Begin a new session beside it.",
            )
        for raw in BytesIO(data):
            ended = raw.endswith(b"\n")
            # Only the end of the file can be torn: what another line follows was accepted, and whatever it is now is a fault.
            torn = folded.size + len(raw) == len(data) and (not ended or b"\0" in raw)
            # A line that lacks nothing but its end is whole; its end comes with the next one.
            if not folded.take(raw[:-1] if ended else raw, self.path.name):
                if torn:
                    rest = data[folded.size :]
                    folded.torn = Torn(
                        line=folded.lines + 1, bytes=len(rest), sha256=hashlib.sha256(rest).hexdigest()
                    )
                    folded.fault = None
                yield folded
                return
            folded.size += len(raw)
            folded.ended = ended
            yield folded

    def append(self, port: disk.Disk, raw: bytes, behind: str) -> None:
        """The line is on disk when this returns, behind the last whole one: a torn tail is gone.

        Refused unless that one has the digest on which the line was made.
        """
        folded = self.folded()
        if folded.digest != behind:
            raise ManifestError(
                "manifest_locked",
                f"{self.path.name} was written by somebody else while we had the lock. Nothing was changed.",
            )
        data = (b"" if folded.ended else b"\n") + raw + b"\n"
        if folded.size + len(data) > TRACE_BYTES_MAX:
            raise ManifestError(
                "manifest_trace_full",
                f"{self.path.name} would have more than {TRACE_BYTES_MAX} bytes. "
                "Begin a new session in a folder of its own. Nothing was changed.",
            )
        size = self._seen.size if self._seen is not None else 0
        self._seen = None
        disk.append(port, self.path, data, folded.size, size)

    def appended(self, raw: bytes) -> Folded:
        """What was folded, with the line that was just appended: nothing is read again."""
        folded = self._folded
        assert folded is not None
        if not folded.take(raw, self.path.name):
            raise ManifestError("manifest_trace_broken", f"{self.path.name}: {folded.fault}")
        folded.size += len(raw) + (1 if folded.ended else 2)
        folded.ended, folded.torn = True, None
        self._seen = disk.seen(self.path)
        if self._seen is not None and self._seen.size != folded.size:
            self._seen = None  # somebody else wrote, too: read it again
        return folded

    def forget(self) -> None:
        """Read it again next time."""
        self._folded = self._seen = None


def lines(path: Path) -> Iterator[Line]:
    """The lines, oldest first; raises at the first that is broken. A torn last line is left out."""
    for folded in Trace(path).steps():
        if folded.fault is not None:
            raise ManifestError(
                "manifest_trace_broken", f"{path.name} is not what was written", (folded.fault,)
            )
        if folded.last is not None and folded.torn is None:
            yield folded.last


def ms_of(at: str) -> int:
    """A line's time in milliseconds; 0 for what is none."""
    try:
        return round(datetime.fromisoformat(at).timestamp() * 1000)
    except ValueError:
        return 0


def _type(name: str) -> type[Section]:
    if name not in SECTIONS:
        raise msgspec.ValidationError(f"there is no section {name[:60]}")
    return _TYPES[name]


def _digests(value: object) -> dict[str, str]:
    return {str(path): str(sum_) for path, sum_ in value.items()} if isinstance(value, dict) else {}
