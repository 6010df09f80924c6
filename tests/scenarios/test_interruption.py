"""The caller speaks over the assistant: silence at once, the old turn ends, the new one begins, nothing old is heard."""

from __future__ import annotations

import pytest

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.words import CancelMode, CancelReason, CancelScope, ConnectionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.memory import conversation_in
from rspp.kernel.playout import Playout
from rspp.spec import compile_text, load, voice_template
from rspp.testing.rig import FRAME, FRAME_MS, Rig

FENCE_MS_MAX = 150  # gate 3


def answering(seconds: int = 30, *, made: bool = False) -> Rig:
    """An assistant in the middle of a long reply that is being heard; `made` if its providers are done with it."""
    rig = Rig()
    rig.connect()
    rig.say("tell me everything")
    rig.tokens("It is a long story.")
    rig.speech(seconds * 1_000, finish=made)
    if made:
        rig.finish("llm")
    rig.give(i.DeliveryReported("started", "s1/turn-1"))
    rig.advance(400)
    assert rig.kernel.egress.playing is not None
    rig.forget()
    return rig


def remembered(rig: Rig) -> object:
    """The conversation as it was saved last."""
    return [conversation_in({effect.key: effect.value}) for effect in rig.of(fx.SaveState)][-1]["history"]


def order(rig: Rig, *names: str) -> list[tuple[str, str | None]]:
    """The announced signals of these names, each with its turn."""
    return [
        (event.payload.signal, event.scope.turn_id)  # type: ignore[union-attr]
        for event in (effect.event for effect in rig.of(fx.Announce))
        if event.payload.signal in names  # type: ignore[union-attr]
    ]


@pytest.mark.proves("F-025")
def test_a_barge_in_ends_the_old_turn_before_the_next_begins_and_nothing_old_is_heard_after_it() -> None:
    rig = answering()
    rig.control("barge_in")
    rig.type("stop, something else")
    assert order(rig, "cancel", "close", "turn_open") == [
        ("cancel", "s1/turn-1"),
        ("close", "s1/turn-1"),
        ("turn_open", "s1/turn-2"),
    ]
    rig.chunk("tts", Audio(FRAME, 320, 10**6))  # the old synthesiser does not know yet
    rig.advance(2_000)
    assert rig.sent_audio() == []


@pytest.mark.proves("F-025")
def test_a_barge_in_with_no_turn_open_leaves_a_marker_and_cancels_nothing() -> None:
    rig = Rig()
    rig.connect()
    rig.forget()
    rig.control("barge_in")
    assert rig.names() == ["barge_in"]
    assert rig.of(fx.CancelCall) == []


@pytest.mark.proves("F-033")
def test_speaking_over_a_long_reply_silences_it_within_the_fence_and_aborts_its_calls() -> None:
    rig = answering()
    rig.voice(600)
    rig.partial("wait a moment")
    accepted = rig.at("cancel")[0]
    last = max((when for when, e in rig.effects if isinstance(e, fx.Send)), default=0) // NS_PER_MS
    assert last - accepted <= FENCE_MS_MAX
    (turn,) = [t for t in (*rig.kernel.turns.closed, rig.kernel.turns.current) if t and t.id == "s1/turn-1"]
    assert turn.cancelled is not None
    assert turn.cancelled.fence_at - turn.cancelled.accepted_at == 0
    assert {effect.reason for effect in rig.of(fx.CancelCall)} == {CancelReason.BARGE_IN}
    cancelled = {effect.call_id for effect in rig.of(fx.CancelCall)}
    assert {call.call_id for name, call in rig.invocations.items() if name in ("llm", "tts")} == cancelled
    assert rig.of(fx.StopPlayback) == [fx.StopPlayback("s1/turn-1", 0)]


@pytest.mark.proves("F-033")
def test_a_provider_that_cannot_stop_has_its_late_output_discarded_and_marked() -> None:
    rig = answering()
    rig.control("barge_in")
    rig.forget()
    for index in range(5):
        rig.chunk("tts", Audio(FRAME, 320, index * 320))
    rig.chunk("llm", Text("and furthermore", role="assistant"))
    rig.advance(500)
    assert rig.of(fx.Send) == []
    marks = rig.events("late_output_dropped")
    assert [mark.late_after_cancel for mark in marks] == [True] * 6


def test_a_cough_does_not_kill_an_answer() -> None:
    rig = answering(made=True)
    rig.voice(160)
    assert rig.names("playback_paused") == ["playback_paused"]
    sent = len(rig.sent_audio())
    rig.hush(200)
    assert len(rig.sent_audio()) == sent  # silent while it is undecided
    rig.hush(200)
    assert rig.names("playback_resumed", "cancel", "abort") == ["playback_resumed"]
    rig.advance(400)
    assert len(rig.sent_audio()) > sent
    assert rig.of(fx.CancelCall) == []


def test_an_mhm_does_not_kill_an_answer_either() -> None:
    rig = answering(made=True)
    rig.voice(240)
    rig.partial("mhm")
    rig.hush(320)
    rig.give(i.EndOfTurnScored(0.9))
    rig.final("mhm")
    assert rig.names("backchannel", "cancel") == ["backchannel"]
    assert rig.names("playback_resumed") == ["playback_resumed"]


def test_what_is_remembered_of_an_interrupted_answer_is_what_was_heard() -> None:
    rig = Rig()
    rig.connect()
    rig.say("count")
    rig.answer("one two three four five six seven eight nine ten.", ms=4_000)
    rig.advance(1_000)
    rig.give(i.DeliveryReported("position", "s1/turn-1", heard_ms=1_000))
    rig.control("barge_in")
    assert remembered(rig) == [["user", "count"], ["assistant", "one two"]]


def test_after_the_commit_only_the_sound_is_cut_and_the_terminal_stays() -> None:
    rig = Rig()
    rig.connect()
    rig.say("what time is it")
    rig.answer("It is ten.", ms=180)
    rig.advance(60)
    assert rig.names("commit") == ["commit"]
    rig.control("barge_in")
    assert rig.names("playback_cancelled", "abort", "cancel") == ["playback_cancelled"]


# ---- the commit point ----------------------------------------------------------------------------------------------


class Client:
    """Plays what it was sent, in real time, and throws away what it is told to."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int]] = []  # when each will be played, and its number
        self.free_at = 0

    def sees(self, now: int, effect: fx.Effect) -> None:
        if isinstance(effect, fx.Send) and isinstance(effect.event.payload, Audio):
            at = max(now, self.free_at)
            self.free_at = at + FRAME_MS * NS_PER_MS
            self.frames.append((at, effect.event.payload.sample_index // 320))
        elif isinstance(effect, fx.StopPlayback):
            kept = now + effect.keep_ms * NS_PER_MS
            self.frames = [(at, number) for at, number in self.frames if at < kept]


def played_until_cancelled(commit_point_ms: int) -> list[int]:
    rig = Rig(voice_template(playout={"commit_point_ms": commit_point_ms}))
    rig.connect()
    rig.say("count")
    rig.tokens("one two three.")
    rig.speech(5_000, finish=False)
    rig.advance(1_000)
    rig.control("cancel", scope=CancelScope.TURN)
    rig.speech(200, finish=False)
    rig.advance(1_000)
    client = Client()
    for now, effect in rig.effects:
        client.sees(now, effect)
    return [number for _, number in client.frames]


@pytest.mark.proves("F-039")
def test_audio_up_to_the_commit_point_stands_the_rest_is_suppressed_and_the_cut_moves_with_the_point() -> (
    None
):
    at_once, later = played_until_cancelled(0), played_until_cancelled(100)
    assert at_once == list(range(len(at_once)))
    assert later == list(range(len(later)))
    assert len(later) - len(at_once) == 100 // FRAME_MS


# ---- push to talk --------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-042")
def test_a_clients_end_of_utterance_ends_the_turns_words_before_any_silence_could() -> None:
    rig = Rig()
    rig.connect()
    rig.voice(600)
    rig.partial("what time is it")
    ended = rig.now
    rig.control("end_of_utterance")
    assert [effect.call_id for effect in rig.of(fx.EndFeed)] == [rig.invocations["stt"].call_id]
    rig.final("what time is it")
    hangover = rig.graph.policies.turn_taking.silence_ms_min
    assert rig.names("end_of_utterance", "turn_open") == ["end_of_utterance", "turn_open"]
    assert rig.at("turn_open")[0] - ended // NS_PER_MS < hangover


@pytest.mark.proves("F-042")
def test_an_end_of_utterance_with_nothing_open_is_ignored_with_a_marker() -> None:
    rig = Rig()
    rig.connect()
    rig.forget()
    rig.control("end_of_utterance")
    assert [s.reason for s in rig.signals()] == ["ignored_no_open_utterance"]
    assert rig.of(fx.EndFeed) == []


# ---- speculation ---------------------------------------------------------------------------------------------------


def guessed(*, judged: bool = True) -> Rig:
    rig = Rig(judged=judged)
    rig.connect()
    rig.voice(600)
    rig.partial("what time is it")
    rig.hush(100)
    rig.give(i.EndOfTurnScored(0.9))
    assert rig.invocations["llm"].speculative
    return rig


def test_an_unconfirmed_answer_is_prepared_and_not_heard_until_it_is_confirmed() -> None:
    rig = guessed()
    rig.answer("It is ten.", ms=200)
    assert rig.sent_audio() == []
    rig.hush(300)
    rig.final("What time is it?")
    rig.advance(40)
    assert rig.names("turn_open", "turn_confirmed") == ["turn_open", "turn_confirmed"]
    assert len(rig.sent_audio()) > 0


def test_a_wrong_guess_is_taken_back_and_never_heard() -> None:
    rig = guessed()
    rig.answer("It is ten.", ms=200)
    rig.voice(200)
    assert rig.names("turn_superseded", "abort") == ["turn_superseded", "abort"]
    assert rig.sent_audio() == []
    assert remembered(rig) == []


def test_a_guess_that_nobody_confirms_is_taken_back_by_its_deadline() -> None:
    rig = guessed(judged=False)
    rig.kernel.prelude.listener.timers.clear()  # the listener has gone deaf: our own defect, which the rig would judge
    rig.kernel.desk.disarm("listen")
    rig.advance(4_000)
    assert [s.reason for s in rig.signals("turn_superseded")] == ["never_confirmed"]


def test_a_late_final_reopens_a_turn_that_was_not_heard_yet() -> None:
    rig = Rig()
    rig.connect()
    rig.voice(600)
    rig.partial("what time")
    rig.hush(900)
    rig.advance(700)
    rig.final("what time is it in Paris")
    opened = [effect.event for effect in rig.of(fx.Invoke) if effect.node_id == "llm"]
    assert [event.payload.text for event in opened if event] == ["what time", "what time is it in Paris"]  # type: ignore[union-attr]


# ---- fences --------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-175")
def test_reports_of_a_turn_are_taken_before_its_cancel_and_refused_with_evidence_after_it() -> None:
    rig = answering()
    rig.give(i.DeliveryReported("accepted", "s1/turn-1"))
    assert rig.names("output_accepted") == ["output_accepted"]
    rig.control("cancel", scope=CancelScope.TURN)
    accepted_at = rig.now
    rig.forget()
    for _ in range(20):  # producers that race the fence
        rig.give(i.DeliveryReported("accepted", "s1/turn-1"))
        rig.give(i.DeliveryReported("started", "s1/turn-1"))
        rig.chunk("tts", Audio(FRAME, 320, 0))
    assert rig.names("output_accepted", "playback_started") == []
    assert len(rig.names("output_refused")) == 40
    assert rig.of(fx.Send) == []
    rig.type("next")
    turn = rig.kernel.turns.find("s1/turn-1")
    assert turn is not None
    assert turn.cancelled is not None
    assert turn.cancelled.accepted_at == accepted_at


@pytest.mark.proves("F-175")
def test_the_fence_is_in_the_evidence_of_every_cancelled_turn_and_another_turn_is_unaffected() -> None:
    rig = Rig()
    rig.connect()
    for _ in range(5):
        rig.type("go on")
        rig.advance(10)
        rig.control("cancel", scope=CancelScope.TURN)
    stored = [effect.evidence for effect in rig.of(fx.StoreEvidence)]
    assert len(stored) == 5
    for evidence in stored:
        assert evidence.cancel_accepted_at is not None
        assert evidence.cancel_fence_at is not None
        assert evidence.cancel_fence_at >= evidence.cancel_accepted_at
    rig.type("now speak")
    rig.answer("It is ten.", ms=200)
    rig.give(i.DeliveryReported("accepted", "s1/turn-6"))
    rig.give(i.DeliveryReported("started", "s1/turn-6"))
    assert rig.names("output_accepted", "playback_started") == ["output_accepted", "playback_started"]


@pytest.mark.proves("F-041")
@pytest.mark.parametrize(("mode", "heard"), [("soft", 1), ("hard", 0)])
def test_a_soft_cancel_lets_the_chunk_in_flight_out_and_a_hard_one_nothing(mode: str, heard: int) -> None:
    rig = Rig()
    rig.connect()
    rig.say("count")
    rig.tokens("one two three.")
    rig.advance(10)
    rig.forget()
    rig.control("cancel", scope=CancelScope.NODE, target="tts", mode=CancelMode(mode), reason="user_cancel")
    cancelled_at = rig.now
    for index in range(3):
        rig.chunk("tts", Audio(FRAME, 320, index * 320))
    rig.advance(200)
    assert len(rig.sent_audio()) == heard
    (cancel,) = rig.signals("cancel")
    assert (cancel.reason, cancel.scope) == ("user_cancel", CancelScope.NODE)
    assert cancel.detail is not None
    assert (cancel.detail["mode"], cancel.detail["fence_at_ms"]) == (mode, cancelled_at // NS_PER_MS)


SOFT_VOICE = """pipeline: p
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  tts: {type: tts, version: v1, cancel: soft}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt}
  - {from: stt.final, to: llm}
  - {from: llm, to: tts}
  - {from: tts, to: speaker.audio}
providers: {stt: a, llm: b, tts: c}
"""


@pytest.mark.proves("F-041")
def test_a_nodes_own_mode_holds_unless_the_caller_asks_for_another_and_a_mode_nobody_knows_is_refused() -> (
    None
):
    graph = compile_text(SOFT_VOICE)
    assert next(node.cancel for node in graph.nodes if node.id == "tts") is CancelMode.SOFT
    rig = Rig(graph)
    rig.connect()
    rig.type("count")
    rig.tokens("one two three.")
    rig.control("cancel", scope=CancelScope.NODE, target="tts")
    assert [effect.mode for effect in rig.of(fx.CancelCall)] == [CancelMode.SOFT]
    assert [(s.detail or {}).get("mode") for s in rig.signals("cancel")] == ["soft"]
    assert load(SOFT_VOICE.replace("cancel: soft", "cancel: gently")).errors


def test_a_hard_cancel_of_the_synthesiser_also_takes_the_rest_of_a_chunk_that_had_begun_to_leave() -> None:
    rig = Rig()
    rig.connect()
    rig.say("count")
    rig.tokens("one two three.")
    rig.chunk("tts", Audio(FRAME * 100, 32_000, 0))
    rig.advance(100)
    rig.control("cancel", scope=CancelScope.NODE, target="tts")
    rig.forget()
    rig.advance(1_000)
    assert rig.sent_audio() == []


def test_a_long_chunk_of_sound_does_not_hold_back_the_captions() -> None:
    rig = Rig()
    rig.connect()
    rig.say("count")
    rig.tokens("one two three.")
    rig.chunk("tts", Audio(FRAME * 100, 32_000, 0))
    rig.tokens("four five six.")
    assert "four five six." in rig.sent_text()


def test_while_the_line_is_cut_nothing_is_sent_and_the_answer_goes_on_when_it_is_back() -> None:
    rig = answering(5, made=True)
    rig.give(i.ConnectionChanged(ConnectionState.DISCONNECTED))
    rig.forget()
    rig.advance(2_000)
    assert rig.sent_audio() == []
    rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    rig.advance(400)
    assert len(rig.sent_audio()) > 0
    assert isinstance(rig.kernel.egress.playing and rig.kernel.egress.playing.playout, Playout)
