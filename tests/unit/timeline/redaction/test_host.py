"""A host's call is recorded redacted, and replays: what nodes made of words that are not there is played back."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import (
    AudioReceived,
    CallProduced,
    ControlReceived,
    MalformedReceived,
    TextReceived,
    UnknownReceived,
)
from rspp.kernel.trace import Tracer
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition
from rspp.testing.clean import assert_clean, found_in
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.packing import sound_of
from rspp.timeline.ports import Everything, Redactor
from rspp.timeline.recording import Recording
from rspp.timeline.redaction.policy import RedactionPolicy, policy_of
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.replay.engine import ExactReplay
from rspp.timeline.session import SessionRecorder
from tests.unit.host.stage import Stage, graph_of, on_stage

SPEC = """
pipeline: filtered
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  cut: {type: segmenter, version: v1}
  filter: {type: text_filter, version: v1, config: {personal: [card, email, phone], remove: [um]}}
  tts: {type: tts, version: v1}
  keys: {type: dtmf_collector, version: v1, config: {digits_max: 16}}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: vad.audio}
  - {from: caller.audio, to: stt.audio}
  - {from: caller.control, to: keys.control}
  - {from: keys.text, to: speaker.text}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: cut.text}
  - {from: cut.text, to: filter.text}
  - {from: filter.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
providers:
  vad: [scripted-vad]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
provider_settings:
  scripted-stt: {texts: ["%s"]}
"""
CARD = "4111 1111 1111 1111"
SECRET = "my card is 4111 1111 1111 1111 um and mail is jane.doe@example.com ok"
PLANTED = (CARD, "4111 1111", "jane.doe", "55501394", "swordfish", "jane.typed@example.com")


def pipeline(said: str, level: RecordingLevel = RecordingLevel.L1) -> GraphDefinition:
    graph = graph_of("", SPEC % said)
    policy = msgspec.structs.replace(graph.recording_policy, level=level)
    return msgspec.structs.replace(graph, recording_policy=policy)


def recorded(
    redactor: Redactor, said: str = SECRET, level: RecordingLevel = RecordingLevel.L1
) -> MemoryAppend:
    append = MemoryAppend()

    async def scene(stage: Stage) -> None:
        caller = stage.call(session_id="s1")
        await caller.speak(1_600)
        await caller.until("commit")
        caller.give(
            TextReceived("my password is swordfish, ok", 5_000, idempotency_key="jane.typed@example.com")
        )
        await caller.frames(1_500)
        for digit in "55501394#":
            caller.control("digit", value=digit)
            await caller.frames(100)
        caller.control("digit", value="no digit, jane.typed@example.com")
        mail = "jane.typed@example.com"
        caller.give(UnknownReceived(f"vendor.{mail}", 6_000, extensions={"vendor.who": mail}))
        caller.give(UnknownReceived(f"core {mail}", 6_001, core=True))
        caller.give(MalformedReceived("malformed", f"payload.{mail}", f"no field {mail}"))
        await caller.frames(2_500)
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id)

    on_stage(
        scene, pipeline(said, level), recorders=lambda _: SessionRecorder(append, redactor, wall_ms=lambda: 0)
    )
    return append


def digest_of(recording: Recording) -> str:
    tracer = Tracer()
    for step in ExactReplay(recording, factories()):
        if step.effects:
            tracer.take(step.number, step.at, step.effects)
    return tracer.digest()


def check(append: MemoryAppend) -> Recording:
    recording = append.recording()
    assert recording.whole
    assert recording.end is not None
    assert recording.end.digest is not None
    assert digest_of(recording) == recording.end.digest
    return recording


def test_a_filtered_call_is_recorded_without_what_was_planted_and_replays_to_the_same_digest() -> None:
    append = recorded(SessionRedactor(RedactionPolicy(), "t1"))
    recording = check(append)
    assert_clean(bytes(append.data), PLANTED)
    assert {"filter", "cut", "keys"} <= set(recording.nodes)
    readable = b" ".join(
        getattr(getattr(received, "payload", None), "text", "").encode()
        for _, received in recording.inputs.values()
    )
    assert b"my card is" in readable
    assert recording.end is not None
    assert recording.end.words is None


def test_the_same_call_unredacted_has_all_of_it_and_the_same_decisions() -> None:
    """So the search does find, and redaction changes payloads and nothing else."""
    plain = recorded(Everything())
    assert {value for value, _ in found_in(bytes(plain.data), PLANTED)} >= {CARD, "jane.doe", "swordfish"}
    redacted = check(recorded(SessionRedactor(RedactionPolicy(), "t1")))
    original = check(plain)
    assert redacted.end is not None
    assert original.end is not None
    assert redacted.end.digest == original.end.digest
    assert [(at, type(one)) for at, one in redacted.input_list()] == [
        (at, type(one)) for at, one in original.input_list()
    ]


def test_a_harmless_call_needs_no_played_back_steps() -> None:
    append = MemoryAppend()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id)

    redactor = SessionRedactor(RedactionPolicy(), "t1")
    on_stage(
        scene,
        pipeline("what a nice day it is."),
        recorders=lambda _: SessionRecorder(append, redactor, wall_ms=lambda: 0),
    )
    recording = check(append)
    assert recording.nodes == {}
    assert not recording.withheld_texts
    assert recording.end is not None
    assert recording.end.words is not None


def test_hashed_texts_replay_to_the_same_digest() -> None:
    append = recorded(SessionRedactor(policy_of("{name: h, everybody: {text_raw: {L1: hash}}}"), "t1"))
    check(append)
    assert_clean(bytes(append.data), [*PLANTED, "my password", "no digit"])


def test_at_the_highest_level_sound_is_kept_but_for_what_is_masked() -> None:
    append = recorded(SessionRedactor(RedactionPolicy(), "t1"), level=RecordingLevel.L2)
    recording = check(append)
    assert_clean(bytes(append.data), PLANTED)
    assert recording.masked_sound
    assert len(recording.without_sound) == 0


def test_keys_are_withheld_and_a_choice_is_not() -> None:
    append = MemoryAppend()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(200)
        caller.control("digit", value="2")
        await caller.frames(8_000)
        for digit in "7391":
            caller.control("digit", value=digit)
            await caller.frames(100)
        await caller.frames(3_000)
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id)

    redactor = SessionRedactor(RedactionPolicy(), "t1")
    on_stage(scene, pipeline("hi"), recorders=lambda _: SessionRecorder(append, redactor, wall_ms=lambda: 0))
    recording = check(append)
    keys = [one.value for _, one in recording.input_list() if isinstance(one, ControlReceived)]
    assert keys[0] == "2"
    assert "".join(str(key) for key in keys[1:]) != "7391"
    heard = [getattr(getattr(one, "payload", None), "text", "") for _, one in recording.input_list()]
    assert "7391" not in "".join(heard)  # the assistant repeats it
    assert len(recording.masked) >= 4


@pytest.mark.proves("F-073")
def test_planted_data_is_gone_its_sound_is_silent_and_the_sequence_is_that_of_an_unredacted_run() -> None:
    plain = recorded(Everything(), level=RecordingLevel.L2)
    append = recorded(SessionRedactor(RedactionPolicy(), "t1"), level=RecordingLevel.L2)
    assert {value for value, _ in found_in(bytes(plain.data), PLANTED)} >= {CARD, "jane.doe", "swordfish"}
    assert_clean(bytes(append.data), PLANTED)
    original, redacted = check(plain), check(append)
    # The card came in pieces: some partials end in the middle of it.
    partials = [
        text for _, one in original.input_list() if (text := text_of(one)) and text.startswith("my card")
    ]
    assert any(text.endswith(("4111 1111", "4111")) for text in partials)
    # What was said is readable but for what was planted.
    assert any(
        (text_of(one) or "").startswith("my card is ") and "and mail is" in (text_of(one) or "")
        for _, one in redacted.input_list()
    )
    assert silent_while_spoken(original, redacted)
    # The same inputs at the same times, the same effects, the same digest.
    shape_of = [(at, type(one), len(sound_of(one) or b"")) for at, one in original.input_list()]
    assert [(at, type(one), len(sound_of(one) or b"")) for at, one in redacted.input_list()] == shape_of
    assert [item[:7] for item in map(msgspec.structs.astuple, redacted.items)] == [
        item[:7] for item in map(msgspec.structs.astuple, original.items)
    ]
    assert redacted.end is not None
    assert original.end is not None
    assert redacted.end.digest == original.end.digest


def text_of(received: object) -> str | None:
    payload = getattr(received, "payload", None)
    return payload.text if isinstance(payload, Text) else None


def silent_while_spoken(original: Recording, redacted: Recording) -> bool:
    """The caller's voice is loud in one recording and silent in the other, as is the assistant's echo of the number."""
    loud = [
        step
        for step, (_, one) in original.inputs.items()
        if any(sound_of(one) or b"") and isinstance(one, AudioReceived)
    ]
    spoken = [
        step
        for step, (_, one) in original.inputs.items()
        if isinstance(one, CallProduced) and any(sound_of(one) or b"")
    ]
    heard = [step for step in (*loud, *spoken) if any(sound_of(redacted.inputs[step][1]) or b"")]
    silenced = [step for step in spoken if step not in heard]
    return len(loud) > 50 and not any(step in heard for step in loud) and len(silenced) > 0
