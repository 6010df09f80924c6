"""`audio_input_ingress_at` is the first voiced frame of the words that a turn answers, and of no others."""

from __future__ import annotations

from rspp.host.host import HostSettings
from rspp.kernel import inputs as i
from rspp.kernel.flags import Flag
from tests.unit.timeline.gates.load import Listener, Load, first_at, judged, load, read, violations, voices

ONSET_MS = 80


def ingress(data: bytes) -> list[int | None]:
    return [one.audio_input_ingress_at for one in read(data).evidence.values()]


async def spoken_then_keyed(made: Load) -> None:
    caller = made.call()
    await caller.ask()
    closed = len(caller.signals("close"))
    for digit in "42#":
        caller.control("digit", value=digit)
    while len(caller.signals("close")) == closed:
        await caller.frames(100)
    await caller.frames(400)


def test_it_is_the_first_frame_with_a_voice_in_it_and_not_when_that_was_believed() -> None:
    (data,) = load(one_question)
    assert ingress(data) == voices(data)
    started = [item.at for item in read(data).items if item.name == "speech_started"]
    assert started == [at + ONSET_MS * 1_000_000 for at in voices(data)]


async def one_question(made: Load) -> None:
    await made.call().ask()


def test_digits_have_none_whatever_was_said_before_them() -> None:
    (data,) = load(spoken_then_keyed)
    first, second = ingress(data)
    assert first is not None
    assert second is None
    assert violations([data], 7) == []
    assert next(one for one in judged([data]).gates if one.number == 7).samples == 1


def test_a_session_under_the_flags_of_before_keeps_what_it_had() -> None:
    flags = tuple(int(flag) for flag in Flag if flag is not Flag.INGRESS_OF_UTTERANCE)
    (data,) = load(spoken_then_keyed, settings=HostSettings(flags=flags))
    first, second = ingress(data)
    assert first == second == voices(data)[0] + ONSET_MS * 1_000_000


async def rotated_before_it_was_heard(made: Load) -> None:
    caller = made.call()
    assert isinstance(caller, Listener)
    assert caller.seat is not None
    await caller.speak(300)
    while not caller.signals("turn_confirmed"):
        await caller.frames(20)
    caller.give(i.LeaseChanged("rotated", caller.seat.epoch + 1, "token-2", 1 << 62))
    while not caller.signals("commit"):
        await caller.frames(20)


def test_words_that_are_answered_again_after_a_rotation_keep_theirs() -> None:
    (data,) = load(rotated_before_it_was_heard)
    assert len(first_at(data, "turn_open")) == 2
    assert set(ingress(data)) == set(voices(data))
