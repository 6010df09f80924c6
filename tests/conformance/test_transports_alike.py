"""The same recording to the same pipeline, over the loopback and over a socket: one conversation, told alike.

Numbers that time and chance have a part in (how many frames of silence there were, who was named what) are left out;
everything else is compared.
"""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.adapters.transports.loopback import ask
from rspp.contract.errors import RsppError
from rspp.contract.event import Audio, Event, Signal, Text
from rspp.contract.evidence import missing_fields
from rspp.contract.words import ConnectionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.media.wav import WavError, read_wav
from tests.conformance.captures import Capture, over_a_socket, over_the_loopback, question

# A real socket on a busy machine, against virtual time.
LATE_MS_MAX = 500
NS_PER_MS = 1_000_000


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return question(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def looped(wav: Path) -> Capture:
    return over_the_loopback(wav)


@pytest.fixture(scope="module")
def socketed(wav: Path) -> Capture:
    return over_a_socket(wav)


# ---- what is compared -----------------------------------------------------------------------------------------------


def frames(capture: Capture) -> list[tuple[Any, ...]]:
    """Each frame that came in, but for its epoch, which a caller may leave out."""
    return [
        (one.transport_sequence, *msgspec.structs.astuple(one.audio))
        for one in capture.of(i.AudioReceived)
        if isinstance(one, i.AudioReceived)
    ]


def scope_of(event: Event) -> dict[str, object]:
    """Who an event is of, with the names that are drawn by lot made alike."""
    scope = event.scope
    told = msgspec.structs.asdict(scope)
    named = {"session_id": "s", "turn_id": (scope.turn_id or "").removeprefix(scope.session_id)}
    return told | named | {"lease_token": scope.lease_token is not None}


def shape(event: Event) -> tuple[object, ...]:
    """All of an event but its number, its time, and how long something took."""
    payload: object = event.payload
    if isinstance(payload, Signal):
        payload = (payload.signal, payload.emitted_by, payload.reason, sorted(payload.detail or {}))
    return (event.kind, event.node_id, event.payload_class, scope_of(event), payload)


def streams(capture: Capture) -> dict[tuple[str, str | None], list[tuple[object, ...]]]:
    """What the session said, by what it is and whose it is. Within one of these the order is fixed."""
    told: dict[tuple[str, str | None], list[tuple[object, ...]]] = {}
    for event in capture.events:
        told.setdefault((type(event.payload).__name__, event.node_id), []).append(shape(event))
    return told


def times_ms(capture: Capture) -> dict[str, float]:
    """When each signal, the first partial, and each piece of audio went out; from the first frame on."""
    began = next(at for at, one in capture.inputs if isinstance(one, i.AudioReceived))
    told: dict[str, float] = {}
    for at, effect in capture.effects:
        if isinstance(effect, fx.Announce | fx.Send):
            payload, node = effect.event.payload, effect.event.node_id
            name = payload.signal if isinstance(payload, Signal) else type(payload).__name__
            told.setdefault(f"{name} of {node}", (at - began) / NS_PER_MS)
    return told


def asked(capture: Capture) -> list[tuple[object, ...]]:
    """Which provider was asked what, in order."""
    return [
        (one.node_id, one.modality, one.provider, one.attempt, one.epoch, one.config, said_in(one.event))
        for _, one in capture.effects
        if isinstance(one, fx.Invoke)
    ]


def said_in(event: Event | None) -> object:
    return event.payload if event is not None and isinstance(event.payload, Text) else None


def reported(capture: Capture) -> list[str]:
    """What became of the answer at the caller; how often its place is told is a caller's own affair."""
    found = [one for one in capture.of(i.DeliveryReported) if isinstance(one, i.DeliveryReported)]
    return [one.what for one in found if one.what != "position"]


def proof(capture: Capture) -> list[tuple[object, ...]]:
    """The evidence of each turn, without its times and names."""
    (record_id,) = capture.stamps
    evidence = capture._kept[record_id]
    plain = ("terminal_outcome", "pipeline_version", "execution_profile_version", "envelope_snapshot")
    told = [(name, getattr(evidence, name)) for name in plain]
    told.append(("missing", missing_fields(evidence, capture.stamps[record_id])))
    told.append(("tags", evidence.payload_tags))
    return [*told, ("decisions", [one.outcome_kind for one in evidence.decision_outcomes])]


# ---- the comparison -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_frames_come_in_with_the_same_numbers_and_places(looped: Capture, socketed: Capture) -> None:
    ours, theirs = frames(looped), frames(socketed)
    common = min(len(ours), len(theirs))
    assert common > 80
    assert ours[:common] == theirs[:common]


@pytest.mark.slow
def test_a_session_learns_of_its_caller_in_the_same_order(looped: Capture, socketed: Capture) -> None:
    for capture in (looped, socketed):
        states = [
            one.state for one in capture.of(i.ConnectionChanged) if isinstance(one, i.ConnectionChanged)
        ]
        assert states == [ConnectionState.CONNECTED, ConnectionState.ENDED]
        assert isinstance(capture.inputs[0][1], i.ConnectionChanged)
    assert reported(looped) == reported(socketed) == ["accepted", "started", "completed"]


@pytest.mark.slow
def test_the_session_says_the_same_in_the_same_order(looped: Capture, socketed: Capture) -> None:
    ours, theirs = streams(looped), streams(socketed)
    assert ours.keys() == theirs.keys()
    for stream, told in ours.items():
        assert told == theirs[stream], stream
    audio = [event.payload for event in socketed.events if isinstance(event.payload, Audio)]
    assert audio[-1].end
    assert all(one.sample_index + one.samples == after.sample_index for one, after in pairwise(audio))


@pytest.mark.slow
def test_the_same_happens_at_the_same_times(looped: Capture, socketed: Capture) -> None:
    ours, theirs = times_ms(looped), times_ms(socketed)
    assert ours.keys() == theirs.keys()
    off = {name: theirs[name] - at for name, at in ours.items() if abs(theirs[name] - at) > LATE_MS_MAX}
    assert off == {}
    for capture in (looped, socketed):
        signals = [event for event in capture.events if isinstance(event.payload, Signal)]
        assert [event.sequence for event in signals] == sorted(event.sequence for event in signals)
        assert [event.at for event in signals] == sorted(event.at for event in signals)


@pytest.mark.slow
def test_the_same_was_asked_and_the_same_is_proven(looped: Capture, socketed: Capture) -> None:
    assert asked(looped) == asked(socketed)
    assert {modality for _, modality, *_ in asked(looped)} == {"vad", "end_of_turn", "stt", "llm", "tts"}
    assert proof(looped) == proof(socketed)


# ---- without a network ----------------------------------------------------------------------------------------------


@pytest.fixture
def network_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs a network finds none."""

    def off(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    for name in ("bind", "connect", "connect_ex", "listen", "sendto"):
        monkeypatch.setattr(socket.socket, name, off)
    monkeypatch.setattr(socket, "getaddrinfo", off)


UNREADABLE = {
    "no header": b"this is a text about a sound",
    "nothing at all": b"",
    "another format": b"ID3\x04\x00\x00" + bytes(100),
    "cut off in its header": b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00",
    "without samples": b"RIFF\x24\x00\x00\x00WAVE",
    "a codec that cannot be read": b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x55\x00\x01\x00"
    + bytes(28),
}


def test_no_socket_can_be_served_when_the_network_is_off(network_off: None, wav: Path) -> None:
    with pytest.raises((RsppError, OSError), match="Network is unreachable"):
        over_a_socket(wav)


@pytest.mark.slow
@pytest.mark.proves("F-130")
def test_with_the_network_off_a_call_is_answered_as_over_a_socket_and_a_bad_file_is_named(
    socketed: Capture, wav: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("network_off")
    capture = over_the_loopback(wav)
    heard = b"".join(event.payload.data for event in capture.events if isinstance(event.payload, Audio))
    assert len(heard) > 32 * 500
    assert max(heard) > 0
    assert streams(capture) == streams(socketed)
    assert reported(capture)[-1] == "completed"
    for number, (why, data) in enumerate(UNREADABLE.items()):
        path = tmp_path / f"question-{number}.wav"
        path.write_bytes(data)
        with pytest.raises(WavError, match=path.name) as error:
            ask(path.name, read_wav(path))
        assert error.value.code == "wav_unreadable", why
    for path in (tmp_path / "absent.wav", tmp_path):
        with pytest.raises(WavError, match=path.name):
            read_wav(path)
