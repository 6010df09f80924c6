"""A provider that breaks its word fails as a provider: nothing of it reaches the caller, and the kernel stays whole."""

from __future__ import annotations

import pytest

from rspp.contract.event import Audio, Text
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.calls import CHUNK_S_MAX, malformed
from rspp.testing.rig import FRAME, Rig

BROKEN = [
    Audio(FRAME, 320, 0, rate=0),
    Audio(FRAME, 320, 0, rate=-1),
    Audio(FRAME, 320, 0, rate=10**9),
    Audio(FRAME, 320, 0, channels=0),
    Audio(FRAME, -320, 0),
    Audio(FRAME, 10**12, 0),
    Audio(b"", 16_000 * CHUNK_S_MAX + 1, 0),
    Audio(FRAME, 319, 0),
    Audio(FRAME, 320, -1),
]


def speaking() -> Rig:
    # The rig's onlooker counts what providers hand in, and cannot know which of it was refused.
    rig = Rig(judged=False)
    rig.connect()
    rig.say("what time is it")
    rig.tokens("It is ten.")
    return rig


@pytest.mark.parametrize("audio", BROKEN)
def test_a_chunk_with_a_broken_count_fails_its_call_and_is_never_heard(audio: Audio) -> None:
    rig = speaking()
    first = rig.invocations["tts"]
    rig.chunk("tts", audio)
    assert rig.of(fx.CancelCall)[-1].call_id == first.call_id
    assert rig.signals("provider_error")[-1].reason == "infrastructure_failure"
    assert rig.invocations["tts"].provider == "tts-b"
    rig.speech(200)
    rig.finish("llm")
    rig.advance(400)
    assert rig.kernel.error is None
    assert len(rig.sent_audio()) == 10
    assert rig.names("commit") == ["commit"]


def test_what_a_good_provider_hands_over_is_not_refused() -> None:
    assert malformed(Audio(FRAME, 320, 0)) is None
    assert malformed(Audio(b"", 0, 0, end=True)) is None
    assert malformed(Audio(b"\0" * 1_920, 480, 0, rate=24_000, channels=2)) is None
    assert malformed(Text("words")) is None


def test_chunks_that_come_twice_late_or_for_another_attempt_are_refused_where_they_stand() -> None:
    rig = speaking()
    call = rig.invocations["tts"]
    frame = Audio(FRAME, 320, 0)
    for sequence, attempt in ((0, 1), (0, 1), (1, 2), (1, 0), (1, 1)):
        rig.give(i.CallProduced(call.call_id, attempt, sequence, frame))
    rig.finish("tts")
    rig.give(i.CallProduced(call.call_id, 1, 2, frame))
    rig.give(i.CallProduced("nobody's", 1, 0, frame))
    rig.advance(200)
    assert len(rig.sent_audio()) == 2
    reasons = [signal.reason for signal in rig.signals("late_output_dropped")]
    assert reasons == ["duplicate_chunk", "other_attempt", "other_attempt", "late_after_end", "call_unknown"]
