"""A recording, read: what the session began with, all that it took and did, its evidence, and what of it is not there.

Records may come in any number of pieces (segments, parts in a store, one file); `assemble` puts them together. Nothing is
made up: what is missing is named (`gaps`, `withheld_texts`, `without_sound`), and `complete_through` says up to which input a
fresh kernel can be fed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.event import Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.words import RecordingLevel
from rspp.kernel.flags import resolve
from rspp.kernel.inputs import CallProduced, Input, TextReceived
from rspp.kernel.trace import Item, Run
from rspp.timeline import records as r
from rspp.timeline.packing import sound_of, unpack, with_sound

INPUTS_MAX: Final = 50_000_000
_replace: Final = msgspec.structs.replace


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

    def level_at(self, step: int) -> RecordingLevel:
        level = self.head.level
        for change in self.levels:
            if change.step <= step:
                level = change.new
        return level

    def input_list(self, through: int | None = None) -> list[tuple[int, Input]]:
        """The inputs from the first one on, without a hole, at most through this step."""
        last = self.complete_through if through is None else min(through, self.complete_through)
        return [self.inputs[step] for step in range(1, last + 1)]


def assemble(pieces: Iterable[r.Frames]) -> Recording:
    """All records of one session, in the order of the pieces, put together."""
    recording: Recording | None = None
    texts: list[r.Spoken] = []
    sounds: list[r.Sound] = []
    for piece in pieces:
        for record in piece.records:
            if isinstance(record, r.Head):
                _check(record)
                if recording is None:
                    recording = Recording(head=record)
                elif recording.head.session_id != record.session_id:
                    raise CodecError(
                        "malformed", "records", f"two sessions in one recording: {record.session_id}"
                    )
            elif recording is None:
                raise CodecError("malformed", "records[0]", "a recording begins with its head")
            elif isinstance(record, r.Words):
                texts += record.texts
            elif isinstance(record, r.Sound):
                sounds.append(record)
            else:
                _add(recording, record)
        if recording is not None:
            recording.unknown += piece.unknown
            recording.torn = recording.torn or piece.torn
    if recording is None:
        raise CodecError("truncated", "records[0]", "the recording ends before its head does")
    _hear(recording, sounds)
    _say(recording, texts)
    return recording


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


def _add(recording: Recording, record: r.AnyRecord) -> None:
    """One record in its place; what is there already (a piece that was read twice) stays."""
    match record:
        case r.Inputs():
            _add_inputs(recording, record)
        case r.Trace():
            recording.items += record.items
            recording.runs += record.runs
            if record.digest is not None:
                recording.marks.append(Mark(record.through, record.digest, record.words))
        case r.Steps():
            for one in record.steps:
                recording.nodes.setdefault(one.stepped.node_id, {})[one.nth] = one
        case r.Level():
            recording.levels.append(record)
        case r.Gap():
            recording.gaps.append(record)
        case r.End():
            recording.end = recording.end or record
        case r.Evidence() | r.Close() | r.Plan():
            _add_turn(recording, record)


def _add_inputs(recording: Recording, record: r.Inputs) -> None:
    for step, (at, received) in enumerate(unpack(record), record.first):
        recording.inputs.setdefault(step, (at, received))
        if isinstance(received, TextReceived) or (
            isinstance(received, CallProduced) and isinstance(received.payload, Text)
        ):
            recording.withheld_texts.add(step)
        elif sound_of(received):
            recording.without_sound.add(step)


def _add_turn(recording: Recording, record: r.Evidence | r.Close | r.Plan) -> None:
    if isinstance(record, r.Evidence):
        recording.evidence.setdefault(record.record_id, record.evidence)
    elif isinstance(record, r.Close):
        recording.stamps.setdefault(record.record_id, record.stamp)
    else:
        recording.plans.setdefault(record.plan.turn_id, record.plan)


def _hear(recording: Recording, sounds: Iterable[r.Sound]) -> None:
    """Put the audio that was kept in the place of its silence."""
    for sound in sounds:
        at = 0
        for step, size in zip(sound.steps, sound.sizes, strict=True):
            found = recording.inputs.get(step)
            if found is not None:
                recording.inputs[step] = (found[0], with_sound(found[1], sound.data[at : at + size]))
                recording.without_sound.discard(step)
            at += size
        recording.masked_sound.update(sound.masked)


def _say(recording: Recording, texts: Iterable[r.Spoken]) -> None:
    """Put the texts that were kept in the place of their stand-ins."""
    for spoken in texts:
        found = recording.inputs.get(spoken.step)
        if found is None:
            continue
        at, received = found
        if isinstance(received, TextReceived):
            received = _replace(received, text=spoken.text)
        elif isinstance(received, CallProduced) and isinstance(received.payload, Text):
            received = _replace(received, payload=_replace(received.payload, text=spoken.text))
        recording.inputs[spoken.step] = (at, received)
        recording.withheld_texts.discard(spoken.step)
        if spoken.masked:
            recording.masked[spoken.step] = spoken.masked
