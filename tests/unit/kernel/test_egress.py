"""What leaves for the caller: authority first, then the fence, then the pace; and what became of it is accounted for."""

from __future__ import annotations

import pytest

from rspp.contract.event import Audio
from rspp.contract.words import CancelScope, Codec, ConnectionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.inputs import ConnectionChanged
from rspp.spec import voice_template
from rspp.testing.rig import FRAME, Rig


def speaking(ms: int = 2_000, **about: bool) -> Rig:
    rig = Rig(**about)  # type: ignore[arg-type]
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    rig.finish("llm")
    rig.speech(ms)
    return rig


def test_no_more_than_the_lead_leaves_at_once_and_the_rest_follows_in_real_time() -> None:
    rig = speaking()
    lead = rig.graph.policies.playout.lead_ms
    assert len(rig.sent_audio()) * 20 == lead
    rig.advance(500)
    assert len(rig.sent_audio()) * 20 == lead + 500


def test_a_long_chunk_leaves_in_frames_that_together_are_the_chunk() -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    data = bytes(range(256)) * 25
    rig.chunk("tts", Audio(data, 3_200, 0))
    rig.advance(400)
    frames = [event.payload for event in rig.sent_audio()]
    assert b"".join(frame.data for frame in frames if isinstance(frame, Audio)) == data
    assert [frame.sample_index for frame in frames if isinstance(frame, Audio)] == list(range(0, 3_200, 320))


def test_a_caption_that_comes_while_a_chunk_is_half_sent_takes_nothing_of_its_sound() -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten. ")
    rig.chunk("tts", Audio(bytes(2 * 16_000), 16_000, 0))
    rig.advance(310)
    shown = len(rig.sent_text())
    rig.tokens("And all is well. ")
    rig.advance(40)
    assert len(rig.sent_text()) > shown
    rig.advance(1_000)
    assert (
        sum(event.payload.samples for event in rig.sent_audio() if isinstance(event.payload, Audio)) == 16_000
    )


def test_nothing_leaves_before_the_line_stands_while_it_is_cut_or_after_authority_is_gone() -> None:
    rig = speaking()
    rig.give(i.ConnectionChanged(ConnectionState.RECONNECTING))
    rig.forget()
    rig.advance(1_000)
    assert rig.of(fx.Send) == []
    rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    rig.give(i.LeaseChanged("revoked", 7))
    rig.forget()
    rig.advance(1_000)
    assert rig.sent_audio() == []


def test_the_stream_is_closed_once_and_after_its_last_frame() -> None:
    rig = speaking(200)
    rig.advance(1_000)
    sent = [effect.event.payload for effect in rig.of(fx.Send) if isinstance(effect.event.payload, Audio)]
    assert [payload.end for payload in sent] == [False] * 10 + [True]


def test_a_commit_does_not_overtake_the_audio_of_its_own_turn() -> None:
    rig = speaking(100)
    rig.advance(200)
    commit = rig.events("commit")[0]
    left = [effect.event for _, effect in rig.effects if isinstance(effect, fx.Send | fx.Announce)]
    assert left.index(commit) > max(left.index(event) for event in rig.sent_audio())


def test_a_client_that_never_reports_does_not_leave_a_turn_playing_for_ever() -> None:
    rig = speaking(200)
    rig.advance(200 + rig.graph.policies.playout.report_ms_max + 100)
    assert rig.names("playback_completed") == ["playback_completed"]
    assert rig.kernel.egress.playing is None


def test_a_client_that_cannot_report_is_believed_by_the_clock() -> None:
    rig = speaking(200, reports_playback=False)
    rig.advance(260)
    assert rig.names("playback_completed") == ["playback_completed"]


def test_reports_of_unknown_turns_and_of_unknown_kinds_are_refused() -> None:
    rig = speaking()
    rig.forget()
    rig.give(i.DeliveryReported("accepted", "s1/turn-99"))
    rig.give(i.DeliveryReported("applauded", "s1/turn-1"))
    rig.give(i.DeliveryReported("position", "s1/turn-1", heard_ms=-1))
    rig.give(i.DeliveryReported("accepted", "s1/turn-1", epoch=6))
    assert rig.names("output_refused", "abi_rejected", "stale_epoch_reject", "output_accepted") == [
        "output_refused",
        "abi_rejected",
        "abi_rejected",
        "stale_epoch_reject",
    ]


def test_playback_starts_once_and_completes_once_however_often_it_is_reported() -> None:
    rig = speaking(200)
    rig.advance(100)
    for what in ("started", "started", "completed", "completed"):
        rig.give(i.DeliveryReported(what, "s1/turn-1", heard_ms=200))
        rig.advance(20)
    assert rig.names("playback_started", "playback_completed") == ["playback_started", "playback_completed"]


def test_after_a_fence_what_waits_in_the_outbox_is_taken_back_too() -> None:
    """The cancel comes in the same batch as the audio, before the host has drained."""
    rig = Rig(judged=False)
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    call = rig.invocations["tts"]
    rig.forget()
    rig.kernel.receive(rig.now, i.CallProduced(call.call_id, 1, 0, Audio(FRAME, 320, 0)))
    rig.kernel.receive(rig.now, i.ControlReceived("cancel", 50, scope=CancelScope.TURN))
    rig._collect()
    assert rig.sent_audio() == []
    (stored, *_) = rig.of(fx.StoreEvidence)
    assert stored.evidence.cancel_fence_at is not None


# ---- what waits on purpose -----------------------------------------------------------------------------------------


def test_captions_wait_for_a_cut_line_and_are_not_too_late_when_it_stands_again() -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.give(ConnectionChanged(ConnectionState.RECONNECTING))
    rig.tokens("It is ten.")
    rig.finish("llm")
    rig.speech(200)
    rig.advance(1_000)
    rig.give(ConnectionChanged(ConnectionState.CONNECTED))
    rig.advance(1_000)
    assert rig.names("drop_notice") == []
    assert [text for text in rig.sent_text() if text] == ["It is ten."]
    assert rig.names("commit") == ["commit"]


def test_an_answer_of_two_minutes_is_sent_to_its_end() -> None:
    rig = Rig()
    rig.connect()
    rig.type("tell me a story")
    rig.tokens("Once upon a time.")
    rig.finish("llm")
    for index in range(300):  # four times as fast as it is heard
        rig.chunk("tts", Audio(FRAME * 20, 6_400, index * 6_400))
        rig.advance(100)
    rig.finish("tts")
    rig.advance(100_000)
    assert rig.names("drop_notice") == []
    assert len(rig.sent_audio()) * 20 == 120_000


# ---- one stream a turn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [Codec.MULAW, Codec.PCMU])
def test_a_codec_of_one_byte_a_sample_is_cut_into_frames_too(codec: Codec) -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    data = bytes(range(200)) * 8
    rig.chunk("tts", Audio(data, 1_600, 0, rate=8_000, codec=codec))
    frames = [event.payload for event in rig.sent_audio() if isinstance(event.payload, Audio)]
    assert [(frame.samples, len(frame.data)) for frame in frames] == [(160, 160)] * 10
    assert b"".join(frame.data for frame in frames) == data


def test_sentences_are_one_stream_with_one_count_and_one_end() -> None:
    """Each sentence is a call of its own, which counts from nothing and says that it has ended."""
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    for sentence in ("It is ten.", " Good night."):
        rig.tokens(sentence)
        rig.chunk("tts", Audio(FRAME * 2, 640, 0, end=True))
        rig.chunk("tts", Audio(b"", 0, 640, end=True))
        rig.finish("tts")
    rig.finish("llm")
    rig.advance(500)
    sent = [e.event.payload for e in rig.of(fx.Send) if isinstance(e.event.payload, Audio)]
    assert [(audio.sample_index, audio.end) for audio in sent] == [
        (0, False),
        (320, False),
        (640, False),
        (960, False),
        (1_280, True),
    ]


# ---- what counts as said -------------------------------------------------------------------------------------------


def remembered(rig: Rig) -> list[str]:
    return [message.text for message in rig.kernel.memory.history() if message.role == "assistant"]


def test_what_was_only_captioned_before_its_audio_came_was_not_heard() -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    assert rig.sent_text() == ["It is ten."]
    rig.control("cancel", scope=CancelScope.TURN)
    assert remembered(rig) == []


def test_captions_are_the_answer_where_no_line_sounds_or_the_voice_is_lost() -> None:
    for voiced in (True, False):
        rig = Rig(voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}))
        rig.connect()
        rig.type("what time is it")
        if not voiced:
            rig.kernel.capability_lost("tts", "provider_broken")
        rig.tokens("It is ten.")
        if voiced:
            rig.kernel.capability_lost("tts", "provider_broken")
        rig.control("cancel", scope=CancelScope.TURN)
        assert remembered(rig) == ["It is ten."]


def test_a_whole_answer_without_a_sound_was_its_captions() -> None:
    rig = Rig()
    rig.connect()
    rig.type("what time is it")
    rig.tokens("It is ten.")
    rig.finish("llm")
    rig.finish("tts")
    rig.advance(1_000)
    assert rig.names("commit") == ["commit"]
    assert remembered(rig) == ["It is ten."]
