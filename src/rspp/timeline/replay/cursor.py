"""A place in a replay, as a value in a file: who goes on from it, in whatever process, goes on as if nobody had paused.

To go on, the replay is run to the boundary again and its digest held against the cursor's. A cursor of another recording,
past the end, or whose digest does not hold is refused.
"""

from __future__ import annotations

import hashlib
from typing import Final, Protocol

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Scope, event_id
from rspp.contract.words import Lane
from rspp.kernel.trace import Item
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import Taken
from rspp.timeline.replay.modes import Mode, agree
from rspp.timeline.story import Story

FORMAT: Final = "rspp-cursor-v1"
_LANES: Final = {"send": Lane.DATA, "feed": Lane.DATA, "dead_letter": Lane.DATA, "observe": Lane.TELEMETRY}
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class ReplayCursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After input `step`: the last event until there, and the digest over everything."""

    format: str = FORMAT
    session_id: str
    recording: str
    mode: str
    decisions: str
    step: int
    at: int
    digest: str
    turn_id: str | None = None
    lane: Lane | None = None
    runtime_sequence: int | None = None
    event_id: str | None = None


class Steps(Protocol):
    """A replay that can be stepped through."""

    mode: Mode
    recording: Recording
    last: int

    @property
    def number(self) -> int: ...
    def step(self) -> Taken | None: ...
    def go_to(self, step: int) -> None: ...
    def digest(self) -> str: ...
    def story(self) -> Story: ...


def identity(recording: Recording) -> str:
    """What tells one recording from all others, and from what was changed in it."""
    hashed = hashlib.sha256(_ENCODE(recording.head))
    hashed.update(_ENCODE([recording.complete_through, len(recording.items), recording.end]))
    hashed.update(_ENCODE([mark.digest for mark in recording.marks[-1:]]))
    return hashed.hexdigest()


class Place:
    """Where a replay is, kept while it goes on."""

    def __init__(self, run: Steps) -> None:
        self._run = run
        self._event: Item | None = None
        self._at = run.recording.began_at
        self._before: ReplayCursor | None = None  # where it went on from

    def passed(self, taken: Taken) -> None:
        """Note the step that was taken."""
        self._at = taken.at
        last = max((item for item in taken.items if item.seq is not None), key=_sequence, default=None)
        self._event = last or self._event

    def resumed(self, cursor: ReplayCursor) -> None:
        """It goes on from here."""
        self._at = cursor.at
        self._before = cursor

    def cursor(self) -> ReplayCursor:
        """The present boundary."""
        run, recording, item = self._run, self._run.recording, self._event
        if item is None and self._before is not None:
            return msgspec.structs.replace(self._before, step=run.number, at=self._at, digest=run.digest())
        scope = Scope(
            session_id=recording.session_id,
            tenant_id=recording.tenant_id,
            pipeline_version=recording.head.request.pipeline_version,
            epoch=0,
            turn_id=item.turn if item else None,
        )
        return ReplayCursor(
            session_id=recording.session_id,
            recording=identity(recording),
            mode=run.mode.outputs.value,
            decisions=run.mode.decisions.value,
            step=run.number,
            at=self._at,
            digest=run.digest(),
            turn_id=item.turn if item else None,
            lane=_LANES.get(item.what, Lane.CONTROL) if item else None,
            runtime_sequence=item.seq if item else None,
            event_id=event_id(scope, item.seq) if item and item.seq is not None else None,
        )


def _sequence(item: Item) -> int:
    return item.seq or 0


def written(cursor: ReplayCursor) -> bytes:
    """A cursor, as it stands in a file."""
    return msgspec.json.format(msgspec.json.encode(cursor), indent=1) + b"\n"


def read(data: bytes) -> ReplayCursor:
    """The cursor in a file; raises MisuseError."""
    try:
        cursor = msgspec.json.decode(data, type=ReplayCursor)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MisuseError("cursor_malformed", f"this is no cursor: {error}") from error
    if cursor.format != FORMAT:
        raise MisuseError("cursor_malformed", f"only {FORMAT} can be read, not {cursor.format!r}", "format")
    return cursor


def resume(run: Steps, cursor: ReplayCursor) -> None:
    """Bring a fresh replay to the cursor's boundary; raises MisuseError if it is none of this replay."""
    recording = run.recording
    if cursor.session_id != recording.session_id or cursor.recording != identity(recording):
        raise MisuseError(
            "cursor_other_recording",
            f"the cursor is one of session {cursor.session_id}, recording {cursor.recording[:12]}; "
            f"this is {recording.session_id}, {identity(recording)[:12]}",
        )
    agree(run.mode, cursor.mode, cursor.decisions)
    if not 0 <= cursor.step <= run.last:
        raise MisuseError(
            "cursor_past_end", f"the cursor stands at step {cursor.step}, and the last one is {run.last}"
        )
    run.go_to(cursor.step)
    if run.number != cursor.step or run.digest() != cursor.digest:
        raise MisuseError(
            "cursor_digest_mismatch",
            f"at step {cursor.step} the replay is not where the cursor was: the cursor or the code has changed",
        )
