"""A reader sees of a recording what the grant says, and is told what it does not show."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import pytest

from rspp.cli.sim_recorder import record
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.kernel.trace import Tracer
from rspp.nodes import factories
from rspp.sim.scenario import draw
from rspp.testing.clean import assert_clean, found_in
from rspp.timeline.access import AccessDenied, Grant, Purpose, Role
from rspp.timeline.packing import sound_of
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.redaction.reading import Seen, redacted
from rspp.timeline.replay.engine import ExactReplay

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

P = PayloadClass


@lru_cache(maxsize=1)
def data() -> bytes:
    return record(draw(7, 1, "none"), RecordingLevel.L2)[1][0]


def recording() -> Recording:
    return assemble([unframe(data())])


def grant(
    fidelity: RecordingLevel, *classes: PayloadClass, tenant: str | None = None, scope: str = "tenant"
) -> Grant:
    return Grant(
        tenant_id=recording().tenant_id if tenant is None else tenant,
        principal_id="ann",
        role=Role.OPERATOR,
        purpose=Purpose.DEBUG,
        scope=scope,
        fidelity=fidelity,
        classes=frozenset(classes),
        policy="test",
    )


def words(seen: Seen) -> bytes:
    shown = seen.recording
    return msgspec.msgpack.encode(
        [shown.inputs, shown.items, shown.nodes, shown.head.request, [mark.words for mark in shown.marks]],
        enc_hook=str,
    )


def said(found: Recording) -> list[str]:
    texts = (getattr(getattr(one, "payload", None), "text", "") for _, one in found.inputs.values())
    return sorted({text for text in texts if len(text) > 20})


def test_with_everything_granted_everything_is_seen() -> None:
    seen = redacted(recording(), grant(RecordingLevel.L2, P.TEXT_RAW, P.AUDIO_RAW, P.METADATA))
    assert seen.markers == ()
    assert found_in(words(seen), said(recording()))


def test_texts_that_are_not_granted_are_stand_ins_and_the_decisions_are_the_same() -> None:
    original = recording()
    seen = redacted(original, grant(RecordingLevel.L2, P.AUDIO_RAW, P.METADATA))
    assert_clean(words(seen), said(original))
    (marker,) = seen.markers
    assert (marker.payload_class, marker.action) == (P.TEXT_RAW, "hash")
    assert marker.count > 3
    tracer = Tracer()
    for step in ExactReplay(seen.recording, factories()):
        if step.effects:
            tracer.take(step.number, step.at, step.effects)
    assert original.end is not None
    assert tracer.digest() == original.end.digest


def test_sound_that_is_not_granted_is_silence() -> None:
    for level, classes in (
        (RecordingLevel.L1, (P.TEXT_RAW, P.AUDIO_RAW)),
        (RecordingLevel.L2, (P.TEXT_RAW,)),
    ):
        seen = redacted(recording(), grant(level, *classes))
        assert not any(any(sound_of(one) or b"") for _, one in seen.recording.inputs.values())
        (marker,) = seen.markers
        assert marker.payload_class is P.AUDIO_RAW
        assert marker.count > 100
        assert found_in(words(seen), said(recording()))


def test_at_the_lowest_level_there_is_control_and_evidence_only() -> None:
    original = recording()
    seen = redacted(original, grant(RecordingLevel.L0, P.METADATA, P.TEXT_RAW, P.AUDIO_RAW))
    shown = seen.recording
    assert shown.inputs == {}
    assert {item.what for item in shown.items} <= {
        "signal",
        "store_evidence",
        "store_close",
        "record",
        "end_session",
    }
    assert shown.evidence == original.evidence
    assert (shown.levels[0].step, shown.levels[0].new) == (1, RecordingLevel.L0)
    assert {marker.payload_class for marker in seen.markers} == {P.TEXT_RAW, P.AUDIO_RAW}
    assert_clean(words(seen), said(original))


def test_the_stored_recording_is_not_touched() -> None:
    original = recording()
    before = msgspec.msgpack.encode([original.inputs, original.nodes], enc_hook=str)
    redacted(original, grant(RecordingLevel.L1))
    redacted(original, grant(RecordingLevel.L0))
    assert msgspec.msgpack.encode([original.inputs, original.nodes], enc_hook=str) == before


def test_a_grant_for_something_else_opens_nothing() -> None:
    found = recording()
    with pytest.raises(AccessDenied, match="cross_tenant_denied"):
        redacted(found, grant(RecordingLevel.L0, tenant="another"))
    with pytest.raises(AccessDenied):
        redacted(found, grant(RecordingLevel.L0, scope="session:another"))
    with pytest.raises(AccessDenied):
        redacted(found, grant(RecordingLevel.L0, scope="turn:another/turn-1"))
    for scope in (f"session:{found.session_id}", f"turn:{found.session_id}/turn-1"):
        assert redacted(found, grant(RecordingLevel.L0, scope=scope)).grant.scope == scope
