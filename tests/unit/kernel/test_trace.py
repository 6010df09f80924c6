"""A trace tells what a kernel did and not what was said: equal runs have equal sums, other runs have others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from rspp.contract.event import Audio, Event, Sample, Text
from rspp.contract.words import PayloadClass
from rspp.kernel import effects as fx
from rspp.kernel import trace
from rspp.kernel.shapes import shape
from rspp.kernel.trace import Tracer
from rspp.testing.rig import Rig

Steps = list[tuple[int, int, list[fx.Effect]]]


def run(text: str = "Tell me 42 things", frames: int = 40) -> Steps:
    """What a kernel does about some frames and a typed question: step, time, effects."""
    rig = Rig()
    rig.connect()
    for _ in range(frames):
        rig.frame(0.02)
    rig.type(text)
    steps: dict[int, list[fx.Effect]] = {}
    for at, effect in rig.effects:
        steps.setdefault(at, []).append(effect)
    return [(step, at, effects) for step, (at, effects) in enumerate(steps.items(), 1)]


def traced(steps: Steps) -> Tracer:
    tracer = Tracer()
    for step, at, effects in steps:
        tracer.take(step, at, effects)
    return tracer


def feeds(steps: Steps) -> int:
    return sum(isinstance(effect, fx.Feed) for _, _, effects in steps for effect in effects)


def test_when_it_is_looked_at_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = run()
    assert feeds(steps) > 60, "there is something to fold"
    once = traced(steps)
    often = Tracer()
    for step, at, effects in steps:
        often.take(step, at, effects)
        often.digest()
        often.cut()
    monkeypatch.setattr(trace, "PLACES_MAX", 7)
    assert once.digest() == often.digest() == traced(steps).digest()
    assert once.words() == often.words()
    assert once.effects == often.effects == sum(len(effects) for _, _, effects in steps)


def test_words_of_the_same_shape_leave_the_same_trace_and_other_words() -> None:
    one, other, longer = (traced(run(text)) for text in ("Call 55 now", "Dial 12 now", "Call 555 now"))
    assert one.digest() == other.digest()
    assert one.words() != other.words()
    assert longer.digest() != one.digest()
    assert not any("Call" in str(made) for made in one.items)


@pytest.mark.parametrize("change", ["call", "place", "lost", "twice", "swapped"])
def test_any_frame_that_goes_elsewhere_is_another_trace(change: str) -> None:
    steps = run()
    index, (step, at, effects) = next(
        (n, one)
        for n, one in enumerate(steps)
        if len(one[2]) >= 2 and all(isinstance(e, fx.Feed) for e in one[2])
    )
    feed = effects[0]
    assert isinstance(feed, fx.Feed)
    payload = feed.event.payload
    assert isinstance(payload, Audio)
    moved = replace(feed.event, payload=replace(payload, sample_index=payload.sample_index + 1))
    changed: dict[str, list[fx.Effect]] = {
        "call": [replace(feed, call_id="another"), *effects[1:]],
        "place": [replace(feed, event=moved), *effects[1:]],
        "lost": effects[1:],
        "twice": [feed, *effects],
        "swapped": [effects[1], feed, *effects[2:]],
    }
    altered = [*steps[:index], (step, at, changed[change]), *steps[index + 1 :]]
    assert traced(altered).digest() != traced(steps).digest()


def frame(event: Event, number: int, turn: str = "t1") -> fx.Send:
    audio = Audio(bytes(640), 320, number * 320)
    return fx.Send(replace(event, payload=audio, scope=replace(event.scope, turn_id=turn)))


def some_event() -> Event:
    return next(e.event for _, _, effects in run() for e in effects if isinstance(e, fx.Announce))


def test_frames_that_are_sent_are_one_run_until_a_hole_or_another_turn() -> None:
    event, tracer = some_event(), Tracer()
    for at, send in enumerate([frame(event, 0), frame(event, 1), frame(event, 3), frame(event, 4, "t2")]):
        tracer.take(at, at, [send])
    assert [(one.turn, one.sample_index, one.frames, one.last_at) for one in tracer.runs] == [
        ("t1", 0, 2, 1),
        ("t1", 960, 1, 2),
        ("t2", 1280, 1, 3),
    ]
    tracer.cut()
    tracer.take(9, 9, [frame(event, 5, "t2")])
    assert [one.sample_index for one in tracer.runs] == [1600], "a run that is taken away begins anew"


def test_when_a_frame_was_sent_counts() -> None:
    event = some_event()
    sums = set()
    for at in (5, 6):
        tracer = Tracer()
        tracer.take(1, at, [frame(event, 0)])
        sums.add(tracer.digest())
    assert len(sums) == 2


@pytest.mark.parametrize("place", [2**62, 2**64, 2**200])
def test_a_peer_may_say_that_its_audio_is_anywhere(place: int) -> None:
    event = some_event()
    audio = Audio(bytes(2), 1, place)
    tracer = Tracer()
    tracer.take(
        1, 1, [fx.Feed("call", replace(event, payload=audio)), fx.Send(replace(event, payload=audio))]
    )
    assert len(tracer.digest()) == 64


def test_a_shape_keeps_spaces_and_lengths_and_no_letter_or_digit() -> None:
    assert shape("Ring 0171 2, Éva!") == "Xxxx 0000 0, Xxx!"
    assert shape("٣ß") == "0x"
    assert shape("") == ""


def test_a_text_that_is_sent_is_told_by_its_shape_alone() -> None:
    event, tracer = some_event(), Tracer()
    tracer.take(1, 1, [fx.Send(replace(event, payload=Text("My secret is 1234", 1, 1, role="assistant")))])
    (made,) = tracer.items
    assert made.facts["chars"] == 17
    assert "secret" not in str(made)
    assert "1234" not in str(made)


def sent(**changes: object) -> str:
    """The digest over frames of which the second is another one."""
    tracer, event = Tracer(), some_event()
    for number in range(3):
        send = frame(event, number)
        if number == 1:
            send = fx.Send(replace(send.event, **changes))
        tracer.take(number, number, [send])
    return tracer.digest()


@pytest.mark.parametrize("field", ["epoch", "samples", "generation", "sequence"])
def test_a_frame_that_is_sent_in_another_way_is_another_trace(field: str) -> None:
    event = some_event()
    audio, scope = Audio(bytes(640), 320, 320), replace(event.scope, turn_id="t1")
    changes: dict[str, dict[str, object]] = {
        "epoch": {"scope": replace(scope, epoch=scope.epoch + 1), "payload": audio},
        "samples": {"payload": replace(audio, samples=321)},
        "generation": {"generation": event.generation + 1},
        "sequence": {"sequence": event.sequence + 1},
    }
    assert sent(**changes[field]) != sent()


def test_a_frame_that_is_fed_later_is_another_trace() -> None:
    steps = run()
    digest = traced(steps).digest()
    index = next(n for n, one in enumerate(steps) if any(isinstance(e, fx.Feed) for e in one[2]))
    step, at, effects = steps[index]
    assert traced([*steps[:index], (step, at + 1, effects), *steps[index + 1 :]]).digest() != digest


def test_frames_of_another_epoch_are_a_run_of_their_own() -> None:
    event, tracer = some_event(), Tracer()
    one, other = frame(event, 0), frame(event, 1)
    stale = replace(other.event, scope=replace(other.event.scope, epoch=other.event.scope.epoch + 1))
    for at, send in enumerate([one, fx.Send(stale)]):
        tracer.take(at, at, [send])
    assert len({one.epoch for one in tracer.runs}) == len(tracer.runs) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"payload_class": PayloadClass.PHI},
        {"parent": 7},
        {"invocation_id": "pvi/x"},
        {"at": 99},
        {"generation": 9},
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_an_event_has_beside_its_content_counts(change: dict[str, object]) -> None:
    event = some_event()
    digests = set()
    for one in (event, replace(event, **change)):
        tracer = Tracer()
        tracer.take(1, 1, [fx.Announce(one)])
        digests.add(tracer.digest())
    assert len(digests) == 2


def test_another_word_of_the_same_shape_in_a_remembered_conversation_is_other_words() -> None:
    invoke = next(e for _, _, effects in run() for e in effects if isinstance(e, fx.Invoke))
    traces = []
    for text in ("call me", "tell us"):
        tracer = Tracer()
        tracer.take(1, 1, [replace(invoke, history=(fx.Message("user", text),))])
        traces.append(tracer)
    one, other = traces
    assert one.digest() == other.digest()
    assert one.words() != other.words()


def test_a_saved_number_or_some_bytes_count_by_their_size_alone() -> None:
    def digest(value: object) -> str:
        tracer = Tracer()
        tracer.take(1, 1, [fx.SaveState("k", value, 1, 1)])
        return tracer.digest()

    assert digest({"a": 4111111111111111}) == digest({"a": 9999999999999999})
    assert digest({"a": b"abc"}) == digest({"a": b"xyz"})
    assert digest({"a": 7}) != digest({"a": 8})
    assert digest({"a": 4111111111111111}) != digest({"a": 41111111111111110})


def test_a_name_that_is_none_is_told_by_its_shape() -> None:
    event = some_event()
    sample = Sample("jane.doe@example.com", 1.0, "ms")
    made = trace.item(1, 1, fx.Observe(replace(event, payload=sample)))
    assert made.facts["name"] == "xxxx.xxx@xxxxxxx.xxx"
    assert made.facts["unit"] == "ms"


def test_an_event_of_another_tenant_counts_and_a_recording_of_another_tenant_does_not() -> None:
    event = some_event()
    other = replace(event, scope=replace(event.scope, tenant_id="another"))

    def digest(*events: Event) -> str:
        tracer = Tracer()
        tracer.take(1, 1, [fx.Announce(one) for one in events])
        return tracer.digest()

    assert digest(event, event) == digest(other, other)
    assert digest(event, other) != digest(event, event)
