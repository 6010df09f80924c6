"""A recording, read: what the session began with, all that it took and did, its evidence, and what of it is not there.

Records may come in any number of pieces (segments, parts in a store, one file); `assemble` puts them together. Nothing is
made up: what is missing is named (`gaps`, `withheld_texts`, `without_sound`), and `complete_through` says up to which input a
fresh kernel can be fed. A record that is read twice counts once; one that contradicts the others is a CodecError, for a file
may come from anywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.event import Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.kernel.flags import resolve
from rspp.kernel.inputs import CallProduced, ControlReceived, Input, TextReceived
from rspp.kernel.shapes import shape
from rspp.kernel.trace import Item, Run
from rspp.timeline import records as r
from rspp.timeline.packing import sound_of, unpack, with_sound
from rspp.timeline.plans import plan_of

# Half a day and more of a call. An input takes a byte of a file and hundreds here, so a small file could fill the memory.
INPUTS_MAX: Final = 8_000_000
# Audio that inputs may name, silence included: half a day of both sides at 24 kHz. A few bytes of a file can name megabytes.
AUDIO_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
# Times are nanoseconds since some boot: a hundred years of them.
TIME_MAX: Final = 1 << 62
_replace: Final = msgspec.structs.replace
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The digest over everything up to and including input `through`."""

    through: int
    digest: str
    words: str | None


class Recording(msgspec.Struct, kw_only=True):
    """One session's recording."""

    head: r.Head
    inputs: dict[int, tuple[int, Input]] = {}  # by step, from 1; with holes where there is a gap or level L0
    items: list[Item] = []
    runs: list[Run] = []
    marks: list[Mark] = []
    nodes: dict[str, dict[int, r.NodeStep]] = {}  # node -> nth hook -> what it came to
    evidence: dict[str, TurnEvidence] = {}
    stamps: dict[str, CloseStamp] = {}
    plans: dict[str, ResolvedTurnPlan] = {}
    levels: list[r.Level] = []
    gaps: list[r.Gap] = []
    masked: dict[int, list[r.Span]] = {}
    withheld_texts: set[int] = set()  # steps whose whole text is a stand-in
    without_sound: set[int] = set()  # steps whose audio is silence
    masked_sound: set[int] = set()  # steps whose audio was kept but for what must not be
    end: r.End | None = None
    torn: bool = False
    unknown: int = 0

    @property
    def session_id(self) -> str:
        return self.head.session_id

    @property
    def tenant_id(self) -> str:
        return self.head.tenant_id

    @property
    def began_at(self) -> int:
        return self.head.request.anchor.monotonic

    @property
    def ended_at(self) -> int:
        """The time of the last thing that is known of."""
        last = max((at for at, _ in self.inputs.values()), default=self.began_at)
        items = self.items[-1].at if self.items else self.began_at
        return max(last, items, self.end.at if self.end else self.began_at)

    @property
    def complete_through(self) -> int:
        """The last input up to which all of them are here; 0 if none are."""
        step = 0
        while step + 1 in self.inputs:
            step += 1
        return step

    @property
    def whole(self) -> bool:
        """Is every input here, to the session's end?"""
        return self.end is not None and not self.torn and self.complete_through == self.end.steps

    def input_list(self, through: int | None = None) -> list[tuple[int, Input]]:
        """The inputs from the first one on, without a hole, at most through this step."""
        last = self.complete_through if through is None else min(through, self.complete_through)
        return [self.inputs[step] for step in range(1, last + 1)]


def assemble(pieces: Iterable[r.Frames]) -> Recording:
    """All records of one session, in the order of the pieces, put together; raises CodecError."""
    recording: Recording | None = None
    reader = _Reader()
    early: list[
        r.AnyRecord
    ] = []  # bounded: by the recording; what was kept while the disk did not take the head
    unknown, torn, run = 0, False, ""
    for piece in pieces:
        for record in piece.records:
            if isinstance(record, r.Head):
                _check(record)
                if recording is None:
                    recording = Recording(head=record)
                    for one in early:
                        reader.add(recording, one)
                elif recording.head.session_id != record.session_id:
                    raise _malformed("records", f"two sessions in one recording: {record.session_id}")
            elif isinstance(record, r.Part):
                if run and record.run != run:
                    raise _malformed("records", f"two runs in one recording: {run} and {record.run}")
                run = record.run
            elif recording is None:
                early.append(record)
            else:
                reader.add(recording, record)
        unknown += piece.unknown
        torn = torn or piece.torn
    if recording is None:
        raise CodecError("truncated", "records", "the recording ends before its head does")
    recording.unknown, recording.torn = unknown, torn
    reader.finish(recording)
    return recording


def _malformed(place: str, why: str) -> CodecError:
    return CodecError("malformed", place, why)


def _check(head: r.Head) -> None:
    if head.format != r.FORMAT:
        raise CodecError("schema_version_unsupported", "records[0].format", f"only {r.FORMAT} can be read")
    if head.schema_version.partition(".")[0] != r.SCHEMA_VERSION.partition(".")[0]:
        raise CodecError(
            "schema_version_unsupported", "records[0].schema_version", f"only {r.SCHEMA_VERSION} can be read"
        )
    try:
        resolve(head.request.flags)
    except ValueError as error:
        raise CodecError("schema_version_unsupported", "records[0].request.flags", str(error)) from error
    request = head.request
    if (request.session_id, request.tenant_id) != (head.session_id, head.tenant_id):
        raise _malformed(
            "records[0].request", "it is another session's, or another tenant's, than the head says"
        )
    known = {node.id for node in head.graph.nodes}
    for edge in head.graph.edges:
        if edge.source not in known or edge.target not in known:
            raise _malformed("records[0].graph.edges", f"{edge.id} leads from or to a node that is not there")


class _Reader:
    """Puts records in their places; what came before stays (a piece may be read twice)."""

    def __init__(self) -> None:
        self._traces: set[tuple[int, int]] = set()  # bounded: by the recording
        self._texts: list[r.Spoken] = []  # bounded: likewise
        self._sounds: list[r.Sound] = []  # bounded: likewise
        self._audio_bytes = 0
        self._silences: dict[int, bytes] = {}  # bounded: by `unpack`

    def add(self, recording: Recording, record: r.AnyRecord) -> None:
        match record:
            case r.Inputs():
                self._inputs(recording, record)
            case r.Words():
                self._texts += record.texts
            case r.Sound():
                self._sounds.append(record)
            case r.Trace():
                self._trace(recording, record)
            case r.Steps():
                _add_steps(recording, record)
            case r.Level() | r.Gap():
                if record.step < 0:
                    raise _malformed("records", f"step {record.step}")
                found: list[Any] = recording.levels if isinstance(record, r.Level) else recording.gaps
                if not found or found[-1] != record:
                    found.append(record)
            case r.End():
                recording.end = recording.end or record
            case r.Evidence() | r.Close() | r.Plan() | r.PlanLike():
                _add_turn(recording, record)

    def finish(self, recording: Recording) -> None:
        """Texts and audio may stand before or after the inputs that they belong to."""
        for sound in self._sounds:
            _hear(recording, sound)
        told: set[int] = set()
        for spoken in self._texts:
            if spoken.step not in told:
                told.add(spoken.step)
                _say(recording, spoken)

    def _inputs(self, recording: Recording, record: r.Inputs) -> None:
        last = record.first + len(record.entries) - 1
        if record.first < 1 or last > INPUTS_MAX:
            raise _malformed("inputs", f"inputs {record.first} to {last}; they count from 1 to {INPUTS_MAX}")
        if len(recording.inputs) + len(record.entries) > INPUTS_MAX:
            raise _malformed("inputs", f"more than {INPUTS_MAX} of them, some twice")
        for step, (at, received) in enumerate(unpack(record, self._silences), record.first):
            if not -TIME_MAX < at < TIME_MAX:
                raise _malformed(f"inputs[{step}]", f"no session lasts until {at}")
            self._audio_bytes += len(sound_of(received) or b"")
            if self._audio_bytes > AUDIO_BYTES_MAX:
                why = f"the recording names more than {AUDIO_BYTES_MAX} bytes of audio"
                raise CodecError("payload_too_large", f"inputs[{step}]", why)
            recording.inputs.setdefault(step, (at, received))
            if _text_of(received) is not None and not isinstance(received, ControlReceived):
                recording.withheld_texts.add(step)
            elif sound_of(received):
                recording.without_sound.add(step)

    def _trace(self, recording: Recording, record: r.Trace) -> None:
        key = record.through, zlib.crc32(_ENCODE(record))
        if key in self._traces:
            return
        self._traces.add(key)
        places = [(one.step, one.at) for one in record.items] + [(one.step, one.at) for one in record.runs]
        for step, at in places:
            if step < 0 or not -TIME_MAX < at < TIME_MAX:
                raise _malformed("trace", f"something at step {step} and time {at}")
        recording.items += record.items
        recording.runs += record.runs
        if record.digest is not None:
            recording.marks.append(Mark(record.through, record.digest, record.words))


def _add_steps(recording: Recording, record: r.Steps) -> None:
    for one in record.steps:
        if one.nth < 1:
            raise _malformed("steps", f"hook {one.nth} of {one.stepped.node_id}; they count from 1")
        recording.nodes.setdefault(one.stepped.node_id, {}).setdefault(one.nth, one)


def _add_turn(recording: Recording, record: r.Evidence | r.Close | r.Plan | r.PlanLike) -> None:
    if isinstance(record, r.Evidence):
        recording.evidence.setdefault(record.record_id, record.evidence)
    elif isinstance(record, r.Close):
        recording.stamps.setdefault(record.record_id, record.stamp)
    else:
        plan = plan_of(record, recording.plans)
        if plan is not None:
            recording.plans.setdefault(plan.turn_id, plan)


def _hear(recording: Recording, sound: r.Sound) -> None:
    """Put the audio that was kept in the place of its silence, which is as long."""
    if (
        len(sound.steps) != len(sound.sizes)
        or sum(sound.sizes) != len(sound.data)
        or min(sound.sizes, default=0) < 0
    ):
        raise _malformed("sound", "its sizes are not those of its data")
    if not set(sound.masked) <= set(sound.steps):
        raise _malformed("sound.masked", "it names inputs that are not in it")
    at = 0
    for step, size in zip(sound.steps, sound.sizes, strict=True):
        found = recording.inputs.get(step)
        if found is not None:
            silence = sound_of(found[1])
            if silence is None or len(silence) != size:
                raise _malformed(f"sound[{step}]", f"{size} bytes do not belong to this input")
            recording.inputs[step] = (found[0], with_sound(found[1], sound.data[at : at + size]))
            recording.without_sound.discard(step)
        at += size
    recording.masked_sound.update(sound.masked)


def _say(recording: Recording, spoken: r.Spoken) -> None:
    """Put a text that was kept in the place of its stand-in, if a kernel decides the same from both."""
    found = recording.inputs.get(spoken.step)
    if found is None:
        return
    at, received = found
    place = f"words[{spoken.step}]"
    standin = _text_of(received)
    if standin is None:
        raise _malformed(place, "this input has no text")
    if len(standin) != len(spoken.text):
        raise _malformed(
            place, f"the text has {len(spoken.text)} characters, and its stand-in {len(standin)}"
        )
    if any(not 0 <= span.start <= span.end <= len(standin) for span in spoken.masked):
        raise _malformed(place, "a masked place lies outside the text")
    if shape(standin) != shape(spoken.text):
        return  # a kernel could decide otherwise from it: it counts as withheld
    if isinstance(received, TextReceived):
        received = _replace(received, text=spoken.text)
    elif isinstance(received, CallProduced) and isinstance(received.payload, Text):
        received = _replace(received, payload=_replace(received.payload, text=spoken.text))
    elif isinstance(received, ControlReceived):  # a key that was pressed
        received = _replace(received, value=spoken.text)
    recording.inputs[spoken.step] = (at, received)
    recording.withheld_texts.discard(spoken.step)
    if spoken.masked:
        recording.masked[spoken.step] = spoken.masked


def _text_of(received: Input) -> str | None:
    if isinstance(received, TextReceived):
        return received.text
    if isinstance(received, CallProduced) and isinstance(received.payload, Text):
        return received.payload.text
    return received.value if isinstance(received, ControlReceived) else None
