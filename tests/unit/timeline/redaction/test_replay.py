"""A redacted recording holds nothing that was planted, and a fresh kernel still decides everything from it as before."""

from __future__ import annotations

import pytest

from rspp.cli import sim_recorder
from rspp.cli.sim_recorder import record
from rspp.contract.words import RecordingLevel
from rspp.kernel.trace import Tracer
from rspp.nodes import factories
from rspp.sim import providers, script
from rspp.sim.scenario import draw
from rspp.testing.clean import assert_clean, found_in
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.redaction.policy import RedactionPolicy, policy_of
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.replay.engine import ExactReplay

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SAID = (
    "my card is four two four two four two four two four two four two four two four two",
    "call me at five five five zero one three nine please",
    "write to mortimer dot quillfeather at zanzibar dot com today",
    "my password is swordfish and my pin is 739184",
    "it is 4111 1111 1111 1111 and it works",
    "what time do you close today",
)
ANSWERED = (
    "Thank you. I have noted four two four two, four two four two, four two four two, four two four two. Anything else?",
    "I will call five five five, zero one three nine. Goodbye.",
    "A mail goes to mortimer.quillfeather@zanzibar.com now. Is the pin 739184?",
    "Your card 4111 1111 1111 1111 is blocked.",
)
PLANTED = (
    "four two four two four two",
    "four two four two, four two",
    "five five five zero one",
    "five five five, zero one",
    "mortimer",
    "quillfeather",
    "zanzibar",
    "swordfish",
    "739184",
    "4111 1111 1111",
)


def calls(
    monkeypatch: pytest.MonkeyPatch, policy: RedactionPolicy, count: int, level: RecordingLevel
) -> list[bytes]:
    """Simulated calls with faults, in which everything that is said is planted."""
    monkeypatch.setattr(script, "QUESTIONS", SAID)
    monkeypatch.setattr(providers, "ANSWERS", ANSWERED)
    monkeypatch.setattr(sim_recorder, "Everything", lambda: SessionRedactor(policy, "t"))
    data = []
    for number in range(count):
        data += record(draw(11, number, "all"), level)[1]
    return data


def read(data: bytes) -> Recording:
    return assemble([unframe(data)])


def digest_of(recording: Recording) -> str:
    tracer = Tracer()
    for step in ExactReplay(recording, factories()):
        if step.effects:
            tracer.take(step.number, step.at, step.effects)
    return tracer.digest()


@pytest.mark.slow
@pytest.mark.parametrize("level", [RecordingLevel.L1, RecordingLevel.L2])
def test_what_was_planted_is_gone_and_every_decision_is_the_same(
    monkeypatch: pytest.MonkeyPatch, level: RecordingLevel
) -> None:
    masked = exact = 0
    for data in calls(monkeypatch, RedactionPolicy(), 6, level):
        assert_clean(data, PLANTED)
        recording = read(data)
        masked += len(recording.masked)
        if recording.end is not None and recording.end.digest is not None:
            exact += 1
            assert digest_of(recording) == recording.end.digest
            assert recording.end.words is None or not recording.masked
    assert masked > 20
    assert exact > 3


def test_hashed_texts_leave_no_word_and_every_decision_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of("{name: hashed, everybody: {text_raw: {L1: hash}}}")
    for data in calls(monkeypatch, policy, 3, RecordingLevel.L1):
        assert_clean(data, [*PLANTED, "what time do you close", "Thank you", "blocked."])
        recording = read(data)
        if recording.end is not None and recording.end.digest is not None:
            assert digest_of(recording) == recording.end.digest
            assert recording.end.words is None


def test_with_the_rules_off_the_search_does_find_what_was_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of("{name: open, everybody: {text_raw: {L1: mask}, kinds: []}}")
    found = set()
    for data in calls(monkeypatch, policy, 3, RecordingLevel.L1):
        found |= {value for value, _ in found_in(data, PLANTED)}
    assert "swordfish" in found
    assert len(found) > 3


def test_at_the_lowest_level_there_is_no_word_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in calls(monkeypatch, RedactionPolicy(), 2, RecordingLevel.L0):
        assert_clean(data, [*PLANTED, "close today", "Thank you"])
        assert read(data).inputs == {}
