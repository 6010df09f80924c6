"""INV-11 and INV-13: nothing enters unchecked; each refusal says why, and what passes is in order and numbered."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.event import NS_PER_MS, Audio, Signal
from rspp.contract.words import Codec, ConnectionState
from rspp.kernel.authority import Authority
from rspp.kernel.desk import Desk
from rspp.kernel.effects import Announce
from rspp.kernel.gateway import RESTART_WINDOW, Gateway, check_audio
from rspp.kernel.inputs import (
    AudioReceived,
    ConnectionChanged,
    ControlReceived,
    MalformedReceived,
    TextReceived,
    UnknownReceived,
)
from rspp.spec import voice_template
from rspp.testing.rig import FRAME, Rig, open_request


class Door:
    """A gateway by itself."""

    def __init__(self, **policies: Any) -> None:
        self.desk = Desk(open_request(), voice_template(**policies))
        self.gateway = Gateway(self.desk, Authority(7, "lease-7", 10**18))

    def frame(self, sequence: int, epoch: int | None = None) -> list[int | None]:
        """Knock with one frame; returns the transport sequences of what was let in."""
        received = AudioReceived(Audio(FRAME, 320, max(0, sequence) * 320), sequence, epoch)
        event, admitted = self.gateway.audio(received), []
        while event is not None:
            admitted.append(event.transport_sequence)
            event = self.gateway.next_held()
        return admitted

    def said(self) -> list[Signal]:
        out = [e.event.payload for e in self.desk.outbox.drain() if isinstance(e, Announce)]
        return [signal for signal in out if isinstance(signal, Signal)]

    def codes(self) -> list[object]:
        return [
            (signal.detail or {}).get("code") for signal in self.said() if signal.signal == "abi_rejected"
        ]


# ---- audio ---------------------------------------------------------------------------------------------------------


def test_frames_in_order_pass_and_each_gets_the_next_runtime_sequence() -> None:
    door = Door()
    events = [door.gateway.audio(AudioReceived(Audio(FRAME, 320, n * 320), n)) for n in range(5)]
    assert [event.sequence for event in events if event] == [1, 2, 3, 4, 5]


def test_a_stream_counts_from_wherever_it_likes() -> None:
    door = Door()
    assert [door.frame(n) for n in (900, 901)] == [[900], [901]]


def test_swapped_frames_are_put_in_order_without_a_mark() -> None:
    door = Door()
    assert [door.frame(n) for n in (0, 2, 3, 1, 4)] == [[0], [], [], [1, 2, 3], [4]]
    assert door.said() == []


def test_a_gap_that_stays_is_marked_once_and_the_stream_goes_on() -> None:
    door = Door()
    door.frame(0)
    admitted = [number for n in (2, 3, 4, 5) for number in door.frame(n)]
    assert admitted == [2, 3, 4, 5]
    (cut,) = door.said()
    assert (cut.signal, cut.reason) == ("discontinuity", "ingress_gap")
    assert cut.detail is not None
    assert cut.detail["missing"] == 1


def test_late_and_repeated_frames_are_dropped_and_counted() -> None:
    door = Door()
    for n in (0, 1, 2):
        door.frame(n)
    assert [door.frame(n) for n in (1, 2, 4, 4)] == [[], [], [], []]
    assert door.gateway.duplicates == 3


def test_a_count_that_starts_anew_is_a_cut_and_not_a_flood_of_duplicates() -> None:
    door = Door()
    for n in (70_000, 70_001, 70_003):
        door.frame(n)
    assert [door.frame(n) for n in (0, 1, 2)] == [[0], [1], [2]]
    (cut,) = door.said()
    assert (cut.signal, cut.reason, cut.detail) == ("discontinuity", "stream_restarted", {"lost": 1})
    assert door.gateway.duplicates == 0


def test_a_run_of_repeated_frames_is_told_once_and_counted_whole() -> None:
    door = Door()
    first = RESTART_WINDOW
    for n in (first - 1, *range(first - RESTART_WINDOW, first)):
        door.frame(n)
        door.desk.now += 20 * NS_PER_MS
    assert [signal.reason for signal in door.said()] == ["audio_sequence_seen"]
    assert door.gateway.duplicates == RESTART_WINDOW
    door.desk.now += 1_000 * NS_PER_MS
    door.frame(first - 1)
    assert [signal.reason for signal in door.said()] == ["audio_sequence_seen"]


def test_frames_from_a_far_future_hold_nothing_up_and_no_more_than_a_few_are_kept() -> None:
    door = Door()
    door.frame(0)
    for n in (10**9, 10**9 + 5):
        assert door.frame(n) == []
    assert [door.frame(n) for n in (1, 2, 3)] == [[1], [2], [3]]


def test_a_new_connection_starts_its_own_count() -> None:
    door = Door()
    for n in (5, 6, 9):
        door.frame(n)
    door.gateway.restart_stream()
    assert [door.frame(n) for n in (0, 1)] == [[0], [1]]


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (Audio(FRAME, 320, 0, rate=11_025), "audio_rate_unsupported"),
        (Audio(FRAME, 320, 0, rate=0), "audio_rate_unsupported"),
        (Audio(FRAME, 320, 0, channels=0), "audio_channels_unsupported"),
        (Audio(FRAME, 320, 0, channels=3), "audio_channels_unsupported"),
        (Audio(FRAME, 320, -1), "media_time_missing"),
        (Audio(b"", 0, 0), "audio_empty"),
        (Audio(bytes(65_538), 32_769, 0), "payload_too_large"),
        (Audio(FRAME, 640, 0), "audio_size_mismatch"),
        (Audio(bytes(65_537), 32_768, 0, codec=Codec.OPUS), "payload_too_large"),
        (Audio(FRAME, 320, 0, codec="mp3"), "audio_codec_unsupported"),  # type: ignore[arg-type]
    ],
)
def test_malformed_audio_is_refused_with_its_code_and_the_stream_goes_on(audio: Audio, code: str) -> None:
    door = Door()
    assert door.gateway.audio(AudioReceived(audio, 0)) is None
    assert door.codes() == [code]
    assert door.frame(0) == [0]


def test_other_codecs_rates_and_an_empty_end_pass() -> None:
    assert check_audio(Audio(b"\1" * 80, 160, 0, rate=8_000, codec=Codec.MULAW), 1_000) is None
    assert check_audio(Audio(b"", 0, 0, end=True), 1_000) is None


@pytest.mark.parametrize(("epoch", "which"), [(6, "stale"), (8, "unissued")])
def test_a_frame_under_another_epoch_never_enters(epoch: int, which: str) -> None:
    door = Door()
    assert door.frame(0, epoch=epoch) == []
    (refusal,) = door.said()
    assert refusal.signal == "stale_epoch_reject"
    assert refusal.detail is not None
    assert (refusal.detail["which"], refusal.detail["carried"], refusal.detail["issued"]) == (which, epoch, 7)
    assert door.frame(0, epoch=7) == [0]


# ---- text and control ----------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_is_answered_once_by_key_or_by_its_place_in_the_stream() -> None:
    door = Door()
    assert door.gateway.text(TextReceived("hello", 1, idempotency_key="k"))
    assert not door.gateway.text(TextReceived("hello", 2, idempotency_key="k"))
    assert door.gateway.text(TextReceived("hello", 3))
    assert not door.gateway.text(TextReceived("other", 3))
    assert [signal.signal for signal in door.said()] == ["duplicate_dropped"] * 2


def test_after_a_reconnect_the_first_message_is_not_taken_for_the_old_connections_first() -> None:
    rig = Rig()
    rig.connect()
    rig.type("hello")
    for line in (ConnectionState.DISCONNECTED, ConnectionState.CONNECTED):
        rig.give(ConnectionChanged(line))
    rig._control = 0
    rig.type("are you there")
    assert rig.names("duplicate_dropped") == []
    assert len(rig.names("turn_open_proposed")) == 2


def test_only_the_callers_own_keys_go_with_a_session_that_moves() -> None:
    """A place in the old connection's count says nothing about the first messages of a new one."""
    old, new = Door(), Door()
    assert old.gateway.text(TextReceived("hello", 1))
    assert old.gateway.text(TextReceived("book it", 2, idempotency_key="k"))
    new.gateway.keys.restore(old.gateway.keys.export())
    assert list(old.gateway.keys.export()) == ["k"]
    assert new.gateway.text(TextReceived("good day", 1))
    assert not new.gateway.text(TextReceived("book it", 2, idempotency_key="k"))


@pytest.mark.parametrize("key", ["1", "transport/1/1"])
def test_a_callers_key_is_never_taken_for_a_place_in_the_stream(key: str) -> None:
    door = Door()
    assert door.gateway.text(TextReceived("hello", 1))
    assert door.gateway.text(TextReceived("other", 2, idempotency_key=key))


def test_a_key_is_forgotten_after_its_window() -> None:
    door = Door()
    assert door.gateway.text(TextReceived("hello", 1, idempotency_key="k"))
    door.desk.now += door.desk.policies.limits.dedupe_window_ms * 1_000_000
    assert door.gateway.text(TextReceived("hello", 2, idempotency_key="k"))


@pytest.mark.parametrize(
    ("received", "code"),
    [
        (TextReceived("x" * 65_537, 1), "payload_too_large"),
        (TextReceived("\ud800" * 65_537, 1), "payload_too_large"),
        (TextReceived("x", -1), "schema_validation_error"),
        (TextReceived("x", 1, idempotency_key="k" * 257), "payload_too_large"),
    ],
)
def test_hostile_text_is_refused_with_its_code(received: TextReceived, code: str) -> None:
    door = Door()
    assert not door.gateway.text(received)
    assert door.codes() == [code]


def test_control_under_another_epoch_never_enters() -> None:
    door = Door()
    assert not door.gateway.accepts(ControlReceived("stop", 1, epoch=6))
    assert [signal.signal for signal in door.said()] == ["stale_epoch_reject"]


def test_what_could_not_be_decoded_is_refused_with_the_decoders_word_for_it() -> None:
    door = Door()
    door.gateway.malformed(MalformedReceived("json_invalid", "$.text", "expected a string"))
    assert door.gateway.refused == 1
    assert [signal.signal for signal in door.said()] == ["abi_rejected"]


@pytest.mark.parametrize(
    ("action", "core", "passes", "signals"),
    [
        ("reject", False, False, ["unknown_event_handled", "abi_rejected"]),
        ("drop", False, False, ["unknown_event_handled"]),
        ("pass_through", False, True, ["unknown_event_handled"]),
        ("pass_through", True, False, ["unknown_event_handled", "abi_rejected"]),
    ],
)
def test_an_unknown_kind_is_treated_as_configured_and_never_without_a_trace(
    action: str, core: bool, passes: bool, signals: list[str]
) -> None:
    door = Door(unknown_events=action)
    assert door.gateway.unknown(UnknownReceived("acme.gesture", 1, core=core)) is passes
    assert [signal.signal for signal in door.said()] == signals
