"""What a grant does not allow is taken out of a recording when it is read, and what was taken out is named.

The recording in the store is not touched. What is left replays as far as it goes: texts become stand-ins under a key that is
thrown away, audio becomes silence, and at L0 only the evidence and the control remain.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec, PayloadClass, RecordingLevel
from rspp.kernel.inputs import CallProduced, ControlReceived, Input, TextReceived
from rspp.kernel.trace import Item
from rspp.timeline.access import AccessDenied, Grant, Reason
from rspp.timeline.packing import sound_of, with_sound
from rspp.timeline.recording import Recording
from rspp.timeline.records import Level
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.redaction.sounds import silent

L0, L2 = RecordingLevel.L0, RecordingLevel.L2
TRIGGER: Final = "redacted_on_read"
_CONTROL: Final = frozenset({"signal", "store_evidence", "store_close", "record", "end_session"})
_replace: Final = msgspec.structs.replace


class Marker(msgspec.Struct, frozen=True):
    """A class of payload that this reader does not see, and how much of it there was."""

    payload_class: PayloadClass
    action: str
    count: int


class Seen(msgspec.Struct, frozen=True):
    """A recording as one grant shows it, and what it does not show."""

    recording: Recording
    markers: tuple[Marker, ...]
    grant: Grant


def redacted(recording: Recording, grant: Grant) -> Seen:
    """The recording, as far as the grant goes; raises AccessDenied if it is for something else."""
    if recording.tenant_id != grant.tenant_id:
        raise AccessDenied(Reason.CROSS_TENANT)
    kind, _, name = grant.scope.partition(":")
    if (kind == "session" and name != recording.session_id) or (
        kind == "turn" and not name.startswith(f"{recording.session_id}/")
    ):
        raise AccessDenied(Reason.INVALID_ATTRIBUTES, "the grant is for another session")
    if grant.fidelity is L0:
        return _control_only(recording, grant)
    texts = PayloadClass.TEXT_RAW in grant.classes
    sound = PayloadClass.AUDIO_RAW in grant.classes and grant.fidelity is L2
    seen, hidden_texts = (recording, set[int]()) if texts else _without_texts(recording)
    hidden_sound: set[int] = set()
    if not sound:
        seen, hidden_sound = _without_sound(seen)
    markers = [
        Marker(PayloadClass.TEXT_RAW, "hash", len(hidden_texts)),
        Marker(PayloadClass.AUDIO_RAW, "drop", len(hidden_sound)),
    ]
    return Seen(seen, tuple(marker for marker in markers if marker.count), grant)


def _without_texts(recording: Recording) -> tuple[Recording, set[int]]:
    """Stand-ins for all that was said, and for what nodes made of it."""
    redactor = _hiding(recording)
    head = recording.head
    head = _replace(head, request=redactor.request(head.request), graph=redactor.graph(head.graph))
    hidden: set[int] = set()
    inputs = dict(recording.inputs)
    for step, (at, received) in recording.inputs.items():
        if sound_of(received) is None:
            inputs[step] = (at, redactor.take(step, at, received))
        if _has_text(received) and step not in recording.withheld_texts:
            hidden.add(step)
    nodes = {
        node_id: {nth: _replace(step, stepped=redactor.stepped(step.stepped)) for nth, step in steps.items()}
        for node_id, steps in recording.nodes.items()
    }
    seen = _replace(
        recording,
        head=head,
        inputs=inputs,
        nodes=nodes,
        items=[redactor.item(item) for item in recording.items],
        marks=[_replace(mark, words=None) for mark in recording.marks],
        masked={},
        withheld_texts=recording.withheld_texts | hidden,
    )
    return seen, hidden


def _without_sound(recording: Recording) -> tuple[Recording, set[int]]:
    """Silence for all that was heard."""
    hidden: set[int] = set()
    inputs = dict(recording.inputs)
    for step, (at, received) in recording.inputs.items():
        data = sound_of(received)
        if data:
            inputs[step] = (at, with_sound(received, silent(_codec(received), len(data))))
            if step not in recording.without_sound:
                hidden.add(step)
    seen = _replace(
        recording, inputs=inputs, without_sound=recording.without_sound | hidden, masked_sound=set()
    )
    return seen, hidden


def _hiding(recording: Recording) -> SessionRedactor:
    """Stand-ins for what the grant does not show, under a key of this reading alone."""
    policy = msgspec.convert({"name": "on-read", "everybody": {"text_raw": {"L1": "hash"}}}, RedactionPolicy)
    redactor = SessionRedactor(policy, recording.tenant_id)
    redactor.request(recording.head.request)
    redactor.graph(recording.head.graph)
    return redactor


def _has_text(received: Input) -> bool:
    if isinstance(received, ControlReceived):
        return received.signal == "digit"
    return isinstance(received, TextReceived) or (
        isinstance(received, CallProduced) and isinstance(received.payload, Text)
    )


def _codec(received: Input) -> Codec:
    audio = getattr(received, "audio", None) or getattr(received, "payload", None)
    assert isinstance(audio, Audio)
    return audio.codec


def _control_only(recording: Recording, grant: Grant) -> Seen:
    """Evidence and control: what L0 would have kept in the first place."""
    had_texts = sum(_has_text(received) for _, received in recording.inputs.values())
    had_sound = sum(sound_of(received) is not None for _, received in recording.inputs.values())
    levels = recording.levels
    if recording.head.level is not L0:
        change = Level(
            step=1,
            at=recording.began_at,
            old=recording.head.level,
            new=L0,
            trigger=TRIGGER,
            policy_id=grant.policy,
        )
        levels = [change, *levels]
    seen = _replace(
        recording,
        inputs={},
        items=[item for item in recording.items if _is_control(item)],
        runs=[],
        marks=[],
        nodes={},
        levels=levels,
        masked={},
        withheld_texts=set(),
        without_sound=set(),
        masked_sound=set(),
    )
    markers = [
        Marker(PayloadClass.TEXT_RAW, "drop", had_texts),
        Marker(PayloadClass.AUDIO_RAW, "drop", had_sound),
    ]
    return Seen(seen, tuple(marker for marker in markers if marker.count), grant)


def _is_control(item: Item) -> bool:
    return item.what in _CONTROL
